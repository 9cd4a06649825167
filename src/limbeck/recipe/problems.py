"""What is wrong with a recipe: each problem with its place, cause, cure and, where that is certain,
the change that mends it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Fix:
    """One change of a recipe that is beyond doubt.

    `path`: of the key as it was written. `name`: what the key is to be called; None where it stays.
    `value`: what is to stand there; None where it stays.
    """

    path: tuple[str, ...]
    name: str | None = None
    value: str | int | float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "path": list(self.path),
            "name": self.name,
            "value": self.value,
        }


class Mistake(NamedTuple):
    """What a rule finds wrong at the key of a `path`: the cause, then the cure, as `message`.

    `is_unknown`: there is no such key, so that leaving it out changes nothing. `lacks`: the stage
    that is not there, with which it would be right.
    """

    path: Sequence[str]
    message: str
    fix: Fix | None = None
    is_unknown: bool = False
    lacks: str | None = None

    def below(self, stage: Sequence[str]) -> "Mistake":
        """The same, where the paths begin in a stage."""
        fix = self.fix and replace(self.fix, path=(*stage, *self.fix.path))
        return self._replace(path=[*stage, *self.path], fix=fix)


@dataclass(frozen=True)
class Problem:
    """A mistake with its place.

    `message`: the cause in a sentence, then the cure. `path`: of the key; `key`: the path as it is
    told, empty where the message tells of no key. `file`, `line`, `column`: of the recipe, counted
    from 1. `override`: of the command line, where that wrote the key. `is_placed`: the message
    itself begins with its place, such as a line of the data; the recipe's line then says where the
    problem comes among others.
    """

    message: str
    path: tuple[str, ...] = ()
    key: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    override: str | None = None
    fix: Fix | None = None
    is_placed: bool = False

    @property
    def place(self) -> str:
        """`file:line:column`, the override, or `recipe` where it was built in Python."""
        if self.override is not None:
            return f"override `{self.override}`"
        if self.file is None:
            return "recipe"
        marks = [str(mark) for mark in (self.line, self.column) if mark is not None]
        return ":".join([self.file, *marks])

    @cached_property
    def cause(self) -> str:
        """The first sentence of the message."""
        return self.message.partition(". ")[0].removesuffix(".")

    @property
    def cure(self) -> str:
        """What follows the first sentence; empty where the cause is the cure."""
        return self.message.partition(". ")[2]

    def __str__(self) -> str:
        if self.is_placed:
            return self.message
        return ": ".join(filter(None, [self.place, self.key, self.message]))

    def to_json(self) -> dict[str, Any]:
        """As plain data; places that are not known are null."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "override": self.override,
            "key": self.key or None,
            "cause": self.cause,
            "cure": self.cure or None,
            "fix": self.fix.to_json() if self.fix else None,
        }


class WrongRecipe(ValueError):
    """Everything that was found wrong, as `problems`, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = by_place(problems)
        super().__init__("\n".join(map(str, self.problems)))


class WrongStages(ValueError):
    """Mistakes of a rule on several keys: each by its own key, of which pydantic knows nothing.

    Their paths begin in the stage, or the recipe, whose rule it is.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistake.message for mistake in mistakes))


def by_place(problems: Iterable[Problem]) -> list[Problem]:
    """Problems from the first line to the last, then those of the command line; each once."""

    def place(problem: Problem) -> tuple[bool, int, int]:
        return (
            problem.override is not None,
            problem.line or 0,
            problem.column or 0,
        )

    # Two rules may say the same of one key.
    unlike = {str(problem): problem for problem in problems}
    return sorted(unlike.values(), key=place)


def key_of(content: Any, part: str) -> Any:
    """The key, or the number in a list, that a part of a path stands for; None where there is none.

    YAML reads names of digits as numbers.
    """
    if isinstance(content, list):
        return int(part) if part.isdecimal() and int(part) < len(content) else None
    if isinstance(content, Mapping):
        return next((key for key in content if str(key) == part), None)
    return None


def parent_of(content: Any, path: Sequence[str]) -> Any:
    """What the last key of a path stands in, within plain data; None where that is not there."""
    # The last part may be a key that is missing.
    for part in path[:-1]:
        key = key_of(content, part)
        if key is None:
            return None
        content = content[key]
    return content


def apply(fix: Fix, content: Any) -> bool:
    """Make a change in plain data, in place; whether there was anything to change."""
    # What stands around the key is what is changed.
    parent = parent_of(content, fix.path)
    key = key_of(parent, fix.path[-1])
    # A key that is there already would be lost.
    is_taken = fix.name is not None and key_of(parent, fix.name) is not None
    if key is None or is_taken:
        return False
    if fix.value is not None:
        parent[key] = fix.value
    if fix.name is not None:
        # In its old place: the order of losses is that in which they are told.
        entries = [(fix.name if each == key else each, value) for each, value in parent.items()]
        parent.clear()
        parent.update(entries)
    return True
