"""Images and labels in IDX files (MNIST, LeCun et al., 1998; Fashion-MNIST, Xiao et al., 2017, arXiv:1708.07747), plain or gzipped.

A file begins with two zero bytes, the type (8: uint8) and the number of axes; then the length of each axis, big-endian, 4 bytes; then the bytes.
A folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, the test split; images without labels are
`unlabelled-images-idx3-ubyte`.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._images import MOST_BYTES, listed, pixel_rows
from limbeck.sources._table import Labels

SPLITS = {"train": "train", "t10k": "test"}


@dataclass(frozen=True)
class Idx:
    """`path`: the folder. `label_names`: what labels 0, 1, ... mean."""

    path: str
    label_names: list[str] | None = None

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        folder, known = Path(self.path).expanduser(), Labels(self.label_names)
        if not folder.is_dir():
            raise ValueError(
                f"data.path: `{self.path}` is no folder. It should hold train-images-idx3-ubyte, train-labels-idx1-ubyte (or .gz)"
            )
        found = {}
        for name, split in SPLITS.items():
            images, labels = (
                locate(folder, f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
            )
            if split == "test" and images is None and labels is None:
                continue
            if images is None or labels is None:
                kind = "images-idx3" if images is None else "labels-idx1"
                here = listed(sorted(file.name for file in folder.iterdir()))
                raise ValueError(
                    f"{folder}: no {name}-{kind}-ubyte or {name}-{kind}-ubyte.gz here. Files here: {here}"
                )
            found[split] = pixel_rows(
                load_idx(images, 3), load_idx(labels, 1), known, str(images), bad
            )
        if images := locate(folder, "unlabelled-images-idx3-ubyte"):
            found["unlabelled"] = pixel_rows(load_idx(images, 3), None, known, str(images), bad)
        return found


def locate(folder: Path, name: str) -> Path | None:
    """The file, plain or gzipped, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def load_idx(path: Path, axes: int) -> np.ndarray:
    """The array of a file. Raises ValueError for another kind of file, another number of axes, and bytes too few or too many."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4 + 4 * axes)
            if head[:4] != bytes([0, 0, 8, axes]):
                raise ValueError(
                    f"{path}: byte 1: begins with {head[:4].hex()}, not 000008{axes:02x} (IDX, uint8, {axes} axes). Download it again"
                )
            shape = struct.unpack(f">{axes}I", head[4:].ljust(4 * axes, b"\0"))
            expected = math.prod(shape)
            if expected > MOST_BYTES:
                raise ValueError(
                    f"{path}: byte 5: {expected:,} bytes are announced, and at most {MOST_BYTES:,} are read. Download it again"
                )
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be unpacked: {error}. Download it again") from None
    if len(content) != expected:
        more = "more" if len(content) > expected else f"only {len(content):,}"
        raise ValueError(
            f"{path}: byte {4 + 4 * axes + 1}: {expected:,} bytes are announced, and there are {more}. Download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
