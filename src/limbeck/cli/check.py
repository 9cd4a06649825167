"""`limbeck check`: what is wrong, before any training."""

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.exits import MISTAKE
from limbeck.cli.options import (
    AsJson,
    Overrides,
    RecipeFile,
    RunFolderToWrite,
)

if TYPE_CHECKING:
    from limbeck.pipeline.preflight.check import Checked

DataOnly = Annotated[
    bool,
    typer.Option(
        "--data-only",
        help="Look at recipe and data alone: no model, no forecast.",
    ),
]
Mend = Annotated[
    bool,
    typer.Option(
        "--fix",
        help="Write the fixes that are certain into the recipe, and show them.",
    ),
]
KeepOriginal = Annotated[
    bool,
    typer.Option(
        "--keep-original",
        help="With --fix: leave RECIPE.orig beside the recipe.",
    ),
]


@dataclass(frozen=True)
class Check:
    """Find every mistake in a recipe and its data before training.

    All are told at once, by line, each with its cure; --fix writes those that are certain. Each
    stage is also rehearsed on a few batches, in a minute at most, and time, memory and disk of the
    run are forecast. As JSON: ok, mistakes, problems, lines, fixed, and the forecast by stage.
    """

    # A class, as `Evaluate`: more arguments than a function should take.
    recipe: RecipeFile
    overrides: Overrides = None
    data_only: DataOnly = False
    as_json: AsJson = False
    fix: Mend = False
    keep_original: KeepOriginal = False
    out: RunFolderToWrite = None

    def __post_init__(self) -> None:
        """Check, mend where that is asked, and tell. Raises ValueError for no file of text."""
        checked = self._checked()
        diff: list[str] = []
        if self.fix:
            diff = mend(self.recipe, checked, keep_original=self.keep_original)
        if diff:
            # What is told is of the recipe as it stands now.
            checked = self._checked()
        if self.as_json:
            typer.echo(json.dumps(checked.to_json() | {"fixed": diff}))
        else:
            show(checked, diff)
        if checked.problems:
            raise typer.Exit(MISTAKE)

    def _checked(self) -> "Checked":
        """What is wrong with the recipe's file."""
        from limbeck.pipeline.preflight.check import Checked
        from limbeck.pipeline.preflight.check import check as check_recipe
        from limbeck.recipe.problems import Problem, WrongRecipe
        from limbeck.recipe.reading import draft, text_of

        path = self.recipe
        text = text_of(path)
        try:
            found = draft(text, origin=str(path), overrides=self.overrides)
        except WrongRecipe as error:
            return Checked(problems=error.problems)
        except ValueError as error:
            # Of what is no YAML nothing else can be said.
            return Checked(problems=[Problem(str(error), is_placed=True)])
        # The folder that `run` writes to.
        folder = self.out or Path("runs") / path.stem
        return check_recipe(found, rehearse=not self.data_only, out=folder)


def mend(recipe: Path, checked: "Checked", *, keep_original: bool) -> list[str]:
    """Write the certain fixes into the recipe's file; the lines of the change, none without one."""
    from limbeck.core.files import write_bytes
    from limbeck.recipe.fixing import fixed
    from limbeck.recipe.reading import text_of

    # A recipe is small: read again, where only the list of its problems came along.
    text = text_of(recipe)
    # A link stays one: the recipe behind it is mended.
    recipe = recipe.resolve()
    changed = fixed(text, checked.problems)
    if changed == text:
        return []
    # First the copy: a kill in between loses nothing.
    if keep_original:
        write_bytes(recipe.with_name(f"{recipe.name}.orig"), text.encode())
    write_bytes(recipe, changed.encode())
    lines = difflib.unified_diff(
        text.splitlines(),
        changed.splitlines(),
        str(recipe),
        str(recipe),
        lineterm="",
        n=0,
    )
    return list(lines)


def show(checked: "Checked", diff: Sequence[str]) -> None:
    """Print what was found: lines go to stdout and mistakes to stderr, so that a script can part
    them."""
    from limbeck.core.terminal.told import in_lines
    from limbeck.recipe.problems import by_place

    for line in [*diff, *checked.lines]:
        typer.echo(line)
    problems = by_place(checked.problems)
    is_terminal = sys.stderr.isatty()
    for problem in problems:
        told = f"limbeck: {problem}"
        if is_terminal:
            told = in_lines(str(problem))
        typer.echo(told, err=True)
    if not problems:
        typer.echo("ok")
        return
    # Those of the command line are not in the file.
    certain = sum(problem.fix is not None and problem.override is None for problem in problems)
    if is_terminal:
        typer.echo(summary(len(problems), certain), err=True)


def summary(number: int, certain: int) -> str:
    """How many mistakes there are, and how many `--fix` writes."""
    told = f"{number} mistakes" if number > 1 else "1 mistake"
    if not certain:
        return told
    which = "it" if number == certain == 1 else f"{certain} of them"
    return f"{told}; `limbeck check --fix` mends {which}"
