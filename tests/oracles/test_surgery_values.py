"""Surgeries against slow and obvious code: a cut against the same model with the parts silenced, importance against gates one by one in float64."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.test_tasks import TAGS, TEXT, VOCABULARY
from contracts.tiny_models import bert, logits, stirred
from surgical import INPUTS, SENTENCES, TEXTS, cut, teacher
from torch import nn
from torch.nn import functional

from limbeck.models.anatomy.layers import blocks
from limbeck.models.folders import save_model
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.surgeries import Evidence
from limbeck.surgeries._importance import importance
from limbeck.surgeries.drop_layers import influence

FAMILIES: dict[
    str, tuple[str, dict[str, Any]]
] = {  # what it is, and where the context and the units are read in layer i
    "bert": ("attention.output.dense", {}),
    "roberta": ("attention.output.dense", {"pad_token_id": 3}),
    "electra": ("attention.output.dense", {"embedding_size": 16}),
    "mpnet": ("attention.attn.o", {}),
    "distilbert": ("attention.out_lin", {}),
}
HEADS, SIZE, UNITS, LAYERS = 4, 8, 40, 3


def family(name: str) -> nn.Module:
    import transformers

    sizes = {
        "hidden_size": HEADS * SIZE,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": UNITS,
    }
    if name == "distilbert":
        sizes = {"dim": HEADS * SIZE, "n_heads": HEADS, "n_layers": LAYERS, "hidden_dim": UNITS}
    config = transformers.AutoConfig.for_model(
        name,
        vocab_size=len(VOCABULARY),
        max_position_embeddings=64,
        num_labels=len(TAGS),
        initializer_range=0.15,
        **sizes,
        **FAMILIES[name][1],
    )
    torch.manual_seed(0)
    return stirred(
        transformers.AutoModelForTokenClassification.from_config(
            config, attn_implementation="eager"
        )
    )


def readers(model: nn.Module, name: str) -> list[tuple[nn.Linear, nn.Linear]]:
    """Of each layer, what reads the heads and what reads the units."""
    second = "ffn.lin2" if name == "distilbert" else "output.dense"
    found: Any = [
        (
            model.get_submodule(f"{block}.{FAMILIES[name][0]}"),
            model.get_submodule(f"{block}.{second}"),
        )
        for block in blocks(model)
    ]
    return found


def silence(model: nn.Module, name: str, heads: list[list[int]], units: list[list[int]]) -> None:
    """Zero the columns of all but some heads and units, as a mask would."""
    with torch.no_grad():
        for (output, second), kept_heads, kept_units in zip(
            readers(model, name), heads, units, strict=True
        ):
            for head in set(range(HEADS)) - set(kept_heads):
                output.weight[:, head * SIZE : (head + 1) * SIZE] = 0
            for unit in set(range(UNITS)) - set(kept_units):
                second.weight[:, unit] = 0


def best(scores: torch.Tensor, keep: int) -> list[int]:
    return sorted(sorted(range(len(scores)), key=lambda i: -float(scores[i]))[:keep])


def norms(model: nn.Module, name: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The norm of all weights that go with each head and each unit, one after the other."""
    heads, units = [], []
    for block, (output, second) in zip(blocks(model), readers(model, name), strict=True):
        linear = [
            module
            for module in model.get_submodule(block).modules()
            if isinstance(module, nn.Linear)
        ]
        parts = [
            [module.weight[h * SIZE : (h + 1) * SIZE] for module in linear[:3]]
            + [output.weight[:, h * SIZE : (h + 1) * SIZE]]
            for h in range(HEADS)
        ]
        heads.append(
            torch.stack(
                [torch.cat([part.flatten() for part in each]).double().norm() for each in parts]
            ).detach()
        )
        units.append(
            torch.stack(
                [
                    torch.cat([linear[4].weight[u], second.weight[:, u]]).double().norm()
                    for u in range(UNITS)
                ]
            ).detach()
        )
    return heads, units


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_answers_as_the_same_model_with_the_parts_silenced(name: str, tmp_path: Path) -> None:
    whole = family(name)
    heads, units = norms(whole, name)
    student: Any = cut(
        "prune_width", {"heads": 3, "intermediate": 11, "importance": "magnitude"}, whole
    ).student
    kept = [best(each, 3) for each in heads]
    if name == "mpnet":  # one bias by head for all layers
        kept = [best(torch.stack([each / each.norm() for each in heads]).sum(0), 3)] * LAYERS
    silence(whole, name, kept, [best(each, 11) for each in units])
    torch.testing.assert_close(logits(student, INPUTS), logits(whole, INPUTS), rtol=1e-4, atol=1e-5)
    assert not torch.equal(logits(student, INPUTS), logits(family(name), INPUTS))
    for output, second in readers(student, name):
        assert output.weight.shape == (HEADS * SIZE, 3 * SIZE)
        assert second.weight.shape == (HEADS * SIZE, 11)
    width, lost = HEADS * SIZE, (HEADS - 3) * SIZE
    one = 4 * width * lost + 3 * lost + (UNITS - 11) * (2 * width + 1)
    bias = 32 * (HEADS - 3) if name == "mpnet" else 0
    assert (
        sum(each.numel() for each in whole.parameters())
        - sum(each.numel() for each in student.parameters())
        == LAYERS * one + bias
    )
    student.config.id2label = dict(enumerate(TEXT.labels))
    save_model(
        student, tmp_path, network=None, preprocess_file=TEXT.preprocess_file, text=TEXT.preprocess
    )
    assert torch.equal(
        logits(from_transformers(str(tmp_path), Asked(TEXT)).eval(), INPUTS),
        logits(student, INPUTS),
    )


def test_units_alone_leave_a_folder_that_transformers_opens(tmp_path: Path) -> None:
    from transformers import BertForTokenClassification

    student: Any = cut("prune_width", {"intermediate": 11}).student
    save_model(
        student, tmp_path, network=None, preprocess_file=TEXT.preprocess_file, text=TEXT.preprocess
    )
    assert not (tmp_path / "structure.json").exists()
    assert torch.equal(
        logits(
            BertForTokenClassification.from_pretrained(
                tmp_path, attn_implementation="eager"
            ).eval(),
            INPUTS,
        ),
        logits(student, INPUTS),
    )


class Gated(nn.Module):
    """What a linear layer reads, times a gate a part."""

    def __init__(self, linear: nn.Module, parts: int, size: int) -> None:
        super().__init__()
        self.linear, self.gate, self.size = (
            linear,
            torch.ones(parts, dtype=torch.float64, requires_grad=True),
            size,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x * self.gate.repeat_interleave(self.size))


@pytest.mark.parametrize(("place", "size"), [("attention.output.dense", 16), ("output.dense", 1)])
def test_gradient_is_that_of_a_gate_row_by_row(place: str, size: int) -> None:
    """Michel et al., equation 3: the mean over rows of |dL/dgate|, up to the number of rows."""
    plain, gated = teacher(), teacher().double()
    names = [f"{block}.{place}" for block in blocks(plain)]
    gates = []
    for name in names:
        linear: Any = gated.get_submodule(name)
        gates.append(Gated(linear, linear.in_features // size, size))
        gated.set_submodule(name, gates[-1])
    expected = [torch.zeros(len(gate.gate), dtype=torch.float64) for gate in gates]
    for row in TEXT.encode(SENTENCES):
        answer = gated(
            **{key: torch.from_numpy(value)[None] for key, value in row.inputs.items()}
        ).logits[0]
        loss = sum(
            functional.cross_entropy(answer[position], torch.tensor(label))
            for position, label in zip(row.positions, row.labels, strict=True)
        )
        for total, gradient in zip(
            expected, torch.autograd.grad(loss, [gate.gate for gate in gates]), strict=True
        ):
            total += gradient.abs()
    found = importance(plain, dict.fromkeys(names, size), TEXTS, "gradient")
    torch.testing.assert_close([found[name] for name in names], expected, rtol=1e-3, atol=1e-5)


def note(
    read: dict[str, torch.Tensor], name: str, module: nn.Module, given: tuple[torch.Tensor, ...]
) -> None:
    read[name] = given[0]


@pytest.mark.parametrize(("place", "size"), [("attention.output.dense", 16), ("output.dense", 1)])
def test_activation_is_the_sum_over_rows_without_padding(place: str, size: int) -> None:
    model = teacher()
    names = [f"{block}.{place}" for block in blocks(model)]
    expected = {name: torch.zeros(32 if size > 1 else 64, dtype=torch.float64) for name in names}
    for row in TEXT.encode(SENTENCES):
        read: dict[str, torch.Tensor] = {}
        handles = [
            model.get_submodule(name).register_forward_pre_hook(partial(note, read, name))
            for name in names
        ]
        logits(model, {key: torch.from_numpy(value)[None] for key, value in row.inputs.items()})
        for handle in handles:
            handle.remove()
        for name in names:
            expected[name] += read[name][0].double().abs().sum(0)
    found = importance(model, dict.fromkeys(names, size), TEXTS, "activation")
    for name in names:
        wanted = torch.stack(
            [expected[name][i : i + size].sum() for i in range(0, len(expected[name]), size)]
        )
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-6)


def test_rows_without_labels_have_no_gradient() -> None:
    unlabelled = Evidence(
        TEXT, [{"words": row["words"], "tags": [None] * len(row["words"])} for row in SENTENCES]
    )
    with pytest.raises(ValueError, match="importance: gradient needs labels"):
        cut("prune_width", {"heads": 1}, evidence=unlabelled)
    assert cut("prune_width", {"heads": 1, "importance": "activation"}, evidence=unlabelled).student


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"heads": 3},
            r"prune_width: heads: cannot keep 3 of 2 \(`bert.encoder.layer.0.attention.output.dense`\)",
        ),
        ({"intermediate": 0}, "prune_width: intermediate: cannot keep 0 of 64"),
        ({"layers": 2}, "say how many to keep: `heads`, `intermediate` or both"),
    ],
)
def test_counts_that_cannot_be_kept_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cut("prune_width", keys)


def test_another_build_is_refused_by_name() -> None:
    from transformers import ModernBertConfig, ModernBertForTokenClassification

    config = ModernBertConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
    )
    with pytest.raises(
        ValueError,
        match=r"the layer `model\.layers\.0` of ModernBertForTokenClassification is not made of .*attn\.Wqkv \(48, 16\)",
    ):
        cut("prune_width", {"heads": 1}, ModernBertForTokenClassification(config))


def test_influence_is_one_minus_the_mean_cosine() -> None:
    """ShortGPT, equation 1, token by token without padding."""
    model = teacher()
    names = blocks(model)
    sums, tokens_seen = [0.0] * len(names), 0
    for row in TEXT.encode(SENTENCES):
        with torch.no_grad():
            hidden = model(
                **{key: torch.from_numpy(value)[None] for key, value in row.inputs.items()},
                output_hidden_states=True,
            ).hidden_states
        for layer in range(len(names)):
            for x, y in zip(hidden[layer][0].double(), hidden[layer + 1][0].double(), strict=True):
                sums[layer] += float(1 - x @ y / (x.norm() * y.norm()))
        tokens_seen += len(row.inputs["input_ids"])
    expected = torch.tensor([each / tokens_seen for each in sums], dtype=torch.float64)
    torch.testing.assert_close(
        influence(model, names, TEXTS.batches), expected, rtol=1e-4, atol=1e-6
    )


def test_layers_that_change_nothing_go_first() -> None:
    model = teacher()
    for index in (0, 2):
        for name in ("attention.output.dense", "output.dense"):
            for parameter in model.get_submodule(f"bert.encoder.layer.{index}.{name}").parameters():
                parameter.data.zero_()
    student = cut("drop_layers", {"layers": 2, "keep": "importance"}, model).student
    for own, theirs in ((0, 1), (1, 3)):
        wanted, found = (
            each.get_submodule(f"bert.encoder.layer.{i}").state_dict()
            for each, i in ((model, theirs), (student, own))
        )
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def last_states(model: Any, kept: list[int]) -> list[torch.Tensor]:
    """(T, D) what the last of some layers makes of each sentence, in a model that has no others."""
    shorter = copy.deepcopy(model)
    shorter.bert.encoder.layer = nn.ModuleList([shorter.bert.encoder.layer[i] for i in kept])
    found = []
    for row in TEXT.encode(SENTENCES):
        inputs = {key: torch.from_numpy(value)[None] for key, value in row.inputs.items()}
        with torch.no_grad():
            found.append(shorter.bert.eval()(**inputs).last_hidden_state[0].double())
    return found


@pytest.mark.parametrize("num_layers", [4, 6])
def test_greedy_takes_out_the_layer_that_is_missed_least_again_and_again(num_layers: int) -> None:
    model: Any = bert(len(VOCABULARY), layers=num_layers, labels=len(TAGS))
    kept = list(range(num_layers))
    whole = last_states(model, kept)
    for count in range(num_layers - 1, 0, -1):
        missed = []
        for number in kept:
            left = last_states(model, [each for each in kept if each != number])
            pairs = zip(whole, left, strict=True)
            turned = torch.cat([1 - functional.cosine_similarity(a, b, -1) for a, b in pairs])
            missed.append(float(turned.mean()))
        assert sorted(missed)[1] > sorted(missed)[0] + 1e-5
        del kept[missed.index(min(missed))]
        before = copy.deepcopy(model.state_dict())
        student: Any = cut("drop_layers", {"layers": count, "keep": "greedy"}, model).student
        for layer, number in zip(student.bert.encoder.layer, kept, strict=True):
            for mine, its in zip(
                layer.parameters(), model.bert.encoder.layer[number].parameters(), strict=True
            ):
                assert torch.equal(mine, its)
        # The model is as it was, and each of its layers answers by itself again.
        assert not any("forward" in vars(module) for module in student.modules())
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
