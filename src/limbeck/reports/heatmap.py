"""The layers of a quantized model as a heat map of the report: the warmer a cell, the more its layer loses or costs in that column. Torch-free.

A signal to noise of COLD_DB or more is cold and HOT_DB the hottest; nats go by the logarithm, over three decades below the worst layer; overflow by
its share; bytes and milliseconds by their part of the largest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

COLD_DB, HOT_DB = 50.0, 10.0
DECADES = 3
MOST_OPACITY = 0.75  # of a cell's colour, so that its figure is read on light and on dark
NONE = "\N{EN DASH}"


def view(layers: Json | None) -> dict[str, Any] | None:
    """What the template lays out: a head, a row of cells for each layer, and the changed test rows."""
    if layers is None:
        return None
    columns = [
        column
        for column in COLUMNS
        if any(row.get(column[1]) is not None for row in layers["layers"])
    ]
    heats = {key: heat([row.get(key) for row in layers["layers"]]) for _, key, heat, _ in columns}
    rows = [
        {
            "name": row["name"],
            "weights": row["weights"],
            "cells": [cell(row, heats[key][i], key, text) for _, key, _, text in columns],
        }
        for i, row in enumerate(layers["layers"])
    ]
    return {
        **layers,
        "head": [title for title, *_ in columns],
        "table": rows,
        "can_saturate": any(row["int16"] > 1 for row in layers["layers"]),
    }


def cell(row: Json, heat: float, key: str, text: Callable[[float], str]) -> dict[str, str]:
    """A figure and the opacity of its colour."""
    value = row.get(key)
    missing = (
        "exact"
        if key in ("weight_db", "output_db") or (key == "input_db" and row["input_range"])
        else NONE
    )
    return {
        "text": missing if value is None else text(value),
        "opacity": f"{MOST_OPACITY * heat:.3f}",
    }


def by_decibels(values: Sequence[float | None]) -> list[float]:
    """Heat of a signal to noise, 0 where nothing was lost."""
    return [
        0.0 if value is None else min(1.0, max(0.0, (COLD_DB - value) / (COLD_DB - HOT_DB)))
        for value in values
    ]


def by_logarithm(values: Sequence[float | None]) -> list[float]:
    """Heat of a loss."""
    worst = max((value for value in values if value), default=1.0)
    return [
        max(0.0, 1 + math.log10(value / worst) / DECADES) if value and value > 0 else 0.0
        for value in values
    ]


def by_part(values: Sequence[float | None]) -> list[float]:
    """Heat of a cost: its part of the largest."""
    largest = max((value for value in values if value), default=1.0)
    return [max(0.0, (value or 0.0) / largest) for value in values]


def by_share(values: Sequence[float | None]) -> list[float]:
    """Heat of what is itself a share."""
    return [math.sqrt(value or 0.0) for value in values]


def in_decibels(value: float) -> str:
    """One digit."""
    return f"{value:.1f}"


def in_nats(value: float) -> str:
    """Two digits."""
    return f"{value:.1e}"


def in_bytes(value: float) -> str:
    """Whole, in thousands."""
    return f"{round(value):,}".replace(",", "\u202f")


def in_milliseconds(value: float) -> str:
    """Four digits after the point: a small layer takes microseconds."""
    return f"{value:.4f}"


def in_percent(value: float) -> str:
    """Two digits after the point."""
    return f"{100 * value:.2f} %" if value else "0"


COLUMNS = (
    ("Weights dB", "weight_db", by_decibels, in_decibels),
    ("Input dB", "input_db", by_decibels, in_decibels),
    ("Output dB", "output_db", by_decibels, in_decibels),
    ("Nats lost", "nats", by_logarithm, in_nats),
    ("Overflow", "overflow", by_share, in_percent),
    ("Bytes", "bytes", by_part, in_bytes),
    ("ms", "milliseconds", by_part, in_milliseconds),
)
