"""What a search may spend, and the formats it chooses from, as the command line gives them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.core import wording
from limbeck.core.grids import GRIDS
from limbeck.core.schedules import NUMBER

# What is chosen from where no formats are named. All integer formats take one time, so that a
# budget of milliseconds can only tell integers and float apart.
DEFAULT_FORMATS = {
    "bits": "int8,int4,int3,int2,ternary",
    "bytes": "int8,int4,int3,int2,ternary",
    "milliseconds": "int8,float",
}

# Weights lie on symmetric grids.
CHOICES = [form for form in GRIDS if GRIDS[form].symmetric] + ["float"]

# The units in words, for messages.
UNITS = {"bits": "bits a weight", "bytes": "bytes", "milliseconds": "milliseconds"}

FLOAT_BITS = 32.0  # of a weight that stays float

# The bytes of a size's unit: KB as files are often measured, KiB as memory is.
SIZES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


@dataclass(frozen=True)
class Budget:
    """At most `limit` of a unit: `bits` (of a weight, on average), `bytes` or `milliseconds`."""

    unit: str
    limit: float


def parse_budget(
    bits: float | None,
    size: str | None,
    milliseconds: float | None,
) -> Budget:
    """The one budget of a command line; `size` is text such as '9MB'.

    Raises:
        ValueError: there is none or more than one, or it is no number above 0.
    """
    limits = {
        "bits": bits,
        "bytes": None if size is None else num_bytes(size),
        "milliseconds": milliseconds,
    }
    given = []
    for unit, limit in limits.items():
        if limit is not None:
            given.append(Budget(unit, limit))
    if len(given) != 1:
        told = " and ".join(f"--{budget.unit}" for budget in given) or "none"
        raise ValueError(
            f"search: give one budget, not {told}: --bits 4.5, --bytes 9MB, or --milliseconds 1.2"
        )
    # Infinity and NaN are read as numbers, too.
    budget = given[0]
    if not 0 < budget.limit < float("inf"):
        raise ValueError(f"search: --{budget.unit} is a number above 0, not {budget.limit:g}")
    return budget


def code_bits(form: str) -> float:
    """The bits of one weight's code."""
    return FLOAT_BITS if form == "float" else GRIDS[form].bits


def check_bits(budget: Budget, formats: Sequence[str]) -> None:
    """Refuse bits that no choice of formats reaches: every module would stay as wide as can be.

    Raises:
        ValueError: the budget is above the bits of the widest of `formats`.
    """
    bits_of = {form: code_bits(form) for form in formats}
    widest = max(bits_of.values())
    if budget.unit == "bits" and budget.limit > widest:
        choices = ", ".join(f"{form} {bits:g}" for form, bits in bits_of.items())
        raise ValueError(
            f"search: --bits {budget.limit:g} limits nothing: the widest format has {widest:g} "
            f"bits. Name fewer than that, or wider --formats. Bits of these: {choices}"
        )


def num_bytes(text: str) -> float:
    """A size in bytes.

    Raises:
        ValueError: the text is no number with a unit of SIZES.

    Example:
        >>> num_bytes("9MB")
        9000000.0
    """
    match = re.fullmatch(rf"\s*({NUMBER})\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in SIZES:
        units = ", ".join(unit for unit in SIZES if unit)
        raise ValueError(
            f"search: --bytes `{text}` is no size. "
            f"Write a number, and after it one of {units}, as in 9MB"
        )
    return float(match[1]) * SIZES[match[2]]


def parse_formats(text: str | None, unit: str) -> list[str]:
    """The formats of a list with commas, each once; those of DEFAULT_FORMATS where it is None.

    Raises:
        ValueError: the list is empty, or names a format that weights cannot have.
    """
    text = DEFAULT_FORMATS[unit] if text is None else text
    stripped = [name.strip() for name in text.split(",")]
    # Each once, in the order given: `int8,,int8` is one.
    names = list(dict.fromkeys(name for name in stripped if name))
    for name in names:
        if name not in CHOICES:
            hint = wording.suggest(name, CHOICES)
            raise ValueError(f"search: --formats: no weights are `{name}`. {hint}")
    if not names:
        raise ValueError(f"search: --formats names none. Choices: {', '.join(CHOICES)}")
    return names
