"""Images and labels in one numpy archive, named as in MedMNIST (Yang et al., 2023, arXiv:2110.14795): `train_images` (N, H, W) or (N, H, W, 3),
`train_labels` (N) or (N, 1), and the same for `val` and `test`; images without labels are `unlabelled_images`."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.sources import OnBadRow, Row, fail
from limbeck.sources._images import MOST_BYTES, listed, pixel_rows
from limbeck.sources._table import Labels

SPLITS = {"train": "train", "val": "validation", "test": "test"}
UNLABELLED = "unlabelled_images"


@dataclass(frozen=True)
class Npz:
    """`path`: the file. `label_names`: what labels 0, 1, ... mean."""

    path: str
    label_names: list[str] | None = None

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ValueError(
                f"data.path: `{self.path}` is no file. It should hold train_images, train_labels, test_images, test_labels (.npz)"
            )
        arrays, known = load_arrays(path), Labels(self.label_names)
        found = {}
        for name, split in SPLITS.items():
            keys = [f"{name}_{what}" for what in ("images", "labels")]
            missing = [key for key in keys if key not in arrays]
            if (name == "train" and missing) or len(missing) == 1:
                raise ValueError(
                    f"{path}: no array `{missing[0]}`. Arrays here: {listed(list(arrays))}"
                )
            if not missing:
                found[split] = pixel_rows(
                    arrays[keys[0]], arrays[keys[1]], known, f"{path}: {name}", bad
                )
        if UNLABELLED in arrays:
            found["unlabelled"] = pixel_rows(
                arrays[UNLABELLED], None, known, f"{path}: unlabelled", bad
            )
        return found


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array by name. Raises ValueError for a file that is no archive, is cut off, or holds objects or more than fits."""
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(member.file_size for member in archive.infolist())
        if num_bytes > MOST_BYTES:
            raise ValueError(
                f"its arrays take {num_bytes:,} bytes, and at most {MOST_BYTES:,} are read"
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path}: not a numpy archive that can be read: {reason}. Write it with numpy.savez, without objects"
        ) from None
