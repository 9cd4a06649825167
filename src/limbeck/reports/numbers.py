"""How numbers are written in a report. A number that is not known is a dash."""

from collections.abc import Sequence
from typing import Any

UNKNOWN = "\N{EN DASH}"
# As wide as a plus and as digits, so that columns of figures align; a hyphen is half of that.
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
# Digits are grouped by a thin space that does not break, as ISO 80000-1 has it: a comma is a
# decimal sign to half of the readers.
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def decimal(value: float | None, digits: int = 4) -> str:
    """A fixed number of digits after the point."""
    return UNKNOWN if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 4) -> str:
    """`decimal` with its sign, a plus too."""
    return UNKNOWN if value is None else f"{value:+.{digits}f}".replace("-", MINUS)


def interval(bounds: Sequence[float] | None) -> str:
    """`0.0011 to 0.0074`; nothing for no interval."""
    return f"{decimal(bounds[0])} to {decimal(bounds[1])}" if bounds else ""


def percent(share: float | None) -> str:
    """A share of 0 to 1 in percent, with as many digits as keep 99.9996 % from reading 100 %."""
    if share is None:
        return UNKNOWN
    # Six digits tell one flip in a hundred million; beyond, it is a hundred percent.
    for digits in range(2, 7):
        text = f"{100 * share:.{digits}f}"
        if float(text) < 100:
            break
    else:
        text = "100"
    return f"{text}\N{NO-BREAK SPACE}%"


def short(value: float | None) -> str:
    """Three significant digits, with an exponent below 1e-4 only."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    # Of the rounded number: 9.999 is 10.0, with one digit after the point.
    exponent = int(f"{value:.2e}".split("e")[1])
    digits = max(0, 2 - exponent)
    text = f"{value:.{digits}f}" if digits <= 6 else f"{value:.2e}"
    return text.replace("-", MINUS)


def p_value(value: float | None) -> str:
    """`= 0.0012`, or that it is below a ten-thousandth: 0 is what no chance has."""
    return "< 0.0001" if value is not None and value < 1e-4 else f"= {short(value)}"


def count(value: float | None) -> str:
    """A count in groups of three digits, or in millions."""
    if value is None:
        return UNKNOWN
    # Parameters of networks: nobody compares their last digits.
    if value >= 1e6:
        return f"{value / 1e6:.1f} M"
    return f"{round(value):,}".replace(",", THIN_SPACE)


def size(num_bytes: float | None) -> str:
    """Bytes in decimal units, three significant digits."""
    if num_bytes is None:
        return UNKNOWN
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # 999.6 kB would else round to 1000 kB.
        if num_bytes >= factor * 0.9995:
            return f"{short(num_bytes / factor)} {unit}"
    return f"{round(num_bytes)} B"


def duration(seconds: float) -> str:
    """The two largest of hours, minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        minutes = int(seconds // 60)
        return f"{minutes} min {int(seconds % 60):02d} s"
    # Rounded before it is split: 1 h 59.9 min would else read 1 h 60 min.
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def times(ratio: float | None) -> str:
    """A factor, such as 9.66 with a multiplication sign."""
    return UNKNOWN if ratio is None else f"{short(ratio)}{TIMES}"


def ratio_in_words(ratio: float | None, better: str, worse: str) -> str:
    """`12.0x faster`, or `1.30x slower` for a ratio below 1; nothing when it is not known."""
    if not ratio:
        return ""
    return f"{times(ratio)} {better}" if ratio >= 1 else f"{times(1 / ratio)} {worse}"


def plain(value: Any) -> str:
    """A value of a flat dictionary, such as a version or a list of CPU instructions."""
    if value is None:
        return UNKNOWN
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
