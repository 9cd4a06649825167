"""A finished run, for who goes on from it: its report, its quantized arm, and what it was given.

Its stages lie in the cache, and whoever looks at them again does not expect a training.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from limbeck.artifact.manifest import refuse_artifact
from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.core.terminal.shell import command, quoted
from limbeck.evaluation.verdict import judged_arm
from limbeck.pipeline.arms import arm_title, derive_arms
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read

Rows = Mapping[str, Iterable[Mapping[str, Any]]]


def finished_report(folder: Path, verb: str) -> dict[str, Any]:
    """The report of a finished run, for a verb that reads one.

    Raises ValueError where the folder holds none.
    """
    path = folder / "report.json"
    again = f"`limbeck run {quoted(folder / 'recipe.yaml')} --out {quoted(folder)}`"
    anew = f"`limbeck run RECIPE --out {quoted(folder)}` makes one"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. {anew}")
    refuse_artifact(folder, verb)
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
    folder: Path,
    report: Mapping[str, Any],
    models: Mapping[str, Any],
    rows: Rows | None,
    call: str,
) -> None:
    """Raises ValueError where the run was given models or rows that are not given here.

    `report`: the run's, which says what it was given. `call`: how they are given.
    """
    # Reports of earlier versions do not say it.
    needed = report.get("from_python") or {}
    missing = [name for name in needed.get("models", ()) if name not in models]
    if needed.get("rows") and rows is None:
        missing.append("rows")
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ValueError(f"{folder}: this run was given {names} from Python, so write {call}")


def quantized_arm(folder: Path) -> tuple[str, Recipe]:
    """(name, recipe) of the arm that the run's verdict judged, of the first seed.

    Raises ValueError where it does not quantize.
    """
    recipe = read(folder / "recipe.yaml")
    if recipe.quantize is None:
        raise ValueError(
            f"{folder}: its recipe quantizes nothing, so there is nothing to look at or to export. "
            "Give the recipe a `quantize` and run it"
        )
    # Without a verdict a recipe is its one arm.
    if recipe.verdict is None:
        return arm_title(recipe), recipe
    arms = derive_arms(recipe, 0)
    name = judged_arm(arms)
    if arms[name].quantize is None:
        raise ValueError(
            f"{folder}: of its arms ({', '.join(arms)}) none is quantized, so there is nothing to "
            "look at or to export. Add `joint` or `kd+ptq` to verdict.arms, and run it again"
        )
    return name, arms[name]


def refuse_others(folder: Path, allowed: str, verb: str, entry_name: str) -> None:
    """Let a store compute, of a finished run, the stages whose entries begin with `allowed`.

    Raises ValueError for any other, with the line that fills the cache again.
    """
    if entry_name.startswith(allowed):
        return
    again = command("run", folder / "recipe.yaml", "--out", folder)
    raise ValueError(
        f"the cache ({Store().folder}) does not hold `{entry_name}` of this run: it was emptied, "
        "LIMBECK_CACHE named another folder then, or data, model or versions have changed. Run its "
        f"recipe once more (with models or rows of yours by limbeck.run), then {verb} it: `{again}`"
    )
