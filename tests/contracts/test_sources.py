"""What every source keeps; how conll names a bad row.

A new source is tested without a line changing: its class has `samples`, a little of what it reads, as SAMPLES has for ours.
"""

import csv
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.core import registry
from limbeck.sources import Row

Folder = Callable[..., Path]
NAMES = [
    name for name in registry.names("sources") if name != "rows"
]  # its rows come from Python: invariants/test_own_models.py
FROM_A_PATH = [name for name in NAMES if "path" in registry.keys("sources", name)]
GOOD = "-DOCSTART- -X- O\n\nAda B-PER\nLovelace I-PER\nlives O\n\nYork B-LOC\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A conll folder: train and test are good unless given; bytes are written as they are."""

    def write(**files: str | bytes | None) -> Path:
        for name, content in ({"train": GOOD, "test": GOOD} | files).items():
            if content is not None:
                (tmp_path / f"{name}.txt").write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
        return tmp_path

    return write


def read_conll(path: Path) -> dict[str, list[Row]]:
    return registry.create("sources", "conll", {"path": str(path)}).read()


TEXTS = [
    {"text": f"{word} {number}", "label": label}
    for number in range(6)
    for word, label in (("call", "phone"), ("rain", "weather"))
]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5), np.uint8)
CLASSES = np.arange(12, dtype=np.uint8) % 2


def as_table(rows: list[Row], separator: str) -> str:
    return "".join(
        separator.join(line) + "\n"
        for line in [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
    )


def as_parquet(rows: list[Row]) -> bytes:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    return file.getvalue()


def as_npz() -> bytes:
    file = io.BytesIO()
    splits = {
        "train_images": IMAGES,
        "train_labels": CLASSES[:, None],
        "val_images": IMAGES,
        "val_labels": CLASSES,
    }
    np.savez_compressed(file, **splits, unlabelled_images=IMAGES[:3])
    return file.getvalue()


def raw_idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def as_idx(array: np.ndarray) -> bytes:
    return gzip.compress(raw_idx(array))


def as_png(image: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


SAMPLES: dict[str, Callable[[], dict[str, str | bytes]]] = {
    "conll": lambda: {"train.txt": GOOD, "test.txt": GOOD, "unlabelled.txt": "York\n"},
    "csv": lambda: {"train.csv": as_table(TEXTS, ","), "unlabelled.csv": "text\nYork\n"},
    "tsv": lambda: {"train.tsv": as_table(TEXTS, "\t"), "dev.tsv": as_table(TEXTS, "\t"), "unlabelled.tsv": "text\nYork\n"},
    "jsonl": lambda: {
        "train.jsonl": "\n".join(map(json.dumps, TEXTS)), "test.jsonl": json.dumps({"tokens": ["a", "b"], "label": 3}),
        "unlabelled.jsonl": json.dumps({"text": "York"}),
    },
    "parquet": lambda: {
        "train-00000-of-00002.parquet": as_parquet(TEXTS[:6]), "train-00001-of-00002.parquet": as_parquet(TEXTS[6:]),
        "unlabelled.parquet": as_parquet([{"text": "York"}]),
    },
    "text": lambda: {"train.txt": "Ada lives .\n\n York\n", "valid.txt": "York\n", "unlabelled.txt": "York\n"},
    "text_folder": lambda: {
        **{f"{split}/{name}/{n}.txt": f"{name} {split} {n}\r\n" for split in ("train", "test") for name in ("pos", "neg") for n in range(4)},
        "train/unsup/0.txt": "York\n", "train/list.txt": "x",
    },
    "class_files": lambda: {
        **{f"{split}/{name}.txt": f"{name} {split}\r\n" * 3 for split in ("train", "test") for name in ("pos", "neg")},
        "unlabelled.txt": "York\n",
    },
    "npz": lambda: {"images.npz": as_npz()},
    "idx": lambda: {
        "train-images-idx3-ubyte.gz": as_idx(IMAGES), "train-labels-idx1-ubyte.gz": as_idx(CLASSES), "unlabelled-images-idx3-ubyte": raw_idx(IMAGES),
    },
    "image_folder": lambda: {
        **{f"train/{label}/{number}.png": as_png(image) for number, (image, label) in enumerate(zip(IMAGES, CLASSES, strict=True))},
        "unlabelled/x.png": as_png(IMAGES[0]),
    },
}  # fmt: skip


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Writes a little of what a source reads; the source's keys."""

    def write(name: str) -> dict[str, Any]:
        if name not in FROM_A_PATH:
            pytest.importorskip(name)  # a source without files is a library's, by its name
            return {}
        files = SAMPLES[name]() if name in SAMPLES else registry.load("sources", name).samples
        for file, content in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
        return {"path": str(tmp_path / name / "images.npz" if name == "npz" else tmp_path / name)}

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_source_reads_the_same_rows_twice_in_known_splits(
    name: str, sample: Callable[[str], dict[str, Any]]
) -> None:
    source = registry.create("sources", name, sample(name))
    first, second = source.read(), source.read()
    assert set(first) <= {"train", "validation", "test", "unlabelled"}
    assert first["train"]
    for split, rows in first.items():
        assert len(rows) == len(second[split])
        for row, again in zip(rows, second[split], strict=True):
            kinds = ({"words", "tags"}, {"text", "label"}, {"text"}, {"image", "label"})
            assert set(row) - {"file"} in kinds
            assert {key: str(value) for key, value in row.items()} == {
                key: str(value) for key, value in again.items()
            }


@pytest.mark.parametrize("name", NAMES)
def test_every_source_brings_rows_without_labels(
    name: str, sample: Callable[[str], dict[str, Any]]
) -> None:
    keys = sample(name) or {"unlabelled": 0.25}
    rows = registry.create("sources", name, keys).read()["unlabelled"]
    assert rows
    for row in rows:
        assert row.get("label") is None
        assert row.get("tags", [None] * len(row.get("words", []))) == [None] * len(
            row.get("words", [])
        )


@pytest.mark.parametrize("name", FROM_A_PATH)
def test_a_path_that_is_not_there_is_named_with_the_cure(name: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=r"nowhere.*should hold"):
        registry.create("sources", name, {"path": str(missing)}).read()


@pytest.mark.parametrize("name", [name for name in FROM_A_PATH if name != "npz"])
def test_a_path_that_is_of_the_wrong_kind_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        registry.create("sources", name, {"path": str(tmp_path / "empty")}).read()


# Tables of texts.

cells = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20
).filter(lambda text: not text.isspace())


@settings(max_examples=40)
@given(texts=st.lists(cells, min_size=1, max_size=8))
def test_csv_reads_what_python_writes(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "all.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([text, "a"] for text in texts)])
    assert [
        row["text"]
        for row in registry.create("sources", "csv", {"path": str(path)}).read()["train"]
    ] == texts


@settings(max_examples=40)
@given(texts=st.lists(cells, min_size=1, max_size=8))
def test_jsonl_reads_what_python_writes(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "all.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": 1}) for text in texts))
    assert registry.create("sources", "jsonl", {"path": str(path)}).read()["train"] == [
        {"text": text, "label": "1"} for text in texts
    ]


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(
        '\ufefftext\tlabel\r\nsay "hi\tcall\r\n\n" rain " ,\tweather\n', encoding="utf-8"
    )
    rows = registry.create("sources", "tsv", {"path": str(tmp_path)}).read()["train"]
    assert rows == [
        {"text": 'say "hi', "label": "call"},
        {"text": '" rain " ,', "label": "weather"},
    ]


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_of_every_kind_hold_the_same_rows(
    name: str, sample: Callable[[str], dict[str, Any]]
) -> None:
    assert registry.create("sources", name, sample(name)).read()["train"] == TEXTS


def test_a_pair_has_a_second_text_and_names_stand_for_numbers(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("index\tone\ttwo\tlabel\n7\ta\tb\t1\n8\tc\td\tno\n")
    options = {"path": str(tmp_path), "text": "one", "text_b": "two", "label_names": ["no", "yes"]}
    assert registry.create("sources", "tsv", options).read()["train"] == [
        {"text": "a", "text_b": "b", "label": "yes"},
        {"text": "c", "text_b": "d", "label": "no"},
    ]


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_a_row_with_any_number_of_labels(name: str, tmp_path: Path) -> None:
    """Once each; a cell that is empty has none of them."""
    lines = {
        "csv": 'text,label\na,"1; 0"\nb,\nc,yes;yes\n',
        "tsv": "text\tlabel\na\t1; 0\nb\t\nc\tyes;yes\n",
        "jsonl": '{"text": "a", "label": [1, "no"]}\n{"text": "b", "label": []}\n{"text": "c", "label": "yes;yes"}\n',
    }
    (tmp_path / f"train.{name}").write_text(lines[name])
    (tmp_path / f"unlabelled.{name}").write_text(
        {"csv": "text\nd\n", "tsv": "text\nd\n", "jsonl": '{"text": "d"}\n'}[name]
    )
    found = registry.create(
        "sources",
        name,
        {"path": str(tmp_path), "label_separator": ";", "label_names": ["no", "yes"]},
    ).read()
    assert [row["label"] for row in found["train"]] == [["yes", "no"], [], ["yes"]]
    assert [row["label"] for row in found["unlabelled"]] == [None]


def test_a_file_without_a_header_and_a_split_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("rain;weather\n")
    (tmp_path / "dev.csv").write_text("snow;weather\n")
    options = {
        "path": str(tmp_path),
        "delimiter": ";",
        "columns": ["text", "label"],
        "test": "dev.csv",
    }
    found = registry.create("sources", "csv", options).read()
    assert found == {
        "train": [{"text": "rain", "label": "weather"}],
        "test": [{"text": "snow", "label": "weather"}],
    }


def test_equal_labels_are_one_object(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "rain,weather\n" * 5)
    assert (
        len(
            {
                id(row["label"])
                for row in registry.create("sources", "csv", {"path": str(tmp_path)}).read()[
                    "train"
                ]
            }
        )
        == 1
    )


# Plain texts.


def test_every_line_that_is_not_blank_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(
        "\ufeff = Ada = \n \n\nAda lives\r\nin York", encoding="utf-8"
    )
    (tmp_path / "held-out.txt").write_text("York\n")
    found = registry.create(
        "sources", "text", {"path": str(tmp_path), "test": "held-out.txt"}
    ).read()
    assert found == {
        "train": [{"text": "= Ada ="}, {"text": "Ada lives"}, {"text": "in York"}],
        "test": [{"text": "York"}],
    }


def test_a_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "all.text").write_bytes(b"Ada\nYo\xffrk\nYo\0rk\nin York\n")
    source, bad = registry.create("sources", "text", {"path": str(tmp_path / "all.text")}), []
    assert source.read(bad.append) == {"train": [{"text": "Ada"}, {"text": "in York"}]}
    assert [str(row).removeprefix(str(tmp_path)) for row in bad] == [
        "/all.text:2:3: b'\\xffrk\\n' is not UTF-8. Save the file as UTF-8, or name its encoding with data.encoding",
        "/all.text:3:3: a NUL character. Remove it",
    ]
    with pytest.raises(ValueError, match=r"all\.text:2:3: .* is not UTF-8"):
        source.read()


# Images.


@pytest.mark.parametrize("name", ["npz", "idx", "image_folder"])
def test_images_are_read_to_the_pixel(name: str, sample: Callable[[str], dict[str, Any]]) -> None:
    rows = registry.create("sources", name, sample(name)).read()["train"]
    by_bytes = {image.tobytes(): str(label) for image, label in zip(IMAGES, CLASSES, strict=True)}
    assert {row["image"].tobytes(): row["label"] for row in rows} == by_bytes
    assert {(row["image"].shape, row["image"].dtype) for row in rows} == {
        ((6, 5), np.dtype(np.uint8))
    }


def test_floats_become_the_uint8_they_were(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", train_images=IMAGES / np.float32(255), train_labels=CLASSES)
    rows = registry.create(
        "sources", "npz", {"path": str(tmp_path / "images.npz"), "label_names": ["a", "b"]}
    ).read()["train"]
    assert all(np.array_equal(row["image"], image) for row, image in zip(rows, IMAGES, strict=True))
    assert [row["label"] for row in rows[:3]] == ["a", "b", "a"]


def test_an_archive_with_a_table_says_the_splits(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number, image in enumerate(IMAGES[:4]):
            archive.writestr(f"all/{number}.png", as_png(image))
        archive.writestr("__MACOSX/all/._0.png", b"none")
    (tmp_path / "split.csv").write_text(
        "file,label,split\nall/1.png,a,train\nall/0.png,b,val\nall/3.png,,unlabelled\n"
    )
    found = registry.create("sources", "image_folder", {"path": str(tmp_path)}).read()
    assert {split: [row["label"] for row in rows] for split, rows in found.items()} == {
        "train": ["a"],
        "validation": ["b"],
        "unlabelled": [None],
    }
    assert np.array_equal(found["train"][0]["image"], IMAGES[1])


# conll


def test_conll_reads_words_tags_and_documents(folder: Folder) -> None:
    found = read_conll(folder(valid="York\tNNP\tB-LOC\r\n", unlabelled="Ada\nlives\n\nYork\n"))
    rows = [
        {"words": ["Ada", "Lovelace", "lives"], "tags": ["B-PER", "I-PER", "O"]},
        {"words": ["York"], "tags": ["B-LOC"]},
    ]
    assert found["train"] == found["test"] == rows
    assert found["validation"] == [{"words": ["York"], "tags": ["B-LOC"]}]
    assert found["unlabelled"] == [
        {"words": ["Ada", "lives"], "tags": [None, None]},
        {"words": ["York"], "tags": [None]},
    ]


def test_conll_needs_no_last_newline_and_no_single_blank_line(folder: Folder) -> None:
    assert read_conll(folder(train="\n\nAda B-PER\n\n\n \nYork B-LOC"))["train"] == [
        {"words": ["Ada"], "tags": ["B-PER"]},
        {"words": ["York"], "tags": ["B-LOC"]},
    ]


def test_conll_takes_any_script(folder: Folder) -> None:
    assert read_conll(folder(train="Łódź B-LOC\n東京 B-LOC\n🙂 O\n"))["train"][0]["words"] == [
        "Łódź",
        "東京",
        "🙂",
    ]


def test_conll_lets_one_type_follow_another(folder: Folder) -> None:
    text = "Ada B-PER\nYork B-LOC\nCity I-LOC\nNew B-LOC\n"
    assert read_conll(folder(train=text))["train"][0]["tags"] == [
        "B-PER",
        "B-LOC",
        "I-LOC",
        "B-LOC",
    ]


BAD_ROWS = {
    "a tag of no scheme": (
        "Ada B-PER\nin X-LOC\n",
        r"train\.txt:2: column 2: `X-LOC` is no IOB2 tag\. Write O, B-TYPE or I-TYPE",
    ),
    "a lower-case tag": ("Ada b-per\n", r"train\.txt:1: column 2: `b-per` is no IOB2 tag"),
    "a number": ("Ada NNP 1\n", r"train\.txt:1: column 3: `1` is no IOB2 tag"),
    "I- after O": (
        "in O\nYork I-LOC\n",
        r"train\.txt:2: column 2: `I-LOC` follows `O`.*begins with B-LOC",
    ),
    "I- of another type": (
        "Ada NNP B-PER\nYork NNP I-LOC\n",
        r"train\.txt:2: column 3: `I-LOC` follows `B-PER`",
    ),
    "I- at a sentence's start": (
        "Ada B-PER\n\nLove I-PER\n",
        r"train\.txt:3: column 2: `I-PER` follows `O`",
    ),
    "no tag": ("Ada B-PER\nlives\n", r"train\.txt:2:1: `lives` has no tag\. Each line is a word"),
    "not UTF-8": (
        b"Ada B-PER\nM\xfcnchen B-LOC\n",
        r"train\.txt:2:2: b'\\xfcnch' is not UTF-8\. Save the file as UTF-8",
    ),
    "NUL": ("Ada B-PER\nYo\0rk B-LOC\n", r"train\.txt:2:3: a NUL character\. Remove it"),
}


@pytest.mark.parametrize(("content", "message"), BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_bad_row_is_named_by_file_line_column_value_and_cure(
    folder: Folder, content: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_conll(folder(train=content))


def test_a_bad_row_of_any_split_is_found_in_its_own_file(folder: Folder) -> None:
    for name in ("test", "valid"):
        with pytest.raises(ValueError, match=rf"{name}\.txt:1: column 2: `Q` is no IOB2 tag"):
            read_conll(folder(**{name: "Ada Q\n"}))
        folder()


@pytest.mark.parametrize("tag", ["B-", "I-"])
def test_a_tag_without_a_type_is_refused(folder: Folder, tag: str) -> None:
    before = "" if tag == "B-" else "Ada B-\n"
    with pytest.raises(ValueError, match=r"no IOB2 tag"):
        read_conll(folder(train=f"{before}York {tag}\n"))


@pytest.mark.parametrize(
    "content", ["Ada B-PER\n", "-DOCSTART- O\n\nAda B-PER\n"], ids=["a word", "a document"]
)
def test_a_byte_order_mark_is_no_part_of_the_first_word(folder: Folder, content: str) -> None:
    assert read_conll(folder(train=content.encode("utf-8-sig")))["train"][0]["words"] == ["Ada"]


def test_a_missing_train_file_is_named(folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"no train\.txt here\. Rename a file.*data\.train"):
        read_conll(folder(train=None))


def test_a_missing_test_file_is_drawn_from_train(folder: Folder) -> None:
    assert set(read_conll(folder(test=None))) == {"train"}


# sklearn


def test_digits_are_images_with_their_labels() -> None:
    pytest.importorskip("sklearn")
    rows = registry.create("sources", "sklearn").read()["train"]
    assert len(rows) == 1797
    assert {row["image"].shape for row in rows} == {(8, 8)}
    assert {row["image"].dtype for row in rows} == {np.dtype(np.uint8)}
    assert max(row["image"].max() for row in rows) == 255
    assert sorted({row["label"] for row in rows}) == list("0123456789")


def test_a_share_of_the_digits_can_be_unlabelled() -> None:
    pytest.importorskip("sklearn")
    found = registry.create("sources", "sklearn", {"unlabelled": 0.9}).read()
    assert sum(map(len, found.values())) == 1797
    # The few that have a label left would be too few to judge by.
    assert len(found["test"]) == pytest.approx(0.5 * 1797, rel=0.1)
    assert len(found["unlabelled"]) == pytest.approx(0.9 * 0.5 * 1797, rel=0.1)
    assert {row["label"] for row in found["unlabelled"]} == {None}
    other = registry.create("sources", "sklearn", {"unlabelled": 0.9, "draw": 1}).read()
    assert len(found["train"]) != len(other["train"])


@pytest.mark.parametrize(
    ("key", "value"), [("dataset", "iris"), ("unlabelled", 1.0), ("unlabelled", -0.1), ("draw", -1)]
)
def test_what_sklearn_cannot_read_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"data.{key}.*not `?{value}"):
        registry.create("sources", "sklearn", {key: value}).read()
