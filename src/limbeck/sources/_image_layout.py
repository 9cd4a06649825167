"""Split, class and group of a file (an image, a text), by the folders that it lies in.

    train/CLASS/x.png, Training/CLASS/x.png, training_set/CLASS/x.png    by split, then by class
    CLASS/x.png, set/CLASS/x.png                                        by class alone
    CLASS/train/x.png                                                   by class, then by split
    train/CLASS/PATIENT/x.png, CLASS/PATIENT/x.png                      what is below is a group
    unlabelled/x.png, train/unsup/x.txt                                 without a class

A folder that all images lie in says nothing. A class may be called `test` inside a split, or beside
other classes: folders are splits where all of them are called so, or train and another one are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from limbeck.sources._split_files import split_of

Folders = tuple[str, ...]
GENERIC = {"images", "imgs", "img", "image", "jpegimages"}


@dataclass(frozen=True)
class Placed:
    """An image: `label` is None where it lies in no folder of a class."""

    name: str
    split: str
    label: str | None
    group: str | None = None


def placed(names: Sequence[str]) -> list[Placed]:
    """Where each image belongs; those of folders beside the splits are left out."""
    folders_of = {name: PurePosixPath(name).parts[:-1] for name in names}
    folders_of = _below_common(folders_of)
    # 1. The split: the outermost folders, those just below, or none.
    split_of_image: dict[str, str] = {}
    has_splits = True
    if are_splits(folders[0] for folders in folders_of.values() if folders):
        for name, folders in folders_of.items():
            split = split_of(folders[0]) if folders else None
            if split:
                split_of_image[name] = split
        folders_of = _without_twice({name: folders_of[name] for name in split_of_image})
        folders_of = _below_common(folders_of)
    elif _splits_below(folders_of.values()):
        for name, folders in folders_of.items():
            split_of_image[name] = split_of(folders[1]) or "train"
            folders_of[name] = folders[:1] + folders[2:]
    else:
        has_splits = False
        for name, folders in folders_of.items():
            is_unlabelled = bool(folders) and split_of(folders[0]) == "unlabelled"
            split_of_image[name] = "unlabelled" if is_unlabelled else "train"

    # 2. The class, and what is below it.
    below = {folders[1] for folders in folders_of.values() if len(folders) > 1}
    images = []
    for name, folders in folders_of.items():
        label = folders[0] if folders else None
        # One name below every class, such as `images`, groups nothing.
        group = folders[1] if len(folders) > 1 and len(below) > 1 else None
        split = split_of_image[name]
        # Beside the classes of a split, as IMDb has its texts without labels.
        if has_splits and label is not None and split_of(label) == "unlabelled":
            split, label = "unlabelled", None
        images.append(Placed(name, split, label, group))
    return _without_generic(images)


def _without_generic(images: list[Placed]) -> list[Placed]:
    """A folder that is called `images` is no class where train has others: of what lies in it
    nobody knows the class, as in the test split of Tiny ImageNet."""
    classes = {image.label for image in images if image.split == "train"} - {None}
    if not classes - GENERIC:
        return images
    generic = GENERIC - classes
    return [
        replace(image, label=None, group=None) if image.label in generic else image
        for image in images
    ]


def without_classes(images: Sequence[Placed]) -> set[str]:
    """The splits beside train of whose files none has a class: those of a contest's test split."""
    splits = {image.split for image in images} - {"train", "unlabelled"}
    return splits - {image.split for image in images if image.label is not None}


def _without_twice(folders_of: dict[str, Folders]) -> dict[str, Folders]:
    """Without the outermost folders, and without one of the same name in which all of it lies, as
    archives unpack (`seg_train/seg_train/CLASS`)."""
    second: dict[str, set[Folders]] = {}
    for folders in folders_of.values():
        second.setdefault(folders[0], set()).add(folders[1:2] if len(folders) > 2 else ())
    return {
        name: folders[2 if second[folders[0]] == {folders[:1]} else 1 :]
        for name, folders in folders_of.items()
    }


def _below_common(folders_of: dict[str, Folders]) -> dict[str, Folders]:
    """Without the outermost folders that all images share, as long as another one is below and the
    shared one is no split."""
    while folders_of:
        all_folders = list(folders_of.values())
        first = all_folders[0][:1]
        is_shared = all(folders[:1] == first and len(folders) > 1 for folders in all_folders)
        if not is_shared or split_of(first[0]):
            break
        folders_of = {name: folders[1:] for name, folders in folders_of.items()}
    return folders_of


def are_splits(folders: Iterable[str]) -> bool:
    """Whether folders beside one another are splits, not classes."""
    splits = [split_of(folder) for folder in set(folders)]
    if not splits:
        return False
    is_split = "train" in splits and bool({"validation", "test"} & set(splits))
    return is_split or (None not in splits and "train" in splits)


def _splits_below(all_folders: Iterable[Folders]) -> bool:
    """Whether the folders of every class are splits."""
    below: dict[str, set[str]] = {}
    for folders in all_folders:
        if len(folders) < 2:
            return False
        below.setdefault(folders[0], set()).add(folders[1])
    # Of several classes all: of one, `test` may be a patient's name.
    return len(below) > 1 and all(are_splits(names) for names in below.values())
