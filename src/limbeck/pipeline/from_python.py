"""`limbeck.run` and `limbeck.check`: a recipe, or its file, to a report with attributes, or to what
is wrong with it."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.core import plug_ins
from limbeck.core.contract import require_argument
from limbeck.core.events import Reporter
from limbeck.core.terminal.notebook import progress
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline import runs
from limbeck.pipeline.preflight.check import Checked
from limbeck.pipeline.preflight.check import check as check_recipe
from limbeck.recipe.draft import Draft
from limbeck.recipe.model import Recipe
from limbeck.recipe.naming import title_of
from limbeck.recipe.problems import Problem
from limbeck.recipe.reading import draft, read, text_of
from limbeck.reports.typed import Report

READ_BY = "a recipe as `limbeck.read` or `parse` gives it, or the path of its file"


def run(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    name: str | None = None,
    tell: Reporter | None = None,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> Report:
    """A recipe to a run folder: every arm, the verdict, the report, the artifact.

    Args:
        recipe: as `limbeck.read` or `parse` gives it, or the path of its file.
        out: the run folder; for a path left out, runs/ and the recipe's name, as on the command
            line.
        name: the report's title; left out, the name of the recipe's file, or its data and task.
        tell: is given every event (`limbeck.core.events`), and is called by no other thread. Left
            out, a notebook shows them below the cell, and a terminal as a live line.
        models: the user's own modules, by the name that the recipe gives as `model`.
        rows: dicts, or a `datasets.Dataset`, by split, for the source `rows`.

    Returns:
        report.json's content, a dict whose main figures are attributes: `report.verdict.kept`.

    Raises:
        ValueError: something does not fit together; what, where, and the line to write instead.
        Held: another run writes to the folder `out`.
        Interrupted: the process was asked to stop; the same call goes on from there.
    """
    require_argument("recipe", recipe, (Recipe, str, Path), READ_BY)
    if out is not None:
        require_argument("out", out, (str, Path), "the path of a run folder")
    stem = ""
    if not isinstance(recipe, Recipe):
        stem = Path(recipe).stem
        out = out or Path("runs") / stem
        recipe = read(recipe)
    if out is None:
        raise ValueError('out: name the run folder, such as limbeck.run(recipe, "runs/first")')
    title = name or title_of(recipe, stem)
    shown = progress() if tell is None else contextlib.nullcontext(tell)
    with plug_ins.blamed(), shown as reporter:
        report = runs.run(recipe, out, name=title, tell=reporter, models=models, rows=rows)
    return Report(report)


def check(
    recipe: Recipe | str | Path,
    *,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    data_only: bool = False,
) -> Checked:
    """What `limbeck check` finds, before any training, with modules and rows of the user's own.

    Args:
        recipe, models, rows: as `run` takes them.
        data_only: look at recipe and data alone: no model, no forecast.

    Returns:
        `ok`, `mistakes`, `problems` (the same with line, key and fix) and `lines`; printed, it is
        what the command prints.

    Raises:
        ValueError: the file cannot be read as YAML, or holds no recipe at all.
    """
    require_argument("recipe", recipe, (Recipe, str, Path), READ_BY)
    drafted: Recipe | Draft
    if isinstance(recipe, Recipe):
        drafted = recipe
    else:
        drafted = draft(text_of(recipe), origin=str(recipe))
    try:
        own = wrapped(models)
    except ValueError as error:
        return Checked(problems=[Problem(str(error), is_placed=True)])
    return check_recipe(drafted, rehearse=not data_only, models=own, rows=rows)
