"""What a task returns, which may be somebody else's: what is not as its contract says is refused by
its name, with the place of its code."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.core import registry
from limbeck.core.contract import described, place, wrong_return
from limbeck.sources import Row
from limbeck.tasks.likelihood import UNKNOWN, is_known
from limbeck.tasks.types import Array

# dtypes of figures, as numpy letters them: bool, integers, floats.
NUMBERS = "biuf"
WHOLE = "iu"
# What decisions are, by likelihood: dtypes, and in words.
DECISIONS = {
    "categorical": (WHOLE, "numbers of labels"),
    "bernoulli": ("b" + WHOLE, "True or False for each label"),
    "gaussian": (NUMBERS, "numbers"),
}
# What labels of a row are, by likelihood: their dtype where torch asks for one, axes, and in words.
LABELS: dict[str, tuple[str | None, int, str]] = {
    "categorical": ("int64", 1, "an array (W) of int64, numbers of labels"),
    "bernoulli": ("float32", 2, "an array (W, V) of float32, 0 or 1 for each label"),
    "gaussian": (None, 1, "an array (W) of numbers"),
}
# What a report puts beside a seed's details.
TAKEN = ("seed", "metrics")
# What the report's tables cannot do without.
PER_LABEL = ("label",)
CONFUSION = ("labels", "counts")


def told(task: Any) -> str:
    """What messages call a task, or its class: its name in a recipe."""
    kind = task if isinstance(task, type) else type(task)
    return f"the task `{registry.name_of('tasks', kind)}`"


def written(task: Any, method: str) -> Any:
    """The method that somebody wrote: of a task that joins an input and a head, the head's."""
    found = getattr(task, method)
    is_joined = found.__module__ == "limbeck.tasks.joined"
    head = getattr(task, "head_type", None) if is_joined else None
    return getattr(head, method) if head else found


def mistake(task: Any, method: str, returned: Any, expected: str) -> ValueError:
    """The mistake of a task that returned something else."""
    return wrong_return(told(task), method, returned, expected, written(task, method))


def check_statistics(task: Any, statistics: Any, num_rows: int) -> None:
    """Raise ValueError for what are no figures (N, K) of each row."""
    if not _are_numbers(statistics, 2) or len(statistics) != num_rows:
        expected = f"an array ({num_rows}, K) of numbers: figures of each of {num_rows} rows"
        raise mistake(task, "statistics", statistics, expected)


def check_figures(task: Any, method: str, found: Any, num_resamples: int) -> None:
    """Raise ValueError for what is no dict of a metric's values (R) by name."""
    if not isinstance(found, dict):
        raise mistake(task, method, found, "a dict of the values of each metric")
    for name, values in found.items():
        if not _are_numbers(values, 1) or len(values) != num_resamples:
            expected = (
                f"an array of floats of shape ({num_resamples},), a value for each resample of "
                "the rows"
            )
            raise ValueError(
                f"{told(task)} gave {described(values)} as `{name}` of "
                f"`{method}`{place(written(task, method))}; {expected}, was expected"
            )


def check_decisions(task: Any, decisions: Any, labels: Array, likelihood: str) -> None:
    """Raise ValueError for what is no decision for each unit of `labels`; `likelihood`: of what
    is decided."""
    kinds, what = DECISIONS[likelihood]
    is_array = isinstance(decisions, np.ndarray) and decisions.dtype.kind in kinds
    if not is_array or decisions.shape != labels.shape:
        expected = f"an array of {len(labels)} decisions: {what} of shape {labels.shape}"
        raise mistake(task, "decisions", decisions, expected)
    num_labels = len(task.labels)
    if kinds != WHOLE or not len(decisions):
        return
    if not 0 <= decisions.min() <= decisions.max() < num_labels:
        raise ValueError(
            f"{told(task)} decided for the labels {decisions.min()} to {decisions.max()} in "
            f"`decisions`{place(written(task, 'decisions'))}; there are 0 to {num_labels - 1}"
        )


def check_details(task: Any, details: Any) -> None:
    """Raise ValueError for what the report can hold no tables of."""
    check_json(task, "details", details)
    taken = [key for key in TAKEN if key in details]
    where = place(written(task, "details"))
    if taken:
        raise ValueError(
            f"{told(task)} gave `{taken[0]}` in `details`{where}, which the report has already. "
            "Call it otherwise"
        )
    rows = details.get("per_label") or []
    confusion = details.get("confusion")
    is_table = isinstance(rows, list) and all(_has(row, PER_LABEL) for row in rows)
    if not is_table or (confusion and not _has(confusion, CONFUSION)):
        raise ValueError(
            f"{told(task)} gave a `per_label` or a `confusion` in `details`{where} that are no "
            "tables of the report; `limbeck.tasks.metrics.label_report` makes both"
        )


def check_json(task: Any, method: str, answer: Any) -> None:
    """Raise ValueError for an answer that is no object of JSON."""
    if not isinstance(answer, dict):
        raise mistake(task, method, answer, "a dict that JSON can hold")
    try:
        json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError) as error:
        # Such as: Object of type float32 is not JSON serializable.
        raise ValueError(
            f"{told(task)} answered from `{method}`{place(written(task, method))} with what is no "
            f"JSON: {error}"
        ) from None


def check_labels(task: Any, labels: Any) -> None:
    """Raise ValueError for what are no names of labels, each once, in an order."""
    is_list = isinstance(labels, list | tuple)
    if not is_list or not all(isinstance(label, str) for label in labels):
        raise mistake(task, "find_labels", labels, "a list of the labels' names, each a str")
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        raise ValueError(
            f"{told(task)} gave the label `{twice[0]}` more than once in "
            f"`find_labels`{place(written(task, 'find_labels'))}; each is to stand there once"
        )


def check_encoded(task: Any, encoded: Sequence[Any], flat: Array) -> None:
    """Raise ValueError where rows (`Encoded`) have labels that their units or the task's likelihood
    have not; `flat`: those of all rows, one after the other."""
    dtype, num_axes, what = LABELS[task.likelihood]
    head = getattr(task, "head", None)
    method, called = ("targets", head.targets) if head else ("encode", task.encode)
    for row in encoded:
        labels = row.labels
        of_units = units_of(row)
        is_right = labels.ndim == num_axes and len(labels) == (of_units or len(labels))
        if not is_right or (dtype and labels.dtype != dtype):
            units = f"{of_units} unit" if of_units == 1 else "each unit"
            expected = f"labels of {units} of the row: {what}"
            raise wrong_return(told(task), method, labels, expected, called)
        known = labels[is_known(labels)]
        if task.likelihood == "categorical" and len(known):
            lowest, highest = int(known.min()), int(known.max())
            if lowest < 0 or highest >= len(task.labels):
                raise ValueError(
                    f"{told(task)} gave the label {lowest if lowest < 0 else highest} in "
                    f"`{method}`{place(called)}; there are 0 to {len(task.labels) - 1}, and "
                    f"{UNKNOWN} for one that nobody knows"
                )

    num_units = sum(len(row.labels) for row in encoded)
    if len(flat) != num_units:
        raise ValueError(
            f"{told(task)} gave {len(flat)} labels in `{method}`{place(called)} for {num_units} "
            f"units of {len(encoded)} rows; a unit has one"
        )


def units_of(row: Any) -> int | None:
    """How many units the inputs of a row say that it has; None where they say nothing."""
    if row.positions is not None:
        return len(row.positions)
    texts = row.inputs.get("input_ids")
    return 1 if texts is None or texts.ndim == 1 else None


def stratum_of(task: Any, row: Row) -> str:
    """The stratum of a row. Raises ValueError where the task gives another thing than its name."""
    found = task.stratum(row)
    if not isinstance(found, str):
        raise mistake(task, "stratum", found, "a str: the name of the row's stratum")
    return found


def check_targets(task: Any, targets: Any) -> None:
    """Raise ValueError for what are no labels (W) or (W, V) of a row."""
    is_array = isinstance(targets, np.ndarray) and targets.dtype.kind in NUMBERS
    if not is_array or targets.ndim not in (1, 2):
        expected = "an array of numbers (W) or (W, V): a label for each unit of a row"
        raise wrong_return(told(task), "targets", targets, expected, task.head.targets)


def _are_numbers(values: Any, num_axes: int) -> bool:
    is_array = isinstance(values, np.ndarray) and values.dtype.kind in NUMBERS
    return is_array and values.ndim == num_axes


def _has(table: Any, keys: Sequence[str]) -> bool:
    return isinstance(table, dict) and not set(keys) - table.keys()
