"""Images as arrays or as medical files, which are not read: refused with a command that writes what
is."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from limbeck.core.terminal.shell import command, script
from limbeck.sources._split_files import split_of

MADE = "images.npz"
IMAGES = re.compile(r"(^|[^a-z])(x|images?|imgs?|data|features?)([^a-z]|$)")
LABELS = re.compile(r"(^|[^a-z])(y|labels?|targets?|classes)([^a-z]|$)")
# As `npz` reads them; MedMNIST calls the arrays of validation `val`.
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test", None: "train"}
# Of 16 bits each image's own range becomes that of a grey one; in MONOCHROME1 white is 0.
DICOM = (
    "import glob, numpy as np, pydicom; from PIL import Image; "
    "[Image.fromarray(np.uint8(255 * (b - b.min()) / max(np.ptp(b), 1e-9)))"
    '.save(f[:-4] + ".png") for f in glob.glob("**/*.dcm", recursive=True) '
    "for d in [pydicom.dcmread(f)] for a in [d.pixel_array.astype(float)] "
    'for b in [a.max() - a if d.PhotometricInterpretation == "MONOCHROME1" else a]]'
)


def refuse_arrays(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError for arrays of images beside those of their labels (x_train.npy,
    y_train.npy), with the command that makes one archive of them."""
    arrays = [file for file in files if file.suffix.lower() == ".npy"]
    named: dict[str, str] = {}
    for file in arrays:
        stem = file.stem.lower()
        split = SPLIT_NAMES.get(split_of(stem))
        kind = "images" if IMAGES.search(stem) else "labels" if LABELS.search(stem) else None
        if split and kind:
            named.setdefault(f"{split}_{kind}", file.name)
    if not {"train_images", "train_labels"} <= set(named):
        return
    code = (
        f'import numpy as np; np.savez("{MADE}", '
        f"**{{k: np.load(f) for k, f in {json.dumps(named)}.items()}})"
    )
    raise ValueError(
        f"{path}: arrays of images and of their labels in a file each. Write them as one archive, "
        f"in that folder: {script(code)} && {command('init', MADE)}"
    )


def refuse_dicom(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError for medical images, with the command that writes each as a picture.

    `path`: a file, or a folder with folders of them; `files`: those that lie in it.
    """
    below = [file for file in files if file.suffix.lower() == ".dcm"]
    below = below or (list(path.glob("*/*.dcm")) if path.is_dir() else [])
    # Those that were written as pictures are read.
    if not below or below[0].with_suffix(".png").exists():
        return
    folder = path if path.is_dir() else path.parent
    raise ValueError(
        f"{below[0]}: a medical image (DICOM). Write each as a PNG beside it, with `pip install "
        f"pydicom`, in the folder {folder}: {script(DICOM)} && {command('init', '.')}"
    )
