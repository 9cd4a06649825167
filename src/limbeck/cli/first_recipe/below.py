"""Files that lie in a folder for each split: `train/am_train.tsv`, `dev/am_dev.tsv`."""

from functools import partial
from pathlib import Path

from limbeck.cli.first_recipe.names import likest, without_notes
from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.sets.pairing import chosen
from limbeck.cli.first_recipe.tables import (
    check_keys,
    files_read,
    is_readable,
    look_at_table,
    source_of,
)
from limbeck.cli.first_recipe.words import has_no_tags, layout_of, look_at_words
from limbeck.core import registry
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import files_in, is_hidden
from limbeck.sources.conll import SUFFIXES as WORD_SUFFIXES

SHOWN = 6
DRAWN = "one file: validation and test rows are drawn from it"


def look_at_split_folders(folder: Path) -> Guess | None:
    """What the folders of a folder hold, where each is one split; None for another folder.

    Of several files in the folder of train the largest is read, and for each other split the file
    that goes with it by its name. Raises ValueError for a table whose columns are none that can be
    read, and where the names do not say which file is a split.
    """
    files_of: dict[str, list[Path]] = {}
    for below in sorted(folder.iterdir()):
        split = split_of(below.name)
        if below.is_dir() and split and not is_hidden(below.name):
            files = [file for file in without_notes(files_in(below)) if _is_data(file)]
            files_of.setdefault(split, []).extend(files)
    if not files_of.get("train"):
        return None
    # 1. Train alone, as if it were all there is.
    trains = files_of["train"]
    train = likest(trains)[0]
    guess = _look_at_file(train)
    if guess is None:
        return None
    guess.path = folder
    guess.options["train"] = _below(train, folder)
    # 2. The other splits.
    splits = {"train": train}
    for split in ("validation", "test"):
        candidates = files_of.get(split, [])
        read = chosen(candidates, splits, split, trains, partial(_fits, train=train, guess=guess))
        if read:
            splits[split] = read
            guess.options[split] = _below(read, folder)
        elif candidates:
            names = some([_below(file, folder) for file in candidates], SHOWN)
            guess.reasons.append(f"no {split} split with labels such as train has: {names}")
    if len(splits) > 1:
        guess.reasons = [reason for reason in guess.reasons if reason != DRAWN]
    # 3. What all of them must have in common.
    if guess.source != "conll":
        check_keys(guess, splits)
    # Of several languages in one folder a user may mean another.
    others = [_below(file, folder) for file in files_of["train"] if file != train]
    if others:
        guess.reasons.append(
            f"of several files of train {_below(train, folder)} is read; for another ({others[0]}) "
            "change data.train, data.validation and data.test"
        )
    is_words = guess.source == "conll"
    suffixes = WORD_SUFFIXES if is_words else registry.load("sources", guess.source).suffixes
    guess.files = files_read(guess, suffixes)
    return guess


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _is_data(file: Path) -> bool:
    """Whether a file may be a table, or words in columns, by its name."""
    endings = tuple(suffix for suffix in WORD_SUFFIXES if suffix)
    return source_of(file) is not None or file.name.lower().endswith(endings)


def _look_at_file(train: Path) -> Guess | None:
    """Words in columns or a table; None for another file."""
    if source_of(train) in (None, "tsv") and layout_of(train):
        return look_at_words(train, [train])
    return look_at_table(train, [train]) if source_of(train) else None


def _fits(file: Path, train: Path, guess: Guess) -> bool:
    """Whether a file can be read as train is."""
    # One source reads one kind of file.
    if file.suffix != train.suffix:
        return False
    if guess.source == "conll":
        return not has_no_tags(file, guess.options)
    return is_readable(file, guess)
