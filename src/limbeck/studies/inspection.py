"""What `limbeck inspect RUN` measures: what each layer of a run's quantized model loses and takes.

The run's stages are found again in the store, and what the layers lose is mostly among them
(`pipeline.layer_analysis`). Only milliseconds (`analysis.timing`) are measured at every call. Both
then stand in the run's report.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.analysis import timing
from limbeck.artifact.manifest import refuse_artifact
from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.core.terminal.shell import command, quoted
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.arms import arm_title, derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.quantization.plan import plan_schemes
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.reports import page
from limbeck.studies.student import SearchedStudent, timed_model, with_value

Rows = Mapping[str, Iterable[Mapping[str, Any]]]


def inspect_run(
    folder: Path, models: Mapping[str, nn.Module | Own] | None = None, rows: Rows | None = None
) -> dict[str, Any]:
    """The table of layers of a run's judged arm, first seed; the run's report gets it too.

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
    report = finished_report(folder)
    check_given(folder, report.get("from_python") or {}, models or {}, rows)
    name, recipe = quantized_arm(folder)
    again = command("run", folder / "recipe.yaml", "--out", folder)
    if models or rows is not None:
        again = f'limbeck.run(limbeck.read("{folder / "recipe.yaml"}"), "{folder}", ...)'
    may_build = partial(refuse_training, again)
    run = RunContext(recipe, Store(may_build=may_build), wrapped(models), rows)
    arm = run_arm(recipe, run.store, run=run)
    inspected = {"arm": name, **analyse_layers(run, arm)}
    add_milliseconds(inspected, run, arm)
    page.redraw({**report, "layers": inspected}, folder)
    return inspected


def finished_report(folder: Path) -> dict[str, Any]:
    """The report of a finished run. Raises ValueError where the folder holds none."""
    path = folder / "report.json"
    again = f"`limbeck run {quoted(folder / 'recipe.yaml')} --out {quoted(folder)}`"
    anew = f"`limbeck run RECIPE --out {quoted(folder)}` makes one"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. {anew}")
    refuse_artifact(folder, "inspect")
    if not path.is_file():
        # A run that was interrupted has written its recipe, and the report comes last.
        is_begun = (folder / "recipe.yaml").is_file()
        cure = f"{again} goes on with it" if is_begun else anew
        raise ValueError(f"{folder}: no report.json here, so this is no finished run. {cure}")
    try:
        report: dict[str, Any] = read_json(path)
        return {**report, "schema": report["schema"]}  # every report has one
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not the report of a run. {again} writes it again") from None


def check_given(
    folder: Path, needed: Mapping[str, Any], models: Mapping[str, Any], rows: Rows | None
) -> None:
    """Raises ValueError where the run was given models or rows that are not given here.

    `needed`: the report's `from_python`.
    """
    missing = [name for name in needed.get("models", ()) if name not in models]
    if needed.get("rows") and rows is None:
        missing.append("rows")
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        call = (
            f"limbeck.studies.inspection.inspect_run(Path({str(folder)!r}), "
            "models={...}, rows={...})"
        )
        raise ValueError(f"{folder}: this run was given {names} from Python: {call} inspects it")


def quantized_arm(folder: Path) -> tuple[str, Recipe]:
    """(name, recipe) of the arm that the run's verdict judged, of the first seed.

    Raises ValueError where it does not quantize.
    """
    recipe = read(folder / "recipe.yaml")
    if recipe.quantize is None:
        raise ValueError(
            f"{folder}: its recipe quantizes nothing, so there is nothing to inspect. "
            "Give the recipe a `quantize` and run it"
        )
    if recipe.verdict is None:
        return arm_title(recipe), recipe
    arms = derive_arms(recipe, 0)
    name = judged_arm(arms)
    if arms[name].quantize is None:
        raise ValueError(
            f"{folder}: of its arms ({', '.join(arms)}) none is quantized, so there is nothing to "
            "inspect. Add `joint` or `kd+ptq` to verdict.arms, and run it again"
        )
    return name, arms[name]


def refuse_training(again: str, entry_name: str) -> None:
    """Let a store compute only what layers lose: whoever inspects does not expect a training.

    `again`: the line that fills the cache. Raises ValueError for any other stage.
    """
    if not entry_name.startswith("layers-"):
        raise ValueError(
            f"the cache ({Store().folder}) does not hold `{entry_name}` of this run: it was "
            "emptied, LIMBECK_CACHE named another folder then, or data, model or versions have "
            f"changed. Run its recipe once more, then inspect it: `{again}`"
        )


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
