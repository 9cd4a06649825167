"""Words in columns, one word a line, a blank line between sentences (CoNLL-2003; Tjong Kim Sang and De Meulder, 2003).

The first column is the word, the last its tag in IOB2 (`B-PER I-PER O`). `-DOCSTART-` lines separate documents and hold no sentence. A folder holds
`train.txt`, `test.txt`, and where they exist `valid.txt` and `unlabelled.txt` (one column is enough there).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.sources import Row

FILES = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt", "unlabelled": "unlabelled.txt"}


@dataclass(frozen=True)
class Conll:
    """`path`: the folder."""

    path: str

    def read(self) -> dict[str, list[Row]]:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise ValueError(f"data.path: `{self.path}` is no folder. It should hold train.txt and test.txt in CoNLL columns")
        found = {split: folder / name for split, name in FILES.items() if (folder / name).is_file()}
        for split in ("train", "test"):
            if split not in found:
                raise ValueError(f"{folder}: no {FILES[split]} here. Expected: {', '.join(FILES.values())} (the last two where they exist)")
        return {split: list(sentences(path, tagged=split != "unlabelled")) for split, path in found.items()}


def sentences(path: Path, *, tagged: bool) -> Iterator[Row]:
    """The sentences of one file. Raises ValueError naming file, line, column, value and cure."""
    words: list[str] = []
    tags: list[str | None] = []
    for number, line in enumerate(lines(path), 1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if words:
                yield {"words": words, "tags": tags}
            words, tags = [], []
            continue
        words.append(columns[0])
        tags.append(checked_tag(columns, tags, f"{path}:{number}") if tagged else None)
    if words:
        yield {"words": words, "tags": tags}


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file. Raises ValueError for bytes that are not UTF-8 and for NUL characters."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                value = raw[error.start : error.start + 4]
                raise ValueError(f"{path}:{number}:{error.start + 1}: {value!r} is not UTF-8. Save the file as UTF-8") from None
            if "\0" in line:
                raise ValueError(f"{path}:{number}:{line.index(chr(0)) + 1}: a NUL character. Remove it") from None
            yield line


def checked_tag(columns: list[str], before: list[str | None], place: str) -> str:
    """The last column as an IOB2 tag."""
    tag = columns[-1]
    if len(columns) < 2:
        raise ValueError(f"{place}:1: `{columns[0]}` has no tag. Each line is a word, then columns, the last the tag; blank lines end a sentence")
    if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
        raise ValueError(f"{place}: column {len(columns)}: `{tag}` is no IOB2 tag. Write O, B-TYPE or I-TYPE")
    previous = before[-1] if before else "O"
    if tag.startswith("I-") and (previous is None or previous[2:] != tag[2:]):
        raise ValueError(f"{place}: column {len(columns)}: `{tag}` follows `{previous}`. In IOB2 a span begins with B-{tag[2:]}")
    return tag
