"""What sources of images share: a file, its bytes, or an array of pixels, as a checked uint8 image."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from limbeck.sources import BadRow, OnBadRow, Row
from limbeck.sources._table import Labels

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
MOST_BYTES = 8 << 30  # of one file's arrays, unpacked


def decode(raw: str | bytes | Path, mode: str | None = None, size: int | None = None) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of an image file or its bytes.

    `mode`: L (grey) or RGB; left out, as the file has it. `size`: resized to a square of that many pixels (bilinear). Raises ValueError for a file
    that is no image, broken, cut off or of more than 8 bits, and for one of so many pixels that it is taken for a decompression bomb.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else Path(raw)) as file:
                if file.mode[0] in "IF":
                    raise ValueError(
                        f"pixels of mode {file.mode}, more than 8 bits. Save the image with 8 bits a channel"
                    )
                picture = file.convert(mode or ("L" if file.mode in ("1", "L", "LA") else "RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, a decompression bomb by all signs. Make the image smaller"
        ) from None
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ValueError(
            f"not a readable image: {_short(error)}. Replace it with a whole PNG, JPEG or similar file"
        ) from None
    if size:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _short(error: Exception) -> str:
    return str(error).replace("\n", " ")[:120].rstrip(". ")


def checked_arrays(images: np.ndarray, labels: np.ndarray, place: str) -> np.ndarray:
    """The labels of `images` (N, H, W) or (N, H, W, 3) as (N). Raises ValueError where shapes do not fit."""
    if (
        images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] != 3)
        or 0 in images.shape[1:]
    ):
        raise ValueError(
            f"{place}: images of shape {images.shape}. Expected (rows, height, width) or (rows, height, width, 3)"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (len(images),):
        raise ValueError(
            f"{place}: labels of shape {labels.shape} for {len(images)} images. Expected one label an image"
        )
    return labels


def pixel_rows(
    images: np.ndarray, labels: np.ndarray | None, known: Labels, place: str, bad: OnBadRow
) -> list[Row]:
    """A row for each image and its label, None where there are no labels; images are uint8, or floats from 0 to 1, which become 0 to 255."""
    rows: list[Row] = []
    given = checked_arrays(
        images, np.zeros(len(images)) if labels is None else labels, place
    ).tolist()
    for number, (image, label) in enumerate(zip(images, given, strict=True), 1):
        try:
            rows.append(
                {
                    "image": as_uint8(image),
                    "label": None if labels is None else known.name(label, "label"),
                }
            )
        except ValueError as error:
            bad(BadRow(f"{place}: row {number}", str(error), {"label": label}))
    return rows


def as_uint8(image: np.ndarray) -> np.ndarray:
    """An image of floats from 0 to 1 as 0 to 255; uint8 as it is. Raises ValueError for NaN and for another range."""
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"pixels of {image.dtype}. Save them as uint8, or as floats from 0 to 1")
    if not np.isfinite(image).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(image))[0]))
        raise ValueError(
            f"pixel ({where}) is {image[~np.isfinite(image)][0]}. Replace it, or leave the image out"
        )
    if image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"pixels from {image.min():g} to {image.max():g}. Scale floats to 0..1, or save uint8"
        )
    return np.round(image * 255).astype(np.uint8)


def listed(names: Sequence[str]) -> str:
    """The first names of many."""
    return ", ".join(names[:12]) or "none"
