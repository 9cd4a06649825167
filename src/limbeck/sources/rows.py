"""Rows from Python: `limbeck.run(recipe, out, rows={"train": rows, "test": rows})`.

`rows` are dicts, or a `datasets.Dataset`. A recipe with `data: {source: rows}` says with its keys
which column holds what. An index into a dataset's `ClassLabel` becomes the name it stands for; an
image is an array of uint8 or a picture of Pillow; None is unknown.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from limbeck.sources import SPLITS, BadRow, OnBadRow, Row, fail
from limbeck.sources._images import as_array

SHOWN_CHARACTERS = 200  # of each cell of a bad row, which may be an image or a book


@dataclass(frozen=True)
class Rows:
    """Each key names the column that holds it: `text`, `text_b` (the second text of a pair),
    `label`, `words`, `tags`, `image`. A column that a row lacks is not read.
    """

    text: str = "text"
    text_b: str = "text_b"
    label: str = "label"
    words: str = "words"
    tags: str = "tags"
    image: str = "image"

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """Raises ValueError: these rows come with `take`."""
        raise ValueError(
            "data.source: `rows` come from Python: "
            "limbeck.run(recipe, out, rows={'train': ..., 'test': ...})"
        )

    def take(
        self, splits: Mapping[str, Iterable[Mapping[str, Any]]], on_bad_row: OnBadRow = fail
    ) -> dict[str, list[Row]]:
        """The rows of each split, checked.

        Raises ValueError for a split of another name and where there is no train.
        """
        unknown = set(splits) - set(SPLITS)
        if unknown or "train" not in splits:
            raise ValueError(
                f"rows: splits are {', '.join(SPLITS)}, and train must be there; "
                f"these are {', '.join(splits) or 'none'}"
            )
        return {split: self._split(split, given, on_bad_row) for split, given in splits.items()}

    def _split(
        self, split: str, given_rows: Iterable[Mapping[str, Any]], on_bad_row: OnBadRow
    ) -> list[Row]:
        """The rows of one split."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        names = {key: class_names(given_rows, columns[key]) for key in ("label", "tags")}
        rows = []
        for number, given in enumerate(given_rows, 1):
            row: Row = {}
            try:
                for key, column in columns.items():
                    if column in given:
                        row[key] = cell_value(key, given[column], names.get(key))
            except ValueError as error:
                # As text: a cell may hold what JSON cannot.
                content = {key: repr(cell)[:SHOWN_CHARACTERS] for key, cell in given.items()}
                on_bad_row(BadRow(f"rows[{split!r}]:{number}", str(error), content))
                continue
            # Whatever the label of such a row is, it is not used.
            if split == "unlabelled":
                row |= _unknown(row)
            rows.append(row)
        return rows


def _unknown(row: Row) -> Row:
    """The label, or the tags, of a row that has none."""
    if "words" in row:
        return {"tags": [None] * len(row["words"])}
    return {"label": None}


def cell_value(key: str, given: Any, names: Sequence[str] | None) -> Any:
    """What a row holds under `key`, from what was given.

    `names`: what whole numbers among labels stand for. Raises ValueError.
    """
    if key == "image":
        return pixels(given)
    if key == "label":
        if isinstance(given, list | tuple):
            return [label_name(label, names) for label in given]
        return label_name(given, names)
    if key in ("words", "tags"):
        # A string is a sequence too, of its characters.
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ValueError(f"{key}: a list of {key} is needed, not {given!r}")
        if key == "words":
            return [str(word) for word in given]
        return [label_name(tag, names) for tag in given]
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{key}: a text is needed, not {given!r}")
    return given


def label_name(given: Any, names: Sequence[str] | None) -> str | None:
    """A label by its name; None where it is unknown. Raises ValueError."""
    # -1 is how the data sets of the Hub mark a test set whose labels are kept secret.
    if given is None or (names is not None and given == -1):
        return None
    if names is not None and isinstance(given, int):
        return str(names[given])
    if not isinstance(given, str | int | float | np.number):
        raise ValueError(f"label: {given!r} is no label. A label is a word or a number")
    return str(given)


def pixels(given: Any) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 of an array or a picture. Raises ValueError for anything else."""
    from PIL import Image

    array = as_array(given) if isinstance(given, Image.Image) else given
    # Floats are refused: whether they go to 1 or to 255 is not for us to guess.
    if not isinstance(array, np.ndarray):
        shape = type(given).__name__
    elif array.dtype != np.uint8 or (array.ndim != 2 and array.shape[2:] != (3,)):
        shape = f"{array.shape} of {array.dtype}"
    else:
        return array
    raise ValueError(
        f"image: (H, W) or (H, W, 3) of uint8, or a picture of Pillow, is needed, not {shape}"
    )


def class_names(split: Any, column: str) -> list[str] | None:
    """What the whole numbers of a dataset's column stand for, in order.

    None where the rows are no dataset, or the column has no names.
    """
    # Whoever has made a Dataset has imported the package; importing it here would be slow.
    datasets = sys.modules.get("datasets")
    if datasets is None or not isinstance(split, datasets.Dataset):
        return None
    feature = split.features.get(column)
    while isinstance(feature, datasets.Sequence | datasets.List):  # the tags of a row are a list
        feature = feature.feature
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
