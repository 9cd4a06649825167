"""What a record's cells must hold, and the row that they become."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.sources._cells.labels import MOST_LIST_CHARACTERS, LabelParser, written_list
from limbeck.sources._cells.tags import MOST_WORDS, as_iob2, check_length
from limbeck.sources._encodings import checked_unicode, without_nul

# The names of columns of words and of their tags, in the order in which they are looked for.
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "slots", "labels", "ner", "pos_tags", "label", "bio_tags", "entities")
# The same of a table with one word a row.
WORD = ("word", "token", *WORDS)
TAG = ("tag", "ner_tag", "pos_tag", "bio", *TAGS)

SHOWN_CHARACTERS = 40  # of a cell that is no text, in its message
# What people and programs write for 1 and 0, in small letters.
FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n"), 0.0),
}
HALF = 0.5  # a label that half of the annotators gave


@dataclass(frozen=True)
class Beside:
    """What a row has beside input and label.

    `group`: the column of what it belongs to. `slices`: columns by which its rows are judged apart.
    """

    group: str | None = None
    slices: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [*([self.group] if self.group else []), *self.slices]

    def added(self, row: Row, record: Mapping[str, Any]) -> Row:
        """The row with both, where columns say them.

        An empty cell names no group: rows that are of nobody are not of one and the same.
        """
        if self.group and not is_empty(record[self.group]):
            row["group"] = str(record[self.group])
        if self.slices:
            row["slices"] = slices_of(record, self.slices)
        return row


NOTHING = Beside()


@dataclass(frozen=True)
class TextCells:
    """Rows of a text, or of a pair, and a label.

    `texts`: a column for each key of a row. `label_columns`: one, or with `are_shares` one for each
    label, with `are_votes` one for each annotator; none where rows have no label.
    """

    texts: Mapping[str, str]
    label_columns: Sequence[str]
    labels: LabelParser
    beside: Beside = NOTHING
    are_shares: bool = False
    are_votes: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [*self.texts.values(), *self.label_columns, *self.beside.columns]

    def row(self, record: Mapping[str, Any], *, is_labelled: bool) -> Row:
        """The row of a record. Raises ValueError for a cell that cannot be used."""
        row: Row = {key: cell_text(record[column], column) for key, column in self.texts.items()}
        row["label"] = self.label(record) if is_labelled and self.label_columns else None
        return self.beside.added(row, record)

    def label(self, record: Mapping[str, Any]) -> str | list[str]:
        """The label of a record, or the list of its labels. Raises ValueError."""
        if self.are_votes:
            return self._most_voted(record)
        if not self.are_shares:
            (column,) = self.label_columns
            return self.labels.parse(record[column], column)
        shares = {column: share_of(record[column], column) for column in self.label_columns}
        if self.labels.separator is not None:
            return [column for column, share in shares.items() if share >= HALF]
        most = max(shares.values())
        best = [column for column, share in shares.items() if share == most]
        if len(best) > 1:
            raise ValueError(
                f"{' and '.join(best[:2])} are both {most:g}, and a row has one label. Mend it, or "
                'say that it has several: data.label_separator: ";"'
            )
        return best[0]

    def _most_voted(self, record: Mapping[str, Any]) -> str:
        """The label that more annotators gave than any other. Raises ValueError for a tie."""
        votes: Counter[str] = Counter()
        for column in self.label_columns:
            if not is_empty(record[column], self.labels.no_label):
                votes[self.labels.parse_one(record[column], column)] += 1
        if not votes:
            raise ValueError(f"{', '.join(self.label_columns[:2])}, ...: no label in any of these")
        (best, count), *others = votes.most_common(2)
        if others and others[0][1] == count:
            second = others[0][0]
            raise ValueError(
                f"`{best}` and `{second}` have {count} votes each, and a row has one label. Mend "
                "it, or leave such rows out"
            )
        return best


def slices_of(record: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """The names of a row's slices; empty where a cell is, or its column is missing."""
    cells = {column: record.get(column) for column in columns}
    return {column: "" if is_empty(cell) else str(cell) for column, cell in cells.items()}


def is_missing(cell: Any) -> bool:
    """Whether a cell is what Python, numpy or pandas write for no value."""
    # The types of pandas.NA and pandas.NaT, by name: pandas need not be installed.
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def is_empty(cell: Any, no_label: str | None = None) -> bool:
    """Whether a cell holds nothing: it is missing, of space alone, or what stands for no label."""
    if is_missing(cell):
        return True
    text = str(cell).strip()
    return not text or text == no_label


@dataclass(frozen=True)
class WordCells:
    """Rows of words and their tags; `tags`: None where they are unknown."""

    words: str
    tags: str | None
    labels: LabelParser
    scheme: str
    beside: Beside = NOTHING

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [self.words, *([self.tags] if self.tags else []), *self.beside.columns]

    def row(self, record: Mapping[str, Any], *, is_labelled: bool) -> Row:
        """The row of a record. Raises ValueError for a cell that cannot be used."""
        words = words_of(as_list(record[self.words], self.words), self.words)
        if not words:
            raise ValueError(f"{self.words}: no word here. Remove the row")
        check_length(words)
        tags: list[str | None] = [None] * len(words)
        if is_labelled and self.tags:
            given = as_list(record[self.tags], self.tags)
            if len(given) != len(words):
                raise ValueError(
                    f"{self.tags}: {len(given)} tags for {len(words)} words. Give each word one"
                )
            names = [self.labels.parse_one(tag, self.tags) for tag in given]
            tags = [*self._checked(names)]
        return self.beside.added({"words": words, "tags": tags}, record)

    def _checked(self, names: Sequence[str]) -> list[str]:
        if all(name.isdecimal() for name in names):
            raise ValueError(
                f"{self.tags}: `{names[0]}` is a number. Say what 0, 1, ... mean with "
                "data.label_names: [O, B-TYPE, I-TYPE, ...]"
            )
        try:
            return as_iob2(names, self.scheme)
        except ValueError as error:
            raise ValueError(f"{self.tags}: {error}") from None


def word_columns(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The columns of words and of their tags, both lists, of a record; None where it has none."""
    for words in WORDS:
        given = record.get(words)
        if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
            continue
        for tags in TAGS:
            cells = record.get(tags)
            if isinstance(cells, list) and len(cells) == len(given) > 0:
                return words, tags
    return None


def as_list(cell: Any, column: str) -> list[Any]:
    """A cell as a list: one, one as Python, JSON or numpy write it, or words with spaces between.

    Raises ValueError.
    """
    if isinstance(cell, str):
        if not cell.startswith("["):
            return cell.split()
        if len(cell) > MOST_LIST_CHARACTERS:
            raise ValueError(
                f"{column}: a list of {len(cell):,} characters, and at most "
                f"{MOST_LIST_CHARACTERS:,} are read. Break the row into several"
            )
        try:
            cell = written_list(cell)
        except ValueError:
            raise ValueError(f"{column}: {cell[:SHOWN_CHARACTERS]!r} is no list") from None
    if not isinstance(cell, list):
        raise ValueError(f"{column}: {str(cell)[:SHOWN_CHARACTERS]!r} is no list")
    return cell


def words_of(given: Iterable[Any], column: str) -> list[str]:
    """The words of a list.

    Raises ValueError for one that is no text: as Python prints it, it would be another word than
    anybody wrote (`None`, `nan`, `1e-05`). And for a blank one, whose tag would say nothing.
    """
    words = []
    for number, word in enumerate(given, 1):
        if not isinstance(word, str):
            shown = repr(word)[:SHOWN_CHARACTERS]
            raise ValueError(f"{column}: word {number}, {shown}, is no text. Write it in quotes")
        if not word.strip():
            raise ValueError(f"{column}: word {number} is empty, and has no tag. Leave it out")
        words.append(checked_unicode(f"{column}: word {number}", word))
    return words


def share_of(cell: Any, column: str) -> float:
    """A cell as a share from 0 to 1. Raises ValueError."""
    if isinstance(cell, bool):
        return float(cell)
    if isinstance(cell, str) and cell.strip().lower() in FLAGS:
        return FLAGS[cell.strip().lower()]
    try:
        share = float(cell)
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= 1:
        shown = repr(cell)[:SHOWN_CHARACTERS]
        raise ValueError(
            f"{column}: {shown} is no share. Write 0, 1 or a number between, or yes and no"
        )
    return share


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
    return without_nul(column, value)


def as_sentences(
    records: Iterable[tuple[str, dict[str, Any]]], sentence: str, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of one word each as records of a sentence, by its first record's place.

    `sentence`: the column that names it; an empty cell is the sentence of the record before.
    `columns`: those that become lists. The other cells are the first record's. Raises ValueError
    for a sentence that does not end.
    """
    found: tuple[str, dict[str, Any]] | None = None
    for where, record in records:
        name = record[sentence]
        is_new = name not in (None, "") and (found is None or name != found[1][sentence])
        if found is None or is_new:
            if found:
                yield found
            found = where, record | {column: [] for column in columns}
        for column in columns:
            found[1][column].append(record[column])
            # A table whose sentences have no names is one sentence, of any length.
            if len(found[1][column]) > MOST_WORDS:
                raise ValueError(
                    f"{sentence}: more than {MOST_WORDS:,} words from record {found[0]} on without "
                    "another name. Name each sentence"
                )
    if found:
        yield found
