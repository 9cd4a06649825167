"""What `limbeck init` does not read is told by its name, with what to do."""

import json
from pathlib import Path

import pytest
from commands import mistake
from layouts import png, prose, text

FASTTEXT = "".join(f"__label__{'ab'[n % 2]} {text(n)}\n" for n in range(30))
TREC = "".join(f"{('DESC:manner', 'NUM:count', 'LOC:city')[n % 3]} {text(n)}\n" for n in range(60))
TASKS = [
    {
        "id": number,
        "data": {"text": text(number)},
        "annotations": [{"result": [{"value": {"start": 0, "end": 6, "labels": ["X"]}}]}],
    }
    for number in range(8)
]
GLINER = [{"tokenized_text": ["Ada", "sings"], "ner": [[0, 0, "PER"]]} for _ in range(8)]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.txt": FASTTEXT}, ["lines of fastText", "sed -E", "train.txt > train.tsv"]),
        ({"train.txt": TREC}, ["begins with one of 3 words", "DESC:manner", "sed -E"]),
        ({"export.json": json.dumps(TASKS)}, ["export of Label Studio", "JSON-MIN"]),
        ({"train.json": json.dumps(GLINER)}, ["spans of `ner` count words"]),
        ({"a.txt": prose(), "b.txt": prose(90)}, ["none of which is train.txt (a.txt, b.txt)"]),
        ({"1.png": png(1), "2.png": png(2)}, ["in no folder of a class", "split.csv"]),
        ({"train.txt": "a b c\nd e f\ng h i\n"}, ["not words with tags"]),
    ],
    ids=["fasttext", "trec", "label studio", "gliner", "books", "images", "columns"],
)
def test_it_is_told(
    files: dict[str, str | bytes],
    told: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    said = mistake(capsys, "init", tmp_path, "--out", tmp_path / "recipe.yaml")
    assert all(part in said for part in told), said
