"""Labels of validation or test that train lacks: no model can answer with them.

Such a row counts as an error, as a user would count it, and it is told. `data.on_bad_row` leaves
the row out (`skip`, `quarantine`) or refuses it (`fail`) where a recipe says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.core import wording
from limbeck.data.bad_rows import BadRows
from limbeck.data.checks import labels_of
from limbeck.data.drawing import has_labels
from limbeck.sources import BadRow, Row


def unseen_labels(
    splits: Mapping[str, list[Row]],
    labels: Sequence[str],
    task: Any,
    origin: str,
) -> dict[str, list[str]]:
    """The labels of each split, validation and test, that are not among `labels`, those of train.

    Raises ValueError for a label that the task cannot read.
    """
    unseen: dict[str, list[str]] = {}
    if has_labels(task):
        for split in ("validation", "test"):
            of_split = labels_of(splits, split, task, origin) if split in splits else []
            unknown = [label for label in of_split if label not in labels]
            if unknown:
                unseen[split] = unknown
    return unseen


def leave_out(
    splits: dict[str, list[Row]],
    labels: Sequence[str],
    task: Any,
    origin: str,
    bad: BadRows,
) -> None:
    """Leave out the rows whose labels train lacks; each is handed to `bad`.

    Raises ValueError where bad rows are refused.
    """
    for split, unknown in unseen_labels(splits, labels, task, origin).items():
        staying = []
        for number, row in enumerate(splits[split], 1):
            here = [label for label in task.find_labels([row]) if label in unknown]
            if not here:
                staying.append(row)
                continue
            problem = (
                f"train lacks the label {wording.some(here)}. "
                f"{wording.suggest(here[0], labels)}. Mend it, or add such rows to train"
            )
            place = f"the {split} split of {origin}: row {number}"
            bad(BadRow(place, problem, _as_json(row)))
        splits[split] = staying


def notes_on(
    unseen: Mapping[str, Sequence[str]],
    splits: Mapping[str, list[Row]],
    labels: Sequence[str],
    task: Any,
) -> list[str]:
    """A warning for each split that has such labels, with the number of its rows.

    `labels`: those of train.
    """
    notes = []
    for split, unknown in unseen.items():
        rows = splits[split]
        num_rows = sum(not set(unknown).isdisjoint(task.find_labels([row])) for row in rows)
        notes.append(
            f"warning: {num_rows} of {len(rows)} {split} rows have labels that train lacks "
            f"({wording.some(unknown)}): they count as errors. To leave them out: "
            "data.on_bad_row: skip; to refuse them: fail. "
            f"{wording.suggest(unknown[0], labels)}"
        )
    return notes


def _as_json(row: Row) -> dict[str, Any]:
    """A row without its pixels."""
    return {key: value for key, value in row.items() if not isinstance(value, np.ndarray)}
