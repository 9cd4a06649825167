"""Mixed precision: the format of each module's weights that keeps the most quality within a budget: `limbeck search RECIPE --bits 4.5`.

The recipe's student is trained in float (or found in the store), a sensitivity says what each module loses in each format (`sensitivities`), and an
integer programme chooses (`assign`). Activations stay as the recipe has them and are float while the weights are judged; weights are rounded
as `quantize.range` says, before any training of theirs, so that a joint training begins from the plan and does better than predicted.

Bits are those of a weight's code, averaged over the weights that are chosen for. Bytes are those of every weight as the artifact holds it: codes with
their scales, and float32 for the rest; the graph itself and the tokenizer come on top. Milliseconds are `timing`'s.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from torch import nn

from limbeck.analysis import timing
from limbeck.analysis.assign import Table, assign, smallest, total, within
from limbeck.analysis.sensitivities import Probe, Scores
from limbeck.core import registry, wording
from limbeck.core.events import Ended, Started, Tell
from limbeck.core.files import read_json, write_json
from limbeck.core.grids import GRIDS, digits_per_byte
from limbeck.core.schedules import NUMBER
from limbeck.core.store import Store
from limbeck.core.tables import table
from limbeck.core.yaml12 import Yaml12Dumper
from limbeck.data.batches import in_order
from limbeck.models.taps import batch_of, run_model
from limbeck.pipeline import arm, compatibility, stages
from limbeck.pipeline.context import Bench, Net
from limbeck.quantization import attention
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.integer import SMALLEST_PACKED
from limbeck.quantization.plan import chosen_weights, plan_schemes, quantizable_weights
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Recipe, Scheme
from limbeck.tasks import Batch, Encoded, SelfSupervised

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMATS = {
    "bits": "int8,int4,int3,int2,ternary",
    "bytes": "int8,int4,int3,int2,ternary",
    "milliseconds": "int8,float",
}  # where none are named
CHOICES = [form for form in GRIDS if GRIDS[form].symmetric] + ["float"]
UNITS = {"bits": "bits a weight", "bytes": "bytes", "milliseconds": "milliseconds"}
SIZES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
BATCH_TOKENS, BATCH_ROWS = (
    512,
    16,
)  # of a pass: the smaller, the more independent samples of the curvature


@dataclass(frozen=True)
class Budget:
    """At most `limit` of a unit: bits, bytes or milliseconds."""

    unit: str
    limit: float


def budget(bits: float | None, size: str | None, milliseconds: float | None) -> Budget:
    """The one budget of a command line. Raises ValueError for none, for more than one, and for one that is nothing."""
    found = {
        "bits": bits,
        "bytes": None if size is None else num_bytes(size),
        "milliseconds": milliseconds,
    }
    given = [Budget(unit, limit) for unit, limit in found.items() if limit is not None]
    if len(given) != 1:
        told = " and ".join(f"--{each.unit}" for each in given) or "none"
        raise ValueError(
            f"search: give one budget, not {told}: --bits 4.5, --bytes 9MB, or --milliseconds 1.2"
        )
    if not 0 < given[0].limit < float("inf"):
        raise ValueError(f"search: --{given[0].unit} is a number above 0, not {given[0].limit:g}")
    return given[0]


def num_bytes(text: str) -> float:
    """'9MB' in bytes. Raises ValueError."""
    match = re.fullmatch(rf"\s*({NUMBER})\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in SIZES:
        raise ValueError(
            f"search: --bytes `{text}` is no size. Write a number, and after it one of {', '.join(filter(None, SIZES))}, as in 9MB"
        )
    return float(match[1]) * SIZES[match[2]]


def formats(text: str | None, unit: str) -> list[str]:
    """The formats of a list with commas, each once; those that a budget's unit tells apart where it is None. Raises ValueError for an unknown one."""
    text = FORMATS[unit] if text is None else text
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in CHOICES:
            raise ValueError(
                f"search: --formats: no weights are `{name}`. {wording.suggest(name, CHOICES)}"
            )
    if not names:
        raise ValueError(f"search: --formats names none. Choices: {', '.join(CHOICES)}")
    return names


@dataclass(frozen=True)
class Candidates:
    """What is chosen for: kind and number of weights by module, what each choice loses and costs, by unit, and the `rest` that all plans cost."""

    kinds: dict[str, str]
    counts: dict[str, int]
    losses: Table
    costs: dict[str, Table]
    rest: dict[str, float]

    def describe(self, plan: dict[str, str]) -> dict[str, float]:
        """What a plan costs in every unit, and the nats a unit that it is expected to lose."""
        found = {unit: total(plan, costs) + self.rest[unit] for unit, costs in self.costs.items()}
        return {
            **found,
            "bits": found["bits"] / sum(self.counts.values()),
            "loss": total(plan, self.losses),
        }

    def limit(self, wanted: Budget) -> float:
        """What is left of a budget for the modules together."""
        whole = wanted.limit * sum(self.counts.values()) if wanted.unit == "bits" else wanted.limit
        return whole - self.rest[wanted.unit]


@dataclass(frozen=True)
class Student:
    """The float student of a recipe, trained or (no weights) before, and the training rows that it is judged on."""

    bench: Bench
    recipe: Recipe
    start: Net
    weights: Path | None = None

    @property
    def settings(self) -> Quantize:
        assert self.recipe.quantize is not None
        return self.recipe.quantize

    @property
    def activations(self) -> str:
        return stages.activations(self.bench, self.recipe)

    @cached_property
    def rows(self) -> list[Encoded]:
        return stages.calibration_rows(self.bench, self.recipe, self.start.task)

    def model(self) -> nn.Module:
        """In float, in eval mode."""
        return (
            self.start.load() if self.weights is None else self.start.trained(self.weights)
        ).eval()

    def prepared(self, schemes: dict[str, Scheme]) -> nn.Module:
        """With quantizers in place, none of them on."""
        model = self.model()
        prepare_model(
            model,
            schemes,
            self.settings.range_name,
            partial(run_model, batch=self.batch(np.arange(min(2, len(self.rows))))),
        )
        return model.eval()

    def batch(self, part: np.ndarray) -> Batch:
        """Some of the rows."""
        return batch_of(self.rows, part, self.start.task.padding)

    def batches(self) -> list[Batch]:
        """All rows."""
        sizes = [row.size for row in self.rows]
        return [
            self.batch(part)
            for part in in_order(sizes, BATCH_TOKENS if self.rows[0].has_tokens else BATCH_ROWS)
        ]


def search(
    recipe: Recipe, wanted: Budget, names: Sequence[str], sensitivity: str, store: Store
) -> dict[str, Any]:
    """The plan, its figures and those of the uniform plans. Raises ValueError for a budget that no plan keeps, and Interrupted."""
    estimate = registry.create("sensitivities", sensitivity)
    recipe = with_quantize(compatibility.resolved(recipe))
    bench = Bench(recipe, store)
    student = Student(
        bench, recipe, *arm.trained_student(recipe.model_copy(update={"quantize": None}), bench)
    )
    began = time.perf_counter()
    schemes = plan_schemes(student.model(), student.settings, student.activations)
    if not schemes:
        raise ValueError(
            "search: this recipe quantizes no module. Leave some out of quantize.keep_float"
        )
    model = student.prepared(changed(schemes, activations="float"))
    probe = Probe(
        model,
        student.batches(),
        [name for name in names if name != "float"],
        store.tell,
        bench.task_class.likelihood,
    )
    candidates = gather(probe, scored(student, probe, sensitivity, partial(estimate, probe)), names)
    if wanted.unit == "milliseconds":
        add_milliseconds(candidates, subject(student, model, schemes), store.tell)
    plan = chosen(candidates, wanted)
    return {
        "budget": {"unit": wanted.unit, "limit": wanted.limit},
        "sensitivity": sensitivity,
        "rows": len(student.rows),
        "modules": [describe(name, form, candidates) for name, form in plan.items()],
        "plan": candidates.describe(plan),
        "uniform": {form: candidates.describe(dict.fromkeys(plan, form)) for form in names},
        "recipe": block(student, schemes, plan),
        "seconds": round(time.perf_counter() - began, 1),
    }


def changed(schemes: dict[str, Scheme], **values: str) -> dict[str, Scheme]:
    """Schemes with some key's value alike in all."""
    return {name: scheme.model_copy(update=values) for name, scheme in schemes.items()}


def with_quantize(recipe: Recipe) -> Recipe:
    """The recipe, with the default way of quantizing where it has none. Raises ValueError where it only pre-trains."""
    if issubclass(registry.load("tasks", recipe.task), SelfSupervised):
        raise ValueError(
            f"search: `{recipe.task}` only pre-trains. Search with the recipe that takes its model as teacher or student"
        )
    settings = (recipe.quantize or Quantize()).with_chosen(range="mse")
    return recipe.model_copy(update={"quantize": settings})


def scored(
    student: Student, probe: Probe, sensitivity: str, estimate: Callable[[], Scores]
) -> Scores:
    """What each module loses in each format, as a stage of the store: another budget reads it again."""
    bench, settings = student.bench, student.settings
    assert student.weights is not None
    inputs = {
        "trained": student.weights.name, "data": bench.fingerprint("train"), "seed": student.recipe.train.seed, "sensitivity": sensitivity,
        "formats": sorted(probe.formats), "range": settings.range, "rows": settings.calibration_rows,
        "groups": {name: layer.quantizer.groups for name, layer in probe.layers.items()}, **bench.environment(),
    }  # fmt: skip

    def build(folder: Path) -> None:
        write_json(folder / "scores.json", estimate())

    return read_json(
        bench.store.stage("sensitivity", inputs, build, label=f"sensitivity ({sensitivity})")
        / "scores.json"
    )


def gather(probe: Probe, scores: Scores, names: Sequence[str]) -> Candidates:
    """What there is to choose from, with its losses and costs."""
    layers = probe.layers
    losses = {
        name: {form: 0.0 if form == "float" else scores[name][form] for form in names}
        for name in layers
    }
    counts = {name: layer.weight.numel() for name, layer in layers.items()}
    bits = {name: {form: counts[name] * code_bits(form) for form in names} for name in layers}
    stored = {
        name: {form: stored_bytes(counts[name], layer.quantizer.groups, form) for form in names}
        for name, layer in layers.items()
    }
    kinds = {name: type(layer).__name__.removeprefix("Quantized") for name, layer in layers.items()}
    return Candidates(
        kinds,
        counts,
        losses,
        {"bits": bits, "bytes": stored},
        {"bits": 0.0, "bytes": float_bytes(probe)},
    )


def code_bits(form: str) -> float:
    """What a weight's code takes."""
    return 32.0 if form == "float" else GRIDS[form].bits


def stored_bytes(count: int, scales: int, form: str) -> float:
    """What a module's weights take in the artifact."""
    if form == "float":
        return 4.0 * count
    grid = GRIDS[form]
    packed = bool(grid.planes) and count * grid.bits / 8 > SMALLEST_PACKED
    return (
        float(sum(-(-count // digits_per_byte(base)) for base in grid.planes) if packed else count)
        + 4 * scales
    )


def float_bytes(probe: Probe) -> float:
    """What the parameters take that no choice is made for: biases, norms, modules that stay float."""
    chosen_for = {id(layer.weight) for layer in probe.layers.values()}
    scales = {
        id(own)
        for module in probe.model.modules()
        if isinstance(module, FakeQuantizer)
        for own in module.parameters()
    }
    return 4.0 * sum(
        parameter.numel()
        for parameter in probe.model.parameters()
        if id(parameter) not in chosen_for | scales
    )


def add_milliseconds(candidates: Candidates, subject: timing.Subject, tell: Tell) -> None:
    """Measure what each module takes, and let it be a cost."""
    began = time.perf_counter()
    tell(Started("milliseconds"))
    measured, candidates.rest["milliseconds"] = timing.milliseconds(subject)
    tell(Ended("milliseconds", round(time.perf_counter() - began, 3)))
    candidates.costs["milliseconds"] = {
        name: {
            form: measured[name][timing.FLOAT if form == "float" else timing.INTEGERS]
            for form in row
        }
        for name, row in candidates.losses.items()
    }


def subject(student: Student, model: nn.Module, schemes: dict[str, Scheme]) -> timing.Subject:
    """What is timed: the student on the training row of middle length."""
    middle = sorted(range(len(student.rows)), key=lambda i: student.rows[i].size)[
        len(student.rows) // 2
    ]
    whole, batch = (
        student.prepared(changed(schemes, weights=timing.INTEGERS)),
        student.batch(np.array([middle])),
    )
    if student.settings.attention != "float":
        attention.attach(whole, student.settings.range_name, partial(run_model, batch=batch))
    return timing.Subject(model, student.model(), whole, schemes, batch.inputs)


def chosen(candidates: Candidates, wanted: Budget) -> dict[str, str]:
    """The best plan within the budget. Raises ValueError where there is none, with the smallest that there is."""
    costs, limit = candidates.costs[wanted.unit], candidates.limit(wanted)
    least = smallest(costs)
    if not within(total(least, costs), limit):
        possible = candidates.describe(least)[wanted.unit]
        raise ValueError(
            f"search: no plan of these formats has {wanted.limit:,g} {UNITS[wanted.unit]}; the smallest has {possible:,.6g}. "
            f"Raise --{wanted.unit}, or name smaller formats in --formats ({', '.join(CHOICES)})"
        )
    return assign(candidates.losses, costs, limit)


def describe(name: str, form: str, candidates: Candidates) -> dict[str, Any]:
    """One row of the table."""
    return {
        "name": name,
        "kind": candidates.kinds[name],
        "parameters": candidates.counts[name],
        "weights": form,
        "bytes": int(candidates.costs["bytes"][name][form]),
        "sensitivity": candidates.losses[name][form],
    }


def block(student: Student, schemes: dict[str, Scheme], plan: dict[str, str]) -> dict[str, Any]:
    """What to paste: every module by name that is not as `quantize` itself says; it takes the place of the recipe's own `modules`."""
    settings = student.settings
    base = Scheme(weights=settings.weights, activations=student.activations, group=settings.group)
    unquantized = Scheme(weights="float", activations="float")
    found: dict[str, Any] = {}
    tied: dict[int, str] = {}
    weights = quantizable_weights(student.model())
    kept = {name for pattern in settings.keep_float for name in chosen_weights(weights, pattern)}
    for name, weight in weights.items():
        if name in kept:
            continue
        form = tied.setdefault(
            id(weight.tensor), plan.get(name, "float")
        )  # one choice for a weight
        scheme = (
            unquantized if form == "float" else schemes[name].model_copy(update={"weights": form})
        )
        if scheme != base:
            found[name] = scheme.model_dump(mode="json", exclude_none=True)
    return {"quantize": {"modules": found}}


def as_yaml(found: dict[str, Any]) -> str:
    """The block as text."""
    return yaml.dump(
        found["recipe"], Dumper=Yaml12Dumper, default_flow_style=None, sort_keys=False, width=1000
    )


def lines(found: dict[str, Any]) -> list["RenderableType"]:
    """For the terminal."""
    rows = [
        (
            row["name"],
            row["kind"],
            row["weights"],
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
            f"{row['sensitivity']:.2e}",
        )
        for row in found["modules"]
    ]
    plans = [
        ("this plan", found["plan"]),
        *((f"all {form}", figures) for form, figures in found["uniform"].items()),
    ]
    unit, limit = found["budget"]["unit"], found["budget"]["limit"]
    head = (
        "",
        "bits a weight",
        "bytes",
        "nats lost a unit",
        *(["milliseconds"] if unit == "milliseconds" else []),
        "",
    )
    said: list[RenderableType] = [
        table(("module", "kind", "weights", "parameters", "bytes", "nats lost"), rows)
    ]
    said.append(table(head, [summary(name, each, unit, limit) for name, each in plans]))
    said.append(
        f"{found['sensitivity']} on {found['rows']} training rows, {found['seconds']} s; in place of the recipe's quantize.modules:\n"
    )
    return [*said, as_yaml(found)]


def summary(name: str, figures: dict[str, float], unit: str, limit: float) -> tuple[str, ...]:
    """A plan's row."""
    time_ms = [f"{figures['milliseconds']:.3f}"] if unit == "milliseconds" else []
    beyond = "" if within(figures[unit], limit) else "beyond the budget"
    return (
        name,
        f"{figures['bits']:.2f}",
        f"{figures['bytes']:,.0f}",
        f"{figures['loss']:.4g}",
        *time_ms,
        beyond,
    )
