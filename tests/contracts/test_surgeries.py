"""What every surgery keeps: the teacher stays as it was, the identity is exact, a smaller student trains, quantizes, is saved and exported.

A new surgery is tested without a line changing: its class has `identity` and `smaller`, as IDENTITY and SMALLER have for ours.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.test_tasks import TAGS, TEXT, VOCABULARY
from contracts.tiny_models import bert, cnn, logits, pixels, tokens
from surgical import HEADS, IMAGES, LAYERS, SENTENCES, UNITS, cut, read, task_of, teacher
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.models.anatomy import structure
from limbeck.models.anatomy.layers import blocks, evenly, layer_names
from limbeck.models.folders import load_model, save_model
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize

NAMES = registry.names("surgeries")
IDENTITY: dict[str, list[dict[str, Any]]] = {  # keys that cut nothing
    "drop_layers": [
        {"layers": LAYERS, "keep": keep}
        for keep in ("even", "first", "last", "importance", "greedy")
    ],
    "factorize_embedding": [{"rank": 17}],
    "prune_channels": [],  # of images alone: tests/oracles/test_surgery_channels.py
    "prune_width": [
        {"heads": HEADS, "intermediate": UNITS, "layers": LAYERS},
        {"heads": HEADS, "importance": "magnitude"},
    ],
    "same": [{}],
    "trim_vocabulary": [{}],
}
SMALLER: dict[str, list[dict[str, Any]]] = {  # keys that cut something
    "drop_layers": [
        {"layers": 2, "keep": keep} for keep in ("even", "first", "last", "importance", "greedy")
    ],
    "factorize_embedding": [{"rank": 5}],
    "prune_channels": [],
    "prune_width": [
        {"heads": 1, "intermediate": 24, "importance": each}
        for each in ("gradient", "activation", "magnitude")
    ]
    + [{"heads": 1, "layers": 2}, {"intermediate": 7}],
    "same": [],
    "trim_vocabulary": [{}],
}
READS_IMAGES: dict[str, dict[str, Any]] = {
    "drop_layers": {"layers": 3},
    "same": {},
}  # keys that cut nothing from a network of ours

for outside in NAMES:
    if outside not in IDENTITY:
        IDENTITY[outside] = registry.load("surgeries", outside).identity
        SMALLER[outside] = registry.load("surgeries", outside).smaller


def cases(of: dict[str, list[dict[str, Any]]]) -> Any:
    """Every surgery with each of its keys."""
    pairs = [(name, keys) for name in of for keys in of[name]]
    return pytest.mark.parametrize(
        ("name", "keys"),
        pairs,
        ids=[f"{name} {' '.join(map(str, keys.values()))}" for name, keys in pairs],
    )


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@cases(IDENTITY)
def test_the_identity_surgery_is_exact(name: str, keys: dict[str, Any]) -> None:
    found, whole = cut(name, keys), teacher()
    for row in SENTENCES:
        torch.testing.assert_close(
            logits(found.student, read(task_of(found), row)),
            logits(whole, read(TEXT, row)),
            rtol=0,
            atol=1e-5,
        )
    assert blocks(found.student) == blocks(whole)


@pytest.mark.parametrize("name", READS_IMAGES)
def test_the_identity_surgery_is_exact_on_a_network_of_ours(name: str) -> None:
    student = cut(name, READS_IMAGES[name], cnn(), IMAGES).student
    assert torch.equal(logits(student, pixels(3)), logits(cnn(), pixels(3)))


@cases(SMALLER)
def test_a_smaller_student_is_smaller(name: str, keys: dict[str, Any]) -> None:
    found = cut(name, keys)
    assert count(found.student) < count(teacher())
    assert torch.isfinite(logits(found.student, read(task_of(found), SENTENCES[0]))).all()


@cases(SMALLER)
def test_the_teacher_stays_as_it_was(name: str, keys: dict[str, Any]) -> None:
    """Neither the cut nor training the student touches it, and the student shares nothing with it."""
    whole = teacher().train()
    before, config = snapshot(whole), copy.deepcopy(whole.config.to_dict())
    found = cut(name, keys, whole)
    student = found.student
    student(**read(task_of(found), SENTENCES[0])).logits.sum().backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in whole.state_dict().items())
    assert all(parameter.grad is None for parameter in whole.parameters())
    assert whole.config.to_dict() == config
    assert whole.training
    assert not any(
        module._forward_hooks or module._forward_pre_hooks
        for module in [*whole.modules(), *student.modules()]
    )


@cases(SMALLER)
def test_the_same_cut_twice_is_the_same_student_in_the_teachers_mode(
    name: str, keys: dict[str, Any]
) -> None:
    first, second = cut(name, keys), cut(name, keys)
    one, other = snapshot(first.student), snapshot(second.student)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert first.preprocess == second.preprocess
    assert not first.student.training


@cases(SMALLER)
def test_a_student_survives_its_folder(name: str, keys: dict[str, Any], tmp_path: Path) -> None:
    """Where the config cannot tell the new shape, structure.json does; once more, from the folder of a folder."""
    found = cut(name, keys)
    task = task_of(found)
    student: Any = found.student
    for folder in (tmp_path / "first", tmp_path / "second"):
        student.config.id2label = dict(enumerate(TAGS))
        save_model(
            student,
            folder,
            network=None,
            preprocess_file=task.preprocess_file,
            text=task.preprocess,
        )
        student = load_model(folder, task).eval()
        inputs = read(task, SENTENCES[0])
        assert torch.equal(logits(student, inputs), logits(found.student, inputs))
        assert {key: value.shape for key, value in student.state_dict().items()} == {
            key: value.shape for key, value in found.student.state_dict().items()
        }
        assert layer_names(student) == layer_names(found.student)


@cases(SMALLER)
def test_a_student_takes_a_head_of_other_labels(
    name: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    """A cut folder is a model that a recipe names: its encoder is kept, its head drawn anew."""
    found = cut(name, keys)
    save_model(
        found.student,
        tmp_path,
        network=None,
        preprocess_file="tokenizer.json",
        text=found.preprocess or TEXT.preprocess,
    )
    model: Any = from_transformers(
        str(tmp_path), Asked(type(TEXT)(["O", "B-X", "I-X"], TEXT.preprocess))
    )
    assert model.classifier.out_features == 3
    own, kept = model.bert.state_dict(), found.student.bert.state_dict()  # type: ignore[union-attr, operator]
    assert own.keys() == kept.keys()
    assert all(torch.equal(own[key], kept[key]) for key in own)


# 3 to 5 s each: every surgery's with the slow ones, and a width's, which changes most shapes, always.
EXPORTED = [
    pytest.param(name, keys[0], id=name, marks=[pytest.mark.slow] * (name != "prune_width"))
    for name, keys in SMALLER.items()
    if keys
]


@pytest.mark.parametrize(("name", "keys"), EXPORTED)
def test_a_student_trains_quantized_and_is_exported(
    name: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    """A joint training in small: its loss falls, and the graph then answers as the fake-quantized student."""
    # Every layer takes 2 s to trace: as few as the cut leaves something of.
    layers = 1 + keys.get("layers", 0)
    whole = bert(len(VOCABULARY), layers=layers, labels=len(TAGS))
    student, inputs = cut(name, keys, whole).student, tokens(4, 13, 10)
    forward = partial(lambda model, **given: model(**given), **inputs)
    prepare_model(student, plan_schemes(student, Quantize(), "uint8"), "lsq", forward)
    calibrate(student, [forward])
    labels = torch.randint(0, len(TAGS), (4, 13), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(
        [parameter for parameter in student.parameters() if parameter.requires_grad], 3e-3
    )
    losses = []
    student.train()
    for _ in range(6):
        loss = nn.functional.cross_entropy(forward(student).logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    student.eval()
    exporter = registry.create("exporters", "onnx")
    (file,) = exporter.export(convert_model(student), inputs, tmp_path).values()
    run = open_graph(tmp_path / file, "onnxruntime", 1)
    expected = logits(student, tokens(2, 9, 10, seed=5)).numpy()
    answer = run({key: value.numpy() for key, value in tokens(2, 9, 10, seed=5).items()})
    assert np.sqrt(np.mean((answer - expected) ** 2) / np.mean(expected**2)) < 0.02


# drop_layers


@pytest.mark.parametrize(
    ("layers", "kept"), [(1, [3]), (2, [1, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])]
)
def test_layers_are_kept_evenly_with_their_weights_and_counted(
    layers: int, kept: list[int]
) -> None:
    check_layers({"layers": layers}, kept)


@pytest.mark.parametrize(("keep", "kept"), [("first", [0, 1]), ("last", [2, 3]), ("even", [1, 3])])
def test_the_first_or_the_last_layers_are_kept(keep: str, kept: list[int]) -> None:
    check_layers({"layers": 2, "keep": keep}, kept)


def check_layers(keys: dict[str, Any], kept: list[int]) -> None:
    student, whole = cut("drop_layers", keys).student, teacher()
    own, theirs = blocks(student), blocks(whole)
    assert len(own) == keys["layers"] == student.config.num_hidden_layers
    one = count(whole.get_submodule(theirs[0]))
    assert count(student) == count(whole) - (LAYERS - keys["layers"]) * one
    assert own[-1].rpartition(".")[0] == theirs[-1].rpartition(".")[0]
    for mine, source in zip(own, kept, strict=True):
        pairs = zip(
            student.get_submodule(mine).parameters(),
            whole.get_submodule(theirs[source]).parameters(),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("layers", [0, -1, LAYERS + 1])
def test_more_layers_than_there_are_or_none_are_refused(layers: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {layers} of {LAYERS} layers"):
        cut("drop_layers", {"layers": layers})


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="no ModuleList of layers"):
        cut("drop_layers", {"layers": 1}, nn.Linear(2, 2))


def test_a_cut_after_which_the_widths_do_not_meet_is_refused() -> None:
    """Without the first block of small_cnn the second reads channels that are not there: said at the cut, before step 0."""
    with pytest.raises(ValueError, match="layers"):
        cut("drop_layers", {"layers": 2}, cnn())


@pytest.mark.parametrize(
    ("keep", "of", "expected"),
    [
        (3, 6, [1, 3, 5]),
        (6, 12, [1, 3, 5, 7, 9, 11]),
        (1, 12, [11]),
        (4, 12, [2, 5, 8, 11]),
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_evenly(keep: int, of: int, expected: list[int]) -> None:
    assert evenly(keep, of) == expected


def test_evenly_never_repeats_an_index() -> None:
    for of in range(1, 40):
        for keep in range(1, of + 1):
            found = evenly(keep, of)
            assert len(set(found)) == keep
            assert found == sorted(found)
            assert found[0] >= 0
            assert found[-1] == of - 1


# A model's structure as data


def test_a_model_as_its_config_says_has_no_edits() -> None:
    assert structure.difference(teacher(), teacher()) == {}


def test_edits_of_another_model_are_refused() -> None:
    for edits in (
        {"encoder.nothing": {"length": 1}},
        {"classifier": {"sizes": {"heads": 2}}},
        {"classifier": {"shapes": {"scale": [2]}}},
    ):
        with pytest.raises(ValueError, match="the file belongs to another model"):
            structure.apply(teacher(), edits)


def test_a_network_of_ours_survives_its_folder_after_a_cut_that_its_keys_do_not_tell(
    tmp_path: Path,
) -> None:
    student = cnn()
    first, norm, second = (
        student.get_submodule("blocks.0.0"),
        student.get_submodule("blocks.0.1"),
        student.get_submodule("blocks.1.0"),
    )
    for module, key, axis in (
        (first, "weight", 0),
        (second, "weight", 1),
        *((norm, each, 0) for each in ("weight", "bias", "running_mean", "running_var")),
    ):
        structure.put(
            module, key, getattr(module, key).detach().index_select(axis, torch.tensor([0, 2, 3]))
        )
    first.out_channels = second.in_channels = norm.num_features = 3  # type: ignore[assignment]
    header = {"name": "small_cnn", "options": {"width": 4, "depth": 1}, "labels": 5, "channels": 1}
    save_model(student, tmp_path, network=header, preprocess_file="preprocess.json", text="{}")
    loaded = load_model(tmp_path, IMAGES.task).eval()
    assert torch.equal(logits(loaded, pixels(3)), logits(student, pixels(3)))
    assert loaded.get_submodule("blocks.1.0").in_channels == 3
