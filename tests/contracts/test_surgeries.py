"""What every surgery keeps: the teacher stays as it was, the identity is exact, the parameters are counted.

A surgery without keys is taken for the identity; one with `layers` is the identity when it keeps them all.
"""

import copy
from pathlib import Path

import pytest
import torch
from tiny_models import bert, cnn, logits, pixels, tokens
from torch import nn

from limbeck import features, registry

LAYERS = 4
NAMES = registry.names("surgeries")
CUTTING = [name for name in NAMES if "layers" in registry.keys("surgeries", name)]
INPUTS = tokens(3, 9)


def identity(name: str, layers: int) -> nn.Module:
    """The surgery `name`, told to cut nothing."""
    return registry.create("surgeries", name, {"layers": layers} if name in CUTTING else {})


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_identity_surgery_is_exact(name: str) -> None:
    teacher = bert(layers=LAYERS)
    student = identity(name, LAYERS).cut(teacher)
    assert torch.equal(logits(student, INPUTS), logits(teacher, INPUTS))
    assert count(student) == count(teacher)
    assert features.blocks(student) == features.blocks(teacher)


@pytest.mark.parametrize("name", NAMES)
def test_the_identity_surgery_is_exact_on_a_network_of_ours(name: str) -> None:
    teacher = cnn()
    assert torch.equal(logits(identity(name, 3).cut(teacher), pixels(3)), logits(teacher, pixels(3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_stays_as_it_was(name: str) -> None:
    """Neither the cut nor training the student touches it."""
    teacher = bert(layers=LAYERS)
    before, config = snapshot(teacher), copy.deepcopy(teacher.config.to_dict())
    student = registry.create("surgeries", name, {"layers": 2} if name in CUTTING else {}).cut(teacher)
    student(**INPUTS).logits.sum().backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.config.to_dict() == config
    assert len(features.blocks(teacher)) == LAYERS


@pytest.mark.parametrize("name", NAMES)
def test_the_same_cut_twice_is_the_same_student(name: str) -> None:
    teacher, surgery = bert(layers=LAYERS), registry.create("surgeries", name, {"layers": 2} if name in CUTTING else {})
    first, second = snapshot(surgery.cut(teacher)), snapshot(surgery.cut(teacher))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_student_survives_its_folder(name: str, tmp_path: Path) -> None:
    """The config tells the new shape, so that `transformers` builds it again."""
    from transformers import BertForTokenClassification

    student = registry.create("surgeries", name, {"layers": 2} if name in CUTTING else {}).cut(bert(layers=LAYERS))
    student.save_pretrained(tmp_path)
    loaded = BertForTokenClassification.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert torch.equal(logits(loaded, INPUTS), logits(student, INPUTS))


@pytest.mark.parametrize("name", CUTTING)
@pytest.mark.parametrize(("layers", "kept"), [(1, [3]), (2, [1, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
def test_layers_are_kept_evenly_with_their_weights_and_counted(name: str, layers: int, kept: list[int]) -> None:
    teacher = bert(layers=LAYERS)
    student = registry.create("surgeries", name, {"layers": layers}).cut(teacher)
    own, theirs = features.blocks(student), features.blocks(teacher)
    assert len(own) == layers == student.config.num_hidden_layers
    one = count(teacher.get_submodule(theirs[0]))
    assert count(student) == count(teacher) - (LAYERS - layers) * one
    assert own[-1].rpartition(".")[0] == theirs[-1].rpartition(".")[0]
    for mine, source in zip(own, kept, strict=True):
        pairs = zip(student.get_submodule(mine).parameters(), teacher.get_submodule(theirs[source]).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.isfinite(logits(student, INPUTS)).all()


@pytest.mark.parametrize("name", CUTTING)
@pytest.mark.parametrize("layers", [0, -1, LAYERS + 1])
def test_more_layers_than_there_are_or_none_are_refused(name: str, layers: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep {layers} of {LAYERS} layers"):
        registry.create("surgeries", name, {"layers": layers}).cut(bert(layers=LAYERS))


@pytest.mark.parametrize("name", CUTTING)
def test_a_model_without_a_list_of_layers_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no ModuleList of layers"):
        registry.create("surgeries", name, {"layers": 1}).cut(nn.Linear(2, 2))


@pytest.mark.parametrize("name", CUTTING)
def test_a_cut_after_which_the_widths_do_not_meet_is_refused(name: str) -> None:
    """Without the first block of small_cnn the second reads channels that are not there: said at the cut, before step 0."""
    with pytest.raises(ValueError, match="layers"):
        logits(registry.create("surgeries", name, {"layers": 2}).cut(cnn()), pixels(2))


@pytest.mark.parametrize(
    ("keep", "of", "expected"), [(3, 6, [1, 3, 5]), (6, 12, [1, 3, 5, 7, 9, 11]), (1, 12, [11]), (4, 12, [2, 5, 8, 11]), (5, 5, [0, 1, 2, 3, 4])]
)
def test_evenly(keep: int, of: int, expected: list[int]) -> None:
    assert features.evenly(keep, of) == expected


def test_evenly_never_repeats_an_index() -> None:
    for of in range(1, 40):
        for keep in range(1, of + 1):
            found = features.evenly(keep, of)
            assert len(set(found)) == keep
            assert found == sorted(found)
            assert found[0] >= 0
            assert found[-1] == of - 1
