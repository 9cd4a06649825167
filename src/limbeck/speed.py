"""Whether the artifact is slower than the same student in int8 or in float32, in words. Torch-free."""

from collections.abc import Mapping, Sequence
from typing import Any

SLOWER = 1.05  # times as long, beyond which it is said
TITLES = {"int8": "int8 weights", "float": "float32"}


def compare(arm: str, own: Mapping[str, Any], others: Sequence[Mapping[str, Any]], formats: Sequence[str]) -> dict[str, Any]:
    """report.json's `speed`: the artifact's p50 beside that of each twin (`form`, `p50`, `runtime`, `bytes`), and the twins it is slower than."""
    rows = [{**other, "ratio": round(own["p50"] / other["p50"], 3), "slower": own["p50"] > SLOWER * other["p50"]} for other in others]
    return {"arm": arm, "p50": own["p50"], "runtime": own["runtime"], "formats": list(formats), "twins": rows}


def sentences(speed: Mapping[str, Any] | None) -> list[str]:
    """One for each twin, the flagged ones in capitals and with their cure."""
    return [sentence(speed, twin) for twin in speed["twins"]] if speed else []


def sentence(speed: Mapping[str, Any], twin: Mapping[str, Any]) -> str:
    """How the artifact compares with one twin."""
    ratio = f"{twin['ratio']:.2f} times the time of" if twin["ratio"] >= 1 else f"{1 / twin['ratio']:.2f} times as fast as"
    told = f"{', '.join(speed['formats'])} takes {speed['p50']:.3f} ms, {ratio} the same student in {TITLES[twin['form']]} ({twin['p50']:.3f} ms)"
    if not twin["slower"]:
        return f"speed: {told}"
    cure = (
        "On this machine it saves bytes, not time: take quantize.weights=int8 for speed"
        if twin["form"] == "int8"
        else "On this machine integers do not pay: leave `quantize` out, or keep the slow layers float (`limbeck inspect` says which)"
    )
    return f"SLOWER than {TITLES[twin['form']]}: {told}. {cure}"
