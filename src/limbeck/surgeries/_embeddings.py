"""The word embeddings of a model, whatever it calls them."""

from typing import Any

from torch import nn

from limbeck.models.anatomy.factorized import FactorizedEmbedding


def word_embeddings(model: Any, surgery: str) -> tuple[str, nn.Embedding]:
    """The name and the module of the word embeddings; where they are factorized, their table.

    They are what the model names as its input, or else its embedding with the most rows.
    `surgery`: the name that messages begin with.

    Raises ValueError where there are none, and where the model's outputs are its vocabulary: that
    layer would have to be cut too.
    """
    # Methods of transformers' models; ours and the user's have none.
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None:
        raise ValueError(
            f"{surgery}: the outputs of {type(model).__name__} are its vocabulary. "
            "Cut the encoder where it learns the task, not before"
        )
    embeddings = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            embeddings[name] = module
    named_input = getattr(model, "get_input_embeddings", lambda: None)()
    if isinstance(named_input, FactorizedEmbedding):
        named_input = named_input.table
    for name, module in embeddings.items():
        if module is named_input:
            return name, module
    if not embeddings:
        raise ValueError(
            f"{surgery}: {type(model).__name__} has no word embeddings (nn.Embedding). "
            "Take drop_layers or same"
        )
    # Others hold positions or kinds of tokens, which are fewer than words.
    largest = max(embeddings, key=lambda name: embeddings[name].num_embeddings)
    return largest, embeddings[largest]
