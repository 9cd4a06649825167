"""What `features.run` gives against the model's own forward."""

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, BertForTokenClassification

from limbeck import features
from limbeck.tasks import Batch

SIZES: dict[str, int] = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ROWS, TOKENS = 3, 12


def batch() -> Batch:
    """Three rows of twelve tokens, four units each."""
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (ROWS, TOKENS))
    positions = torch.tensor([[1, 2, 5, 7], [0, 3, 4, 11], [2, 2, 8, 9]])
    return Batch(
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, positions, positions, torch.ones(ROWS, 4, dtype=torch.bool), np.arange(ROWS)
    )


def at_positions(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[where] for row, where in zip(values, positions, strict=True)])


def test_a_vocabulary_is_answered_at_the_units_alone() -> None:
    model, asked, seen = BertForMaskedLM(BertConfig(**SIZES)).eval(), batch(), []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    with torch.inference_mode():
        outputs = features.run(model, asked, ["bert.encoder.layer.1"])
        whole = model(**asked.inputs, output_hidden_states=True)
    torch.testing.assert_close(outputs.logits, at_positions(whole.logits, asked.positions))
    torch.testing.assert_close(outputs.hidden["bert.encoder.layer.1"], at_positions(whole.hidden_states[-1], asked.positions))
    assert seen == [(ROWS, 4, 50), (ROWS, TOKENS, 50)]  # the second is the model's own forward: nothing stays behind


def test_labels_of_tokens_are_read_at_the_units() -> None:
    model, asked = BertForTokenClassification(BertConfig(**SIZES, num_labels=5)).eval(), batch()
    with torch.inference_mode():
        outputs = features.run(model, asked)
        whole = model(**asked.inputs)
    torch.testing.assert_close(outputs.logits, at_positions(whole.logits, asked.positions))
