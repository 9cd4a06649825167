"""Files as people publish them: names of splits, compression, encodings, documents of JSON, tags, columns of labels, folders of images."""

import codecs
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from limbeck.core import registry
from limbeck.sources import Row
from limbeck.sources._cells.tags import as_iob2, scheme_of
from limbeck.sources._image_layout import placed
from limbeck.sources._split_files import split_of

TABLE = "text,label\nit rains,weather\ncall Ada,call\n"
ROWS = [{"text": "it rains", "label": "weather"}, {"text": "call Ada", "label": "call"}]


def read(source: str, path: Path, **keys: Any) -> dict[str, list[Row]]:
    return registry.create("sources", source, {"path": str(path), **keys}).read()


def write(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# Names of splits.


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("TRAIN", "train"),
        ("Training", "train"),
        ("train_10k", "train"),
        ("eng.train", "train"),
        ("wnut17train", "train"),
        ("TrainData", "train"),
        ("sent-valid", "validation"),
        ("eng.testa", "validation"),
        ("devel", "validation"),
        ("esp.testb", "test"),
        ("test_labeled", "test"),
        ("train-dev", None),
        ("contest", None),
        ("latest", None),
        ("straining", None),
    ],
)
def test_a_name_speaks_of_a_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "names",
    [
        ("TRAIN.csv", "DEV.CSV", "Test.csv"),
        ("train_10k.csv", "valid_1k.csv", "test.csv"),
        ("sent_train.csv", "sent_dev.csv", "sent_test.csv"),
        ("train.csv.gz", "dev.csv", "test.csv.zip"),
    ],
)
def test_splits_are_found_by_the_words_in_their_names(tmp_path: Path, names: list[str]) -> None:
    for name, text in zip(names, ("a", "b", "c"), strict=True):
        content = f"text,label\n{text},x\n".encode()
        if name.endswith(".gz"):
            content = gzip.compress(content)
        if name.endswith(".zip"):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("any.csv", content)
            continue
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("train\n")
    found = read("csv", tmp_path)
    assert {split: rows[0]["text"] for split, rows in found.items()} == {
        "train": "a",
        "validation": "b",
        "test": "c",
    }


def test_the_usual_name_comes_before_one_that_has_a_split_in_it(tmp_path: Path) -> None:
    write(tmp_path, train__csv=TABLE, train_small__csv="text,label\nno,no\n")
    assert read("csv", tmp_path)["train"] == ROWS


@pytest.mark.parametrize(
    "names", [("train_10.csv", "train_100.csv"), ("a_train.csv", "b_train.csv")]
)
def test_two_files_that_could_be_train_are_told(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).write_text(TABLE)
    with pytest.raises(ValueError, match=r"both .* could be the train split.*data\.train"):
        read("csv", tmp_path)
    assert read("csv", tmp_path, train=names[0])["train"] == ROWS


def test_numbered_pieces_are_one_split(tmp_path: Path) -> None:
    write(tmp_path, my_train_1__csv=TABLE, my_train_2__csv=TABLE)
    assert read("csv", tmp_path)["train"] == ROWS * 2


# Bytes.


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r", 2).replace("\n", "\r\n", 1).encode(),
        codecs.BOM_UTF8 + TABLE.encode(),
        TABLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
    ],
    ids=["CR", "CRLF", "mixed", "UTF-8 BOM", "UTF-16", "UTF-16 BE", "UTF-32"],
)
def test_a_table_is_read_as_it_was_saved(tmp_path: Path, content: bytes) -> None:
    assert read("csv", write(tmp_path, train__csv=content))["train"] == ROWS
    assert read("csv", tmp_path / "train.csv")["train"] == ROWS
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(content))
    assert read("csv", tmp_path / "train.csv.gz")["train"] == ROWS


def test_a_quoted_field_may_hold_a_carriage_return_and_a_long_text(tmp_path: Path) -> None:
    text = "one\rtwo " + "word " * 40_000
    write(tmp_path, train__csv=f'text,label\n"{text}",x\n')
    (row,) = read("csv", tmp_path)["train"]
    assert row["text"] == text


def test_an_encoding_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, train__csv="text,label\ncafé,x\n".encode("cp1252"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        read("csv", tmp_path)
    assert read("csv", tmp_path, encoding="cp1252")["train"][0]["text"] == "café"
    with pytest.raises(ValueError, match="there is no `latin99`"):
        read("csv", tmp_path, encoding="latin99")


def test_an_archive_holds_splits(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("set/train.csv", TABLE)
        archive.writestr("set/test.csv", TABLE)
        archive.writestr("__MACOSX/set/._train.csv", b"\0")
        archive.writestr("set/README.md", "no data")
    assert read("csv", tmp_path / "data.zip") == {"train": ROWS, "test": ROWS}


@pytest.mark.parametrize("name", ["data.zip", "train.csv.gz"])
def test_a_broken_archive_is_named(tmp_path: Path, name: str) -> None:
    content = gzip.compress(TABLE.encode())[:-12] if name.endswith("gz") else b"PK no archive"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*Pack it again"):
        read("csv", tmp_path / name)


def test_columns_without_a_name_are_no_trouble(tmp_path: Path) -> None:
    write(tmp_path, train__csv="label,text,,\nham,hello there,,\nspam,buy now,,\n")
    assert [row["label"] for row in read("csv", tmp_path)["train"]] == ["ham", "spam"]


# Documents of JSON.

DOCUMENTS = {
    "lines": "\n".join(map(json.dumps, ROWS)),
    "an array": json.dumps(ROWS),
    "an indented array": json.dumps(ROWS, indent=2),
    "an object with one list": json.dumps({"version": 1, "data": ROWS}),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_holds_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path, train__json=DOCUMENTS[name])
    assert read("jsonl", tmp_path)["train"] == ROWS
    assert read("jsonl", tmp_path / "train.json")["train"] == ROWS


@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_holds_splits(tmp_path: Path, indent: int | None) -> None:
    content = {"train": ROWS, "val": ROWS[:1], "oos_test": ROWS[1:]}
    write(tmp_path, all__json=json.dumps(content, indent=indent))
    found = read("jsonl", tmp_path / "all.json")
    assert found == {"train": ROWS, "validation": ROWS[:1], "test": ROWS[1:]}


def test_rows_of_a_document_may_be_lists(tmp_path: Path) -> None:
    content = {split: [list(row.values()) for row in ROWS] for split in ("train", "test")}
    write(tmp_path, all__json=json.dumps(content))
    found = read("jsonl", tmp_path / "all.json", text="column_1", label="column_2")
    assert found == {"train": ROWS, "test": ROWS}


def test_a_bad_row_of_a_document_is_named_by_its_number(tmp_path: Path) -> None:
    write(tmp_path, train__json=json.dumps([ROWS[0], {"text": "x"}]))
    with pytest.raises(ValueError, match=r"train\.json: row 2: no key `label`"):
        read("jsonl", tmp_path)


# A column of splits.


def test_a_column_says_the_split(tmp_path: Path) -> None:
    write(tmp_path, all__csv="text,label,split\na,x,TRAIN\nb,y,dev\nc,x,test\nd,,unlabelled\n")
    found = read("csv", tmp_path / "all.csv")
    assert {split: rows[0]["text"] for split, rows in found.items()} == {
        "train": "a",
        "validation": "b",
        "test": "c",
        "unlabelled": "d",
    }
    write(tmp_path, other__csv="text,label,split\na,x,odd\nb,y,even\n")
    assert set(read("csv", tmp_path / "other.csv")) == {"train"}
    with pytest.raises(ValueError, match=r"split: `odd` is no split"):
        read("csv", tmp_path / "other.csv", split="split")


# Words and tags.

SENTENCES = [
    {"words": ["Ada", "Love", "sings"], "tags": ["B-PER", "I-PER", "O"]},
    {"words": ["York"], "tags": ["B-LOC"]},
]
NAMES = ["O", "B-PER", "I-PER", "B-LOC"]


@pytest.mark.parametrize("column", ["labels", "tags", "ner_tags", "slots"])
@pytest.mark.parametrize("words", ["tokens", "words"])
def test_lists_of_words_with_a_tag_each_are_tagged(tmp_path: Path, words: str, column: str) -> None:
    rows = [{words: row["words"], column: row["tags"], "id": n} for n, row in enumerate(SENTENCES)]
    write(tmp_path, train__jsonl="\n".join(map(json.dumps, rows)))
    assert read("jsonl", tmp_path)["train"] == SENTENCES


def test_tags_may_be_numbers_with_names(tmp_path: Path) -> None:
    rows = [
        {"tokens": row["words"], "ner_tags": [NAMES.index(tag) for tag in row["tags"]]}
        for row in SENTENCES
    ]
    write(tmp_path, train__jsonl="\n".join(map(json.dumps, rows)))
    assert read("jsonl", tmp_path, label_names=NAMES)["train"] == SENTENCES
    with pytest.raises(ValueError, match=r"ner_tags: `\d` is a number.*data\.label_names"):
        read("jsonl", tmp_path)


def test_numbers_of_the_hub_are_read_by_their_names(tmp_path: Path) -> None:
    """As `datasets` describes a column in a file's schema, in its older words and in its newer."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    label = {"names": NAMES, "_type": "ClassLabel"}
    for tags in ({"feature": label, "_type": "List"}, [label]):
        described = {"info": {"features": {"ner_tags": tags, "tokens": [{"dtype": "string"}]}}}
        rows = [
            {"tokens": row["words"], "ner_tags": [NAMES.index(tag) for tag in row["tags"]]}
            for row in SENTENCES
        ]
        table = arrow.Table.from_pylist(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
        parquet.write_table(table, tmp_path / "train.parquet")
        assert read("parquet", tmp_path)["train"] == SENTENCES


def test_words_and_tags_may_be_texts(tmp_path: Path) -> None:
    lines = "sentence,word_labels\nAda Love sings,B-PER I-PER O\nYork,\"['B-LOC']\"\n"
    write(tmp_path, train__csv=lines)
    keys = {"words": "sentence", "tags": "word_labels"}
    assert read("csv", tmp_path, **keys)["train"] == SENTENCES
    write(tmp_path, train__csv=lines + "in York,O\n")
    with pytest.raises(ValueError, match=r"train\.csv:4: word_labels: 1 tags for 2 words"):
        read("csv", tmp_path, **keys)


def test_tokens_with_one_label_are_a_text(tmp_path: Path) -> None:
    row = {"tokens": ["call", "Ada"], "slots": ["O", "B-PER"], "intent": "call"}
    write(tmp_path, train__jsonl=json.dumps(row))
    assert read("jsonl", tmp_path)["train"] == [{"text": "call Ada", "label": "call"}]
    assert read("jsonl", tmp_path, words="tokens", tags="slots")["train"] == [
        {"words": ["call", "Ada"], "tags": ["O", "B-PER"]}
    ]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("iob2", ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]),
        ("iob1", ["I-PER", "I-PER", "O", "I-LOC", "B-LOC"]),
        ("bioes", ["B-PER", "E-PER", "O", "S-LOC", "S-LOC"]),
        ("bioes", ["B-PER", "L-PER", "O", "U-LOC", "U-LOC"]),
    ],
)
def test_tags_of_other_schemes_become_iob2(scheme: str, tags: list[str]) -> None:
    assert as_iob2(tags, scheme) == ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]
    assert scheme_of([tags]) == scheme


def test_words_that_are_no_tags_have_no_scheme() -> None:
    assert scheme_of([["NN", "VB"]]) is None


# Words in columns.


def test_columns_part_at_spaces_and_tabs_of_ascii_alone(tmp_path: Path) -> None:
    write(tmp_path, train__txt="San\u00a0Marino NNP B-LOC\nwins O\n\n10\u00a0000 CD O\n")
    rows = read("conll", tmp_path)["train"]
    assert [row["words"] for row in rows] == [["San\u00a0Marino", "wins"], ["10\u00a0000"]]


def test_a_word_before_a_tab_may_hold_a_space(tmp_path: Path) -> None:
    write(tmp_path, train__tsv="New York\tB-LOC\nwins\tO\n")
    assert read("conll", tmp_path)["train"][0]["words"] == ["New York", "wins"]


@pytest.mark.parametrize("word", ["\u00a0", "\u3000", "\u2009"])
def test_a_word_of_space_alone_is_a_bad_row(tmp_path: Path, word: str) -> None:
    write(tmp_path, train__txt=f"{word} SYM O\n")
    with pytest.raises(ValueError, match=r"train\.txt:1:1: the word .* is of space alone"):
        read("conll", tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("eng.train", "eng.testa", "eng.testb"),
        ("train.conll", "dev.conll", "test.conll"),
        ("train.tsv", "devel.tsv", "test.tsv"),
        ("train.iob2", "valid.iob2", "test.iob2"),
        ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
    ],
)
def test_words_in_columns_are_found_under_every_name(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).write_text("Ada B-PER\nsings O\n")
    (tmp_path / "README.md").write_text("train\n")
    found = read("conll", tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }


def test_conll_takes_files_columns_comments_and_a_scheme(tmp_path: Path) -> None:
    lines = "# sentence 1\n1\tAda\tI-PER\tO\n2\tsings\tO\tO\n"
    write(tmp_path, a__tsv=lines, b__tsv=lines)
    keys = {"word_column": 2, "tag_column": 3, "comments": "#", "scheme": "iob1"}
    found = read("conll", tmp_path, train="a.tsv", test="b.tsv", **keys)
    assert found["train"] == found["test"] == [{"words": ["Ada", "sings"], "tags": ["B-PER", "O"]}]
    with pytest.raises(ValueError, match=r"a\.tsv:2:1: 4 columns here, and column 5"):
        read("conll", tmp_path, train="a.tsv", comments="#", tag_column=5)
    with pytest.raises(ValueError, match=r"data\.scheme: `iob3` is none\. Did you mean"):
        read("conll", tmp_path, scheme="iob3")


# A column for each label.

SHARES = "text,toxic,rude\na,1,0\nb,0,1\nc,0.2,0.8\n"


def test_columns_of_labels_are_one_label_or_several(tmp_path: Path) -> None:
    write(tmp_path, train__csv=SHARES)
    keys: dict[str, Any] = {"label_columns": ["toxic", "rude"]}
    labels = [row["label"] for row in read("csv", tmp_path, **keys)["train"]]
    assert labels == ["toxic", "rude", "rude"]
    write(tmp_path, train__csv=SHARES + "d,0.5,0.9\ne,0,0\n")
    labels = [row["label"] for row in read("csv", tmp_path, label_separator=";", **keys)["train"]]
    assert labels == [["toxic"], ["rude"], ["rude"], ["toxic", "rude"], []]
    with pytest.raises(ValueError, match=r"train\.csv:6: toxic and rude are both 0"):
        read("csv", tmp_path, **keys)
    write(tmp_path, train__csv=SHARES + "f,-1,0\n")
    with pytest.raises(ValueError, match=r"train\.csv:5: toxic: '-1' is no share"):
        read("csv", tmp_path, **keys)


def test_a_column_names_the_group(tmp_path: Path) -> None:
    write(tmp_path, train__csv="text,label,patient\na,x,7\nb,y,8\n")
    rows = read("csv", tmp_path, group="patient")["train"]
    assert [row["group"] for row in rows] == ["7", "8"]


# Folders of images: (split, class, group) of each.

LAYOUTS: dict[str, dict[str, tuple[str, str | None, str | None]]] = {
    "classes": {"cat/1.png": ("train", "cat", None), "dog/1.png": ("train", "dog", None)},
    "Training and Testing": {
        "Training/cat/1.png": ("train", "cat", None),
        "Testing/dog/1.png": ("test", "dog", None),
    },
    "Train, Val and Test in a folder": {
        "set/Train/cat/1.png": ("train", "cat", None),
        "set/Val/cat/2.png": ("validation", "cat", None),
        "set/Test/dog/1.png": ("test", "dog", None),
    },
    "training_set": {
        "training_set/cat/1.png": ("train", "cat", None),
        "test_set/dog/1.png": ("test", "dog", None),
    },
    "a class called test in a split": {
        "train/test/1.png": ("train", "test", None),
        "train/control/1.png": ("train", "control", None),
        "valid/test/2.png": ("validation", "test", None),
    },
    "a class called test beside others": {
        "test/1.png": ("train", "test", None),
        "control/1.png": ("train", "control", None),
    },
    "a class called train": {
        "car/1.png": ("train", "car", None),
        "train/1.png": ("train", "train", None),
    },
    "patients": {
        "cat/p1/1.png": ("train", "cat", "p1"),
        "cat/p2/1.png": ("train", "cat", "p2"),
        "dog/p3/deep/1.png": ("train", "dog", "p3"),
    },
    "patients in splits": {
        "train/cat/p1/1.png": ("train", "cat", "p1"),
        "train/dog/p2/1.png": ("train", "dog", "p2"),
        "test/dog/p3/1.png": ("test", "dog", "p3"),
    },
    "one folder below every class": {
        "train/cat/images/1.png": ("train", "cat", None),
        "test/dog/images/1.png": ("test", "dog", None),
    },
    "splits below classes": {
        "cat/train/1.png": ("train", "cat", None),
        "cat/test/2.png": ("test", "cat", None),
        "dog/train/1.png": ("train", "dog", None),
    },
    "unlabelled": {
        "cat/1.png": ("train", "cat", None),
        "unlabelled/1.png": ("unlabelled", "unlabelled", None),
    },
    "no class": {"train/1.png": ("train", None, None), "test/cat/1.png": ("test", "cat", None)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_class_and_group_of_images(layout: str) -> None:
    expected = LAYOUTS[layout]
    found = {one.name: (one.split, one.label, one.group) for one in placed(list(expected))}
    assert found == expected


def test_folders_beside_the_splits_are_not_read() -> None:
    names = ["train/cat/1.png", "test/cat/1.png", "masks/cat/1.png"]
    assert [one.name for one in placed(names)] == names[:2]
