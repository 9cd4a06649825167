"""`limbeck schema`: the JSON Schemas by which an editor checks recipes, and a program reports."""

from enum import StrEnum
from typing import Annotated

import typer


class Which(StrEnum):
    """What there is a schema of."""

    RECIPE = "recipe"
    REPORT = "report"


Chosen = Annotated[Which, typer.Argument(help="Of recipes, or of report.json.")]


def schema(which: Chosen = Which.RECIPE) -> None:
    """Print the JSON Schema of recipes, for editors, or of report.json."""
    import json

    if which is Which.REPORT:
        from limbeck.reports.shape import report_schema

        content = report_schema()
    else:
        from limbeck.cli.recipe_schema import recipe_schema

        content = recipe_schema()
    typer.echo(json.dumps(content, indent=1))
