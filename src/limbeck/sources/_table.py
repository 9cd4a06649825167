"""Rows of a text or a pair, and a label, from files with columns: which column is a text and which the label, and what a cell must hold.

A format adds how its header and its records are read. A cell of text is a string or a list of words. A label is taken as it is written; with
`label_names` a number stands for the name at that index.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import find_splits

TEXT = ("text", "sentence", "utterance", "instruction", "question", "content", "review", "tokens")
LABEL = ("label", "labels", "intent", "category", "class", "sentiment", "target", "score")
ID = "id"
NO_LABEL = "no label. Give it one, or put the row into the split `unlabelled`"


@dataclass(frozen=True)
class Table(ABC):
    """`path`: a folder with train, valid, test and unlabelled files (all but train where they exist), or one file. `train`, `validation`, `test`,
    `unlabelled`: a file of that folder under another name. `text`, `text_b`, `label`, `id`: columns. `label_names`: what labels 0, 1, ... mean.
    `label_separator`: a row has any number of labels; a cell is split there, a list (jsonl, parquet) is taken as it is."""

    path: str
    text: str | None = None
    text_b: str | None = None
    label: str | None = None
    id: str | None = None
    label_names: list[str] | None = None
    label_separator: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    unlabelled: str | None = None

    suffix: ClassVar[str]
    mark: ClassVar[str] = ":"  # between a file's name and the number of a record

    @abstractmethod
    def header(self, path: Path) -> list[str]:
        """The columns of a file. Raises ValueError."""

    @abstractmethod
    def records(
        self, path: Path, columns: Sequence[str], bad: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, at least these columns) of each record."""

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        named = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "unlabelled": self.unlabelled,
        }
        found = find_splits(self.path, self.suffix, named)
        labels = Labels(self.label_names, self.label_separator)
        return {
            split: [
                row
                for file in files
                for row in self.rows(file, None if split == "unlabelled" else labels, bad)
            ]
            for split, files in found.items()
        }

    def rows(self, path: Path, labels: "Labels | None", bad: OnBadRow) -> Iterator[Row]:
        """The rows of one file; without `labels` their label is None."""
        header = self.header(path)
        if not header:
            return
        columns = {"text": choose(header, self.text, "text", TEXT, path)}
        if self.text_b:
            columns["text_b"] = choose(header, self.text_b, "text_b", (), path)
        label = choose(header, self.label, "label", LABEL, path) if labels else ""
        key = choose(header, self.id, "id", (), path) if self.id else ID if ID in header else ""
        seen: dict[str, int] = {}
        for number, record in self.records(
            path, [name for name in (*columns.values(), label, key) if name], bad
        ):
            try:
                row: Row = {
                    name: cell_text(record[column], column) for name, column in columns.items()
                }
                row["label"] = labels.of(record[label], label) if labels else None
                if key and seen.setdefault(str(record[key]), number) != number:
                    raise ValueError(
                        f"{key}: `{record[key]}` is also the {key} of row {seen[str(record[key])]}. Keep one of the two rows"
                    )
            except ValueError as error:
                bad(BadRow(f"{path}{self.mark}{number}", str(error), record))
                continue
            yield row


class Labels:
    """Labels by name; equal ones are one string."""

    def __init__(self, names: Sequence[str] | None, separator: str | None = None) -> None:
        self.separator = separator
        self.names = list(names or [])
        self.known: dict[Any, str] = {name: name for name in self.names} | {
            str(i): name for i, name in enumerate(self.names)
        }

    def of(self, value: Any, column: str) -> str | list[str]:
        """The label of a cell; all of them, each once, where a row has any number. Raises ValueError."""
        if self.separator is None:
            return self.name(value, column)
        parts = (
            value
            if isinstance(value, list)
            else value.split(self.separator)
            if isinstance(value, str) and value.strip()
            else []
        )
        if value is None or not isinstance(value, str | list):
            raise ValueError(
                f"{column}: {value!r} is no list of labels. Write them as a list, or as a text with {self.separator!r} between them"
            )
        return list(dict.fromkeys(self.name(part, column) for part in parts))

    def name(self, value: Any, column: str) -> str:
        """The label of a cell. Raises ValueError."""
        if type(value) is not str:
            value = _plain_label(value, column)
        found = self.known.get(value)
        return self._new(value.strip(), column) if found is None else found

    def _new(self, label: str, column: str) -> str:
        if not label:
            raise ValueError(f"{column}: {NO_LABEL}")
        if label in self.known:
            return self.known[label]
        if self.names:
            raise ValueError(
                f"{column}: `{label}` is none of data.label_names ({', '.join(self.names[:12])}), nor an index into them"
            )
        return self.known.setdefault(label, label)


def _plain_label(value: Any, column: str) -> str:
    """A label that is no string: a number, or true and false."""
    if value is None or value != value:
        raise ValueError(f"{column}: {NO_LABEL}")
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return str(int(value) if float(value).is_integer() else value)
    raise ValueError(f"{column}: {value!r} is no label. A label is a word or a number")


def cell_text(value: Any, column: str) -> str:
    """A cell as text. Raises ValueError where there is none."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if not isinstance(value, str) and value is not None:
        raise ValueError(
            f"{column}: {str(value)[:40]!r} is no text, nor a list of words. Write it in quotes"
        )
    if not value or value.isspace():
        raise ValueError(f"{column}: no text here. Fill it in, or remove the row")
    if "\0" in value:
        raise ValueError(f"{column}: a NUL character. Remove it")
    return value


def choose(
    header: Sequence[str], given: str | None, key: str, usual: Sequence[str], path: Path
) -> str:
    """The column that a key names, or the first of the usual names that is here. Raises ValueError with the columns."""
    if given:
        if given not in header:
            raise ValueError(
                f"{path}: no column `{given}` (data.{key}). {wording.suggest(given, header)}"
            )
        return given
    found = next((name for name in usual if name in header), None)
    if found is None:
        raise ValueError(
            f"{path}: no column for the {key} ({', '.join(usual)}). Name it with data.{key}. Columns here: {', '.join(header[:24])}"
        )
    return found
