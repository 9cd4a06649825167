"""Where each key of a recipe stands in its YAML text, so that a message can name the place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from limbeck.core.yaml12 import place


@dataclass(frozen=True)
class Origin:
    """The YAML nodes that a recipe was read from; none where it was built in Python.

    Any two are equal: where a recipe stood is no part of what it says.
    """

    root: yaml.Node | None = field(default=None, compare=False)

    def locate(self, path: Sequence[str], message: str) -> str:
        """'file:line:column: key.key: message', at the deepest key of `path` in the text.

        Keys that an override added, or a default, stand nowhere: their parent's place is told.
        """
        node = self.root
        # A recipe that was built in Python has no text, and thus no line.
        told_place = place(node.start_mark) if node else "recipe"
        for part in path:
            step = _child(node, part)
            if step is None:
                break
            mark, node = step
            told_place = place(mark)
        return f"{told_place}: {'.'.join(path) or 'recipe'}: {message}"


def _child(node: yaml.Node | None, part: str) -> tuple[yaml.Mark, yaml.Node] | None:
    """(where it begins, the node) of a key of a mapping or of an item of a list."""
    if isinstance(node, yaml.SequenceNode) and part.isdecimal():
        item = node.value[int(part)]
        return item.start_mark, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark, value  # the key's own place: its value may begin lines below
    return None
