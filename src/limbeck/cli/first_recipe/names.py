"""Files beside data: notes, which are no data, and those that say what labels 0, 1, ... mean."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.core.files import read_at_most
from limbeck.core.wording import some
from limbeck.sources._cells.labels import parts_of
from limbeck.sources._cells.record import as_list
from limbeck.sources._unpacked import bare_name

SHOWN = 4
MOST_USED = 0.8  # of the names of a file: the first rows may lack a seldom class
MOST_NAMES_BYTES = 1 << 20
# Names of files that say what the labels 0, 1, ... mean: one a line, or a list in JSON.
NAME_FILES = (
    *("labels", "label_list", "tags", "classes", "label_names", "tag_names", "categories"),
    *("mapping", "label_mapping", "label_map", "class_names", "emotions", "intents", "id2label"),
    *("label", "class", "target_names"),
)
# What lies beside data, and what lies in the folder of a model.
NOTES = {
    *("readme", "license", "licence", "copying", "notice", "changelog", "changes", "contributing"),
    *("authors", "contributors", "citation", "requirements", "makefile", "dockerfile", "todo"),
    *("version", "manifest", "checksums", "md5sums", "sha256sums", "vocab", "merges", "tokenizer"),
    *("tokenizer_config", "special_tokens_map", "config", "package", "dataset_infos"),
}
SUFFIXES_OF_NOTES = (".md", ".rst", ".py", ".ipynb", ".html", ".pdf", ".toml", ".cfg", ".sh")
# As tests of shared tasks are published before their end.
WITHOUT_LABELS = re.compile(r"masked|unlabel|hidden|(no|without)[_-]?(label|gold|tag)")
# `0 anger`, `0: anger`, `0,anger`: the number before the name.
NUMBERED = re.compile(r"(\d+)\s*[\t:;,. ]\s*(\S.*)")


# How answers are handed in at a contest: each row has the same filler for a label.
SUBMISSION = re.compile(r"(sample|example|gender|random|dummy)[-_ ]?sub|(^|[-_ ])submission[-_. ]")


def without_notes(files: Sequence[Path]) -> list[Path]:
    """The files that may hold data, by their names."""
    kept = [file for file in files if not _is_note(file)]
    # `emotions.txt` names labels where another file holds data, and else holds them itself.
    with_data = [file for file in kept if not _is_of_names(file)] or kept
    return [file for file in with_data if not SUBMISSION.search(file.name.lower())] or with_data


def _is_note(path: Path) -> bool:
    name = bare_name(path).lower()
    return name.endswith(SUFFIXES_OF_NOTES) or Path(name).stem in NOTES


def _is_of_names(path: Path) -> bool:
    name = Path(bare_name(path).lower())
    return name.stem in NAME_FILES and name.suffix in ("", ".txt", ".names")


def is_without_labels(file: Path) -> bool:
    """Whether a file says by its name that its labels were taken away; a filler stands in their
    place, which reads as a label."""
    return WITHOUT_LABELS.search(file.name.lower()) is not None


def likest(files: Sequence[Path]) -> list[Path]:
    """Files that could be train, the best first: those that have labels, by their names, then the
    largest."""

    def order(file: Path) -> tuple[bool, int]:
        size = file.stat().st_size if file.is_file() else 0
        return is_without_labels(file), -size

    return sorted(files, key=order)


def add_names(guess: Guess, records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """What the numbers mean by which tags or labels are written, where a file beside them says so.
    Raises ValueError for numbers of tags without such a file: a span has a name."""
    if "tags" in guess.options:
        _name_tags(guess, records, folder)
    elif "label" in guess.options and guess.task != "text-regression":
        _name_labels(guess, records, folder)


def _name_tags(guess: Guess, records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    tags = guess.options["tags"]
    numbers = {str(tag) for record in records for tag in as_list(record.get(tags) or [], tags)}
    if not all(number.isdecimal() for number in numbers):
        return
    for file in _name_files(folder):
        guess.options["label_names"] = names_in(file)
        guess.reasons.append(f"{file.name} says what the numbers of `{tags}` mean")
        guess.files_beside.append(file)
        return
    raise ValueError(
        f"{guess.path}: the tags of `{tags}` are numbers, and nothing says what they mean. Write "
        f"their names to {folder / 'labels.txt'}, one a line"
    )


def _name_labels(guess: Guess, records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Take the names of a file that has as many as there are numbers of labels."""
    label, separator = guess.options["label"], guess.options.get("label_separator")
    parts: set[str] = set()
    for record in records:
        cell = str(record.get(label, "")).strip()
        parts.update(
            part.strip() for part in (map(str, parts_of(cell, separator)) if separator else [cell])
        )
    if not parts or not all(part.isdecimal() for part in parts):
        return
    numbers = {int(part) for part in parts}
    for file in _name_files(folder):
        try:
            names = names_in(file)
        # Labels do without: it may be an object for each (CLUE's TNEWS).
        except NoNames:
            continue
        first = _first_number(numbers, len(names))
        if first is not None:
            # Of labels from 1 on, as AG News has them, `0` is a name that no row has.
            guess.options["label_names"] = ["0"] * first + names
            told = f"{file.name} names the labels {first} to {first + len(names) - 1}"
            guess.reasons.append(f"{told}: {some(names, SHOWN)}")
            guess.files_beside.append(file)
            return


def _first_number(numbers: set[int], count: int) -> int | None:
    """The number of the first of `count` names, 0 or 1, by those that rows have; None where these
    are others, or so few that the names may be of something else."""
    first = 0 if 0 in numbers else 1
    wanted = set(range(first, first + count))
    # Of names from 1 on the last must be there: else the class 0 may only be seldom.
    is_sure = first == 0 or count in numbers
    return first if numbers <= wanted and is_sure and len(numbers) > MOST_USED * count else None


def _name_files(folder: Path) -> list[Path]:
    """The files of a folder that may hold names of labels, the likeliest first."""
    candidates = [folder / f"{name}{suffix}" for name in NAME_FILES for suffix in (".txt", ".json")]
    return [file for file in candidates if file.is_file()]


class NoNames(ValueError):
    """A JSON file that holds something else than names."""


def names_in(file: Path) -> list[str]:
    """The names that a file holds. Raises NoNames for something else, ValueError for too much."""
    with open(file, "rb") as opened:
        text = read_at_most(opened, MOST_NAMES_BYTES, str(file)).decode("utf-8-sig")
    if file.suffix == ".json":
        return _names_in_json(text, file)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    pairs = {int(match[1]): match[2] for match in numbered if match}
    if lines and len(pairs) == len(lines) and sorted(pairs) == list(range(len(lines))):
        return [pairs[number] for number in range(len(lines))]
    # All in one line, with spaces between.
    return lines if len(lines) > 1 else text.split()


def _names_in_json(text: str, file: Path) -> list[str]:
    """A list of names, or an object of names by number. Raises ValueError."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if isinstance(names, dict) and set(names) == {str(number) for number in range(len(names))}:
        names = [names[str(number)] for number in range(len(names))]
    if not isinstance(names, list):
        raise NoNames(f'{file}: no list of names. Write them as ["O", "B-TYPE", ...]')
    return [str(name) for name in names]
