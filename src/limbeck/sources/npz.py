"""Images and labels in one numpy archive.

The arrays are named as in MedMNIST (Yang et al., 2023, arXiv:2110.14795): `train_images`
(N, H, W) or (N, H, W, 3), `train_labels` (N) or (N, 1), and the same for `val` and `test`; or as
`X_train` and `y_train`, of one split `X` and `y`. Images without labels are `unlabelled_images`.
"""

import contextlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from limbeck.core.files import require_file
from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._images import (
    BOMB_RATIO,
    MOST_BYTES,
    is_bomb,
    listed,
    pixel_rows,
    require_size,
)
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import refuse_failed_disk

# The beginnings of MedMNIST's names.
SPLIT_OF_NAME = {"train": "train", "val": "validation", "test": "test"}
NAME_OF_SPLIT = {split: name for name, split in SPLIT_OF_NAME.items()}
# What people call the arrays of images and of labels, beside the split: `x_train` (Keras), `X` and
# `y`, `data` and `target` (scikit-learn).
KIND_OF_NAME = {
    **dict.fromkeys(("x", "images", "image", "imgs", "data", "features"), "images"),
    **dict.fromkeys(("y", "labels", "label", "target", "targets"), "labels"),
}
MOST_ARRAYS = 1000  # of an archive: ten are read
UNLABELLED = "unlabelled_images"


@dataclass(frozen=True)
class Npz:
    """`path`: the file. `label_names`: what the labels 0, 1, ... mean, in order. `size`: images are
    resized on reading to a square of that many pixels a side; left out, they stay as they are.
    """

    path: str
    label_names: list[str] | None = None
    size: int | None = None
    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def reading(self) -> dict[str, Any]:
        """How pixels were changed, for the artifact, which does the same."""
        return {"size": self.size}

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images of each split. Raises ValueError."""
        require_size(self.size)
        path = Path(self.path).expanduser()
        require_file(path)
        if not path.is_file():
            raise ValueError(
                f"data.path: `{self.path}` is no file. It should hold "
                "train_images, train_labels, test_images, test_labels (.npz)"
            )
        own = load_arrays(path)
        arrays = {_usual(name): array for name, array in own.items()}
        parser = LabelParser(self.label_names)
        rows_in = partial(pixel_rows, size=self.size)
        rows_of = {}
        for name, split in SPLIT_OF_NAME.items():
            keys = [f"{name}_images", f"{name}_labels"]
            missing = [key for key in keys if key not in arrays]
            # Other splits may be missing as a whole: they are drawn from train.
            if len(missing) == 1 or (name == "train" and missing):
                raise ValueError(
                    f"{path}: no array `{missing[0]}`. Arrays here: {listed(list(own))}"
                )
            if not missing:
                images, labels = (arrays[key] for key in keys)
                rows_of[split] = rows_in(images, labels, parser, f"{path}: {name}", on_bad_row)
        if UNLABELLED in arrays:
            place = f"{path}: unlabelled"
            rows_of["unlabelled"] = rows_in(arrays[UNLABELLED], None, parser, place, on_bad_row)
        return rows_of


def _usual(name: str) -> str:
    """The name of an array as MedMNIST has it, of what people call it otherwise: `X_train`, `y`.
    One that speaks of no split is train's."""
    words = re.split(r"[^a-z]+", name.lower())
    kinds = [KIND_OF_NAME[word] for word in words if word in KIND_OF_NAME]
    others = [word for word in words if word not in KIND_OF_NAME]
    if len(kinds) != 1 or len(others) > 1:
        return name
    split = split_of(others[0]) if others else "train"
    return f"{NAME_OF_SPLIT[split]}_{kinds[0]}" if split in NAME_OF_SPLIT else name


def _check_sizes(archive: zipfile.ZipFile, packed: int) -> None:
    """Raise ValueError where an array is larger than what the archive holds, or all of them are too
    large. `packed`: bytes of the archive's file."""
    members = archive.infolist()
    if len(members) > MOST_ARRAYS:
        raise ValueError(f"{len(members):,} arrays, and at most {MOST_ARRAYS} are read")
    num_bytes = sum(member.file_size for member in members)
    if num_bytes > MOST_BYTES or is_bomb(num_bytes, packed):
        raise ValueError(
            f"its arrays take {num_bytes:,} bytes of {packed:,} packed ones; at most "
            f"{MOST_BYTES:,} are read, and {BOMB_RATIO} times the packed ones"
        )
    for member in members:
        with archive.open(member) as file:
            shape, dtype = _announced(file)
        # numpy asks for the memory that the header announces, be it a terabyte.
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(
                f"{member.filename} announces the shape {shape}, and has {member.file_size:,} bytes"
            )


def _announced(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, type) by the header of a .npy member. Raises ValueError where it has none."""
    major, _ = np.lib.format.read_magic(file)
    reads = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    if major not in reads:
        raise ValueError(f"an array of the format version {major}; 1 and 2 are read")
    shape, _, dtype = reads[major](file)
    return shape, dtype


def arrays_of(path: Path) -> dict[str, tuple[str, int]]:
    """(its own name, its longer side in pixels or 0) of each array of an archive, by the name that
    MedMNIST has for it. Raises ValueError as `load_arrays`."""
    found = {}
    with _told(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                shape, _ = _announced(file)
            found[_usual(name)] = (name, max(shape[1:3], default=0))
    return found


def check_sizes(path: Path) -> None:
    """Raise ValueError for a file that is no archive of arrays, or holds more than is read.

    The table of contents says how large the arrays are before they are unpacked.
    """
    with _told(path), zipfile.ZipFile(path) as archive:
        _check_sizes(archive, path.stat().st_size)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file, by name.

    Raises ValueError for a file that is no archive, is cut off, or holds Python objects or more
    than `MOST_BYTES`.
    """
    check_sizes(path)
    # Objects are stored as pickles, which run code when they are read.
    with _told(path), np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what is raised over a broken archive into a ValueError."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        refuse_failed_disk(error, path)
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path}: not a numpy archive that can be read: {reason}. "
            "Write it with numpy.savez, without objects"
        ) from None
