"""What of a folder is evaluated: its test split, found as training finds it; else all of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.artifact.rows.records import FORMAT_OF_SUFFIX
from limbeck.core import registry
from limbeck.core.wording import some
from limbeck.sources import OnBadRow, Row
from limbeck.sources._class_files import class_file
from limbeck.sources._split_files import find_splits
from limbeck.sources.conll import SUFFIXES as WORD_SUFFIXES
from limbeck.sources.text_folder import names_in, of_classes

IN_TABLES = ("csv", "tsv", "jsonl", "parquet")
SHOWN = 5  # names of files
IDX_TRAIN = "train-images"


def test_files(folder: Path, recipe: Mapping[str, Any]) -> list[Path]:
    """The files of the test split of a folder of tables, or of words in columns; none where it has
    no such split."""
    name = recipe.get("source")
    if name not in (*IN_TABLES, "conll"):
        return []
    suffixes = WORD_SUFFIXES if name == "conll" else registry.load("sources", name).suffixes
    given = {split: recipe.get(split) for split in ("train", "validation", "test")}
    given = {split: name for split, name in given.items() if name and (folder / name).is_file()}
    try:
        return find_splits(str(folder), suffixes, given)["test"]
    # A folder of new files has no splits.
    except (ValueError, KeyError):
        return []


def rows_of_folder(
    path: Path, kind: str, recipe: Mapping[str, Any], on_bad_row: OnBadRow
) -> tuple[str, list[Row]] | None:
    """(what is read, its rows) of a folder or archive of texts or images in classes; None for
    another one. Raises ValueError."""
    name = _source_of(path, kind, recipe)
    if name is None:
        return None
    keys = {"encoding": recipe.get("encoding")} if kind == "text" else {}
    splits = registry.create("sources", name, {"path": str(path), **keys}).read(on_bad_row)
    if "test" in splits:
        others = [split for split in splits if split != "test"]
        left = f"; not {some(others)}" if others else ""
        return f"the test split of {path} is read{left}", splits["test"]
    return "", splits["train"]


def _source_of(path: Path, kind: str, recipe: Mapping[str, Any]) -> str | None:
    """The source that reads a folder or archive of classes; None where none does."""
    suffix = path.suffix.lower()
    if kind == "image" and (path.is_dir() or suffix in (".zip", ".npz")):
        is_idx = path.is_dir() and any(path.glob(f"{IDX_TRAIN}*"))
        return "npz" if suffix == ".npz" else "idx" if is_idx else "image_folder"
    if kind != "text" or not path.is_dir() or _has_tables(path):
        return None
    if recipe.get("source") == "class_files":
        return "class_files"
    return "text_folder" if of_classes(names_in(path)) else None


def _has_tables(folder: Path) -> bool:
    return any(file.suffix.lower() in FORMAT_OF_SUFFIX for file in folder.iterdir())


def class_of(file: Path, recipe: Mapping[str, Any]) -> str | None:
    """The class whose texts a file holds, one a line, by its name; None where it names none."""
    if recipe.get("source") != "class_files" or not file.is_file():
        return None
    found = class_file(file, ())
    return found.label if found else None
