"""`limbeck run`: a recipe to a run folder and a verdict."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.exits import VERDICT_FAILED, resumable
from limbeck.cli.options import Overrides, Overwrite, RecipeFile, RunFolderToWrite
from limbeck.core.system import launch

Jobs = Annotated[
    int | None,
    typer.Option(help="Processes that train arms and seeds side by side: verdict.jobs."),
]

if TYPE_CHECKING:
    from limbeck.recipe.model import Recipe


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: RunFolderToWrite = None,
    overwrite: Overwrite = False,
    jobs: Jobs = None,
) -> None:
    """Run a recipe to a verdict.

    The same command goes on after an interruption. Without --out, the run folder is runs/ and the
    recipe's name. One that holds the finished run of another recipe is refused.
    """
    from limbeck.recipe.naming import title_of
    from limbeck.recipe.reading import read
    from limbeck.reports.summary import lines

    if jobs is not None:
        overrides = [*(overrides or []), f"verdict.jobs={jobs}"]
    folder = out or Path("runs") / recipe.stem
    asked = read(recipe, overrides)
    report = run_to_report(asked, folder, title_of(asked, recipe.stem), overwrite=overwrite)
    end(report, lines(report, folder))


def run_to_report(
    recipe: "Recipe",
    folder: Path,
    title: str,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Run a recipe; its report.json.

    `title`: the report's. `overwrite`: whether what the folder holds of others may be lost.
    """
    from limbeck.core.terminal.console import on_stderr

    # For what it refuses: later it would come after the seconds that importing torch takes.
    launch.read()
    with resumable(), on_stderr() as tell:
        # Within: importing torch takes seconds, in which Ctrl-C may come.
        from limbeck.pipeline import run_folder, runs

        if not overwrite:
            run_folder.refuse_to_lose(recipe, folder)
        return runs.run(recipe, folder, name=title, tell=tell)


def end(report: dict[str, Any], told: Iterable[str]) -> None:
    """Print what is told of a run.

    Raises `typer.Exit` with VERDICT_FAILED where the verdict or an artifact's parity failed.
    """
    from limbeck.models import processes

    # Of several processes (torchrun) each has the report, and one prints it.
    if processes.process_index() == 0:
        for line in told:
            typer.echo(line)
    verdict = report["verdict"]
    is_kept = verdict is None or verdict["kept"]
    if not is_kept or not all(row["holds"] for row in report["parity"]):
        raise typer.Exit(VERDICT_FAILED)
