"""A first recipe for a folder or file of data: what its format, its columns and its splits look like, with the reasons as comments. Torch-free.

Guesses are made from names and from the first rows only; `limbeck check` then reads every row.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from limbeck.core import machine, registry
from limbeck.core.wording import some
from limbeck.core.yaml12 import Yaml12Dumper
from limbeck.recipe.reading import read
from limbeck.sources._images import SUFFIXES
from limbeck.sources._table import LABEL, TEXT

ROWS = 200  # looked at
MOST_FILES = 20_000  # of a folder
TABLES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
TEXT_NAMES = (
    *(name for name in TEXT if name != "tokens"),
    "tweet",
    "message",
    "comment",
    "body",
    "query",
)
LABEL_NAMES = (*LABEL, "topic", "tag")
TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SEPARATOR = ";"
LARGE_IMAGE, IMAGE_SIZE = (
    96,
    64,
)  # pixels a side: larger images than the first are read as squares of the second
EXPECTED = (
    "Expected: a .csv, .tsv, .jsonl or .parquet file, or a folder with train, valid and test files of one of these; a folder with train.txt and "
    "test.txt in CoNLL columns; a folder of images in folders named by their class; train-images-idx3-ubyte files; or an .npz file with "
    "train_images and train_labels"
)

TAG = re.compile("O|[BI]-.+")

Record = Mapping[str, Any]


@dataclass
class Guess:
    """What data looks like; `reasons` are told and written as comments."""

    task: str
    source: str
    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def write(data: Path, out: Path, model: str | None) -> list[str]:
    """Write a recipe for `data` to `out`; lines that say what was guessed and what to do next. Raises ValueError."""
    if out.exists():
        raise ValueError(f"{out}: this file is here already. Remove it, or choose another --out")
    guess = look(data)
    if guess.source not in registry.names("sources"):
        raise ValueError(
            f"{data}: this looks like `{guess.source}`, which this version cannot read. It reads {', '.join(registry.names('sources'))}"
        )
    if guess.task not in registry.names("tasks"):
        raise ValueError(
            f"{data}: this is for {guess.task}, a task that this version lacks. It has {', '.join(registry.names('tasks'))}"
        )
    out.write_text(render(guess, model), encoding="utf-8")
    from limbeck.pipeline import compatibility  # imports torch

    compatibility.check_components(read(out))
    told = [
        f"{data}: {guess.task}, source {guess.source}",
        *(f"  {reason}" for reason in guess.reasons),
    ]
    return [*told, f"wrote {out}", "", "Next:", f"  limbeck check {out}", f"  limbeck run {out}"]


def look(data: Path) -> Guess:
    """What a file or folder holds. Raises ValueError where it is nothing that can be read."""
    if not data.exists():
        raise ValueError(f"{data}: no such file or folder. {EXPECTED}")
    guess = look_at_file(data) if data.is_file() else look_at_folder(data)
    if guess is None:
        names = sorted(path.name for path in data.iterdir())[:8] if data.is_dir() else [data.name]
        raise ValueError(
            f"{data}: nothing here that can be read ({', '.join(names) or 'an empty folder'}). {EXPECTED}"
        )
    return guess


def look_at_file(path: Path) -> Guess | None:
    """A table, an archive of arrays, or an archive of images."""
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return look_at_table(path, [path])
    if suffix == ".npz":
        return Guess(
            "image-classification",
            "npz",
            path,
            reasons=["an archive of arrays: train_images, train_labels"],
        )
    return (
        Guess("image-classification", "image_folder", path, reasons=["an archive of images"])
        if suffix == ".zip"
        else None
    )


def look_at_folder(folder: Path) -> Guess | None:
    """IDX, CoNLL columns, tables, images, or the one archive that is there."""
    here = sorted(path for path in folder.iterdir() if path.is_file())
    if any(path.name.startswith("train-images-idx3-ubyte") for path in here):
        return Guess(
            "image-classification", "idx", folder, reasons=["IDX files, as MNIST has them"]
        )
    if (folder / "train.txt").is_file():
        return look_at_conll(folder)
    images = [
        path for path in islice(folder.rglob("*"), MOST_FILES) if path.suffix.lower() in SUFFIXES
    ]
    if images or (folder / "images.zip").is_file():
        return look_at_images(folder, images)
    tables = [path for path in here if path.suffix.lower() in TABLES]
    if tables:
        suffixes = [path.suffix.lower() for path in tables]
        kind = max(dict.fromkeys(suffixes), key=suffixes.count)
        return look_at_table(folder, [path for path in tables if path.suffix.lower() == kind])
    archives = [path for path in here if path.suffix.lower() == ".npz"]
    return look_at_file(archives[0]) if len(archives) == 1 else None


def look_at_conll(folder: Path) -> Guess:
    """Words in columns. Raises ValueError for a train.txt whose lines do not end with a tag."""
    with open(folder / "train.txt", encoding="utf-8", errors="replace") as file:
        lines = [
            line.split()
            for line in islice(file, ROWS)
            if line.strip() and not line.startswith("-DOCSTART-")
        ]
    if not lines or not all(len(columns) > 1 and TAG.fullmatch(columns[-1]) for columns in lines):
        raise ValueError(
            f"{folder / 'train.txt'}: these lines are not words with tags (O, B-TYPE, I-TYPE) in columns. {EXPECTED}"
        )
    tags = ", ".join(sorted({columns[-1] for columns in lines})[:6])
    return Guess(
        "token-classification",
        "conll",
        folder,
        reasons=[f"one word a line, its tag in column {len(lines[0])} ({tags})"],
    )


def look_at_images(folder: Path, images: Sequence[Path]) -> Guess:
    """Images in folders named by their class; large ones are to be read smaller."""
    classes = sorted({path.parent.name for path in images})
    guess = Guess(
        "image-classification",
        "image_folder",
        folder,
        reasons=[f"{len(images):,} images in {len(classes)} folders ({some(classes, 5)})"],
    )
    if not images:
        guess.reasons = ["images.zip"]
    elif (side := max(image_size(images[0]))) > LARGE_IMAGE:
        guess.options["size"] = IMAGE_SIZE
        guess.reasons.append(
            f"the first image has {side} pixels a side: read as {IMAGE_SIZE} x {IMAGE_SIZE}, which is quick; raise data.size later"
        )
    return guess


def image_size(path: Path) -> tuple[int, int]:
    """Pixels across and down. Raises ValueError for what is no image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from None


def look_at_table(path: Path, files: Sequence[Path]) -> Guess:
    """Files with columns: which holds the text, which the label. Raises ValueError where no column can be either."""
    train = next((file for file in files if file.stem.lower().startswith("train")), None)
    chosen = train or max(files, key=lambda file: file.stat().st_size)
    guess = Guess("text-classification", TABLES[chosen.suffix.lower()], path)
    if path.is_dir() and train is None:
        guess.path = chosen
        guess.reasons.append(
            f"no train{chosen.suffix} here, so only the largest file is read: {chosen.name}"
        )
    read, options = READERS[guess.source](chosen)
    records = list(islice(read, ROWS))
    text, label = choose_columns(records, str(chosen))
    labels = sorted({str(record[label]) for record in records})
    if several(records, label):
        guess.task, options["label_separator"] = "multi-label-classification", SEPARATOR
        guess.reasons.append(f"a row of `{label}` holds several labels")
    elif are_scores(labels):
        guess.task = "text-regression"
        guess.reasons.append(
            f"the values of `{label}` are numbers with fractions: scores, not classes"
        )
    guess.options = {**options, "text": text, "label": label}
    second = text.replace("1", "2")  # sentence1 and sentence2, question1 and question2
    if second != text and second in records[0]:
        guess.options["text_b"] = second
    guess.reasons.append(
        f"columns {some(list(records[0]), 5)}: `{text}` is the text, `{label}` the label (first rows: {some(labels, 5)})"
    )
    if len(files) == 1 or train is None:
        guess.reasons.append("one file: validation and test rows are drawn from it")
    return guess


def several(records: Sequence[Record], label: str) -> bool:
    """Whether a row has several labels: a list, or words with a semicolon between them."""
    return any(
        isinstance(record[label], list) or SEPARATOR in str(record[label]) for record in records
    )


def are_scores(labels: Sequence[str]) -> bool:
    """Whether values are numbers, and not all of them whole."""
    try:
        return not all(float(label).is_integer() for label in labels)
    except ValueError:
        return False


def choose_columns(records: Sequence[Record], place: str) -> tuple[str, str]:
    """(text, label): by name, else the column of the longest strings, and that of the fewest values. Raises ValueError."""
    if not records:
        raise ValueError(f"{place}: no row here")
    columns = list(records[0])
    lower = {column.lower().strip(): column for column in columns}
    words = {
        column: sum(len(str(record.get(column, "")).split()) for record in records)
        for column in columns
    }
    text = next(
        (lower[name] for name in TEXT_NAMES if name in lower),
        max(columns, key=lambda column: words[column]),
    )
    values = {
        column: {str(record.get(column, "")) for record in records}
        for column in columns
        if column != text
    }
    few = [column for column in values if 2 <= len(values[column]) <= max(2, len(records) // 2)]
    label = next(
        (lower[name] for name in LABEL_NAMES if name in lower and lower[name] != text), None
    )
    label = label or min(few, key=lambda column: len(values[column]), default=None)
    if label is None:
        raise ValueError(
            f"{place}: none of the columns {', '.join(columns)} looks like a label (two values or more, each in several rows)"
        )
    return text, label


def read_csv(path: Path) -> tuple[Iterable[Record], dict[str, Any]]:
    """(records, options): the delimiter is found, and whether the first line names the columns."""
    lines = first_lines(path)
    delimiter = max(
        ",;\t|", key=lambda mark: min((line.count(mark) for line in lines[:20]), default=0)
    )
    records, options = with_header(
        list(csv.reader(io.StringIO("".join(lines)), delimiter=delimiter))
    )
    return records, ({} if delimiter == "," else {"delimiter": delimiter}) | options


def read_tsv(path: Path) -> tuple[Iterable[Record], dict[str, Any]]:
    """(records, options) of lines split at tabs, without quoting."""
    return with_header([line.rstrip("\r\n").split("\t") for line in first_lines(path)])


def with_header(cells: Sequence[Sequence[str]]) -> tuple[list[Record], dict[str, Any]]:
    """Records, and `columns` where the first line is a row like the others: it holds a sentence, a number, or nothing."""
    if not cells:
        return [], {}
    is_row = any(
        len(cell.split()) > 4
        or not cell.strip()
        or cell.strip().lstrip("-").replace(".", "", 1).isdigit()
        for cell in cells[0]
    )
    names = (
        [f"column_{index}" for index in range(1, len(cells[0]) + 1)] if is_row else list(cells[0])
    )
    rows = cells if is_row else cells[1:]
    return [dict(zip(names, row, strict=False)) for row in rows if len(row) == len(names)], {
        "columns": names
    } if is_row else {}


def read_jsonl(path: Path) -> tuple[Iterable[Record], dict[str, Any]]:
    """(records, options) of one object a line. Raises ValueError for a line that is none."""
    records = []
    for number, line in enumerate(first_lines(path), 1):
        if line.strip():
            try:
                records.append(json.loads(line.rstrip()))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}:{number}:{error.colno}: not JSON: {error.msg}. Write one object a line"
                ) from None
            if not isinstance(records[-1], dict):
                raise ValueError(
                    f"{path}:{number}: not an object. Write {{...}} with the columns as keys"
                )
    return records, {}


def read_parquet(path: Path) -> tuple[Iterable[Record], dict[str, Any]]:
    """(records, options) of the first rows. Raises ValueError where pyarrow is not installed or refuses the file."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            f"{path}: pyarrow, which reads parquet files, is not installed. pip install pyarrow"
        ) from None
    try:
        return next(parquet.ParquetFile(path).iter_batches(ROWS)).to_pylist(), {}
    except (pyarrow.ArrowException, OSError, StopIteration) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}") from None


READERS: dict[str, Callable[[Path], tuple[Iterable[Record], dict[str, Any]]]] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}


def first_lines(path: Path) -> list[str]:
    """At most ROWS lines, without a byte order mark. Raises ValueError for bytes that are not UTF-8."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return list(islice(file, ROWS))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: {error.object[error.start : error.end]!r} is not UTF-8. Save the file as UTF-8"
        ) from None


def render(guess: Guess, model: str | None) -> str:
    """The recipe's text, with comments."""
    data = {"source": guess.source, "path": str(guess.path), **guess.options}
    threads = machine.usable_cores()
    stages = (
        IMAGE_STAGES
        if guess.task == "image-classification"
        else TEXT_STAGES.replace("MODEL", flow(model or TEXT_MODEL))
    )
    stages = stages.replace("SOFT", SOFT.get(guess.task, "kl: {temperature: 2.0, weight: 2.0}"))
    comments = "".join(f"# {' '.join(reason.split())}\n" for reason in guess.reasons)
    return (
        HEAD.format(task=guess.task, comments=comments, data=flow(data))
        + stages.replace("THREADS", str(threads))
        + TAIL
    )


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    return (
        yaml.dump(
            value,
            Dumper=Yaml12Dumper,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=10**6,
        )
        .removesuffix("...\n")
        .strip()
    )


HEAD = """# Written by `limbeck init`. Every key: docs/guide.md. Try `limbeck check` on this file before `limbeck run`.
task: {task}

{comments}data: {data}

"""
TEXT_STAGES = """# The large model, tuned on the data first: a hub id or a folder; `epochs: 0` where it is already tuned.
teacher: {model: MODEL, epochs: 3}
# The small model: three of the teacher's layers.
student: {from: teacher, surgery: drop_layers, layers: 3}
train: {epochs: 6, learning_rate: 2.0e-4, batch_tokens: 1024, threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {SOFT}}
"""
SOFT = {
    "text-regression": "logit_mse: {}",
    "multi-label-classification": "bernoulli_kl: {temperature: 1.0}",
}
IMAGE_STAGES = """# The large model and the small one, both trained from random weights (`limbeck list networks`).
teacher: {model: small_cnn, width: 32, depth: 2, epochs: 12}
student: {model: small_cnn, width: 12, depth: 1}
train: {epochs: 25, learning_rate: 4.0e-3, batch_rows: 64, threads: THREADS, seed: 0}

# Learn from the teacher's answers as well as from the labels.
distill: {losses: {kl: {temperature: 4.0, weight: "linear(1.0, 0.5)"}}}
"""
TAIL = """# int8 weights and uint8 activations, from half of the training on.
quantize: {when: train, weights: int8, activations: uint8, range: lsq, error_weight: 1.0e-4, start: 0.5}

# Is it good enough? At most `max_drop` of the metric lost, at least `min_speedup` times as fast as the teacher.
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 1, max_drop: 0.03, min_speedup: 2}
export: [onnx]
"""
