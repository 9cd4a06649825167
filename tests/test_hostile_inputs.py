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

from limbeck.core import registry
from limbeck.core.files import read_json, require_file, require_file_or_stream
from limbeck.core.wording import suggest
from limbeck.recipe import reading
from limbeck.sources import BadRow
from limbeck.sources._files import Lines
from limbeck.sources._images import decode, is_bomb

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


# Tables.


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


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


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
        with pytest.raises(ValueError, match=r"200 times as many bytes as the file has"):
            decode(raw)


def test_a_gzip_of_air_is_refused(tmp_path: Path) -> None:
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 18, 32, 32)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(MB)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 0]))
    with pytest.raises(ValueError, match="200 times what is packed"):
        registry.create("sources", "idx", {"path": str(tmp_path)}).read()
