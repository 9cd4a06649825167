"""Images that come with scikit-learn, so that they can be had offline.

`digits`: 1,797 scans of handwritten digits, 8 x 8 pixels of 17 grey levels (Alpaydin and Kaynak,
1998). They are one split; test and validation rows are drawn from it, as from every source that
has train alone.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.sources import OnBadRow, Row, fail

HIGHEST_LEVEL = 16  # scikit-learn's grey levels go from 0 to 16
# Of all images where labels are hidden: those of the few that are left would prove nothing.
TEST_SHARE = 0.5


@dataclass(frozen=True)
class Sklearn:
    """`dataset`: digits, the only one. `unlabelled`: the share of rows, from 0 to below 1, whose
    label is hidden, to try out learning from a teacher alone; the test split, half of all
    images, then has its labels. `draw`: a number that decides which images these are.
    """

    dataset: str = "digits"
    unlabelled: float = 0.0
    draw: int = 0

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images as train and, where a share is asked for, unlabelled and test.

        Raises ValueError.
        """
        if self.dataset != "digits":
            raise ValueError(
                f"data.dataset: scikit-learn's image set is `digits`, not `{self.dataset}`"
            )
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"data.unlabelled: a share from 0 to below 1, not {self.unlabelled}")
        if self.draw < 0:
            raise ValueError(f"data.draw: a number from 0 on, not {self.draw}")
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / HIGHEST_LEVEL)).astype(np.uint8)
        rows = [
            {"image": image, "label": str(label)}
            for image, label in zip(images, digits.target, strict=True)
        ]
        if not self.unlabelled:
            return {"train": rows}
        # Seeded, so that a run and its repetition hide the same labels.
        generator = np.random.default_rng(self.draw)
        is_test = generator.random(len(rows)) < TEST_SHARE
        is_hidden = generator.random(len(rows)) < self.unlabelled
        splits: dict[str, list[Row]] = {"train": [], "unlabelled": [], "test": []}
        for row, tested, hidden in zip(rows, is_test, is_hidden, strict=True):
            if tested:
                splits["test"].append(row)
            elif hidden:
                splits["unlabelled"].append({**row, "label": None})
            else:
                splits["train"].append(row)
        return splits
