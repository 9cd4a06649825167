"""What lies beside the files that are read: files and folders that are not, and test rows that were
published where others would be drawn in their place.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.names import without_notes
from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.sets.pairing import copying, ranked
from limbeck.cli.first_recipe.tables import is_readable
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name, files_in, is_hidden

SHOWN = 6
MOST_FILES = 2000  # below a folder that are looked at
# Words of folders and files of test that are no names of splits: the answers of a shared task.
GOLD = ("gold", "goldtest", "goldstandard")


def left_below(folder: Path, known: Collection[Path]) -> list[str]:
    """The files and folders below a folder that are not read, each by its path there; a folder of
    which nothing is read is one.

    `known`: what is read, with the folders that it lies in.
    """
    return [
        path.relative_to(folder).as_posix() + "/" * path.is_dir() for path in _left(folder, known)
    ]


def _left(folder: Path, known: Collection[Path]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or is_hidden(path.name):
            continue
        if path not in known:
            yield path
        else:
            yield from (file for file in files_in(path) if file not in known)
            yield from _left(path, known)


def told_tests(guess: Guess, data: Path, known: Collection[Path]) -> list[str]:
    """That files of test which can be read as train is lie elsewhere below `data`, where test rows
    are drawn; with the command that takes the one that goes with train by its name."""
    trains = guess.files.get("train", [])
    is_table = guess.source not in ("conll", "image_folder", "idx", "npz")
    if "test" in guess.files or "test" in guess.counts or len(trains) != 1 or not is_table:
        return []
    train = trains[0]
    files = without_notes(_paths_below(data))
    beside = [
        file
        for file in files
        if file not in known and file.suffix == train.suffix and _is_test(file.relative_to(data))
    ]
    found = [file for _, file in ranked(beside, train, _trains(files, train))]
    found = [file for file in found if is_readable(file, guess)]
    if not found:
        return []
    names = some([file.relative_to(data).as_posix() for file in found], SHOWN)
    return [
        f"test rows are drawn, though files of test lie beside ({names}): figures cannot be "
        "compared with those of others. To take the first, in that folder: "
        f"{copying(data, {'train': train, 'test': found[0]})}"
    ]


def _paths_below(data: Path) -> list[Path]:
    """Files below a folder that are not hidden, in the order of their names."""
    # A listing of millions takes minutes.
    paths = sorted(islice(data.rglob("*"), MOST_FILES))
    return [
        path
        for path in paths
        if path.is_file() and not is_hidden(path.relative_to(data).as_posix())
    ]


def _trains(files: Collection[Path], train: Path) -> list[Path]:
    """The files beside that of train which could be train, by their names."""
    return [
        file
        for file in files
        if file.parent == train.parent and split_of(Path(bare_name(file)).stem) == "train"
    ]


def _is_test(name: Path) -> bool:
    """Whether a path speaks of a test split, in the name of its file or of its folder."""
    stem = name.stem
    words = [stem, name.parent.name]
    is_gold = any(
        word in part.lower().replace("_", "-").split("-") for word in GOLD for part in words
    )
    return is_gold or any(split_of(word) == "test" for word in words)
