"""What `limbeck inspect RUN` measures: what each layer of a run's quantized model loses and takes.

The run's stages are found again in the store, and what the layers lose is mostly among them
(`pipeline.layer_analysis`). Only milliseconds (`analysis.timing`) are measured at every call. Both
then stand in the run's report.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.analysis import timing
from limbeck.core.cache.store import Store
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.quantization.plan import plan_schemes
from limbeck.reports import page
from limbeck.studies.finished_run import (
    Rows,
    check_given,
    finished_report,
    quantized_arm,
    refuse_others,
)
from limbeck.studies.student import SearchedStudent, timed_model, with_value


def inspect_run(
    folder: Path, models: Mapping[str, nn.Module | Own] | None = None, rows: Rows | None = None
) -> dict[str, Any]:
    """The table of layers of a run's judged arm, first seed; the run's report gets it too
    (`publish`).

    Args:
        folder: the run folder.
        models, rows: as `limbeck.run` was given them, where it was.

    Returns:
        What `analysis.layers.measure` gives, with `arm`, the name of the arm, with `milliseconds`
        and `float_milliseconds` of each layer, and with `rest_milliseconds` of all that is no
        layer.

    Raises:
        ValueError: the folder holds no finished run, the run quantized nothing, models or rows are
            missing, or the store no longer holds what the run computed.
    """
    inspected = measured(folder, models, rows)
    publish(inspected, folder)
    return inspected


def publish(inspected: dict[str, Any], folder: Path) -> None:
    """Add what was measured to a run's report. Raises OSError where it cannot be written."""
    page.redraw({**finished_report(folder, "inspect"), "layers": inspected}, folder)


def measured(
    folder: Path, models: Mapping[str, nn.Module | Own] | None = None, rows: Rows | None = None
) -> dict[str, Any]:
    """What `inspect_run` gives, with nothing written."""
    report = finished_report(folder, "inspect")
    call = f"limbeck.studies.inspection.inspect_run(Path({str(folder)!r})"
    check_given(folder, report, models or {}, rows, f"{call}, models={{...}}, rows={{...}})")
    name, recipe = quantized_arm(folder)
    # What layers lose alone: whoever inspects does not expect a training.
    may_build = partial(refuse_others, folder, "layers-", "inspect")
    run = RunContext(recipe, Store(may_build=may_build), wrapped(models), rows)
    arm = run_arm(recipe, run.store, run=run)
    inspected = {"arm": name, **analyse_layers(run, arm)}
    add_milliseconds(inspected, run, arm)
    return inspected


def add_milliseconds(inspected: dict[str, Any], run: RunContext, arm: Arm) -> None:
    """Add what each layer takes by itself, in integers and in float, and all the rest."""
    # Time does not depend on the weights, so those before the training will do.
    student = SearchedStudent(run, arm.recipe, arm.student)
    schemes = plan_schemes(student.model(), student.settings, student.activations)
    swapped = student.prepared(with_value(schemes, activations="float"))
    times, rest = timing.milliseconds(timed_model(student, swapped, schemes))
    for row in inspected["layers"]:
        layer_times = times[row["name"]]
        row["milliseconds"] = layer_times[timing.INTEGERS]
        row["float_milliseconds"] = layer_times[timing.FLOAT]
    inspected["rest_milliseconds"] = rest
