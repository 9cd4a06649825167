"""Whether the artifact is slower than the same student in int8 or in float32, in sentences.

The ratios and the judgement stand in report.json's `speed`, computed by `artifact.speed_ratio`.
"""

from collections.abc import Mapping
from typing import Any

# Form in report.json -> its name for a reader.
TITLES = {"int8": "int8 weights", "float": "float32"}
# Six blocks of rows (`artifact.speed_ratio`).
ROWS_FOR_INTERVAL = 120
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
    """One for each reference; one that is faster than the artifact is told in capitals."""
    if not speed:
        return []
    return [sentence(speed, reference) for reference in speed["twins"]]


def sentence(speed: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """How the artifact compares with one reference, a row of `twins`."""
    title = TITLES[reference["form"]]
    interval = reference["ratio_ci95"]
    bounds = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    compared = (
        f"{', '.join(speed['formats'])} takes {speed['p50']:.3f} ms, "
        f"{reference['ratio']:.2f}{bounds} times as long as "
        f"the same student in {title} ({reference['p50']:.3f} ms)"
    )
    if not interval:
        compared += (
            f"; {speed['rows']} rows were timed, too few for an interval: "
            f"verdict.latency_rows={ROWS_FOR_INTERVAL} or more gives one"
        )
    if reference["slower"]:
        return f"SLOWER than {title}: {compared}. {CURES[reference['form']]}"
    return f"speed: {compared}"
