"""Files that are whole or not there: atomic writes, digests, JSON, csv."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

# What may stand in a file's place: a pipe waits for ever for somebody to write, and a device such
# as /dev/zero has no end.
STRANGE = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
DEAD_LINK = "a link that leads nowhere"
# Of a JSON file of ours: the labels of a vocabulary of 250,000 words take 4 MB.
MOST_JSON_BYTES = 64 << 20
# Of one file of text beside a model, such as a tokenizer: the largest vocabularies take 40 MB.
MOST_TEXT_BYTES = 256 << 20
# Names under which a shell hands over what is open already: `<(command)`, or `< FILE`.
HANDED_OVER = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


def kind_in_place(path: str | Path) -> str | None:
    """What stands in the place of a file: `a pipe`, also behind a link; None for a file, a folder,
    and for nothing at all."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError):  # a name with a NUL in it is a ValueError
        return DEAD_LINK if os.path.islink(path) else None
    return STRANGE.get(kind)


def require_file(path: str | Path) -> None:
    """Raise ValueError for a pipe, a socket or a device, also behind a link, and for a link that
    leads nowhere.

    A name behind which nothing stands passes: opening it says so.
    """
    kind = kind_in_place(path)
    if kind is None:
        return
    cure = "Write what it gives to a file, and name that"
    if kind == DEAD_LINK:
        cure = "Put the file there that it should lead to"
    raise ValueError(f"{path}: this is {kind}, and no file. {cure}")


def require_file_or_stream(path: str | Path) -> None:
    """As `require_file`, but for a stream that the shell has opened: it is read once, in order."""
    if not str(path).startswith(HANDED_OVER):
        require_file(path)


def paths_below(folder: Path) -> Iterator[Path]:
    """The files and folders below a folder, also behind links to other folders, each folder once.

    `Path.rglob` leaves what lies behind such links out on Python 3.11 and 3.12.
    """
    seen = set()
    # Python's own walk would follow a link to a folder above it for ever.
    for name, folders, files in os.walk(folder, followlinks=True):
        state = os.stat(name)
        identity = (state.st_dev, state.st_ino)
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        yield from (Path(name, each) for each in (*folders, *files))


def read_at_most(file: BinaryIO, most: int, place: str) -> bytes:
    """All bytes of an open file. Raises ValueError where there are more than `most`."""
    with naming(place):
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{place}: more than {most:,} bytes, and at most so many are read")
    return content


def digest(value: Any) -> str:
    """SHA-256 (hex) of plain data, written as canonical JSON.

    Raises ValueError for what JSON cannot say: NaN and infinity.
    """
    # One text for a value: keys sorted, no spaces, no escapes.
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes. Raises ValueError for what is no file."""
    require_file(path)
    with naming(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) of the names and bytes of every file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Names with slashes, so that a folder has one digest on every system.
    return digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, sees the old content or the new, never a part.

    Raises OSError that names the file.
    """
    # Two processes may write one file at a time: each has its own temporary.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path, instead=True):
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # the bytes must be on the disk before the name is
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def reserve(path: Path) -> None:
    """Claim the disk space of a sparse file now.

    A memory map that meets a full disk later kills the process. Raises OSError that names the file
    where there is no room.
    """
    size = path.stat().st_size
    with naming(path), open(path, "r+b") as file:
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(path.parent).free < size:
            # Elsewhere nothing claims space: whether there is room now is all one can know.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_json(path: Path, value: Any) -> None:
    """Plain data as indented JSON, atomically. Raises ValueError for NaN and infinity."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a csv file with a header, atomically; a column that a row lacks is empty there."""
    columns = dict.fromkeys(key for row in rows for key in row)
    # csv ends its lines by itself, as its standard (RFC 4180) has them.
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def folder_bytes(folder: Path) -> int:
    """What all files of a folder, and of those below it, take on disk."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_json(path: Path) -> Any:
    """The plain data of a JSON file. Raises ValueError for what is none, or is nested too deep."""
    require_file(path)
    with open(path, "rb") as file:
        content = read_at_most(file, MOST_JSON_BYTES, str(path))
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        # No ValueError of its own accord: a file could end a program with it that handles those.
        raise ValueError(f"{path}: brackets are nested too deep to be read") from error
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None


def sync(path: Path) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    if sys.platform == "win32":
        # Windows opens no folder, and syncs a file alone that is open for writing.
        if path.is_file():
            with open(path, "r+b") as file:
                os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: OSError) -> bool:
    """Whether a disk, or what a user may take of it or put into one file, was full."""
    # numpy gives no error number for it: "8 requested and 0 written". Where there is a number it
    # is right.
    if error.errno is None:
        return "requested and" in str(error)
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def disk_named(folder: Path) -> Iterator[None]:
    """Name `folder` where its disk is full in the `with` block, and the system names no file.

    Nothing else is named: what fails while it is read may lie on another disk.
    """
    try:
        yield
    except OSError as error:
        if error.filename or not is_disk_full(error):
            raise
        number = error.errno or errno.ENOSPC
        raise OSError(number, os.strerror(number), str(folder)) from error


@contextlib.contextmanager
def same_folder() -> Iterator[None]:
    """Come back to the current folder after the `with` block, whose code may be anybody's and leave
    it: what a recipe names by a relative path lies below it."""
    try:
        before = os.getcwd()
    except FileNotFoundError:  # it was removed
        yield
        return
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def naming(path: str | Path, *, instead: bool = False) -> Iterator[None]:
    """Name `path` in what the system refuses in the `with` block, where that names no file.

    Of a file that is open already the system does not say which one it is. `instead`: in place of
    another file's name too, as a temporary one's.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and not instead):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
