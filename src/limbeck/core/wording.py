"""How names, lists of choices and missing packages read in a message."""

import difflib
import re
from collections.abc import Iterable, Sequence

MOST_CHOICES = 24  # in a message: a longer list would hide the hint before it
MOST_WORDS = 12
MOST_COMPARED = 2000  # with a misspelt word: a table may have a hundred thousand columns

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

    >>> nearest("kll", ["kl", "hidden"])
    'kl'
    """
    # Two words are close where 60 % of their letters match in order, difflib's default.
    close = difflib.get_close_matches(word, choices[:MOST_COMPARED], n=1)
    return close[0] if close else None


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
    """The sentence for `what` needs a package that the extra `train` brings.

    >>> needs_package("this", "torch")
    'this needs the package torch, which is not installed. pip install "limbeck[train]"'
    """
    return (
        f'{what} needs the package {package}, which is not installed. pip install "limbeck[train]"'
    )


def class_name(name: str) -> str:
    """`soft_cross_entropy` to `SoftCrossEntropy`."""
    return "".join(word.capitalize() for word in re.split("[-_]", name))
