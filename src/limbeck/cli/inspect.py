"""`limbeck inspect`: which layer of a run's quantized model is to blame, as tables.

`studies.inspection` measures; here stands how the terminal shows it, within 100 columns.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from limbeck.cli.options import AsJson, RunFolder

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_NAME = 28  # characters of a layer's name: more would break the rows of a hundred columns
MOST_LABEL = 12  # characters of an answer
MOST_ROWS = 10  # changed rows that are shown; report.html has all that were looked at
MOST_PLACES = 3  # layers that are named as where rows leave the float model
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# The parts of attention whose rounding is measured, and their columns.
FACTORS = ("query", "key", "value", "probabilities", "output")
FACTOR_HEAD = ("attention", "q dB", "k dB", "v dB", "P dB", "out dB")

LEGEND = (
    "nats: by how much rounding that layer moves the answer of a unit (a row, or a tagged word);",
    "dB: how much larger weights (w), input (in) and output (out) are than what rounding changed",
    "of them, 20 dB are ten times (the output: against float, what has added up so far);",
    "peak: the largest value over the root mean square; clipped: values beyond the range",
)

# Layers, attention modules and changed rows as report.json has them.
Row = dict[str, Any]


def inspect(folder: RunFolder, as_json: AsJson = False) -> None:
    """Show what each layer of a run's quantized model loses and takes.

    Shown are also which layers can saturate on some CPUs, and where changed answers begin. The
    tables join the run's report.
    """
    import json

    from limbeck.core.terminal.tables import wide_console
    from limbeck.studies.inspection import measured, publish

    inspected = measured(folder)
    if as_json:
        typer.echo(json.dumps(inspected))
    else:
        console = wide_console()
        # rich would take the [brackets] of a name for markup.
        for line in lines(inspected):
            console.print(line, markup=False)
    # Last: of a run that cannot be written to, what was measured is shown all the same.
    publish(inspected, folder)


def lines(inspected: dict[str, Any]) -> list["RenderableType"]:
    """What is shown of an inspection (`studies.inspection.inspect_run`)."""
    layers = inspected["layers"]
    shown: list[RenderableType] = [
        f"{inspected['arm']}, first seed; signals of {inspected['rows']} test rows, "
        "milliseconds of one row on one thread here",
        costs_table(layers, inspected["rest_milliseconds"]),
        signals_table(layers),
    ]
    if inspected["attention"]:
        shown.append(attention_table(inspected["attention"]))
    shown += float_lines(inspected.get("float_products") or {})
    return [*shown, *LEGEND, *changed_lines(inspected["changed"]), *overflow_lines(layers)]


def costs_table(layers: Sequence[Row], rest_milliseconds: float) -> "RenderableType":
    """What each layer takes, what it loses and whether it can saturate; sums below."""
    from limbeck.core.terminal.tables import table

    rows = []
    for layer in layers:
        row = (
            shortened(layer["name"]),
            layer["weights"],
            f"{layer['bytes']:,}",
            f"{layer['milliseconds']:.4f}",
            f"{layer['float_milliseconds']:.4f}",
            f"{layer['nats']:.1e}",
            decibels(layer["output_db"]),
            saturating(layer),
        )
        rows.append(row)
    # It is below 0 where a small layer's own call costs more than its work.
    if rest_milliseconds > 0:
        rows.append(("everything else", "", "", f"{rest_milliseconds:.4f}", "", "", "", ""))
    num_bytes = sum(layer["bytes"] for layer in layers)
    milliseconds = sum(layer["milliseconds"] for layer in layers) + rest_milliseconds
    nats = sum(layer["nats"] for layer in layers)
    sums = ("together", "", f"{num_bytes:,}", f"{milliseconds:.4f}", "", f"{nats:.1e}", "", "")
    rows.append(sums)
    head = ("layer", "weights", "bytes", "ms", "float ms", "nats", "out dB", "overflow")
    return table(head, rows, numbers=2)


def signals_table(layers: Sequence[Row]) -> "RenderableType":
    """How well each layer's grids hold its weights and what it reads."""
    from limbeck.core.terminal.tables import table

    rows = []
    for layer in layers:
        weights = (
            shortened(layer["name"]),
            decibels(layer["weight_db"]),
            between(layer["weight_range"]),
            f"{layer['weight_peak']:.1f}",
        )
        rows.append(weights + input_cells(layer))
    head = ("layer", "w dB", "weights", "peak", "in dB", "input", "peak", "clipped")
    return table(head, rows, numbers=1)


def input_cells(layer: Row) -> tuple[str, str, str, str]:
    """The cells of what a layer reads, which may be float."""
    if not layer["input_range"]:
        return ("float", "", "", "")
    from limbeck.reports.drawing.heatmap import in_percent

    return (
        decibels(layer["input_db"]),
        between(layer["input_range"]),
        f"{layer['input_peak']:.1f}",
        in_percent(layer["clipped"]),
    )


def attention_table(modules: Sequence[Row]) -> "RenderableType":
    """The signal to noise of each factor of attention's two products."""
    from limbeck.core.terminal.tables import table

    rows = []
    for module in modules:
        cells = [decibels(module[f"{factor}_db"]) for factor in FACTORS]
        rows.append((shortened(module["name"]), *cells))
    return table(FACTOR_HEAD, rows, numbers=1)


def float_lines(products: Mapping[str, int]) -> list["RenderableType"]:
    """What is still multiplied in floats, by weight."""
    if not products:
        return []
    from limbeck.analysis.float_products import in_words

    return [f"\nin float: {in_words(products)}"]


def changed_lines(changed: dict[str, Any] | None) -> list["RenderableType"]:
    """The test rows whose answer changed, and where each leaves the float model; nothing of a model
    that was quantized in its training."""
    if changed is None:
        return []
    from limbeck.core.terminal.tables import table

    shown: list[RenderableType] = [
        f"\n{changed['rows']} of {changed['of']} test rows are answered otherwise than in float"
    ]
    first = changed["first"]
    if not first:
        return shown
    rows = []
    for each in first[:MOST_ROWS]:
        row = (
            str(each["row"]),
            cut(each["label"]),
            cut(each["float"]),
            cut(each["quantized"]),
            shortened(each["layer"]),
            f"{100 * each['error']:.1f} %",
            each["rule"],
        )
        rows.append(row)
    head = ("row", "truth", "float", "integers", "leaves float at", "error", "by")
    shown.append(table(head, rows, numbers=5))
    # Where most of them leave is the layer to give more bits.
    rows_at = Counter(each["layer"] for each in first)
    for name, count in rows_at.most_common(MOST_PLACES):
        place = shortened(name)
        shown.append(f"  {count} of {len(first)} leave the float model at {place}")
    shown.append(
        "  threshold: the first layer whose output has a relative error above "
        f"{changed['threshold']:.0%}"
    )
    shown.append("  jump: none has; the layer where that error grows most")
    return shown


def overflow_lines(layers: Sequence[Row]) -> list["RenderableType"]:
    """Whether products can saturate, where, and the cure with its price."""
    from limbeck.analysis.saturation import SAFE
    from limbeck.core.system import machine

    # Above 1, some two weights of a channel add up to more than int16 holds.
    risky = [layer for layer in layers if layer["int16"] > 1]
    if not risky:
        return ["\noverflow: no layer can saturate, on a CPU without VNNI either"]
    # Other formats than int8 have no safe counterpart, and no price.
    priced = [layer for layer in layers if layer["safe_nats"] is not None]
    nats = sum(layer["nats"] for layer in priced)
    safe_nats = sum(layer["safe_nats"] for layer in priced)
    here = "has it" if machine.multiplies_exactly() else "has none"
    pattern = shortened(risky[0]["name"])
    return [
        f"\noverflow: {len(risky)} of {len(layers)} layers can saturate on a CPU without VNNI "
        f"(this one {here})",
        "  limbeck computes them exactly there, if more slowly; other programs that open the graph",
        "  in ONNX Runtime have to set session.x64quantprecision to 1",
        "  (the share of pairs of weights whose products with uint8 may not fit int16)",
        f"  cure: quantize.weights={SAFE}, weights of 7 bits: no product can saturate;",
        f"        rounding would cost {safe_nats:.1e} nats instead of {nats:.1e}; "
        "for some layers alone",
        f"        quantize.modules: {{{pattern!r}: {{weights: {SAFE}}}}}",
    ]


def cut(label: str) -> str:
    """The beginning of a long label."""
    return label if len(label) <= MOST_LABEL else label[: MOST_LABEL - 1] + ELLIPSIS


def shortened(name: str) -> str:
    """A long name without its beginning, as a pattern that a recipe's `modules` takes.

    >>> shortened("bert.encoder.layer.10.attention.output.dense")
    '*.10.attention.output.dense'
    """
    while len(name) > MOST_NAME and "." in name.removeprefix("*."):
        _, _, rest = name.removeprefix("*.").partition(".")
        name = f"*.{rest}"
    return name


def decibels(value: float | None) -> str:
    """A signal to noise; None is a signal without noise."""
    from limbeck.reports.drawing.heatmap import in_decibels

    return "exact" if value is None else in_decibels(value)


def between(bounds: Sequence[float]) -> str:
    """A range, its bounds in three digits each."""
    return " ".join(f"{bound:.3g}" for bound in bounds)


def saturating(layer: Row) -> str:
    """The share of neighbouring pairs of weights that can saturate.

    `possible` where no neighbours can, but some two weights of a channel: a runtime may lay them
    out beside each other.
    """
    from limbeck.reports.drawing.heatmap import in_percent

    if layer["overflow"] or layer["int16"] <= 1:
        return in_percent(layer["overflow"])
    return "possible"
