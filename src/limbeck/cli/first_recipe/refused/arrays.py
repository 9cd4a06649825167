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
# CIFAR-10 in its binary version: a byte of the label, then the red, green and blue ones.
CIFAR = (
    "import glob, numpy as np; a = {k: np.concatenate([np.fromfile(f, np.uint8).reshape(-1, 3073) "
    'for f in sorted(glob.glob(g))]) for k, g in [["train", "data_batch_*.bin"], '
    '["test", "test_batch.bin"]]}; '
    'np.savez("images.npz", **{k + "_labels": v[:, 0] for k, v in a.items()}, '
    '**{k + "_images": v[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) '
    "for k, v in a.items()})"
)
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


def refuse_cifar(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError for CIFAR-10 as its authors publish it, with the command that makes an
    archive of it, or what to get in place of pickles."""
    below = [*files, *(sorted(path.glob("*/*_batch*")) if path.is_dir() else [])]
    batches = [file for file in below if file.name.startswith(("data_batch_", "test_batch"))]
    if len(batches) < 2:
        return
    folder = batches[0].parent
    if any(not file.suffix for file in batches):
        raise ValueError(
            f"{folder}: CIFAR's version for Python, pickles, which run code when they are read. "
            "Get the binary version (cifar-10-binary.tar.gz), for which init gives a command"
        )
    raise ValueError(
        f"{folder}: CIFAR-10's binary version. Write it as one archive of arrays, in that folder: "
        f"{script(CIFAR)} && {command('init', MADE)}"
    )


def refuse_dicom(path: Path, files: Sequence[Path]) -> None:
    """Raise ValueError for medical images, with the command that writes each as a picture.

    `path`: a file, or a folder with folders of them; `files`: those that lie in it.
    """
    below = [file for file in files if file.suffix.lower() == ".dcm"]
    below = below or (sorted(path.glob("*/*.dcm")) if path.is_dir() else [])
    # Those that were written as pictures are read.
    if not below or below[0].with_suffix(".png").exists():
        return
    folder = path if path.is_dir() else path.parent
    raise ValueError(
        f"{below[0]}: a medical image (DICOM). Write each as a PNG beside it, with `pip install "
        f"pydicom`, in the folder {folder}: {script(DICOM)} && {command('init', '.')}"
    )
