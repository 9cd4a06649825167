"""How the teacher answers in training: from its cache, which is a stage of the store, from one cache a view, or live; several together."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.core.files import digest, file_digest
from limbeck.core.store import Held
from limbeck.data import augment
from limbeck.distillation import cka, objective, teacher
from limbeck.distillation.binding import match_layers, refuse_other_tokens, taps_of
from limbeck.distillation.ensemble import Ensemble
from limbeck.losses import FeatureLoss, PeerLoss
from limbeck.models.taps import batch_of
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.context import Answers, Bench, Net
from limbeck.pipeline.stages import teacher_stage
from limbeck.recipe.model import Distill, Recipe
from limbeck.tasks import Batch, Task, packed

PART_ROWS, MOST_PARTS = 4096, 64  # of the cache


@dataclass(frozen=True)
class Labels:
    """The parts of a cache, `size` rows in each but the last."""

    key: str
    folders: Sequence[Path]
    size: int

    def open(self) -> teacher.Cache:
        """The cache, memory-mapped."""
        return teacher.open_cache(self.folders, self.size)

    @property
    def megabytes(self) -> float:
        """On disk."""
        return (
            sum(path.stat().st_size for folder in self.folders for path in folder.iterdir()) / 2**20
        )


def label_stages(
    bench: Bench, recipe: Recipe, guide: Net, start: Net, terms: list[objective.Term]
) -> Answers:
    """The answers of the one that teaches; together with those of further teachers, which an assistant stands for too. Where a loss lets it learn
    along, a copy of it.

    Raises ValueError for a copy that reads other inputs than the student.
    """
    if not any(isinstance(term.loss, PeerLoss) for term in terms):
        return frozen(bench, recipe, guide, start, terms)
    if guide.task.preprocess != start.task.preprocess:
        raise ValueError(
            "distill.losses.mutual: teacher and student learn from one batch, and they read other inputs. Take two that read alike"
        )
    reads = any("logits" in term.loss.reads for term in terms)
    beside = (
        frozen(bench, recipe, guide, start, terms)
        if reads
        else Answers("", lambda: lambda batch: None)
    )
    return replace(beside, key=f"{beside.key} peer {guide.key}", peer=guide.load)


def frozen(
    bench: Bench, recipe: Recipe, guide: Net, start: Net, terms: list[objective.Term]
) -> Answers:
    """The answers of teachers that stand still."""
    answers = [label_stage(bench, recipe, guide, start, terms)]
    others = [] if recipe.assistant else further_teachers(bench, recipe)
    if not others:
        return answers[0]
    assert recipe.teacher is not None and recipe.distill is not None
    plain = [
        term for term in terms if not isinstance(term.loss, FeatureLoss)
    ]  # inner maps are those of the first
    answers += [label_stage(bench, recipe, other, start, plain) for other in others]
    weights, combine = (
        [each.weight for each in (recipe.teacher, *recipe.teachers)],
        recipe.distill.combine,
    )
    key = digest([[each.key for each in answers], weights, combine])
    return Answers(key, lambda: Ensemble([each.open() for each in answers], weights, combine))


def further_teachers(bench: Bench, recipe: Recipe) -> list[Net]:
    """The teachers beside the first."""
    return [
        teacher_stage(bench, recipe.model_copy(update={"teacher": other}))
        for other in recipe.teachers
    ]


def label_stage(
    bench: Bench, recipe: Recipe, ready: Net, start: Net, terms: list[objective.Term]
) -> Answers:
    """The teacher's outputs over the training rows, and what the losses read inside it; with augmentation nothing is stored, unless the number of
    views is fixed: then each view is.

    Raises ValueError where the augmented pixels of the student, or its tokens, are not those that the teacher reads.
    """
    settings = recipe.distill or Distill()
    same_inputs = ready.task.preprocess == start.task.preprocess
    if recipe.train.augment and not same_inputs:
        raise ValueError(
            "train.augment: the student's images are augmented as it reads them, and this teacher reads another size or scale of pixels. "
            "Leave augment out, or take two models with the same preprocessing"
        )
    if (
        not same_inputs
        and bench.reads_tokens
        and bench.encode("train", start.task)[0].positions is None
    ):
        refuse_other_tokens(terms)
    for line in match_layers(
        terms, start.layers, ready.layers, partial(compared, bench, start, ready)
    ):
        bench.store.tell_once(line)
    asked = teacher.Asked(
        taps_of(terms, of_teacher=True),
        bench.dtype(),
        settings.cache,
        settings.top_k if settings.top_k < len(ready.task.labels) else 0,
    )
    views = augment.views(recipe.train, ready.task)
    if views and not views.count:
        return Answers(
            f"live {ready.key} {asked.taps}",
            lambda: teacher.Live(ready.load().eval(), asked.taps, asked.dtype),
        )
    inputs = {
        "teacher": file_digest(ready.folder / WEIGHTS), "preprocess": digest(ready.task.preprocess), "data": bench.fingerprint("train"),
        "task": recipe.task, "taps": asked.taps, "stored": asked.stored if asked.taps else None, "dtype": str(asked.dtype),
        "top": asked.top, **bench.environment(),
    }  # fmt: skip
    load = cache(ready.load)
    if views is None:
        whole = label(bench, ready.task, load, asked, inputs, "label")
        return Answers(whole.key, whole.open)
    assert views.count is not None
    viewed = []
    for number in range(views.count):
        own = inputs | {
            "view": {"augment": list(views.names), "seed": views.seed, "number": number}
        }
        seen = replace(asked, view=partial(views.view, number=number))
        viewed.append(
            label(bench, ready.task, load, seen, own, f"label (view {number + 1} of {views.count})")
        )
    return Answers(
        " ".join(each.key for each in viewed),
        lambda: teacher.PerView([each.open() for each in viewed]),
    )


def label(
    bench: Bench,
    task: Task,
    load: Callable[[], nn.Module],
    asked: teacher.Asked,
    inputs: dict[str, Any],
    title: str,
) -> Labels:
    """The outputs of the teacher that `load` gives over the training rows: a stage for every part, of which another process may make some at the same
    time. `inputs`: what they depend on."""
    encoded = bench.encode("train", task)
    size = max(PART_ROWS, -(-len(encoded) // MOST_PARTS))
    parts = [
        packed.Part(encoded, start, min(start + size, len(encoded)))
        for start in range(0, len(encoded), size)
    ]

    def stage(index: int, *, wait: bool) -> Path:
        part, own = (
            parts[index],
            inputs
            if len(parts) == 1
            else inputs | {"rows": [parts[index].start, parts[index].stop]},
        )
        told = title if len(parts) == 1 else f"{title}, part {index + 1} of {len(parts)}"
        return bench.store.stage(
            "label",
            own,
            lambda folder: teacher.label(load(), part, task, asked, folder, bench.store.tell),
            label=told,
            wait=wait,
        )

    folders, known = dict[int, Path](), len(bench.store.records)
    for index in range(len(parts)):
        with contextlib.suppress(Held):  # another process is at it
            folders[index] = stage(index, wait=False)
    whole = [
        folders[index] if index in folders else stage(index, wait=True)
        for index in range(len(parts))
    ]
    labels = Labels(digest([folder.name for folder in whole]), whole, size)
    there = sum(record["reused"] for record in bench.store.records[known:])
    bench.store.tell_once(
        f"{title}: {len(encoded):,} rows, {labels.megabytes:,.1f} MB, {there} of {len(parts)} parts found in the cache"
    )
    return labels


def compared(bench: Bench, start: Net, ready: Net) -> np.ndarray:
    """(student layers, teacher layers) how alike they are."""
    return cka.likeness(
        *(cka.Side(net.load(), net.layers, batches_alike(bench, net)) for net in (start, ready))
    )


def batches_alike(bench: Bench, net: Net) -> list[Batch]:
    """A few training rows, the same in the same batches for every model."""
    rows = bench.encode("train", net.task)
    chosen = np.arange(min(cka.ROWS, len(rows)))
    return [
        batch_of(rows, part, net.task.padding)
        for part in np.array_split(chosen, -(-len(chosen) // 16))
    ]
