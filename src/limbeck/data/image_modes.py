"""Images in one mode, grey or colour, because a network reads one number of channels."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from limbeck.sources import Row
from limbeck.sources._images import as_array, common_mode, mode_note, mode_of


def in_one_mode(
    splits: Mapping[str, list[Row]],
) -> tuple[dict[str, list[Row]], str | None, list[str]]:
    """Rows by split with every image in the mode of most of train; that mode; and a note where some
    had another. Rows that hold no pixels stay, for the check of rows to name them."""
    rows = [row for split_rows in splits.values() for row in split_rows]
    if not all(isinstance(row.get("image"), np.ndarray) for row in rows):
        return dict(splits), None, []
    mode = common_mode(splits)
    if mode is None:
        return dict(splits), None, []
    modes = Counter(mode_of(row["image"]) for row in rows)
    told = mode_note(modes, mode)
    if not told:
        return dict(splits), mode, []
    converted = {split: [in_mode(row, mode) for row in rows] for split, rows in splits.items()}
    return converted, mode, told


def in_mode(row: Row, mode: str) -> Row:
    """The row, or one whose image is in another mode."""
    from PIL import Image

    image = row["image"]
    if mode_of(image) == mode:
        return row
    return row | {"image": as_array(Image.fromarray(image), mode)}
