"""The inputs of `benchmarks/hostile.py`: files that are none, files that hold more than they say, and
what no recipe, row or model's folder should say. A case has a `kind` (the input) and a `place` (what
reads it); the guide's table has a row for each kind.
"""

import gzip
import io
import json
import os
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MB = 1 << 20
Put = Callable[[Path], object]
Content = Callable[[], str | bytes]


@dataclass(frozen=True)
class Command:
    """`limbeck ARGUMENTS`, what it reads from standard input, how it should end, and words that it
    must say or answer."""

    arguments: list[str]
    stdin: bytes = b""
    status: int = 2
    says: str = ""


@dataclass(frozen=True)
class Case:
    """`make` writes the input into a folder, in which the command is then run."""

    kind: str
    place: str
    make: Callable[[Path], Command]


# Data that nothing is wrong with.

ROWS = "".join(f"it rains {n},weather\ncall Ada {n},call\n" for n in range(12))
TEXTS = f"text,label\n{ROWS}"
WORDS = "".join(f"It O\nrains O\nin O\nYork{n} B-PLACE\n\n" for n in range(24))
IMAGES = "image-classification"
FILE_OF = {"csv": "train.csv", "tsv": "train.tsv", "jsonl": "train.jsonl", "parquet": "train.parquet", "conll": "train.txt", "text": "train.txt", "npz": "data.npz", "idx": "train-images-idx3-ubyte", "image_folder": "a/1.png"}  # fmt: skip
TASK_OF = {"conll": "token-classification", "text": "masked-lm", "npz": IMAGES, "idx": IMAGES, "image_folder": IMAGES}  # fmt: skip


def text(path: Path, content: str | bytes) -> Path:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def data_recipe(folder: Path, data: str, task: str = "text-classification") -> list[str]:
    """`check --data-only` of a recipe for data in the folder."""
    body = f"task: {task}\ndata: {{{data}}}\nstudent: {{model: small_cnn}}\n"
    text(folder / "recipe.yaml", body)
    return ["check", "recipe.yaml", "--data-only"]


def of_source(source: str, name: str, put: Put, path: str | None = None) -> Callable[[Path], Command]:  # fmt: skip
    """`check` of a source whose file `name` is put there by a function."""
    where = path or (f"data/{name}" if source == "npz" else "data")

    def make(folder: Path) -> Command:
        put(folder / "data" / name)
        task = TASK_OF.get(source, "text-classification")
        return Command(data_recipe(folder, f"source: {source}, path: {where}", task))

    return make


def of_init(name: str, put: Put) -> Callable[[Path], Command]:
    """`init` of a folder with one file."""

    def make(folder: Path) -> Command:
        put(folder / "data" / name)
        return Command(["init", "data", "--out", "new.yaml"])

    return make


def writer(make: Content) -> Put:
    """A function that writes what `make` makes to a path."""
    return lambda path: text(path, make())


# Files that are none.


def zero(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/zero")


def fifo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 108 characters
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)


def sparse(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def sparse_wide(path: Path) -> None:
    """The mark of UTF-16, then zeros."""
    text(path, b"\xff\xfe")
    os.truncate(path, 1 << 40)


def folder_there(path: Path) -> None:
    path.mkdir(parents=True)


def link_loop(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.name)


STRANGE: dict[str, Put] = {
    "a link to /dev/zero": zero,
    "a pipe that nobody writes to": fifo,
    "a socket": unix_socket,
    "a terabyte of zeros": sparse,
    "a folder in a file's place": folder_there,
    "a link to itself": link_loop,
}

# Those that a reader waits for, or reads without an end, are given to every reader; the others, which
# opening refuses, to one of each kind.
HANGS = ("a pipe that nobody writes to", "a terabyte of zeros")
FEW_SOURCES = ("csv", "npz", "image_folder")

# Compressed and announced sizes.


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(width: int, height: int, *, rows: int | None = None, more: bytes = b"") -> bytes:
    """A grey PNG whose header says `width` x `height`, with the pixels of `rows` of them."""
    packed = zlib.compress(b"\0" * ((width + 1) * (height if rows is None else rows)), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), more, chunk(b"IDAT", packed), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def text_bomb() -> bytes:
    """A small PNG beside a compressed comment of 256 MB."""
    return png(8, 8, more=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(256 * MB), 9)))


def tiff(width: int, height: int, count: int = 1) -> bytes:
    """A TIFF file without pixels, whose `count` strips are said to lie behind its end."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, count, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, count, 8)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def bmp(width: int, height: int) -> bytes:
    """A BMP file without pixels."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024) + head + bytes(1024)


def npz_header(shape: tuple[int, ...]) -> bytes:
    """An archive whose arrays announce `shape` and hold nothing."""
    array = io.BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(array, head)
    return zip_of({"train_images.npy": array.getvalue(), "train_labels.npy": array.getvalue()})


def npz_of_objects() -> bytes:
    """An archive of pickles, which run code when they are read."""
    file = io.BytesIO()
    objects = np.array([{"a": 1}, [2]], dtype=object)
    np.savez(file, train_images=objects, train_labels=objects)
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def zip_bomb(member: str, size: int) -> bytes:
    """An archive of a few kilobytes whose one member unpacks to `size` zeros."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w", force_zip64=True) as file:  # fmt: skip
        for _ in range(size // MB):
            file.write(bytes(MB))
    return packed.getvalue()


def gzip_bomb(size: int, begin: bytes = b"", fill: bytes = b"\0") -> bytes:
    return gzip.compress(begin + fill * (size // len(fill)), 9)


def many_members(count: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.npy", b"")
    return packed.getvalue()


def parquet_of(change: Callable[[bytes], bytes]) -> bytes:
    """A table of texts in Parquet whose bytes are changed."""
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    table = pyarrow.table({"text": ["it rains", "call Ada"] * 12, "label": ["a", "b"] * 12})
    parquet.write_table(table, file)
    return change(file.getvalue())


def with_footer(content: bytes, length: int) -> bytes:
    """A Parquet file that announces another length of its footer."""
    return content[:-8] + struct.pack("<I", length) + b"PAR1"


def rows_of_json(value: str) -> str:
    """JSON lines of which one holds `value` for a text or a label."""
    good = '{"text": "it rains", "label": "b"}\n{"text": "call", "label": "c"}\n' * 8
    return good + value + "\n"


def tagged(words: int) -> str:
    """A sentence of so many words, in a row of JSON."""
    good = '{"words": ["It", "rains"], "tags": ["O", "O"]}\n' * 24
    return good + json.dumps({"words": ["York"] * words, "tags": ["O"] * words}) + "\n"


# What stands in a file, by the source that reads it (with another name than the source's usual one).
CONTENTS: dict[str, tuple[str, str, Content]] = {
    "a csv of 100,000 columns": ("csv", "", lambda: ",".join(f"c{n}" for n in range(100_000)) + "\n" + "1," * 99_999 + "1\n"),
    "a csv with a row of ten million cells": ("csv", "", lambda: TEXTS + "ab," * 10_000_000 + "\n"),
    "a tsv with a row of ten million cells": ("tsv", "", lambda: TEXTS.replace(",", "\t") + "ab\t" * 10_000_000 + "\n"),
    "a csv of one line of 400 MB": ("csv", "", lambda: b"text,label\n" + b"a" * 400_000_000),
    "a csv whose quote is never closed": ("csv", "", lambda: b'text,label\n"' + b"a b c d\n" * 20_000_000),
    "JSON 3,000 deep": ("jsonl", "", lambda: rows_of_json('{"text": ' + deep(3000) + ', "label": "a"}')),
    "JSON 900 deep": ("jsonl", "", lambda: rows_of_json('{"text": ' + deep(900) + ', "label": "a"}')),
    "JSON of a number of a million digits": ("jsonl", "", lambda: rows_of_json('{"text": ' + "9" * 1_000_000 + ', "label": "a"}')),
    "JSON of a label of 400 digits": ("jsonl", "", lambda: rows_of_json('{"text": "a", "label": 1' + "0" * 400 + "}")),
    "JSON of a label 1e999": ("jsonl", "", lambda: rows_of_json('{"text": "a", "label": 1e999}')),
    "JSON of a label NaN": ("jsonl", "", lambda: rows_of_json('{"text": "a", "label": NaN}')),
    "JSON of 100,000 keys": ("jsonl", "", lambda: json.dumps({f"k{n}": n for n in range(100_000)}) + "\n"),
    "a JSON document of 5 million empty objects": ("jsonl", "", lambda: "[" + "{},\n" * 5_000_000 + "{}]"),
    "a JSON document of 5 million empty lists": ("jsonl", "", lambda: "[" + "[]," * 5_000_000 + "[]]"),
    "half a character in a text": ("jsonl", "", lambda: rows_of_json('{"text": "a \\ud800 b", "label": "a"}')),
    "half a character in a label": ("jsonl", "", lambda: rows_of_json('{"text": "a", "label": "\\udc80"}')),
    "half a character in a key": ("jsonl", "", lambda: '{"\\ud800": "b", "text": "a", "label": "c"}\n{"tex": 1}\n'),
    "a sentence of a million words": ("jsonl", "words", lambda: tagged(1_000_000)),
    "a sentence of a million lines": ("conll", "", lambda: WORDS + "York O\n" * 1_000_000),
    "a list of a million numbers in quotes": ("jsonl", "words", lambda: tagged(2) + json.dumps({"words": str(["York"] * 1_000_000), "tags": str(["O"] * 1_000_000)}) + "\n"),
    "npz of 2^40 announced": ("npz", "", lambda: npz_header((1 << 40,))),
    "npz of 2^62 announced": ("npz", "", lambda: npz_header((1 << 31, 1 << 31))),
    "npz that unpacks to 1 GB": ("npz", "", lambda: zip_bomb("train_images.npy", 1 << 30)),
    "npz of 100,000 members": ("npz", "", lambda: many_members(100_000)),
    "npz of pickled objects": ("npz", "", npz_of_objects),
    "idx of 2^96 announced": ("idx", "", lambda: bytes([0, 0, 8, 3]) + b"\xff" * 12),
    "a .gz of images that unpacks to 1 GB": ("idx", "train-images-idx3-ubyte.gz", lambda: gzip_bomb(1 << 30, bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 20, 32, 32))),
    "a .gz of texts that unpacks to 1 GB": ("csv", "train.csv.gz", lambda: gzip_bomb(1 << 30)),
    "a .gz of JSON that unpacks to 1 GB of brackets": ("jsonl", "train.json.gz", lambda: gzip_bomb(1 << 30, b"[\n", b"[\n")),
    "a .gz in a .zip that unpacks to 1 GB": ("csv", "data.zip", lambda: zip_of({"train.csv.gz": gzip_bomb(1 << 30)})),
    "a .zip in a .zip": ("csv", "data.zip", lambda: zip_of({"train.zip": zip_bomb("train.csv", 1 << 30), "more.zip": b""})),
    "a .zip that unpacks to 1 GB": ("csv", "data.zip", lambda: zip_bomb("train.csv", 1 << 30)),
    "an archive of images that unpack to 1 GB": ("image_folder", "images.zip", lambda: zip_bomb("a/1.png", 1 << 30)),
    "Parquet with a footer of 2 GB announced": ("parquet", "", lambda: parquet_of(lambda content: with_footer(content, (1 << 31) - 1))),
    "Parquet cut off in the middle": ("parquet", "", lambda: parquet_of(lambda content: content[:300] + content[-300:])),
    "PostScript called a .png": ("image_folder", "", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%BeginBinary: -40\n"),
    "PNG that announces 60,000 x 60,000": ("image_folder", "", lambda: png(60_000, 60_000, rows=0)),
    "PNG of 13,000 x 13,000 zeros": ("image_folder", "", lambda: png(13_000, 13_000)),
    "PNG with a comment that unpacks to 256 MB": ("image_folder", "", text_bomb),
    "TIFF that announces 2^31 x 2^31": ("image_folder", "a/1.tif", lambda: tiff((1 << 31) - 1, (1 << 31) - 1)),
    "TIFF that announces 2^28 strips": ("image_folder", "a/1.tif", lambda: tiff(64, 64, 1 << 28)),
    "BMP that announces 30,000 x 30,000": ("image_folder", "a/1.bmp", lambda: bmp(30_000, 30_000)),
}  # fmt: skip


def put_content(source: str, name: str, make: Content) -> Callable[[Path], Command]:
    """`check` of a content: in its source's usual file, or in one of another name."""
    if name == "words":

        def tags(folder: Path) -> Command:
            text(folder / "data" / "train.jsonl", make())
            return Command(data_recipe(folder, "source: jsonl, path: data", "token-classification"))

        return tags
    is_zip = name == "data.zip"
    return of_source(source, name or FILE_OF[source], writer(make), f"data/{name}" if is_zip else None)  # fmt: skip


def sources() -> Iterator[Case]:
    """Each source with each strange file, then with each content."""
    for kind, put in STRANGE.items():
        for source, name in FILE_OF.items():
            if kind not in HANGS and source not in FEW_SOURCES:
                continue
            yield Case(kind, f"check: {source}", of_source(source, name, put))
            yield Case(kind, f"init: {source}", of_init(name, put))
        yield Case(kind, "check: images.zip", of_source("image_folder", "images.zip", put))
        yield Case(kind, "init: data.zip", of_init("data.zip", put))
    for source in ("csv", "text"):
        kind = "a terabyte of zeros in UTF-16"
        yield Case(kind, f"check: {source}", of_source(source, FILE_OF[source], sparse_wide))
        yield Case(kind, f"init: {source}", of_init(FILE_OF[source], sparse_wide))
    for kind, (source, name, make) in CONTENTS.items():
        yield Case(kind, f"check: {source}", put_content(source, name, make))
        if not name or name in ("train.csv.gz", "train.json.gz", "data.zip", "words"):
            usual = FILE_OF[source] if name in ("", "words") else name
            if kind not in INIT_READS:
                yield Case(kind, f"init: {source}", of_init(usual, writer(make)))
    yield Case("a folder that holds itself", "check: image_folder", folder_loop)


# What `init`, which looks at the first rows, need not see.
INIT_READS = {
    kind
    for kind in CONTENTS
    if CONTENTS[kind][0] in ("jsonl", "conll", "idx", "npz", "image_folder") or "cells" in kind
}


def folder_loop(folder: Path) -> Command:
    """A folder of images with links to itself in it."""
    text(folder / "data" / "a" / "1.png", b"")
    (folder / "data" / "a" / "again").symlink_to(folder / "data")
    (folder / "data" / "b").symlink_to(folder / "data" / "a")
    return Command(data_recipe(folder, "source: image_folder, path: data", IMAGES))


# Names.


def names() -> Iterator[Case]:
    """Names that are not UTF-8, or hold what a terminal takes for commands."""
    strange = os.fsdecode(b"caf\xe9")

    def of_file(folder: Path) -> Command:
        text(folder / "data" / f"train {strange}.csv", "text,label\n")
        return Command(data_recipe(folder, "source: csv, path: data"))

    def of_init_file(folder: Path) -> Command:
        text(folder / "data" / f"train {strange}.csv", "x\n")
        return Command(["init", "data", "--out", "new.yaml"])

    def of_image(folder: Path) -> Command:
        for label in "ab":
            text(folder / "data" / label / f"{strange}.png", b"no image")
        return Command(data_recipe(folder, "source: image_folder, path: data", IMAGES))

    def of_recipe(folder: Path) -> Command:
        text(folder / f"{strange}.yaml", "task: x\n")
        return Command(["check", f"{strange}.yaml", "--data-only"])

    def of_argument(folder: Path) -> Command:
        return Command(["init", f"{strange}", "--out", "new.yaml"])

    kind = "a name that is not UTF-8"
    yield Case(kind, "check: csv", of_file)
    yield Case(kind, "init: csv", of_init_file)
    yield Case(kind, "check: image_folder", of_image)
    yield Case(kind, "the recipe", of_recipe)
    yield Case(kind, "init: its argument", of_argument)


# Recipes.

# Numbers that no machine can follow, in an otherwise good recipe for digits.
NUMBERS = [
    "student.width=100000000", "student.depth=100000000", "train.epochs=1000000000000", "train.batch_rows=1e30",
    "train.seed=1e40", "train.threads=1e9", "train.views=1e12", "train.max_tokens=1e18", "verdict.seeds=1e12",
    "verdict.latency_rows=1e15", "quantize.calibration_rows=1e15", "quantize.group=1e30",
    "distill.top_k=1e18", "data.unlabelled_rows=1e400", "train.learning_rate=1e300", "train.batch_tokens=" + "9" * 5000,
]  # fmt: skip
DIGITS = "task: image-classification\ndata: {source: sklearn, dataset: digits}\nteacher: {model: small_cnn}\nstudent: {model: small_cnn}\ndistill: {}\nquantize: {}\nverdict: {}\n"  # fmt: skip

# YAML that is small and is not.
YAML: dict[str, Callable[[], str]] = {
    "YAML 3,000 deep": lambda: f"task: {deep(3000)}\n",
    "YAML 3,000 blocks deep": lambda: "".join(f"{' ' * n}a:\n" for n in range(3000)),
    "YAML of a billion laughs": lambda: "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)) + "data: *a29\n",
    "YAML that holds itself": lambda: "task: &a [*a]\n",
    "YAML of 100,000 keys": lambda: "".join(f"k{n}: 1\n" for n in range(100_000)),
    "YAML of 10 MB": lambda: "task: " + "a" * 10_000_000,
    "YAML of a number of a million digits": lambda: "task: " + "9" * 1_000_000,
    "YAML that makes a Python object": lambda: "task: !!python/object/apply:os.system [id]\n",
}  # fmt: skip


def recipes() -> Iterator[Case]:
    """Recipes that are no files, too deep, too long, or full of numbers."""
    for kind, put in STRANGE.items():

        def strange(folder: Path, put: Put = put) -> Command:
            put(folder / "recipe.yaml")
            return Command(["check", "recipe.yaml", "--data-only"])

        yield Case(kind, "the recipe", strange)
    for kind, make in YAML.items():

        def written(folder: Path, make: Callable[[], str] = make) -> Command:
            text(folder / "recipe.yaml", make())
            return Command(["check", "recipe.yaml", "--data-only"])

        yield Case(kind, "the recipe", written)
    for override in NUMBERS:

        def number(folder: Path, override: str = override) -> Command:
            text(folder / "recipe.yaml", DIGITS)
            return Command(["check", "recipe.yaml", override])

        yield Case("a number that no machine can follow", override[:40], number)


# Models.

# What their config.json says in place of what it should.
CONFIGS: dict[str, Callable[[], dict[str, Any]]] = {
    "1e8 layers": lambda: {"num_hidden_layers": 10**8},
    "layers of a width of 1e8": lambda: {"hidden_size": 10**8},
    "inner layers of a width of 1e10": lambda: {"intermediate_size": 10**10},
    "1e10 positions": lambda: {"max_position_embeddings": 10**10},
    "a vocabulary of 1e12": lambda: {"vocab_size": 10**12},
    "1e8 types of tokens": lambda: {"type_vocab_size": 10**8},
    "a list of a million types of layers": lambda: {"model_type": "modernbert", "num_hidden_layers": 2, "layer_types": ["full_attention"] * 10**6},
    "1e8 layers in stages (depths)": lambda: {"model_type": "convnext", "depths": [10**8, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8]},
    "a million stages (depths, hidden_sizes)": lambda: {"model_type": "convnext", "num_stages": 10**6, "depths": [1] * 10**6, "hidden_sizes": [8] * 10**6},
    "stages of a width of 1e8 (hidden_sizes)": lambda: {"model_type": "resnet", "depths": [1, 1], "hidden_sizes": [10**8, 10**8]},
    "a million widths of blocks": lambda: {"model_type": "funnel", "block_sizes": [4] * 10**6},
    "a width of -1": lambda: {"hidden_size": -1},
    "a width that is a text": lambda: {"hidden_size": "wide"},
    "a width of a thousand digits": lambda: {"hidden_size": 10**1000},
    "labels that are a million": lambda: {"id2label": {str(n): f"l{n}" for n in range(10**6)}},
    "itself inside, 500 deep": lambda: {"text_config": json.loads('{"a":' * 500 + "1" + "}" * 500)},
    "a list in place of an object": lambda: {"": []},
}  # fmt: skip


def copied(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder / "model")
    return folder / "model"


def model_recipe(folder: Path, model: str = "model") -> Command:
    """`check` of a recipe for a few texts and the model."""
    text(folder / "train.csv", TEXTS)
    body = f"task: text-classification\ndata: {{source: csv, path: train.csv}}\nstudent: {{model: {model}}}\ntrain: {{threads: 1}}\n"  # fmt: skip
    text(folder / "recipe.yaml", body)
    return Command(["check", "recipe.yaml"])


def models(model: Path) -> Iterator[Case]:
    """Folders of a tiny model of which one file is not as it should be."""
    for what, make in CONFIGS.items():

        def config(folder: Path, make: Callable[[], dict[str, Any]] = make) -> Command:
            said = make()
            path = copied(model, folder) / "config.json"
            old = json.loads(path.read_text())
            if "model_type" in said:
                old = {"architectures": None}
            text(path, json.dumps([] if "" in said else old | said))
            if TASK_OF_TYPE.get(said.get("model_type", "")) == IMAGES:
                text(folder / "recipe.yaml", "task: image-classification\ndata: {source: sklearn, dataset: digits}\nstudent: {model: model}\n")  # fmt: skip
                return Command(["check", "recipe.yaml"])
            return model_recipe(folder)

        yield Case(f"config.json with {what}", "check", config)
    for kind, put in STRANGE.items():
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if kind not in HANGS and name != "config.json":
                continue

            def file(folder: Path, name: str = name, put: Put = put) -> Command:
                path = copied(model, folder) / name
                path.unlink()
                put(path)
                return model_recipe(folder)

            yield Case(kind, f"check: {name}", file)
    for what, change in MODEL_FILES.items():

        def changed(folder: Path, change: Callable[[Path], object] = change) -> Command:
            change(copied(model, folder))
            return model_recipe(folder)

        yield Case(what, "check", changed)


TASK_OF_TYPE = {"convnext": IMAGES, "resnet": IMAGES}


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """A function that edits a JSON file of a folder."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        text(folder / name, json.dumps(change(content)))

    return edit


def header(name: str, said: dict[str, Any]) -> Callable[[Path], object]:
    """A function that writes a safetensors file with a header and no values."""
    told = json.dumps(said).encode()
    return lambda folder: text(folder / name, struct.pack("<Q", len(told)) + told)


def pickled(folder: Path) -> None:
    """Weights that run a command when they are unpickled."""
    (folder / "model.safetensors").unlink()
    code = b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03."
    text(folder / "pytorch_model.bin", code)


MODEL_FILES: dict[str, Callable[[Path], object]] = {
    "weights whose header announces 2^60 bytes": lambda folder: text(folder / "model.safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
    "weights that announce a terabyte": header("model.safetensors", {"a": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}),
    "weights that are a pickle": pickled,
    "tokenizer.json 3,000 deep": lambda folder: text(folder / "tokenizer.json", deep(3000)),
    "tokenizer.json of another kind": edited("tokenizer.json", lambda content: content | {"model": {"type": "Nothing"}}),
    "tokenizer.json with ids of 2^32": edited("tokenizer.json", lambda content: content | {"model": content["model"] | {"vocab": {word: 2**32 - 1 - n for n, word in enumerate(content["model"]["vocab"])}}}),
    "tokenizer.json without its unknown word": edited("tokenizer.json", lambda content: content | {"model": content["model"] | {"unk_token": "nothing"}}),
    "tokenizer.json with other ids than the model has": edited("tokenizer.json", lambda content: content | {"model": content["model"] | {"vocab": {word: 1000 + n for n, word in enumerate(content["model"]["vocab"])}}}),
}  # fmt: skip


# Answers.


def predictions(artifact: Path) -> Iterator[Case]:
    """What `predict`, `evaluate` and `bench` of a text artifact are given; its stream goes on."""
    streams: dict[str, Callable[[], bytes]] = {
        "standard input that is not UTF-8": lambda: b"it rains\n\xff\xfe\xfa\nit snows\n",
        "half a character in a text": lambda: b'{"text": "a \\ud800 b"}\n{"text": "it snows"}\n',
        "JSON 3,000 deep": lambda: b'{"text": "it rains"}\n{"text": ' + deep(3000).encode() + b'}\n{"text": "it snows"}\n',
        "JSON of a number of a million digits": lambda: b'{"text": "it rains"}\n{"text": ' + b"9" * 1_000_000 + b'}\n{"text": "it snows"}\n',
        "a text of 20 MB": lambda: b"it rains " * 2_200_000 + b"\nit snows\n",
        "a text of 20 MB without a space": lambda: b"a" * 20_000_000 + b"\nit snows\n",
        "a line of 100 MB": lambda: b"a" * 100_000_000 + b"\nit snows\n",
        "a NUL in a text": lambda: b"it \0 rains\nit snows\n",
        "a million marks over one letter": lambda: b"a" + "\u0301".encode() * 1_000_000 + b"\nit snows\n",
    }  # fmt: skip
    for kind, lines in streams.items():

        def streamed(folder: Path, lines: Callable[[], bytes] = lines) -> Command:
            return Command(["predict", str(artifact)], lines(), 0, "it snows")

        yield Case(kind, "predict", streamed)
    for verb in ("predict", "evaluate", "bench"):
        for name in ("train.csv", "texts.txt", "train.jsonl", "train.parquet", "train.csv.gz"):
            for kind, put in STRANGE.items():
                is_few = kind not in HANGS or verb != "predict"
                if is_few and name != "train.csv":
                    continue

                def case(folder: Path, verb: str = verb, put: Put = put, name: str = name) -> Command:  # fmt: skip
                    put(folder / name)
                    return Command([verb, str(artifact), name])

                yield Case(kind, f"{verb}: {name}", case)
    for kind in ("a .gz of texts that unpacks to 1 GB", "a csv of 100,000 columns"):
        _, name, make = CONTENTS[kind]

        def content(folder: Path, make: Content = make, name: str = name) -> Command:
            text(folder / (name or "train.csv"), make())
            return Command(["predict", str(artifact), name or "train.csv"])

        yield Case(kind, "predict", content)


def artifacts(artifact: Path) -> Iterator[Case]:
    """An artifact of which one file is none."""
    for kind, put in STRANGE.items():
        for name in ("manifest.json", "model.onnx", "tokenizer.json", "recipe.yaml"):
            if kind not in HANGS and name != "manifest.json":
                continue

            def case(folder: Path, name: str = name, put: Put = put) -> Command:
                shutil.copytree(artifact, folder / "artifact")
                (folder / "artifact" / name).unlink()
                put(folder / "artifact" / name)
                return Command(["predict", "artifact"], b"it rains\n")

            yield Case(kind, f"predict: {name} of the artifact", case)


def all_cases(artifact: Path, model: Path) -> list[Case]:
    """Every case; `artifact`: of a text classifier, `model`: the folder of a tiny encoder."""
    groups = (sources(), names(), recipes(), models(model), predictions(artifact), artifacts(artifact))  # fmt: skip
    return [case for group in groups for case in group]
