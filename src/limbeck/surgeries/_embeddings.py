"""The word embeddings of a model, whatever it calls them."""

from typing import Any

from torch import nn

from limbeck.models.factorized import FactorizedEmbedding


def word_embeddings(model: Any, surgery: str) -> tuple[str, nn.Embedding]:
    """Their name and module, the table where they are factorized: what the model names as its input, or else its embedding with the most rows.

    Raises ValueError where there are none, and where the model's outputs are its vocabulary, whose layer goes with them.
    """
    if getattr(model, "get_output_embeddings", lambda: None)() is not None:
        raise ValueError(
            f"{surgery}: the outputs of {type(model).__name__} are its vocabulary. Cut the encoder where it learns the task, not before"
        )
    named = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)
    }
    given = getattr(model, "get_input_embeddings", lambda: None)()
    given = given.table if isinstance(given, FactorizedEmbedding) else given
    for name, module in named.items():
        if module is given:
            return name, module
    if not named:
        raise ValueError(
            f"{surgery}: {type(model).__name__} has no word embeddings (nn.Embedding). Take drop_layers or same"
        )
    name = max(named, key=lambda each: named[each].num_embeddings)
    return name, named[name]
