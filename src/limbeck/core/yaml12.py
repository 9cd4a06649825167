"""YAML 1.2's core schema (yaml.org/spec/1.2.2, section 10.3), read and written: `2e-5` is a number, `010` is ten, `no`, `on`, `1:30` and `2024-01-02`
are words. PyYAML alone follows YAML 1.1. A mapping that holds a key twice is refused.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from limbeck.core.schedules import NUMBER


class Yaml12(yaml.SafeLoader):
    """SafeLoader of YAML 1.2's core schema; a mapping holds a key once."""


class Yaml12Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a word where YAML 1.1 or 1.2 would read something else."""


def _construct_scalar(loader: Yaml12, node: yaml.ScalarNode) -> Any:
    pattern, _, convert = CORE[node.tag]
    text = loader.construct_scalar(node)
    if not re.fullmatch(pattern, text):  # only an explicit tag gets here with another text
        raise yaml.constructor.ConstructorError(
            None, None, f"`{text}` is no {node.tag.removeprefix(TAG)}", node.start_mark
        )
    return convert(text)


def _construct_mapping(loader: Yaml12, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value]
    for i, (key, _) in enumerate(node.value):
        if key.value in names[:i]:
            raise ValueError(
                f"{place(key.start_mark)}: {key.value}: this key is here a second time. Keep one of them"
            )
    return loader.construct_mapping(node, deep=True)


TAG = "tag:yaml.org,2002:"
CORE: dict[
    str, tuple[str, Sequence[str], Callable[[str], Any]]
] = {  # tag: (pattern, how it begins, what it means)
    f"{TAG}null": ("~|null|Null|NULL|", ("~", "n", "N", ""), lambda text: None),
    f"{TAG}bool": ("true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    f"{TAG}int": (
        "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
        "-+0123456789",
        lambda text: int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)),
    ),
    f"{TAG}float": (
        rf"{NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
}

Yaml12.yaml_implicit_resolvers = {}
Yaml12.yaml_constructors = {
    tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (None, f"{TAG}str", f"{TAG}seq")
}
Yaml12.add_constructor(f"{TAG}map", _construct_mapping)
for _tag, (_pattern, _begins, _) in CORE.items():
    Yaml12.add_constructor(_tag, _construct_scalar)
    for _class in (Yaml12, Yaml12Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _begins)


def load(text: str, origin: str) -> tuple[yaml.Node | None, Any]:
    """The nodes and the plain data of YAML text. Raises ValueError."""
    try:
        loader = Yaml12(text)
        loader.name = origin
        root = loader.get_single_node()
        return root, loader.construct_document(root) if root else None
    except yaml.YAMLError as error:
        raise ValueError(f"{origin}: not valid YAML: {error}") from None


def place(mark: yaml.Mark) -> str:
    """'file:line:column'."""
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"
