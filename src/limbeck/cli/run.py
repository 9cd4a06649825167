"""`limbeck run`: a recipe to a run folder and a verdict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

    if jobs is not None:
        overrides = [*(overrides or []), f"verdict.jobs={jobs}"]
    folder = out or Path("runs") / recipe.stem
    asked = read(recipe, overrides)
    run_to_verdict(asked, folder, title_of(asked, recipe.stem), overwrite=overwrite)


def run_to_verdict(
    recipe: "Recipe", folder: Path, title: str, *, overwrite: bool, next_steps: bool = False
) -> None:
    """Run a recipe and print the table of its arms.

    `title`: the report's. `overwrite`: whether what the folder holds of others may be lost.
    `next_steps`: say what can be done with the artifact. Raises `typer.Exit` with VERDICT_FAILED
    where the verdict or an artifact's parity failed.
    """
    from limbeck.core.terminal.console import on_stderr
    from limbeck.reports.summary import lines

    # For what it refuses: later it would come after the seconds that importing torch takes.
    launch.read()
    with resumable(), on_stderr() as tell:
        # Within: importing torch takes seconds, in which Ctrl-C may come.
        from limbeck.models import processes
        from limbeck.pipeline import run_folder, runs

        if not overwrite:
            run_folder.refuse_to_lose(recipe, folder)
        report = runs.run(recipe, folder, name=title, tell=tell)
    # Of several processes (torchrun) each has the report, and one prints it.
    if processes.process_index() == 0:
        for line in lines(report, folder, next_steps=next_steps):
            typer.echo(line)
    verdict = report["verdict"]
    is_kept = verdict is None or verdict["kept"]
    if not is_kept or not all(row["holds"] for row in report["parity"]):
        raise typer.Exit(VERDICT_FAILED)
