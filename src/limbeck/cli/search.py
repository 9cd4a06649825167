"""`limbeck search`: the format of each module, within a budget."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.exits import resumable
from limbeck.cli.options import AsJson, Overrides, RecipeFile, writable

Bits = Annotated[
    float | None, typer.Option(help="The budget is so many bits a weight, on average.")
]
Bytes = Annotated[
    str | None,
    typer.Option("--bytes", help="The budget is the bytes of all weights, such as 9MB."),
]
Milliseconds = Annotated[
    float | None,
    typer.Option(help="The budget is the milliseconds of one input here, on one thread."),
]
Formats = Annotated[str | None, typer.Option(help="What to choose from, such as int8,int4,float.")]
Sensitivity = Annotated[
    str, typer.Option(help="How a module's loss is estimated: gradient, kl or hessian.")
]
BlockFile = Annotated[
    Path | None,
    typer.Option("--out", help="A file for the block that the recipe takes.", callback=writable),
]


@dataclass(frozen=True)
class Search:
    """Find the format of each module that keeps most within a budget.

    Give one budget: bits, bytes or milliseconds. What is found is a block to paste into the recipe.
    """

    # A class, whose fields are the verb's arguments: more of them than a function should take.
    recipe: RecipeFile
    overrides: Overrides = None
    bits: Bits = None
    size: Bytes = None
    milliseconds: Milliseconds = None
    formats: Formats = None
    sensitivity: Sensitivity = "gradient"
    as_json: AsJson = False
    out: BlockFile = None

    def __post_init__(self) -> None:
        """Search, and tell what was found. Raises ValueError."""
        import json

        from limbeck.core.cache.store import Store
        from limbeck.core.files import naming
        from limbeck.core.terminal.console import on_stderr
        from limbeck.core.terminal.tables import wide_console
        from limbeck.recipe.reading import read
        from limbeck.studies import report
        from limbeck.studies.budget import check_bits, parse_budget, parse_formats
        from limbeck.studies.search import search

        budget = parse_budget(self.bits, self.size, self.milliseconds)
        formats = parse_formats(self.formats, budget.unit)
        check_bits(budget, formats)
        recipe = read(self.recipe, self.overrides)
        with resumable(), on_stderr() as tell:
            found = search(recipe, budget, formats, self.sensitivity, Store(tell=tell))
        if self.out:
            with naming(self.out):
                self.out.write_text(report.as_yaml(found), encoding="utf-8")
        if self.as_json:
            typer.echo(json.dumps(found))
            return
        console = wide_console()
        for line in report.lines(found):
            # A line of the block that is broken would be another YAML.
            console.print(line, markup=False, soft_wrap=True)
