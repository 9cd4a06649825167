"""Images and labels in IDX files, plain or gzipped, as MNIST has them (LeCun et al., 1998) and
Fashion-MNIST (Xiao et al., 2017, arXiv:1708.07747).

A file begins with two zero bytes, the type (8: uint8) and the number of axes; then follow the
length of each axis in 4 bytes, the highest first, and the values. A folder holds
`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, the test split. Images
without labels are `unlabelled-images-idx3-ubyte`.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.core.files import require_file
from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._files import folder_with
from limbeck.sources._images import BOMB_RATIO, MOST_BYTES, is_bomb, listed, pixel_rows
from limbeck.sources._unpacked import refuse_failed_disk

SPLIT_OF_NAME = {"train": "train", "t10k": "test"}  # MNIST has no validation split
IMAGES, LABELS = "images-idx3", "labels-idx1"


@dataclass(frozen=True)
class Idx:
    """`path`: the folder. `label_names`: what the labels 0, 1, ... mean, in order."""

    path: str
    label_names: list[str] | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images of each split. Raises ValueError."""
        expected = "train-images-idx3-ubyte, train-labels-idx1-ubyte (or .gz)"
        folder = folder_with(expected, self.path)
        parser = LabelParser(self.label_names)
        rows_of = {}
        for name, split in SPLIT_OF_NAME.items():
            images = locate(folder, f"{name}-{IMAGES}-ubyte")
            labels = locate(folder, f"{name}-{LABELS}-ubyte")
            # Without a test split, one is drawn from train.
            if split == "test" and images is None and labels is None:
                continue
            if images is None or labels is None:
                kind = IMAGES if images is None else LABELS
                here = listed(sorted(file.name for file in folder.iterdir()))
                raise ValueError(
                    f"{folder}: no {name}-{kind}-ubyte or {name}-{kind}-ubyte.gz here. "
                    f"Files here: {here}"
                )
            pixels = load_idx(images, 3)
            classes = load_idx(labels, 1)
            rows_of[split] = pixel_rows(pixels, classes, parser, str(images), on_bad_row)
        unlabelled = locate(folder, f"unlabelled-{IMAGES}-ubyte")
        if unlabelled:
            pixels = load_idx(unlabelled, 3)
            rows = pixel_rows(pixels, None, parser, str(unlabelled), on_bad_row)
            rows_of["unlabelled"] = rows
        return rows_of


def files_of(folder: Path) -> dict[str, list[Path]]:
    """The files of each split that there are."""
    found = {}
    for name, split in (*SPLIT_OF_NAME.items(), ("unlabelled", "unlabelled")):
        files = [locate(folder, f"{name}-{kind}-ubyte") for kind in (IMAGES, LABELS)]
        found[split] = [file for file in files if file]
    return found


def locate(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or gzipped, or None; some copies have `train-images.idx3-ubyte`
    for `train-images-idx3-ubyte`."""
    dotted = name.replace("-idx", ".idx")
    for path in (folder / name, folder / f"{name}.gz", folder / dotted, folder / f"{dotted}.gz"):
        require_file(path)
        if path.is_file():
            return path
    return None


def check_head(path: Path, axes: int) -> None:
    """Raise ValueError for a file that does not begin as one of uint8 with that many `axes`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            _check_magic(file.read(4), axes, path)
    except (OSError, EOFError, zlib.error) as error:
        refuse_failed_disk(error, path)
        raise ValueError(f"{path}: cannot be unpacked: {error}. Download it again") from None


def _check_magic(magic: bytes, axes: int, path: Path) -> None:
    """Raise ValueError unless these are the first four bytes of such a file."""
    if magic != bytes([0, 0, 8, axes]):
        raise ValueError(
            f"{path}: byte 1: begins with {magic.hex()}, not 000008{axes:02x} "
            f"(IDX, uint8, {axes} axes). Download it again"
        )


def load_idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of a file, with that many `axes`.

    Raises ValueError for another type, another number of axes, and bytes too few or too many.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            # Two zeros, type and axes in one byte each; then 4 bytes for each axis.
            head = file.read(4 + 4 * axes)
            _check_magic(head[:4], axes, path)
            # A head that is cut off is filled up with zeros: the file is then refused below.
            lengths = head[4:].ljust(4 * axes, b"\0")
            shape = struct.unpack(f">{axes}I", lengths)
            expected = math.prod(shape)
            if expected > MOST_BYTES or is_bomb(expected, path.stat().st_size):
                raise ValueError(
                    f"{path}: byte 5: {expected:,} bytes are announced, "
                    f"and at most {MOST_BYTES:,} are read, or {BOMB_RATIO} times what is packed. "
                    "Download it again"
                )
            # One byte more than there should be, so that a file that goes on is noticed.
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        refuse_failed_disk(error, path)
        raise ValueError(f"{path}: cannot be unpacked: {error}. Download it again") from None
    if len(content) != expected:
        found = "more" if len(content) > expected else f"only {len(content):,}"
        raise ValueError(
            f"{path}: byte {4 + 4 * axes + 1}: {expected:,} bytes are announced, "
            f"and there are {found}. Download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
