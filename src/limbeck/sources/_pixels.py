"""Pixels of 8 bits as a person would see them: of a picture of Pillow, or of an array.

    several frames or pages     the first
    EXIF orientation            upright
    16 bits a channel           the upper 8 of them: v // 256, as libpng and Pillow do for colours
    floats                      0 to 1, or else 0 to 255
    transparency                laid on a ground, white unless another is asked for

What was done is named by the constants below, so that a source can say of how many images.

Shapes: H height, W width.
"""

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

WHITE = "white"

# What was done to an image, in words that go on after `3 of 40 images`.
FRAMES = "have several frames or pages: the first is read"
TURNED = "are turned as their EXIF orientation says"
DEEP = "have 16 bits a channel: the upper 8 are read"
FLOATS = "hold floats: 0 to 1, or else 0 to 255, are read as 0 to 255"
TRANSPARENT = "have transparent pixels: laid on {ground} (data.background names another colour)"
DARK = (
    "have more than 8 bits a channel and use 12 at most: read as 16 bits they are almost black. "
    "Scale them to 0..65535, or save those of 0..255 with 8 bits"
)

PALETTE = "have a palette: read as the colours that it names"
INKS = "have the inks of a printer (CMYK): read as colours"

ORIENTATION = 0x0112  # the tag of EXIF
# The modes of Pillow that are grey to a person; those of a palette are colours.
GREY_MODES = ("1", "L", "LA", "La", "I", "F")


def colour_of(ground: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour that CSS has a name or number for. Raises ValueError."""
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(ground)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"data.background: {ground!r} is no colour. "
            "Write a name (white, black) or a number ('#808080')"
        ) from None
    return red, green, blue


def upright(picture: "Image.Image", done: set[str]) -> "Image.Image":
    """The first frame of a picture, decoded, as its EXIF orientation says that it was held; `done`
    is told what was done to it. Raises what Pillow does for a damaged file."""
    # Not every format has frames. Asked first: Pillow looks at the second one for the answer.
    if getattr(picture, "is_animated", False):
        done.add(FRAMES)
    picture.load()
    return turned(picture, done)


def of_8_bits(picture: "Image.Image", ground: str, done: set[str]) -> "Image.Image":
    """A picture of mode L or RGB from an upright one of any mode; `done` as in `upright`.

    `ground`: the colour below transparent pixels. Raises ValueError for pixels of which nobody can
    say how they look.
    """
    if picture.mode[0] in "IF":
        picture = narrow(picture, done)
    # Before transparency is laid on, which makes plain colours of both.
    if picture.mode in ("P", "PA", "CMYK"):
        done.add(INKS if picture.mode == "CMYK" else PALETTE)
    if picture.has_transparency_data:
        picture = laid_on(picture, ground, done)
    if picture.mode in GREY_MODES:
        return in_mode(picture, "L")
    try:
        return in_mode(picture, "RGB")
    except ValueError:
        raise ValueError(
            f"colours of mode {picture.mode} are not read. Save the image as RGB"
        ) from None


def in_mode(picture: "Image.Image", mode: str) -> "Image.Image":
    """A picture in a mode: itself where it has it. Raises ValueError as Pillow does."""
    # Pillow would copy it; of a small one that takes as long as to read its file.
    return picture if picture.mode == mode else picture.convert(mode)


def turned(picture: "Image.Image", done: set[str]) -> "Image.Image":
    """The picture as its EXIF orientation says that it was held."""
    from PIL import ImageOps

    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
        # A damaged orientation is none: a viewer shows such a picture as it lies.
        if orientation not in range(2, 9):
            return picture
        upright_picture = ImageOps.exif_transpose(picture)
    # What Pillow raises for EXIF that is cut off, of a wrong type, or points nowhere.
    except (SyntaxError, struct.error, ValueError, KeyError, TypeError, IndexError):
        return picture
    done.add(TURNED)
    return upright_picture


def narrow(picture: "Image.Image", done: set[str]) -> "Image.Image":
    """A grey picture of the modes I, I;16 or F in 8 bits. Raises ValueError."""
    from PIL import Image

    values = np.asarray(picture)
    if values.dtype == np.int32:
        # Pillow holds 16 bits so where a format (PGM) is of unsigned values: others are no image.
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError(
                f"pixels from {values.min()} to {values.max()}, more than 16 bits. "
                "Save the image with 8 or 16 bits a channel"
            )
        values = values.astype(np.uint16)
    # A new picture: what the old one says of transparency is in its own 16 bits.
    return Image.fromarray(narrowed(values, done))


def narrowed(values: np.ndarray, done: set[str]) -> np.ndarray:
    """uint8 of uint8, uint16, bool or floats of any shape; `done` as in `upright`.

    Raises ValueError for other types, for NaN, and for floats outside 0 to 255.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        is_dark = bool(values.size) and 0 < values.max() < 1 << 12
        done.add(DARK if is_dark else DEEP)
        return (values >> 8).astype(np.uint8)
    # Wider integers may be 0 to 255 or 12-bit scans: which one cannot be seen from one image.
    if values.dtype.kind != "f":
        raise ValueError(
            f"pixels of {values.dtype}. Save them as uint8 or uint16, or as floats from 0 to 1: "
            "image.astype('uint8') where they are 0 to 255"
        )
    is_finite = np.isfinite(values)
    if not is_finite.all():
        index = np.argwhere(~is_finite)[0]
        where = ", ".join(map(str, index))
        value = values[tuple(index)]
        raise ValueError(f"pixel ({where}) is {value}. Replace it, or leave the image out")
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if low < 0 or high > 255:
        raise ValueError(f"pixels from {low:g} to {high:g}. Scale floats to 0..1, or save uint8")
    done.add(FLOATS)
    return np.round(values * 255 if high <= 1 else values).astype(np.uint8)


def laid_on(picture: "Image.Image", ground: str, done: set[str]) -> "Image.Image":
    """A picture whose transparent pixels show the colour `ground`: grey where both are grey."""
    from PIL import Image

    colour = colour_of(ground)
    is_grey = picture.mode in GREY_MODES and len(set(colour)) == 1
    # Of a premultiplied grey, Pillow knows the way to grey with transparency alone.
    if picture.mode == "La":
        picture = picture.convert("LA")
    picture = picture.convert("RGBA")
    # Of 256 levels, any but the last lets the ground through.
    if any(picture.getchannel("A").histogram()[:255]):
        done.add(TRANSPARENT.format(ground=ground))
    sheet = Image.new("RGBA", picture.size, (*colour, 255))
    # An opaque pixel keeps its value to the bit, and grey of three equal colours is that value.
    return Image.alpha_composite(sheet, picture).convert("L" if is_grey else "RGB")


def of_array(values: np.ndarray, ground: str, done: set[str]) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of an array (H, W) or (H, W, C), of C = 1 or 3 channels, or with
    transparency as the last of 2 or 4.

    Raises ValueError for another shape, and as `narrowed` does.
    """
    from PIL import Image

    channels = values.shape[2] if values.ndim == 3 else 0
    if values.ndim not in (2, 3) or channels > 4 or 0 in values.shape:
        is_first = values.ndim == 3 and values.shape[0] in (1, 3)
        cure = ". Channels come last: image.transpose(1, 2, 0)" if is_first else ""
        raise ValueError(
            "an image array is (H, W) or (H, W, 3) of uint8, uint16 or floats (a last axis of "
            f"1, 2 or 4 is grey, grey and alpha, or RGB and alpha), not {values.shape} of "
            f"{values.dtype}{cure}"
        )
    pixels = narrowed(values, done)
    if channels in (0, 3):
        return pixels
    if channels == 1:
        return pixels[:, :, 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(laid_on(picture, ground, done))
