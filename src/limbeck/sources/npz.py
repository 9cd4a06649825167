"""Images and labels in one numpy archive.

The arrays are named as in MedMNIST (Yang et al., 2023, arXiv:2110.14795): `train_images`
(N, H, W) or (N, H, W, 3), `train_labels` (N) or (N, 1), and the same for `val` and `test`. Images
without labels are `unlabelled_images`.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._images import MOST_BYTES, listed, pixel_rows
from limbeck.sources._labels import LabelParser

# The beginnings of MedMNIST's names.
SPLIT_OF_NAME = {"train": "train", "val": "validation", "test": "test"}
UNLABELLED = "unlabelled_images"


@dataclass(frozen=True)
class Npz:
    """`path`: the file. `label_names`: what the labels 0, 1, ... mean, in order."""

    path: str
    label_names: list[str] | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images of each split. Raises ValueError."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ValueError(
                f"data.path: `{self.path}` is no file. It should hold "
                "train_images, train_labels, test_images, test_labels (.npz)"
            )
        arrays = load_arrays(path)
        parser = LabelParser(self.label_names)
        rows_of = {}
        for name, split in SPLIT_OF_NAME.items():
            keys = [f"{name}_images", f"{name}_labels"]
            missing = [key for key in keys if key not in arrays]
            # Other splits may be missing as a whole: they are drawn from train.
            if len(missing) == 1 or (name == "train" and missing):
                raise ValueError(
                    f"{path}: no array `{missing[0]}`. Arrays here: {listed(list(arrays))}"
                )
            if not missing:
                images, labels = (arrays[key] for key in keys)
                rows_of[split] = pixel_rows(images, labels, parser, f"{path}: {name}", on_bad_row)
        if UNLABELLED in arrays:
            place = f"{path}: unlabelled"
            rows_of["unlabelled"] = pixel_rows(arrays[UNLABELLED], None, parser, place, on_bad_row)
        return rows_of


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file, by name.

    Raises ValueError for a file that is no archive, is cut off, or holds Python objects or more
    than `MOST_BYTES`.
    """
    try:
        # The table of contents first: it says how large the arrays are before they are unpacked.
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(member.file_size for member in archive.infolist())
        if num_bytes > MOST_BYTES:
            raise ValueError(
                f"its arrays take {num_bytes:,} bytes, and at most {MOST_BYTES:,} are read"
            )
        # Objects are stored as pickles, which run code when they are read.
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path}: not a numpy archive that can be read: {reason}. "
            "Write it with numpy.savez, without objects"
        ) from None
