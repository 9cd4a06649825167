"""What `features.run` gives against the model's own forward."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertForTokenClassification

from limbeck.models.running import run_model
from limbeck.models.taps import Tap, hidden_of
from limbeck.quantization.modules import attention
from limbeck.tasks import Batch

SIZES: dict[str, int] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
ROWS, TOKENS = 3, 12


def batch() -> Batch:
    """Three rows of twelve tokens, four units each."""
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (ROWS, TOKENS))
    positions = torch.tensor([[1, 2, 5, 7], [0, 3, 4, 11], [2, 2, 8, 9]])
    return Batch(
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        positions,
        positions,
        torch.ones(ROWS, 4, dtype=torch.bool),
        np.arange(ROWS),
    )


def at_positions(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return torch.stack([row[where] for row, where in zip(values, positions, strict=True)])


def test_a_vocabulary_is_answered_at_the_units_alone() -> None:
    model, asked, seen = BertForMaskedLM(BertConfig(**SIZES)).eval(), batch(), []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(output.shape))
    )
    with torch.inference_mode():
        outputs = run_model(model, asked, hidden_of(["bert.encoder.layer.1"]))
        whole = model(**asked.inputs, output_hidden_states=True)
    torch.testing.assert_close(outputs.logits, at_positions(whole.logits, asked.positions))
    torch.testing.assert_close(
        outputs.hidden["bert.encoder.layer.1"],
        at_positions(whole.hidden_states[-1], asked.positions),
    )
    assert seen == [
        (ROWS, 4, 50),
        (ROWS, TOKENS, 50),
    ]  # the second is the model's own forward: nothing stays behind


def test_labels_of_tokens_are_read_at_the_units() -> None:
    model, asked = BertForTokenClassification(BertConfig(**SIZES, num_labels=5)).eval(), batch()
    with torch.inference_mode():
        outputs = run_model(model, asked)
        whole = model(**asked.inputs)
    torch.testing.assert_close(outputs.logits, at_positions(whole.logits, asked.positions))


LAYER = "bert.encoder.layer.1"
KINDS = ("attention", "queries", "keys", "values")
TAPS = [Tap(kind, LAYER) for kind in (*KINDS, "places")]


def model_and_its_own_words(
    quantized: bool,
) -> tuple[nn.Module, dict[str, torch.Tensor], torch.Tensor]:
    """A tagger; what its last layer attends by, from its own modules; and the mask of its tokens."""
    model, inputs = (
        BertForTokenClassification(BertConfig(**SIZES, num_labels=5, initializer_range=0.5)).eval(),
        batch().inputs,
    )
    inputs["attention_mask"][1, 9:] = 0
    with torch.no_grad():
        model.set_attn_implementation("eager")
        before, after = model(
            **inputs, output_attentions=True, output_hidden_states=True
        ).hidden_states[1:]
        inner = model.get_submodule(LAYER).attention.self
        found = {
            "attention": model(**inputs, output_attentions=True).attentions[1],
            "places": after,
        }
        for kind, linear in (
            ("queries", inner.query),
            ("keys", inner.key),
            ("values", inner.value),
        ):
            found[kind] = linear(before).view(ROWS, TOKENS, 2, 8).transpose(1, 2)
        model.set_attn_implementation("sdpa")
        if quantized:
            attention.attach(model, "minmax", lambda m: m(**inputs))
    return model, found, inputs["attention_mask"]


@pytest.mark.parametrize("quantized", [False, True])
def test_attention_is_read_token_by_token_where_a_row_is_one_text(quantized: bool) -> None:
    """The same of a float model and of one whose products are quantizers' (not fitted, so the numbers are still the float ones)."""
    model, expected, seen = model_and_its_own_words(quantized)
    asked = replace(batch(), positions=None, mask=torch.ones(ROWS, 1, dtype=torch.bool))
    asked.inputs["attention_mask"] = seen
    implementation = model.config._attn_implementation
    outputs = run_model(model, asked, TAPS)
    for tap in TAPS:
        torch.testing.assert_close(outputs.inner[tap], expected[tap.kind], atol=1e-5, rtol=1e-4)
    assert torch.equal(outputs.place_mask, seen.bool())
    assert model.config._attn_implementation == implementation
    (gradient,) = torch.autograd.grad(
        outputs.inner[TAPS[0]].square().sum(),
        [model.get_submodule(LAYER).attention.self.query.weight],
    )
    assert gradient.abs().sum() > 0


def test_attention_is_read_at_the_words_where_a_row_has_several() -> None:
    model, expected, seen = model_and_its_own_words(quantized=False)
    asked = batch()
    asked.inputs["attention_mask"] = seen
    outputs = run_model(model, asked, TAPS)
    for kind in KINDS:
        rows = zip(expected[kind], asked.positions, strict=True)
        wanted = torch.stack(
            [row[:, at][:, :, at] if kind == "attention" else row[:, at] for row, at in rows]
        )
        torch.testing.assert_close(outputs.inner[Tap(kind, LAYER)], wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        outputs.inner[TAPS[-1]], at_positions(expected["places"], asked.positions)
    )
    assert outputs.place_mask is asked.mask


def test_what_cannot_be_read_is_told() -> None:
    model, asked = BertForTokenClassification(BertConfig(**SIZES)).eval(), batch()
    with pytest.raises(
        ValueError,
        match=r"has no module `bert\.encoder\.layer\.7`\. Did you mean `bert\.encoder\.layer\.",
    ):
        run_model(model, asked, [Tap("attention", "bert.encoder.layer.7")])
    with pytest.raises(ValueError, match=r"`bert\.encoder` attends more than once"):
        run_model(model, asked, [Tap("attention", "bert.encoder")])
    with pytest.raises(
        ValueError, match=r"does not go through the attention interface.* Take the loss `hidden`"
    ):
        run_model(model, asked, [Tap("keys", "bert.embeddings")])
    with pytest.raises(
        ValueError,
        match=r"`bert\.encoder\.layer\.1` gives \(3, 12, 16\), and maps \(B, C, H, W\) are read of it",
    ):
        run_model(model, asked, [Tap("maps", LAYER)])
    assert model.config._attn_implementation == "sdpa"
