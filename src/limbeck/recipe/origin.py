"""Where each key of a recipe stands in its YAML text, so that a message can name the place."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import yaml

from limbeck.recipe.problems import Fix, Problem


@dataclass(frozen=True)
class Override:
    """`train.epochs=2` of a command line: the `text`, and the `path` of the key that it sets."""

    text: str

    @property
    def path(self) -> list[str]:
        """The names from the stage to the key."""
        return self.text.partition("=")[0].split(".")

    def wrote(self, path: Sequence[str], num_in_text: int) -> bool:
        """Whether a mistake at `path` is of this override.

        It is where the override set that key or one above it, and where it made a key of the path
        that the recipe's text lacks. `num_in_text`: so many keys of the path stand in the text.
        """
        num_shared = self.num_shared(path)
        return num_shared == len(self.path) or num_shared > num_in_text

    def num_shared(self, path: Sequence[str]) -> int:
        """How many keys it has in common with a path, from the stage on."""
        pairs = zip(self.path, path, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True)
class Origin:
    """The YAML nodes that a recipe was read from, and the overrides of a command line.

    Neither is there where it was built in Python. Any two are equal: where a recipe stood is no
    part of what it says.
    """

    root: yaml.Node | None = field(default=None, compare=False)
    overrides: Sequence[Override] = field(default=(), compare=False)

    def problem(self, path: Sequence[str], message: str, fix: Fix | None = None) -> Problem:
        """A mistake at the deepest key of `path` that stands in the text.

        A default stands nowhere: its parent's place is told. What an override wrote is told as
        'override `key.key=value`', and no change of the text mends it.
        """
        node = self.root
        # A recipe that was built in Python has no text, and thus no line.
        mark = node.start_mark if node else None
        num_in_text = 0
        for part in path:
            step = _child(node, part)
            if step is None:
                break
            mark, node = step
            num_in_text += 1
        # The nearest counts: two may write keys of one stage. Of two that wrote the key, the last.
        most = 0
        override = None
        for each in self.overrides:
            num_shared = each.num_shared(path)
            if each.wrote(path, num_in_text) and num_shared >= most:
                override, most = each.text, num_shared
        problem = Problem(
            message,
            tuple(path),
            ".".join(path) or "recipe",
            override=override,
            fix=fix,
        )
        return at(mark, problem)

    def locate(self, path: Sequence[str], message: str) -> str:
        """'file:line:column: key.key: message', as `problem` is told."""
        return str(self.problem(path, message))


def at(mark: yaml.Mark | None, problem: Problem) -> Problem:
    """The problem, at the place of a mark in YAML text."""
    if mark is None:
        return problem
    return replace(problem, file=mark.name, line=mark.line + 1, column=mark.column + 1)


def _child(node: yaml.Node | None, part: str) -> tuple[yaml.Mark, yaml.Node] | None:
    """(where it begins, the node) of a key of a mapping or of an item of a list."""
    if isinstance(node, yaml.SequenceNode) and part.isdecimal():
        # An override may have written a longer list than the text has.
        if int(part) >= len(node.value):
            return None
        item = node.value[int(part)]
        return item.start_mark, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return (
                    key.start_mark,
                    value,
                )  # the key's own place: its value may begin lines below
    return None
