"""Rows of the source `rows` in the forms in which Python programs hold them."""

import re
from typing import Any

import numpy as np
import pytest

from limbeck.sources._cells.labels import LabelParser
from limbeck.sources.rows import Rows, _Labels

TEXTS = ["it rains", "hello you", "a mild day"]
LABELS = ["weather", "greeting", "weather"]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        iter(ROWS),
        {"text": TEXTS, "label": LABELS},
        {"text": np.array(TEXTS), "label": tuple(LABELS)},
    ],
    ids=["rows", "an iterator", "columns", "arrays"],
)
def test_rows_and_columns_are_read_alike(given: Any) -> None:
    assert Rows().take({"train": given}) == {"train": ROWS}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"train": TEXTS}, "rows['train']: row 1 is a str; a dict of its cells is needed"),
        ({"train": [("a", "b")]}, "row 1 is a tuple; a dict of its cells"),
        ({"train": None}, "rows['train']: rows are needed, a list of dicts or a data frame"),
        ({"train": "train.csv"}, "A file is read by the recipe's own data.source"),
        ({"train": {"text": "a", "label": "b"}}, "rows['train']['text']: a list of cells"),
        (
            {"train": {"text": TEXTS, "label": ["a"]}},
            "of one length are needed; `text` 3, `label` 1",
        ),
        (ROWS, "rows: a dict of splits is needed, rows={'train': ...}, not a list"),
    ],
)
def test_what_is_no_rows_is_told(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Rows().take(given)


@pytest.mark.parametrize("number", [1, np.int64(1), np.array(1), np.uint8(1)])
def test_a_number_of_numpy_is_an_index_into_names(number: Any) -> None:
    """It was a class of its own, called 1."""
    labels = _Labels(LabelParser(None), ["neg", "pos"])
    assert labels.name(number) == "pos"
    assert labels.name(-number if isinstance(number, int) else np.int64(-1)) is None
    with pytest.raises(ValueError, match="2 is no index into 2 names"):
        labels.name(np.int64(2))


def test_lists_in_arrays_are_lists() -> None:
    """As pandas reads them from Parquet."""
    words, tags = np.array(["Ada", "sings"], object), np.array(["B-PER", "O"], object)
    (row,) = Rows().take({"train": [{"words": words, "tags": tags}]})["train"]
    assert row == {"words": ["Ada", "sings"], "tags": ["B-PER", "O"]}


def test_a_data_frame_and_its_rows_are_read() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    of_rows = [row for _, row in frame.iterrows()]
    for given in (frame, frame.astype({"label": "category"}), of_rows):
        assert Rows().take({"train": given}) == {"train": ROWS}
    with pytest.raises(ValueError, match=r"row 1 is a Pandas; a dict of its cells"):
        Rows().take({"train": frame.itertuples()})
