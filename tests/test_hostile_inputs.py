"""What no file should be, and files that hold more than they say: refused in time, memory and words.

`benchmarks/hostile.py` measures the same in processes of their own.
"""

import gzip
import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from limbeck.cli.first_recipe import look as starter
from limbeck.core import registry
from limbeck.core.files import read_json, require_file, require_file_or_stream
from limbeck.core.wording import suggest
from limbeck.data.bad_rows import BadRows
from limbeck.recipe import reading
from limbeck.sources import BadRow, conll, jsonl
from limbeck.sources._cells import tags
from limbeck.sources._files import Lines
from limbeck.sources._images import decode, is_bomb, size_of

MB = 2**20
FILES = {"csv": "train.csv", "tsv": "train.tsv", "jsonl": "train.jsonl", "parquet": "train.parquet", "conll": "train.txt", "text": "train.txt", "npz": "", "idx": "train-images-idx3-ubyte", "image_folder": "a/1.png"}  # fmt: skip


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)


def terabyte(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


STRANGE = {"a device": zero, "a pipe": pipe, "a socket": unix_socket}


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """No test here may hold more than 300 MB at a time."""
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300 * MB


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    STRANGE[kind](tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for name in ("x", "link"):
        with pytest.raises(ValueError, match=rf"{name}: this is {kind}, and no file\. Write what"):
            require_file(tmp_path / name)
    with pytest.raises(ValueError, match=f"this is {kind}"):
        reading.read(tmp_path / "x")
    with pytest.raises(ValueError, match=f"this is {kind}"):
        read_json(tmp_path / "x")
    with pytest.raises(ValueError, match=f"this is {kind}"):
        decode(tmp_path / "x")
    with pytest.raises(ValueError, match=f"this is {kind}"):
        list(Lines(tmp_path / "x"))


def test_files_folders_and_nothing_pass(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", Path("a\0b")):
        require_file(path)


def test_what_a_shell_hands_over_is_read_once() -> None:
    reader, writer = os.pipe()
    try:
        require_file_or_stream(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("kind", [*STRANGE, "a terabyte"])
@pytest.mark.parametrize("source", FILES)
def test_no_source_reads_it(tmp_path: Path, source: str, kind: str) -> None:
    if source == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / "data" / (FILES[source] or "data.npz")
    file.parent.mkdir(parents=True)
    (STRANGE | {"a terabyte": terabyte})[kind](file)
    path = file if source == "npz" else tmp_path / "data"
    if source == "conll":
        (path / "test.txt").write_text("It O\n")
    with pytest.raises(ValueError, match=str(path)):
        registry.create("sources", source, {"path": str(path)}).read()


def test_a_line_without_an_end_is_read_no_further(tmp_path: Path) -> None:
    terabyte(tmp_path / "train.csv")
    with pytest.raises(ValueError, match=r"train\.csv:1: a line of more than 33,554,432 bytes"):
        list(Lines(tmp_path / "train.csv"))


def test_a_line_of_a_book_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"a" * 20_000_000 + b"\nb")
    assert [len(line) for line in Lines(tmp_path / "train.txt")] == [20_000_001, 1]


@pytest.mark.parametrize("kind", [*STRANGE, "a link that leads nowhere", "a folder"])
@pytest.mark.parametrize("name", ["test.csv", "dev.csv", "TRAIN_10k.csv"])
def test_what_is_called_as_a_split_and_is_none_is_not_passed_over(
    tmp_path: Path, kind: str, name: str
) -> None:
    """Else test rows would be drawn from train without a word."""
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    put = {**STRANGE, "a folder": Path.mkdir, "a link that leads nowhere": dead_link}[kind]
    put(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: this is {kind}, and no file\. "):
        registry.create("sources", "csv", {"path": str(tmp_path)}).read()
    # What is called otherwise is nobody's.
    (tmp_path / name).rename(tmp_path / "notes.csv")
    assert len(registry.create("sources", "csv", {"path": str(tmp_path)}).read()["train"]) == 1


def dead_link(path: Path) -> None:
    path.symlink_to(path.name)


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


NAMES = ["train.csv", "train.tsv", "train.jsonl", "train.json", "train.txt", "train.iob2", "eng.train", "train", "data.bin", "labels.txt", "a/1.png", "data.npz", "data.zip", "train.csv.gz", "train-images-idx3-ubyte"]  # fmt: skip


@pytest.mark.parametrize("kind", [*STRANGE, "a terabyte", "a terabyte of UTF-16"])
@pytest.mark.parametrize("name", NAMES)
def test_init_looks_at_no_such_file(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    (STRANGE | {"a terabyte": terabyte, "a terabyte of UTF-16": wide})[kind](file)
    for data in (tmp_path / "data", file):
        with pytest.raises(ValueError, match="data"):
            starter.look(data)


def wide(path: Path) -> None:
    """The mark of UTF-16, then zeros."""
    path.write_bytes(b"\xff\xfe")
    os.truncate(path, 1 << 40)


def test_names_of_tags_are_read_only_so_far(tmp_path: Path) -> None:
    rows = '{"tokens": ["a", "b"], "ner_tags": [0, 1]}\n' * 4
    (tmp_path / "train.jsonl").write_text(rows)
    terabyte(tmp_path / "labels.txt")
    with pytest.raises(ValueError, match=r"labels\.txt: more than 1,048,576 bytes"):
        starter.look(tmp_path)
    (tmp_path / "labels.txt").unlink()
    for content in (deep(3000), '{"O": 1}', "{"):
        (tmp_path / "labels.json").write_text(content)
        with pytest.raises(ValueError, match=r"labels\.json: no list of names"):
            starter.look(tmp_path)


# Tables.


@pytest.mark.parametrize(("source", "mark"), [("csv", ","), ("tsv", "\t")])
def test_a_row_of_millions_of_cells_is_a_bad_row(tmp_path: Path, source: str, mark: str) -> None:
    lines = [f"text{mark}label", f"a{mark}b", f"ab{mark}" * 1_000_001, f"c{mark}d"]
    (tmp_path / f"train.{source}").write_text("\n".join(lines) + "\n")
    bad: list[BadRow] = []
    rows = registry.create("sources", source, {"path": str(tmp_path)}).read(bad.append)
    assert [row["text"] for row in rows["train"]] == ["a", "c"]
    (row,) = bad
    assert row.place == f"{tmp_path}/train.{source}:3:1"
    assert "1,000,001 cells" in row.problem


SENTENCES = {
    "jsonl": '{"words": WORDS, "tags": TAGS}',
    "a list in quotes": '{"words": "WORDS", "tags": "TAGS"}',
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_sentence_of_a_million_words_is_a_bad_row(tmp_path: Path, kind: str) -> None:
    def row(count: int) -> str:
        words, tags = (json.dumps([word] * count) for word in ("York", "O"))
        line = SENTENCES[kind]
        if "quotes" in kind:
            words, tags = words.replace('"', "'"), tags.replace('"', "'")
        return line.replace("WORDS", words).replace("TAGS", tags) + "\n"

    (tmp_path / "train.jsonl").write_text(row(2) + row(150_000) + row(3))
    bad: list[BadRow] = []
    options = {"path": str(tmp_path), "words": "words", "tags": "tags"}
    rows = registry.create("sources", "jsonl", options).read(bad.append)
    assert [len(row["words"]) for row in rows["train"]] == [2, 3]
    assert bad[0].place == f"{tmp_path}/train.jsonl:2"
    assert "Break" in bad[0].problem


def test_a_file_without_blank_lines_is_no_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tags, conll):
        monkeypatch.setattr(module, "MOST_WORDS", 1000)
    (tmp_path / "train.txt").write_text("It O\n\n" + "York O\n" * 1100 + "\nrains O\n")
    bad: list[BadRow] = []
    rows = registry.create("sources", "conll", {"path": str(tmp_path)}).read(bad.append)
    assert [row["words"] for row in rows["train"]] == [["It"], ["rains"]]
    assert bad[0].place == f"{tmp_path}/train.txt:3"
    assert "with a blank line between them" in bad[0].problem
    assert len(bad[0].content["words"]) == 20


def test_a_line_of_a_million_columns_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("It O\n\n" + "York " * 1_000_000 + "O\n\nrains O\n")
    bad: list[BadRow] = []
    rows = registry.create("sources", "conll", {"path": str(tmp_path)}).read(bad.append)
    assert [row["words"] for row in rows["train"]] == [["It"], ["rains"]]
    assert "more than 1000 columns" in bad[0].problem


def test_a_line_of_plain_words_is_cut(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("It O\n")
    (tmp_path / "plain.txt").write_text("York " * 150_000 + ". It rains .\n")
    options = {"path": str(tmp_path), "unlabelled": str(tmp_path / "plain.txt")}
    rows = registry.create("sources", "conll", options).read()["unlabelled"]
    assert [len(row["words"]) for row in rows] == [100_000, 50_001, 3]


def test_a_sentence_from_python_of_a_million_words() -> None:
    source = registry.create("sources", "rows", {})
    row = {"words": ["York"] * 100_001, "tags": ["O"] * 100_001}
    with pytest.raises(BadRow, match=r"rows\['train'\]:1: a sentence of 100,001 words"):
        source.take({"train": [row]})


@pytest.mark.parametrize("content", ["[" + "[],\n" * 300 + "[]]", "[" + "[]," * 300 + "[]]"])
def test_a_document_of_millions_of_lists_is_not_held(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MOST_BYTES", 200 * jsonl.LIST_BYTES)
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"train\.json: (201|302) lists and objects or more in one"
    ):
        registry.create("sources", "jsonl", {"path": str(tmp_path)}).read()


def test_a_document_of_brackets_is_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MOST_OPEN", 50)
    (tmp_path / "train.json").write_text("[\n" * 5000)
    with pytest.raises(BadRow, match=r"train\.json:1:2: not JSON"):
        registry.create("sources", "jsonl", {"path": str(tmp_path)}).read()


def test_rows_that_are_all_bad_are_not_counted_to_the_end() -> None:
    counted = BadRows()
    rows = [BadRow(f"train.csv:{number}", "two columns") for number in range(200_000)]
    with pytest.raises(ValueError, match=r"(?s)first of 100,000 such rows.*Nothing was read after train\.csv:99999"):  # fmt: skip
        list(map(counted, rows))
    skipped = BadRows("skip")
    for row in rows:
        skipped(row)
    assert skipped.count == 200_000


@pytest.mark.parametrize("label", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", "Infinity"])
def test_a_label_that_no_float_holds_is_a_bad_row(tmp_path: Path, label: str) -> None:
    (tmp_path / "train.jsonl").write_text(f'{{"text": "a", "label": {label}}}\n')
    with pytest.raises(BadRow, match=r"train\.jsonl:1: label: ") as caught:
        registry.create("sources", "jsonl", {"path": str(tmp_path)}).read()
    assert len(caught.value.problem) < 400
    options = {"path": str(tmp_path), "label_columns": ["label", "more"]}
    (tmp_path / "train.jsonl").write_text(f'{{"text": "a", "label": {label}, "more": 1}}\n')
    with pytest.raises(BadRow, match=r"label: .* is no share"):
        registry.create("sources", "jsonl", options).read()


@pytest.mark.slow
def test_a_hundred_thousand_columns(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(100_000)]
    (tmp_path / "train.csv").write_text(",".join(names) + "\n" + "1," * 99_999 + "1\n")
    with pytest.raises(ValueError, match="no column for the text"):
        registry.create("sources", "csv", {"path": str(tmp_path)}).read()
    (tmp_path / "train.jsonl").write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    with pytest.raises(ValueError, match="no column `c7x`"):
        registry.create("sources", "jsonl", {"path": str(tmp_path), "text": "c7x"}).read()


def test_a_name_is_compared_with_the_first_of_many() -> None:
    assert suggest("c7x", (f"c{n}" for n in range(100_000))).startswith("Did you mean `c")


LINES = {
    "3,000 deep": '{"text": ' + deep(3000) + ', "label": "a"}',
    "900 deep": '{"text": ' + deep(900) + ', "label": "a"}',
    "900 deep in a label": '{"text": "a", "label": ' + deep(900) + "}",
    "a number of a million digits": '{"text": ' + "9" * 1_000_000 + ', "label": "a"}',
    "a lone surrogate": '{"text": "a \\ud800 b", "label": "a"}',
    "a lone surrogate in a label": '{"text": "a", "label": "\\udc80"}',
    "a lone surrogate in a list of words": '{"text": ["a", "\\udc80"], "label": "b"}',
}


@pytest.mark.parametrize("what", LINES)
def test_a_line_of_json_that_cannot_be_used_is_a_bad_row(tmp_path: Path, what: str) -> None:
    good = '{"text": "it rains", "label": "b"}\n'
    (tmp_path / "train.jsonl").write_text(good + LINES[what] + "\n" + good)
    bad: list[BadRow] = []
    rows = registry.create("sources", "jsonl", {"path": str(tmp_path)}).read(bad.append)
    assert [row["text"] for row in rows["train"]] == ["it rains", "it rains"]
    (row,) = bad
    assert row.place == f"{tmp_path}/train.jsonl:2"
    assert len(row.problem) <= 620
    # As the quarantine writes it.
    json.dumps(row.problem).encode()


def test_half_a_character_from_python_is_a_bad_row() -> None:
    source = registry.create("sources", "rows", {})
    good = {"text": "it rains", "label": "a"}
    for bad in (good | {"text": "a \ud800"}, good | {"label": "\udc80"}, {"words": ["\udc80"], "tags": ["O"]}):  # fmt: skip
        with pytest.raises(BadRow, match=r"rows\['train'\]:2: .* is half of a character"):
            source.take({"train": [good, bad]})


def test_whole_characters_of_two_escapes_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "\\ud83d\\ude00", "label": "\\u00e9"}\n')
    rows = registry.create("sources", "jsonl", {"path": str(tmp_path)}).read()
    assert rows["train"] == [{"text": "\U0001f600", "label": "\u00e9"}]


# Archives and images.


def npz(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train_images.npy", "train_labels.npy"):
            archive.writestr(name, array.getvalue() + content)
    return packed.getvalue()


def many() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}.npy", b"")
    return packed.getvalue()


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "2^40 announced": (lambda: npz((1 << 40,)), r"train_images.npy announces the shape \(1099511627776,\), and has 128 bytes"),
    "2^62 announced": (lambda: npz((1 << 31, 1 << 31)), "announces the shape"),
    "zeros": (lambda: npz((64 * MB,), bytes(64 * MB)), "its arrays take 134,217,984 bytes of"),
    "many members": (many, "2,000 arrays, and at most 1000 are read"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_says_more_than_it_holds(tmp_path: Path, what: str) -> None:
    make, told = ARCHIVES[what]
    (tmp_path / "data.npz").write_bytes(make())
    with pytest.raises(ValueError, match=rf"data\.npz: not a numpy archive.*{told}"):
        registry.create("sources", "npz", {"path": str(tmp_path / "data.npz")}).read()


def test_a_bomb_is_large_and_mostly_air() -> None:
    assert is_bomb(65 * MB, 65 * MB // 201)
    assert not is_bomb(65 * MB, 65 * MB // 199)  # a drawing
    assert not is_bomb(63 * MB, 1000)  # a mask that is black all over


def png(width: int, height: int, content: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")  # fmt: skip


def test_an_image_of_air_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """9,000 pixels a side, below the limit of Pillow."""
    content = png(9000, 9000, zlib.compress(bytes(1000)))
    (tmp_path / "a.png").write_bytes(content)
    for raw in (content, tmp_path / "a.png"):
        with pytest.raises(ValueError, match=r"more than 50 for each byte of the file"):
            decode(raw)


def test_init_asks_an_image_for_its_size_alone(tmp_path: Path) -> None:
    for number, content in enumerate((png(60_000, 60_000, b""), b"no image", b"")):
        file = tmp_path / f"{number}.png"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{number}\.png: "):
            size_of(file)
    (tmp_path / "3.png").write_bytes(png(30, 20, b""))
    assert size_of(tmp_path / "3.png") == (30, 20)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(ran) (w) file closefile\n"


@pytest.mark.parametrize(
    "content", [EPS, b"%PDF-1.4\n", b"8BPS\0\1" + bytes(30), b"\0\0\1\0\1\0" + bytes(40)]
)
def test_an_image_that_is_called_so_and_is_a_program_is_not_run(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow goes by a file's first bytes, and hands PostScript to Ghostscript."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("it ran"))
    (tmp_path / "a.png").write_bytes(content)
    for look in (decode, size_of):
        with pytest.raises(ValueError, match="it is of no known format"):
            look(tmp_path / "a.png")


def test_a_folder_called_as_an_image_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a" / "1.png").mkdir(parents=True)
    with pytest.raises(BadRow, match=r"1\.png: this is a folder"):
        registry.create("sources", "image_folder", {"path": str(tmp_path)}).read()


def test_a_gzip_of_air_is_refused(tmp_path: Path) -> None:
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 18, 32, 32)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(MB)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 0]))
    with pytest.raises(ValueError, match="200 times what is packed"):
        registry.create("sources", "idx", {"path": str(tmp_path)}).read()
