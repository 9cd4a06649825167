"""Mixed precision: the format of each module's weights that keeps the most quality within a budget: `limbeck search RECIPE --bits 4.5`.

The recipe's student is trained in float (or found in the store), a sensitivity says what each module loses in each format (`sensitivities`), and an
integer programme chooses (`assign`). Activations stay as the recipe has them and are float while the weights are judged; weights are rounded
as `quantize.range` says, before any training of theirs, so that a joint training begins from the plan and does better than predicted.

Bits are those of a weight's code, averaged over the weights that are chosen for. Bytes are those of every weight as the artifact holds it: codes with
their scales, and float32 for the rest; the graph itself and the tokenizer come on top. Milliseconds are `timing`'s.
"""

import fnmatch
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors.torch import load_file
from torch import nn

from limbeck import data, features, models, pipeline, quantize, registry, stages
from limbeck import recipe as recipes
from limbeck.assign import Table, assign, fits, smallest, total
from limbeck.catalogue import table
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS, digits_per_byte
from limbeck.quant.integer import SMALLEST_PACKED
from limbeck.recipe import Quantize, Recipe, Scheme
from limbeck.sensitivities import Probe, Scores
from limbeck.stages import Bench, Net
from limbeck.store import Store, read_json, write_json
from limbeck.tasks import Encoded, SelfSupervised, collate

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMATS = "int8,int4,int3,int2,ternary"
CHOICES = [form for form in GRIDS if GRIDS[form].symmetric] + ["float"]
UNITS = {"bits": "bits a weight", "bytes": "bytes", "milliseconds": "milliseconds"}
SIZES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
BATCH_TOKENS, BATCH_ROWS = 512, 16  # of a pass: the smaller, the more independent samples of the curvature


@dataclass(frozen=True)
class Budget:
    """At most `limit` of a unit: bits, bytes or milliseconds."""

    unit: str
    limit: float


def budget(bits: float | None, size: str | None, milliseconds: float | None) -> Budget:
    """The one budget of a command line. Raises ValueError for none, for more than one, and for one that is nothing."""
    found = {"bits": bits, "bytes": None if size is None else num_bytes(size), "milliseconds": milliseconds}
    given = [Budget(unit, limit) for unit, limit in found.items() if limit is not None]
    if len(given) != 1:
        told = " and ".join(f"--{each.unit}" for each in given) or "none"
        raise ValueError(f"search: give one budget, not {told}: --bits 4.5, --bytes 9MB, or --milliseconds 1.2")
    if not 0 < given[0].limit < float("inf"):
        raise ValueError(f"search: --{given[0].unit} is a number above 0, not {given[0].limit:g}")
    return given[0]


def num_bytes(text: str) -> float:
    """'9MB' in bytes. Raises ValueError."""
    match = re.fullmatch(rf"\s*({recipes.NUMBER})\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in SIZES:
        raise ValueError(f"search: --bytes `{text}` is no size. Write a number, and after it one of {', '.join(filter(None, SIZES))}, as in 9MB")
    return float(match[1]) * SIZES[match[2]]


def formats(text: str) -> list[str]:
    """The formats of a list with commas, each once. Raises ValueError for one that weights cannot have."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in CHOICES:
            raise ValueError(f"search: --formats: no weights are `{name}`. {registry.suggest(name, CHOICES)}")
    if not names:
        raise ValueError(f"search: --formats names none. Choices: {', '.join(CHOICES)}")
    return names


@dataclass(frozen=True)
class Candidates:
    """What is chosen for: `schemes` and `shapes` by module, the formats, and what each choice loses and costs, by unit."""

    schemes: dict[str, Scheme]
    kinds: dict[str, str]
    counts: dict[str, int]
    losses: Table
    costs: dict[str, Table]
    rest: dict[str, float]

    def describe(self, plan: dict[str, str]) -> dict[str, float]:
        """What a plan costs in every unit, and the nats a unit that it is expected to lose."""
        found = {unit: total(plan, costs) + self.rest[unit] for unit, costs in self.costs.items()}
        return {**found, "bits": found["bits"] / sum(self.counts.values()), "loss": total(plan, self.losses)}

    def limit(self, wanted: Budget) -> float:
        """What is left of a budget for the modules together."""
        whole = wanted.limit * sum(self.counts.values()) if wanted.unit == "bits" else wanted.limit
        return whole - self.rest[wanted.unit]


def search(recipe: Recipe, wanted: Budget, names: Sequence[str], sensitivity: str, store: Store) -> dict[str, Any]:
    """The plan, its figures and those of the uniform plans. Raises ValueError for a budget that no plan keeps, and Interrupted."""
    estimate = registry.create("sensitivities", sensitivity)
    recipe = with_quantize(recipe.resolved())
    settings = recipe.quantize
    assert settings is not None
    bench = Bench(recipe, store)
    start, trained = pipeline.trained_student(recipe.model_copy(update={"quantize": None}), bench)
    began = time.perf_counter()
    rows = stages.calibration_rows(bench, recipe, start.task)
    model, schemes = prepared(bench, recipe, start, trained, rows)
    probe = Probe(model, batches(rows, start), [name for name in names if name != "float"], store.tell)
    if not probe.layers:
        raise ValueError("search: this recipe quantizes no module. Leave some out of quantize.keep_float")
    scores = scored(bench, recipe, trained, probe, sensitivity, partial(estimate, probe))
    candidates = gather(probe, schemes, scores, names)
    plan = chosen(candidates, wanted)
    return {
        "budget": {"unit": wanted.unit, "limit": wanted.limit},
        "sensitivity": sensitivity,
        "rows": len(rows),
        "modules": [describe(name, form, candidates) for name, form in plan.items()],
        "plan": candidates.describe(plan),
        "uniform": {form: candidates.describe(dict.fromkeys(plan, form)) for form in names},
        "recipe": block(start.load(), schemes, plan, settings, stages.activations(bench, recipe)),
        "seconds": round(time.perf_counter() - began, 1),
    }


def with_quantize(recipe: Recipe) -> Recipe:
    """The recipe, with the default way of quantizing where it has none. Raises ValueError where it only pre-trains."""
    if issubclass(registry.load("tasks", recipe.task), SelfSupervised):
        raise ValueError(f"search: `{recipe.task}` only pre-trains. Search with the recipe that takes its model as teacher or student")
    return recipe if recipe.quantize else recipe.model_copy(update={"quantize": Quantize()})


def prepared(bench: Bench, recipe: Recipe, start: Net, trained: Path, rows: Sequence[Encoded]) -> tuple[nn.Module, dict[str, Scheme]]:
    """The trained student with the weights' quantizers in place, off, and the schemes that the recipe has for its modules."""
    assert recipe.quantize is not None
    model = start.load()
    models.restore(model, load_file(trained / models.WEIGHTS))
    schemes = quantize.plan(model, recipe.quantize, stages.activations(bench, recipe))
    weights_alone = {name: scheme.model_copy(update={"activations": "float"}) for name, scheme in schemes.items()}
    quantize.prepare(model, weights_alone, recipe.quantize.range, partial(features.run, batch=batches(rows[:2], start)[0]))
    return model.eval(), schemes


def batches(rows: Sequence[Encoded], start: Net) -> list[Any]:
    """Rows as batches of torch tensors."""
    size = BATCH_TOKENS if rows[0].has_tokens else BATCH_ROWS
    return [features.to_torch(collate([rows[i] for i in part], part, start.task.padding)) for part in data.in_order([row.size for row in rows], size)]


def scored(bench: Bench, recipe: Recipe, trained: Path, probe: Probe, sensitivity: str, estimate: Any) -> Scores:
    """What each module loses in each format, as a stage of the store: another budget reads it again."""
    assert recipe.quantize is not None
    inputs = {
        "trained": trained.name, "data": bench.fingerprint("train"), "seed": recipe.train.seed, "sensitivity": sensitivity,
        "formats": sorted(probe.formats), "range": recipe.quantize.range, "rows": recipe.quantize.calibration_rows,
        "groups": {name: layer.quantizer.groups for name, layer in probe.layers.items()}, **bench.environment(),
    }  # fmt: skip

    def build(folder: Path) -> None:
        write_json(folder / "scores.json", estimate())

    return read_json(bench.store.stage("sensitivity", inputs, build, label=f"sensitivity ({sensitivity})") / "scores.json")


def gather(probe: Probe, schemes: dict[str, Scheme], scores: Scores, names: Sequence[str]) -> Candidates:
    """What there is to choose from, with its losses and costs."""
    layers = probe.layers
    losses = {name: {form: 0.0 if form == "float" else scores[name][form] for form in names} for name in layers}
    counts = {name: layer.weight.numel() for name, layer in layers.items()}
    bits = {name: {form: counts[name] * code_bits(form) for form in names} for name in layers}
    stored = {name: {form: stored_bytes(counts[name], layer.quantizer.groups, form) for form in names} for name, layer in layers.items()}
    kinds = {name: type(layer).__name__.removeprefix("Quantized") for name, layer in layers.items()}
    return Candidates(schemes, kinds, counts, losses, {"bits": bits, "bytes": stored}, {"bits": 0.0, "bytes": float_bytes(probe)})


def code_bits(form: str) -> float:
    """What a weight's code takes."""
    return 32.0 if form == "float" else GRIDS[form].bits


def stored_bytes(count: int, scales: int, form: str) -> float:
    """What a module's weights take in the artifact."""
    if form == "float":
        return 4.0 * count
    grid = GRIDS[form]
    packed = bool(grid.planes) and count * grid.bits / 8 > SMALLEST_PACKED
    return float(sum(-(-count // digits_per_byte(base)) for base in grid.planes) if packed else count) + 4 * scales


def float_bytes(probe: Probe) -> float:
    """What the parameters take that no choice is made for: biases, norms, modules that stay float."""
    chosen_for = {id(layer.weight) for layer in probe.layers.values()}
    scales = {id(module.log_scale) for module in probe.model.modules() if isinstance(module, FakeQuantizer)}
    return 4.0 * sum(parameter.numel() for parameter in probe.model.parameters() if id(parameter) not in chosen_for | scales)


def chosen(candidates: Candidates, wanted: Budget) -> dict[str, str]:
    """The best plan within the budget. Raises ValueError where there is none, with the smallest that there is."""
    costs, limit = candidates.costs[wanted.unit], candidates.limit(wanted)
    least = smallest(costs)
    if not fits(least, costs, limit):
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


def block(model: nn.Module, schemes: dict[str, Scheme], plan: dict[str, str], settings: Quantize, activations: str) -> dict[str, Any]:
    """What to paste: every module by name that is not as `quantize` itself says; it takes the place of the recipe's own `modules`."""
    base = Scheme(weights=settings.weights, activations=activations, group=settings.group)
    unquantized = Scheme(weights="float", activations="float")
    found = {}
    for name in (name for name, module in model.named_modules() if isinstance(module, quantize.QUANTIZABLE)):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in settings.keep_float):
            continue
        form = plan.get(name, "float")
        scheme = unquantized if form == "float" else schemes[name].model_copy(update={"weights": form})
        if scheme != base:
            found[name] = scheme.model_dump(mode="json", exclude_none=True)
    return {"quantize": {"modules": found}}


def as_yaml(found: dict[str, Any]) -> str:
    """The block as text."""
    return yaml.dump(found["recipe"], Dumper=recipes.Yaml12Dumper, default_flow_style=None, sort_keys=False, width=1000)


def lines(found: dict[str, Any]) -> list["RenderableType"]:
    """For the terminal."""
    rows = [
        (row["name"], row["kind"], row["weights"], f"{row['parameters']:,}", f"{row['bytes']:,}", f"{row['sensitivity']:.2e}")
        for row in found["modules"]
    ]
    plans = [("this plan", found["plan"]), *((f"all {form}", figures) for form, figures in found["uniform"].items())]
    unit, limit = found["budget"]["unit"], found["budget"]["limit"]
    said: list[RenderableType] = [table(("module", "kind", "weights", "parameters", "bytes", "nats lost"), rows)]
    said.append(table(("", "bits a weight", "bytes", "nats lost a unit", ""), [summary(name, each, unit, limit) for name, each in plans]))
    said.append(f"{found['sensitivity']} on {found['rows']} training rows, {found['seconds']} s; in place of the recipe's quantize.modules:\n")
    return [*said, as_yaml(found)]


def summary(name: str, figures: dict[str, float], unit: str, limit: float) -> tuple[str, ...]:
    """A plan's row."""
    beyond = "" if figures[unit] <= limit * (1 + 1e-9) else "beyond the budget"
    return name, f"{figures['bits']:.2f}", f"{figures['bytes']:,.0f}", f"{figures['loss']:.4g}", beyond
