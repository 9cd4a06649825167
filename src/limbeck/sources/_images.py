"""What sources of images share: from a file, its bytes, or an array of pixels to checked uint8."""

import errno
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.sources import BadRow, OnBadRow, Row
from limbeck.sources._labels import LabelParser

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
# Of one file's arrays, unpacked: 8 GiB. A small archive can announce any size; what is larger is
# refused before memory is asked for.
MOST_BYTES = 8 << 30


def decode(raw: str | bytes | Path, mode: str | None = None, size: int | None = None) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of an image file, given by its path or as its bytes.

    `mode`: `L` (grey) or `RGB`; left out, as the file has it. `size`: the image is resized to a
    square of that many pixels (bilinear).

    Raises ValueError for a file that is no image, is broken, cut off or of more than 8 bits, and
    for one of so many pixels that it is taken for a decompression bomb.
    """
    from PIL import Image

    file = io.BytesIO(raw) if isinstance(raw, bytes) else Path(raw)
    try:
        with warnings.catch_warnings():
            # Pillow only warns of an image of up to twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                return as_array(picture, mode, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, a decompression bomb by all signs. "
            "Make the image smaller"
        ) from None
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ValueError(_why_unreadable(error)) from None


def _why_unreadable(error: OSError | SyntaxError) -> str:
    """What is wrong with a file that Pillow or the system refused, and the cure."""
    from PIL import UnidentifiedImageError

    # 1. The system's refusals have a number, which Pillow's lack: the path is at fault.
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "there is no such file. Mend its path"
    if number == errno.EISDIR:
        return "this is a folder, and an image is a file. Name the images in it"
    if number is not None:
        return f"the file cannot be read: {os.strerror(number)}"
    # 2. What the file holds. Pillow's own sentence for a strange format has an address of memory.
    reason = str(error).replace("\n", " ")[:120].rstrip(". ")
    if isinstance(error, UnidentifiedImageError):
        reason = "it is of no known format"
    return f"not a readable image: {reason}. Replace it with a whole PNG, JPEG or similar file"


def as_array(
    picture: "Image.Image", mode: str | None = None, size: int | None = None
) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of a picture of Pillow; `mode` and `size` as in `decode`.

    Raises ValueError for one of more than 8 bits.
    """
    from PIL import Image

    # The modes I, I;16 and F: Pillow would cut their pixels off at 255 without a word.
    if picture.mode[0] in "IF":
        raise ValueError(
            f"pixels of mode {picture.mode}, more than 8 bits. Save the image with 8 bits a channel"
        )
    # Pictures with a palette, with transparency or in CMYK are colours to a network.
    if mode is None:
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    picture = picture.convert(mode)
    if size:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def checked_labels(images: np.ndarray, labels: np.ndarray, place: str) -> np.ndarray:
    """The labels (N) or (N, 1) of `images` (N, H, W) or (N, H, W, 3), as (N).

    Raises ValueError where images or labels have another shape.
    """
    has_colours = images.ndim == 4 and images.shape[3] == 3
    if not (images.ndim == 3 or has_colours) or 0 in images.shape[1:]:
        raise ValueError(
            f"{place}: images of shape {images.shape}. "
            "Expected (rows, height, width) or (rows, height, width, 3)"
        )
    # MedMNIST has a column of labels. Several columns are several labels an image, no class.
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (len(images),):
        raise ValueError(
            f"{place}: labels of shape {labels.shape} for {len(images)} images. "
            "Expected one label an image"
        )
    return labels


def pixel_rows(
    images: np.ndarray,
    labels: np.ndarray | None,
    parser: LabelParser,
    place: str,
    on_bad_row: OnBadRow,
) -> list[Row]:
    """A row for each image and its label, which is None where there are no `labels`.

    `images`: uint8, or floats from 0 to 1, which become 0 to 255.
    """
    if labels is None:
        checked_labels(images, np.zeros(len(images)), place)
        cells = [None] * len(images)
    else:
        # `tolist` makes Python's numbers and strings of numpy's.
        cells = checked_labels(images, labels, place).tolist()
    rows: list[Row] = []
    for number, (image, cell) in enumerate(zip(images, cells, strict=True), 1):
        try:
            row: Row = {"image": as_uint8(image), "label": None}
            if labels is not None:
                row["label"] = parser.parse_one(cell, "label")
        except ValueError as error:
            on_bad_row(BadRow(f"{place}: row {number}", str(error), {"label": cell}))
            continue
        rows.append(row)
    return rows


def as_uint8(image: np.ndarray) -> np.ndarray:
    """An image of floats from 0 to 1 as 0 to 255; uint8 as it is.

    Raises ValueError for other types, for NaN and for floats of another range.
    """
    if image.dtype == np.uint8:
        return image
    # Wider integers may be 0 to 255 or 12-bit scans: which one cannot be seen from one image.
    if image.dtype.kind != "f":
        raise ValueError(f"pixels of {image.dtype}. Save them as uint8, or as floats from 0 to 1")
    is_finite = np.isfinite(image)
    if not is_finite.all():
        index = np.argwhere(~is_finite)[0]
        where = ", ".join(map(str, index))
        value = image[tuple(index)]
        raise ValueError(f"pixel ({where}) is {value}. Replace it, or leave the image out")
    if image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"pixels from {image.min():g} to {image.max():g}. Scale floats to 0..1, or save uint8"
        )
    return np.round(image * 255).astype(np.uint8)


def listed(names: Sequence[str]) -> str:
    """The first names of many, for a message."""
    return ", ".join(names[:12]) or "none"
