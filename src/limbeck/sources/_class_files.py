"""Split and class of a file that holds the texts of one class, by its name and its folders.

pos.txt, neg.txt                            a file is called as its class
pos/reviews.txt, neg/reviews.txt            or its folder is
rt-polarity.pos, rt-polarity.neg            or what stands behind the last dot
train/pos.txt, train_pos.txt, train.pos     a word of a split is no class
"""

import re
from dataclasses import dataclass
from pathlib import Path

from limbeck.sources._split_files import SPLIT_OF_NAME, split_of
from limbeck.sources._unpacked import bare_name, is_hidden

SUFFIXES = ("", ".txt", ".text")  # that say nothing of a class
BETWEEN_WORDS = re.compile(r"[-_. ]+")
MOST_DEPTH = 2  # folders below the path: of a split and of a class


@dataclass(frozen=True)
class ClassFile:
    """`label`: None for texts whose class nobody knows."""

    path: Path
    split: str
    label: str | None


def class_files_in(root: Path) -> list[ClassFile]:
    """The files below a folder that may hold the texts of a class, by name; hidden ones are left
    out."""
    patterns = ("/".join("*" * (depth + 1)) for depth in range(MOST_DEPTH + 1))
    paths = sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file())
    found = []
    for path in paths:
        name = path.relative_to(root)
        file = None if is_hidden(name.as_posix()) else class_file(path, name.parts[:-1])
        if file:
            found.append(file)
    return found


def class_file(path: Path, folders: tuple[str, ...]) -> ClassFile | None:
    """What a file in `folders` holds by its name; None where that speaks of no class."""
    name = Path(bare_name(path))
    words = [folder for folder in folders if not _is_split(folder)]
    is_plain = name.suffix.lower() in SUFFIXES
    split = next(filter(None, map(split_of, (*folders, name.stem))), "train")
    if split == "unlabelled":
        return ClassFile(path, split, None)
    # The folder's name, else what is left of the file's.
    label = words[-1] if words else (_without_split(name.stem) if is_plain else name.suffix[1:])
    return ClassFile(path, split, label) if label else None


def _is_split(name: str) -> bool:
    """Whether a name is that of a split and of nothing else."""
    return split_of(name) is not None and not _without_split(name)


def _without_split(stem: str) -> str:
    """A name without the words of splits: `pos` of `train_pos`."""
    words = BETWEEN_WORDS.split(stem)
    return "_".join(word for word in words if word and word.lower() not in SPLIT_OF_NAME)
