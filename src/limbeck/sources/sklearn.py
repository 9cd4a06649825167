"""Images that come with scikit-learn: `digits`, 1,797 scans of handwritten digits, 8 x 8 pixels, 17 grey levels (Alpaydin and Kaynak, 1998).

One split only: `limbeck.data.splits` draws the test and validation splits from it.
"""

from dataclasses import dataclass

import numpy as np

from limbeck.sources import OnBadRow, Row, fail


@dataclass(frozen=True)
class Sklearn:
    """`dataset`: digits. `unlabelled`: the share of rows whose label is hidden (seeded), to try a transfer set."""

    dataset: str = "digits"
    unlabelled: float = 0.0

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        if self.dataset != "digits":
            raise ValueError(
                f"data.dataset: scikit-learn's image set is `digits`, not `{self.dataset}`"
            )
        if not 0 <= self.unlabelled < 1:
            raise ValueError(f"data.unlabelled: a share from 0 to below 1, not {self.unlabelled}")
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        hidden = np.random.default_rng(0).random(len(images)) < self.unlabelled
        rows = [
            {"image": image, "label": str(label)}
            for image, label in zip(images, digits.target, strict=True)
        ]
        splits = {"train": [row for row, hide in zip(rows, hidden, strict=True) if not hide]}
        if hidden.any():
            splits["unlabelled"] = [
                {"image": row["image"], "label": None}
                for row, hide in zip(rows, hidden, strict=True)
                if hide
            ]
        return splits
