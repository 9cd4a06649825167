"""Images that come with scikit-learn, so that they can be had offline.

`digits`: 1,797 scans of handwritten digits, 8 x 8 pixels of 17 grey levels (Alpaydin and Kaynak,
1998). They are one split; test and validation rows are drawn from it, as from every source that
has train alone.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.sources import OnBadRow, Row, fail

HIGHEST_LEVEL = 16  # scikit-learn's grey levels go from 0 to 16


@dataclass(frozen=True)
class Sklearn:
    """`dataset`: digits, the only one. `unlabelled`: the share of rows, from 0 to below 1, whose
    label is hidden (the same rows every time), to try out learning from a teacher alone.
    """

    dataset: str = "digits"
    unlabelled: float = 0.0

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images, as train and, where a share is asked for, unlabelled. Raises ValueError."""
        if self.dataset != "digits":
            raise ValueError(
                f"data.dataset: scikit-learn's image set is `digits`, not `{self.dataset}`"
            )
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"data.unlabelled: a share from 0 to below 1, not {self.unlabelled}")
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / HIGHEST_LEVEL)).astype(np.uint8)
        # Seeded, so that a run and its repetition hide the same labels.
        is_hidden = np.random.default_rng(0).random(len(images)) < self.unlabelled
        labelled: list[Row] = []
        unlabelled: list[Row] = []
        for image, label, hide in zip(images, digits.target, is_hidden, strict=True):
            if hide:
                unlabelled.append({"image": image, "label": None})
            else:
                labelled.append({"image": image, "label": str(label)})
        splits = {"train": labelled}
        if unlabelled:
            splits["unlabelled"] = unlabelled
        return splits
