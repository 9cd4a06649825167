"""Words in columns, one word a line, a blank line between sentences, as in CoNLL-2003 (Tjong Kim
Sang and De Meulder, 2003).

Columns part at tabs where a line has some, else at spaces: those of ASCII alone, as a number may
hold a no-break space. The first column is the word, the last its tag (`_tags`: IOB2 unless
`scheme` says otherwise). `-DOCSTART-` lines separate documents and hold no sentence. Unlabelled
sentences may also be plain text, words and punctuation marks between spaces.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._cells.tags import MOST_WORDS, TagProblem, as_iob2, check_length, check_scheme
from limbeck.sources._files import Lines
from limbeck.sources._split_files import find_splits

# What people call such files: `train.txt` first, `eng.train` and `esp.testa` last.
SUFFIXES = (
    *(
        ".txt",
        ".conll",
        ".conllu",
        ".iob2",
        ".iob",
        ".bio",
        ".bioes",
        ".tsv",
        ".data",
        ".annotated",
        "",
    ),
    *(".train", ".valid", ".dev", ".devel", ".test", ".testa", ".testb"),
)
SPACES = re.compile("[ \t]+")
NO_WORD = re.compile(r"\d+[-.]\d+")
WORD = re.compile(r"\S+")
MOST_COLUMNS = 1000
BLANKS = " \t\r\n"
SHOWN_WORDS = 20  # of a sentence that is too long
SENTENCE_ENDS = {".", "!", "?"}  # where they stand alone, between spaces


@dataclass(frozen=True)
class Conll:
    """`path`: a folder with train.txt and, where they exist, test.txt, valid.txt and unlabelled.txt
    (there the word's column is enough); or one file, of which all rows are train.
    `train`, `validation`, `test`: that split's file in the folder, where it has another name.
    `unlabelled`: a file of plain text, read instead of the folder's unlabelled.txt.
    `scheme`: of the tags: iob2, iob1 or bioes (BILOU too); io (a type for each word of a
    span); single (a tag for every word).
    `word_column`, `tag_column`: their numbers from 1; left out, the first and the last. Where the
    first column numbers the words, lines of `3-4` (what stands for words 3 and 4) and `3.1` (a word
    that is not written) are left out, as CoNLL-U has them.
    `comments`: what lines begin with that are none, such as `#`.
    `encoding`: of the files, where they are not UTF-8.
    """

    path: str
    unlabelled: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    scheme: str = "iob2"
    word_column: int = 1
    tag_column: int | None = None
    comments: str | None = None
    encoding: str | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The sentences of each split. Raises ValueError."""
        check_scheme(self.scheme)
        given_names = {"train": self.train, "validation": self.validation, "test": self.test}
        rows_of = {}
        for split, files in find_splits(self.path, SUFFIXES, given_names).items():
            is_tagged = split != "unlabelled"
            rows_of[split] = [
                row for file in files for row in self.sentences(file, on_bad_row, tagged=is_tagged)
            ]
        if self.unlabelled is not None:
            text = Path(self.unlabelled).expanduser()
            if not text.is_file():
                raise ValueError(
                    f"data.unlabelled: `{self.unlabelled}` is no file. "
                    "It should hold plain text, words and marks between spaces"
                )
            rows_of["unlabelled"] = list(plain_sentences(text, on_bad_row))
        return rows_of

    def sentences(
        self, path: Path, on_bad_row: OnBadRow = fail, *, tagged: bool = True
    ) -> Iterator[Row]:
        """The sentences of one file; every tag is None where the file is not `tagged`.

        A sentence with a mistake is left out as a whole, and its first mistake goes to
        `on_bad_row`.
        """
        for _, row in self.numbered(path, tagged=tagged):
            if isinstance(row, BadRow):
                on_bad_row(row)
            else:
                yield row

    def numbered(self, path: Path, *, tagged: bool = True) -> Iterator[tuple[int, Row | BadRow]]:
        """(the line of its first word, the sentence or its first mistake) of each of one file."""
        sentence = _Sentence([], [], [])
        lines = Lines(path, self.encoding)
        # A blank line more, for the last sentence of a file that does not end with one.
        for line in chain(lines, [""]):
            if self.comments and line.startswith(self.comments):
                continue
            columns = split_columns(line)
            # 1. At a sentence's end: hand it on, or say what is wrong with it.
            if not columns or columns[0] == "-DOCSTART-":
                if sentence.words:
                    yield sentence.places[0][0], self._finished(sentence, path, tagged=tagged)
                sentence = _Sentence([], [], [])
                continue
            if self.word_column > 1 and NO_WORD.fullmatch(columns[0]):
                continue
            # 2. One word more. A bad one stays in its sentence, so that who mends it sees all.
            try:
                lines.check()
                word, tag = self._word_and_tag(columns, tagged=tagged)
            except BadRow as row:
                sentence.problem = sentence.problem or row
                word, tag = columns[0], ""
            except ValueError as error:
                problem = BadRow(f"{path}:{lines.number}:1", str(error))
                sentence.problem = sentence.problem or problem
                word, tag = columns[0], ""
            # What is too long for a sentence is not kept, but for the word by which that is seen.
            if len(sentence.words) > MOST_WORDS:
                continue
            sentence.words.append(word)
            sentence.tags.append(tag)
            sentence.places.append((lines.number, self.tag_column or len(columns)))

    def _word_and_tag(self, columns: Sequence[str], *, tagged: bool) -> tuple[str, str]:
        """Raises ValueError where a column lacks, or the word is of space alone."""
        needed = max(self.word_column, self.tag_column or 2) if tagged else self.word_column
        if len(columns) < needed:
            if self.word_column == 1 and not self.tag_column:
                raise ValueError(
                    f"`{columns[0]}` has no tag. "
                    "Each line is a word, then columns, the last the tag; blank lines end a "
                    "sentence"
                )
            raise ValueError(f"{len(columns)} columns here, and column {needed} is asked for")
        if len(columns) > MOST_COLUMNS:
            raise ValueError(f"more than {MOST_COLUMNS} columns. Write one word a line")
        word = columns[self.word_column - 1]
        if not word.strip():
            raise ValueError(f"the word {word!r} is of space alone. Mend it, or remove the line")
        if not tagged:
            return word, ""
        return word, columns[self.tag_column - 1 if self.tag_column else -1]

    def _finished(self, sentence: "_Sentence", path: Path, *, tagged: bool) -> Row | BadRow:
        """The row of a sentence, or what is wrong with it."""
        tags: list[str | None] = [None] * len(sentence.words)
        problem = sentence.problem
        try:
            check_length(sentence.words)
        except ValueError as error:
            line, _ = sentence.places[0]
            cure = "with a blank line between them"
            problem = BadRow(f"{path}:{line}", f"{error}, {cure}")
            sentence.words, sentence.tags = (
                sentence.words[:SHOWN_WORDS],
                sentence.tags[:SHOWN_WORDS],
            )
        if tagged and not problem:
            try:
                tags = [*as_iob2(sentence.tags, self.scheme)]
            except TagProblem as error:
                line, column = sentence.places[error.number]
                problem = BadRow(f"{path}:{line}: column {column}", str(error))
        if problem:
            problem.content = {"words": sentence.words, "tags": sentence.tags}
            return problem
        return {"words": sentence.words, "tags": tags}


@dataclass
class _Sentence:
    """A sentence that is being read; `places`: the line and the tag's column of each word."""

    words: list[str]
    tags: list[str]
    places: list[tuple[int, int]]
    problem: BadRow | None = None


def split_columns(line: str) -> list[str]:
    """The columns of a line; none where it is blank."""
    line = line.strip(BLANKS)
    if not line:
        return []
    # A word before a tab may hold a space.
    if "\t" in line:
        return [column.strip(BLANKS) for column in line.split("\t", MOST_COLUMNS)]
    return SPACES.split(line, MOST_COLUMNS)


def plain_sentences(path: Path, on_bad_row: OnBadRow = fail) -> Iterator[Row]:
    """The sentences of plain text, with None for every tag."""
    lines = Lines(path)
    for line in lines:
        try:
            lines.check()
        except BadRow as row:
            row.content = {"text": line}
            on_bad_row(row)
            continue
        # One word after the other: a line may hold millions.
        for words in cut_at_ends(match.group() for match in WORD.finditer(line)):
            yield {"words": words, "tags": [None] * len(words)}


def cut_at_ends(words: Iterable[str]) -> Iterator[list[str]]:
    """The sentences of a line: each ends with a mark that stands alone, or with the line."""
    sentence: list[str] = []
    for word in words:
        sentence.append(word)
        if word in SENTENCE_ENDS or len(sentence) == MOST_WORDS:
            yield sentence
            sentence = []
    if sentence:
        yield sentence
