"""Plain texts without labels: each line that is not blank is one text; what reads them packs neighbouring lines together (`masked-lm`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import Lines, find_splits


@dataclass(frozen=True)
class Text:
    """`path`: a folder with train.txt, and where they exist valid.txt, test.txt and unlabelled.txt (or pieces, train-*.txt), or one file. `train`,
    `validation`, `test`: a file of that folder under another name."""

    path: str
    train: str | None = None
    validation: str | None = None
    test: str | None = None

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        found = find_splits(
            self.path,
            ".txt",
            {"train": self.train, "validation": self.validation, "test": self.test},
        )
        return {
            split: [row for file in files for row in texts(file, bad)]
            for split, files in found.items()
        }


def texts(path: Path, bad: OnBadRow) -> Iterator[Row]:
    """The lines of one file that are not blank."""
    lines = Lines(path)
    for line in lines:
        try:
            lines.check()
        except BadRow as row:
            bad(row)
            continue
        if line.strip():
            yield {"text": line.strip()}
