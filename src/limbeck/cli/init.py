"""`limbeck init`: a first recipe."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import nameable, writable

Data = Annotated[Path, typer.Argument(help="The data: a file or a folder.", callback=nameable)]
NewRecipe = Annotated[Path, typer.Option("--out", help="The recipe to write.", callback=writable)]
TeacherModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="The teacher: a hub id, a folder, timm:NAME, or ngrams (no download)."
    ),
]


def init(data: Data, out: NewRecipe = Path("recipe.yaml"), model: TeacherModel = None) -> None:
    """Look at data and write a commented recipe for it."""
    from limbeck.cli.first_recipe.look import write

    # What was guessed is told too, so that a wrong guess is seen before it trains something.
    for line in write(data, out, model):
        typer.echo(line)
