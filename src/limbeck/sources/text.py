"""Plain texts without labels, for masked language modelling.

Each line that is not blank is one text. `masked-lm` packs neighbouring lines together, so the order
of the lines matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import Lines
from limbeck.sources._split_files import find_splits

SUFFIXES = (".txt", ".tokens", ".text", ".raw")  # WikiText has `wiki.train.tokens`


@dataclass(frozen=True)
class Text:
    """`path`: a folder with train.txt and, where they exist, valid.txt, test.txt and
    unlabelled.txt (or pieces, `train-*.txt`); or one file.
    `train`, `validation`, `test`: that split's file in the folder, where it has another name.
    `encoding`: of the files, where they are not UTF-8.
    """

    path: str
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    encoding: str | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The texts of each split. Raises ValueError."""
        given_names = {"train": self.train, "validation": self.validation, "test": self.test}
        texts_of: dict[str, list[Row]] = {}
        for split, files in find_splits(self.path, SUFFIXES, given_names).items():
            texts_of[split] = [row for file in files for row in self._rows(file, on_bad_row)]
        return texts_of

    def _rows(self, path: Path, on_bad_row: OnBadRow) -> Iterator[Row]:
        """The lines of one file that are not blank, without the blanks around them."""
        lines = Lines(path, self.encoding)
        for line in lines:
            try:
                lines.check()
            except BadRow as row:
                on_bad_row(row)
                continue
            if line.strip():
                yield {"text": line.strip()}
