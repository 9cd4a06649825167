"""`limbeck check`: what is wrong, before any training."""

import json
from typing import Annotated

import typer

from limbeck.cli.exits import MISTAKE
from limbeck.cli.options import AsJson, Overrides, RecipeFile

DataOnly = Annotated[
    bool,
    typer.Option("--data-only", help="Look at recipe and data alone: no model, no forecast."),
]


def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    data_only: DataOnly = False,
    as_json: AsJson = False,
) -> None:
    """Find every mistake in a recipe and its data before training.

    Each stage is also rehearsed on a few batches, in a minute at most, and time, memory and disk of
    the run are forecast. As JSON: ok, mistakes, lines, and the forecast by stage.
    """
    from limbeck.pipeline.preflight.check import check as check_recipe
    from limbeck.recipe.reading import read

    checked = check_recipe(read(recipe, overrides), rehearse=not data_only)
    if as_json:
        typer.echo(json.dumps(checked.to_json()))
        if checked.mistakes:
            raise typer.Exit(MISTAKE)
        return
    # What was found goes to stdout and mistakes to stderr, so that a script can part them.
    for line in checked.lines:
        typer.echo(line)
    for mistake in checked.mistakes:
        typer.echo(f"limbeck: {mistake}", err=True)
    if checked.mistakes:
        raise typer.Exit(MISTAKE)
    typer.echo("ok")
