"""Which file of a folder holds which split, by the names that people give them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.core import wording
from limbeck.core.files import require_file
from limbeck.sources._unpacked import PACKED, bare_name, files_in, is_archive, is_there

# The words for a split in names of files and folders and in columns: what the data sets of the Hub,
# CoNLL (`valid`, `testa`), GLUE (`dev`), BioNLP (`devel`), MedMNIST (`val`) and IMDb (`unsup`) say.
WORDS = {
    "train": ["train", "training", "trn", "trainset"],
    "validation": ["valid", "validation", "val", "dev", "devel", "development", "testa", "devset"],
    "test": ["test", "testing", "tst", "testb", "testset"],
    "unlabelled": ["unlabelled", "unlabeled", "unsup", "unsupervised"],
}
SPLIT_OF_NAME = {word: split for split, words in WORDS.items() for word in words}

PIECE = re.compile(r"(.*?)[-_.]?(\d+)(?:[-_.]?of[-_.]?\d+)?")


def split_of(name: str) -> str | None:
    """The split that a name speaks of (`train_10k`, `eng.testa`, `TestData`); None where it speaks
    of none, or of two.

    >>> split_of("eng.testa")
    'validation'
    """
    # A capital after a small letter begins a word too, and a digit is none.
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    splits = {SPLIT_OF_NAME[word] for word in words if word in SPLIT_OF_NAME}
    return splits.pop() if len(splits) == 1 else None


@dataclass(frozen=True)
class _Candidate:
    """A file that may hold a split; that of least `rank` does.

    `stem`: its name without suffix; of pieces of a usual name, that name and a dash.
    """

    file: Path
    stem: str
    split: str
    rank: tuple[int, int, bool]


def find_splits(
    path: str, suffixes: Sequence[str], given_names: Mapping[str, str | None]
) -> dict[str, list[Path]]:
    """The files that hold each split.

    `path`: a folder or a zip archive, or one file, which is all train. In a folder a split is one
    file (`train.csv`, `train.csv.gz`) or pieces (`train-*.csv`). `suffixes`: of the files that
    count, with their dots, the usual one first; where `.train` is among them, `eng.train` counts
    too. `given_names`: the split's file, where it has another name than the usual ones.

    Raises ValueError for a path or a given file that is not there, for a folder without train, and
    where two names could be one split.
    """
    folder = Path(path).expanduser()
    given = {split: folder / name for split, name in given_names.items() if name}
    suffix = suffixes[0]
    if not folder.exists() and not is_there(folder):
        raise ValueError(
            f"data.path: `{path}` is not here. It should hold train{suffix}, test{suffix}, "
            f"valid{suffix}, or be one file"
        )
    if not folder.is_dir() and not _holds_files(folder):
        if given:
            raise ValueError(
                f"data.{next(iter(given))}: names a file of the folder data.path, but `{path}` is "
                "a file. Give the folder"
            )
        return {"train": [folder]}

    _refuse_strange(folder, suffixes)
    # 1. The files that a recipe's keys name.
    files = files_in(folder)
    here = [file.name for file in files if _suffix_number(file, suffixes) is not None]
    for split, file in given.items():
        if not is_there(file):
            raise ValueError(
                f"data.{split}: {folder} holds no file `{file.name}`. "
                f"{wording.suggest(file.name, here)}"
            )
    files_of = {split: [file] for split, file in given.items()}

    # 2. Those of the usual names, for the other splits. A file that a key gives to one split is no
    # other's, whatever its name.
    candidates = _candidates([file for file in files if file not in given.values()], suffixes)
    for split in WORDS:
        if split not in given:
            chosen = _chosen([one for one in candidates if one.split == split], folder, split)
            if chosen:
                files_of[split] = chosen
    if "train" not in files_of:
        raise ValueError(
            f"{folder}: no train{suffix} here. Rename a file, or name it with data.train. "
            f"Files here: {', '.join(here[:12]) or 'none'}"
        )
    return files_of


def _refuse_strange(folder: Path, suffixes: Sequence[str]) -> None:
    """Raise ValueError for what is called as the file of a split and is none: it would be passed
    over, and another split be drawn in its place."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        number = _suffix_number(path, suffixes)
        is_split = number is not None and split_of(bare_name(path)) is not None
        if not is_split or path.name.startswith("."):
            continue
        require_file(path)
        # `train` and `eng.train` are usual names of folders too.
        suffix = suffixes[number or 0]
        if path.is_dir() and suffix and not split_of(suffix):
            raise ValueError(
                f"{path}: this is a folder, and no file. Name the folder with data.path, or give "
                "it another name"
            )


def _holds_files(path: Path) -> bool:
    """Whether a path is an archive of several files; one of a single file is that file."""
    return is_archive(path) and len(files_in(path)) > 1


def _suffix_number(file: Path, suffixes: Sequence[str]) -> int | None:
    """Which of the suffixes a file has; None where it has none of them."""
    name = bare_name(file).lower()
    for number, suffix in enumerate(suffixes):
        if name.endswith(suffix) and (suffix or "." not in name):
            return number
    return None


def _candidates(files: Sequence[Path], suffixes: Sequence[str]) -> list[_Candidate]:
    """The files that may hold a split, by their names."""
    candidates = []
    for file in files:
        number = _suffix_number(file, suffixes)
        if number is None:
            continue
        suffix = suffixes[number]
        stem = bare_name(file)
        # `eng.train` has its split for a suffix, which is to stay.
        if suffix and not split_of(suffix):
            stem = stem[: -len(suffix)]
        split = split_of(stem)
        if split is None:
            continue
        # `train.csv` comes before `train_10k.csv`. Pieces as the Hub names them, `train-*`, count
        # as the usual name too: who has both must say which.
        word, dash, _ = stem.lower().partition("-")
        is_usual = word in SPLIT_OF_NAME
        rank = (int(not is_usual), number, file.suffix.lower() in PACKED)
        candidates.append(_Candidate(file, f"{word}{dash}" if is_usual else stem, split, rank))
    return candidates


def _chosen(candidates: Sequence[_Candidate], folder: Path, split: str) -> list[Path]:
    """The files of a split. Raises ValueError where several could be meant."""
    if not candidates:
        return []
    first = min(one.rank for one in candidates)
    best = [one for one in candidates if one.rank == first]
    names = {one.stem for one in best}
    are_pieces = (len(names) == 1 and best[0].stem.endswith("-")) or _are_pieces(best)
    if len(best) > 1 and not are_pieces:
        raise ValueError(
            f"{folder}: both {best[0].file.name} and {best[-1].file.name} could be the {split} "
            f"split. Say which with data.{split}"
        )
    return [one.file for one in best]


def _are_pieces(candidates: Sequence[_Candidate]) -> bool:
    """Whether files are the numbered pieces of one: 0, 1, 2 or 1, 2, 3 at the end of one name."""
    matches = [PIECE.fullmatch(one.stem) for one in candidates]
    found = [match for match in matches if match]
    # Not all numbers: `train_10` and `train_100` are two sets.
    numbers = sorted(int(match[2]) for match in found)
    beginnings = {match[1] for match in found}
    first = numbers[0] if numbers else -1
    return (
        len(found) == len(candidates)
        and len(beginnings) == 1
        and first in (0, 1)
        and numbers == list(range(first, first + len(numbers)))
    )
