"""Runs the chat templates of strangers: in Jinja's sandbox, and bounded in steps and in memory.

The sandbox keeps a template from Python's inner parts and bounds `range`. It does not bound loops
within loops, texts that double, or `"x" * 10 ** 10`; that is done here: loops and calls are
counted, and the length of what an operation makes is looked at before it is made, or right after
where it at most doubles.

What a template may call, and how blanks are treated, is as in transformers (`chat_template_utils`).
"""

import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

# A conversation of 128,000 tokens has about half a million characters.
MOST_CHARACTERS = 4_000_000
# Loops and calls together: about a second. A template goes some ten times through its messages.
MOST_STEPS = 1_000_000
# What a text may be repeated by or padded to; Python's integers have no bound of their own.
MOST_REPEATED = 10_000
# `%08d` pads a number; a width of five digits, or one that is an argument, is no layout.
WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)|\{[^}]*\d{5}")
# They write one text at every place of another.
MULTIPLYING = ("join", "replace")
FORMATTING = ("format", "format_map")

# Names that no template can write, of filters of ours.
COUNTED = "counted loop"
MEASURED = "measured text"

# From where to where an answer goes in a text, in characters.
Span = tuple[int, int]


@dataclass
class Rendering:
    """What one rendering has written and spent so far."""

    blocks: list[str] = field(default_factory=list)
    answers: list[Span] = field(default_factory=list)
    steps: int = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises jinja2.TemplateError beyond their bound."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            refuse(f"it takes more than {MOST_STEPS:,} steps")


_rendering: ContextVar[Rendering] = ContextVar("rendering")


class Program:
    """A template that was compiled; raises ValueError for a text that is none."""

    def __init__(self, text: str, today: datetime | None) -> None:
        from jinja2 import Template, TemplateSyntaxError

        environment = sandbox(today)
        try:
            tree = environment.parse(text)
            self.marks_answers = any(True for _ in marked(tree))
            bound(tree)
            code = environment.compile(tree)
        except TemplateSyntaxError as error:
            raise ValueError(f"the chat template, line {error.lineno}: {error.message}") from error
        except RecursionError as error:
            raise ValueError("the chat template is nested too deeply") from error
        self.template = Template.from_code(environment, code, environment.make_globals(None))

    def run(self, view: dict[str, Any]) -> tuple[str, tuple[Span, ...]]:
        """The text, and the spans that the template marks as answers.

        Raises ValueError where the template refuses what it is given, fails on it, or goes on
        beyond its bounds.
        """
        from jinja2 import TemplateError

        rendering = Rendering()
        token = _rendering.set(rendering)
        length = 0
        try:
            for block in self.template.generate(view):
                rendering.blocks.append(block)
                length += len(block)
                check_length(length)
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            # What Python says where a template adds a text to a number.
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"the chat template fails on these messages: {reason}") from error
        except RecursionError as error:
            raise ValueError("the chat template calls itself without end") from error
        finally:
            _rendering.reset(token)
        return "".join(rendering.blocks), tuple(rendering.answers)


def sandbox(today: datetime | None) -> "ImmutableSandboxedEnvironment":
    """Jinja's sandbox with what transformers offers to templates, and bounded."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Sandbox(ImmutableSandboxedEnvironment):
        """Looks at the arguments of a call before it is made."""

        # `call` is the hook that Jinja documents for it.
        def call(self, context: Any, called: Any, /, *args: Any, **named: Any) -> Any:
            _rendering.get().spend()
            # Jinja puts a function of its own before `str.format`.
            method = getattr(called, "__wrapped__", called)
            owner = getattr(method, "__self__", None)
            name = getattr(method, "__name__", "")
            check_arguments(name, [owner, *args, *named.values()])
            return called_with(super().call, (context, called, *args), named)

    def namespace(*args: Any, **named: Any) -> Namespace:
        values = dict(*args) | named
        if any(str(name).startswith("_") for name in values):
            # Jinja's class keeps its own inner parts under such names.
            refuse("a namespace may not have names that begin with an underscore")
        return Namespace(values)

    made = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", generation_tag()],
    )
    made.filters = {name: checked_filter(name, each) for name, each in made.filters.items()}
    made.filters |= {"tojson": to_json, COUNTED: counted, MEASURED: measured}
    # Operators that may grow at once beyond all memory.
    made.intercepted_binops = frozenset(["*", "**", "%"])
    made.binop_table |= {"*": multiplied, "**": raised, "%": remainder}
    # Words of nonsense, as many as one asks for.
    del made.globals["lipsum"]
    made.globals |= {
        "raise_exception": refuse,
        "namespace": namespace,
        "dict": lambda *args, **named: dict(*args) | named,
        "strftime_now": lambda form: (today or datetime.now()).strftime(form),
    }
    return made


# What a template may call.


def refuse(message: str) -> None:
    """What a template calls for messages that it does not take, and we for one beyond its bounds.
    Raises jinja2.TemplateError."""
    from jinja2 import TemplateError

    raise TemplateError(message)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Python writes it; Jinja's own filter writes it for HTML, with `<` escaped."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def generation_tag() -> type:
    """The extension that reads `{% generation %}`: the span of what stands within is kept."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        """Transformers' tag around an answer."""

        tags: set[str] = {"generation"}  # noqa: RUF012 (as Jinja declares it)

        def parse(self, parser: Any) -> nodes.Node:
            """The tag, its body and its end become one block that calls `keep_answer`."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("keep_answer")
            return nodes.CallBlock(call, [], [], body).set_lineno(line)

        def keep_answer(self, caller: Callable[[], str]) -> str:
            """What stands within, as it is; where it goes is kept."""
            rendering = _rendering.get()
            written = caller()
            start = sum(map(len, rendering.blocks))
            rendering.answers.append((start, start + len(written)))
            return written

    return Generation


def marked(tree: "nodes.Template") -> "Iterator[nodes.CallBlock]":
    """The blocks that the tag `generation` became."""
    from jinja2 import nodes

    for block in tree.find_all(nodes.CallBlock):
        method = block.call.node
        if isinstance(method, nodes.ExtensionAttribute) and method.name == "keep_answer":
            yield block


# The bounds.


def bound(tree: "nodes.Template") -> None:
    """Let every loop count its steps, and every operation that joins texts measure what it made."""
    from jinja2 import nodes

    for loop in list(tree.find_all(nodes.For)):
        loop.iter = filtered(loop.iter, COUNTED)
    for parent in [tree, *tree.find_all(nodes.Node)]:
        for name, value in list(parent.iter_fields()):
            if isinstance(value, list):
                setattr(parent, name, [joining_measured(each) for each in value])
            else:
                setattr(parent, name, joining_measured(value))


def joining_measured(node: Any) -> Any:
    """A node, or the node with its result measured where it joins texts."""
    from jinja2 import nodes

    is_joining = isinstance(node, nodes.Concat | nodes.Add)
    return filtered(node, MEASURED) if is_joining else node


def filtered(node: Any, name: str) -> "nodes.Filter":
    """A node through a filter."""
    from jinja2 import nodes

    made = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(node.lineno)
    made.set_environment(node.environment)
    return made


def counted(values: Any) -> Iterator[Any]:
    """The values of a loop, each of which is a step."""
    rendering = _rendering.get()
    for value in values:
        rendering.spend()
        yield value


def measured(value: Any) -> Any:
    """A value as it is, where it is not too long."""
    if isinstance(value, str | list | tuple):
        # A copy of a long text takes longer than a step.
        _rendering.get().spend(1 + len(value) // 1000)
        check_length(len(value))
    return value


def check_length(length: int) -> None:
    """Raises jinja2.TemplateError for a text that is too long."""
    if length > MOST_CHARACTERS:
        refuse(f"it writes more than {MOST_CHARACTERS:,} characters")


def checked_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja's that looks at its arguments first."""

    # With it goes the mark by which Jinja knows what a filter wants to be handed.
    @wraps(function)
    def checked(*args: Any, **named: Any) -> Any:
        _rendering.get().spend()
        check_arguments(name, [*args, *named.values()])
        return called_with(function, args, named)

    return checked


def called_with(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> Any:
    """What a function returns for the arguments of a template, whose names are its own."""
    return function(*args, **named)


def check_arguments(name: str, values: Sequence[Any]) -> None:
    """Raises jinja2.TemplateError for arguments by which a text may grow beyond all memory."""
    for value in values:
        if isinstance(value, int) and abs(value) > MOST_REPEATED:
            refuse(f"`{name}` is called with the number {value}, at most {MOST_REPEATED}")
        if name in FORMATTING and isinstance(value, str) and WIDE_FORMAT.search(value):
            refuse(f"`{name}` is called with a width of more than four digits")
    if name in MULTIPLYING:
        lengths = [len(value) for value in values if isinstance(value, str | list | tuple)]
        longest = sorted(lengths)[-2:]
        # The longest texts of a conversation, and a token of a hundred characters.
        if len(longest) == 2 and longest[0] * longest[1] > 100 * MOST_CHARACTERS:
            refuse(f"`{name}` is called with texts that are too long together")


def multiplied(left: Any, right: Any) -> Any:
    """The operator `*` of a template."""
    check_arguments("*", [left, right])
    return measured(operator.mul(left, right))


def raised(left: Any, right: Any) -> Any:
    """The operator `**` of a template."""
    check_arguments("**", [left, right])
    # 10,000 to the 64th has 850 bits.
    if isinstance(right, int) and right > 64:
        refuse(f"a number is raised to the power of {right}, at most 64")
    return operator.pow(left, right)


def remainder(left: Any, right: Any) -> Any:
    """The operator `%` of a template, which formats where its left side is a text."""
    if isinstance(left, str):
        check_arguments("format", [left])
    return operator.mod(left, right)
