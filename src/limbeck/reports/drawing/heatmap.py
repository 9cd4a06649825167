"""The layers of a quantized model as a heat map: the warmer a cell, the more is lost or spent.

Each column has a scale of its own, from 0 (cold) to 1 (hot): a signal to noise is cold from COLD_DB
up and hottest at HOT_DB; nats go by the logarithm, over three decades below the worst layer;
overflow by the square root of its share; bytes and milliseconds by their part of the largest.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.core.grids import GRIDS
from limbeck.reports.numbers import THIN_SPACE, UNKNOWN

Json = Mapping[str, Any]
Values = Sequence[float | None]

# By 6 dB a bit: 8 bits leave 40 to 50 dB of signal to noise, 2 bits about 10.
COLD_DB, HOT_DB = 50.0, 10.0
DECADES = 3
MOST_OPACITY = 0.75  # of a cell's colour, so that its figure is read on light and on dark
# Nats that all layers together must lose before keeping some of them float is worth its bytes: an
# answer of one unit in a thousand, about.
LEAST_NATS = 1e-3
# Layers that are proposed, until they have so much of what is lost.
MOST_KEPT = 3
MOST_OF_LOSS = 0.5


@dataclass(frozen=True)
class Column:
    """A column: its title, the key of a layer's row, the heat of its values, and one as text."""

    title: str
    key: str
    heat: Callable[[Values], list[float]]
    text: Callable[[float], str]


def view(layers: Json | None) -> dict[str, Any] | None:
    """`layers` of report.json with what the template lays out: a head, and a row for each layer."""
    if layers is None:
        return None
    rows = layers["layers"]
    columns = []
    heats = {}
    for column in COLUMNS:
        values = [row.get(column.key) for row in rows]
        # `limbeck inspect` adds milliseconds; without it that column is not there.
        if any(value is not None for value in values):
            columns.append(column)
            heats[column.key] = column.heat(values)
    table = []
    for i, row in enumerate(rows):
        cells = [cell(row, heats[column.key][i], column) for column in columns]
        table.append({"name": row["name"], "weights": row["weights"], "cells": cells})
    return {
        **layers,
        "head": [column.title for column in columns],
        "table": table,
        "keep_float": kept_float(rows),
        # `int16`: a layer's largest sum of two products over what int16 holds.
        "can_saturate": any(row["int16"] > 1 for row in rows),
    }


def kept_float(rows: Sequence[Json]) -> dict[str, Any] | None:
    """Which layers to keep float, as lines of a recipe, with their `share` of what is lost and the
    `bytes` that they take more; None where too little is lost."""
    # A layer whose rounding helps by chance wins nothing by it.
    losing = [row for row in rows if (row.get("nats") or 0) > 0 and row["weights"] != "float"]
    whole = sum(row["nats"] for row in losing)
    if whole < LEAST_NATS:
        return None
    chosen: list[Json] = []
    for row in sorted(losing, key=lambda row: -row["nats"])[:MOST_KEPT]:
        if sum(each["nats"] for each in chosen) >= MOST_OF_LOSS * whole:
            break
        chosen.append(row)
    names = ", ".join(json.dumps(row["name"]) for row in chosen)
    return {
        "lines": f"quantize:\n  keep_float: [{names}]",
        "share": sum(row["nats"] for row in chosen) / whole,
        # Codes of `bits` become floats of 32.
        "bytes": sum(row["bytes"] * (32 / GRIDS[row["weights"]].bits - 1) for row in chosen),
    }


def cell(row: Json, heat: float, column: Column) -> dict[str, str]:
    """A figure and the opacity of its colour."""
    value = row.get(column.key)
    if value is None:
        text = "exact" if _is_exact(row, column.key) else UNKNOWN
    else:
        text = column.text(value)
    return {"text": text, "opacity": f"{MOST_OPACITY * heat:.3f}"}


def _is_exact(row: Json, key: str) -> bool:
    """Whether a figure is missing because there is no noise, and not because there is no signal."""
    if key == "input_db":
        return bool(row["input_range"])  # an embedding reads no numbers
    return key in ("weight_db", "output_db")


def by_decibels(values: Values) -> list[float]:
    """Heat of a signal to noise, 0 where nothing was lost."""
    heats = []
    for value in values:
        # An infinite ratio is not in JSON: no value is no noise.
        known = COLD_DB if value is None else value
        heat = (COLD_DB - known) / (COLD_DB - HOT_DB)
        heats.append(min(1.0, max(0.0, heat)))
    return heats


def by_logarithm(values: Values) -> list[float]:
    """Heat of a loss: 1 for the worst, a third less for each decade below it."""
    worst = _largest(values)
    heats = []
    for value in values:
        heat = 0.0
        # A layer whose rounding helps by chance has a loss below 0.
        if value is not None and value > 0:
            decades_below = -math.log10(value / worst)
            heat = max(0.0, 1 - decades_below / DECADES)
        heats.append(heat)
    return heats


def by_part(values: Values) -> list[float]:
    """Heat of a cost: its part of the largest."""
    largest = _largest(values)
    return [max(0.0, (value or 0.0) / largest) for value in values]


def _largest(values: Values) -> float:
    """Of the values that are known and not 0; 1 where none is, which then divides nothing."""
    return max((value for value in values if value), default=1.0)


def by_share(values: Values) -> list[float]:
    """Heat of what is itself a share: its root, since a small share matters."""
    return [math.sqrt(value or 0.0) for value in values]


def in_decibels(value: float) -> str:
    """One digit."""
    return f"{value:.1f}"


def in_nats(value: float) -> str:
    """Two digits."""
    return f"{value:.1e}"


def in_bytes(value: float) -> str:
    """Whole, in thousands."""
    return f"{round(value):,}".replace(",", THIN_SPACE)


def in_milliseconds(value: float) -> str:
    """Four digits after the point: a small layer takes microseconds."""
    return f"{value:.4f}"


def in_percent(value: float) -> str:
    """Two digits after the point."""
    return f"{100 * value:.2f} %" if value else "0"


COLUMNS = (
    Column("Weights dB", "weight_db", by_decibels, in_decibels),
    Column("Input dB", "input_db", by_decibels, in_decibels),
    Column("Output dB", "output_db", by_decibels, in_decibels),
    Column("Nats lost", "nats", by_logarithm, in_nats),
    Column("Overflow", "overflow", by_share, in_percent),
    Column("Bytes", "bytes", by_part, in_bytes),
    Column("ms", "milliseconds", by_part, in_milliseconds),
)
