"""Texts in files of their own, in folders named by their class, as IMDb (Maas et al., 2011) and 20
Newsgroups (Lang, 1995) are published.

The folders of the classes lie in `train`, `valid` and `test`, or all in one place; a folder below a
class is a group, such as a speaker; texts of `unlabelled`, or of `train/unsup`, need no class
(`_image_layout`). A file is one text, whatever its line ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from limbeck.core.files import paths_below, require_file
from limbeck.sources import BadRow, OnBadRow, Row, fail
from limbeck.sources._cells.record import cell_text
from limbeck.sources._encodings import checked_codec
from limbeck.sources._files import encoding_cure, folder_with
from limbeck.sources._image_layout import placed, without_classes
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import is_hidden

# What files of one text are called; 20 Newsgroups has numbers alone, mails hash sums behind a dot.
SUFFIXES = ("", ".txt", ".text", ".eml")
SHORTEST_HASH = 8
MOST_BYTES = 32 << 20  # of one text: a book is a twentieth of it
MARK = "\ufeff"


@dataclass(frozen=True)
class TextFolder:
    """`path`: the folder. `encoding`: of the files, where they are not UTF-8."""

    path: str
    encoding: str | None = None

    def read(self, on_bad_row: OnBadRow = fail) -> dict[str, list[Row]]:
        """The texts of each split. Raises ValueError."""
        expected = "a folder for each class, with a file for each text (unpack an archive)"
        root = folder_with(expected, self.path)
        rows_of: dict[str, list[Row]] = {}
        texts = placed(names_in(root))
        unknown = without_classes(texts)
        if unknown:
            split = min(unknown)
            raise ValueError(
                f"{root}: the texts of {split} lie in no folder of a class. Move each into one, or "
                "all of them into a folder `unlabelled`"
            )
        for text in texts:
            # Lists and notes beside the classes are no texts.
            if text.label is None and text.split != "unlabelled":
                continue
            row: Row = {"label": text.label}
            try:
                row["text"] = cell_text(read_text(root / text.name, self.encoding), "text")
            except ValueError as error:
                on_bad_row(BadRow(str(root / text.name), str(error), {"file": text.name}))
                continue
            if text.group is not None:
                row["group"] = text.group
            rows_of.setdefault(text.split, []).append(row)
        if "train" not in rows_of:
            raise ValueError(
                f"{root}: no text of train here. Expected CLASS/NAME.txt or train/CLASS/NAME.txt"
            )
        return rows_of


def names_in(root: Path, most: int | None = None) -> list[str]:
    """The files below a folder that may be texts, sorted, of which at most so many are looked for;
    hidden ones are left out."""
    return sorted(islice(_names(root), most))


def _names(root: Path) -> Iterator[str]:
    for path in paths_below(root):
        name = path.relative_to(root).as_posix()
        if is_text_name(name) and not is_hidden(name) and path.is_file():
            yield name


def is_text_name(name: str) -> bool:
    """Whether a file's name is one of a text."""
    suffix = PurePosixPath(name).suffix.lower()
    is_hash = len(suffix) > SHORTEST_HASH and set(suffix[1:]) <= set("0123456789abcdef")
    return suffix in SUFFIXES or is_hash


def read_text(path: Path, encoding: str | None) -> str:
    """The text of a file. Raises ValueError for one that is too large, or in another encoding."""
    require_file(path)
    num_bytes = path.stat().st_size
    if num_bytes > MOST_BYTES:
        raise ValueError(f"{num_bytes:,} bytes, and at most {MOST_BYTES:,} are one text. Part it")
    try:
        text = path.read_bytes().decode(checked_codec("data.encoding", encoding or "utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"byte {error.start + 1}: {error.object[error.start : error.start + 1]!r} is not "
            f"{error.encoding}. {encoding_cure(error.object.splitlines())}"
        ) from None
    return text.removeprefix(MARK).replace("\r\n", "\n")


def of_classes(names: Sequence[str]) -> bool:
    """Whether files lie in the folders of two classes or more, a file for each text."""
    # `en/train.txt` beside `de/train.txt` are data sets, and no texts of two classes.
    if all(split_of(PurePosixPath(name).stem) for name in names):
        return False
    counts: dict[str, int] = {}
    for text in placed(names):
        if text.label is not None:
            counts[text.label] = counts.get(text.label, 0) + 1
    return len(counts) > 1 and all(count > 1 for count in counts.values())
