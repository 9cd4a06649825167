"""Files as they lie: in a folder or a zip archive, plain or compressed.

A file in an archive has a path below it (`data.zip/train.csv`), so that all who read files, and all
who name them, need know no archives.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from limbeck.core.files import kind_in_place, naming, require_file

PACKED = (".gz", ".zip")
BUFFER_BYTES = 1 << 16
# A compressed file may say a billion characters in a few bytes. What grows a thousandfold, beyond
# the size of a large set of texts, is no text.
MOST_GROWTH = 1000
HARMLESS_BYTES = 256 << 20


def bare_name(path: Path) -> str:
    """The name of a file without the suffix of its compression: `train.csv` of `train.csv.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".zip")


def is_archive(path: Path) -> bool:
    """Whether a path is a zip file, by its name."""
    return path.suffix.lower() == ".zip" and path.is_file()


def files_in(path: Path) -> list[Path]:
    """The files of a folder, or all members of a zip archive, by name; hidden ones are left out.

    Raises ValueError for a broken archive.
    """
    if not is_archive(path):
        shown = (file for file in path.iterdir() if not is_hidden(file.name))
        return sorted(file for file in shown if file.is_file())
    with _opened_archive(path) as archive:
        names = [member.filename for member in archive.infolist() if not member.is_dir()]
    return sorted(path / name for name in names if not is_hidden(name))


def strange_in(path: Path) -> dict[Path, str]:
    """What stands in a folder in the place of a file (`a pipe`), by its path; hidden ones are left
    out. In an archive nothing is strange."""
    if is_archive(path):
        return {}
    kinds = {file: kind_in_place(file) for file in path.iterdir() if not is_hidden(file.name)}
    return {file: kind for file, kind in sorted(kinds.items()) if kind}


def is_there(path: Path) -> bool:
    """Whether a path is a file, perhaps in an archive."""
    return path.is_file() or _archive_of(path) is not None


def open_bytes(path: Path) -> BinaryIO:
    """A file, unpacked, to be closed by who opened it. Raises ValueError for a broken archive."""
    archive = _archive_of(path)
    if archive is not None:
        return _member(archive, path.relative_to(archive).as_posix())
    if is_archive(path):
        members = files_in(path)
        if len(members) != 1:
            raise ValueError(f"{path}: an archive of {len(members)} files, and one was expected")
        return _member(path, members[0].relative_to(path).as_posix())
    require_file(path)
    file = io.BufferedReader(_Named(path), BUFFER_BYTES)
    if path.suffix.lower() != ".gz":
        return file
    stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
    unpacked = _Unpacked(stream, file.close, path.stat().st_size, path)
    return io.BufferedReader(unpacked, BUFFER_BYTES)


class _Named(io.RawIOBase):
    """The bytes of a file, which is named where the system fails to read on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115 - `close` closes it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises OSError that names the file."""
        with naming(self.path):
            return self.file.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The bytes of a compressed stream, as long as they are in proportion to the `packed_bytes`.

    `close_owner`: closes what the stream reads from.
    """

    def __init__(
        self, stream: IO[bytes], close_owner: Callable[[], None], packed_bytes: int, path: Path
    ) -> None:
        self.stream = stream
        self.close_owner = close_owner
        self.path = path
        self.left = max(packed_bytes * MOST_GROWTH, HARMLESS_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises ValueError for what cannot be unpacked."""
        try:
            content = self.stream.read(len(buffer))
        # RuntimeError is what zipfile raises for a member that needs a password.
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            refuse_failed_disk(error, self.path)
            raise ValueError(f"{self.path}: cannot be unpacked: {error}. Pack it again") from None
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(
                f"{self.path}: unpacked it is more than {MOST_GROWTH:,} times as large, a "
                "decompression bomb by all signs. Give it unpacked"
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
            self.close_owner()
        super().close()


def refuse_failed_disk(error: Exception, path: Path) -> None:
    """Raise what the system refused, with the file's name: packing it again mends nothing.

    An error of what the file holds has no number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        with naming(path):
            raise error


def _member(archive_path: Path, name: str) -> BinaryIO:
    archive = _opened_archive(archive_path)
    try:
        info = archive.getinfo(name)
        stream = archive.open(info)
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        archive.close()
        refuse_failed_disk(error, archive_path)
        raise ValueError(
            f"{archive_path}: `{name}` cannot be unpacked: {error}. Pack it again"
        ) from None
    # An archive in an archive is left alone, a member that is gzipped beside is not.
    source: IO[bytes] = stream
    if name.endswith(".gz"):
        source = cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    packed_bytes = max(info.compress_size, 1)
    unpacked = _Unpacked(source, archive.close, packed_bytes, archive_path / name)
    return io.BufferedReader(unpacked, BUFFER_BYTES)


def _opened_archive(path: Path) -> zipfile.ZipFile:
    """Raises ValueError for a broken archive."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        refuse_failed_disk(error, path)
        raise ValueError(
            f"{path}: not a zip archive that can be read: {error}. Pack it again"
        ) from None


def _archive_of(path: Path) -> Path | None:
    """The archive that a path lies in, where it has such a member; else None."""
    for parent in path.parents:
        if is_archive(parent):
            name = path.relative_to(parent).as_posix()
            with _opened_archive(parent) as archive:
                return parent if name in archive.NameToInfo else None
    return None


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, or is what macOS adds to an archive."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
