"""How the teachers answer in training: from a cache that is a stage of the store, from one cache for
each augmented view, or live; several together.

A cache is labelled in parts, each a stage: another process, or another run of the same recipe, may
make some of them at the same time, and a kill loses one part at most.
"""

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
from limbeck.distillation import cka
from limbeck.distillation.binding import match_layers, refuse_other_tokens, taps_of
from limbeck.distillation.ensemble import Ensemble
from limbeck.distillation.objective import Term
from limbeck.distillation.teacher import LiveTeacher, TeacherRequest
from limbeck.distillation.teacher_cache import CachedViews, TeacherCache, open_cache, write_cache
from limbeck.losses import FeatureLoss, PeerLoss
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.teacher import further_teachers
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.model import Distill, Recipe
from limbeck.tasks import Batch, Task, packed

# A part takes a minute or so to label with a model of 100 M parameters on two cores; more parts
# than 64 would make keys and files outweigh what a kill loses.
PART_ROWS = 4096
MOST_PARTS = 64
ROWS_COMPARED = 16  # in a batch, where layers of two models are compared

Answer = Callable[[Batch], Outputs | None]


@dataclass(frozen=True)
class TeacherAnswers:
    """How the teacher answers in training.

    key: says all that its answers depend on.
    open: gives the function of a batch that answers it.
    peer: loads a copy of the teacher that learns along with the student, where a loss wants one.
    """

    key: str
    open: Callable[[], Answer]
    peer: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class CachedOutputs:
    """The folders of a cache's parts, `size` rows in each but the last."""

    key: str
    folders: Sequence[Path]
    size: int

    def open(self) -> TeacherCache:
        """The cache, memory-mapped."""
        return open_cache(self.folders, self.size)

    @property
    def megabytes(self) -> float:
        """On disk."""
        files = (path for folder in self.folders for path in folder.iterdir())
        return sum(path.stat().st_size for path in files) / 2**20


def answer_nothing() -> Answer:
    """Of a peer alone nothing is request but what it learns."""
    return lambda batch: None


def teacher_outputs(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> TeacherAnswers:
    """The answers of the one that teaches, together with those of further teachers.

    An assistant stands for all teachers. Where a loss lets the teacher learn along, a copy of it
    comes with the answers.

    Args:
        guide: the teacher, or the assistant.

    Raises:
        ValueError: a copy that learns along reads other inputs than the student.
    """
    if not any(isinstance(term.loss, PeerLoss) for term in terms):
        return _of_frozen(recipe, run, guide, student, terms)
    if guide.task.preprocess != student.task.preprocess:
        raise ValueError(
            "distill.losses.mutual: teacher and student learn from one batch, and they read other "
            "inputs. Take two that read alike"
        )
    beside = TeacherAnswers("", answer_nothing)
    if any("logits" in term.loss.reads for term in terms):
        beside = _of_frozen(recipe, run, guide, student, terms)
    return replace(beside, key=f"{beside.key} peer {guide.key}", peer=guide.load)


def _of_frozen(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> TeacherAnswers:
    """The answers of teachers that stand still."""
    first = _of_one(recipe, run, guide, student, terms)
    others = [] if recipe.assistant else further_teachers(recipe, run)
    if not others:
        return first
    assert recipe.teacher is not None and recipe.distill is not None
    # Inner tensors are those of the first teacher: the others may have other layers.
    on_logits = [term for term in terms if not isinstance(term.loss, FeatureLoss)]
    answers = [first, *(_of_one(recipe, run, each, student, on_logits) for each in others)]
    weights = [each.weight for each in (recipe.teacher, *recipe.teachers)]
    combine = recipe.distill.combine
    key = digest([[each.key for each in answers], weights, combine])
    return TeacherAnswers(
        key, lambda: Ensemble([each.open() for each in answers], weights, combine)
    )


def _of_one(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> TeacherAnswers:
    """One teacher's outputs over the training rows, and what the losses read inside it.

    With augmentation nothing is stored, unless the number of views is fixed: then each view is.

    Raises:
        ValueError: the augmented pixels of the student, or its tokens, are not those that the
            teacher reads.
    """
    settings = recipe.distill or Distill()
    refuse_other_inputs(recipe, run, guide, student, terms)
    compare = partial(_compare_layers, run, student, guide)
    for line in match_layers(terms, student.layers, guide.layers, compare):
        run.store.tell_once(line)
    request = TeacherRequest(
        taps_of(terms, of_teacher=True),
        run.dtype(),
        settings.cache,
        settings.top_k if settings.top_k < len(guide.task.labels) else 0,
    )
    views = augment.views(recipe.train, guide.task)
    if views and not views.count:
        return TeacherAnswers(
            f"live {guide.key} {request.taps}",
            lambda: LiveTeacher(
                run.place.move_model(guide.load()).eval(), request.taps, request.dtype
            ),
        )
    labelling = Labelling(recipe, run, guide, request)
    if views is None:
        whole = labelling.label({}, "label")
        return TeacherAnswers(whole.key, whole.open)
    assert views.count is not None
    viewed = []
    for number in range(views.count):
        shown = {"augment": list(views.names), "seed": views.seed, "number": number}
        seen = replace(request, view=partial(views.view, number=number))
        title = f"label (view {number + 1} of {views.count})"
        viewed.append(replace(labelling, request=seen).label({"view": shown}, title))
    return TeacherAnswers(
        " ".join(each.key for each in viewed),
        lambda: CachedViews([each.open() for each in viewed]),
    )


def refuse_other_inputs(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> None:
    """Raises ValueError where teacher and student would not read the same input in a step."""
    if guide.task.preprocess == student.task.preprocess:
        return
    if recipe.train.augment:
        raise ValueError(
            "train.augment: the student's images are augmented as it reads them, and this teacher "
            "reads another size or scale of pixels. Leave augment out, or take two models with the "
            "same preprocessing"
        )
    is_one_unit = run.reads_tokens and run.encode("train", student.task)[0].positions is None
    if is_one_unit:
        refuse_other_tokens(terms)


@dataclass(frozen=True)
class Labelling:
    """One teacher that is request about every training row."""

    recipe: Recipe
    run: RunContext
    guide: StoredModel
    request: TeacherRequest

    def label(self, view: dict[str, Any], title: str) -> CachedOutputs:
        """The outputs over the training rows: a stage for every part.

        Args:
            view: which augmented view the rows are shown in, as part of the key.
        """
        run = self.run
        encoded = run.encode("train", self.guide.task)
        size = max(PART_ROWS, -(-len(encoded) // MOST_PARTS))
        starts = range(0, len(encoded), size)
        parts = [packed.Part(encoded, start, min(start + size, len(encoded))) for start in starts]
        load = cache(lambda: run.place.move_model(self.guide.load()))
        stages = [
            self._stage(part, load, view, _part_title(title, index, len(parts)), len(parts))
            for index, part in enumerate(parts)
        ]
        known = len(run.store.records)
        # First the parts that no other process is at, then those that one was.
        folders: dict[int, Path] = {}
        for index, stage in enumerate(stages):
            with contextlib.suppress(Held):
                folders[index] = run.compute(stage, wait=False)
        for index, stage in enumerate(stages):
            if index not in folders:
                folders[index] = run.compute(stage)
        in_order = [folders[index] for index in range(len(stages))]
        key = digest([folder.name for folder in in_order])
        outputs = CachedOutputs(key, in_order, size)
        found = sum(record["reused"] for record in run.store.records[known:])
        run.store.tell_once(
            f"{title}: {len(encoded):,} rows, {outputs.megabytes:,.1f} MB, "
            f"{found} of {len(parts)} parts found in the cache"
        )
        return outputs

    def _stage(
        self,
        part: packed.Part,
        load: Callable[[], nn.Module],
        view: dict[str, Any],
        title: str,
        num_parts: int,
    ) -> Stage:
        """One part of the cache."""
        run, guide, request = self.run, self.guide, self.request

        def build(folder: Path) -> None:
            write_cache(load(), part, guide.task, request, folder, run.store.tell)

        settings = self.recipe.teacher
        return Stage(
            name="label",
            inputs={
                "teacher": file_digest(guide.folder / WEIGHTS),
                "preprocess": digest(guide.task.preprocess),
                "data": run.fingerprint("train"),
                "task": self.recipe.task,
                "taps": request.taps,
                "stored": request.stored if request.taps else None,
                "dtype": str(request.dtype),
                "top": request.top,
                **run.environment(),
                **view,
                **({} if num_parts == 1 else {"rows": [part.start, part.stop]}),
            },
            build=build,
            components=[
                *run.task_component,
                *run.model_components(settings.model if settings else None),
            ],
            title=title,
            work=Work(split="train", task=guide.task, once=guide.load),
        )


def _part_title(title: str, index: int, num_parts: int) -> str:
    return title if num_parts == 1 else f"{title}, part {index + 1} of {num_parts}"


def _compare_layers(run: RunContext, student: StoredModel, guide: StoredModel) -> np.ndarray:
    """(student layers, teacher layers) how alike they are, by CKA over a few training rows."""
    sides = [
        cka.Side(model.load(), model.layers, _same_batches(run, model.task))
        for model in (student, guide)
    ]
    return cka.likeness(*sides)


def _same_batches(run: RunContext, task: Task) -> list[Batch]:
    """A few training rows, the same in the same batches for every model."""
    rows = run.encode("train", task)
    chosen = np.arange(min(cka.ROWS, len(rows)))
    parts = np.array_split(chosen, -(-len(chosen) // ROWS_COMPARED))
    return [batch_of(rows, part, task.padding) for part in parts]
