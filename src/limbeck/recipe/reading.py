"""A recipe from a YAML file or text, with overrides, and back to YAML.

Each mistake is told by file, line, column and key, with the nearest valid name.
"""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from limbeck.core import registry
from limbeck.core.contract import require_argument
from limbeck.core.files import read_at_most, require_file_or_stream
from limbeck.core.yaml12 import Yaml12Dumper, load, load_all
from limbeck.recipe.components import NamedComponent
from limbeck.recipe.draft import Draft
from limbeck.recipe.model import Recipe
from limbeck.recipe.origin import Origin, Override
from limbeck.recipe.problems import Problem

# What begins a list, keys or a quoted text in an override, and what YAML takes for a comment.
OPENING = ("[", "{", '"', "'")
COMMENT = re.compile(r"(^|\s)#")

# What begins a list, keys or a quoted text in an override, and what YAML takes for a comment.
OPENING = ("[", "{", '"', "'")
COMMENT = re.compile(r"(^|\s)#")

MOST_BYTES = 1 << 20  # of a recipe's file

LINE_WIDTH = 120  # characters after which the writer of YAML breaks a line


def read(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in the file `path`, with overrides such as "train.epochs=2".

    Raises ValueError that says where in the file each mistake is and how to mend it.
    """
    require_argument("path", path, (str, Path), "the path of a recipe")
    return parse(text_of(path), origin=str(path), overrides=overrides)


def text_of(path: str | Path) -> str:
    """The text of a recipe's file. Raises ValueError where it cannot be read."""
    require_file_or_stream(path)
    try:
        with open(path, "rb") as file:
            return read_at_most(file, MOST_BYTES, str(path)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as a recipe: {_why_no_text(error)}") from None
    except OSError as error:
        raise ValueError(f"{path}: {_why_unreadable(Path(path), error)}") from None


def parse(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML text; `origin` is the name of the text in messages.

    Raises ValueError, with a line for each mistake (WrongRecipe) where the text is YAML.

    >>> text = "{task: masked-lm, data: {source: text, path: texts}, student: {model: small}}"
    >>> parse(text, overrides=["train.epochs=2"]).train.epochs
    2
    """
    found = draft(text, origin=origin, overrides=overrides)
    if found.problems:
        # The rows cannot be read with wrong keys of `data`, which hold up whoever mends the rest.
        found.ask_components(_create_source, ["data"])
        raise found.error
    return found.recipe


def _create_source(component: NamedComponent) -> None:
    """Make a source by its keys. Raises ValueError."""
    registry.create("sources", component.name, component.options)


def draft(text: str, *, origin: str = "recipe", overrides: list[str] | None = None) -> Draft:
    """As much of a recipe as is right, with the mistakes of its keys and stages.

    Raises ValueError for what is no YAML, or no recipe at all.
    """
    require_argument("text", text, (str,), "a recipe as YAML text")
    if overrides is not None:
        told = 'a list such as ["train.epochs=2"]'
        require_argument("overrides", overrides, (list, tuple), told)
    root, content, repeated = load_all(text, origin)
    if not isinstance(content, dict):
        raise ValueError(
            f"{origin}: a recipe is a mapping of stages (task, data, teacher, student, ...)"
        )
    problems = []
    for override in overrides or []:
        try:
            _override(content, override)
        except ValueError as error:
            told = str(error)
            problems.append(Problem(told, override=override, is_placed=True))
    place = Origin(root, tuple(map(Override, overrides or [])))
    return Draft(content, place, problems, repeated)


def _why_unreadable(path: Path, error: OSError) -> str:
    """Why the system gave no text, and the cure."""
    if str(path) == "-":
        return (
            "no file of this name, and a recipe is not read from standard input. Write it to a "
            "file, or name /dev/stdin where the system has that"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return (
            "no such recipe. `limbeck init DATA` writes one for data of yours; `limbeck list` "
            "shows what a recipe can name"
        )
    if path.is_dir():
        inside = sorted(path.glob("*.yaml"))
        example = inside[0] if inside else path / "recipe.yaml"
        return f"cannot be read as a recipe: it is a folder. Name a file, such as {example}"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot be read as a recipe: {reason}"


def _why_no_text(error: UnicodeDecodeError) -> str:
    """Where the bytes are no UTF-8, and the cure."""
    # Some editors of Windows save UTF-16, which begins with one of these two marks.
    if error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16. Save the file as UTF-8"
    line = error.object.count(b"\n", 0, error.start) + 1
    value = error.object[error.start : error.end]
    return f"line {line}: {value!r} is not UTF-8. Save the file as UTF-8"


def write(recipe: Recipe, *, portable: bool = False) -> str:
    """The recipe as YAML, every default written out; reading it gives the same recipe.

    `portable`: of an absolute path only the last part is kept, which tells nothing of this machine,
    and nothing of who watched the run.
    """
    content = recipe.dump()
    if portable:
        del content["report_to"]
        for stage in _stages_with_paths(content):
            _shorten_paths(stage)
    # In the order of the models, which is that of the work.
    return yaml.dump(
        content,
        Dumper=Yaml12Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=LINE_WIDTH,
    )


def _stages_with_paths(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("data", "augment", "teacher", "assistant", "student"):
        if content[name]:
            yield content[name]
    yield from content["teachers"]


def _shorten_paths(stage: dict[str, Any]) -> None:
    """Absolute paths, and those in a home folder, become their last part."""
    for key, value in stage.items():
        if isinstance(value, str):
            stage[key] = last_part(value)


def last_part(value: str) -> str:
    """The last part of an absolute path of any system; another word as it is."""
    if value.startswith(("/", "~")):
        return PurePosixPath(value).name
    # A path with a drive, or with a share of the network; a hub id is neither.
    windows_path = PureWindowsPath(value)
    return windows_path.name if windows_path.is_absolute() else value


def _override(content: dict[str, Any], override: str) -> None:
    """Apply one `train.epochs=2` to the parsed recipe. Raises ValueError."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ValueError(
            f"override `{override}`: write it as key.key=value, for example train.epochs=2"
        )
    *parents, last = key.split(".")
    # Stages that are not there yet are made; pydantic refuses those that do not exist.
    keys = content
    for parent in parents:
        child = keys.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"override `{override}`: `{parent}` holds no keys")
        keys = child
    keys[last] = value if _is_plain(value) else load(value, f"override `{override}`")[1]


def _is_plain(value: str) -> bool:
    """Whether a value on a command line is the text that it is, and no YAML.

    YAML it is for numbers, lists and quotes (2e-5, [onnx]). But there are no comments on a command
    line, so that `#` and `#1 String` are no nothing, and signs alone (`|`, `-`, a space) are what
    stands between labels; to YAML they are a block, a list and nothing. `~` is nothing to both.
    """
    if value.startswith(OPENING) and len(value) > 1:
        return False
    has_words = any(character.isalnum() for character in value)
    return bool(COMMENT.search(value)) or not (has_words or value in ("", "~"))
