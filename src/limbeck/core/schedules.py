"""Weights and temperatures that change while a training goes on.

A schedule is a function of the training's progress p in [0, 1]:

    linear(a, b)             a + (b - a) p
    cosine(a, b)             b + (a - b) (1 + cos(pi p)) / 2
    step(v@s, v@s, ...)      the value v of the last share s that p has reached: phases, as in QKD
                             (Kim et al., 2019, arXiv 1911.12491)
    ramp(v@s, v@s, ...)      straight lines between the values, the last one held: a warm-up

Shares begin at 0 and rise, to 1 at most.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

# As JSON and YAML 1.2 write it, and `.5` and `5.`; no NaN and no infinity.
NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
POINT = rf"{NUMBER}\s*@\s*{NUMBER}"
BETWEEN_TWO = rf"(?:linear|cosine)\(\s*{NUMBER}\s*,\s*{NUMBER}"
THROUGH_POINTS = rf"(?:step|ramp)\(\s*{POINT}(?:\s*,\s*{POINT})*"
# The whole text, so that it can also be the pattern of the JSON Schema.
SCHEDULE = re.compile(rf"\s*(?:{BETWEEN_TWO}|{THROUGH_POINTS})\s*\)\s*")
FORMS = (
    "a number, linear(from, to), cosine(from, to), step(value@share, ...) or ramp(value@share, ...)"
)

Schedule = Callable[[float], float]


def scheduled(value: Any) -> float | str:
    """A recipe's `value`, checked to be a number or a schedule. Raises ValueError."""
    if isinstance(value, str) and SCHEDULE.fullmatch(value):
        schedule(value)  # refuses shares that do not rise
        return value
    # By type, since a bool is an int too.
    if type(value) in (int, float) and math.isfinite(value):
        return float(value)
    raise ValueError(f"Input should be {FORMS}")


def scheduled_above_0(value: Any) -> float | str:
    """As `scheduled`, for a value above 0 from the first step to the last. Raises ValueError."""
    checked = scheduled(value)
    if lowest(checked) <= 0:
        raise ValueError("Input should be above 0 throughout")
    return checked


SCHEDULE_SCHEMA = {"type": "string", "pattern": f"^{SCHEDULE.pattern}$"}
NUMBER_SCHEMA = {"type": "number"}
ABOVE_0_SCHEMA = {"type": "number", "exclusiveMinimum": 0}

# Types of recipe keys: pydantic checks them by the functions above.
Scheduled = Annotated[
    float | str,
    PlainValidator(scheduled),
    WithJsonSchema({"anyOf": [NUMBER_SCHEMA, SCHEDULE_SCHEMA]}),
]
ScheduledAbove0 = Annotated[
    float | str,
    PlainValidator(scheduled_above_0),
    WithJsonSchema({"anyOf": [ABOVE_0_SCHEMA, SCHEDULE_SCHEMA]}),
]


def schedule(value: float | str) -> Schedule:
    """The function from progress in [0, 1] to a value; a number is the same at all times.

    Raises ValueError.

    >>> schedule("linear(1.0, 0.5)")(0.5)
    0.75
    """
    if not isinstance(value, str):
        return lambda progress: float(value)
    kind, values, shares = _parsed(value)
    if kind == "linear":
        return _linear(*values)
    if kind == "cosine":
        return _cosine(*values)
    if kind == "step":
        return _step(values, shares)
    return _ramp(values, shares)


def lowest(value: float | str) -> float:
    """The smallest value that a schedule takes. Raises ValueError."""
    if not isinstance(value, str):
        return value
    _, values, _ = _parsed(value)
    return min(values)  # every schedule stays between the values that it names


def _parsed(text: str) -> tuple[str, list[float], list[float]]:
    """(kind, values, shares) of a schedule; linear and cosine have no shares. Raises ValueError."""
    if not SCHEDULE.fullmatch(text):
        raise ValueError(f"schedule `{text}`: write {FORMS}")
    kind, _, rest = text.strip().partition("(")
    numbers = [float(number) for number in re.findall(NUMBER, rest)]
    if kind in ("linear", "cosine"):
        return kind, numbers, []
    values = numbers[::2]
    shares = numbers[1::2]
    is_rising = shares == sorted(set(shares))
    if shares[0] != 0 or not is_rising or shares[-1] > 1:
        raise ValueError(
            f"schedule `{text.strip()}`: the shares after @ must begin at 0 and rise, to 1 at most"
        )
    return kind, values, shares


def _linear(start: float, end: float) -> Schedule:
    return lambda progress: start + (end - start) * progress


def _cosine(start: float, end: float) -> Schedule:
    return lambda progress: end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _step(values: list[float], shares: list[float]) -> Schedule:
    return lambda progress: values[bisect_right(shares, progress) - 1]


def _ramp(values: list[float], shares: list[float]) -> Schedule:
    def ramp(progress: float) -> float:
        right = bisect_right(shares, progress)  # the first share that is still to come
        if right == len(shares):
            return values[-1]
        left = right - 1
        part = (progress - shares[left]) / (shares[right] - shares[left])
        return values[left] + (values[right] - values[left]) * part

    return ramp
