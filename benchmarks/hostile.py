"""Inputs that hang or eat a machine which trusts them: how each ends, in what time and memory.

    python benchmarks/hostile.py [--only WORD]

Each case is written to a temporary folder and given to a command in a process of its own. Prints a
line a case: the exit status, seconds of the processor and MB beyond those of the same verb on good input,
and what it said. The status is 1 where a case takes over 2 s or 300 MB more than that, leaves a
traceback, or ends with another status than the 2 of a mistake (0 for `predict`, which answers a bad
line with an error and goes on).
"""

import argparse
import gzip
import io
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SECONDS, MB = 2.0, 300.0  # what a case may take more than good input of the same verb
STOPPED_AFTER = 20.0  # seconds; a case that hangs is ended
MOST_MEMORY = 6 << 30  # of a process, so that a case that fails here does not take the machine down


@dataclass(frozen=True)
class Command:
    """`limbeck ARGUMENTS`, what it reads from standard input, and how it should end."""

    arguments: list[str]
    stdin: bytes = b""
    status: int = 2


@dataclass(frozen=True)
class Ending:
    """How a command ended. `status`: None where it had to be stopped."""

    status: int | None
    seconds: float  # of the processor: others may fill the machine
    mb: float
    said: str


Case = Callable[[Path], Command]

TEXTS = "text,label\n" + "".join(f"it rains {n},weather\ncall Ada {n},call\n" for n in range(12))


# Files that are none.


def zero(path: Path) -> None:
    """A link to a device without an end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/zero")


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """A socket in place of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 108 characters
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)


def sparse(path: Path) -> None:
    """A terabyte of zeros that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(1 << 40)


STRANGE = {"a link to /dev/zero": zero, "a pipe": fifo, "a socket": unix_socket, "a terabyte of zeros": sparse}  # fmt: skip


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def recipe(folder: Path, data: str, more: str = "", task: str = "text-classification") -> list[str]:
    """`check --data-only` of a recipe for data in the folder."""
    body = f"task: {task}\ndata: {{{data}}}\nstudent: {{model: small_cnn}}\n{more}"
    text(folder / "recipe.yaml", body)
    return ["check", "recipe.yaml", "--data-only"]


IMAGES = "image-classification"


def png(width: int, height: int, *, rows: int | None = None) -> bytes:
    """A grey PNG whose header says `width` x `height`, with the pixels of `rows` of them."""
    packed = zlib.compress(b"\0" * ((width + 1) * (height if rows is None else rows)), 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")  # fmt: skip


def pictures(folder: Path) -> None:
    for label in "ab":
        for number in range(10):
            text(folder / label / f"{number}.png", png(8, 8 + number))


def npz_header(shape: tuple[int, ...]) -> bytes:
    """An archive whose array announces `shape` and holds nothing."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|u1", "fortran_order": False, "shape": shape})  # fmt: skip
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("train_images.npy", "train_labels.npy"):
            archive.writestr(name, array.getvalue())
    return packed.getvalue()


def zip_bomb(member: str, size: int) -> bytes:
    """An archive of a few kilobytes whose one member unpacks to `size` zeros."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w", force_zip64=True) as file:  # fmt: skip
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return packed.getvalue()


def many_members(count: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.npy", b"")
    return packed.getvalue()


def deep(depth: int, begin: str = "[", end: str = "]") -> str:
    return begin * depth + end * depth


def of_source(source: str, name: str, put: Callable[[Path], object]) -> Case:
    """`check` of a source whose file `name` is put there by a function."""

    def case(folder: Path) -> Command:
        put(folder / "data" / name)
        return Command(recipe(folder, f"source: {source}, path: {path_of(source, name)}", task=task_of(source)))  # fmt: skip

    return case


def writer(make: Callable[[], str | bytes]) -> Callable[[Path], object]:
    """A function that writes what `make` makes to a path."""
    return lambda path: text(path, make())


def path_of(source: str, name: str) -> str:
    return f"data/{name}" if source == "npz" else "data"


def task_of(source: str) -> str:
    tasks = {"conll": "token-classification", "text": "masked-lm"}
    return tasks.get(source, IMAGES if source in ("npz", "idx", "image_folder") else "text-classification")  # fmt: skip


FILE_OF = {"csv": "train.csv", "tsv": "train.tsv", "jsonl": "train.jsonl", "parquet": "train.parquet", "conll": "train.txt", "text": "train.txt", "npz": "data.npz", "idx": "train-images-idx3-ubyte", "image_folder": "a/1.png"}  # fmt: skip

# What stands in a file, by the source that reads it.
CONTENTS: dict[str, tuple[str, Callable[[], str | bytes]]] = {
    "csv of 100,000 columns": ("csv", lambda: ",".join(f"c{n}" for n in range(100_000)) + "\n" + "1," * 99_999 + "1\n"),
    "csv of one line of 400 MB": ("csv", lambda: b"text,label\n" + b"a" * 400_000_000),
    "csv whose quote is never closed": ("csv", lambda: b'text,label\n"' + b"a b c d\n" * 20_000_000),
    "jsonl 3,000 deep": ("jsonl", lambda: '{"text": ' + deep(3000) + ', "label": "a"}\n'),
    "jsonl 900 deep": ("jsonl", lambda: '{"text": ' + deep(900) + ', "label": "a"}\n'),
    "jsonl of a number of a million digits": ("jsonl", lambda: '{"text": ' + "9" * 1_000_000 + ', "label": "a"}\n'),
    "jsonl of 100,000 keys": ("jsonl", lambda: json.dumps({f"k{n}": n for n in range(100_000)}) + "\n"),
    "a lone surrogate": ("jsonl", lambda: '{"text": "a \\ud800 b", "label": "a"}\n'),
    "a lone surrogate in a label": ("jsonl", lambda: '{"text": "a", "label": "\\udc80"}\n' + '{"text": "b", "label": "c"}\n' * 12),
    "a lone surrogate in a key": ("jsonl", lambda: '{"\\ud800": "b", "text": "a", "label": "c"}\n{"tex": 1}\n'),
    "npz of 2^40 announced": ("npz", lambda: npz_header((1 << 40,))),
    "npz of 2^62 announced": ("npz", lambda: npz_header((1 << 31, 1 << 31))),
    "npz that unpacks to 1 GB": ("npz", lambda: zip_bomb("train_images.npy", 1 << 30)),
    "npz of 100,000 members": ("npz", lambda: many_members(100_000)),
    "idx of 2^96 announced": ("idx", lambda: bytes([0, 0, 8, 3]) + b"\xff" * 12),
    "an image that announces 60,000 x 60,000": ("image_folder", lambda: png(60_000, 60_000, rows=0)),
    "an image of 13,000 x 13,000 zeros": ("image_folder", lambda: png(13_000, 13_000)),
}  # fmt: skip

# Numbers that no machine can follow, in an otherwise good recipe for digits.
NUMBERS = [
    "student.width=100000000", "student.depth=100000000", "train.epochs=1000000000000", "train.batch_rows=1e30",
    "train.seed=1e40", "train.threads=1e9", "train.views=1e12", "train.max_tokens=1e18", "verdict.seeds=1e12",
    "verdict.resamples=1e12", "verdict.latency_rows=1e15", "quantize.calibration_rows=1e15", "quantize.group=1e30",
    "distill.top_k=1e18", "data.unlabelled_rows=1e400", "train.learning_rate=1e300", "train.batch_tokens=" + "9" * 5000,
]  # fmt: skip

# YAML that is small and is not.
YAML = {
    "YAML 3,000 deep": f"task: {deep(3000)}\n",
    "YAML 3,000 blocks deep": "".join(f"{' ' * n}a:\n" for n in range(3000)),
    "YAML of a billion laughs": "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)) + "data: *a29\n",
    "YAML that holds itself": "task: &a [*a]\n",
    "YAML of 100,000 keys": "".join(f"k{n}: 1\n" for n in range(100_000)),
    "YAML of 10 MB": "task: " + "a" * 10_000_000,
    "YAML of a number of a million digits": "task: " + "9" * 1_000_000,
}  # fmt: skip


def sources() -> dict[str, Case]:
    """Each source with each strange file, then with each strange content."""
    found: dict[str, Case] = {}
    for source, name in FILE_OF.items():
        for kind, put in STRANGE.items():
            found[f"{source}: {name} is {kind}"] = of_source(source, name, put)
    for what, (source, make) in CONTENTS.items():
        found[f"{source}: {what}"] = of_source(source, FILE_OF[source], writer(make))
    found["image_folder: images.zip is a pipe"] = of_source("image_folder", "images.zip", fifo)
    found["image_folder: an image in images.zip unpacks to 1 GB"] = of_source("image_folder", "images.zip", lambda path: text(path, zip_bomb("a/1.png", 1 << 30)))  # fmt: skip
    found["idx: a .gz that unpacks to 1 GB"] = of_source("idx", "train-images-idx3-ubyte.gz", lambda path: text(path, gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 20, 32, 32) + bytes(1 << 20))))  # fmt: skip
    return found


def inits() -> dict[str, Case]:
    """`init` of each strange file."""
    found: dict[str, Case] = {}
    for source, name in FILE_OF.items():
        for kind, put in STRANGE.items():

            def case(folder: Path, name: str = name, put: Callable[[Path], None] = put) -> Command:
                put(folder / "data" / name)
                return Command(["init", "data", "--out", "new.yaml"])

            found[f"init: {name} ({source}) is {kind}"] = case
    return found


def recipes() -> dict[str, Case]:
    """Recipes that are no files, too deep, too long, or full of numbers."""
    found: dict[str, Case] = {}
    for kind, put in STRANGE.items():

        def strange(folder: Path, put: Callable[[Path], None] = put) -> Command:
            put(folder / "recipe.yaml")
            return Command(["check", "recipe.yaml", "--data-only"])

        found[f"the recipe is {kind}"] = strange
    for name, content in YAML.items():

        def written(folder: Path, content: str = content) -> Command:
            text(folder / "recipe.yaml", content)
            return Command(["check", "recipe.yaml", "--data-only"])

        found[name] = written
    digits = "task: image-classification\ndata: {source: sklearn, dataset: digits}\nteacher: {model: small_cnn}\nstudent: {model: small_cnn}\ndistill: {}\nquantize: {}\nverdict: {}\n"  # fmt: skip
    for override in NUMBERS:

        def number(folder: Path, override: str = override) -> Command:
            text(folder / "recipe.yaml", digits)
            return Command(["check", "recipe.yaml", override])

        found[f"a number: {override[:40]}"] = number
    return found


def predictions(artifact: Path) -> dict[str, Case]:
    """What `predict` and `bench` of a text artifact are given."""

    def streamed(stdin: bytes, status: int = 0) -> Case:
        return lambda folder: Command(["predict", str(artifact)], stdin, status)

    found = {
        "predict: standard input that is not UTF-8": streamed(b"it rains\n\xff\xfe\xfa\nit snows\n"),
        "predict: a lone surrogate": streamed(b'{"text": "a \\ud800 b"}\nit snows\n'),
        "predict: JSON 3,000 deep": streamed(b'{"text": ' + deep(3000).encode() + b"}\nit snows\n"),
        "predict: a text of 20 MB": streamed(b"it rains " * 2_200_000 + b"\nit snows\n"),
        "predict: a text of 20 MB without a space": streamed(b"a" * 20_000_000 + b"\nit snows\n"),
        "predict: a line of 100 MB": streamed(b"a" * 100_000_000 + b"\nit snows\n"),
        "predict: a NUL": streamed(b"it \0 rains\nit snows\n"),
    }  # fmt: skip
    for verb in ("predict", "bench"):
        for kind, put in STRANGE.items():

            def case(folder: Path, verb: str = verb, put: Callable[[Path], None] = put) -> Command:
                put(folder / "texts.txt")
                return Command([verb, str(artifact), "texts.txt"])

            found[f"{verb}: the file is {kind}"] = case
    return found


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def run(command: Command, folder: Path) -> Ending:
    """Run a command in the folder."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as said:
        stdin.write(command.stdin)
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "limbeck", *command.arguments],
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.DEVNULL if command.status else said,
            stderr=said,
            preexec_fn=limit,
        )
        status: int | None = None
        while time.perf_counter() - began < STOPPED_AFTER:
            ended, raw, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(raw)
                break
            time.sleep(0.02)
        else:
            process.kill()
            _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # it is waited for
        seconds = usage.ru_utime + usage.ru_stime
        said.seek(0)
        return Ending(status, seconds, usage.ru_maxrss / 1024, said.read(2_000_000).decode(errors="replace"))  # fmt: skip


def problem(ending: Ending, base: Ending, command: Command) -> str:
    """What is wrong with an ending; nothing where it is as it should be."""
    if ending.status is None:
        return "hangs"
    if "Traceback" in ending.said:
        return "a traceback"
    if ending.status != command.status:
        return f"status {ending.status}"
    if ending.seconds - base.seconds > SECONDS:
        return "too slow"
    return "too much memory" if ending.mb - base.mb > MB else ""


def bases(folder: Path, artifact: Path | None) -> dict[str, Ending]:
    """What each verb takes on good input."""
    text(folder / "data" / "train.csv", TEXTS)
    found = {"init": run(Command(["init", "data", "--out", "new.yaml"], status=0), folder)}
    found["--data-only"] = run(Command(recipe(folder, "source: csv, path: data"), status=0), folder)
    digits = "task: image-classification\ndata: {source: sklearn, dataset: digits}\nstudent: {model: small_cnn}\n"  # fmt: skip
    text(folder / "digits.yaml", digits)
    found["check"] = run(Command(["check", "digits.yaml", "export=[openvino]"]), folder)
    if artifact:
        found["predict"] = run(Command(["predict", str(artifact)], b"it rains\n", 0), folder)
        found["bench"] = found["predict"]
    return found


def main() -> int:
    """Run every case, or those whose name holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--artifact", type=Path, help="of a text classifier, for predict")
    asked = parser.parse_args()
    artifact = asked.artifact.absolute() if asked.artifact else None
    cases = sources() | inits() | recipes() | (predictions(artifact) if artifact else {})
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["LIMBECK_CACHE"] = f"{home}/cache"
        base = bases(Path(home), artifact)
        for verb, ending in base.items():
            print(f"{verb}: {ending.status} in {ending.seconds:.1f} s, {ending.mb:.0f} MB")
        print("| input | status | s more | MB more | what it said |\n|---|---|---|---|---|")
        for name, case in cases.items():
            if asked.only not in name:
                continue
            with tempfile.TemporaryDirectory(dir=home) as folder:
                command = case(Path(folder))
                ending = run(command, Path(folder))
            verb = "--data-only" if "--data-only" in command.arguments else command.arguments[0]
            wrong = problem(ending, base[verb], command)
            failed += bool(wrong)
            seconds, mb = ending.seconds - base[verb].seconds, ending.mb - base[verb].mb
            lines = ending.said.strip().splitlines() or [""]
            told = next((line for line in lines if line.startswith("limbeck:")), lines[-1])
            mark = f"**{wrong}** " if wrong else ""
            print(f"| {name} | {mark}{ending.status} | {max(seconds, 0):.1f} | {max(mb, 0):.0f} | {told[:150]} |", flush=True)  # fmt: skip
    print(f"{len(cases)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
