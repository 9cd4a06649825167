"""What readers of files share: which file holds which split, and the lines of a UTF-8 file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.core import wording
from limbeck.core.files import require_file
from limbeck.sources import BadRow

# The names, without suffix, that a split's file may have: what the data sets of the Hub, CoNLL
# (`valid`), GLUE (`dev`) and MedMNIST (`val`) call theirs.
SPLIT_NAMES = {
    "train": ["train"],
    "validation": ["valid", "validation", "val", "dev"],
    "test": ["test"],
    "unlabelled": ["unlabelled"],
}
SPLIT_OF_NAME = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def find_splits(
    path: str, suffix: str, given_names: Mapping[str, str | None]
) -> dict[str, list[Path]]:
    """The files that hold each split.

    `path`: a folder, or one file, which is all train. In a folder a split is one file
    (`train.csv`) or pieces (`train-*.csv`). `suffix`: with its dot. `given_names`: the split's
    file, where it has another name than the usual ones.

    Raises ValueError for a path or a given file that is not there, for a folder without train, and
    where two names could be one split.
    """
    folder = Path(path).expanduser()
    given = {split: folder / name for split, name in given_names.items() if name}
    if not folder.exists():
        raise ValueError(
            f"data.path: `{path}` is not here. It should hold train{suffix}, test{suffix}, "
            f"valid{suffix}, or be one file"
        )
    if folder.is_file():
        if given:
            raise ValueError(
                f"data.{next(iter(given))}: names a file of the folder data.path, but `{path}` is "
                "a file. Give the folder"
            )
        return {"train": [folder]}

    # 1. The files that a recipe's keys name.
    names_here = sorted(file.name for file in folder.iterdir() if file.suffix == suffix)
    for split, file in given.items():
        if not file.is_file():
            raise ValueError(
                f"data.{split}: {folder} holds no file `{file.name}`. "
                f"{wording.suggest(file.name, names_here)}"
            )
    files_of = {split: [file] for split, file in given.items()}

    # 2. Those of the usual names, for the other splits.
    for split in SPLIT_NAMES:
        # A file that a key gives to one split is no other's, whatever its name.
        files = [] if split in given else _usual_files(folder, split, suffix, set(given.values()))
        if files:
            files_of[split] = files
    if "train" not in files_of:
        raise ValueError(
            f"{folder}: no train{suffix} here. Rename a file, or name it with data.train. "
            f"Files here: {', '.join(names_here[:12]) or 'none'}"
        )
    return files_of


def _usual_files(folder: Path, split: str, suffix: str, taken: set[Path]) -> list[Path]:
    """The files of a split by its usual names. Raises ValueError where several could be meant."""
    candidates: dict[str, list[Path]] = {}
    for name in SPLIT_NAMES[split]:
        whole = folder / f"{name}{suffix}"
        if whole.is_file():
            candidates[name] = [whole]
        # `train-00000-of-00002.parquet`, as the Hub stores large splits.
        candidates[f"{name}-*"] = sorted(folder.glob(f"{name}-*{suffix}"))
    usable = {name: files for name, files in candidates.items() if files and not taken & set(files)}
    if len(usable) > 1:
        names = " and ".join(f"{name}{suffix}" for name in usable)
        raise ValueError(
            f"{folder}: both {names} could be the {split} split. Say which with data.{split}"
        )
    return next(iter(usable.values()), [])


# Of one line, 32 MiB: a book is a twentieth of it. A file without line ends, of a terabyte perhaps,
# would else be one line in memory.
MOST_LINE_BYTES = 32 << 20


@dataclass
class Lines:
    """The lines of a UTF-8 file, each with its line end; `number` is that of the last one read.

    A line that cannot be used (bytes that are not UTF-8, a NUL character) is passed on all the
    same, with U+FFFD for what cannot be decoded, and `check` then raises what is wrong with it. An
    iterator that raised would be at its end, and `csv.reader`, which pulls the lines itself, could
    not go on with the next one.
    """

    path: Path
    number: int = 0
    problem: BadRow | None = None

    def __iter__(self) -> Iterator[str]:
        # Bytes, so that a line that cannot be decoded does not end the file, and so that a line
        # ends at a line feed alone: text mode would end it at a lone carriage return too.
        require_file(self.path)
        with open(self.path, "rb") as file:
            while raw := file.readline(MOST_LINE_BYTES + 1):
                self.number += 1
                if len(raw) > MOST_LINE_BYTES:
                    raise ValueError(
                        f"{self.path}:{self.number}: a line of more than {MOST_LINE_BYTES:,} "
                        "bytes. A row is a line: put line ends between the rows"
                    )
                yield self._decoded(raw)

    def check(self) -> None:
        """Raise BadRow for the first bad line since the last call."""
        problem = self.problem
        self.problem = None
        if problem:
            raise problem

    def _decoded(self, raw: bytes) -> str:
        # Editors of Windows put a byte order mark before the first line.
        encoding = "utf-8-sig" if self.number == 1 else "utf-8"
        try:
            line = raw.decode(encoding)
        except UnicodeDecodeError as error:
            # A few bytes after the wrong one help to find the word in an editor.
            value = raw[error.start : error.start + 4]
            line = raw.decode("utf-8", "replace")
            self._keep(error.start, f"{value!r} is not UTF-8. Save the file as UTF-8", line)
            return line
        if "\0" in line:
            self._keep(line.index("\0"), "a NUL character. Remove it", line)
        return line

    def _keep(self, index: int, problem: str, line: str) -> None:
        """Keep what is wrong with this line, unless something was wrong before it."""
        place = f"{self.path}:{self.number}:{index + 1}"
        self.problem = self.problem or BadRow(place, problem, line)


def record(header: Sequence[str], cells: Sequence[str], cure: str) -> dict[str, str]:
    """Cells by column.

    Raises ValueError with the cure where there are more or fewer cells than columns.
    """
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} columns, but the header has {len(header)} ({', '.join(header)}). {cure}"
        )
    return dict(zip(header, cells, strict=True))


def checked_header(header: Sequence[str], path: Path) -> list[str]:
    """The names of the columns, without blanks around them.

    Raises ValueError where two are equal or all of them are empty.
    """
    names = [name.strip() for name in header]
    # A column of a row is found by its name, so a second one could not be reached.
    # Counted at once: a table may have a hundred thousand.
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(
                f"{path}:1: the column `{name}` is here {count} times. Rename all but one"
            )
    if not any(names):
        raise ValueError(
            f"{path}:1: no header here. The first line names the columns, or data.columns does"
        )
    return names
