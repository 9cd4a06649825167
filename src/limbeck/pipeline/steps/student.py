"""The student before its training: cut from the teacher, or a model of its own."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core import registry
from limbeck.core.files import digest, file_digest
from limbeck.models.anatomy.probe import NUM_ROWS
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.stored_model import StoredModel, saver
from limbeck.recipe.model import TEACHER, Recipe
from limbeck.surgeries import Evidence, Surgery, check_cut
from limbeck.surgeries._student import check_student
from limbeck.tasks import Task


def cut_student(recipe: Recipe, run: RunContext, teacher: StoredModel | None) -> StoredModel:
    """The student's weights before training, and its preprocessing.

    A surgery may have changed the preprocessing: a cut vocabulary is another tokenizer.

    Args:
        recipe: the arm's.
        run: what the arms share.
        teacher: the recipe's, tuned; the student is cut from it where the recipe says so.

    Raises:
        ValueError: the model cannot be had, or cannot be cut so.
    """
    # 1. What it starts from: the teacher as it was tuned, or a model that nobody tuned here.
    settings = recipe.student
    name, options = named_origin(recipe)
    if settings.from_ == TEACHER:
        assert teacher is not None
        task = teacher.task
        load = teacher.load
        origin: dict[str, Any] = {"teacher": teacher.key}
    else:
        task = run.new_task(name)
        load = partial(run.create, name, options, task, seed=recipe.train.seed)
        origin = {
            "model": run.reference(name, options),
            # Of a network, or a head that its folder lacks, the weights are drawn.
            "seed": recipe.train.seed,
            "labels": run.data.labels,
        }
    # 2. How it is cut, if it is.
    surgery: Surgery | None = None
    components = [*run.task_component, *run.model_components(name)]
    if settings.surgery:
        surgery = registry.create("surgeries", settings.surgery, settings.options)
        origin |= _read_by(surgery, run)
        components.append(("surgeries", settings.surgery))

    def build(folder: Path) -> None:
        rows = run.data.train if run.surgery_rows is None else run.surgery_rows
        model, cut_task = load(), task
        if surgery is not None:
            model, cut_task = cut_by(surgery, model, Evidence(task, rows), run)
        save = saver(run, cut_task, name, options)
        save(model, folder)

    stage = Stage(
        name="student",
        inputs={
            **origin,
            # The surgery's keys are among these.
            "student": settings.model_dump(mode="json"),
            "preprocess": digest(task.preprocess),
            # Weights may be drawn, and how important a part is be computed: on this machine, with
            # last bits of its own.
            **run.environment(),
        },
        build=build,
        components=components,
    )
    # 3. The folder says what the student reads: a surgery may have written another tokenizer.
    folder = run.compute(stage)
    text = (folder / task.preprocess_file).read_bytes().decode()
    if text != task.preprocess:
        task = run.task_class(run.data.labels, text)
    own = run.own.get(name)
    return StoredModel(
        folder,
        name,
        task,
        save=saver(run, task, name, options),
        blank=own.create if own else None,
    )


def named_origin(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """The model that the student is, or is cut from, as the recipe names it, and its own keys."""
    settings = recipe.student
    if settings.origin is None:
        assert recipe.teacher is not None
        return recipe.teacher.model, recipe.teacher.options
    # Keys beside `from` are the surgery's.
    return settings.origin, settings.options if settings.model else {}


def cut_by(
    surgery: Surgery, model: nn.Module, evidence: Evidence, run: RunContext
) -> tuple[nn.Module, Task]:
    """The student that a surgery cuts of a model, and its task, by its own preprocessing.

    Raises:
        ValueError: the model cannot be cut so, or somebody else's surgery gave no student.
    """
    task = evidence.task
    name = registry.name_of("surgeries", type(surgery))
    cut = surgery.cut(model, evidence)
    check_cut(name, cut, model, task.preprocess)
    if cut.preprocess is not None:
        task = run.task_class(run.data.labels, cut.preprocess)
    if not registry.is_ours(surgery):
        check_student(name, cut.student, task, task.encode(run.data.train[:NUM_ROWS]))
    return cut.student, task


def _read_by(surgery: Surgery, run: RunContext) -> dict[str, Any]:
    """What a cut depends on beside the model and its keys: files, and rows that it looks at."""
    inputs: dict[str, Any] = {}
    for path in surgery.files:
        inputs[path] = file_digest(Path(path))
    if surgery.reads_rows:
        inputs["data"] = run.fingerprint("train")
    return inputs
