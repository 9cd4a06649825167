"""Images in folders named by their class, in a folder or a zip archive (`images.zip`).

The folders of the classes lie in `train`, `valid` and `test`, or all in one place; a folder below a
class is a group, such as a patient (`_image_layout`). Or a table `split.csv` says of each image
(`file`, its path below the folder) its `label` (where the column is left out: the name of its
folder), its `split` (left out: train) and its `group`. Images of `unlabelled` need no class. Every
image is decoded at once and held as uint8, in grey where most of train are grey; `_pixels` says
what becomes of 16 bits, transparency and the like.
"""

import contextlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from limbeck.core import wording
from limbeck.core.files import paths_below, require_file
from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._image_layout import placed, without_classes
from limbeck.sources._images import (
    SUFFIXES,
    ImageReader,
    common_mode,
    decode,
    file_of,
    listed,
    mode_note,
    mode_of,
    require_size,
)
from limbeck.sources._pixels import WHITE, colour_of
from limbeck.sources._split_files import SPLIT_OF_NAME, split_of
from limbeck.sources._unpacked import is_hidden
from limbeck.sources.csv import Csv

ARCHIVE = "images.zip"
TABLE = "split.csv"
# Of one image's file, 256 MiB: far above any photograph. A small archive can announce a member of
# any size, which is refused before it is unpacked.
MOST_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class _Entry:
    """An image that is to be read.

    `place`: where it is named, for messages. `name`: its path below the folder or archive.
    `label`: its class; None for `unlabelled`. `slices`: cells of columns by which it is judged.
    """

    place: str
    name: str
    split: str
    label: str | None
    group: str | None = None
    slices: dict[str, str] | None = None


OpenImage = Callable[[str], bytes]


@dataclass(frozen=True)
class ImageFolder:
    """`path`: the folder or archive. `size`: images are resized on reading to a square of that many
    pixels a side; left out, they stay as large as they are. `background`: the colour below
    transparent pixels, by a name or number of CSS. `slices`: columns of split.csv, such as a
    scanner, for each of whose values the report says what the student lost.
    """

    path: str
    size: int | None = None
    background: str = WHITE
    slices: list[str] | None = None
    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def reading(self) -> dict[str, Any]:
        """How a file becomes pixels, for the artifact, which does the same."""
        return {"size": self.size, "background": self.background}

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The images of each split. Raises ValueError."""
        base = Path(self.path).expanduser()
        if not base.exists():
            raise ValueError(
                f"data.path: `{self.path}` is not here. "
                f"It should hold folders of images named by their class, or {ARCHIVE}"
            )
        require_size(self.size)
        table = base / TABLE
        require_file(table)
        colour_of(self.background)
        decoded = ImageReader(self.size, self.background)
        rows_of: dict[str, list[Row]] = {}
        left_out: list[str] = []
        with opened(base) as (root, names, read_image):
            # The table has the last word: there the images may lie in any folders.
            if self.slices and not table.is_file():
                raise ValueError(
                    f"data.slices: columns of {table}, which is not here. Leave `slices` out"
                )
            if table.is_file():
                entries = from_table(table, names, on_bad_row, self.slices or ())
            else:
                entries = from_folders(root, names, on_bad_row, left_out)
            for entry in entries:
                try:
                    image = decoded(read_image(entry.name))
                except ValueError as error:
                    content = {"file": entry.name, "label": entry.label}
                    on_bad_row(BadRow(entry.place, str(error), content))
                    continue
                # Where it lies, by which parity reads it again as a user would send it.
                row: Row = {"image": image, "label": entry.label, "file": file_of(root, entry.name)}
                if entry.group is not None:
                    row["group"] = entry.group
                if entry.slices:
                    row["slices"] = entry.slices
                rows_of.setdefault(entry.split, []).append(row)
            self.notes[:] = left_out + decoded.notes() + self._in_one_mode(rows_of, read_image)
        if "train" not in rows_of:
            raise ValueError(
                f"{root}: no image of train here. "
                f"Expected CLASS/NAME.png or train/CLASS/NAME.png; files here: {listed(names)}"
            )
        return rows_of

    def _in_one_mode(
        self, rows_of: Mapping[str, Sequence[Row]], read_image: OpenImage
    ) -> list[str]:
        """Decode those images again that are not in the mode of most; gives a note of them."""
        mode = common_mode(rows_of)
        rows = [row for split_rows in rows_of.values() for row in split_rows]
        modes = Counter(mode_of(row["image"]) for row in rows)
        if mode is None:
            return []
        for row in rows:
            # From the file, because an artifact, too, changes the mode before it resizes.
            if mode_of(row["image"]) != mode:
                raw = read_image(row["file"][1])
                row["image"] = decode(raw, mode, self.size, self.background)
        return mode_note(modes, mode)


@contextlib.contextmanager
def opened(base: Path) -> Iterator[tuple[Path, list[str], OpenImage]]:
    """(the folder or archive, the names of the images below it, how one is read).

    Raises ValueError for a broken archive.
    """
    require_file(base)
    # Where both are there the archive is read, not what may have been unpacked of it.
    archive = base if base.is_file() else base / ARCHIVE
    require_file(archive)
    if not archive.is_file():
        paths = (path.relative_to(base).as_posix() for path in paths_below(base))
        yield base, _images(paths), lambda name: _file_bytes(base / name)
        return
    try:
        file = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{archive}: not a zip archive that can be read: {error}. Pack it again"
        ) from None
    # Open while the caller reads its members, closed when its `with` ends.
    with file:
        yield archive, _images(file.namelist()), lambda name: _member_bytes(file, name)


def from_table(
    table: Path, names: Sequence[str], on_bad_row: OnBadRow, slices: Sequence[str] = ()
) -> Iterator[_Entry]:
    """The images that the table lists. Raises ValueError where it has no column `file`, or none of
    the `slices`."""
    source = Csv(str(table))
    header = source.header(table)
    for column in ("file", *slices):
        if column not in header:
            raise ValueError(f"{table}:1: no column `{column}`. {wording.suggest(column, header)}")
    known = set(names)  # a table may list a million images
    for number, record in source.records(table, header, on_bad_row):
        place = f"{table}:{number}"
        problem = _problem(record, names, known)
        if problem:
            on_bad_row(BadRow(place, problem, record))
            continue
        name = record["file"]
        split = _split(record)
        label = None if split == "unlabelled" else _label(record)
        values = {column: record[column] for column in slices}
        # An empty cell names no group.
        group = (record.get("group") or "").strip() or None
        yield _Entry(f"{place}: {name}", name, str(split), label, group, values)


def _problem(record: Mapping[str, str], names: Sequence[str], known: set[str]) -> str | None:
    """What is wrong with a record of the table, and the cure; None where nothing is."""
    name = record["file"]
    if _split(record) is None:
        split = record["split"]
        return f"split: `{split}` is none. {wording.suggest(split, SPLIT_OF_NAME)}"
    if name not in known:
        return f"file: no image `{name}` here. {wording.suggest(name, names)}"
    if not _label(record) and _split(record) != "unlabelled":
        return "label: no label. Give it one, or the split `unlabelled`"
    return None


def _split(record: Mapping[str, str]) -> str | None:
    """The split of a record; None for a word that is none."""
    return split_of(record.get("split", "train"))


def _label(record: Mapping[str, str]) -> str:
    """The class of a record: its label, or the folder that the image lies in."""
    # An empty cell is no label; only where there is no column does the folder say it.
    return record.get("label", PurePosixPath(record["file"]).parent.name)


def from_folders(
    root: Path, names: Sequence[str], on_bad_row: OnBadRow, notes: list[str]
) -> Iterator[_Entry]:
    """Split and class by the folders that an image lies in; `notes`: gets what is left out."""
    images = placed(names)
    left_out = without_classes(images)
    for split, count in Counter(image.split for image in images).items():
        if split in left_out:
            notes.append(
                f"{count:,} images of {split} lie in no folder of a class, and are not read"
            )
    for image in images:
        place = f"{root}/{image.name}"
        if image.split in left_out:
            continue
        if image.split == "unlabelled":
            yield _Entry(place, image.name, image.split, None)
        elif image.label is None:
            problem = "lies in no folder of a class. Move it into one"
            on_bad_row(BadRow(place, problem, {"file": image.name}))
        else:
            yield _Entry(place, image.name, image.split, image.label, image.group)


def _images(names: Iterable[str]) -> list[str]:
    """The names of images, in order."""
    images = []
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES and not is_hidden(name):
            images.append(str(path))
    return sorted(images)


def _file_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises ValueError where it is larger than an image is."""
    require_file(path)
    if path.is_dir():
        raise ValueError("this is a folder, and an image is a file. Rename the folder")
    num_bytes = path.stat().st_size
    if num_bytes > MOST_FILE_BYTES:
        raise ValueError(
            f"{num_bytes:,} bytes, and at most {MOST_FILE_BYTES:,} are read. Make the image smaller"
        )
    return path.read_bytes()


def _member_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of an archive's member.

    Raises ValueError for one that is damaged, encrypted, or expands to more than an image takes.
    """
    try:
        num_bytes = archive.getinfo(name).file_size
        if num_bytes > MOST_FILE_BYTES:
            raise ValueError(
                f"{num_bytes:,} bytes unpacked, and at most {MOST_FILE_BYTES:,} are read. "
                "Make the image smaller"
            )
        return archive.read(name)
    # RuntimeError is what zipfile raises for a member that needs a password.
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be unpacked: {error}. Pack the archive again") from None
