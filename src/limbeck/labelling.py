"""How the teacher answers in training: from its cache, which is a stage of the store, from one cache a view, or live; several together."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from limbeck import augment, features, likeness, models, objective, teacher
from limbeck.binding import match_layers, refuse_other_tokens, taps_of
from limbeck.ensemble import Ensemble
from limbeck.losses import FeatureLoss
from limbeck.recipe import Recipe
from limbeck.stages import Answers, Bench, Net, teacher_stage
from limbeck.store import digest, file_digest
from limbeck.tasks import Batch


def label_stages(bench: Bench, recipe: Recipe, guide: Net, start: Net, terms: list[objective.Term]) -> Answers:
    """The answers of the one that teaches; together with those of further teachers, which an assistant stands for too."""
    answers = [label_stage(bench, recipe, guide, start, terms)]
    others = [] if recipe.assistant else further_teachers(bench, recipe)
    if not others:
        return answers[0]
    assert recipe.teacher is not None and recipe.distill is not None
    plain = [term for term in terms if not isinstance(term.loss, FeatureLoss)]  # inner maps are those of the first
    answers += [label_stage(bench, recipe, other, start, plain) for other in others]
    weights, combine = [each.weight for each in (recipe.teacher, *recipe.teachers)], recipe.distill.combine
    key = digest([[each.key for each in answers], weights, combine])
    return Answers(key, lambda: Ensemble([each.open() for each in answers], weights, combine))


def further_teachers(bench: Bench, recipe: Recipe) -> list[Net]:
    """The teachers beside the first."""
    return [teacher_stage(bench, recipe.model_copy(update={"teacher": other})) for other in recipe.teachers]


def label_stage(bench: Bench, recipe: Recipe, ready: Net, start: Net, terms: list[objective.Term]) -> Answers:
    """The teacher's outputs over the training rows, and what the losses read inside it; with augmentation nothing is stored, unless the number of
    views is fixed: then each view is.

    Raises ValueError where the augmented pixels of the student, or its tokens, are not those that the teacher reads.
    """
    same_inputs = ready.task.preprocess == start.task.preprocess
    if recipe.train.augment and not same_inputs:
        raise ValueError(
            "train.augment: the student's images are augmented as it reads them, and this teacher reads another size or scale of pixels. "
            "Leave augment out, or take two models with the same preprocessing"
        )
    if not same_inputs and bench.reads_tokens and bench.encode("train", start.task)[0].positions is None:
        refuse_other_tokens(terms)
    for line in match_layers(terms, start.layers, ready.layers, partial(compared, bench, start, ready)):
        bench.store.tell_once(line)
    asked = teacher.Asked(taps_of(terms, of_teacher=True), bench.dtype(), recipe.distill.cache if recipe.distill else "float16")
    if recipe.train.augment:
        views = augment.views(recipe.train, ready.task)
        if not (views and views.count):
            return Answers(f"live {ready.key} {asked.taps}", lambda: teacher.Live(ready.load().eval(), asked.taps, asked.dtype))
        folders = [label(bench, ready, asked, views, number) for number in range(views.count)]
        return Answers(" ".join(each.name for each in folders), lambda: teacher.PerView([teacher.open_cache(each) for each in folders]))
    folder = label(bench, ready, asked)
    return Answers(folder.name, lambda: teacher.open_cache(folder))


def label(bench: Bench, ready: Net, asked: teacher.Asked, views: augment.Views | None = None, number: int = 0) -> Path:
    """The stage of the teacher's outputs over the training rows, or over their view of that number."""
    inputs = {
        "teacher": file_digest(ready.folder / models.WEIGHTS), "preprocess": digest(ready.task.preprocess), "data": bench.fingerprint("train"),
        "task": bench.recipe.task, "taps": asked.taps, "stored": asked.stored if asked.taps else None, "dtype": str(asked.dtype),
        **bench.environment(),
    }  # fmt: skip
    title = "label"
    if views:
        inputs["view"] = {"augment": list(views.names), "seed": views.seed, "number": number}
        asked, title = replace(asked, view=partial(views.view, number=number)), f"label (view {number + 1} of {views.count})"

    def build(folder: Path) -> None:
        teacher.label(ready.load(), bench.encode("train", ready.task), ready.task, asked, folder, bench.store.tell)

    return bench.store.stage("label", inputs, build, label=title)


def compared(bench: Bench, start: Net, ready: Net) -> np.ndarray:
    """(student layers, teacher layers) how alike they are."""
    return likeness.likeness(*(likeness.Side(net.load(), net.layers, batches_alike(bench, net)) for net in (start, ready)))


def batches_alike(bench: Bench, net: Net) -> list[Batch]:
    """A few training rows, the same in the same batches for every model."""
    rows = bench.encode("train", net.task)
    chosen = np.arange(min(likeness.ROWS, len(rows)))
    return [features.batch_of(rows, part, net.task.padding) for part in np.array_split(chosen, -(-len(chosen) // 16))]
