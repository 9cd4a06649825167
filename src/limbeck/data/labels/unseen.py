"""Labels of validation or test that train lacks: no model can answer with them.

Such a row counts as an error, as a user would count it, and it is told. `data.on_bad_row: fail`
refuses it. `skip` and `quarantine` leave it where it is: they are for rows that cannot be read, and
a test split without its hardest rows would be another one, and easier.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core import wording
from limbeck.data.bad_rows import BadRows
from limbeck.data.checks import labels_of
from limbeck.data.drawing import has_labels
from limbeck.sources import BadRow, Row


def unseen_labels(
    splits: Mapping[str, Sequence[Row]],
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


def refuse(
    splits: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    task: Any,
    origin: str,
    bad: BadRows,
) -> None:
    """Refuse rows whose labels train lacks, together with what else is bad.

    Raises ValueError where there is one.
    """
    for split, unknown in unseen_labels(splits, labels, task, origin).items():
        for number, row in enumerate(splits[split], 1):
            here = [label for label in task.find_labels([row]) if label in unknown]
            if not here:
                continue
            problem = (
                f"train lacks the label {wording.some(here)}. "
                f"{wording.suggest(here[0], labels)}. Mend it, add such rows to train, or leave "
                "data.on_bad_row out, and it counts as an error"
            )
            bad(BadRow(f"the {split} split of {origin}: row {number}", problem, {}))
    bad.refuse()


def notes_on(
    unseen: Mapping[str, Sequence[str]],
    splits: Mapping[str, Sequence[Row]],
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
            f"({wording.some(unknown)}): they count as errors. To refuse them: "
            "data.on_bad_row: fail. "
            f"{wording.suggest(unknown[0], labels)}"
        )
    return notes
