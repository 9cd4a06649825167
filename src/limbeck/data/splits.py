"""Rows of a source to checked splits: train, validation and test.

A source without a test split gives up a fifth of train, one without a validation split a tenth of
what is left: drawn by a fixed seed, stratified by label, equal inputs and equal groups together
(`drawing`), and said so in a note.
"""

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core import plug_ins, registry, wording
from limbeck.core.files import digest
from limbeck.data import transfer
from limbeck.data.bad_rows import BadRows, WrongData
from limbeck.data.checks import (
    alike,
    check_filled,
    check_keys,
    check_labels,
    contradicted,
    doubtful,
    in_groups_of,
    labels_of,
    misread,
    of_one_label,
    repeated,
)
from limbeck.data.drawing import draw, in_halves, lacking, seldom
from limbeck.data.image_modes import blank, in_one_mode
from limbeck.data.labels.outliers import far_numbers
from limbeck.data.labels.unseen import notes_on, refuse, unseen_labels
from limbeck.data.paths import relocate, relocated, where_looked
from limbeck.data.sampling import drawn_rows
from limbeck.recipe.model import Data
from limbeck.recipe.problems import Fix, Mistake
from limbeck.sources import DecodesImages, Row, TellsOfRows, WrongColumn, check_read
from limbeck.sources._on_disk import changed, joined

# The shares of train that are drawn where a source lacks a split. In this order: the test split
# must not depend on whether there is a validation split.
DRAWN_SHARES = {"test": 0.2, "validation": 0.1}


@dataclass(frozen=True)
class Splits:
    """Checked splits.

    `train`: the labelled rows first, then the `num_unlabelled` others.
    `labels`: in the order of the logits: those of train, and what validation or test have beside.
    `notes`: what was drawn, left out or looks odd.
    `reading`: how image files become pixels (`mode`, `size`, `background`), for the artifact.
    `promise`: the half of validation that no training sees, where the recipe promises something.
    `num_grouped`: how many test rows are of a group that train has, too.
    `num_bad`: how many rows could not be used. `quarantined`: those rows with their place, problem
    and content, where the recipe asked for them.

    Every arm trains on all of `train`, so that its batches and steps are those of every other arm;
    to the hard losses an unlabelled row is not there. The teacher is tuned on the labelled rows
    alone, so that it does not change with the transfer set.
    """

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    labels: list[str]
    notes: list[str] = field(default_factory=list)
    num_bad: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    num_unlabelled: int = 0
    reading: dict[str, Any] = field(default_factory=dict)
    promise: Sequence[Row] = field(default_factory=list)
    num_grouped: int = 0

    @property
    def labelled(self) -> Sequence[Row]:
        """The rows of train that came with labels."""
        return self.train[: len(self.train) - self.num_unlabelled]

    def fingerprint(self, split: str) -> str:
        """SHA-256 over every row of a split, in order, and the labels."""
        rows: Sequence[Row] = getattr(self, split)
        sha = hashlib.sha256(digest(self.labels).encode())
        # By key, not in the order in which a source happened to fill a row.
        for row in rows:
            # The same pixels from another place are the same data, and no model reads the others.
            unread = ("file", "slices", "group", "place")
            fields = [(key, row[key]) for key in sorted(row) if key not in unread]
            # How many there are says where the row ends: a key may be left out.
            sha.update(f"{len(fields)} ".encode())
            for key, value in fields:
                sha.update(field_bytes(key, value))
        return sha.hexdigest()


def field_bytes(key: str, value: Any) -> bytes:
    """A field of a row as bytes: JSON, or of an image its shape, type and values."""
    if isinstance(value, np.ndarray):
        return f"{key} {list(value.shape)} {value.dtype}".encode() + value.tobytes()
    return json.dumps([key, value], ensure_ascii=False).encode()


def load_splits(
    asked: Data,
    task: Any,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    *,
    beside: Path | None = None,
    halve: int | None = None,
) -> Splits:
    """The checked splits of a recipe's data.

    `asked`: the recipe's stage. `task`: a task's class. `rows`: rows from Python, by split, which
    the source then takes in place of reading its own. `beside`: the recipe's folder, for a message.
    `halve`: the seed by which half of validation becomes `promise`; it stays whole without.

    Raises ValueError for a bad row, an empty split, or one class alone.
    """
    # 1. Read.
    bad = BadRows(asked.on_bad_row or "fail")
    try:
        splits, told, reading = _read(asked, task, rows, bad)
    except OSError as error:
        # Of all that a system refuses, this alone is a mistake in the recipe.
        if error.errno != errno.ENAMETOOLONG:
            raise
        reason = f"data: no file or folder has so long a name: {error.filename}. Mend the path"
        raise WrongData([Mistake(["data"], reason)]) from None
    except WrongData:
        raise
    except ValueError as error:
        # A file that cannot be read may come after rows that cannot be used: both are to be mended.
        raise WrongData([*bad.mistakes, _mistake_of(asked, error, beside)]) from None
    bad.refuse()
    # 2. Leave out what is too much.
    limited = limit_unlabelled(splits, asked.unlabelled_rows)
    # 3. Draw what lacks, and check all.
    origin = f"`{asked.source}`"
    checked = check(splits, task, origin, bad if asked.on_bad_row else None, halve=halve)
    notes = bad.notes + told + limited + checked.notes
    return replace(checked, notes=notes, num_bad=bad.count, quarantined=bad.kept, reading=reading)


def _mistake_of(asked: Data, error: ValueError, beside: Path | None) -> Mistake:
    """What a source says of its files, at the key of `data` that it speaks of."""
    words = plug_ins.words_of(error)
    told = words
    where = where_looked(asked.model_dump(), words, beside)
    if where:
        told = f"{words.removesuffix('.')}. {where}"
    if isinstance(error, WrongColumn):
        path = ["data", error.key]
        # Of a list of columns, such as `slices`, the whole list stands in the recipe.
        is_named = error.given is not None and asked.options.get(error.key) == error.given
        meant = wording.certain(error.given or "", error.choices) if is_named else None
        return Mistake(path, told, Fix(tuple(path), value=meant) if meant else None)
    # By the convention of sources: `data.path: ...`, or `no column ... (data.text)`.
    spoken_of = re.search(r"\bdata\.(\w+)", words)
    is_key = spoken_of is not None and spoken_of[1] in asked.model_dump()
    return Mistake(["data", spoken_of[1]] if spoken_of and is_key else ["data"], told)


def _read(
    asked: Data,
    task: Any,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None,
    bad: BadRows,
) -> tuple[dict[str, Sequence[Row]], list[str], dict[str, Any]]:
    """The rows of the source and those of `transfer`, by split; what is to be told of them; and how
    image files became pixels."""
    source = registry.create("sources", asked.source, relocated(asked.options))
    splits: dict[str, Sequence[Row]] = source.read(bad) if rows is None else source.take(rows, bad)
    check_read(asked.source, splits)
    notes: list[str] = []
    reading: dict[str, Any] = {}
    notes += misread(splits["train"], asked.options.get("encoding"))
    if isinstance(source, TellsOfRows):
        notes += source.notes
    if isinstance(source, DecodesImages):
        reading = source.reading()
    if asked.transfer:
        more = transfer.rows(relocate(asked.transfer), task, bad)
        splits = splits | {"unlabelled": joined(splits.get("unlabelled", []), more)}
    if "image" in task.row_keys:
        splits, mode, told = in_one_mode(splits)
        notes += told
        reading = reading | {"mode": mode}
    return splits, notes, reading


def limit_unlabelled(splits: dict[str, Sequence[Row]], most: int | None) -> list[str]:
    """Leave at most `most` unlabelled rows in `splits`, drawn by a fixed seed; None leaves all.

    Gives a note where some were left out. Raises ValueError where there is none to limit.
    """
    if most is None:
        return []
    rows = splits.get("unlabelled")
    if rows is None:
        raise ValueError(
            "data.unlabelled_rows: there are no unlabelled rows to limit. "
            "Name some with data.transfer, or leave it out"
        )
    if len(rows) <= most:
        return []
    splits["unlabelled"] = drawn_rows(rows, most)
    return [f"unlabelled: {most} of {len(rows)} rows drawn (seeded)"]


def check(
    splits: dict[str, Sequence[Row]],
    task: Any,
    origin: str,
    bad: BadRows | None = None,
    *,
    halve: int | None = None,
) -> Splits:
    """Rows by split as checked splits; a split that lacks is drawn from train.

    `origin`: where the rows come from, for messages. `bad`: where it refuses bad rows, those whose
    label train lacks are refused too; else they stay and are told. `halve`, and what is raised:
    as of `load_splits`.
    """
    # 1. Before anything is drawn, so that a message has the row's number in the user's own split.
    for split, rows in splits.items():
        check_keys(rows, split, task, origin)
    labels = labels_of(splits, "train", task, origin)
    # The caller's dict stays as it is.
    splits = dict(splits)
    if bad and bad.policy == "fail":
        refuse(splits, labels, task, origin, bad)
    # 2. Draw what lacks.
    notes = []
    drawn = [split for split in DRAWN_SHARES if split not in splits]
    single = seldom(splits["train"], task) if drawn else []
    for split in drawn:
        share = DRAWN_SHARES[split]
        splits["train"], splits[split], odd = draw(splits["train"], share, task)
        notes.append(f"{split}: {len(splits[split])} rows drawn from train (seeded, stratified)")
        notes += odd
    if single:
        notes.append(
            f"warning: {len(single)} labels have one row alone ({wording.some(single)}), which "
            "stays in train: no drawn row asks for them"
        )
    # 3. Check and tell.
    check_filled(splits, drawn, single, origin)
    for split in drawn:
        # What one row alone has is told already.
        rest = [label for label in lacking(splits[split], labels, task) if label not in single]
        if rest:
            notes.append(
                f"{split}: no drawn row has {wording.some(rest)}, of {len(labels)} labels: its "
                "figures say nothing of them"
            )
    check_labels(splits, labels, task, origin)
    unseen = unseen_labels(splits, labels, task, origin)
    if unseen:
        notes += notes_on(unseen, splits, labels, task)
        # A model may have a logit for what it never saw; it learns not to answer so.
        every = joined(joined(splits["train"], splits["validation"]), splits["test"])
        labels = task.find_labels(every)
    notes += repeated(splits, task) + contradicted(splits["train"], task)
    notes += of_one_label(splits["test"], labels, task) + far_numbers(splits["train"], task)
    doubts = doubtful(splits, labels, task) + blank(splits["train"])
    if halve is not None:
        notes += keep_for_promise(splits, task, halve)
    num_grouped = len(in_groups_of(trained_of(splits), splits["test"]))
    # Of the test split the verdict asks for them: rows of one patient prove less than as many.
    splits = {
        split: rows if split == "test" else _without_groups(rows) for split, rows in splits.items()
    }
    return Splits(
        trained_of(splits),
        splits["validation"],
        splits["test"],
        labels,
        notes + alike(labels) + doubts,
        num_unlabelled=len(splits.get("unlabelled", [])),
        promise=splits.get("promise", []),
        num_grouped=num_grouped,
    )


def trained_of(splits: Mapping[str, Sequence[Row]]) -> Sequence[Row]:
    """All rows that are trained on, those with labels first."""
    return joined(splits["train"], splits.get("unlabelled", []))


def keep_for_promise(splits: dict[str, Sequence[Row]], task: Any, seed: int) -> list[str]:
    """Move half of validation to `promise`, and tell it. Raises ValueError where it has no half."""
    # While rows still have their groups: what goes together is no independent proof.
    halves = in_halves(splits["validation"], task, seed)
    splits["validation"], splits["promise"] = halves
    return [
        f"validation: {len(splits['promise'])} of its rows are kept for the promise of `decide` "
        "(seeded); no training sees them"
    ]


def _without_groups(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows without their group, which only the drawing reads of them."""
    if not any("group" in row for row in rows):
        return rows
    return changed(rows, _without_group)


def _without_group(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "group"}
