"""The certain fixes of a recipe, written into its text: comments and layout stay as they are."""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import yaml

from limbeck.core.yaml12 import Yaml12Dumper, load_all
from limbeck.recipe.problems import Fix, Problem, apply


class Edit(NamedTuple):
    """`text` in place of the characters from `start` to before `end`."""

    start: int
    end: int
    text: str


def fixed(text: str, problems: Iterable[Problem]) -> str:
    """The text with every certain fix in it; the same text where there is none.

    What an override of the command line wrote is not in the text, and stays. So does what cannot
    be changed without a change of anything else, such as an alias. Raises ValueError for what is
    no YAML.
    """
    fixes = {problem.fix: None for problem in problems if problem.fix and not problem.override}
    # Values before names, so that a path finds its key; the deepest names first, for the same.
    for fix in sorted(fixes, key=lambda each: (each.name is not None, -len(each.path))):
        text = _with_fix(text, fix)
    return text


def _with_fix(text: str, fix: Fix) -> str:
    """The text with one fix; the same where it is not there, or would change anything else."""
    # Read anew: every fix moves what stands behind it.
    root, content, _ = load_all(text, "recipe")
    found = _entry(root, fix.path)
    wanted = copy.deepcopy(content)
    if found is None or not apply(fix, wanted):
        return text
    key, value = found
    edits = []
    if fix.value is not None and _is_plain(text, value):
        edits.append(_edit(text, value, fix.value))
    if fix.name is not None and key is not None and _is_plain(text, key):
        edits.append(_edit(text, key, fix.name))
    changed = text
    # From the end, so that the places before an edit stay.
    for edit in sorted(edits, reverse=True):
        changed = changed[: edit.start] + edit.text + changed[edit.end :]
    # What YAML reads is the proof: an alias or a tag may make another change of it.
    return changed if _content(changed) == wanted else text


def _entry(
    node: yaml.Node | None, path: tuple[str, ...]
) -> tuple[yaml.Node | None, yaml.Node] | None:
    """(the node of the key, None of an item; the node of the value) at a path; None where none."""
    key: yaml.Node | None = None
    for part in path:
        if isinstance(node, yaml.SequenceNode):
            if not part.isdecimal() or int(part) >= len(node.value):
                return None
            key, node = None, node.value[int(part)]
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [pair for pair in pairs if pair[0].value == part]
        if not found:
            return None
        # Of a key that is there twice the last one counts.
        key, node = found[-1]
    return None if node is None else (key, node)


def _is_plain(text: str, node: yaml.Node) -> bool:
    """Whether a node is a word or a number as it stands, without anchor, alias or tag."""
    is_scalar = isinstance(node, yaml.ScalarNode)
    return is_scalar and text[node.start_mark.index] not in "&*!|>"


def _edit(text: str, node: yaml.Node, value: str | int | float) -> Edit:
    """The edit that puts a value in the place of a node's, in the quotes that it has."""
    start, end = node.start_mark.index, node.end_mark.index
    quote = text[start] if text[start] in "'\"" else ""
    if isinstance(value, str) and quote:
        return Edit(start, end, f"{quote}{value}{quote}")
    # PyYAML ends a lone scalar by a line, or by the mark of a document's end.
    written = yaml.dump(value, Dumper=Yaml12Dumper, allow_unicode=True)
    return Edit(start, end, written.removesuffix("...\n").strip())


def _content(text: str) -> object:
    """What YAML reads of a text; None where it is none."""
    try:
        return load_all(text, "recipe")[1]
    except ValueError:
        return None
