"""Texts in a file for each class, one a line, as sentences of film reviews are published (Pang and
Lee, 2005, arXiv cs/0506075): pos.txt and neg.txt, or rt-polarity.pos and rt-polarity.neg.

What a file holds is told by its name and its folders (`_class_files`). A line that is not blank is
one text. Those of `unlabelled.txt` need no class.
"""

from dataclasses import dataclass

from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._class_files import class_files_in
from limbeck.sources._files import Lines, filled_lines, folder_with


@dataclass(frozen=True)
class ClassFiles:
    """`path`: the folder. `classes`: those that are read, where other files lie beside them.
    `encoding`: of the files, where they are not UTF-8.
    """

    path: str
    classes: list[str] | None = None
    encoding: str | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The texts of each split. Raises ValueError."""
        expected = "a file for each class, with a text a line: pos.txt, neg.txt"
        root = folder_with(expected, self.path)
        files = class_files_in(root)
        labels = sorted({file.label for file in files if file.label and file.split == "train"})
        missing = sorted(set(self.classes or []).difference(labels))
        if missing or len(labels) < 2:
            lacking = missing[0] if missing else "a second class"
            raise ValueError(
                f"{root}: no file of {lacking} in train. "
                f"Classes here: {', '.join(labels) or 'none'}"
            )
        rows_of: dict[str, list[Row]] = {}
        for file in files:
            if file.label is None or not self.classes or file.label in self.classes:
                texts = filled_lines(Lines(file.path, self.encoding), on_bad_row)
                rows = [{"text": text, "label": file.label} for text in texts]
                rows_of.setdefault(file.split, []).extend(rows)
        return rows_of
