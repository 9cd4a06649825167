"""What sources of files share: which file holds which split, and the lines of a UTF-8 file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.core import wording
from limbeck.sources import BadRow

STEMS = {
    "train": ["train"],
    "validation": ["valid", "validation", "val", "dev"],
    "test": ["test"],
    "unlabelled": ["unlabelled"],
}
SPLITS = {stem: split for split, stems in STEMS.items() for stem in stems}


def find_splits(path: str, suffix: str, named: Mapping[str, str | None]) -> dict[str, list[Path]]:
    """The files of each split below a folder, by name (`train.csv`, or the pieces `train-*.csv`), or as `named`; one file is all train.

    Raises ValueError for a path that is not there, a folder without train, and two names for one split.
    """
    base = Path(path).expanduser()
    given = {split: base / name for split, name in named.items() if name}
    if not base.exists():
        raise ValueError(
            f"data.path: `{path}` is not here. It should hold train{suffix}, test{suffix}, valid{suffix}, or be one file"
        )
    if base.is_file():
        if given:
            raise ValueError(
                f"data.{next(iter(given))}: names a file of the folder data.path, but `{path}` is a file. Give the folder"
            )
        return {"train": [base]}
    listed = sorted(file.name for file in base.iterdir() if file.suffix == suffix)
    found = {split: [file] for split, file in given.items()}
    for split in STEMS.keys() - found.keys():
        files = _by_name(base, split, suffix, set(given.values()))
        if files:
            found[split] = files
    for split, files in found.items():
        if not files[0].is_file():
            raise ValueError(
                f"data.{split}: {base} holds no file `{files[0].name}`. {wording.suggest(files[0].name, listed)}"
            )
    if "train" not in found:
        raise ValueError(
            f"{base}: no train{suffix} here. Rename a file, or name it with data.train. Files here: {', '.join(listed[:12]) or 'none'}"
        )
    return found


def _by_name(base: Path, split: str, suffix: str, taken: set[Path]) -> list[Path]:
    """The files that a split's names stand for."""
    whole = {
        stem: [base / f"{stem}{suffix}"]
        for stem in STEMS[split]
        if (base / f"{stem}{suffix}").is_file()
    }
    pieces = {f"{stem}-*": sorted(base.glob(f"{stem}-*{suffix}")) for stem in STEMS[split]}
    found = {
        name: files for name, files in (whole | pieces).items() if files and not taken & set(files)
    }
    if len(found) > 1:
        names = " and ".join(f"{name}{suffix}" for name in found)
        raise ValueError(
            f"{base}: both {names} could be the {split} split. Say which with data.{split}"
        )
    return next(iter(found.values()), [])


@dataclass
class Lines:
    """The lines of a UTF-8 file. A line with a byte that is none, or with a NUL, is passed on, and `check` raises what is wrong with it."""

    path: Path
    number: int = 0
    problem: BadRow | None = None

    def __iter__(self) -> Iterator[str]:
        with open(self.path, "rb") as file:
            for raw in file:
                self.number += 1
                yield self._decoded(raw)

    def check(self) -> None:
        """Raise BadRow for the first bad line since the last call."""
        if self.problem:
            problem, self.problem = self.problem, None
            raise problem

    def _decoded(self, raw: bytes) -> str:
        try:
            line = raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            value, text = raw[error.start : error.start + 4], raw.decode("utf-8", "replace")
            self._found(error.start, f"{value!r} is not UTF-8. Save the file as UTF-8", text)
            return text
        if "\0" in line:
            self._found(line.index("\0"), "a NUL character. Remove it", line)
        return line

    def _found(self, column: int, problem: str, line: str) -> None:
        self.problem = self.problem or BadRow(
            f"{self.path}:{self.number}:{column + 1}", problem, line
        )


def record(header: Sequence[str], cells: Sequence[str], cure: str) -> dict[str, str]:
    """Cells by column. Raises ValueError where there are more or fewer than columns."""
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} columns, but the header has {len(header)} ({', '.join(header)}). {cure}"
        )
    return dict(zip(header, cells, strict=True))


def checked_header(header: Sequence[str], path: Path) -> list[str]:
    """A header whose columns have names of their own. Raises ValueError."""
    names = [name.strip() for name in header]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{path}:1: the column `{name}` is here {names.count(name)} times. Rename all but one"
            )
    if not any(names):
        raise ValueError(
            f"{path}:1: no header here. The first line names the columns, or data.columns does"
        )
    return names
