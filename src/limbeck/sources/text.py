"""Plain texts without labels, for masked language modelling.

Each line that is not blank is one text. `masked-lm` packs neighbouring lines together, so the order
of the lines matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._files import Lines, filled_lines
from limbeck.sources._on_disk import RowCollector
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

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, Sequence[Row]]:
        """The texts of each split; many of them lie on disk. Raises ValueError."""
        given_names = {"train": self.train, "validation": self.validation, "test": self.test}
        texts_of: dict[str, Sequence[Row]] = {}
        for split, files in find_splits(self.path, SUFFIXES, given_names).items():
            collector = RowCollector()
            for file in files:
                for text in filled_lines(Lines(file, self.encoding), on_bad_row):
                    collector.append({"text": text})
            texts_of[split] = collector.rows()
        return texts_of
