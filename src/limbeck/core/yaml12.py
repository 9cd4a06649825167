"""YAML as the core schema of YAML 1.2 reads it (yaml.org/spec/1.2.2, section 10.3), and back.

PyYAML alone follows YAML 1.1. Here `2e-5` is a number and `010` is ten, while `no`, `on`, `1:30`
and `2024-01-02` are words. A mapping that holds a key twice is refused.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import yaml

from limbeck.core.schedules import NUMBER

TAG = "tag:yaml.org,2002:"

# What a recipe may hold: characters, and keys and values with aliases written out. A recipe of
# every key has 200 of them, and one with a thousand names of labels a thousand more.
MOST_CHARACTERS = 200_000
MOST_NODES = 50_000
MOST_DEPTH = 50
MOST_DIGITS = 100
TOO_DEEP = f"more than {MOST_DEPTH} keys or lists inside each other. A recipe is three keys deep"


# What PyYAML finds, and what a newcomer to YAML most likely has to write instead.
CURES = {
    "mapping values are not allowed here": "Put a value that holds a colon into quotes, and keys "
    "of one stage at the same indentation",
    "expected ',' or '}'": "Put a comma between the entries, and a } behind the last",
    "expected ',' or ']'": "Put a comma between the entries, and a ] behind the last",
    "could not find expected ':'": "Write `key: value`, with a colon and a space",
    "cannot start any token": "Put the value into quotes",
    "expected <block end>": "Begin the keys of one stage in the same column",
    "found unexpected end of stream": "Close the quote",
    "expected the node content": "Write what is missing, such as a bracket that closes",
    "found another document": "Leave out the line ---",
}


class Repeated(NamedTuple):
    """A key that a mapping holds a second time, and where."""

    name: str
    mark: yaml.Mark

    @property
    def told(self) -> str:
        """What is wrong, and the cure."""
        return "this key is here a second time. Keep one of them"


class Yaml12(yaml.SafeLoader):
    """SafeLoader of YAML 1.2's core schema; a mapping holds a key once.

    `repeated`: is given the keys that are there a second time. The last one counts.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[Repeated] = []


class Yaml12Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a word where YAML 1.1 or 1.2 would read something else."""


class Scalar(NamedTuple):
    """How a kind of scalar is written.

    `pattern`: of the whole text. `begins`: the characters that it may begin with, by which PyYAML
    looks patterns up. `convert`: the text to its value.
    """

    pattern: str
    begins: Sequence[str]
    convert: Callable[[str], Any]


def _to_int(text: str) -> int:
    """An integer, octal after 0o and hexadecimal after 0x. Raises ValueError for an endless one."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits. Write at most {MOST_DIGITS}")
    bases = {"0o": 8, "0x": 16}
    return int(text, bases.get(text[:2], 10))


def _to_float(text: str) -> float:
    """A float; YAML writes infinity and NaN with a dot."""
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# The patterns are those of the table in section 10.3.2.
CORE = {
    f"{TAG}null": Scalar("~|null|Null|NULL|", ("~", "n", "N", ""), lambda text: None),
    f"{TAG}bool": Scalar(
        "true|True|TRUE|false|False|FALSE",
        "tTfF",
        lambda text: text.lower() == "true",
    ),
    f"{TAG}int": Scalar("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _to_int),
    f"{TAG}float": Scalar(
        rf"{NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
        _to_float,
    ),
}


def _construct_scalar(loader: Yaml12, node: yaml.ScalarNode) -> Any:
    """The value of a scalar that its text, or a tag, says is of one of the kinds of CORE."""
    kind = CORE[node.tag]
    text = loader.construct_scalar(node)
    # A text that was recognized fits; one behind an explicit tag (`!!int x`) may not.
    if not re.fullmatch(kind.pattern, text):
        problem = f"`{text}` is no {node.tag.removeprefix(TAG)}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    try:
        return kind.convert(text)
    except ValueError as error:
        raise ValueError(f"{place(node.start_mark)}: {error}") from None


def _construct_mapping(loader: Yaml12, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping; PyYAML alone would keep the last of two equal keys without a word."""
    seen = set()
    for key, _ in node.value:
        # A key that is a list is none that can be looked up; PyYAML refuses it below.
        name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
        if name in seen:
            loader.repeated.append(Repeated(str(name), key.start_mark))
        seen.add(name)
    # Deep: what is below must be complete when the recipe is validated.
    return loader.construct_mapping(node, deep=True)


def _set_up() -> None:
    """Replace what PyYAML knows of YAML 1.1 in the loader, and add YAML 1.2 to the dumper."""
    # Both tables are copied, so that PyYAML's own classes stay as they are.
    Yaml12.yaml_implicit_resolvers = {}
    kept = (None, f"{TAG}str", f"{TAG}seq")
    Yaml12.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in kept}
    Yaml12.add_constructor(f"{TAG}map", _construct_mapping)
    for tag, kind in CORE.items():
        Yaml12.add_constructor(tag, _construct_scalar)
        whole = re.compile(rf"(?:{kind.pattern})\Z")
        Yaml12.add_implicit_resolver(tag, whole, kind.begins)
        Yaml12Dumper.add_implicit_resolver(tag, whole, kind.begins)


_set_up()


def load(text: str, origin: str) -> tuple[yaml.Node | None, Any]:
    """(the nodes, which know their lines; the plain data) of YAML text; (None, None) of none.

    `origin` names the text in messages. Raises ValueError with line and column.
    """
    root, content, repeated = load_all(text, origin)
    if repeated:
        first = repeated[0]
        raise ValueError(f"{place(first.mark)}: {first.name}: {first.told}")
    return root, content


def load_all(text: str, origin: str) -> tuple[yaml.Node | None, Any, list[Repeated]]:
    """As `load`, and every key that is there a second time, which it takes in place of the first.

    Raises ValueError for what is no YAML.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{origin}: {len(text):,} characters of YAML, and at most {MOST_CHARACTERS:,} are read"
        )
    try:
        loader = Yaml12(text)
        loader.name = origin  # marks carry it into messages
        _check_brackets(text, origin)
        root = _composed(loader, origin)
        content = loader.construct_document(root) if root else None
    except yaml.YAMLError as error:
        raise ValueError(_why_no_yaml(text, origin, error)) from None
    return root, content, loader.repeated


def _why_no_yaml(text: str, origin: str, error: yaml.YAMLError) -> str:
    """What is no YAML, in a line with its place and a cure."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{ord(text[error.position]):04X}"
        return f"{origin}:{line}: not valid YAML: the character {character}. Remove it"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{origin}: not valid YAML: {' '.join(str(error).split())}"
    if _is_at_tab(text, mark):
        return f"{place(mark)}: a tab, where YAML takes spaces alone. Use spaces"
    problem = getattr(error, "problem", None) or "it cannot be read"
    context = getattr(error, "context", None)
    begun = getattr(error, "context_mark", None)
    where = f" ({context}, begun in line {begun.line + 1})" if context and begun else ""
    cures = [cure for words, cure in CURES.items() if words in problem]
    cure = f". {cures[0]}" if cures else ""
    return f"{place(mark)}: not valid YAML: {problem}{where}{cure}"


def _check_brackets(text: str, origin: str) -> None:
    """Raise ValueError for brackets too deep; PyYAML's time grows with the square of the depth."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    depth = 0
    # Events come one after the other, so a text of brackets is read no further than it is refused.
    loader = Yaml12(text)
    loader.name = origin
    while loader.check_event():
        event = loader.get_event()
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"{origin}:{event.start_mark.line + 1}: {TOO_DEEP}")


def _composed(loader: Yaml12, origin: str) -> yaml.Node | None:
    """The nodes of the one document. Raises ValueError where they are too deep or too many."""
    try:
        root = loader.get_single_node()
    except RecursionError:
        raise ValueError(f"{origin}: {TOO_DEEP}") from None
    if root:
        _count(root, {}, 0)
    return root


def _count(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """How many keys and values a node stands for, its aliases written out.

    `known`: the number of each node that was counted, None of one that is being counted: an alias
    to itself would have no end. Raises ValueError.
    """
    if id(node) in known:
        counted = known[id(node)]
        if counted is None:
            raise ValueError(
                f"{place(node.start_mark)}: an alias to what it stands in. Write it out"
            )
        return counted
    known[id(node)] = None
    if depth > MOST_DEPTH:
        raise ValueError(f"{place(node.start_mark)}: {TOO_DEEP}")
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inside = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inside = node.value
    number = 1 + sum(_count(each, known, depth + 1) for each in inside)
    if number > MOST_NODES:
        raise ValueError(
            f"{place(node.start_mark)}: more than {MOST_NODES:,} keys and values, aliases written "
            "out. Is this a recipe?"
        )
    known[id(node)] = number
    return number


def _is_at_tab(text: str, mark: yaml.Mark) -> bool:
    """Whether the line of a mistake has a tab at its place, or before the first word."""
    line = text.splitlines()[mark.line : mark.line + 1]
    if not line:
        return False
    indentation = line[0][: len(line[0]) - len(line[0].lstrip())]
    return "\t" in indentation or line[0][mark.column : mark.column + 1] == "\t"


def place(mark: yaml.Mark) -> str:
    """'file:line:column', counted from 1."""
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"
