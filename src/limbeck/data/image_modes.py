"""Images in one mode, grey or colour, because a network reads one number of channels; and whether
there is anything to see on them."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from limbeck.sources import Row
from limbeck.sources._images import as_array, common_mode, mode_note, mode_of

LOOKED_AT = 500  # images, from the first to the last


def blank(rows: Sequence[Row]) -> list[str]:
    """A warning where images of train are black to a person, or mostly of one colour all over."""
    rows = [row for row in rows[:: max(1, len(rows) // LOOKED_AT)] if "image" in row]
    if not rows:
        return []
    if all(row["image"].max() <= 1 for row in rows):
        return [
            "warning: the images of train are black: no pixel of those that were looked at is "
            "above 1 of 255. Where a line above says why, do what it says. Floats from 0 to 1 that "
            "were made uint8 look so too: give the floats, or (255 * image).round().astype('uint8')"
        ]
    flat = sum(np.ptp(row["image"]) == 0 for row in rows)
    if 2 * flat <= len(rows):
        return []
    return [
        f"warning: {flat:,} of {len(rows):,} images of train that were looked at are of one colour "
        "all over. Look at their files, or at what made the arrays"
    ]


def in_one_mode(
    splits: Mapping[str, Sequence[Row]],
) -> tuple[dict[str, Sequence[Row]], str | None, list[str]]:
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
    converted: dict[str, Sequence[Row]] = {}
    for split, split_rows in splits.items():
        converted[split] = [in_mode(row, mode) for row in split_rows]
    return converted, mode, told


def in_mode(row: Row, mode: str) -> Row:
    """The row, or one whose image is in another mode."""
    from PIL import Image

    image = row["image"]
    if mode_of(image) == mode:
        return row
    return row | {"image": as_array(Image.fromarray(image), mode)}
