"""Quantization of a student: modules swapped, calibration rows, and all of it after training.

Both ways begin with `prepare`. A joint training (`when: train`) calls it before its first step, and
calibrates where quantization begins; `choose_quantization` and `quantize_trained` do their work
after the training (`when: after`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.core.events import Note
from limbeck.core.files import read_json, write_json
from limbeck.data.batches import batches_of
from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.running import run_model
from limbeck.models.torch_batches import device_of, to_device
from limbeck.models.weights import WEIGHTS, model_state, save_tensors
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage, Work
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization import post_training
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.fold import fold_before
from limbeck.quantization.modules import attention, kv_cache
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model, quantization_components
from limbeck.recipe.model import Quantize, Recipe
from limbeck.tasks import Batch, Encoded, Task

# Rows that are run to see a model's modules at work: some, so that most experts of a mixture run.
LOOKED_AT = 8

# Runs a model on one batch of calibration rows.
Forward = Callable[[nn.Module], Any]


def activations(recipe: Recipe, run: RunContext) -> str:
    """What activations are stored as.

    Left open: static in training and for images, dynamic after training for texts, where static
    ranges that nothing trained lose five times as much (docs/log.md).
    """
    assert recipe.quantize is not None
    if recipe.quantize.activations:
        return recipe.quantize.activations
    is_dynamic = recipe.quantize.when == "after" and run.reads_tokens
    return "uint8-dynamic" if is_dynamic else "uint8"


def prepare(recipe: Recipe, run: RunContext, model: nn.Module, task: Task) -> Flow:
    """Swap the planned modules of a float model, in place; who reads what.

    What the recipe leaves open must have been chosen (`choose_quantization`).

    Raises:
        ValueError: a pattern of the recipe fits no module, or a module cannot be quantized so.
    """
    # A few rows are enough to see which module reads what another one makes; a whole batch takes
    # most of the seconds in which a quantized model is loaded.
    rows = calibration_rows(recipe, run, task)
    batch, *_ = batches_of(rows[:LOOKED_AT], task)
    return prepare_on(recipe, run, model, partial(_run_where_it_lies, batch=batch))


def prepare_on(recipe: Recipe, run: RunContext, model: nn.Module, forward: Forward) -> Flow:
    """The same, with `forward` to run a batch of rows of any kind."""
    settings = recipe.quantize
    assert settings is not None
    schemes = plan_schemes(model, settings, activations(recipe, run))
    if settings.when == "after":
        # Not in training, which needs each batch's own statistics.
        fold_before(model, schemes, forward)
    components = quantization_components(settings)
    flow = prepare_model(
        model,
        schemes,
        settings.range_name,
        forward,
        **components,
    )
    # After the modules: attention multiplies what they make.
    if settings.attention != "float":
        attention.attach(model, settings.range_name, forward)
    if settings.kv_cache != "float":
        kv_cache.attach(model, forward)
    return flow


def calibration(recipe: Recipe, run: RunContext, task: Task) -> list[Forward]:
    """Forwards over the training rows that ranges are fitted on, a batch each."""
    batches = batches_of(calibration_rows(recipe, run, task), task)
    return [partial(_run_where_it_lies, batch=batch) for batch in batches]


def _run_where_it_lies(model: nn.Module, batch: Batch) -> Any:
    """Run a batch of the host on the device of the model."""
    return run_model(model, to_device(batch, device_of(model)))


def calibration_rows(recipe: Recipe, run: RunContext, task: Task) -> list[Encoded]:
    """Training rows, never test rows, drawn by the seed."""
    assert recipe.quantize is not None
    encoded = run.encode("train", task)
    generator = np.random.default_rng(recipe.train.seed)
    # The beginning of one order: more rows are these and others.
    order = generator.permutation(len(encoded))
    drawn = order[: recipe.quantize.calibration_rows]
    return [encoded[row] for row in drawn]


def choose_quantization(
    recipe: Recipe,
    run: RunContext,
    student: StoredModel,
    trained: Path,
) -> tuple[Recipe, list[str]]:
    """The recipe with what its post-training quantization leaves open filled in by trial.

    Args:
        recipe: the arm's.
        run: what the arms share.
        student: before its training.
        trained: the folder with its trained weights.

    Returns:
        (the recipe, what was chosen in a line; none where nothing was open).
    """
    settings = recipe.quantize
    if settings is None or not settings.open:
        return recipe, []
    task = student.task

    def load() -> nn.Module:
        return run.place.move_model(student.trained(trained))

    def prepare_with(model: nn.Module, filled: Quantize) -> Flow:
        changed = recipe.model_copy(update={"quantize": filled})
        return prepare(changed, run, model, task)

    def build(folder: Path) -> None:
        rows = calibration_rows(recipe, run, task)
        # The half that ranges are fitted on is not the half that they are judged on; one row alone
        # must do for both.
        fitted = _on_device(rows[::2], run, task)
        judged = _on_device(rows[1::2] or rows, run, task)
        trial_model = post_training.TrialModel(
            load=load,
            prepare=prepare_with,
            fitted=[partial(run_model, batch=batch) for batch in fitted],
            judged=judged,
            likelihood=task.likelihood,
        )
        choice = post_training.choose(trial_model, settings, run.store.tell)
        write_json(folder / "choice.json", choice)

    stage = Stage(
        name="choose",
        inputs=_inputs(recipe, run, trained),
        build=build,
        components=[*run.task_component, *post_training.components_tried(settings)],
        work=Work(calibration_rows=settings.calibration_rows),
    )
    choice = read_json(run.compute(stage) / "choice.json")
    line = f"quantize: {choice['text']}"
    run.store.tell(Note(line))
    # From here on nothing is open, and the arm's recipe says what was done.
    chosen = settings.with_chosen(**choice["chosen"])
    filled_recipe = recipe.model_copy(update={"quantize": chosen})
    return filled_recipe, [line]


def _on_device(rows: list[Encoded], run: RunContext, task: Task) -> list[Batch]:
    """Rows in batches on the run's device, which every trial reads again."""
    batches = batches_of(rows, task)
    return [to_device(batch, run.place.device) for batch in batches]


def quantize_trained(
    recipe: Recipe,
    run: RunContext,
    student: StoredModel,
    trained: Path,
) -> Path:
    """The folder with the final weights: quantized now if the recipe says so, else as trained.

    Args:
        recipe: the arm's, with nothing left open.
        run: what the arms share.
        student: before its training.
        trained: the folder with its trained weights.
    """
    settings = recipe.quantize
    if settings is None or settings.when == "train":
        return trained

    def build(folder: Path) -> None:
        # Ranges and roundings are fitted on the run's device; what is saved is saved from the CPU.
        model = run.place.move_model(student.trained(trained))
        flow = prepare(recipe, run, model, student.task)
        forwards = calibration(recipe, run, student.task)
        components = quantization_components(settings)
        quantize_after_training(
            model,
            flow,
            forwards,
            **components,
            tell=run.store.tell,
        )
        save_tensors(model_state(model.cpu()), folder / WEIGHTS)

    stage = Stage(
        name="quantize",
        inputs=_inputs(recipe, run, trained),
        build=build,
        components=[*run.task_component, *quantization_code(settings)],
        work=Work(calibration_rows=settings.calibration_rows),
    )
    return run.compute(stage)


def _inputs(recipe: Recipe, run: RunContext, trained: Path) -> dict[str, Any]:
    """What quantizing after training depends on."""
    assert recipe.quantize is not None
    return {
        # The store names a folder after the digest of all that its weights depend on.
        "trained": trained.name,
        "quantize": recipe.quantize.model_dump(mode="json"),
        "data": run.fingerprint("train"),
        "activations": activations(recipe, run),
        **run.environment(),
    }


def quantization_code(settings: Quantize) -> Sequence[tuple[str, str]]:
    """The range, the rounding and the rewrites that a recipe names, once all are chosen."""
    components = [
        ("ranges", settings.range_name),
        ("roundings", settings.rounding_name),
    ]
    components += [("equalizers", name) for name in settings.equalize or ()]
    return components
