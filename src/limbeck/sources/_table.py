"""Rows of a text, or a pair of texts, and a label, from files with columns.

What csv, tsv, jsonl and parquet share: which column holds the text and which the label, and what a
cell must hold (`_cells`). A format adds how its header and its records are read. A cell of text is
a string or a list of words. Words with a tag each are rows of words and tags.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, Patience, Row, WrongColumn, fail
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._cells.messages import (
    PROMPTS,
    RESPONSES,
    MessageCells,
    message_columns,
)
from limbeck.sources._cells.record import (
    TAG,
    TAGS,
    WORD,
    WORDS,
    Beside,
    TextCells,
    WordCells,
    as_sentences,
    word_columns,
)
from limbeck.sources._cells.spans import REFUSE, SpanCells, check_overlaps
from limbeck.sources._cells.splits import split_of_cell
from limbeck.sources._cells.tags import check_scheme
from limbeck.sources._on_disk import RowCollector
from limbeck.sources._split_files import SPLIT_OF_NAME as WORDS_OF
from limbeck.sources._split_files import find_splits, split_of

# The names of columns that are taken where a recipe names none, in this order. `limbeck init`
# guesses by them too.
TEXT = ("text", "sentence", "utterance", "instruction", "question", "content", "review", "tokens")
LABEL = ("label", "labels", "intent", "category", "class", "sentiment", "target", "score")
ID = "id"
NO_ID = "none"
SPLIT = "split"
# Of preferences (DPO) the better answer is learned as any other.
CHOSEN, REJECTED = "chosen", "rejected"
NOT_PAIRED = "`chosen` is learned as the answer, and `rejected` is not read: no loss compares them"


@dataclass(frozen=True)
class Table(ABC):
    """The keys that every kind of table has.

    `path`: a folder or zip archive with a `train` file and, where they exist, `valid`, `test` and
    `unlabelled` files (or pieces of one, `train-*`); or one file, of which all rows are train.
    `train`, `validation`, `test`, `unlabelled`: that split's file in the folder, where it has
    another name than these.
    `split`: the column that says which split a row is in, by a name, or where it is called
    `is_train` or `is_test` by 1 and 0; left out, the column `split` of a single file, where it
    holds nothing but names of splits.
    `text`: the column of the text; left out, the first of text, sentence, utterance, instruction,
    question, content, review and tokens that is there.
    `text_b`: the column of a second text, where a row is a pair.
    `label`: the column of the label; left out, the first of label, labels, intent, category, class,
    sentiment, target and score that is there. Rows of `unlabelled` need none.
    `words`, `tags`: the columns of a sentence's words and of their tags, each a list or a text with
    spaces between; left out, `tokens` or `words` and the first of tags, ner_tags, slots and labels
    that is a list as long, where no column is a label.
    `scheme`: of the tags: iob2, iob1 or bioes (BILOU too); io (a type for each word of a
    span); single (a tag for every word).
    `sentence`: the column of a sentence's name or number, where a row is one word: rows of the same
    value, or of none, are of one sentence.
    `spans`: in place of `tags` the column of a text's spans: lists of its first character, the one
    behind its last, and its label (or objects of `start`, `end`, `label`).
    `overlaps`: of spans that share words: `refuse` the row, or keep the `longest` (of equally long
    ones the first), as a word has one tag.
    `messages`: the column of a dialogue, a list of messages, each with who speaks (role: system,
    user, assistant) and what is said (content). `prompt`, `response`: in its place the columns of
    one question and its answer. Left out, `messages`, `conversations`, `turns` and the like, or
    `prompt` and `response` and the like, where no column is a label.
    `label_columns`: in place of `label` a column for each label, with 0 or 1 or the share of
    annotators. Of one label a row it is the largest, of several (`label_separator`) those of at
    least one half.
    `vote_columns`: in place of `label` a column for each annotator, who gave one label or none: a
    row's label is what most of them say, and one without a majority is a bad row.
    `group`: the column of what a row belongs to, such as a patient or a document: a drawn split
    keeps such rows together.
    `slices`: columns, such as a channel or a clinic, for each of whose values the report says what
    the student lost; no model reads them.
    `id`: a column in which no value may stand twice in a file; left out, `id` where there is one;
    `none`: there is no such column, and `id` is one like any other.
    `label_names`: what the labels or tags 0, 1, ... mean, in order.
    `no_label`: what a cell holds where a row has no label, such as `-` where annotators did not
    agree: a bad row, as one with an empty cell is.
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
    no_label: str | None = None
    label_columns: list[str] | None = None
    vote_columns: list[str] | None = None
    words: str | None = None
    tags: str | None = None
    sentence: str | None = None
    messages: str | None = None
    prompt: str | None = None
    response: str | None = None
    spans: str | None = None
    overlaps: str = REFUSE
    scheme: str = "iob2"
    group: str | None = None
    slices: list[str] | None = None
    split: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    unlabelled: str | None = None
    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    # Of a format's files, the usual one first.
    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def header(self, path: Path) -> list[str]:
        """The columns of a file; none where it is empty. Raises ValueError."""

    @abstractmethod
    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(its line, or `row 3`; cells by column: at least `columns`) of each record."""

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, Sequence[Row]]:
        """The rows of each split; many of them lie on disk (`_on_disk`). Raises ValueError."""
        check_scheme(self.scheme)
        check_overlaps(self.overlaps)
        self._check_votes()
        given_names = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "unlabelled": self.unlabelled,
        }
        # One for all files, so that a label is the same object in every split.
        labels = LabelParser(self.label_names, self.label_separator, self.no_label)
        rows_of: dict[str, RowCollector] = {}
        self.notes.clear()
        files_of = find_splits(self.path, self.suffixes, given_names)
        is_one_file = sum(map(len, files_of.values())) == 1
        for split, files in files_of.items():
            rows_of.setdefault(split, RowCollector())
            for file in files:
                column = self._split_column(file, is_one_file=is_one_file)
                for row_split, row in self._rows(file, split, column, labels, on_bad_row):
                    rows_of.setdefault(row_split, RowCollector()).append(row)
        self.notes.extend(labels.notes())
        return {split: collector.rows() for split, collector in rows_of.items()}

    def _check_votes(self) -> None:
        """Raise ValueError where votes are read beside what they would be in place of."""
        others = {
            "label": self.label,
            "label_columns": self.label_columns,
            "label_separator": self.label_separator,
        }
        both = [f"data.{key}" for key, value in others.items() if value]
        if self.vote_columns and both:
            raise ValueError(
                f"data.vote_columns stands in place of {' and '.join(both)}: the votes give a row "
                "one label. Leave one of the two out"
            )

    def _split_column(self, path: Path, *, is_one_file: bool) -> str | None:
        """The column that says the split, if any. Raises ValueError."""
        header = self.header(path)
        if self.split:
            return find_column(header, self.split, "split", (), path)
        if SPLIT not in header or not is_one_file:
            return None
        # A column of that name may mean anything else.
        values = {str(record[SPLIT]) for _, record in self.records(path, [SPLIT], Patience())}
        splits = {split_of(value) for value in values}
        return SPLIT if None not in splits and "train" in splits else None

    def _rows(
        self,
        path: Path,
        split: str,
        split_column: str | None,
        labels: LabelParser,
        on_bad_row: OnBadRow,
    ) -> Iterator[tuple[str, Row]]:
        """The split and the row of each record of a file of `split`."""
        # 1. Which columns are read.
        header = self.header(path)
        if not header:
            return
        cells = self._cells(path, header, labels, is_labelled=split != "unlabelled")
        columns = cells.columns
        has_ids = ID in header if self.id is None else self.id != NO_ID or NO_ID in header
        id_column = find_column(header, self.id or ID, "id", (), path) if has_ids else ID
        if has_ids:
            columns.append(id_column)
        if split_column:
            columns.append(split_column)
        if self.sentence:
            columns.append(find_column(header, self.sentence, "sentence", (), path))

        # 2. Each record as a row of ours.
        first_of_id: dict[str, str] = {}
        records = self.records(path, columns, on_bad_row)
        if self.sentence and isinstance(cells, WordCells):
            lists = [column for column in (cells.words, cells.tags) if column]
            records = as_sentences(records, self.sentence, lists)
        for where, record in records:
            # `file:3` is a line that an editor can go to.
            gap = "" if where.isdigit() else " "
            place = f"{path}:{gap}{where}"
            try:
                row_split = split
                if split_column:
                    row_split = _checked_split(record[split_column], split_column)
                row = cells.row(record, is_labelled=row_split != "unlabelled")
                if has_ids:
                    _check_id(str(record[id_column]), id_column, where, first_of_id)
            except ValueError as error:
                on_bad_row(BadRow(place, str(error), record))
                continue
            if isinstance(cells, MessageCells):
                row["place"] = place
            yield row_split, row

    def _cells(
        self, path: Path, header: Sequence[str], labels: LabelParser, *, is_labelled: bool
    ) -> TextCells | WordCells | SpanCells | MessageCells:
        """How a record of a file becomes a row. Raises ValueError for a column that lacks."""
        # Rows without labels are judged by nothing.
        beside = Beside(self.group, tuple(self.slices or ()) if is_labelled else ())
        for column in beside.columns:
            key = "group" if column == self.group else "slices"
            find_column(header, column, key, (), path)
        if self.spans:
            text = find_column(header, self.text, "text", TEXT, path)
            if is_labelled:
                find_column(header, self.spans, "spans", (), path)
            spans = self.spans if is_labelled else None
            return SpanCells(text, spans, labels, beside, self.overlaps)
        dialogue = self._message_columns(path, header)
        if dialogue:
            if dialogue.response == CHOSEN and REJECTED in header and NOT_PAIRED not in self.notes:
                self.notes.append(NOT_PAIRED)
            return dialogue.with_beside(header, beside)
        tagged = self._word_columns(path, header)
        if tagged:
            words, tags = tagged
            if is_labelled and tags not in header:
                find_column(header, tags, "tags", (), path)
            return WordCells(words, tags if is_labelled else None, labels, self.scheme, beside)
        texts = {"text": find_column(header, self.text, "text", TEXT, path)}
        if self.text_b:
            texts["text_b"] = find_column(header, self.text_b, "text_b", (), path)
        if not is_labelled:
            return TextCells(texts, [], labels, beside)
        if self.label_columns:
            for column in self.label_columns:
                find_column(header, column, "label_columns", (), path)
            return TextCells(texts, list(self.label_columns), labels, beside, are_shares=True)
        if self.vote_columns:
            for column in self.vote_columns:
                find_column(header, column, "vote_columns", (), path)
            return TextCells(texts, list(self.vote_columns), labels, beside, are_votes=True)
        label = find_column(header, self.label, "label", LABEL, path)
        return TextCells(texts, [label], labels, beside)

    def _message_columns(self, path: Path, header: Sequence[str]) -> MessageCells | None:
        """The columns of dialogues; None where rows are something else. Raises ValueError."""
        if self.messages:
            return MessageCells(find_column(header, self.messages, "messages", (), path))
        if self.prompt or self.response:
            prompt = find_column(header, self.prompt, "prompt", PROMPTS, path)
            return MessageCells(
                prompt=prompt,
                response=find_column(header, self.response, "response", RESPONSES, path),
            )
        others = (self.text, self.label, self.label_columns, self.vote_columns, self.words)
        is_named = any((*others, self.tags, self.sentence, self.label_separator))
        return None if is_named else message_columns(header, LABEL)

    def _word_columns(self, path: Path, header: Sequence[str]) -> tuple[str, str] | None:
        """The columns of words and tags; None where rows are texts. Raises ValueError."""
        if self.words or self.tags or self.sentence:
            usual_words, usual_tags = (WORD, TAG) if self.sentence else (WORDS, TAGS)
            words = find_column(header, self.words, "words", usual_words, path)
            return words, self.tags or find_column(header, None, "tags", usual_tags, path)
        of_label = (self.label, self.label_columns, self.vote_columns, self.label_separator)
        is_text = self.text or any(of_label)
        first = next((record for _, record in self.records(path, (), Patience())), None)
        if is_text or first is None:
            return None
        has_label = any(name in first and not isinstance(first[name], list) for name in LABEL)
        return None if has_label else word_columns(first)


def _checked_split(value: Any, column: str) -> str:
    """The split that a cell names. Raises ValueError."""
    split = split_of_cell(value, column)
    if split is None:
        hint = wording.suggest(str(value), WORDS_OF)
        raise ValueError(f"{column}: `{value}` is no split. {hint}")
    return split


def _check_id(value: str, column: str, where: str, first_of_id: dict[str, str]) -> None:
    """Remember the id of a row. Raises ValueError where an earlier row has it."""
    first = first_of_id.setdefault(value, where)
    if first != where:
        number = first.removeprefix("row ")
        raise ValueError(
            f"{column}: `{value}` is also the {column} of row {number}. Keep one of the two rows; "
            f"or, where rows may share a value of this column, data.id: {NO_ID}"
        )


def find_column(
    header: Sequence[str], given: str | None, key: str, usual: Sequence[str], path: Path
) -> str:
    """The column `given` by the recipe's `data.key`, or the first of the `usual` names.

    Raises WrongColumn with the columns that there are.
    """
    if given:
        if given not in header:
            told = f"{path}: no column `{given}` (data.{key}). {wording.suggest(given, header)}"
            raise WrongColumn(told, key, given, header)
        return given
    for name in usual:
        if name in header:
            return name
    told = (
        f"{path}: no column for the {key} ({', '.join(usual)}). Name it with data.{key}. "
        f"Columns here: {', '.join(header[:24])}"
    )
    raise WrongColumn(told, key, None, header)
