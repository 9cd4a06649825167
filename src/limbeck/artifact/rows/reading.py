"""How the rows of a file become the inputs of an artifact, by what was asked and its recipe."""

from collections.abc import Callable, Mapping, Sequence

from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, recipe_data, tell_nobody
from limbeck.artifact.rows.records import FORMATS
from limbeck.core import wording
from limbeck.tasks.text_generation import TextGeneration


def reading_of(
    predictor: Predictor,
    columns: Mapping[str, str],
    form: str | None = None,
    names: Sequence[str] | None = None,
    tell: Callable[[str], None] = tell_nobody,
) -> Reading:
    """How rows become inputs of an artifact.

    columns: those that were asked for, by what they hold. form, names, tell: as of `Reading`.

    Raises ValueError for a format of another name.
    """
    # Users send rows as they lie, which are mostly like those of training.
    recipe = recipe_data(predictor.folder)
    finder = ColumnFinder(
        predictor.kind,
        columns,
        recipe,
        predictor.needs_pair,
        isinstance(predictor.task, TextGeneration),
    )
    return reading_with(finder, form, names, tell)


def reading_with(
    finder: ColumnFinder,
    form: str | None = None,
    names: Sequence[str] | None = None,
    tell: Callable[[str], None] = tell_nobody,
) -> Reading:
    """How rows become inputs of what a finder knows. Raises ValueError for a format of another
    name."""
    if form is not None and form not in FORMATS:
        suggestion = wording.suggest(form, FORMATS)
        raise ValueError(f"--format {form}: no such format. {suggestion}")
    return Reading(finder, form, names, tell)
