"""What sources of images share: from a file, its bytes, or an array of pixels to checked uint8."""

import errno
import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.core.files import require_file
from limbeck.sources import BadRow, OnBadRow, Row
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._pixels import WHITE, in_mode, of_8_bits, of_array, upright
from limbeck.sources._unpacked import open_bytes

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".avif"),
    *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
    *(".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
}
# What Pillow may take a file for, whatever it is called: of the others one runs a program (EPS),
# and few have readers that many people use.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000")
# Of one file's arrays, unpacked: 8 GiB. A small archive can announce any size; what is larger is
# refused before memory is asked for.
MOST_BYTES = 8 << 30
# What Pillow's readers raise for a damaged file: SyntaxError for a PNG or an EXIF block, and the
# others where a damaged number is taken for a size, an offset, a type or a key.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError),
    *(OverflowError, MemoryError, AssertionError, NotImplementedError, RuntimeError),
)

# A file of more than BOMB_BYTES unpacked and more than BOMB_RATIO times its size on the disk is
# taken for a bomb: photographs give 10 to 20 times their size, drawings 100, and zeros deflate to a
# thousandth.
BOMB_BYTES = 64 << 20
BOMB_RATIO = 200
TOO_LARGE = (
    f"more than {{:,}} pixels, or more than {BOMB_RATIO // 4} for each byte of the file: a "
    "decompression bomb by all signs. Make the image smaller"
)

# Scans of a JPEG, each of which goes through all pixels anew: a progressive one has 10, and 30
# bytes are enough for one more. libtiff bounds those within a TIFF itself.
MOST_SCANS = 64
SCAN = b"\xff\xda"
SCANNED = ("JPEG", "MPO")

# Pixels a side. Images larger than the first are to be read as squares of the second: a first run
# should take minutes.
LARGE_IMAGE = 96
IMAGE_SIZE = 64


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether so many bytes that unpack to so many more are made to eat a machine."""
    return unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed


def decode(
    raw: str | bytes | Path,
    mode: str | None = None,
    size: int | None = None,
    ground: str = WHITE,
    done: set[str] | None = None,
) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of an image file, given by its path or as its bytes.

    `mode`: `L` (grey) or `RGB`; left out, as the file has it. `size`: the image is resized to a
    square of that many pixels (bilinear). `ground`: the colour below transparent pixels. `done` is
    told what was done to the pixels, in the words of `_pixels`.

    Raises ValueError for a file that is no image, is broken or cut off, and for one of so many
    pixels that it is taken for a decompression bomb.
    """
    from PIL import Image

    if not isinstance(raw, bytes):
        require_file(raw)
    file = io.BytesIO(raw) if isinstance(raw, bytes) else Path(raw)
    done = set() if done is None else done
    with warnings.catch_warnings():
        # What Pillow finds odd in a file (EXIF, a palette) is no matter of the pixels; of an image
        # of up to twice its limit it only warns.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = _first_frame(file, done)
        try:
            return np.asarray(fitted(of_8_bits(picture, ground, done), mode, size))
        except ValueError:
            # Told in full already.
            raise
        except UNREADABLE as error:
            # A palette without colours, of which Pillow finds nothing to say before.
            raise ValueError(_why_unreadable(error)) from None


def bound_pixels(most: int) -> None:
    """Have this process refuse images of more pixels, by their heads, before they are unpacked."""
    import PIL.Image as pillow

    # A setting of the whole module, which is 89 million by itself: 2 GB of memory for one picture.
    pillow.MAX_IMAGE_PIXELS = most


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def size_of(path: Path) -> tuple[int, int]:
    """Pixels across and down of an image file, perhaps one in an archive, by its head alone. Raises
    ValueError with the path for what is no image."""
    from PIL import Image

    require_file(path)
    try:
        with warnings.catch_warnings(), open_bytes(path) as file:
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats()) as picture:
                return picture.size
    except Image.DecompressionBombError:
        raise ValueError(f"{path}: {TOO_LARGE.format(Image.MAX_IMAGE_PIXELS)}") from None
    except UNREADABLE as error:
        raise ValueError(f"{path}: {_why_unreadable(error)}") from None


def _first_frame(file: Path | io.BytesIO, done: set[str]) -> "Image.Image":
    """The first frame of a file, decoded and upright. Raises ValueError for what is no image."""
    from PIL import Image

    try:
        num_bytes = file.stat().st_size if isinstance(file, Path) else len(file.getbuffer())
        with Image.open(file, formats=formats()) as picture:
            width, height = picture.size
            # Pillow has four bytes a pixel of colour, before anything is resized.
            if is_bomb(4 * width * height, num_bytes):
                raise Image.DecompressionBombError
            if picture.format in SCANNED:
                check_scans(file)
            # Upright here already: some formats read their EXIF block from the file.
            return upright(picture, done)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(TOO_LARGE.format(Image.MAX_IMAGE_PIXELS)) from None
    except _TooManyScansError:
        raise
    except UNREADABLE as error:
        raise ValueError(_why_unreadable(error)) from None


class _TooManyScansError(ValueError):
    """Told in full already, where others of Pillow's are not."""


def check_scans(file: Path | io.BytesIO) -> None:
    """Raise ValueError for a JPEG of very many scans, which is made to eat a machine."""
    content = file.read_bytes() if isinstance(file, Path) else file.getbuffer().tobytes()
    # Within a scan this byte is always followed by a 0; a thumbnail has scans of its own.
    num_scans = content.count(SCAN)
    if num_scans > MOST_SCANS:
        raise _TooManyScansError(
            f"a JPEG of {num_scans:,} scans, and at most {MOST_SCANS} are read: each goes through "
            "all pixels anew. Save it again, as PNG or as a usual JPEG"
        )


def _why_unreadable(error: Exception) -> str:
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
    reason = str(error).replace("\n", " ")[:120].rstrip(". ") or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "it is of no known format"
    return f"not a readable image: {reason}. Replace it with a whole PNG, JPEG or similar file"


def as_array(
    picture: "Image.Image",
    mode: str | None = None,
    size: int | None = None,
    ground: str = WHITE,
    done: set[str] | None = None,
) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of a picture of Pillow; the other arguments as in `decode`.

    Raises ValueError for pixels of which nobody can say how they look.
    """
    done = set() if done is None else done
    flat = of_8_bits(upright(picture, done), ground, done)
    return np.asarray(fitted(flat, mode, size))


def fitted(picture: "Image.Image", mode: str | None, size: int | None) -> "Image.Image":
    """A picture in a mode and, squeezed to a square, in a size; None leaves it as it is."""
    from PIL import Image

    # In this order: an artifact does the same to the file that a user sends.
    if mode is not None:
        picture = in_mode(picture, mode)
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return picture


@dataclass
class ImageReader:
    """Decodes the images of one set, and counts what was done to their pixels.

    `size`, `ground`: as in `decode`. `counts`: how many images each thing was done to.
    """

    size: int | None = None
    ground: str = WHITE
    counts: Counter[str] = field(default_factory=Counter)
    num_images: int = 0

    def __call__(self, raw: Any) -> np.ndarray:
        """The pixels of a path, of a file's bytes, of a picture of Pillow or of an array. Raises
        ValueError."""
        done: set[str] = set()
        image = pixels_of(raw, None, self.size, self.ground, done)
        self.num_images += 1
        self.counts.update(done)
        return image

    def notes(self) -> list[str]:
        """What was done, a line for each thing."""
        total = f"{self.num_images:,}"
        return [f"{count:,} of {total} images {what}" for what, count in self.counts.items()]


def pixels_of(
    raw: Any,
    mode: str | None = None,
    size: int | None = None,
    ground: str = WHITE,
    done: set[str] | None = None,
) -> np.ndarray:
    """As `decode`, of a picture of Pillow and of an array too. Raises ValueError."""
    from PIL import Image

    if isinstance(raw, str | bytes | Path):
        return decode(raw, mode, size, ground, done)
    done = set() if done is None else done
    if isinstance(raw, Image.Image):
        return as_array(raw, mode, size, ground, done)
    if not isinstance(raw, np.ndarray):
        cure = ". Give image.numpy(), channels last" if type(raw).__name__ == "Tensor" else ""
        raise ValueError(
            "an image is a path, the bytes of an image file, a picture of Pillow or an array, "
            f"not {type(raw).__name__}{cure}"
        )
    image = of_array(raw, ground, done)
    is_asked = size is None and mode in (None, mode_of(image))
    return image if is_asked else as_array(Image.fromarray(image), mode, size)


def require_size(size: int | None) -> None:
    """Raise ValueError for a size that no image can have."""
    if size is not None and size < 1:
        raise ValueError(f"data.size: a number of pixels above 0, not {size}")


def file_of(root: Path, name: str) -> tuple[str, str]:
    """Where an image lies: the folder or archive, from the root of the disk, and its name there."""
    return str(root.absolute()), name


def mode_of(image: np.ndarray) -> str:
    """Pillow's name for grey or colour, of pixels (H, W) or (H, W, 3)."""
    return "L" if image.ndim == 2 else "RGB"


def common_mode(rows_of: Mapping[str, Sequence[Row]]) -> str | None:
    """The mode of most images of train, colour where as many are grey; None without images."""
    modes = Counter(mode_of(row["image"]) for row in rows_of.get("train", ()))
    if not modes:
        return None
    return "L" if modes["L"] > modes["RGB"] else "RGB"


def mode_note(modes: Counter[str], mode: str) -> list[str]:
    """That images of two modes became one; nothing where they had it all. `modes`: how many of
    each there were."""
    num_others = modes.total() - modes[mode]
    if not num_others:
        return []
    names = {"L": "grey", "RGB": "in colour"}
    other = names["RGB" if mode == "L" else "L"]
    return [
        f"{num_others:,} of {modes.total():,} images are {other}, and most of train {names[mode]}: "
        f"all are read {'in grey' if mode == 'L' else 'in colour'}"
    ]


def checked_labels(images: np.ndarray, labels: np.ndarray, place: str) -> np.ndarray:
    """The labels (N) or (N, 1) of `images` (N, H, W) or (N, H, W, 3), as (N).

    Raises ValueError where images or labels have another shape.
    """
    has_colours = images.ndim == 4 and images.shape[3] in (1, 2, 3, 4)
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
    size: int | None = None,
) -> list[Row]:
    """A row for each image and its label, which is None where there are no `labels`.

    `images`: uint8, or of another type that `_pixels.narrowed` reads. `size`: as in `decode`.
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
            row: Row = {"image": pixels_of(image, None, size), "label": None}
            if labels is not None:
                row["label"] = parser.parse_one(cell, "label")
        except ValueError as error:
            on_bad_row(BadRow(f"{place}: row {number}", str(error), {"label": cell}))
            continue
        rows.append(row)
    return rows


def listed(names: Sequence[str]) -> str:
    """The first names of many, for a message."""
    return ", ".join(names[:12]) or "none"
