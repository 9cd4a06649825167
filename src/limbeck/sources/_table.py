"""Rows of a text, or a pair of texts, and a label, from files with columns.

What csv, tsv, jsonl and parquet share: which column holds the text and which the label, and what a
cell must hold. A format adds how its header and its records are read. A cell of text is a string or
a list of words.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import find_splits
from limbeck.sources._labels import LabelParser

# The names of columns that are taken where a recipe names none, in this order. `limbeck init`
# guesses by them too.
TEXT = ("text", "sentence", "utterance", "instruction", "question", "content", "review", "tokens")
LABEL = ("label", "labels", "intent", "category", "class", "sentiment", "target", "score")
ID = "id"

SHOWN_CHARACTERS = 40  # of a cell that is no text, in its message


@dataclass(frozen=True)
class Table(ABC):
    """The keys that every kind of table has.

    `path`: a folder with a `train` file and, where they exist, `valid`, `test` and `unlabelled`
    files (or pieces of one, `train-*`); or one file, of which all rows are train.
    `train`, `validation`, `test`, `unlabelled`: that split's file in the folder, where it has
    another name than these.
    `text`: the column of the text; left out, the first of text, sentence, utterance, instruction,
    question, content, review and tokens that is there.
    `text_b`: the column of a second text, where a row is a pair.
    `label`: the column of the label; left out, the first of label, labels, intent, category, class,
    sentiment, target and score that is there. Rows of `unlabelled` need none.
    `id`: a column in which no value may stand twice; left out, `id` where there is one.
    `label_names`: what the labels 0, 1, ... mean, in order.
    `label_separator`: give it where a row has any number of labels: a text is split there, a list
    (jsonl, parquet) is taken as it is.
    """

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
    # Between a file's name and a record's number in a message. `file:3` is a line that an editor
    # can go to; a format without lines says `: row `.
    number_mark: ClassVar[str] = ":"

    @abstractmethod
    def header(self, path: Path) -> list[str]:
        """The columns of a file; none where it is empty. Raises ValueError."""

    @abstractmethod
    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line or row number from 1, cells by column: at least `columns`) of each record."""

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The rows of each split. Raises ValueError."""
        given_names = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "unlabelled": self.unlabelled,
        }
        # One for all files, so that a label is the same object in every split.
        labels = LabelParser(self.label_names, self.label_separator)
        rows_of = {}
        for split, files in find_splits(self.path, self.suffix, given_names).items():
            split_labels = None if split == "unlabelled" else labels
            rows_of[split] = [
                row for file in files for row in self._rows(file, split_labels, on_bad_row)
            ]
        return rows_of

    def _rows(self, path: Path, labels: LabelParser | None, on_bad_row: OnBadRow) -> Iterator[Row]:
        """The rows of one file; without `labels` their label is None."""
        # 1. Which columns are read.
        header = self.header(path)
        if not header:
            return
        text_columns = {"text": find_column(header, self.text, "text", TEXT, path)}
        if self.text_b:
            text_columns["text_b"] = find_column(header, self.text_b, "text_b", (), path)
        columns = list(text_columns.values())
        label_column = ""
        if labels:
            label_column = find_column(header, self.label, "label", LABEL, path)
            columns.append(label_column)
        id_column = find_column(header, self.id, "id", (), path) if self.id else ID
        has_ids = id_column in header
        if has_ids:
            columns.append(id_column)

        # 2. Each record as a row of ours.
        number_of_id: dict[str, int] = {}
        for number, record in self.records(path, columns, on_bad_row):
            try:
                row: Row = {}
                for key, column in text_columns.items():
                    row[key] = cell_text(record[column], column)
                row["label"] = labels.parse(record[label_column], label_column) if labels else None
                if has_ids:
                    _check_id(str(record[id_column]), id_column, number, number_of_id)
            except ValueError as error:
                on_bad_row(BadRow(f"{path}{self.number_mark}{number}", str(error), record))
                continue
            yield row


def _check_id(value: str, column: str, number: int, number_of_id: dict[str, int]) -> None:
    """Remember the id of row `number`. Raises ValueError where an earlier row has it."""
    first = number_of_id.setdefault(value, number)
    if first != number:
        raise ValueError(
            f"{column}: `{value}` is also the {column} of row {first}. Keep one of the two rows"
        )


def cell_text(value: Any, column: str) -> str:
    """A cell as text; a list of words is joined by blanks. Raises ValueError where it is none."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    if not isinstance(value, str) and value is not None:
        raise ValueError(
            f"{column}: {str(value)[:SHOWN_CHARACTERS]!r} is no text, nor a list of words. "
            "Write it in quotes"
        )
    if not value or value.isspace():
        raise ValueError(f"{column}: no text here. Fill it in, or remove the row")
    if "\0" in value:  # JSON and Parquet can hold one; in lines it was found before
        raise ValueError(f"{column}: a NUL character. Remove it")
    return value


def find_column(
    header: Sequence[str], given: str | None, key: str, usual: Sequence[str], path: Path
) -> str:
    """The column `given` by the recipe's `data.key`, or the first of the `usual` names.

    Raises ValueError with the columns that there are.
    """
    if given:
        if given not in header:
            raise ValueError(
                f"{path}: no column `{given}` (data.{key}). {wording.suggest(given, header)}"
            )
        return given
    for name in usual:
        if name in header:
            return name
    raise ValueError(
        f"{path}: no column for the {key} ({', '.join(usual)}). Name it with data.{key}. "
        f"Columns here: {', '.join(header[:24])}"
    )
