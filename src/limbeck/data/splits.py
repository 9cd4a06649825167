"""Rows to checked splits, and splits to batches whose order is a pure function of (seed, epoch).

A source without a test split gives up a fifth of train, one without a validation split a tenth: seeded, stratified by label, and said so.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core import registry, wording
from limbeck.core.files import digest
from limbeck.data import transfer
from limbeck.recipe.model import Data
from limbeck.sources import BadRow, Row
from limbeck.tasks import Scoring, SelfSupervised

SHARED = "../shared/data/"
EXAMPLES = 3  # how many odd or bad rows a note shows


@dataclass(frozen=True)
class Splits:
    """Checked splits. `train` holds the labelled rows first, then the `num_unlabelled` ones; `notes` says what was drawn, left out or looks odd.

    Every arm trains on all of `train`, so that its batches and its steps are those of every other arm: to the hard losses, an unlabelled row is
    not there. The teacher is tuned on the labelled rows alone, and does not change with the transfer set.

    `num_bad` rows could not be used; `quarantined` holds them, where that was asked for, each with place, problem and content.
    """

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    labels: list[str]
    notes: list[str] = field(default_factory=list)
    num_bad: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    num_unlabelled: int = 0

    @property
    def labelled(self) -> list[Row]:
        """The rows of train that came with labels."""
        return self.train[: len(self.train) - self.num_unlabelled]

    def fingerprint(self, split: str) -> str:
        """SHA-256 over every row of a split, in order, and the labels."""
        rows: list[Row] = getattr(self, split)
        found = hashlib.sha256(digest(self.labels).encode())
        for row in rows:
            for key, value in sorted(row.items()):
                found.update(
                    f"{key} {list(value.shape)} {value.dtype}".encode() + value.tobytes()
                    if isinstance(value, np.ndarray)
                    else _line(key, value)
                )
        return found.hexdigest()


@dataclass
class BadRows:
    """What becomes of the rows that a source cannot use, by `policy`: fail at the first, skip, or quarantine (skip, and keep)."""

    policy: str = "fail"
    count: int = 0
    places: list[str] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, row: BadRow) -> None:
        if self.policy == "fail":
            raise ValueError(
                f"{row}.\n  To leave such rows out: data.on_bad_row: skip, or quarantine to keep them in a file beside the report"
            )
        self.count += 1
        if self.count <= EXAMPLES:
            self.places.append(str(row))
        if self.policy == "quarantine":
            self.kept.append({"place": row.place, "problem": row.problem, "row": row.content})

    @property
    def notes(self) -> list[str]:
        """How many rows were left out, and the first of them."""
        where = " (quarantine.jsonl)" if self.policy == "quarantine" else ""
        return (
            [f"{self.count} bad rows left out{where}, for example {'; '.join(self.places)}"]
            if self.count
            else []
        )


def load_splits(
    asked: Data, task: Any, rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None
) -> Splits:
    """The checked splits of a source, or of `rows` from Python. Raises ValueError for a bad row, an empty split, a label that train lacks."""
    bad = BadRows(asked.on_bad_row)
    source = registry.create("sources", asked.source, relocated(asked.options))
    splits = source.read(bad) if rows is None else source.take(rows, bad)
    if asked.transfer:
        splits = splits | {
            "unlabelled": [
                *splits.get("unlabelled", []),
                *transfer.rows(relocate(asked.transfer), task, bad),
            ]
        }
    limited = limit_unlabelled(splits, asked.unlabelled_rows)
    found = check(splits, task, f"`{asked.source}`")
    return replace(
        found, notes=bad.notes + limited + found.notes, num_bad=bad.count, quarantined=bad.kept
    )


def limit_unlabelled(splits: dict[str, list[Row]], most: int | None) -> list[str]:
    """Leave at most so many unlabelled rows, drawn by a fixed seed, in their order; a note that says so. Raises ValueError where there are none."""
    if most is None:
        return []
    rows = splits.get("unlabelled")
    if rows is None:
        raise ValueError(
            "data.unlabelled_rows: there are no unlabelled rows to limit. Name some with data.transfer, or leave it out"
        )
    if len(rows) <= most:
        return []
    splits["unlabelled"] = [
        rows[i] for i in np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    ]
    return [f"unlabelled: {most} of {len(rows)} rows drawn (seeded)"]


def check(splits: dict[str, list[Row]], task: Any, origin: str) -> Splits:
    """Rows by split, wherever they come from (`origin`), as checked splits; those that lack are drawn from train. Raises ValueError."""
    given, splits = set(splits), dict(splits)
    for name, rows in splits.items():
        check_keys(rows, name, task, origin)
    labels, notes = labels_of(splits, "train", task, origin), []
    for name, share in (("test", 0.2), ("validation", 0.1)):
        if name not in splits:
            splits["train"], splits[name] = stratified_split(splits["train"], share, task.stratum)
            notes.append(f"{name}: {len(splits[name])} rows drawn from train (seeded, stratified)")
    for name in ("train", "validation", "test"):
        if not splits[name]:
            cure = (
                "Add rows to it, or leave it out and it is drawn from train"
                if name in given
                else "Too few rows a label to draw it from; add some"
            )
            raise ValueError(f"data: the {name} split of {origin} is empty. {cure}")
    if len(labels) < 2 and not issubclass(task, SelfSupervised | Scoring):
        raise ValueError(
            f"data: train has one class only ({', '.join(labels)}); nothing can be learned from it. Add rows of another"
        )
    for name in ("validation", "test"):
        unknown = set(labels_of(splits, name, task, origin)) - set(labels)
        if unknown and not issubclass(task, Scoring):
            raise ValueError(
                f"data: the {name} split has labels that train lacks: {wording.some(sorted(unknown))}. {wording.suggest(min(unknown), labels)}"
            )
    unlabelled = splits.get("unlabelled", [])
    notes += repeated(splits, task) + alike(labels)
    return Splits(
        splits["train"] + unlabelled,
        splits["validation"],
        splits["test"],
        labels,
        notes,
        num_unlabelled=len(unlabelled),
    )


def labels_of(splits: Mapping[str, list[Row]], name: str, task: Any, origin: str) -> list[str]:
    """The labels of a split. Raises ValueError for one that the task cannot read."""
    try:
        return task.find_labels(splits[name])
    except ValueError as error:
        raise ValueError(f"data: the {name} split of {origin}: {error}") from None


def check_keys(rows: Sequence[Row], split: str, task: Any, origin: str) -> None:
    """Raises ValueError where rows are not of the kind that the task reads."""
    for number, row in enumerate(rows, 1):
        if missing := [key for key in task.row_keys if key not in row]:
            raise ValueError(
                f"data: row {number} of the {split} split of {origin} has no `{missing[0]}`; it holds {', '.join(row) or 'nothing'}. "
                f"This task reads rows of {' and '.join(task.row_keys)}. Take a source or a task that fits the other"
            )


def repeated(splits: dict[str, list[Row]], task: Any) -> list[str]:
    """A warning for each split whose rows are also in train: a score on what was learned by heart says little."""
    notes = []
    train = {hash(task.content(row)) for row in splits["train"] + splits.get("unlabelled", [])}
    for name in ("validation", "test"):
        numbers = [
            number
            for number, row in enumerate(splits.get(name, []), 1)
            if hash(task.content(row)) in train
        ]
        if numbers:
            shown = "; ".join(
                _shown(splits[name][number - 1], number) for number in numbers[:EXAMPLES]
            )
            notes.append(
                f"warning: {len(numbers)} of {len(splits[name])} {name} rows are in train too, for example {shown}"
            )
    return notes


def alike(labels: Sequence[str]) -> list[str]:
    """A warning for labels that differ only by case or space, and so are two classes by mistake, most likely."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups["".join(label.split()).casefold()].append(label)
    pairs = [
        " and ".join(f"`{label}`" for label in group) for group in groups.values() if len(group) > 1
    ]
    return (
        [f"warning: labels that differ only by case or space: {'; '.join(pairs[:EXAMPLES])}"]
        if pairs
        else []
    )


def relocated(options: dict[str, Any]) -> dict[str, Any]:
    """A source's keys, where LIMBECK_DATA says where the folder that recipes call ../shared/data lies."""
    return {
        key: relocate(value) if isinstance(value, str) else value for key, value in options.items()
    }


def relocate(path: str) -> str:
    """A path below ../shared/data, where LIMBECK_DATA says that folder lies."""
    base = os.environ.get("LIMBECK_DATA")
    return str(Path(base) / path.removeprefix(SHARED)) if base and path.startswith(SHARED) else path


def stratified_split(
    rows: Sequence[Row], share: float, stratum: Any
) -> tuple[list[Row], list[Row]]:
    """(kept, drawn): `share` of all rows, rounded, and of every stratum up to one row, by a fixed seed; both keep the order of `rows`.

    Rows stand by stratum, shuffled within each, and every (1 / share)-th is drawn (systematic sampling): so rows whose stratum is small, as most
    sets of labels are, are drawn as often as any.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[stratum(row)].append(index)
    generator = np.random.default_rng(0)
    order = [
        index
        for _, members in sorted(groups.items())
        for index in generator.permutation(members).tolist()
    ]
    passed = np.floor(np.arange(len(order) + 1) * share + 0.5)
    drawn = {index for index, is_drawn in zip(order, np.diff(passed) > 0, strict=True) if is_drawn}
    return [row for i, row in enumerate(rows) if i not in drawn], [
        row for i, row in enumerate(rows) if i in drawn
    ]


def _line(key: str, value: Any) -> bytes:
    """A field of a row as bytes."""
    return json.dumps([key, value], ensure_ascii=False).encode()


def _shown(row: Row, number: int) -> str:
    """A row in a few words."""
    text = row["text"] if "text" in row else " ".join(row.get("words", []))
    return f"row {number}: {text[:60]!r}" if text else f"row {number}"
