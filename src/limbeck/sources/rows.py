"""Rows from Python: `limbeck.run(recipe, out, rows={"train": rows, "test": rows})`, where `rows` are dicts, or a `datasets.Dataset`.

Its keys say which column holds what. An index into a dataset's `ClassLabel` becomes the name it stands for; an image is an array of uint8 or a
picture of Pillow; what is None is unknown.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from limbeck.sources import BadRow, OnBadRow, Row, fail

SPLITS = ("train", "validation", "test", "unlabelled")


@dataclass(frozen=True)
class Rows:
    """The columns of `text`, `text_b`, `label`, `words`, `tags`, `image`."""

    text: str = "text"
    text_b: str = "text_b"
    label: str = "label"
    words: str = "words"
    tags: str = "tags"
    image: str = "image"

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        raise ValueError(
            "data.source: `rows` come from Python: limbeck.run(recipe, out, rows={'train': ..., 'test': ...})"
        )

    def take(
        self, splits: Mapping[str, Iterable[Mapping[str, Any]]], bad: OnBadRow = fail
    ) -> dict[str, list[Row]]:
        """Rows of ours by split. Raises ValueError for a split of another name."""
        unknown = set(splits) - set(SPLITS)
        if unknown or "train" not in splits:
            raise ValueError(
                f"rows: splits are {', '.join(SPLITS)}, and train must be there; these are {', '.join(splits) or 'none'}"
            )
        return {split: self._split(split, given, bad) for split, given in splits.items()}

    def _split(self, split: str, given: Iterable[Mapping[str, Any]], bad: OnBadRow) -> list[Row]:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        names = {
            key: class_names(given, column)
            for key, column in columns.items()
            if key in ("label", "tags")
        }
        found = []
        for number, each in enumerate(given, 1):
            try:
                row = {
                    key: value(key, each[column], names.get(key))
                    for key, column in columns.items()
                    if column in each
                }
                if split == "unlabelled":
                    row |= (
                        {"tags": [None] * len(row["words"])} if "words" in row else {"label": None}
                    )
            except ValueError as error:
                bad(
                    BadRow(
                        f"rows[{split!r}]:{number}",
                        str(error),
                        {key: repr(cell)[:200] for key, cell in each.items()},
                    )
                )
                continue
            found.append(row)
        return found


def value(key: str, given: Any, names: Sequence[str] | None) -> Any:
    """A cell as a row of ours holds it. Raises ValueError."""
    if key == "image":
        return pixels(given)
    if key == "label":
        return (
            [named(label, names) for label in given]
            if isinstance(given, list | tuple)
            else named(given, names)
        )
    if key in ("words", "tags"):
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"{key}: a list of {key} is needed, not {given!r}")
        return (
            [str(word) for word in given]
            if key == "words"
            else [named(tag, names) for tag in given]
        )
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{key}: a text is needed, not {given!r}")
    return given


def named(given: Any, names: Sequence[str] | None) -> str | None:
    """A label by its name; -1 and None are unknown."""
    if given is None or (names is not None and given == -1):
        return None
    if names is not None and isinstance(given, int):
        return str(names[given])
    if not isinstance(given, str | int | float | np.number):
        raise ValueError(f"label: {given!r} is no label. A label is a word or a number")
    return str(given)


def pixels(given: Any) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8. Raises ValueError."""
    from PIL import Image

    array = (
        np.asarray(given.convert("L" if given.mode in ("1", "L", "I", "I;16", "F") else "RGB"))
        if isinstance(given, Image.Image)
        else given
    )
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != np.uint8
        or (array.ndim != 2 and array.shape[2:] != (3,))
    ):
        shape = (
            f"{array.shape} of {array.dtype}"
            if isinstance(array, np.ndarray)
            else type(given).__name__
        )
        raise ValueError(
            f"image: (H, W) or (H, W, 3) of uint8, or a picture of Pillow, is needed, not {shape}"
        )
    return array


def class_names(split: Any, column: str) -> list[str] | None:
    """What the whole numbers of a dataset's column stand for; None where it is no dataset or its column has no names."""
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(split, datasets.Dataset):
        return None
    feature = split.features.get(column)
    while isinstance(feature, datasets.Sequence | datasets.List):
        feature = feature.feature
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
