"""What `limbeck init` does not read is told by its name, with what to do."""

import json
from pathlib import Path

import pytest
from commands import mistake
from layouts import png, prose, put, text

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
KINDS = ("labels", "text")
STSA = "".join(f"{n % 2} {text(n)}\n" for n in range(40))
CLUENER = "".join(
    json.dumps({"text": text(n), "label": {"name": {"please": [[0, 5]]}}}) + "\n" for n in range(9)
)
FIQA = json.dumps([{"sentence": text(n), "info": [{"score": str(n % 3)}]} for n in range(9)])
PIXELS = "\n".join(
    ["label," + ",".join(f"pixel{n}" for n in range(8))]
    + [",".join(str(n * k % 256) for k in range(9)) for n in range(40)]
)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.txt": FASTTEXT}, ["lines of fastText", "rows/train.tsv"]),
        ({"train.txt": TREC}, ["begins with one of 3 words", "DESC:manner", "sed -E"]),
        ({"export.json": json.dumps(TASKS)}, ["export of Label Studio", "JSON-MIN"]),
        ({"train.json": json.dumps(GLINER)}, ["spans of `ner` count words"]),
        ({"a.txt": prose(), "b.txt": prose(90)}, ["none of which is train.txt (a.txt, b.txt)"]),
        ({"1.png": png(1), "2.png": png(2)}, ["in no folder of two classes", "split.csv"]),
        ({"train.txt": "a b c\nd e f\ng h i\n"}, ["not words with tags"]),
        (
            {f"{split}_{what}.txt": prose() for split in ("test", "train") for what in KINDS},
            ["texts in train_text.txt", '["train_text.txt", "train_labels.txt", "train"]'],
        ),
        (
            {"train.label": TREC, "test.label": TREC},
            ["look like labels", "> rows/test.tsv", "> rows/train.tsv"],
        ),
        ({"stsa.train": STSA}, ["one of 2 words (0, 1)", "> rows/stsa.train.tsv"]),
        ({"all.json": CLUENER}, ["`label` holds objects", "[START, END, NAME]"]),
        ({"all.json": FIQA}, ["`info` holds objects"]),
        ({"train/seq.in": "a b\n", "train/seq.out": "O O\n"}, ["seq.out", '"tokens": [...]']),
        ({"a/b/c.bin": "x"}, ["folders alone (a/)"]),
        ({"train.csv": PIXELS}, ["9 columns of numbers", "numpy.savez"]),
        ({"0/images/a.png": png(0), "0/labels/a.txt": "0 1"}, ["a file of boxes each", "YOLO"]),
        ({"a.arrow": b"ARROW1", "state.json": "{}"}, ["library `datasets`", "to_parquet"]),
        ({"emnist-train-images-idx3-ubyte": b"\0"}, ["IDX files under other names"]),
        ({"data.xlsx": b"PK\0"}, ["a spreadsheet. Save it as csv"]),
        ({"aclImdb.tar.gz": b"\x1f\x8b"}, ["an archive. Unpack it: tar xf"]),
        ({"batch.pkl": b"\x80\0"}, ["a pickle, which runs code"]),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_it_is_told(
    files: dict[str, str | bytes],
    told: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(tmp_path / "data", files)
    said = mistake(capsys, "init", tmp_path / "data", "--out", tmp_path / "recipe.yaml")
    assert all(part in said for part in told), said
