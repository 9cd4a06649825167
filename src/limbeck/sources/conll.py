"""Words in columns, one word a line, a blank line between sentences (CoNLL-2003; Tjong Kim Sang and De Meulder, 2003).

The first column is the word, the last its tag in IOB2 (`B-PER I-PER O`). `-DOCSTART-` lines separate documents and hold no sentence. A folder holds
`train.txt`, `test.txt`, and where they exist `valid.txt` and `unlabelled.txt` (one column is enough there). Unlabelled sentences may also be plain
text, words and marks between spaces.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import Lines

FILES = {
    "train": "train.txt",
    "validation": "valid.txt",
    "test": "test.txt",
    "unlabelled": "unlabelled.txt",
}

ENDS = {".", "!", "?"}


@dataclass(frozen=True)
class Conll:
    """`path`: the folder. `unlabelled`: a file of plain text, read instead of the folder's unlabelled.txt."""

    path: str
    unlabelled: str | None = None

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise ValueError(
                f"data.path: `{self.path}` is no folder. It should hold train.txt and test.txt in CoNLL columns"
            )
        found = {split: folder / name for split, name in FILES.items() if (folder / name).is_file()}
        for split in ("train", "test"):
            if split not in found:
                raise ValueError(
                    f"{folder}: no {FILES[split]} here. Expected: {', '.join(FILES.values())} (the last two where they exist)"
                )
        rows = {
            split: list(sentences(path, bad, tagged=split != "unlabelled"))
            for split, path in found.items()
        }
        if self.unlabelled is None:
            return rows
        text = Path(self.unlabelled).expanduser()
        if not text.is_file():
            raise ValueError(
                f"data.unlabelled: `{self.unlabelled}` is no file. It should hold plain text, words and marks between spaces"
            )
        return rows | {"unlabelled": list(plain_sentences(text, bad))}


def sentences(path: Path, bad: OnBadRow = fail, *, tagged: bool) -> Iterator[Row]:
    """The sentences of one file; `bad` gets the first mistake of each that cannot be used, by file, line, column, value and cure."""
    words: list[str] = []
    tags: list[str | None] = []
    problem: BadRow | None = None
    lines = Lines(path)
    for line in chain(lines, [""]):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if problem:
                problem.content = {"words": words, "tags": tags}
                bad(problem)
            elif words:
                yield {"words": words, "tags": tags}
            words, tags, problem = [], [], None
            continue
        words.append(columns[0])
        try:
            lines.check()
            tags.append(checked_tag(columns, tags, f"{path}:{lines.number}") if tagged else None)
        except BadRow as row:
            tags.append(None)
            problem = problem or row


def plain_sentences(path: Path, bad: OnBadRow = fail) -> Iterator[Row]:
    """The sentences of plain text, without tags: one ends with its line, or with a mark that stands alone."""
    lines = Lines(path)
    for line in lines:
        try:
            lines.check()
        except BadRow as row:
            row.content = {"text": line}
            bad(row)
            continue
        for words in cut_at_ends(line.split()):
            yield {"words": words, "tags": [None] * len(words)}


def cut_at_ends(words: Iterable[str]) -> Iterator[list[str]]:
    """The sentences of a line: one ends with a mark that stands alone, or with the line."""
    sentence: list[str] = []
    for word in words:
        sentence.append(word)
        if word in ENDS:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def checked_tag(columns: list[str], before: list[str | None], place: str) -> str:
    """The last column as an IOB2 tag."""
    tag = columns[-1]
    if len(columns) < 2:
        raise BadRow(
            f"{place}:1",
            f"`{columns[0]}` has no tag. Each line is a word, then columns, the last the tag; blank lines end a sentence",
        )
    if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
        raise BadRow(
            f"{place}: column {len(columns)}", f"`{tag}` is no IOB2 tag. Write O, B-TYPE or I-TYPE"
        )
    previous = before[-1] if before else "O"
    if tag.startswith("I-") and (previous is None or previous[2:] != tag[2:]):
        raise BadRow(
            f"{place}: column {len(columns)}",
            f"`{tag}` follows `{previous}`. In IOB2 a span begins with B-{tag[2:]}",
        )
    return tag
