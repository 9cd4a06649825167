"""Folders below a folder that hold data, as a repository keeps them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.core.terminal.shell import command
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import files_in, is_hidden

SHOWN = 5
MOST_DEPTH = 2
MOST_FOLDERS = 200  # that are looked at, of each depth

LookAt = Callable[[Path], Guess | None]


@dataclass
class Below:
    """What the folders below a folder hold. `guesses`: of those that can be read. `refusals`: why
    not, of those that hold files of splits and cannot."""

    folder: Path
    guesses: dict[Path, Guess] = field(default_factory=dict)
    refusals: dict[Path, ValueError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.guesses or self.refusals)

    @property
    def told(self) -> str:
        """The folders, and the command that reads the first of them."""
        # Labels before plain texts, which any model can be trained on.
        found = sorted(self.guesses, key=lambda path: self.guesses[path].task == "masked-lm")
        found += self.refusals
        names = [f"{path.relative_to(self.folder).as_posix()}/" for path in found]
        return f"({some(names, SHOWN)}). Give one of them: {command('init', found[0])}"


def data_below(folder: Path, look_at: LookAt) -> Below:
    """What the folders just below a folder hold; where none holds anything, those below them."""
    below = Below(folder)
    for depth in range(1, MOST_DEPTH + 1):
        for path in islice(_folders(folder, depth), MOST_FOLDERS):
            try:
                guess = look_at(path)
                if guess:
                    below.guesses[path] = guess
            except ValueError as error:
                if _holds_splits(path):
                    below.refusals[path] = error
        if below:
            break
    return below


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    paths = sorted(folder.glob("/".join("*" * depth)))
    return (
        path for path in paths if path.is_dir() and not is_hidden(str(path.relative_to(folder)))
    )


def _holds_splits(folder: Path) -> bool:
    """Whether the names of a folder's files speak of several splits, or of train."""
    splits = {split_of(file.stem) for file in files_in(folder)} - {None}
    return "train" in splits or len(splits) > 1
