"""JSON documents as people write them: what of each are its rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from limbeck.sources._json_documents import rows_of
from limbeck.sources.jsonl import document_of

ROW = {"text": "a b c", "label": "x"}
OTHER = {"text": "d e f", "label": "y"}
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "bbox": [0, 0, 1, 1]}],
}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ([ROW, OTHER], [ROW, OTHER]),
        ({"data": [ROW, OTHER], "version": 1}, [ROW, OTHER]),
        ({"whatever": [ROW, OTHER]}, [ROW, OTHER]),
        ({"a": {"common_examples": [ROW], "regex_features": [{"name": "x"}]}}, None),
        ({"a": {"common_examples": [ROW, OTHER], "regex_features": [{"n": "x"}]}}, [ROW, OTHER]),
        (
            {"train": [ROW], "test": [OTHER]},
            [{**ROW, "split": "train"}, {**OTHER, "split": "test"}],
        ),
        ({"train": {"text": ["a b c"], "label": ["x"]}}, [{**ROW, "split": "train"}]),
        (
            {"dataset": {"train": [ROW], "test": [OTHER]}},
            [{**ROW, "split": "train"}, {**OTHER, "split": "test"}],
        ),
        ({"columns": ["text", "label"], "index": [0], "data": [["a b c", "x"]]}, [ROW]),
        ({"text": ["a b c", "d e f"], "label": ["x", "y"]}, [ROW, OTHER]),
        ({"a": ["a b c", "d e f"], "b": [1, 2]}, [{"a": "a b c", "b": 1}, {"a": "d e f", "b": 2}]),
        (
            {"tokens": [["a"], ["b"]], "tags": [["O"], ["O"]]},
            [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["O"]}],
        ),
        ({"text": {"0": "a b c", "1": "d e f"}, "label": {"0": "x", "1": "y"}}, [ROW, OTHER]),
        ({str(n): ROW for n in range(5)}, [ROW] * 5),
        ({"x": ["a b c"], "y": ["d e f"]}, [ROW, OTHER]),
        ({"x": [{"text": "a b c"}], "y": [{"text": "d e f"}]}, [ROW, OTHER]),
        # Parts of one row, or tables of their own.
        ({"tokens": ["a", "b"], "tags": ["O", "O"]}, None),
        ({"text": "a b c", "entities": [{"start": 0}, {"start": 2}]}, None),
        ({"premise": {"text": "a"}, "hypothesis": {"text": "b"}}, None),
        (COCO, None),
        ({}, None),
        ({"a": {}}, None),
        ({"a": []}, None),
        ("text", None),
    ],
)
def test_the_rows_of_a_layout(content: Any, rows: list[Any] | None) -> None:
    assert rows_of(content) == rows


def test_the_only_line_of_a_file_of_lines_is_a_row(tmp_path: Path) -> None:
    line = json.dumps({"text": ["a b c", "d e f"], "label": ["x", "y"]})
    (tmp_path / "one.jsonl").write_text(line)
    assert document_of(tmp_path / "one.jsonl") is None
    (tmp_path / "one.json").write_text(line)
    assert document_of(tmp_path / "one.json") == [ROW, OTHER]
