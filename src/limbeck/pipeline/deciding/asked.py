"""What a recipe's `decide` and `data.class_weights` ask of data and labels, told before anything
is trained. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.core.wording import some, suggest
from limbeck.evaluation.decisions import conformal, promise
from limbeck.recipe.model import Recipe
from limbeck.sources._cells.tags import type_of


def halving(recipe: Recipe) -> int | None:
    """The seed by which half of validation is kept for a promise; None where none is asked for."""
    # Without a promise all of validation serves training and temperature.
    decide = recipe.decide
    return decide.seed if decide and decide.promises else None


def cost_matrix(costs: Mapping[str, Mapping[str, float]], labels: Sequence[str]) -> np.ndarray:
    """(V, V) what an answer costs, rows the true label; a right one is free where none is said.

    Raises:
        ValueError: a label is unknown, or has no cost.
    """
    # A right answer costs nothing unless it is said.
    matrix = np.zeros((len(labels), len(labels)))
    # A name that is misspelt is both unknown and missing: the first says which.
    _check_names(costs, labels)
    for true, row in costs.items():
        _check_names(row, labels, right=true)
        for answered, cost in row.items():
            matrix[labels.index(true), labels.index(answered)] = cost
    return matrix


def _check_names(
    given: Mapping[str, object], labels: Sequence[str], right: str | None = None
) -> None:
    """Raise ValueError where keys are not the labels; that of a right answer may be left out.

    `right`: the true label whose answers' costs these are; None for the true labels themselves.
    """
    where = "" if right is None else f"of `{right}`: "
    for name in given:
        if name not in labels:
            raise ValueError(f"{where}no label `{name}` in the data. {suggest(name, labels)}")
    missing = [label for label in labels if label not in given and label != right]
    if missing:
        raise ValueError(
            f"{where}no cost is said for {some(missing)}. Write one for each true "
            "label and each other label that may be answered, as in "
            "{benign: {malignant: 1}, malignant: {benign: 20}}"
        )


def check_costs(recipe: Recipe, labels: Sequence[str]) -> None:
    """Compare the recipe's costs with the labels of the data.

    Raises:
        ValueError: they do not fit; with the place in the recipe.
    """
    # The labels are known once the data are read, and no sooner.
    if recipe.decide is None or recipe.decide.costs is None:
        return
    # What is computed from it is computed when the artifact decides; here it only must be possible.
    try:
        cost_matrix(recipe.decide.costs, labels)
    except ValueError as error:
        raise recipe.mistake(["decide", "costs"], str(error)) from None


def check_weights(recipe: Recipe, labels: Sequence[str], task: Any) -> None:
    """Compare the names of the recipe's `data.class_weights` with the labels of the data.

    `task`: the task's class, or a task. Raises ValueError, with the place in the recipe.
    """
    asked = recipe.data.class_weights
    if not isinstance(asked, dict):
        return
    known = [*labels, *types_of(labels, task)]
    for name in asked:
        if name not in known:
            choices = list(dict.fromkeys(known))
            raise recipe.mistake(
                ["data", "class_weights", name],
                f"no row of train has the label `{name}`. {suggest(name, choices)}",
            )


def types_of(labels: Sequence[str], task: Any) -> list[str]:
    """The type of entity that each label is a tag of; of others the label itself."""
    return [type_of(label) if "words" in task.row_keys else label for label in labels]


def note_of_few_rows(recipe: Recipe, num_rows: int) -> list[str]:
    """That the half which is kept for the promise (`num_rows`) cannot prove it, whatever the
    student answers."""
    decide = recipe.decide
    if decide is None or not decide.promises:
        return []
    # Exactly one of the two is asked for (`recipe.validate`).
    if decide.max_error is not None:
        needed = promise.rows_needed(decide.max_error, decide.confidence)
        what = f"at most {decide.max_error:g} of the answers is wrong"
        how = f" at {decide.confidence:.0%} confidence, even where no answer is"
    else:
        assert decide.sets is not None
        needed = conformal.rows_needed(decide.sets)
        what = f"the true label is in {decide.sets:.0%} of the sets"
        how = ", but by sets of all labels"
    # The half may be answered in part, so that this is the least.
    if num_rows >= needed:
        return []
    return [
        f"decide: {num_rows:,} rows of validation are kept for the promise that {what}, and cannot "
        f"prove it{how}; {needed:,} would. Give about {2 * needed:,} validation rows or more, or "
        "promise less"
    ]
