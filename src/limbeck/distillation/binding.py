"""The losses that read inside both models: which layers meet, what is read of them, and whether it
fits; all before step 0, so that a mistake costs no training."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.core import plug_ins, registry
from limbeck.distillation.objective import OTHER_VOCABULARY, Term, compares_labels
from limbeck.losses import FeatureLoss, PeerLoss
from limbeck.models.running import run_model
from limbeck.models.taps import BY_PLACE, Outputs, Tap
from limbeck.models.torch_batches import device_of, to_device, to_torch
from limbeck.tasks import Batch

# How a line about pairs of layers begins, after its loss; `limbeck check` finds the lines by it.
MATCHED = "student <- teacher layers"


def match_layers(
    terms: Sequence[Term],
    student: Sequence[str],
    teacher: Sequence[str],
    likeness: Callable[[], np.ndarray],
) -> list[str]:
    """Give every loss on inner tensors its pairs of layers; returns a line to tell about each.

    `student`, `teacher`: the names of each model's layers. `likeness()`: (student's layers,
    teacher's layers) how alike they are, measured once, and only where a loss asks for it.

    Raises ValueError, naming the loss, where its layers cannot be matched.
    """
    # A pass of both models over some rows, which several losses may ask for.
    measure_once = cache(likeness)
    lines = []
    for name, loss in feature_losses(terms).items():
        try:
            # Before `bind`, since what is read of the models depends on the pairs.
            loss.pairs = loss.matching.pairs(student, teacher, measure_once)
        except ValueError as error:
            raise ValueError(f"distill.losses.{name}: {plug_ins.words_of(error)}") from None
        arrows = [
            f"{student_layer} <- {teacher_layer}" for student_layer, teacher_layer in loss.pairs
        ]
        lines.append(f"{name}: {MATCHED} {', '.join(arrows)}")
    return lines


def feature_losses(terms: Sequence[Term]) -> dict[str, FeatureLoss]:
    """The losses on inner tensors, by name."""
    return {term.name: term.loss for term in terms if isinstance(term.loss, FeatureLoss)}


def refuse_other_tokens(terms: Sequence[Term]) -> None:
    """For two models that cut a text into other tokens: raises ValueError where a loss compares
    them token by token."""
    for name, loss in feature_losses(terms).items():
        if set(loss.kinds) & set(BY_PLACE):
            raise ValueError(
                f"distill.losses.{name}: it compares token by token, and teacher and student cut "
                "a text into other tokens. Take two models with one tokenizer and maximum length, "
                "or the loss `hidden`, which compares whole texts"
            )


def refuse_other_vocabulary(
    terms: Sequence[Term], student: Sequence[str], teacher: Sequence[str]
) -> None:
    """Raise ValueError where a loss compares label by label two models whose labels are the tokens
    of two vocabularies."""
    if list(student) == list(teacher):
        return
    for term in terms:
        if not compares_labels(term.loss):
            continue
        raise ValueError(
            f"distill.losses.{term.name}: it compares two models label by label, and the tokens of "
            f"teacher and student are two vocabularies: {difference(student, teacher)}. "
            f"{OTHER_VOCABULARY}"
        )


def difference(student: Sequence[str], teacher: Sequence[str]) -> str:
    """In what two vocabularies differ, in words.

    >>> difference(["a", "b", "c"], ["a", "b"])
    'the student has 3 tokens and the teacher 2; the first 2 are the same'
    """
    told = f"the student has {len(student):,} tokens and the teacher {len(teacher):,}"
    pairs = zip(student, teacher, strict=False)
    for number, (of_student, of_teacher) in enumerate(pairs):
        if of_student != of_teacher:
            return (
                f"{told}; token {number:,} is `{of_student}` of the student and `{of_teacher}` of "
                "the teacher"
            )
    first = min(len(student), len(teacher))
    return f"{told}; the first {first:,} are the same"


def taps_of(terms: Sequence[Term], *, of_teacher: bool) -> list[Tap]:
    """What the losses read inside one of the models, each once, in the losses' order."""
    taps = []
    for loss in feature_losses(terms).values():
        for student_layer, teacher_layer in loss.pairs:
            layer = teacher_layer if of_teacher else student_layer
            taps += [Tap(kind, layer) for kind in loss.kinds]
    # Losses may read the same layer: a tensor is kept, and cached, once.
    return list(dict.fromkeys(taps))


def bind_losses(
    model: nn.Module,
    terms: Sequence[Term],
    answer: Callable[[Batch], Outputs | None] | None,
    example: Batch,
) -> list[Tap]:
    """Bind every loss on inner tensors to both models, which checks shapes and makes projectors.

    `model`: the student. `answer`: the teacher's outputs on a batch, None where there is no
    teacher. `example`: a few rows, as numpy arrays.

    Returns what the losses read of the student. Raises ValueError, naming the loss, where shapes
    do not fit.
    """
    taps = taps_of(terms, of_teacher=False)
    if answer is None or not taps:
        return []
    batch = to_device(to_torch(example), device_of(model))
    with torch.no_grad():
        student = run_model(model.eval(), batch, taps)
        teacher = answer(batch)
    assert teacher is not None  # a loss that reads inside a teacher has one
    # Place by place two models can only be compared on the same places.
    student_places = student.place_mask.shape[1]
    teacher_places = teacher.place_mask.shape[1]
    if student_places != teacher_places:
        raise ValueError(
            f"distill: a row has {student_places} places in the student and {teacher_places} in "
            "the teacher. Take the loss `hidden`, of whole rows"
        )
    for name, loss in feature_losses(terms).items():
        try:
            loss.bind(loss.pairs, student, teacher)
        except ValueError as error:
            raise ValueError(f"distill.losses.{name}: {plug_ins.words_of(error)}") from None
    return taps


def bind_peers(
    terms: Sequence[Term],
    make_peer: Callable[[], nn.Module],
    hard_loss: str,
    hard_keys: Mapping[str, Any],
) -> None:
    """Give every loss of two that learn together a copy of the teacher, and the task's own loss by
    its name in the registry and its keys."""
    # A copy each: two such losses would pull one copy both ways.
    for term in terms:
        if isinstance(term.loss, PeerLoss):
            hard = registry.create("losses", hard_loss, dict(hard_keys))
            term.loss.bind_peer(make_peer(), hard)
