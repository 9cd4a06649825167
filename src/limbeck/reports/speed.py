"""How fast the artifact is and where that comes from, in sentences, of report.json's `speed`.

Ratios, intervals and judgements are computed by `artifact.speed` and are only told here: the same
figure stands in the verdict, in the table and in these lines.
"""

from collections.abc import Mapping
from typing import Any

from limbeck.reports.numbers import short

# As `artifact.speed.product` has them.
FACTORS = ("runtime", "architecture", "integers")
# Form in report.json -> its name for a reader.
TITLES = {"int8": "int8 weights", "float": "float32"}
# Six blocks of rows, which a report of schema 1 took its interval from.
ROWS_FOR_INTERVAL = 120
# Behind the signs of a busy machine.
NOT_RATIOS = "  ratios are of CPU time, which does not grow while an answer waits for a core"
# What to write instead, by the form of the reference that is faster.
CURES = {
    "int8": (
        "On this machine it saves bytes, not time: for speed take quantize.weights=int8, "
        "without `group` and `activations: float`"
    ),
    "float": (
        "On this machine it saves bytes, not time: leave `quantize` out, "
        "or keep the slow layers float (`limbeck inspect` says which)"
    ),
}


def sentences(speed: Mapping[str, Any] | None) -> list[str]:
    """The product, the start, what says that the machine was busy, and each reference; one that is
    faster than the artifact is told in capitals."""
    if not speed:
        return []
    twins = [twin for twin in speed["twins"] if is_news(speed, twin)]
    return [
        *product_lines(speed),
        *busy_lines(speed),
        *(sentence(speed, twin) for twin in twins),
    ]


def busy_lines(speed: Mapping[str, Any]) -> list[str]:
    """What says that the machine was busy, and what that leaves as it is."""
    signs = speed.get("busy", [])
    lines = [f"busy: {sign}" for sign in signs]
    return [*lines, NOT_RATIOS] if signs and is_cpu_time(speed) else lines


def is_news(speed: Mapping[str, Any], twin: Mapping[str, Any]) -> bool:
    """Whether a reference says more than the product, which compares with the float graph too."""
    return "product" not in speed or twin["slower"] or twin["form"] != "float"


def product_lines(speed: Mapping[str, Any]) -> list[str]:
    """`12.3 [11.9, 12.8] times as fast as the teacher = runtime 1.92 x ...`, and what a start
    takes; nothing of a report of schema 1."""
    product = speed.get("product")
    if not product:
        return []
    # Without a teacher there is no total, and the factors stand alone.
    total = product["total"]
    factors = " x ".join(factor(name, product[name]) for name in FACTORS)
    if total["ratio"] is None:
        line = f"speed: {factors}"
    else:
        line = f"speed: {known(total)} times as fast as the teacher = {factors}"
    line += f" ({threads_of(speed)}{on_all(speed.get('all_threads'))})"
    # Two factors may have one reason.
    reasons = {told["reason"]: None for told in product.values() if told["ratio"] is None}
    lines = [line, *(f"  not known: {reason}" for reason in reasons)]
    if "cold_start_ms" in speed:
        lines.append(
            f"start: {speed['cold_start_ms'] / 1000:.1f} s from a new process to its first answer, "
            f"{speed['peak_mb']:.0f} MB of memory at most"
        )
    return lines


def factor(name: str, told: Mapping[str, Any]) -> str:
    """One factor with its interval, or that it is not known."""
    return f"{name} {known(told) if told['ratio'] else '?'}"


def known(told: Mapping[str, Any]) -> str:
    """A ratio with its interval."""
    low, high = told["ratio_ci95"]
    return f"{short(told['ratio'])} [{short(low)}, {short(high)}]"


def threads_of(speed: Mapping[str, Any]) -> str:
    """`1 thread`, `2 threads`."""
    return f"{speed['threads']} thread{'s' * (speed['threads'] > 1)}"


def on_all(speed: Mapping[str, Any] | None) -> str:
    """The total with all cores, where it is another."""
    if not speed or not speed["product"]["total"]["ratio"]:
        return ""
    # The clock of several threads is also that of whoever shares the cores.
    if speed.get("busy"):
        return f"; with {threads_of(speed)} not known, the machine was busy"
    return f"; {short(speed['product']['total']['ratio'])} with {threads_of(speed)}"


def is_cpu_time(speed: Mapping[str, Any] | None) -> bool:
    """Whether ratios are of CPU time: of one thread, in reports that tell it."""
    return bool(speed and "ms" in speed and speed["threads"] == 1)


def milliseconds(told: Mapping[str, Any]) -> float:
    """What ratios are of, of a `latency_ms`, of `speed` or of one of its twins; in older reports
    the median."""
    ms: float = told.get("ms", told["p50"])
    return ms


def sentence(speed: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """How the artifact compares with one reference, a row of `twins`."""
    title = TITLES[reference["form"]]
    interval = reference["ratio_ci95"]
    bounds = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    compared = (
        f"{', '.join(speed['formats'])} takes {milliseconds(speed):.3f} ms, "
        f"{reference['ratio']:.2f}{bounds} times as long as "
        f"the same student in {title} ({milliseconds(reference):.3f} ms)"
    )
    if not interval:
        compared += (
            f"; {speed['rows']} rows were timed, too few for an interval: "
            f"verdict.latency_rows={ROWS_FOR_INTERVAL} or more gives one"
        )
    if reference["slower"]:
        return f"SLOWER than {title}: {compared}. {CURES[reference['form']]}"
    return f"speed: {compared}"
