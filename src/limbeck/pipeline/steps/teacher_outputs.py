"""How the teachers answer in training.

From a cache that is a stage of the store, from one cache for each augmented view, or live; several
together. A cache is labelled in parts, each a stage: another process, or another run of the same
recipe, may make some of them at the same time, and a kill loses one part at most.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.core.cache.store import Held
from limbeck.core.files import digest
from limbeck.data import augment
from limbeck.distillation import cka
from limbeck.distillation.binding import (
    match_layers,
    refuse_other_tokens,
    taps_of,
)
from limbeck.distillation.ensemble import Ensemble
from limbeck.distillation.objective import Term
from limbeck.distillation.packed_logits import TOP
from limbeck.distillation.teacher import LiveTeacher, TeacherRequest
from limbeck.distillation.teacher_cache import CachedViews, TeacherCache, open_cache, write_cache
from limbeck.losses import FeatureLoss, PeerLoss
from limbeck.models.processes import process_index
from limbeck.models.sharding import shard_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.steps.teacher import further_teachers
from limbeck.pipeline.stored_model import StoredModel
from limbeck.pipeline.teaching import vocabularies
from limbeck.recipe.model import Distill, Recipe
from limbeck.tasks import Batch, Task, packed
from limbeck.training.job import no_teacher

# A part takes a minute or so to label with a model of 100 M parameters on two cores; more parts
# than 64 would make keys and files outweigh what a kill loses.
PART_ROWS = 4096
MOST_PARTS = 64
# Of which all logits are kept where a recipe does not say: they take 4 bytes each.
MOST_LABELS = 1024
# In a batch, where layers of two models are compared.
ROWS_COMPARED = 16

# None where nothing is asked of the teacher.
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
    """A cache that is written.

    key: says all that its content depends on.
    folders: of its parts, in the order of the rows.
    size: how many rows each part has, but the last.
    load: the teacher, on its device.
    """

    key: str
    folders: Sequence[Path]
    size: int
    load: Callable[[], nn.Module]

    # Opened when a training is built, and not with the stage: a training that is found needs none.
    def open(self) -> TeacherCache:
        """The cache, memory-mapped."""
        return open_cache(self.folders, self.size, self.load)

    @property
    def megabytes(self) -> float:
        """On disk."""
        files = (path for folder in self.folders for path in folder.iterdir())
        return sum(path.stat().st_size for path in files) / 2**20


def answer_nothing() -> Answer:
    """What opens where a peer alone teaches: it learns along, and answers within its loss."""
    return no_teacher


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
        recipe: the arm's.
        run: what the arms share.
        guide: the teacher, or the assistant.
        student: before its training.
        terms: the losses, some of which read the teacher.

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
    # Other losses of the recipe may read the teacher as it was tuned.
    beside = TeacherAnswers("", answer_nothing)
    if any("logits" in term.loss.reads for term in terms):
        beside = _of_frozen(recipe, run, guide, student, terms)
    key = f"{beside.key} peer {guide.key}"
    return replace(beside, key=key, peer=guide.load)


def _of_frozen(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> TeacherAnswers:
    """The answers of teachers that do not learn along; arguments as of `teacher_outputs`."""
    first = _of_one(recipe, run, guide, student, terms)
    others = [] if recipe.assistant else further_teachers(recipe, run)
    if not others:
        return first
    assert recipe.teacher is not None and recipe.distill is not None
    # Inner tensors are those of the first teacher: the others may have other layers.
    on_logits = [term for term in terms if not isinstance(term.loss, FeatureLoss)]
    answers = [first]
    answers += [_of_one(recipe, run, other, student, on_logits) for other in others]
    weights = [teacher.weight for teacher in (recipe.teacher, *recipe.teachers)]
    combine = recipe.distill.combine

    def open_all() -> Answer:
        opened = [each.open() for each in answers]
        return Ensemble(opened, weights, combine)

    keys = [each.key for each in answers]
    return TeacherAnswers(digest([keys, weights, combine]), open_all)


def _of_one(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> TeacherAnswers:
    """One teacher's outputs over the training rows, and what the losses read inside it.

    With augmentation nothing is stored, unless the number of views is fixed: then each view is.

    Args:
        recipe: the arm's.
        run: what the arms share.
        guide: the one that is asked.
        student: whose layers meet the teacher's.
        terms: the losses that read this teacher.

    Raises:
        ValueError: the augmented pixels of the student, or its tokens, are not those that the
            teacher reads.
    """
    settings = recipe.distill or Distill()
    # 1. What is asked: which layers meet decides what is read inside the teacher.
    refuse_other_inputs(recipe, run, guide, student, terms)
    compare = partial(_compare_layers, run, student, guide)
    for line in match_layers(terms, student.layers, guide.layers, compare):
        run.store.tell_once(line)
    request = TeacherRequest(
        taps=taps_of(terms, of_teacher=True),
        dtype=run.dtype(),
        stored=settings.cache,
        top=num_kept(settings.top_k, guide.task),
    )
    # 2. Views without number, or texts that the student writes: the teacher answers live.
    views = augment.views(recipe.train, guide.task)
    if settings.on_policy or (views and not views.count):
        return TeacherAnswers(
            f"live {guide.key} {request.taps}",
            lambda: LiveTeacher(load_frozen(recipe, run, guide), request.taps, request.dtype),
        )
    # 3. Else from a cache, or from one for each view.
    labelling = Labelling(recipe, run, guide, request)
    if views is None:
        whole = labelling.label({}, "label")
        return TeacherAnswers(whole.key, whole.open)
    assert views.count is not None
    caches: list[CachedOutputs] = []
    for number in range(views.count):
        in_key = {"augment": list(views.names), "seed": views.seed, "number": number}
        seen = replace(request, view=partial(views.view, number=number))
        of_view = replace(labelling, request=seen)
        title = f"label (view {number + 1} of {views.count})"
        caches.append(of_view.label({"view": in_key}, title))
    return TeacherAnswers(
        " ".join(each.key for each in caches),
        lambda: CachedViews([each.open() for each in caches]),
    )


def num_kept(
    top_k: int | None,
    task: Task,
) -> int:
    """Of how many labels logits are kept by themselves; 0 for all.

    Where the recipe leaves `top_k` open all are kept, but of a vocabulary `packed_logits.TOP`.
    """
    num_labels = len(task.labels)
    if top_k is None:
        # A softmax alone shares what the largest leave.
        is_vocabulary = task.likelihood == "categorical" and num_labels > MOST_LABELS
        return TOP if is_vocabulary else 0
    # As many as there are is all of them.
    return 0 if top_k >= num_labels else top_k


def refuse_other_inputs(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
    student: StoredModel,
    terms: Sequence[Term],
) -> None:
    """Refuse two models that would not read the same input in a step.

    Raises:
        ValueError: their augmented pixels differ, or the tokens that a loss compares.
    """
    if guide.task.preprocess == student.task.preprocess:
        return
    if recipe.train.augment:
        raise ValueError(
            "train.augment: the student's images are augmented as it reads them, and this teacher "
            "reads another size or scale of pixels. Leave augment out, or take two models with the "
            "same preprocessing"
        )
    if not run.reads_tokens:
        return
    vocabularies.refuse_other_tokens(recipe, student.task, guide.task, terms)
    # Words have positions, and meet word by word; of a text as one unit the tokens must meet.
    first_row = run.encode("train", student.task)[0]
    if first_row.positions is None:
        refuse_other_tokens(terms)


@dataclass(frozen=True)
class Labelling:
    """One teacher that is asked about every training row.

    recipe: the arm's.
    run: what the arms share.
    guide: the one that is asked.
    request: what is wanted of it.
    """

    recipe: Recipe
    run: RunContext
    guide: StoredModel
    request: TeacherRequest

    def label(
        self,
        view: dict[str, Any],
        title: str,
    ) -> CachedOutputs:
        """The outputs over the training rows: a stage for every part.

        Args:
            view: which augmented view the rows are shown in, as part of the key.
            title: what the stage is called while it runs.
        """
        run = self.run
        # 1. The parts; the size is rounded up.
        encoded = run.encode("train", self.guide.task)
        num_rows = len(encoded)
        size = max(PART_ROWS, -(-num_rows // MOST_PARTS))
        parts: list[packed.Part] = []
        for start in range(0, num_rows, size):
            stop = min(start + size, num_rows)
            parts.append(packed.Part(encoded, start, stop))
        # The model is loaded once, and only if some part is not there.
        load = cache(partial(load_frozen, self.recipe, run, self.guide))
        stages = [
            self._stage(part, load, view, _part_title(title, index, len(parts)), len(parts))
            for index, part in enumerate(parts)
        ]
        num_known = len(run.store.records)
        # 2. First the parts that no other process is at, then those that one was.
        folders: dict[int, Path] = {}
        for index, stage in enumerate(stages):
            with contextlib.suppress(Held):
                folders[index] = run.compute(stage, wait=False)
        for index, stage in enumerate(stages):
            if index not in folders:
                folders[index] = run.compute(stage)
        # 3. The whole.
        in_order = [folders[index] for index in range(len(stages))]
        key = digest([folder.name for folder in in_order])
        # Not the model that labelled, which is forgotten with its memory.
        again = partial(load_frozen, self.recipe, run, self.guide)
        outputs = CachedOutputs(key, in_order, size, again)
        records = run.store.records[num_known:]
        num_found = sum(record["reused"] for record in records)
        run.store.tell_once(
            f"{title}: {num_rows:,} rows, {outputs.megabytes:,.1f} MB, "
            f"{num_found} of {len(parts)} parts found in the cache"
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
        """One part of the cache.

        Args:
            part: its rows.
            load: the model that answers, on its device.
            view: as of `label`.
            title: the part's.
            num_parts: of the whole.
        """
        run = self.run
        guide = self.guide
        request = self.request

        def build(folder: Path) -> None:
            with _folder_of_process(folder) as own:
                write_cache(load(), part, guide.task, request, own, run.store.tell)

        inputs: dict[str, Any] = {
            # The weights themselves: a teacher that was tuned anew to the same ones answers alike.
            # Its history is left out, and what it was made of.
            "teacher": guide.content(),
            "model": run.code_reference(guide.name),
            "sharded": is_sharded(self.recipe, guide),
            "preprocess": digest(guide.task.preprocess),
            "data": run.fingerprint("train"),
            "task": self.recipe.task,
            "taps": request.taps,
            # How taps are stored says nothing where there is none.
            "stored": request.stored if request.taps else None,
            "dtype": str(request.dtype),
            "top": request.top,
            **run.environment(),
            **view,
        }
        if num_parts > 1:
            inputs["rows"] = [part.start, part.stop]
        return Stage(
            name="label",
            inputs=inputs,
            build=build,
            components=[
                *run.task_component,
                *run.model_components(guide.name),
            ],
            title=title,
            # Of a model that is split over the processes, none can answer alone.
            is_shared=is_sharded(self.recipe, guide),
            work=Work(split="train", task=guide.task, once=guide.load),
        )


def is_sharded(
    recipe: Recipe,
    guide: StoredModel,
) -> bool:
    """Whether the recipe splits this teacher's weights over the processes."""
    teachers = [recipe.teacher, *recipe.teachers]
    # An assistant goes by the name of what it was cut from, and is small: it stands whole.
    is_assistant = recipe.assistant is not None
    placements = {each.model: each.placement for each in teachers if each}
    return not is_assistant and placements.get(guide.name) == "sharded"


def load_frozen(
    recipe: Recipe,
    run: RunContext,
    guide: StoredModel,
) -> nn.Module:
    """The model that is asked, on the run's device, or split over its processes."""
    model = guide.load().eval()
    if is_sharded(recipe, guide):
        return shard_model(model, run.place.device)
    return run.place.move_model(model)


@contextlib.contextmanager
def _folder_of_process(folder: Path) -> Iterator[Path]:
    """The stage's folder on process 0; elsewhere one that is thrown away: one process writes."""
    if process_index() == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="label-") as scratch:
        yield Path(scratch)


def _part_title(
    title: str,
    index: int,
    num_parts: int,
) -> str:
    """What a part is called; the only one is the whole."""
    return title if num_parts == 1 else f"{title}, part {index + 1} of {num_parts}"


def _compare_layers(
    run: RunContext,
    student: StoredModel,
    guide: StoredModel,
) -> np.ndarray:
    """(student layers, teacher layers) how alike they are, by CKA over a few training rows."""
    sides: list[cka.Side] = []
    for model in (student, guide):
        batches = _same_batches(run, model.task)
        sides.append(cka.Side(model.load(), model.layers, batches))
    return cka.likeness(*sides)


def _same_batches(
    run: RunContext,
    task: Task,
) -> list[Batch]:
    """A few training rows, the same in the same batches for every model."""
    rows = run.encode("train", task)
    # By number and not by length, which two tokenizers may see differently.
    chosen = np.arange(min(cka.ROWS, len(rows)))
    # Rounded up: no batch has more rows than that.
    num_batches = -(-len(chosen) // ROWS_COMPARED)
    parts = np.array_split(chosen, num_batches)
    return [batch_of(rows, part, task.padding) for part in parts]
