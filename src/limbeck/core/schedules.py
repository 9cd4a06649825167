"""Weights and temperatures that change while a training goes on. p is its progress, in [0, 1).

    linear(a, b)            a + (b - a) p
    cosine(a, b)            b + (a - b) (1 + cos(pi p)) / 2
    step(v@s, v@s, ...)     the value of the last share s that p has reached: phases, as those of QKD (Kim et al., 2019, arXiv 1911.12491)
    ramp(v@s, v@s, ...)     straight lines between the values, the last one held: a warm-up, an annealing

Shares rise from 0 to 1 at most. Torch-free.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
POINT = rf"{NUMBER}\s*@\s*{NUMBER}"
SCHEDULE = re.compile(
    rf"\s*(?:(?:linear|cosine)\(\s*{NUMBER}\s*,\s*{NUMBER}|(?:step|ramp)\(\s*{POINT}(?:\s*,\s*{POINT})*)\s*\)\s*"
)
FORMS = (
    "a number, linear(from, to), cosine(from, to), step(value@share, ...) or ramp(value@share, ...)"
)

Schedule = Callable[[float], float]


def scheduled(value: Any) -> float | str:
    """A recipe's `value`, checked to be a number or a schedule. Raises ValueError."""
    if isinstance(value, str) and SCHEDULE.fullmatch(value):
        schedule(value)
        return value
    if type(value) in (int, float) and math.isfinite(value):  # not bool
        return float(value)
    raise ValueError(f"Input should be {FORMS}")


def scheduled_above_0(value: Any) -> float | str:
    """As `scheduled`; the value must be above 0 from the first step to the last. Raises ValueError."""
    checked = scheduled(value)
    if lowest(checked) <= 0:
        raise ValueError("Input should be above 0 throughout")
    return checked


SCHEDULE_SCHEMA = {"type": "string", "pattern": f"^{SCHEDULE.pattern}$"}
Scheduled = Annotated[
    float | str,
    PlainValidator(scheduled),
    WithJsonSchema({"anyOf": [{"type": "number"}, SCHEDULE_SCHEMA]}),
]
ScheduledAbove0 = Annotated[
    float | str,
    PlainValidator(scheduled_above_0),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, SCHEDULE_SCHEMA]}),
]


def schedule(value: float | str) -> Schedule:
    """Progress in [0, 1] to a value. Raises ValueError."""
    if not isinstance(value, str):
        return lambda progress: float(value)
    kind, values, shares = _parsed(value)
    if kind in ("linear", "cosine"):
        return _between(kind, *values)
    return _step(values, shares) if kind == "step" else _ramp(values, shares)


def lowest(value: float | str) -> float:
    """The smallest value of a schedule: each runs between those that it names. Raises ValueError."""
    return min(_parsed(value)[1]) if isinstance(value, str) else value


def _parsed(text: str) -> tuple[str, list[float], list[float]]:
    """(kind, values, shares). Raises ValueError."""
    if not SCHEDULE.fullmatch(text):
        raise ValueError(f"schedule `{text}`: write {FORMS}")
    kind, _, rest = text.strip().partition("(")
    numbers = [float(number) for number in re.findall(NUMBER, rest)]
    if kind in ("linear", "cosine"):
        return kind, numbers, []
    values, shares = numbers[::2], numbers[1::2]
    if shares[0] != 0 or shares != sorted(set(shares)) or shares[-1] > 1:
        raise ValueError(
            f"schedule `{text.strip()}`: the shares after @ must begin at 0 and rise, to 1 at most"
        )
    return kind, values, shares


def _between(kind: str, start: float, end: float) -> Schedule:
    if kind == "linear":
        return lambda progress: start + (end - start) * progress
    return lambda progress: end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _step(values: list[float], shares: list[float]) -> Schedule:
    return lambda progress: values[bisect_right(shares, progress) - 1]


def _ramp(values: list[float], shares: list[float]) -> Schedule:
    def ramp(progress: float) -> float:
        right = bisect_right(shares, progress)
        if right == len(shares):
            return values[-1]
        part = (progress - shares[right - 1]) / (shares[right] - shares[right - 1])
        return values[right - 1] + (values[right] - values[right - 1]) * part

    return ramp
