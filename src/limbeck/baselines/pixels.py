"""What a linear model reads of images: their pixels, in one small size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from limbeck.sources import Row

# Longer sides are shrunk to so many pixels: a weight for each pixel of a photo would fit noise.
LONGEST_SIDE = 32


class Pixels:
    """Reads images in the size and colours of the first one that it was made from."""

    def __init__(self, rows: Sequence[Row]) -> None:
        first = rows[0]["image"]
        height, width = first.shape[:2]
        shrink = min(1.0, LONGEST_SIDE / max(height, width))
        self.size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        self.mode = "L" if first.ndim == 2 else "RGB"
        raw = self._read(rows)
        self.mean = raw.mean(0)
        # A pixel that never changes says nothing, whatever it is divided by.
        self.std = np.maximum(raw.std(0), 1 / 255)

    def rows(self, rows: Sequence[Row]) -> np.ndarray:
        """(N, F) float32, each pixel of train with the mean 0 and the deviation 1."""
        return (self._read(rows) - self.mean) / self.std

    def _read(self, rows: Sequence[Row]) -> np.ndarray:
        """(N, F) float32 in [0, 1]."""
        values = np.empty((len(rows), self.size[0] * self.size[1] * len(self.mode)), np.float32)
        for number, row in enumerate(rows):
            picture = Image.fromarray(row["image"]).convert(self.mode)
            if picture.size != self.size:
                picture = picture.resize(self.size, Image.Resampling.BOX)
            values[number] = np.asarray(picture, np.float32).ravel() / 255
        return values
