"""Bad data is found by `limbeck check`, before any training: exit status 2, what, where and the cure in a few lines, never a traceback."""

import gzip
import importlib.util
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import limbeck
from limbeck.cli import main
from limbeck.core import registry
from limbeck.data.splits import Splits, load_splits
from limbeck.recipe.reading import parse

pytest.importorskip("torch")  # a check asks what every component takes

RECIPE = """
task: {task}
data: {{{data}}}
student: {{model: small_cnn}}
"""
TEXTS = ["call Ada", "it rains", "call Grace", "it snows", "ring Alan", "it is cold"]
Content = str | bytes
Files = dict[str, Content]


def table(separator: str = ",", header: tuple[str, ...] = ("text", "label")) -> list[str]:
    """A header and 24 good rows."""
    rows = [
        (f"{text} {number}", "weather" if "it" in text else "call")
        for number in range(4)
        for text in TEXTS
    ]
    return [separator.join(header), *(separator.join(row) for row in rows)]


def with_row(row: str, *, at: int = 3, separator: str = ",") -> str:
    """A good table with a bad line: its third, unless another is asked for."""
    lines = table(separator)
    lines.insert(at - 1, row)
    return "\n".join(lines) + "\n"


GOOD, GOOD_TSV = "\n".join(table()) + "\n", "\n".join(table("\t")) + "\n"
OBJECTS = [
    {"text": f"{text} {number}", "label": "weather" if "it" in text else "call"}
    for number in range(4)
    for text in TEXTS
]


def json_lines(extra: str, *, at: int = 3) -> str:
    lines = [json.dumps(each) for each in OBJECTS]
    lines.insert(at - 1, extra)
    return "\n".join(lines) + "\n"


def picture(seed: int = 0, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def png(image: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form)
    return file.getvalue()


def images(**extra: bytes) -> Files:
    """A folder of two classes with ten images each, and further files."""
    found: Files = {
        f"{label}/{number}.png": png(picture(number + 10 * index))
        for index, label in enumerate("ab")
        for number in range(10)
    }
    return found | {
        name.replace("__", "/").replace("_png", ".png").replace("_jpg", ".jpg"): content
        for name, content in extra.items()
    }


def archive(members: Files) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


def arrays(**changes: Any) -> bytes:
    """A MedMNIST archive of 24 images, with changes; None leaves an array out."""
    labels = np.arange(24, dtype=np.uint8)[:, None] % 2
    content = {
        "train_images": picture(0, (24, 8, 8)),
        "train_labels": labels,
        "test_images": picture(1, (24, 8, 8)),
        "test_labels": labels,
    }
    content = {name: value for name, value in (content | changes).items() if value is not None}
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def with_nan() -> np.ndarray:
    values = picture(0, (24, 8, 8)) / 255
    values[4, 2, 3] = np.nan
    return values


def idx(array: np.ndarray, *, magic: bytes | None = None) -> bytes:
    head = magic or bytes([0, 0, 8, array.ndim])
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(**changes: bytes) -> Files:
    pixels, labels = picture(0, (24, 8, 8)), np.arange(24, dtype=np.uint8) % 2
    found = {"train-images-idx3-ubyte": idx(pixels), "train-labels-idx1-ubyte": idx(labels)}
    return found | {
        f"{name.replace('_', '-')}-ubyte".replace("-ubyte-gz-ubyte", "-ubyte.gz"): content
        for name, content in changes.items()
    }


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in its header."""
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    PngImagePlugin.putchunk(file, b"IDAT", b"")
    PngImagePlugin.putchunk(file, b"IEND", b"")
    return file.getvalue()


CSV, TSV, JSONL, PARQUET = ("source: csv", "source: tsv", "source: jsonl", "source: parquet")
FOLDER, NPZ, IDX = ("source: image_folder", "source: npz", "source: idx")
Case = tuple[
    str, Files, tuple[str, ...]
]  # keys of data, files, what the message must hold: the place, the cure

BAD: dict[str, Case] = {
    # files and columns
    "no such folder": (f"{CSV}, path: nowhere", {}, ("data.path: `nowhere` is not here", "should hold train.csv")),
    "a path too long": (f"{CSV}, path: {'x' * 300}", {}, ("data: no file or folder has so long a name: xxx", "Mend the path")),
    "a split's name too long": (f"{CSV}, train: {'x' * 300}", {"train.csv": GOOD}, ("no file or folder has so long a name",)),
    "no train file": (CSV, {"test.csv": GOOD, "trian.csv": GOOD}, ("no train.csv here", "Rename a file", "trian.csv")),
    "a named file that is not here": (f"{CSV}, test: tset.csv", {"train.csv": GOOD, "test.csv": GOOD}, ("no file `tset.csv`", "Did you mean `test.csv`?")),
    "two names for one split": (CSV, {"train.csv": GOOD, "dev.csv": GOOD, "valid.csv": GOOD}, ("dev.csv and valid.csv", "data.validation")),
    "no column of the name": (f"{CSV}, text: txet", {"train.csv": GOOD}, ("train.csv: no column `txet` (data.text)", "Did you mean `text`?", "text, label")),
    "no label column of the name": (f"{CSV}, label: lable", {"train.csv": GOOD}, ("no column `lable`", "Did you mean `label`?")),
    "no usual text column": (CSV, {"train.csv": GOOD.replace("text,", "words_of_mine,")}, ("no column for the text", "data.text", "words_of_mine, label")),
    "no usual label column": (CSV, {"train.csv": GOOD.replace(",label", ",answer")}, ("no column for the label", "data.label", "text, answer")),
    "a column twice": (CSV, {"train.csv": GOOD.replace("text,label", "text,text")}, ("train.csv:1: the column `text` is here 2 times", "Rename")),
    "a blank header": (CSV, {"train.csv": " , \n" + GOOD}, ("train.csv:1: no header here", "data.columns")),
    "a delimiter of two": (f"{CSV}, delimiter: ';;'", {"train.csv": GOOD}, ("data.delimiter: one character",)),
    # rows
    "too many columns": (CSV, {"train.csv": with_row("it rains, hard,weather")}, ("train.csv:3: 3 columns, but the header has 2 (text, label)", "into double quotes")),
    "too few columns": (CSV, {"train.csv": with_row("it rains")}, ("train.csv:3: 1 columns", "header has 2")),
    "a quote never closed": (CSV, {"train.csv": with_row('"it rains,weather')}, ("train.csv:3: a quote that begins here is never closed", "read up to line 26", "Close it")),
    "a quote closed too early": (CSV, {"train.csv": with_row('"it" rains,weather')}, ("train.csv:3: broken quoting", "whole field into double quotes")),
    "a bad row after one of two lines": (CSV, {"train.csv": with_row('"it\nrains",weather\n,weather')}, ("train.csv:5: text: no text here",)),
    "not UTF-8": (CSV, {"train.csv": with_row("M\u00fcnchen,weather").encode("latin-1")}, ("train.csv:3:2: b'\\xfcnch' is not UTF-8", "Save the file as UTF-8")),
    "UTF-16 without a mark": (CSV, {"train.csv": GOOD.encode("utf-16-le")}, ("train.csv:1:2:", "a NUL character")),
    "a NUL": (CSV, {"train.csv": with_row("it ra\0ins,weather")}, ("train.csv:3:6: a NUL character", "Remove it")),
    "no text": (CSV, {"train.csv": with_row("  ,weather")}, ("train.csv:3: text: no text here", "Fill it in, or remove the row")),
    "no label": (CSV, {"train.csv": with_row("it rains,")}, ("train.csv:3: label: no label", "`unlabelled`")),
    "a label without a name": (f"{CSV}, label_names: [no, yes]", {"train.csv": "text,label\nAda,0\nAlan,2\n"}, ("train.csv:3: label: `2` is none of data.label_names (no, yes)",)),
    "an id twice": (CSV, {"train.csv": "id,text,label\n1,Ada,call\n2,rain,weather\n1,snow,weather\n"}, ("train.csv:4: id: `1` is also the id of row 2", "Keep one")),
    "too many tabs": (TSV, {"train.tsv": with_row("it\trains\tweather", separator="\t")}, ("train.tsv:3: 3 columns", "Replace a tab")),
    "a NUL in tabs": (TSV, {"train.tsv": with_row("it\0\tweather", separator="\t")}, ("train.tsv:3:3: a NUL character",)),
    "not JSON": (JSONL, {"train.jsonl": json_lines('{"text": "it rains", label}')}, ("train.jsonl:3:22: not JSON", "one object a line")),
    "JSON cut off": (JSONL, {"train.jsonl": json_lines('{"text": "it rai')}, ("train.jsonl:3:10: not JSON", "one object a line")),
    "nothing but a broken line": (JSONL, {"train.jsonl": "{text}"}, ("train.jsonl:1:2: not JSON",)),
    "a list, no object": (JSONL, {"train.jsonl": json_lines('["it rains", "weather"]')}, ("train.jsonl:3: a list, not an object", "columns as keys")),
    "JSON too deep": (JSONL, {"train.jsonl": json_lines("[" * 100_000)}, ("train.jsonl:3:", "Write one")),
    "a key missing": (JSONL, {"train.jsonl": json_lines('{"txt": "it rains", "label": "weather"}')}, ("train.jsonl:3: no key `text`", "txt, label")),
    "a text that is a number": (JSONL, {"train.jsonl": json_lines('{"text": 3, "label": "weather"}')}, ("train.jsonl:3: text: '3' is no text", "in quotes")),
    "a null text": (JSONL, {"train.jsonl": json_lines('{"text": null, "label": "weather"}')}, ("train.jsonl:3: text: no text here",)),
    "an empty name among labels": (f'{CSV}, label_separator: ";"', {"train.csv": with_row("it rains,weather;;call")}, ("train.csv:3: label: no label",)),
    "labels that are no list": (f'{JSONL}, label_separator: ";"', {"train.jsonl": json_lines('{"text": "rain", "label": 3}')}, ("train.jsonl:3: label: 3 is no list of labels", "with ';' between them")),
    "a label that is infinite": (JSONL, {"train.jsonl": json_lines('{"text": "rain", "label": Infinity}')}, ("train.jsonl:3: label: inf is no label", "a word or a number")),
    "a label that is a list": (JSONL, {"train.jsonl": json_lines('{"text": "rain", "label": ["a", "b"]}')}, ("train.jsonl:3: label: ['a', 'b'] is no label", "a word or a number")),
    "no Parquet file": (PARQUET, {"train.parquet": GOOD}, ("train.parquet: not a Parquet file", "Write it again")),
    # splits
    "an empty test": (CSV, {"train.csv": GOOD, "test.csv": "text,label\n"}, ("the test split of `csv` is empty", "leave it out and it is drawn")),
    "an empty train file": (CSV, {"train.csv": "", "test.csv": GOOD}, ("the train split of `csv` is empty",)),
    "one class only": (CSV, {"train.csv": GOOD.replace("weather", "call")}, ("one class only (call)", "Add rows of another")),
    "a test label that train lacks": (f"{CSV}, on_bad_row: fail", {"train.csv": GOOD, "test.csv": GOOD.replace(",call", ",cal")}, ("the test split of `csv`: row 1: train lacks the label cal", "Did you mean `call`?")),
    "rows of another task": (f"{NPZ}, path: data.npz", {"data.npz": arrays()}, ("row 1 of the train split of `npz` has no `text`", "it holds image, label", "Take a source or a task")),
    # images
    "a broken image": (FOLDER, images(a__10_png=b"no image at all"), ("a/10.png: not a readable image", "Replace it")),
    "an image cut off": (FOLDER, images(a__10_png=png(picture(0, (64, 64)))[:900]), ("a/10.png: not a readable image", "Replace it")),
    "a JPEG cut off": (FOLDER, images(a__10_jpg=png(picture(0, (64, 64)), "JPEG")[:600]), ("a/10.jpg: not a readable image", "Replace it")),
    "a decompression bomb": (FOLDER, images(a__10_png=bomb()), ("a/10.png: more than", "decompression bomb", "Make the image smaller")),
    "an image of 32 bits": (FOLDER, images(a__10_jpg=png(picture().astype(np.int32) * 70_000, "TIFF")), ("a/10.jpg: pixels from", "more than 16 bits", "Save the image with 8 or 16 bits")),
    "a ground of no colour": (f"{FOLDER}, background: whyte", images(), ("data.background: 'whyte' is no colour", "white, black")),
    "an image in no class": (FOLDER, images(stray_png=png(picture())), ("stray.png: lies in no folder of a class", "Move it into one")),
    "no image": (FOLDER, {"a/readme.txt": "none"}, ("no image of train here", "Expected CLASS/NAME.png")),
    "no zip archive": (FOLDER, {"images.zip": b"no zip"}, ("images.zip: not a zip archive", "Pack it again")),
    "a split of no name": (FOLDER, images() | {"split.csv": "file,split\na/1.png,trian\n"}, ("split.csv:2: split: `trian` is none", "Did you mean `train`?")),
    "a listed image that is not here": (FOLDER, images() | {"split.csv": "file\na/0.pgn\n"}, ("split.csv:2: file: no image `a/0.pgn` here", "Did you mean `a/0.png`?")),
    "a list without files": (FOLDER, images() | {"split.csv": "path,label\na/1.png,a\n"}, ("split.csv:1: no column `file`", "path, label")),
    "a size of nothing": (f"{FOLDER}, size: 0", images(), ("data.size: a number of pixels above 0",)),
    # arrays
    "no archive of arrays": (f"{NPZ}, path: data.npz", {"data.npz": b"PK no archive"}, ("data.npz: not a numpy archive", "numpy.savez")),
    "an archive cut off": (f"{NPZ}, path: data.npz", {"data.npz": arrays()[:900]}, ("data.npz: not a numpy archive", "numpy.savez")),
    "an archive of objects": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_labels=np.array([{}] * 24))}, ("data.npz: not a numpy archive", "without objects")),
    "an array missing": (f"{NPZ}, path: data.npz", {"data.npz": arrays(test_labels=None)}, ("data.npz: no array `test_labels`", "test_images")),
    "a NaN pixel": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_images=with_nan())}, ("data.npz: train: row 5: pixel (2, 3) is nan", "leave the image out")),
    "pixels out of range": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_images=picture(0, (24, 8, 8)) * 2.0)}, ("train: row 1: pixels from", "Scale floats to 0..1")),
    "pixels of another type": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_images=picture(0, (24, 8, 8)).astype(np.int32))}, ("train: row 1: pixels of int32", "as uint8")),
    "labels too few": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_labels=np.zeros(23, int))}, ("labels of shape (23,) for 24 images", "one label an image")),
    "labels of many classes each": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_labels=np.zeros((24, 14), int))}, ("labels of shape (24, 14)", "one label an image")),
    "images of five axes": (f"{NPZ}, path: data.npz", {"data.npz": arrays(train_images=np.zeros((24, 2, 8, 8, 3), np.uint8))}, ("images of shape (24, 2, 8, 8, 3)", "Expected (rows, height, width)")),
    "IDX of another magic": (IDX, mnist(train_images_idx3=idx(picture(0, (24, 8, 8)), magic=b"\0\0\x0d\3")), ("idx3-ubyte: byte 1: begins with 00000d03, not 00000803", "Download it again")),
    "IDX cut off": (IDX, mnist(train_images_idx3=idx(picture(0, (24, 8, 8)))[:-1]), ("idx3-ubyte: byte 17: 1,536 bytes are announced, and there are only 1,535",)),
    "IDX too long": (IDX, mnist(train_images_idx3=idx(picture(0, (24, 8, 8))) + b"\0"), ("1,536 bytes are announced, and there are more",)),
    "IDX of a huge length": (IDX, mnist(train_images_idx3=bytes([0, 0, 8, 3]) + b"\xff" * 12), ("byte 5:", "at most 8,589,934,592 are read")),
    "IDX of other lengths": (IDX, mnist(train_labels_idx1=idx(np.zeros(23, np.uint8))), ("labels of shape (23,) for 24 images",)),
    "IDX without labels": (IDX, {"train-images-idx3-ubyte": idx(picture(0, (24, 8, 8)))}, ("no train-labels-idx1-ubyte", "Files here: train-images-idx3-ubyte")),
    "IDX with a damaged gzip": (
        IDX,
        {"train-images-idx3-ubyte.gz": gzip.compress(idx(picture(0, (24, 8, 8))))[:-20], "train-labels-idx1-ubyte": idx(np.zeros(24, np.uint8))},
        ("idx3-ubyte.gz: cannot be unpacked", "Download it again"),
    ),
}  # fmt: skip

IMAGE_SOURCES = ("image_folder", "npz", "idx")


def prepare(folder: Path, keys: str, files: Files, task: str | None = None) -> Path:
    """The files, and a recipe beside them that reads them; its path."""
    base = folder / "files"
    base.mkdir()
    for name, content in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if "path:" not in keys:
        keys += f", path: {base}"
    keys = keys.replace("path: data.npz", f"path: {base / 'data.npz'}")
    task = task or (
        "image-classification"
        if any(name in keys for name in IMAGE_SOURCES)
        else "text-classification"
    )
    (folder / "recipe.yaml").write_text(RECIPE.format(task=task, data=keys))
    return folder / "recipe.yaml"


def check(recipe: Path) -> int:
    return main.exit_status(["check", str(recipe), "--data-only"])


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_its_place_and_cure(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, files, expected = BAD[name]
    recipe = prepare(
        tmp_path, keys, files, "text-classification" if name == "rows of another task" else None
    )
    assert check(recipe) == 2
    said = capsys.readouterr().err
    for part in expected:
        assert part in said, said
    assert len(said.splitlines()) <= 12
    assert len(said) < 1600
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("keys", "files"),
    [
        (CSV, {"train.csv": GOOD}),
        (TSV, {"train.tsv": GOOD_TSV}),
        (JSONL, {"train.jsonl": json_lines("")}),
        (FOLDER, images()),
        (FOLDER, {"images.zip": archive(images())}),
        (f"{NPZ}, path: data.npz", {"data.npz": arrays()}),
        (IDX, mnist()),
    ],
    ids=["csv", "tsv", "jsonl", "image_folder", "zip", "npz", "idx"],
)
def test_what_the_cases_are_made_from_is_good(
    keys: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(prepare(tmp_path, keys, files)) == 0, capsys.readouterr().err


# What becomes of bad rows.

TEXT_TASK = registry.load("tasks", "text-classification")
ROW_CASES = {
    name: case
    for name, case in BAD.items()
    if name in ("too many columns", "a quote closed too early", "not UTF-8", "a NUL", "no text", "no label", "an id twice", "too many tabs", "not JSON",
                "a list, no object", "a key missing", "a text that is a number", "a broken image", "a decompression bomb", "a NaN pixel",
                "a listed image that is not here")
}  # fmt: skip


GOOD_ROWS = {CSV: 24, TSV: 24, JSONL: 24, FOLDER: 20, NPZ: 47}


def read(recipe: Path, policy: str) -> Splits:
    found = parse(recipe.read_text(), overrides=[f"data.on_bad_row={policy}"])
    return load_splits(found.data, registry.load("tasks", found.task))


@pytest.mark.parametrize(
    "name",
    [name for name in ROW_CASES if name not in ("an id twice", "a listed image that is not here")],
)
def test_a_bad_row_can_be_left_out_and_is_counted(name: str, tmp_path: Path) -> None:
    keys, files, expected = ROW_CASES[name]
    recipe = prepare(tmp_path, keys, files)
    found = read(recipe, "skip")
    assert found.num_bad == 1
    assert (
        len(found.train) + len(found.validation) + len(found.test) == GOOD_ROWS[keys.split(",")[0]]
    )
    assert found.notes[0].startswith("1 bad rows left out, for example ")
    assert expected[0] in found.notes[0]
    assert found.quarantined == []


@pytest.mark.parametrize(("num_bad", "more"), [(1, 0), (2, 0), (3, 0), (4, 2), (9, 7)])
def test_the_first_bad_row_of_each_kind_is_told_and_how_many_there_are(
    num_bad: int, more: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who mends one kind must not run into the next."""
    lines = table()
    lines[3:3] = ["it rains,", ",call", "it, rains,weather", *["it pours,"] * 6][:num_bad]
    assert check(prepare(tmp_path, CSV, {"train.csv": "\n".join(lines)})) == 2
    told = capsys.readouterr().err.splitlines()
    place = f"limbeck: {tmp_path}/files/train.csv"
    kinds = ["4: label: no label", "5: text: no text", "6: 3 columns, but the header has 2"]
    assert len(told) == min(num_bad, len(kinds))
    for line, kind in zip(told, kinds, strict=False):
        assert line.startswith(f"{place}:{kind}")
        assert line.endswith("Or leave such rows out: data.on_bad_row: skip")
    assert (f"This is the first of {more} such rows." in told[0]) == (more > 0)


def test_bad_rows_and_a_file_that_cannot_be_read_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files: Files = {"train.csv": with_row("it rains,"), "test.csv": "a,b\n1,2\n"}
    assert check(prepare(tmp_path, CSV, files)) == 2
    told = capsys.readouterr().err
    assert "train.csv:3: label: no label" in told
    assert "test.csv: no column for the text" in told


def test_a_wrong_key_of_a_model_hides_no_mistake_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = prepare(tmp_path, CSV, {"train.csv": with_row("it rains,")})
    recipe.write_text(recipe.read_text().replace("small_cnn}", "small_cnn, wdth: 4, dpth: 2}"))
    assert check(recipe) == 2
    told = capsys.readouterr().err
    assert "student.wdth: `small_cnn` (networks) has no key `wdth`" in told
    assert "train.csv:3: label: no label" in told


def test_bad_rows_are_kept_apart_with_place_and_reason(tmp_path: Path) -> None:
    content = with_row("it rains,", at=3).replace("call Ada 1", " ")
    found = read(prepare(tmp_path, CSV, {"train.csv": content}), "quarantine")
    place = f"{tmp_path}/files/train.csv"
    assert [row["place"] for row in found.quarantined] == [f"{place}:3", f"{place}:9"]
    assert found.quarantined[0]["row"] == {"text": "it rains", "label": ""}
    assert "no label" in found.quarantined[0]["problem"]
    assert "2 bad rows left out (quarantine.jsonl)" in found.notes[0]


def test_a_sentence_with_a_bad_tag_is_left_out_whole(tmp_path: Path) -> None:
    good = "\n".join(f"Ada{number} B-PER\nsings O\n" for number in range(20))
    recipe = prepare(
        tmp_path,
        "source: conll",
        {"train.txt": "in X-LOC\nYork Q\n\n" + good, "test.txt": good},
        "token-classification",
    )
    found = read(recipe, "quarantine")
    assert found.num_bad == 1
    assert found.quarantined[0]["place"] == f"{tmp_path}/files/train.txt:1: column 2"
    assert found.quarantined[0]["row"]["words"] == ["in", "York"]
    assert len(found.train) + len(found.validation) == 20


def test_check_tells_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        check(prepare(tmp_path, f"{CSV}, on_bad_row: skip", {"train.csv": with_row("it rains,")}))
        == 0
    )
    assert "1 bad rows left out, for example" in capsys.readouterr().out


def test_a_file_that_no_row_can_be_read_from_is_not_skipped(tmp_path: Path) -> None:
    for number, (keys, files) in enumerate(
        [
            (PARQUET, {"train.parquet": "no"}),
            (IDX, mnist(train_images_idx3=b"no")),
            (CSV, {"train.csv": "a,b\n"}),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ValueError, match=r"Write it again|Download it again|Name it with"):
            read(prepare(tmp_path / str(number), keys, files), "skip")


def test_an_unknown_policy_is_named_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(prepare(tmp_path, f"{CSV}, on_bad_row: ignore", {"train.csv": GOOD})) == 2
    assert (
        "data.on_bad_row: Input should be 'fail', 'skip' or 'quarantine', not 'ignore'"
        in capsys.readouterr().err
    )


# What is odd but no error.


def drawn_away(found: Splits) -> int:
    """How many of the five repeated rows went to the validation split."""
    return len({row["text"] for row in found.validation} & {row["text"] for row in found.test})


def test_train_rows_in_test_are_told_with_three_examples(tmp_path: Path) -> None:
    found = read(
        prepare(
            tmp_path, CSV, {"train.csv": GOOD, "test.csv": "\n".join([*table()[:6], "new,call"])}
        ),
        "fail",
    )
    (note,) = [note for note in found.notes if "in train too" in note and "test" in note]
    assert note.startswith(f"warning: {5 - drawn_away(found)} of 6 test rows are in train too")
    assert note.count("row ") == 3


def test_labels_that_differ_only_by_case_or_space_are_told(tmp_path: Path) -> None:
    found = read(
        prepare(
            tmp_path,
            CSV,
            {
                "train.csv": GOOD.replace("it rains 1,weather", "it rains 1,Wea ther"),
                "test.csv": GOOD,
            },
        ),
        "fail",
    )
    assert (
        "warning: labels that differ only by case, space or the codes of letters: `Wea ther` and `weather`"
        in found.notes
    )


def test_a_good_table_has_no_warning(tmp_path: Path) -> None:
    assert not [
        note
        for note in read(prepare(tmp_path, CSV, {"train.csv": GOOD}), "fail").notes
        if "warning" in note
    ]


def test_a_runtime_that_is_not_installed_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "openvino" else find(name, *more),
    )
    recipe = parse(
        "task: image-classification\ndata: {source: sklearn, dataset: digits}\nstudent: {model: small_cnn}\nquantize: {}\nexport: [onnx, openvino]"
    )
    with pytest.raises(
        ValueError, match=r"`openvino` is not installed\. pip install 'limbeck\[openvino\]'"
    ):
        limbeck.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
