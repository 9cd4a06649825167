"""Keeps the house style over src/limbeck: budgets, forbidden constructs, types, docstrings, no pickle, lazy optional imports.

A code line is a line that holds a token other than a comment and is no part of a docstring; a
token counts where it begins. A rule takes the source files and returns complaints,
`file:line: what and how much`; each is itself tested on snippets that break it and on one that does
not.
"""

import ast
import io
import math
import re
import statistics
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "limbeck"
MAX_FUNCTION_MEDIAN, MAX_FUNCTION_P95, MAX_FUNCTION = 8, 35, 60
MAX_FILE_P95, MAX_FILE = 300, 450
MAX_PARAMETERS = 6
WINDOW_LINES, MAX_REPEATED_SHARE = 8, 0.02
MAX_CHARACTERS = 100
# Tokens do not change with how lines are broken: fewer a line means one step a line, and fewer a
# function that it was not merely laid out on more lines.
MAX_TOKENS_OF_LINE = 8.5
MAX_FUNCTION_TOKENS_MEDIAN, MAX_FUNCTION_TOKENS_P95, MAX_FUNCTION_TOKENS = 70, 236, 517
MIN_COMMENT_SHARE = 0.08
OPTIONAL = {
    "torch",
    "pyarrow",
    "transformers",
    "accelerate",
    "onnx",
    "onnxscript",
    "sklearn",
    "jinja2",
    "openvino",
    "timm",
    "torch_pruning",
    "gguf",
}
TORCH_FREE = re.compile(
    r"(__init__|(sources|tasks|recipe|evaluation|artifact(/runtimes)?|reports|cli)/[\w/]+)\.py"
)
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
}
UNSAFE_CALLS = re.compile(r"eval|exec|(builtins)\.(eval|exec)|torch\.(\w+\.)*load|torch\.save")
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
CAPWORDS = re.compile(r"[A-Z]\w*[a-z]\w*")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file; `name` is its path below src/limbeck."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @cached_property
    def all_tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    @cached_property
    def comments(self) -> set[int]:
        """The numbers of the lines that hold a comment."""
        return {token.start[0] for token in self.all_tokens if token.type == tokenize.COMMENT}

    @cached_property
    def tokens(self) -> dict[int, int]:
        """How many tokens begin on each code line."""
        starts = Counter(token.start[0] for token in self.all_tokens if token.type not in LAYOUT)
        return {line: starts[line] for line in self.code}

    @cached_property
    def code(self) -> dict[int, str]:
        """Code lines by number, each as its tokens with one space between."""
        parts: dict[int, list[str]] = defaultdict(list)
        for token in self.all_tokens:
            if token.type not in LAYOUT:
                for offset, part in enumerate(token.string.split("\n")):
                    parts[token.start[0] + offset].append(part.strip())
        docstrings = {line for node in ast.walk(self.tree) for line in docstring_lines(node)}
        return {
            line: " ".join(parts[line])
            for line in sorted(parts)
            if line not in docstrings and any(parts[line])
        }

    def at(self, node: ast.AST, what: str) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {what}"


Rule = Callable[[list[Source]], list[str]]


def docstring_lines(node: ast.AST) -> range:
    """The line numbers of a node's docstring."""
    if (
        not isinstance(node, ast.Module | ast.ClassDef | Function)
        or ast.get_docstring(node, clean=False) is None
    ):
        return range(0)
    return range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def code_lines(source: Source, function: Function) -> int:
    return sum(
        line in source.code for line in range(function.lineno, (function.end_lineno or 0) + 1)
    )


def code_tokens(source: Source, function: Function) -> int:
    lines = range(function.lineno, (function.end_lineno or 0) + 1)
    return sum(source.tokens.get(line, 0) for line in lines)


def rooms(sources: list[Source]) -> dict[str, list[Source]]:
    """The files of each folder."""
    by_folder: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        by_folder[source.name.rpartition("/")[0] or "."].append(source)
    return by_folder


def percentile_95(values: list[int]) -> int:
    """The smallest value that at least 95 % of `values` do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def parameters(source: Source, function: Function) -> list[ast.arg]:
    """Every parameter but `self` or `cls`."""
    listed = function.args.posonlyargs + function.args.args
    methods = [
        item
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for item in node.body
    ]
    static = any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod"
        for decorator in function.decorator_list
    )
    if function in methods and not static:
        listed = listed[1:]
    rest = [function.args.vararg, *function.args.kwonlyargs, function.args.kwarg]
    return listed + [parameter for parameter in rest if parameter]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute, '' of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    base = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else ""


def calls(source: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def imported_modules(node: ast.AST) -> list[str]:
    """What an import statement may load: the module, and for `from a import b` also `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def top_level_imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of the imports that run when a file is imported: outside functions and `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING"):
            continue
        yield from ((child.lineno, module) for module in imported_modules(child))
        if not isinstance(child, Function | ast.Lambda):
            yield from top_level_imports(child)


# The rules.


def function_budget(sources: list[Source]) -> list[str]:
    """Code lines a function, signature included: the median, the 95th percentile, the longest."""
    sizes = {
        source.at(f, f"`{f.name}` has %d code lines"): code_lines(source, f)
        for source in sources
        for f in source.functions
    }
    longest = sorted(sizes, key=lambda place: -sizes[place])
    found = [
        f"{place % sizes[place]}, at most {MAX_FUNCTION}"
        for place in longest
        if sizes[place] > MAX_FUNCTION
    ]
    median, p95 = statistics.median(sizes.values()), percentile_95(list(sizes.values()))
    if median > MAX_FUNCTION_MEDIAN:
        found.append(
            f"the median of {len(sizes)} functions is {median} code lines, at most {MAX_FUNCTION_MEDIAN}"
        )
    if p95 > MAX_FUNCTION_P95:
        found += [
            f"95 % of {len(sizes)} functions must have at most {MAX_FUNCTION_P95} code lines, not {p95}. The longest:"
        ]
        found += [place % sizes[place] for place in longest if sizes[place] > MAX_FUNCTION_P95]
    return found


def file_budget(sources: list[Source]) -> list[str]:
    """Code lines a file: the 95th percentile and the longest."""
    sizes = {source.name: len(source.code) for source in sources}
    found = [
        f"{name}:1: {size} code lines, at most {MAX_FILE}"
        for name, size in sizes.items()
        if size > MAX_FILE
    ]
    p95 = percentile_95(list(sizes.values()))
    if p95 > MAX_FILE_P95:
        found += [
            f"95 % of {len(sizes)} files must have at most {MAX_FILE_P95} code lines, not {p95}. The longest:"
        ]
        found += [
            f"{name}:1: {size} code lines" for name, size in sizes.items() if size > MAX_FILE_P95
        ]
    return found


def parameter_budget(sources: list[Source]) -> list[str]:
    """At most six parameters; `self` and a dataclass's fields do not count."""
    counts = (
        (source, function, len(parameters(source, function)))
        for source in sources
        for function in source.functions
    )
    return [
        source.at(f, f"`{f.name}` takes {count} parameters, at most {MAX_PARAMETERS}")
        for source, f, count in counts
        if count > MAX_PARAMETERS
    ]


def repetition_budget(sources: list[Source]) -> list[str]:
    """The share of code lines in 8-line windows that occur more than once, in any files."""
    places: dict[tuple[str, ...], list[tuple[str, list[int]]]] = defaultdict(list)
    for source in sources:
        numbers, texts = list(source.code), list(source.code.values())
        for start in range(len(texts) - WINDOW_LINES + 1):
            stop = start + WINDOW_LINES
            places[tuple(texts[start:stop])].append((source.name, numbers[start:stop]))
    repeated = [where for where in places.values() if len(where) > 1]
    lines = {(name, number) for where in repeated for name, numbers in where for number in numbers}
    total = sum(len(source.code) for source in sources)
    if len(lines) <= MAX_REPEATED_SHARE * total:
        return []
    share = f"{len(lines)} of {total} code lines ({len(lines) / total:.1%}) are repeated, at most {MAX_REPEATED_SHARE:.0%}:"
    return [
        share,
        *(" = ".join(f"{name}:{numbers[0]}" for name, numbers in where) for where in repeated),
    ]


def line_length(sources: list[Source]) -> list[str]:
    """At most 100 characters a line, in docstrings and comments too."""
    return [
        f"{source.name}:{number}: {len(line)} characters, at most {MAX_CHARACTERS}"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), 1)
        if len(line) > MAX_CHARACTERS
    ]


def line_token_budget(sources: list[Source]) -> list[str]:
    """Tokens a code line, on average over the package: one step a line."""

    def mean(files: list[Source]) -> float:
        num_lines = sum(len(source.code) for source in files)
        num_tokens = sum(sum(source.tokens.values()) for source in files)
        return num_tokens / max(1, num_lines)

    if mean(sources) <= MAX_TOKENS_OF_LINE:
        return []
    means = {room: mean(files) for room, files in rooms(sources).items()}
    total = f"{mean(sources):.2f} tokens a code line, at most {MAX_TOKENS_OF_LINE}. By room:"
    by_room = [
        f"{room}: {means[room]:.2f}" for room in sorted(means, key=lambda room: -means[room])
    ]
    return [total, *by_room]


def function_token_budget(sources: list[Source]) -> list[str]:
    """Tokens a function: the median, the 95th percentile, the largest."""
    sizes = {
        source.at(f, f"`{f.name}` has %d tokens"): code_tokens(source, f)
        for source in sources
        for f in source.functions
    }
    largest = sorted(sizes, key=lambda place: -sizes[place])
    found = [
        f"{place % sizes[place]}, at most {MAX_FUNCTION_TOKENS}"
        for place in largest
        if sizes[place] > MAX_FUNCTION_TOKENS
    ]
    median, p95 = statistics.median(sizes.values()), percentile_95(list(sizes.values()))
    if median > MAX_FUNCTION_TOKENS_MEDIAN:
        found.append(
            f"the median of {len(sizes)} functions is {median} tokens, "
            f"at most {MAX_FUNCTION_TOKENS_MEDIAN}"
        )
    if p95 > MAX_FUNCTION_TOKENS_P95:
        found.append(
            f"95 % of {len(sizes)} functions must have at most {MAX_FUNCTION_TOKENS_P95} tokens, "
            f"not {p95}. The largest:"
        )
        found += [
            place % sizes[place] for place in largest if sizes[place] > MAX_FUNCTION_TOKENS_P95
        ]
    return found


def comment_budget(sources: list[Source]) -> list[str]:
    """Lines with a comment, as a share of code lines over the package."""

    def share(files: list[Source]) -> float:
        num_lines = sum(len(source.code) for source in files)
        return sum(len(source.comments) for source in files) / max(1, num_lines)

    if share(sources) >= MIN_COMMENT_SHARE:
        return []
    shares = {room: share(files) for room, files in rooms(sources).items()}
    total = f"comments are {share(sources):.1%} of code lines, at least {MIN_COMMENT_SHARE:.0%}:"
    return [
        total,
        *(f"{room}: {shares[room]:.1%}" for room in sorted(shares, key=shares.__getitem__)),
    ]


def no_kwargs_pass_through(sources: list[Source]) -> list[str]:
    """A function that takes `**options` does not hand `**options` on."""
    found = []
    for source in sources:
        for function in source.functions:
            name = function.args.kwarg.arg if function.args.kwarg else None
            passed = [
                call
                for call in ast.walk(function)
                if isinstance(call, ast.Call)
                for keyword in call.keywords
                if name and is_splat(keyword, name)
            ]
            found += [
                source.at(call, f"`{function.name}` passes **{name} through: name the keys")
                for call in passed
            ]
    return found


def is_splat(keyword: ast.keyword, name: str) -> bool:
    return keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name


def no_star_import(sources: list[Source]) -> list[str]:
    """No `from x import *`."""
    stars = (
        (s, n)
        for s in sources
        for n in ast.walk(s.tree)
        if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"
    )
    return [source.at(node, f"star import from {node.module}") for source, node in stars]


def no_global(sources: list[Source]) -> list[str]:
    """No `global` statement."""
    return [
        s.at(n, f"global {', '.join(n.names)}")
        for s in sources
        for n in ast.walk(s.tree)
        if isinstance(n, ast.Global)
    ]


def no_class_patching(sources: list[Source]) -> list[str]:
    """No `setattr` on a class, and no assignment to an attribute of a class that the file only imports."""
    found = []
    for source in sources:
        found += [
            source.at(c, "setattr on a class")
            for c in calls(source)
            if dotted(c.func) == "setattr" and c.args and is_class(c.args[0])
        ]
        imports = [
            node for node in ast.walk(source.tree) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        foreign = {
            (alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names
        }
        for node in ast.walk(source.tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and is_class(node.value)
            ):
                root = dotted(node.value).split(".")[0]
                local = (
                    root
                    in {item.name for item in source.tree.body if isinstance(item, ast.ClassDef)}
                    - foreign
                )
                found += [] if local else [source.at(node, f"patches {ast.unparse(node)}")]
    return found


def is_class(node: ast.AST) -> bool:
    """Whether an expression reads like a class: CapWords, `cls`, `type(x)`, `x.__class__`."""
    last = dotted(node).split(".")[-1]
    if isinstance(node, ast.Attribute) and node.attr == "__class__":
        return True
    return (
        last == "cls"
        or CAPWORDS.fullmatch(last) is not None
        or (isinstance(node, ast.Call) and dotted(node.func) == "type")
    )


def no_hasattr(sources: list[Source]) -> list[str]:
    """No `hasattr` probing."""
    return [
        source.at(call, "hasattr: ask a type or a declared attribute")
        for source in sources
        for call in calls(source)
        if dotted(call.func) == "hasattr"
    ]


# Where the code of strangers is run, which may fail in any way: plug-ins are imported in the one, and
# errors that passed through them are told by the other. What libraries raise over the files of
# strangers, tokenizers' bare Exceptions among them, a third turns into errors of ours.
RUN_STRANGERS = {"core/plug_ins.py", "cli/exits.py", "core/foreign.py"}


def no_broad_except(sources: list[Source]) -> list[str]:
    """No bare `except`, `except Exception` or `except BaseException`."""
    found = []
    for source in sources:
        if source.name in RUN_STRANGERS:
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                broad = [
                    t
                    for t in caught
                    if t is None
                    or dotted(t).removeprefix("builtins.") in ("Exception", "BaseException")
                ]
                found += [
                    source.at(
                        node,
                        f"except {dotted(t) if t else ''}".rstrip() + ": name what you foresee",
                    )
                    for t in broad
                ]
    return found


def typed_signatures(sources: list[Source]) -> list[str]:
    """Every parameter and every result has a type."""
    found = []
    for source in sources:
        for function in source.functions:
            bare = [
                parameter.arg
                for parameter in parameters(source, function)
                if parameter.annotation is None
            ]
            bare += ["its result"] if function.returns is None else []
            found += (
                [
                    source.at(
                        function, f"`{function.name}` does not say the type of {', '.join(bare)}"
                    )
                ]
                if bare
                else []
            )
    return found


def documented(sources: list[Source]) -> list[str]:
    """Every module, and every public class and function of one, has a docstring."""
    found = []
    for source in sources:
        found += (
            []
            if ast.get_docstring(source.tree)
            else [f"{source.name}:1: the module has no docstring"]
        )
        public = [
            n
            for n in source.tree.body
            if isinstance(n, ast.ClassDef | Function) and not n.name.startswith("_")
        ]
        found += [
            source.at(node, f"`{node.name}` has no docstring")
            for node in public
            if not ast.get_docstring(node)
        ]
    return found


def no_code_from_data(sources: list[Source]) -> list[str]:
    """Nothing that runs code found in data: pickle and its kin, torch.load, eval, exec."""
    found = []
    for source in sources:
        for node in ast.walk(source.tree):
            unsafe = [
                m
                for m in imported_modules(node)
                if m.split(".")[0] in UNSAFE_MODULES or UNSAFE_CALLS.fullmatch(m)
            ]
            found += [source.at(node, f"imports {unsafe[0]}")] if unsafe else []
            if isinstance(node, ast.Call):
                pickled = any(
                    k.arg == "allow_pickle"
                    and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                    for k in node.keywords
                )
                found += (
                    [source.at(node, f"calls {dotted(node.func)}")]
                    if pickled or UNSAFE_CALLS.fullmatch(dotted(node.func))
                    else []
                )
    return found


def lazy_optional_imports(sources: list[Source]) -> list[str]:
    """Importing a torch-free module loads no optional dependency, not through another module of limbeck either."""
    graph = {
        module_name(source.name): (source, list(top_level_imports(source.tree)))
        for source in sources
    }
    found = []
    for start, (source, imports) in graph.items():
        if TORCH_FREE.fullmatch(source.name):
            for line, module in imports:
                found += [
                    f"{source.name}:{line}: imports {' -> '.join(chain)}"
                    for chain in chains(module, graph, {start})
                ]
    return found


def chains(
    module: str, graph: dict[str, tuple[Source, list[tuple[int, str]]]], seen: set[str]
) -> Iterator[list[str]]:
    """The ways from a module to an optional dependency. Importing `a.b` also runs `a`; a module is walked once."""
    if module.split(".")[0] in OPTIONAL:
        if module.split(".")[0] not in seen:
            yield [module]
        seen.add(module.split(".")[0])
        return
    names = module.split(".")
    for name in (".".join(names[:end]) for end in range(1, len(names) + 1)):
        if name in graph and name not in seen:
            seen.add(name)
            for _, further in graph[name][1]:
                yield from ([name, *chain] for chain in chains(further, graph, seen))


def module_name(name: str) -> str:
    """`sources/__init__.py` is `limbeck.sources`."""
    return ".".join(["limbeck", *name.removesuffix(".py").split("/")]).removesuffix(".__init__")


RULES: list[Rule] = [
    function_budget,
    file_budget,
    parameter_budget,
    repetition_budget,
    line_length,
    line_token_budget,
    function_token_budget,
    comment_budget,
    no_kwargs_pass_through,
    no_star_import,
    no_global,
    no_class_patching,
    no_hasattr,
    no_broad_except,
    typed_signatures,
    documented,
    no_code_from_data,
    lazy_optional_imports,
]


@pytest.fixture(scope="module")
def package() -> list[Source]:
    return [
        Source(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps(rule: Rule, package: list[Source]) -> None:
    complaints = rule(package)
    assert not complaints, f"{rule.__doc__}\n" + "\n".join(complaints)


# The rules themselves.


def function_of(lines: int, name: str = "f") -> str:
    """A function of that many code lines."""
    return f"def {name}():\n" + "".join(f"    a{name}{i} = {i}\n" for i in range(lines - 1))


BAD = [
    (function_budget, {"a.py": function_of(61)}, "a.py:1: `f` has 61 code lines, at most 60"),
    (
        function_budget,
        {"a.py": function_of(9)},
        "the median of 1 functions is 9 code lines, at most 8",
    ),
    (
        function_budget,
        {"a.py": "".join(function_of(n, f"f{i}") for i, n in enumerate([2] * 9 + [36]))},
        "a.py:19: `f9` has 36 code lines",
    ),
    (file_budget, {"a.py": "x = 1\n" * 451}, "a.py:1: 451 code lines, at most 450"),
    (file_budget, {"a.py": "x = 1\n" * 301, "b.py": ""}, "a.py:1: 301 code lines"),
    (
        parameter_budget,
        {"a.py": "\ndef f(a, b, /, c, *d, e, g, **h): pass"},
        "a.py:2: `f` takes 7 parameters, at most 6",
    ),
    (
        parameter_budget,
        {"a.py": "class A:\n @staticmethod\n def f(a, b, c, d, e, g, h): pass"},
        "a.py:3: `f` takes 7 parameters",
    ),
    (
        repetition_budget,
        {"a.py": function_of(8), "b.py": "x = 1  # why\n" + function_of(8)},
        "a.py:1 = b.py:2",
    ),
    (line_length, {"a.py": f"x = 1\n# {'-' * 99}"}, "a.py:2: 101 characters, at most 100"),
    (line_length, {"a.py": f"'''A.\n{'-' * 101}\n'''"}, "a.py:2: 101 characters"),
    (line_token_budget, {"a.py": "f(a, b, c, d)\n"}, "10.00 tokens a code line, at most 8.5"),
    (line_token_budget, {"losses/a.py": "f(a, b, c, d)\n"}, "losses: 10.00"),
    (
        function_token_budget,
        {"a.py": f"def f():\n  return [{'x, ' * 256}]"},
        "a.py:1: `f` has 520 tokens, at most 517",
    ),
    (
        function_token_budget,
        {"a.py": f"def f():\n  return [{'x, ' * 32}]"},
        "the median of 1 functions is 72 tokens, at most 70",
    ),
    (
        function_token_budget,
        {
            "a.py": "".join(
                f"def f{i}(): return [{'x, ' * n}]\n" for i, n in enumerate([1] * 9 + [115])
            )
        },
        "a.py:10: `f9` has 238 tokens",
    ),
    (comment_budget, {"a.py": "x = 1\n" * 13 + "y = 1  # why\n"}, "comments are 7.1% of code"),
    (comment_budget, {"losses/a.py": "x = 1\n"}, "losses: 0.0%"),
    (
        no_kwargs_pass_through,
        {"a.py": "def f(**options):\n  return g(1, **options)"},
        "a.py:2: `f` passes **options through",
    ),
    (no_star_import, {"a.py": "import b\nfrom b import *"}, "a.py:2: star import from b"),
    (no_global, {"a.py": "def f():\n  global x, y"}, "a.py:2: global x, y"),
    (no_class_patching, {"a.py": "setattr(Module, 'x', 1)"}, "a.py:1: setattr on a class"),
    (no_class_patching, {"a.py": "setattr(type(self), 'x', 1)"}, "a.py:1: setattr on a class"),
    (
        no_class_patching,
        {"a.py": "from torch import nn\nnn.Linear.forward = f"},
        "a.py:2: patches nn.Linear.forward",
    ),
    (
        no_class_patching,
        {"a.py": "def f(x):\n  x.__class__.y = 1"},
        "a.py:2: patches x.__class__.y",
    ),
    (no_hasattr, {"a.py": "if hasattr(x, 'y'): pass"}, "a.py:1: hasattr"),
    (no_broad_except, {"a.py": "try: f()\nexcept: pass"}, "a.py:2: except: name"),
    (
        no_broad_except,
        {"a.py": "try: f()\nexcept Exception as e: pass"},
        "a.py:2: except Exception",
    ),
    (
        no_broad_except,
        {"a.py": "try: f()\nexcept (OSError, BaseException): pass"},
        "a.py:2: except BaseException",
    ),
    (
        typed_signatures,
        {"a.py": "def f(a: int, *b, c=1) -> int: pass"},
        "a.py:1: `f` does not say the type of b, c",
    ),
    (
        typed_signatures,
        {"a.py": "class A:\n  def __init__(self, a: int): pass"},
        "a.py:2: `__init__` does not say the type of its result",
    ),
    (documented, {"a.py": "x = 1"}, "a.py:1: the module has no docstring"),
    (documented, {"a.py": "'''A.'''\nclass B: pass"}, "a.py:2: `B` has no docstring"),
    (documented, {"a.py": "'''A.'''\nasync def b(): pass"}, "a.py:2: `b` has no docstring"),
    (no_code_from_data, {"a.py": "def f():\n  import pickle"}, "a.py:2: imports pickle"),
    (no_code_from_data, {"a.py": "from joblib import load"}, "a.py:1: imports joblib"),
    (no_code_from_data, {"a.py": "from torch import load"}, "a.py:1: imports torch.load"),
    (no_code_from_data, {"a.py": "torch.load(x)"}, "a.py:1: calls torch.load"),
    (no_code_from_data, {"a.py": "torch.jit.load(x)"}, "a.py:1: calls torch.jit.load"),
    (no_code_from_data, {"a.py": "eval(x)"}, "a.py:1: calls eval"),
    (no_code_from_data, {"a.py": "exec(x)"}, "a.py:1: calls exec"),
    (no_code_from_data, {"a.py": "np.load(x, allow_pickle=True)"}, "a.py:1: calls np.load"),
    (
        lazy_optional_imports,
        {"cli/main.py": "import os\nimport torch.nn as nn"},
        "cli/main.py:2: imports torch.nn",
    ),
    (
        lazy_optional_imports,
        {"sources/x.py": "try:\n  from sklearn import datasets\nexcept ImportError: pass"},
        "sources/x.py:2: imports sklearn",
    ),
    (
        lazy_optional_imports,
        {
            "cli/main.py": "from limbeck import run",
            "run.py": "import limbeck.train",
            "train.py": "import torch",
        },
        "cli/main.py:1: imports limbeck.run -> limbeck.train -> torch",
    ),
    (
        lazy_optional_imports,
        {"tasks/x.py": "from limbeck.losses.kl import Kl", "losses/__init__.py": "import torch"},
        "tasks/x.py:1: imports limbeck.losses -> torch",
    ),
]

GOOD = '''"""A module."""
from typing import TYPE_CHECKING

import numpy as np  # a reason

from limbeck import other

if TYPE_CHECKING:
    import torch

LIMIT = 1  # a comment


class Thing:
    """A thing."""

    kind = 1

    def f(self, a: int, b: int, c: int, d: int, e: int, g: int) -> dict[str, int]:
        """A docstring.

        of several lines.
        """
        self.kind = 2
        setattr(self, "kind", 3)
        return dict(**self.options)

    def _private(self, **options: int) -> None:
        import torch

        try:
            torch.nn.Module().eval()
        except (OSError, ValueError):
            pass


Thing.kind = 4
np.load("x", allow_pickle=False)
'''


@pytest.mark.parametrize(("rule", "files", "complaint"), BAD)
def test_rule_complains(rule: Rule, files: dict[str, str], complaint: str) -> None:
    complaints = rule([Source(name, text) for name, text in files.items()])
    assert any(line.startswith(complaint) for line in complaints), complaints


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_good_code(rule: Rule) -> None:
    assert rule([Source("cli.py", GOOD), Source("other.py", '"""Other."""\n')]) == []


def test_every_rule_is_tested() -> None:
    assert {rule.__name__ for rule, _, _ in BAD} == {rule.__name__ for rule in RULES}


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Two of one name in two folders pass or fail by the order in which pytest collects them."""
    files = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, number in files.items() if number > 1] == []


def test_only_code_lines_count() -> None:
    text = '"""Module\n\ndocstring."""\n\n# comment\ndef f():\n    """Docstring."""\n    # comment\n\n    return """a\n\n  b"""\n'
    source = Source("a.py", text)
    assert source.code == {6: "def f ( ) :", 10: 'return """a', 12: 'b"""'}
    assert code_lines(source, source.functions[0]) == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7], 7), (list(range(1, 101)), 95), ([1] * 19 + [9], 1), ([1] * 18 + [9, 9], 9)],
)
def test_percentile_95(values: list[int], expected: int) -> None:
    assert percentile_95(values) == expected
