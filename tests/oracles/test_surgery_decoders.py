"""Narrower and shallower decoders, family by family: against the same model with the parts silenced, and opened again by plain transformers."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from decoders import FAMILIES, HEADS, LAYERS, UNITS, WIDTH, WORDS, decoder, logits, words
from torch import Tensor, nn
from torch.nn import functional

from limbeck.core import registry
from limbeck.models.anatomy.decoder import decoder_layer, is_causal
from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.linear import axes_of
from limbeck.models.folders import save_model
from limbeck.models.torch_batches import batch_of, to_device
from limbeck.tasks import Encoded

# Of these a config knows no width of heads, so heads go with channels alone.
WITHOUT_HEAD_WIDTH = ("gpt2", "gpt_neox", "opt")
# In every run one of each form; the others with the slow tests.
USUAL = ("llama", "phi3", "gpt2", "gpt_neox")


def families(without: Sequence[str] = ()) -> Any:
    """A test of every family but some."""
    cases = [
        family if family in USUAL else pytest.param(family, marks=pytest.mark.slow)
        for family in FAMILIES
        if family not in without
    ]
    return pytest.mark.parametrize("family", cases)


class Rows:
    """As `surgeries.Evidence`, of rows that are tokens already: each one predicts the next."""

    task = SimpleNamespace(hard_loss="cross_entropy")

    def batches_on(self, device: torch.device) -> list[Any]:
        encoded = []
        for ids in words().numpy():
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            encoded.append(Encoded(inputs, np.arange(len(ids) - 1), ids[1:]))
        return [to_device(batch_of(encoded, np.arange(2), {"input_ids": 0}), device)]


def cut(name: str, model: Any, **keys: Any) -> Any:
    """A student of a model, whose own weights stay as they were."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    student = registry.create("surgeries", name, keys).cut(model, Rows()).student
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not model.training and not student.training
    return student


def raised(model: Any, name: str, parts: Sequence[int], size: int) -> None:
    """Let some of the parts that a linear layer reads count more than the others."""
    module = model.get_submodule(name)
    rows = module.weight if axes_of(module).inputs == 0 else module.weight.T
    with torch.no_grad():
        for part in parts:
            rows[part * size : (part + 1) * size] *= 20


def silenced(model: Any, name: str, parts: Sequence[int], size: int) -> None:
    """Let all but some of the parts that a linear layer reads be 0 there."""
    module = model.get_submodule(name)
    rows = module.weight if axes_of(module).inputs == 0 else module.weight.T
    with torch.no_grad():
        for part in range(len(rows) // size):
            if part not in parts:
                rows[part * size : (part + 1) * size] = 0


@families()
def test_all_parts_are_the_teacher(family: str) -> None:
    model = decoder(family)
    hidden = {} if family == "gemma" else {"hidden": WIDTH}
    student = cut("prune_width", model, heads=HEADS, intermediate=UNITS, **hidden)
    torch.testing.assert_close(logits(student, words()), logits(model, words()), rtol=0, atol=1e-5)


@families()
def test_a_unit_that_is_cut_is_a_unit_that_is_silent(family: str) -> None:
    model, kept = decoder(family), [3, 40, *range(60, 90)]
    reader = FAMILIES[family][2]
    for layer in blocks(model):
        raised(model, f"{layer}.{reader}", kept, 1)
    student = cut("prune_width", model, intermediate=32, importance="magnitude")
    for layer in blocks(model):
        silenced(model, f"{layer}.{reader}", kept, 1)
    torch.testing.assert_close(logits(student, words()), logits(model, words()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"heads": 2}, [2, 3]),
        ({"key_value_heads": 1}, [2, 3]),
        ({"heads": 1, "key_value_heads": 1}, [3]),
        ({"heads": 2, "key_value_heads": 2}, [1, 3]),
    ],
)
@families(without=WITHOUT_HEAD_WIDTH)
def test_a_head_that_is_cut_is_a_head_that_is_silent(
    family: str, keys: dict[str, int], kept: list[int]
) -> None:
    """Of two groups of two the second counts more, and of its heads the last; of the first the last too."""
    model = decoder(family)
    reader, size = FAMILIES[family][1], decoder_layer(model).heads.size
    for layer in blocks(model):
        for raise_also in ([1, 2, 3], [2, 3], [3]):
            raised(model, f"{layer}.{reader}", raise_also, size)
    student = cut("prune_width", model, importance="magnitude", **keys)
    for layer in blocks(model):
        silenced(model, f"{layer}.{reader}", kept, size)
    found, expected = logits(student, words()), logits(model, words())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert student.config.num_attention_heads == len(kept)


class Kept(nn.Module):
    """A norm over some channels, which gives the others as 0."""

    def __init__(self, norm: nn.Module, channels: Tensor, eps: float) -> None:
        super().__init__()
        self.norm, self.channels, self.eps = norm, channels, eps

    def forward(self, values: Tensor) -> Tensor:
        kept = values[..., self.channels]
        result = torch.zeros_like(values)
        weight = self.norm.get_parameter("weight")[self.channels]
        if isinstance(self.norm, nn.LayerNorm):
            bias = self.norm.bias[self.channels]
            result[..., self.channels] = functional.layer_norm(
                kept, weight.shape, weight, bias, self.eps
            )
        else:
            result[..., self.channels] = functional.rms_norm(kept, weight.shape, weight, self.eps)
        return result


@pytest.mark.parametrize("family", ["llama", "qwen3", "phi3", "gpt2", "gpt_neox", "opt"])
def test_a_channel_that_is_cut_is_in_no_norm_and_adds_nothing(family: str) -> None:
    """The reference is the whole model: no matrix reads what a norm gives as 0."""
    model = decoder(family)
    kept = torch.tensor([*range(8), *range(30, 54)])
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[:, kept] *= 30
    # With all heads a head is wider than the width over heads, which these configs cannot tell.
    heads = {"heads": 2} if family in WITHOUT_HEAD_WIDTH else {}
    student = cut("prune_width", model, hidden=32, importance="magnitude", **heads)
    if heads:
        whole = cut("prune_width", model, hidden=WIDTH, importance="magnitude")
        torch.testing.assert_close(logits(whole, words()), logits(model, words()))
        reference, kept_heads = model, heads_of(model, FAMILIES[family][1])
        size = WIDTH // HEADS
        for layer, numbers in kept_heads.items():
            silenced(reference, f"{layer}.{FAMILIES[family][1]}", numbers, size)
    eps = getattr(model.config, "rms_norm_eps", 1e-5)
    eps = getattr(model.config, "layer_norm_eps", eps) if family == "gpt_neox" else eps
    for name, module in list(model.named_modules()):
        if getattr(module, "weight", torch.empty(0)).shape == (WIDTH,):
            model.set_submodule(name, Kept(module, kept, eps))
    expected = logits(model, words())
    torch.testing.assert_close(
        logits(student, words()), expected, rtol=0, atol=1e-4 * float(expected.abs().max())
    )
    assert student.get_input_embeddings().weight.shape == (WORDS, 32)


def heads_of(model: Any, reader: str) -> dict[str, list[int]]:
    """The two heads of each layer with the largest weights in all."""
    kept = {}
    for name in blocks(model):
        layer = decoder_layer(model)
        module = model.get_submodule(f"{name}.{reader}")
        rows = module.weight if axes_of(module).inputs == 0 else module.weight.T
        total = rows.detach().square().sum(1).unflatten(0, (HEADS, -1)).sum(1)
        for maker, numbers in layer.heads.makers.items():
            made = model.get_submodule(f"{name}.{maker}")
            weight = made.weight if axes_of(made).outputs == 0 else made.weight.T
            total = total + weight.detach().square().sum(1)[numbers].sum(1)
        kept[name] = sorted(total.topk(2).indices.tolist())
    return kept


@pytest.mark.parametrize("importance", ["gradient", "activation"])
@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_rows_say_what_counts(family: str, importance: str) -> None:
    student = cut(
        "prune_width", decoder(family), heads=2, intermediate=32, hidden=32, importance=importance, layers=2,
    )  # fmt: skip
    assert torch.isfinite(logits(student, words())).all()
    assert student.config.num_hidden_layers == 2 and student.config.hidden_size == 32


def opened(student: Any, folder: Path) -> Any:
    """What plain transformers makes of a student's folder, in which no file is ours alone."""
    import transformers

    save_model(student, folder, network=None, preprocess_file="tokenizer.json", text="{}")
    assert not (folder / "structure.json").exists()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")


@families()
def test_a_student_opens_in_plain_transformers(family: str, tmp_path: Path) -> None:
    keys = {"hidden": 32, "heads": 2} if family in WITHOUT_HEAD_WIDTH else {"heads": 2}
    student = cut("prune_width", decoder(family), intermediate=32, layers=2, **keys)
    found = opened(student, tmp_path)
    assert torch.equal(logits(found.eval(), words()), logits(student, words()))
    is_tied = student.get_input_embeddings().weight is student.get_output_embeddings().weight
    assert is_tied == decoder(family).config.tie_word_embeddings
    assert found.config.eos_token_id == 2


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3_text"])
def test_layers_that_stay_generate_as_the_layers_alone(family: str, tmp_path: Path) -> None:
    """Step by step with the keys and values of earlier tokens, or read anew: one text, from one folder."""
    model = decoder(family)
    student = cut("drop_layers", model, layers=2)
    reference = decoder(family)
    around = blocks(reference)[0].rpartition(".")[0]
    layers: Any = reference.get_submodule(around)
    del layers[0]
    torch.testing.assert_close(logits(student, words()), logits(reference, words()))
    with torch.no_grad():
        ids = words(1, 4)
        texts = [
            student.generate(ids, max_new_tokens=6, do_sample=False, use_cache=cached)
            for cached in (True, False)
        ]
    assert torch.equal(*texts)
    assert torch.equal(logits(opened(student, tmp_path).eval(), words()), logits(student, words()))


@pytest.mark.parametrize(
    ("family", "settings", "keys", "told"),
    [
        ("llama", {}, {"heads": 3}, "cannot keep 3 in 2 groups: Llama has 2 groups of 2 heads"),
        ("llama", {}, {"heads": 6}, "cannot keep 6 in 3 groups"),
        ("llama", {}, {"intermediate": 97}, "intermediate: cannot keep 97 of 96"),
        ("llama", {}, {"hidden": 0}, "hidden: cannot keep 0 of 64"),
        ("llama", {}, {"hidden": 30}, "transformers refuses such a config: .* hidden size"),
        ("llama", {}, {"hidden": 32, "layers": 9}, "cannot keep 9 of 3 layers"),
        ("gpt2", {}, {"heads": 2}, "config of GPT2LMHeadModel cannot tell of such a student"),
        ("opt", {}, {"hidden": 32}, "cut `hidden` and `heads` by the same share"),
        ("gemma", {}, {"hidden": 32}, "GemmaForCausalLM scales its embeddings"),
        ("olmo2", {}, {"heads": 2}, "one head of Olmo2ForCausalLM .* is not its own"),
        ("bloom", {}, {"heads": 2}, "hangs on the number of a head"),
        (
            "mixtral",
            {"num_local_experts": 2, "num_key_value_heads": 2},
            {"intermediate": 32},
            "its linear layers are",
        ),
    ],
)
def test_what_cannot_be_cut_is_told(
    family: str, settings: dict[str, Any], keys: dict[str, int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        cut("prune_width", decoder(family, **settings), importance="magnitude", **keys)


def test_keys_of_decoders_are_refused_of_encoders() -> None:
    from contracts.tiny_models import bert

    assert not is_causal(bert()) and is_causal(decoder())
    with pytest.raises(ValueError, match="are of causal language models"):
        registry.create("surgeries", "prune_width", {"hidden": 16}).cut(bert(), Rows())


def test_something_that_hangs_on_the_number_of_parts_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layer that divides by how many units it has is no layer with fewer of them."""
    from transformers.models.llama.modeling_llama import LlamaMLP

    usual = LlamaMLP.forward

    def by_number(self: Any, x: Tensor) -> Tensor:
        return usual(self, x) / self.down_proj.in_features

    model = decoder(num_hidden_layers=LAYERS)
    monkeypatch.setattr(LlamaMLP, "forward", by_number)
    with pytest.raises(ValueError, match="something in it hangs on their number"):
        cut("prune_width", model, intermediate=32, importance="magnitude")
