"""An image, which is one unit.

What `preprocess.json` says: an image becomes (channels, height, width) float32 by value / 255, less
the mean, over the standard deviation of each channel. Another size is resized by Pillow first
(`resample`, else bilinear). Where there is an `edge`, the shorter side is resized to that and the
centre is cropped, as is usual where a classifier of ImageNet is evaluated; where there is a
`squeeze`, the whole image is resized to that height and width before.

Before that, `reading` says what the source of the training images did to a file: `mode` (`L` or
`RGB`, where it is not what the model reads), `size` (squeezed to a square of that many pixels) and
`background` (the colour below transparent pixels, white where left out).

Shapes: C channels, H height, W width.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.sources._images import mode_of, pixels_of
from limbeck.sources._pixels import DARK, WHITE
from limbeck.tasks.packed import Images
from limbeck.tasks.types import Array, Names, Rows

# Mean and standard deviation are taken from so many images at most, so that a large split costs no
# more time.
FITTED_IMAGES = 2000

# A constant image has a standard deviation of 0, by which nothing can be divided.
SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class ImageInput:
    """`preprocess`: JSON with `height`, `width`, `channels` (1 or 3), `mean` and `std`, and perhaps
    `resample`, `edge` or `squeeze`, and `reading`. Of a row: `image`, (H, W) or (H, W, 3) uint8."""

    preprocess: str

    preprocess_file: ClassVar[str] = "preprocess.json"
    input_names: ClassVar[Names] = ("pixel_values",)
    row_keys: ClassVar[Names] = ("image",)

    @staticmethod
    def fit_preprocess(rows: Rows) -> str:
        """`preprocess` for these training rows: the size of the first image, mean and standard
        deviation of the pixels by channel, in [0, 1], of a seeded sample of every class."""
        first = rows[0]["image"]
        channels = 1 if first.ndim == 2 else first.shape[2]
        counts = np.zeros((channels, 256), np.int64)
        # Of 256 levels, counts give mean and variance exactly, without a float for each pixel.
        for row in sample(rows, FITTED_IMAGES):
            pixels = row["image"].reshape(-1, channels)
            counts += histograms(pixels)
        shares = counts / counts.sum(1, keepdims=True)
        levels = np.arange(256) / 255
        mean = shares @ levels
        distances = levels - mean[:, None]
        variance = (distances**2 * shares).sum(1)
        std = np.maximum(np.sqrt(variance), SMALLEST_STD)
        settings = {
            "height": first.shape[0],
            "width": first.shape[1],
            "channels": channels,
            "mean": mean.round(4).tolist(),
            "std": std.round(4).tolist(),
        }
        return json.dumps(settings)

    @staticmethod
    def with_reading(preprocess: str, reading: dict[str, Any]) -> str:
        """`preprocess` that also does to a file what the source of the training images did.

        `reading`: `mode`, `size` and `background`, of which only what changes a pixel is written.
        """
        plain = ImageInput(preprocess)
        kept = {}
        if reading.get("mode") not in (None, plain.mode):
            kept["mode"] = reading["mode"]
        size = reading.get("size")
        if size is not None and not plain.squeezes_to(size):
            kept["size"] = size
        if reading.get("background", WHITE) != WHITE:
            kept["background"] = reading["background"]
        if not kept:
            return preprocess
        return json.dumps(plain.settings | {"reading": kept})

    def squeezes_to(self, size: int) -> bool:
        """Whether the model's own resize is a bilinear one to a square of so many pixels."""
        settings = self.settings
        is_bilinear = settings.get("resample", "bilinear") == "bilinear"
        is_square = settings["height"] == settings["width"] == size
        return is_square and is_bilinear and not settings.keys() & {"edge", "squeeze"}

    @staticmethod
    def content(row: Row) -> Any:
        # The bytes alone are the same for an image that is turned round.
        image = row["image"]
        return image.shape, image.tobytes()

    @cached_property
    def settings(self) -> dict[str, Any]:
        return json.loads(self.preprocess)

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """(C) mean and (C) standard deviation of each channel."""
        # In float32, because a list of plain floats would make float64 of the image.
        mean, std = (np.array(self.settings[name], np.float32) for name in ("mean", "std"))
        return mean, std

    @property
    def mode(self) -> str:
        """Pillow's name for grey or colour."""
        return "L" if self.settings["channels"] == 1 else "RGB"

    @property
    def padding(self) -> dict[str, int]:
        """Nothing: every image has the model's size."""
        return {}

    def row(self, raw: Any) -> Row:
        """A row from a path, the bytes of an image file, a picture of Pillow, or an array.

        Its pixels are those that training made of the same file. Raises ValueError for what is no
        image.
        """
        reading = self.settings.get("reading", {})
        mode = reading.get("mode", self.mode)
        ground = reading.get("background", WHITE)
        done: set[str] = set()
        try:
            image = pixels_of(raw, mode, reading.get("size"), ground, done)
        except ValueError as error:
            if not isinstance(raw, str | bytes | Path):
                raise
            name = "the bytes given" if isinstance(raw, bytes) else raw
            raise ValueError(f"{name}: {error}") from None
        # One that is black by how it is read has an answer that says nothing of it.
        if DARK in done and not image.max() > 1:
            name = raw if isinstance(raw, str | Path) else "an image"
            warnings.warn(f"{name}: pixels that {DARK}", stacklevel=2)
        return {"image": image}

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> Images:
        """Images that become float32 when they are asked for; `labels` (1) or (1, V) a row."""
        images = [row["image"] for row in rows]
        return Images(images, np.concatenate(labels), self.pixels)

    def pixels(self, image: Array) -> Array:
        """(H, W) or (H, W, 3) uint8 to (C, height, width) float32."""
        settings = self.settings
        shape = (settings["height"], settings["width"], settings["channels"])
        # Grey images have no axis of channels of their own.
        values = np.asarray(self.fitted(image), np.float32).reshape(shape)
        values = values / np.float32(255)
        mean, std = self.moments
        normal = (values - mean) / std
        # Channels first, as PyTorch and ONNX have them.
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def fitted(self, image: Array) -> Any:
        """Pixels in the mode and the size that the model reads."""
        from PIL import Image

        settings = self.settings
        size = settings["height"], settings["width"]
        is_ready = image.shape[:2] == size and mode_of(image) == self.mode
        # Pillow takes longer to copy a small image than a small network to answer it.
        if is_ready and not settings.keys() & {"edge", "squeeze"}:
            return image
        return self.resized(Image.fromarray(image).convert(self.mode))

    def resized(self, picture: Any) -> Any:
        """A Pillow image in the size that the model reads."""
        from PIL import Image

        settings = self.settings
        size = (settings["width"], settings["height"])
        method = Image.Resampling[settings.get("resample", "bilinear").upper()]
        if "edge" not in settings:
            height, width = settings.get("squeeze", (settings["height"], settings["width"]))
            new_size = (width, height)
        else:
            # The shorter side to `edge`, the longer in proportion.
            edge = settings["edge"]
            shorter = min(picture.size)
            # Cut off, not rounded, as torchvision does.
            new_size = (int(edge * picture.width / shorter), int(edge * picture.height / shorter))
        if picture.size != new_size:
            picture = picture.resize(new_size, method)
        if picture.size == size:
            return picture
        # The middle of it.
        left = (picture.width - size[0]) // 2
        top = (picture.height - size[1]) // 2
        return picture.crop((left, top, left + size[0], top + size[1]))


def histograms(pixels: Array) -> Array:
    """(C, 256) how often each channel of uint8 pixels (P, C) has each value."""
    by_channel = [np.bincount(channel, minlength=256) for channel in pixels.T]
    return np.stack(by_channel)


def sample(rows: Rows, most: int) -> Rows:
    """About `most` of many rows, drawn by a fixed seed, each class by its share and at least one of
    it: a file may hold one class after the other."""
    if len(rows) <= most:
        return rows
    members: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(str(row.get("label")), []).append(number)
    generator = np.random.default_rng(0)
    drawn: list[int] = []
    # In the order of the first rows, which is the data's own.
    for numbers in members.values():
        count = max(1, round(most * len(numbers) / len(rows)))
        drawn += generator.permutation(numbers)[:count].tolist()
    return [rows[number] for number in sorted(drawn)]
