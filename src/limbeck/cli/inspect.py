"""`limbeck inspect RUN`: what each layer of a run's quantized model loses (`layers`), what it takes of time here (`timing`), and what to do about it.

Nothing is computed anew but the milliseconds, which are measured at every call and then stand in the run's report too.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from limbeck.analysis import layers, timing
from limbeck.analysis.layers import LEAVES, SAFE
from limbeck.core import machine
from limbeck.core.files import read_json
from limbeck.core.store import Store
from limbeck.core.tables import table
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.user_model import Own, wrapped
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import Arm, Bench
from limbeck.quantization.plan import plan_schemes
from limbeck.recipe.reading import read
from limbeck.reports import page
from limbeck.reports.heatmap import in_decibels, in_percent
from limbeck.studies import search

if TYPE_CHECKING:
    from rich.console import RenderableType

Rows = Mapping[str, Iterable[Mapping[str, Any]]]

MOST_NAME = 28  # characters of a layer's name in the terminal
MOST_LABEL, ELLIPSIS = 12, "\N{HORIZONTAL ELLIPSIS}"
FACTORS = ("query", "key", "value", "probabilities", "output")
MOST_ROWS = 10  # changed rows in the terminal


class KeptOnly(Store):
    """A store that computes nothing but what layers lose."""

    def _fill(self, entry: Path, inputs: dict[str, Any], build: Any) -> None:
        if not entry.name.startswith("layers-"):
            raise ValueError(
                f"the cache ({self.folder}) does not hold `{entry.name}` of this run: it was emptied, LIMBECK_CACHE named another folder then, "
                "or data, model or versions have changed. Run its recipe once more, then inspect it"
            )
        super()._fill(entry, inputs, build)


def inspect(
    folder: Path, models: Mapping[str, nn.Module | Own] | None = None, rows: Rows | None = None
) -> dict[str, Any]:
    """What `limbeck inspect` shows of a run's judged arm, first seed; `models` and `rows` as the run was given them.

    Raises ValueError for what is no run, or quantized nothing.
    """
    found = finished(folder)
    check_given(folder, found.get("from_python") or {}, models or {}, rows)
    asked = read(folder / "recipe.yaml")
    if asked.quantize is None:
        raise ValueError(
            f"{folder}: its recipe quantizes nothing, so there is nothing to inspect. Give the recipe a `quantize` and run it"
        )
    arms = derive_arms(asked, 0) if asked.verdict else {"quantized": asked}
    name = judged_arm(arms)
    if arms[name].quantize is None:
        cure = "Add `joint` or `kd+ptq` to verdict.arms, and run it again"
        raise ValueError(
            f"{folder}: of its arms ({', '.join(arms)}) none is quantized, so there is nothing to inspect. {cure}"
        )
    own = wrapped(models)
    bench = Bench(arms[name], KeptOnly(), own, rows)
    arm = run_arm(arms[name], bench.store, bench=bench)
    inspected = {"arm": name, **layers.stage(bench, arm)}
    add_milliseconds(inspected, bench, arm)
    page.redraw({**found, "layers": inspected}, folder)
    return inspected


def finished(folder: Path) -> dict[str, Any]:
    """The report of a finished run. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. `limbeck run RECIPE --out {folder}` makes one")
    if not (folder / "report.json").is_file():
        begun = (folder / "recipe.yaml").is_file()
        cure = (
            f"`limbeck run {folder / 'recipe.yaml'} --out {folder}` goes on with it"
            if begun
            else f"`limbeck run RECIPE --out {folder}` makes one"
        )
        raise ValueError(f"{folder}: no report.json here, so this is no finished run. {cure}")
    try:
        found: dict[str, Any] = read_json(folder / "report.json")
        return {**found, "schema": found["schema"]}
    except (json.JSONDecodeError, KeyError, TypeError):
        cure = f"`limbeck run {folder / 'recipe.yaml'} --out {folder}` writes it again"
        raise ValueError(f"{folder / 'report.json'}: not the report of a run. {cure}") from None


def check_given(
    folder: Path, needed: dict[str, Any], models: Mapping[str, Any], rows: Rows | None
) -> None:
    """Raises ValueError where the run was given models or rows that are not here."""
    missing = [name for name in needed.get("models", ()) if name not in models]
    if needed.get("rows") and rows is None:
        missing = [*missing, "rows"]
    if missing:
        cure = f"limbeck.cli.inspect.inspect(Path({str(folder)!r}), models={{...}}, rows={{...}}) inspects it"
        raise ValueError(
            f"{folder}: this run was given {', '.join(f'`{each}`' for each in missing)} from Python: {cure}"
        )


def add_milliseconds(found: dict[str, Any], bench: Bench, arm: Arm) -> None:
    """Of each layer alone, in its own form and in float, and of the rest of the model with int8 weights."""
    assert arm.start is not None and arm.recipe.quantize is not None
    student = search.Student(
        bench, arm.recipe, arm.start
    )  # untrained: time does not hang on the weights
    schemes = plan_schemes(student.model(), student.settings, student.activations)
    swapped = student.prepared(search.changed(schemes, activations="float"))
    measured, rest = timing.milliseconds(search.subject(student, swapped, schemes))
    for row in found["layers"]:
        row["milliseconds"], row["float_milliseconds"] = (
            measured[row["name"]][timing.INTEGERS],
            measured[row["name"]][timing.FLOAT],
        )
    found["rest_milliseconds"] = rest


def lines(found: dict[str, Any]) -> list["RenderableType"]:
    """For the terminal, within 100 columns."""
    said: list[RenderableType] = [
        f"{found['arm']}, first seed; signals of {found['rows']} test rows, milliseconds of one row on one thread here"
    ]
    costs = [
        (
            shortened(row["name"]), row["weights"], f"{row['bytes']:,}", f"{row['milliseconds']:.4f}", f"{row['float_milliseconds']:.4f}",
            f"{row['nats']:.1e}", decibels(row["output_db"]), saturating(row),
        )
        for row in found["layers"]
    ]  # fmt: skip
    total = {
        key: sum(row[key] for row in found["layers"]) for key in ("bytes", "milliseconds", "nats")
    }
    rest = found["rest_milliseconds"]
    if rest > 0:  # less where a call of its own costs a small layer more than its work
        costs.append(("everything else", "", "", f"{rest:.4f}", "", "", "", ""))
    costs.append(
        (
            "together",
            "",
            f"{total['bytes']:,}",
            f"{total['milliseconds'] + rest:.4f}",
            "",
            f"{total['nats']:.1e}",
            "",
            "",
        )
    )
    said.append(
        table(
            ("layer", "weights", "bytes", "ms", "float ms", "nats", "out dB", "overflow"),
            costs,
            numbers=2,
        )
    )
    signals = [
        (
            shortened(row["name"]), decibels(row["weight_db"]), between(row["weight_range"]), f"{row['weight_peak']:.1f}",
            *((decibels(row["input_db"]), between(row["input_range"]), f"{row['input_peak']:.1f}", in_percent(row["clipped"]))
              if row["input_range"] else ("float", "", "", "")),
        )
        for row in found["layers"]
    ]  # fmt: skip
    said.append(
        table(
            ("layer", "w dB", "weights", "peak", "in dB", "input", "peak", "clipped"),
            signals,
            numbers=1,
        )
    )
    attending = [
        (shortened(row["name"]), *(decibels(row[f"{key}_db"]) for key in FACTORS))
        for row in found["attention"]
    ]
    said += (
        [table(("attention", "q dB", "k dB", "v dB", "P dB", "out dB"), attending, numbers=1)]
        if attending
        else []
    )
    said.append("nats lost by that layer's rounding; dB: signal to noise of weights, of the input,")
    said.append(
        "of the output (against float, what has added up so far); peak: largest value over rms"
    )
    return [*said, *changed_lines(found["changed"]), *overflow_lines(found["layers"])]


def changed_lines(changed: dict[str, Any]) -> list["RenderableType"]:
    """The test rows whose answer changed, and where each leaves the float model."""
    said: list[RenderableType] = [
        f"\n{changed['rows']} of {changed['of']} test rows are answered otherwise than in float"
    ]
    if not changed["first"]:
        return said
    rows = [
        (
            str(each["row"]), *(cut(each[key]) for key in ("label", "float", "quantized")), shortened(each["layer"]),
            f"{100 * each['error']:.1f} %", each["rule"],
        )
        for each in changed["first"][:MOST_ROWS]
    ]  # fmt: skip
    said.append(
        table(
            ("row", "truth", "float", "integers", "leaves float at", "error", "by"), rows, numbers=5
        )
    )
    counts = Counter(each["layer"] for each in changed["first"])
    said += [
        f"  {count} of {len(changed['first'])} leave the float model at {shortened(name)}"
        for name, count in counts.most_common(3)
    ]
    said.append(
        f"  threshold: the first layer whose output has a relative error above {LEAVES:.0%}"
    )
    said.append("  jump: none has; the layer where that error grows most")
    return said


def overflow_lines(rows: list[dict[str, Any]]) -> list["RenderableType"]:
    """Whether products can saturate, where, and the cure with its price."""
    risky = [row for row in rows if row["int16"] > 1]
    if not risky:
        return ["\noverflow: no layer can saturate, on a CPU without VNNI either"]
    own, safe = (
        sum(row[key] for row in rows if row["safe_nats"] is not None)
        for key in ("nats", "safe_nats")
    )
    here = "This CPU does not" if machine.multiplies_exactly() else "THIS CPU DOES"
    return [
        f"\noverflow: {len(risky)} of {len(rows)} layers can saturate on a CPU without VNNI. {here}",
        "  (the share of pairs of weights whose products with uint8 may not fit int16)",
        f"  cure: quantize.weights={SAFE}, weights of 7 bits: no product can saturate;",
        f"        rounding would cost {safe:.1e} nats instead of {own:.1e}; for some layers alone",
        f"        quantize.modules: {{{shortened(risky[0]['name'])!r}: {{weights: {SAFE}}}}}",
    ]


def cut(label: str) -> str:
    """A long label's beginning."""
    return label if len(label) <= MOST_LABEL else label[: MOST_LABEL - 1] + ELLIPSIS


def shortened(name: str) -> str:
    """A long name without its beginning, as a pattern that a recipe's `modules` takes."""
    while len(name) > MOST_NAME and "." in name.removeprefix("*."):
        name = "*." + name.removeprefix("*.").partition(".")[2]
    return name


def decibels(value: float | None) -> str:
    """One digit."""
    return "exact" if value is None else in_decibels(value)


def between(bounds: list[float]) -> str:
    """A range in three digits each."""
    return " ".join(f"{bound:.3g}" for bound in bounds)


def saturating(row: dict[str, Any]) -> str:
    """The share of pairs; `possible` where no neighbours can but two weights of a channel."""
    return in_percent(row["overflow"]) if row["overflow"] or row["int16"] <= 1 else "possible"
