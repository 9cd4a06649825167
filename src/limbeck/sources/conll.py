"""Words in columns, one word a line, a blank line between sentences, as in CoNLL-2003 (Tjong Kim
Sang and De Meulder, 2003).

The first column is the word, the last its tag in IOB2: `B-PER` begins a span of type PER, `I-PER`
goes on with it, `O` is outside of any. `-DOCSTART-` lines separate documents and hold no sentence.
Unlabelled sentences may also be plain text, words and punctuation marks between spaces.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import Lines

# The names of the corpus as it is passed on in plain text; `unlabelled` is ours.
FILES = {
    "train": "train.txt",
    "validation": "valid.txt",
    "test": "test.txt",
    "unlabelled": "unlabelled.txt",
}
SENTENCE_ENDS = {".", "!", "?"}  # where they stand alone, between spaces


@dataclass(frozen=True)
class Conll:
    """`path`: a folder with train.txt, test.txt and, where they exist, valid.txt and
    unlabelled.txt (there the word's column is enough).
    `unlabelled`: a file of plain text, read instead of the folder's unlabelled.txt.
    """

    path: str
    unlabelled: str | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The sentences of each split. Raises ValueError."""
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"data.path: `{self.path}` is no folder. "
                "It should hold train.txt and test.txt in CoNLL columns"
            )
        file_of = {split: folder / name for split, name in FILES.items()}
        # Corpora in this form come with a test split; validation rows can be drawn from train.
        for split in ("train", "test"):
            if not file_of[split].is_file():
                raise ValueError(
                    f"{folder}: no {FILES[split]} here. Expected: {', '.join(FILES.values())} "
                    "(the last two where they exist)"
                )
        rows_of = {}
        for split, file in file_of.items():
            if file.is_file():
                is_tagged = split != "unlabelled"
                rows_of[split] = list(sentences(file, on_bad_row, tagged=is_tagged))
        if self.unlabelled is not None:
            text = Path(self.unlabelled).expanduser()
            if not text.is_file():
                raise ValueError(
                    f"data.unlabelled: `{self.unlabelled}` is no file. "
                    "It should hold plain text, words and marks between spaces"
                )
            rows_of["unlabelled"] = list(plain_sentences(text, on_bad_row))
        return rows_of


def sentences(path: Path, on_bad_row: OnBadRow = fail, *, tagged: bool) -> Iterator[Row]:
    """The sentences of one file; every tag is None where the file is not `tagged`.

    A sentence with a mistake is left out as a whole, and its first mistake goes to `on_bad_row`.
    """
    words: list[str] = []
    tags: list[str | None] = []
    problem: BadRow | None = None
    lines = Lines(path)
    # A blank line more, for the last sentence of a file that does not end with one.
    for line in chain(lines, [""]):
        columns = line.split()
        # 1. At a sentence's end: hand it on, or say what is wrong with it.
        if not columns or columns[0] == "-DOCSTART-":
            if problem:
                problem.content = {"words": words, "tags": tags}
                on_bad_row(problem)
            elif words:
                yield {"words": words, "tags": tags}
            words = []
            tags = []
            problem = None
            continue
        # 2. One word more. A bad one stays in its sentence, so that who mends it sees all of it.
        words.append(columns[0])
        tag = None
        try:
            lines.check()
            if tagged:
                tag = checked_tag(columns, tags, f"{path}:{lines.number}")
        except BadRow as row:
            problem = problem or row
        tags.append(tag)


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
        for words in cut_at_ends(line.split()):
            yield {"words": words, "tags": [None] * len(words)}


def cut_at_ends(words: Iterable[str]) -> Iterator[list[str]]:
    """The sentences of a line: each ends with a mark that stands alone, or with the line."""
    sentence: list[str] = []
    for word in words:
        sentence.append(word)
        if word in SENTENCE_ENDS:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def checked_tag(columns: Sequence[str], before: Sequence[str | None], place: str) -> str:
    """The last column as an IOB2 tag.

    `before`: the tags of the sentence up to here. Raises BadRow for what is no tag and for a span
    that goes on without having begun.
    """
    tag = columns[-1]
    if len(columns) < 2:
        raise BadRow(
            f"{place}:1",
            f"`{columns[0]}` has no tag. "
            "Each line is a word, then columns, the last the tag; blank lines end a sentence",
        )
    place = f"{place}: column {len(columns)}"
    prefix, span_type = tag[:2], tag[2:]
    if tag != "O" and (prefix not in ("B-", "I-") or not span_type):
        raise BadRow(place, f"`{tag}` is no IOB2 tag. Write O, B-TYPE or I-TYPE")
    previous = before[-1] if before else "O"
    # None is the tag of a word before that was bad itself.
    if prefix == "I-" and (previous is None or previous[2:] != span_type):
        raise BadRow(
            place,
            f"`{tag}` follows `{previous}`. In IOB2 a span begins with B-{span_type}",
        )
    return tag
