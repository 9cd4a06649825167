"""Images in folders named by their class, in a folder or a zip archive (`images.zip`).

The classes lie in `train`, `valid` and `test`, or all in one place, or a table `split.csv` says of each `file` its `label` (left out: its folder's
name) and its `split` (left out: train). Images of `unlabelled` need no class. Every image is decoded at once and held as uint8, grey where the first
one is.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from limbeck.core import wording
from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._files import SPLITS
from limbeck.sources._images import SUFFIXES, decode, listed
from limbeck.sources.csv import Csv

ARCHIVE, TABLE = "images.zip", "split.csv"
MOST_FILE_BYTES = 256 << 20  # of one image's file

Entry = tuple[
    str, str, str, str | None
]  # where it is named, its name below the root, its split, its class
Open = Callable[[str], bytes]


@dataclass(frozen=True)
class ImageFolder:
    """`path`: the folder or archive. `size`: images are resized on reading to a square of that many pixels."""

    path: str
    size: int | None = None

    def read(self, bad: OnBadRow = fail) -> dict[str, list[Row]]:
        base = Path(self.path).expanduser()
        if not base.exists():
            raise ValueError(
                f"data.path: `{self.path}` is not here. It should hold folders of images named by their class, or {ARCHIVE}"
            )
        if self.size is not None and self.size < 1:
            raise ValueError(f"data.size: a number of pixels above 0, not {self.size}")
        mode: str | None = None
        found: dict[str, list[Row]] = {}
        with opened(base) as (root, names, open_file):
            entries = (
                from_table(base / TABLE, names, bad)
                if (base / TABLE).is_file()
                else from_folders(root, names, bad)
            )
            for place, name, split, label in entries:
                try:
                    image = decode(open_file(name), mode, self.size)
                except ValueError as error:
                    bad(BadRow(place, str(error), {"file": name, "label": label}))
                    continue
                mode = mode or ("L" if image.ndim == 2 else "RGB")
                found.setdefault(split, []).append({"image": image, "label": label})
        if "train" not in found:
            raise ValueError(
                f"{root}: no image of train here. Expected CLASS/NAME.png or train/CLASS/NAME.png; files here: {listed(names)}"
            )
        return found


@contextlib.contextmanager
def opened(base: Path) -> Iterator[tuple[Path, list[str], Open]]:
    """(root, names of the images below it, how one is read) of a folder or of its archive. Raises ValueError for a broken archive."""
    archive = base if base.is_file() else base / ARCHIVE
    if not archive.is_file():
        yield (
            base,
            _images(path.relative_to(base).as_posix() for path in base.rglob("*")),
            lambda name: _file_bytes(base / name),
        )
        return
    try:
        file = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{archive}: not a zip archive that can be read: {error}. Pack it again"
        ) from None
    with file:
        yield archive, _images(file.namelist()), lambda name: _member_bytes(file, name)


def from_table(table: Path, names: Sequence[str], bad: OnBadRow) -> Iterator[Entry]:
    """The images that the table lists. Raises ValueError where it has no column `file`."""
    source, known = Csv(str(table)), set(names)
    header = source.header(table)
    if "file" not in header:
        raise ValueError(f"{table}:1: no column `file`. {wording.suggest('file', header)}")
    for number, record in source.records(table, header, bad):
        name, split = record["file"], record.get("split", "train")
        label = record.get("label", PurePosixPath(name).parent.name)
        place = f"{table}:{number}"
        if split not in SPLITS:
            bad(
                BadRow(place, f"split: `{split}` is none. {wording.suggest(split, SPLITS)}", record)
            )
        elif name not in known:
            bad(
                BadRow(
                    place, f"file: no image `{name}` here. {wording.suggest(name, names)}", record
                )
            )
        elif not label and SPLITS[split] != "unlabelled":
            bad(BadRow(place, "label: no label. Give it one, or the split `unlabelled`", record))
        else:
            yield (
                f"{place}: {name}",
                name,
                SPLITS[split],
                label if SPLITS[split] != "unlabelled" else None,
            )


def from_folders(root: Path, names: Sequence[str], bad: OnBadRow) -> Iterator[Entry]:
    """Split and class by the folders that an image lies in."""
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        split = next((SPLITS[folder] for folder in folders if folder in SPLITS), "train")
        if split == "unlabelled":
            yield f"{root}/{name}", name, split, None
        elif not folders or folders[-1] in SPLITS:
            bad(
                BadRow(
                    f"{root}/{name}",
                    "lies in no folder of a class. Move it into one",
                    {"file": name},
                )
            )
        else:
            yield f"{root}/{name}", name, split, folders[-1]


def _images(names: Iterator[str] | list[str]) -> list[str]:
    """The names of images, in order; hidden files and what macOS adds to an archive are none."""
    paths = [PurePosixPath(name) for name in names]
    hidden = ("__MACOSX", ".")
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(hidden) for part in path.parts)
    )


def _file_bytes(path: Path) -> bytes:
    if path.stat().st_size > MOST_FILE_BYTES:
        raise ValueError(
            f"{path.stat().st_size:,} bytes, and at most {MOST_FILE_BYTES:,} are read. Make the image smaller"
        )
    return path.read_bytes()


def _member_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes. Raises ValueError for one that is damaged, encrypted, or expands to more than an image takes."""
    try:
        if archive.getinfo(name).file_size > MOST_FILE_BYTES:
            raise ValueError(
                f"{archive.getinfo(name).file_size:,} bytes unpacked, and at most {MOST_FILE_BYTES:,} are read. Make the image smaller"
            )
        return archive.read(name)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be unpacked: {error}. Pack the archive again") from None
