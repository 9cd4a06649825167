"""How names, lists of choices and missing packages read in a message."""

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

MOST_CHOICES = 24  # in a message: a longer list would hide the hint before it
MOST_WORDS = 12
MOST_COMPARED = 2000  # with a misspelt word: a table may have a hundred thousand columns

# Of a part of a name between dashes: in fewer letters every slip gives another word, and in so many
# one letter may stand in place of another.
FEWEST_LETTERS = 2
FEWEST_REPLACED = 5

# Modules of the extra `train`: one that is missing is the installation's fault, not ours.
OF_THE_EXTRA_TRAIN = {
    "torch",
    "transformers",
    "accelerate",
    "onnx",
    "onnxscript",
    "sklearn",
    "scipy",
}

# What brings a package that neither the base nor the extra `train` does.
EXTRAS = dict.fromkeys(
    ("granian", "orjson", "prometheus_client", "python_multipart", "uvloop"), "serve"
) | {"opentelemetry": "tracing", "llguidance": "generate", "gguf": "generate"}


def suggest(word: str, choices: Iterable[object]) -> str:
    """The nearest choice and the list of them, for an error message.

    >>> suggest("kll", ["kl", "hidden"])
    'Did you mean `kl`? Choices: kl, hidden'
    """
    listed = [str(choice) for choice in choices]
    close = nearest(word, listed)
    hint = f"Did you mean `{close}`? " if close else ""
    shown = ", ".join(listed[:MOST_CHOICES]) or "none"
    num_hidden = len(listed) - MOST_CHOICES
    more = f", and {num_hidden} more" if num_hidden > 0 else ""
    return f"{hint}Choices: {shown}{more}"


def nearest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that is most like a word; None where none is.

    >>> [nearest(word, ["kl", "learning_rate", "accuracy", "auc"]) for word in ("KLL", "lr", "acc")]
    ['kl', 'learning_rate', 'accuracy']
    """
    bare = {_bare(choice): choice for choice in choices[:MOST_COMPARED]}
    asked = _bare(word)
    # 1. What is short for one name alone: its beginning, or the first letters of its parts.
    short = {
        choice
        for choice in bare.values()
        if len(asked) >= FEWEST_LETTERS
        and (_bare(choice).startswith(asked) or _initials(choice) == asked)
    }
    if len(short) == 1:
        return short.pop()
    # 2. Two words are close where 60 % of their letters match in order, difflib's default.
    close = difflib.get_close_matches(asked, bare, n=1)
    return bare[close[0]] if close else None


def _initials(name: str) -> str:
    """The first letters of the parts of a name; nothing of a single part."""
    parts = name.casefold().split("_")
    return "".join(part[:1] for part in parts) if len(parts) > 1 else ""


def certain(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a word is a slip of, beyond doubt; None where it may be another word.

    Beyond doubt is one choice alone that is the word but for case and dashes, or but for a slip of
    the keyboard in each part of the name: a letter too many or too few, two swapped, in words of
    five letters or more one in place of another. Slips of the first letter and
    of a digit are rare, and what looks like one is often another thing: `float16`, `int8`.

    >>> certain("epoch", ["epochs", "seed"]), certain("Small-CNN", ["small_cnn", "ngrams"])
    ('epochs', 'small_cnn')
    >>> [certain(word, ["bfloat16", "mse", "max_drop"]) for word in ("float16", "mae", "min_drop")]
    [None, None, None]
    """
    listed = list(dict.fromkeys(choices))[:MOST_COMPARED]
    found = [choice for choice in listed if _bare(choice) == _bare(word)]
    # Case and dashes say nothing, so that a slip beside them would be one too many.
    found = found or [choice for choice in listed if _is_slip_of(word, choice)]
    # Of two that may be meant neither is.
    return found[0] if len(found) == 1 else None


def _bare(word: str) -> str:
    """A word without case, dashes and underscores."""
    return re.sub("[-_ ]", "", word.casefold())


def _is_slip_of(word: str, choice: str) -> bool:
    """Whether every part of a name, between dashes, is the other's but for a slip."""
    digits = re.findall(r"\d", word)
    if digits != re.findall(r"\d", choice) or word[:1] != choice[:1]:
        return False
    parts = re.split("[-_]", word)
    others = re.split("[-_]", choice)
    if len(parts) != len(others):
        # A dash too many or too few is a slip by itself.
        return False
    pairs = zip(parts, others, strict=True)
    return all(part == other or is_slip(part, other) for part, other in pairs)


def is_slip(word: str, other: str) -> bool:
    """Whether one slip of the keyboard lies between two words.

    >>> is_slip("unit", "uint"), is_slip("epoch", "epochs"), is_slip("mae", "mse")
    (True, True, False)
    """
    # Without what both begin with, and then what both end with, the slip is left.
    begin = _num_shared(word, other)
    rest, rest_of_other = word[begin:], other[begin:]
    end = _num_shared(rest[::-1], rest_of_other[::-1])
    rest = rest[: len(rest) - end]
    rest_of_other = rest_of_other[: len(rest_of_other) - end]
    lengths = (len(rest), len(rest_of_other))
    shortest = min(len(word), len(other))
    if lengths in ((0, 1), (1, 0)):
        return shortest >= FEWEST_LETTERS
    if lengths == (2, 2):
        return rest == rest_of_other[::-1]
    # In a short word another letter makes another word.
    return lengths == (1, 1) and shortest >= FEWEST_REPLACED


def _num_shared(word: str, other: str) -> int:
    """How many letters two words begin with alike."""
    pairs = zip(word, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def some(words: Sequence[str], most: int = MOST_WORDS) -> str:
    """The first `most` of many words, and how many more there are."""
    shown = ", ".join(words[:most])
    num_hidden = len(words) - most
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown


def figure(value: float | None, digits: int = 4) -> str:
    """A figure in a table; a dash where it is undefined.

    >>> figure(0.25), figure(None)
    ('0.2500', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def needs_package(what: str, package: str) -> str:
    """The sentence for `what` needs a package that one of the extras brings.

    >>> needs_package("this", "torch")
    'this needs the package torch, which is not installed. pip install "limbeck[train]"'
    """
    extra = EXTRAS.get(package, "train")
    return (
        f"{what} needs the package {package}, which is not installed. "
        f'pip install "limbeck[{extra}]"'
    )


def class_name(name: str) -> str:
    """`soft_cross_entropy` to `SoftCrossEntropy`."""
    return "".join(word.capitalize() for word in re.split("[-_]", name))


def json_kind(value: object) -> str:
    """What a value of JSON is.

    >>> [json_kind(value) for value in (None, True, 2, "x", [])]
    ['null', 'true or false', 'a number', 'a text', 'a list']
    """
    # `True` is a number in Python: what is asked first counts.
    kinds = {bool: "true or false", int | float: "a number", str: "a text", list: "a list"}
    found = (name for kind, name in kinds.items() if isinstance(value, kind))
    return "null" if value is None else next(found, "an object")
