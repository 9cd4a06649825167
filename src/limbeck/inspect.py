"""Where a quantized model loses what: `limbeck inspect RUN`, layer by layer in the order in which they run.

Signal to noise is 10 log10(sum x^2 / sum (x^ - x)^2) decibels: of a layer's weights, of the tensor that it reads (both against their own float
values, what the grid costs there) and of what it gives (against the float model of the same weights, what has added up so far). For test rows
whose answer changed, the layer that leaves the float model first is the first whose output on that row falls below LEAVES_DB.

`overflow` is the share of weight pairs that can saturate on a CPU without VNNI: its u8 x s8 products are added two by two in int16, and
255 (w1 + w2) is beyond 32,767 where two neighbours of one sign add up to more than 128. Weights of `int7` cannot.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from limbeck import evaluate, features, pipeline, verdict
from limbeck import recipe as recipes
from limbeck.catalogue import table
from limbeck.data import in_order
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS
from limbeck.quant.swap import Quantized
from limbeck.stages import Arm, Bench
from limbeck.store import Store
from limbeck.tasks import UNKNOWN, Batch, collate

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 256  # of the test split that the signals are taken from
BATCH = 16  # rows at a time
CHANGED_ROWS = 20  # looked at one by one
LEAVES_DB = 20.0  # an error of a tenth of the signal
HALF = 0.501  # of a step, beyond which a value was clipped, not rounded
SATURATES = 128  # two weights of one sign beyond it, times 255, do not fit int16


@dataclass
class Signal:
    """Sums over all values seen."""

    power: float = 0.0
    noise: float = 0.0

    def add(self, wanted: torch.Tensor, found: torch.Tensor) -> None:
        self.power += float(wanted.double().square().sum())
        self.noise += float((found.double() - wanted.double()).square().sum())

    @property
    def decibels(self) -> float:
        """Infinite without noise."""
        return 10 * float(np.log10(self.power / self.noise)) if self.noise and self.power else float("inf")


@dataclass
class Reading:
    """What one quantizer saw; layers that read the same tensor share it."""

    signal: Signal = field(default_factory=Signal)
    low: float = float("inf")
    high: float = float("-inf")
    clipped: int = 0
    seen: int = 0

    def add(self, x: torch.Tensor, rounded: torch.Tensor, scale: torch.Tensor) -> None:
        self.signal.add(x, rounded)
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.clipped += int(((rounded - x).abs() > HALF * scale).sum())
        self.seen += x.numel()


class KeptOnly(Store):
    """A store that computes nothing."""

    def _fill(self, entry: Path, inputs: dict[str, Any], build: Any) -> None:
        raise ValueError(f"the cache ({self.folder}) no longer holds `{entry.name}` of this run. Run its recipe once more, then inspect it")


def inspect(folder: Path) -> dict[str, Any]:
    """What `limbeck inspect` shows of a run's judged arm, first seed. Raises ValueError for what is no run, or quantized nothing."""
    if not (folder / "report.json").is_file():
        raise ValueError(f"{folder}: no report.json here, so this is no finished run. `limbeck run RECIPE --out {folder}` makes one")
    asked = recipes.read(folder / "recipe.yaml")
    if asked.quantize is None:
        raise ValueError(f"{folder}: its recipe quantizes nothing, so there is nothing to inspect")
    arms = verdict.arms(asked, 0) if asked.verdict else {"quantized": asked}
    name = verdict.judged(arms)
    if arms[name].quantize is None:
        raise ValueError(f"{folder}: of its arms ({', '.join(arms)}) none is quantized, so there is nothing to inspect")
    bench = Bench(arms[name], KeptOnly())
    arm = pipeline.run_arm(arms[name], bench.store, bench=bench)
    return {"arm": name, **compare(arm, bench)}


def compare(arm: Arm, bench: Bench) -> dict[str, Any]:
    """The layers of an arm's model, and where its changed answers begin."""
    assert arm.model is not None
    quantized, plain = arm.model(), floating(arm.model())
    layers = {name: module for name, module in quantized.named_modules() if isinstance(module, Quantized)}
    encoded = bench.encode("test", arm.task)
    seen = min(ROWS, len(encoded))
    outputs: dict[str, Signal] = {}
    readings = {module.input: Reading() for module in layers.values() if module.input is not None}
    with torch.no_grad(), reading(readings):
        for rows in in_order([1] * seen, BATCH):
            batch = features.to_torch(collate([encoded[i] for i in rows], rows, arm.task.padding))
            for name, (wanted, found) in both(plain, quantized, list(layers), batch).items():
                outputs.setdefault(name, Signal()).add(wanted, found)
        sizes = bytes_of(layers)
        described = [{**describe(name, layers[name], outputs[name], readings), "bytes": sizes[name]} for name in outputs]
    return {"rows": seen, "layers": described, "changed": changed(arm, bench, plain, quantized, list(outputs))}


def floating(model: nn.Module) -> nn.Module:
    """The model with its quantizers off: the same weights in float."""
    for module in model.modules():
        if isinstance(module, FakeQuantizer):
            module.calibrated.fill_(False)
    return model


def both(plain: nn.Module, quantized: nn.Module, layers: list[str], batch: Batch) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Each layer's output in the float and in the quantized model, in the order of running."""
    with features.capture(plain, layers) as wanted:
        plain(**batch.inputs)
    with features.capture(quantized, layers) as found:
        quantized(**batch.inputs)
    return {name: (wanted[name], found[name]) for name in found}


@contextlib.contextmanager
def reading(readings: dict[FakeQuantizer, Reading]) -> Iterator[None]:
    """Inside, what the quantizers see is added up."""
    handles = []
    for quantizer, found in readings.items():

        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor, found: Reading = found) -> None:
            found.add(inputs[0], output, module.scale)  # type: ignore[arg-type]

        handles.append(quantizer.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def describe(name: str, layer: Quantized, output: Signal, readings: dict[FakeQuantizer, Reading]) -> dict[str, Any]:
    """One row of the table."""
    found = readings[layer.input] if layer.input is not None else None
    weight, grid = layer.float_weight().detach(), layer.quantizer.grid
    own = Signal()
    own.add(weight, layer.quantizer(weight))
    return {
        "name": name,
        "kind": type(layer).__name__.removeprefix("Quantized"),
        "weights": next(each for each, other in GRIDS.items() if other == grid),
        "weight_db": own.decibels,
        "input_db": found.signal.decibels if found else None,
        "input_range": [found.low, found.high] if found else None,
        "clipped": found.clipped / found.seen if found else None,
        "output_db": output.decibels,
        "overflow": overflow(layer) if found or layer.is_dynamic else 0.0,
    }


def bytes_of(layers: dict[str, Quantized]) -> dict[str, int]:
    """What each layer's codes and scales take; tied weights lie in the file once, and the first has them."""
    first = {layer.quantizer: name for name, layer in reversed(layers.items())}
    sizes = {quantizer: round(layers[name].weight.numel() * quantizer.grid.bits / 8) + 4 * quantizer.groups for quantizer, name in first.items()}
    return {name: sizes[layer.quantizer] if first[layer.quantizer] == name else 0 for name, layer in layers.items()}


def overflow(layer: Quantized) -> float:
    """The share of neighbouring pairs of weights whose products with the largest activation are beyond int16."""
    codes = layer.quantizer.codes(layer.float_weight()).flatten(1)
    pairs = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2)).unflatten(1, (-1, 2))
    positive, negative = pairs.clamp_min(0).sum(2), pairs.clamp_max(0).neg().sum(2)
    return float((torch.maximum(positive, negative) > SATURATES).double().mean())


def changed(arm: Arm, bench: Bench, plain: nn.Module, quantized: nn.Module, layers: list[str]) -> dict[str, Any]:
    """How many test rows are answered otherwise than by the float model, and which layer leaves it first on some of them."""
    encoded = bench.encode("test", arm.task)
    wanted = evaluate.score(plain, encoded, arm.task)
    units = (wanted.decisions != arm.scored.decisions) & (wanted.labels != UNKNOWN)
    rows = np.flatnonzero(np.add.reduceat(units, wanted.offsets[:-1]))
    first: dict[int, str | None] = {}
    for row in rows[:CHANGED_ROWS].tolist():
        batch = features.to_torch(collate([encoded[row]], np.array([row]), arm.task.padding))
        with torch.no_grad():
            pairs = both(plain, quantized, layers, batch)
        first[row] = next((name for name, (one, other) in pairs.items() if signal(one, other).decibels < LEAVES_DB), None)
    return {"rows": len(rows), "of": len(encoded), "first": [{"row": row, "layer": layer} for row, layer in first.items()]}


def signal(wanted: torch.Tensor, found: torch.Tensor) -> Signal:
    """Of one pair of tensors."""
    sums = Signal()
    sums.add(wanted, found)
    return sums


def lines(found: dict[str, Any]) -> list["RenderableType"]:
    """For the terminal."""
    rows = [
        (
            row["name"], row["weights"], f"{row['bytes']:,}", decibels(row["weight_db"]), decibels(row["input_db"]), share(row["clipped"]),
            decibels(row["output_db"]), share(row["overflow"]),
        )
        for row in found["layers"]
    ]  # fmt: skip
    head = ("layer", "weights", "bytes", "weights dB", "input dB", "clipped", "output dB", "overflow")
    said: list[RenderableType] = [f"{found['arm']}, {found['rows']} test rows", table(head, rows)]
    changed = found["changed"]
    said.append(f"\n{changed['rows']} of {changed['of']} test rows are answered otherwise than in float")
    counts = Counter(entry["layer"] or f"none below {LEAVES_DB:g} dB" for entry in changed["first"])
    said += [f"  {count} of the first {len(changed['first'])} leave the float model at {name}" for name, count in counts.most_common()]
    if any(row["overflow"] for row in found["layers"]):
        said.append("\noverflow: these pairs of weights can saturate on a CPU without VNNI; quantize.weights: int7 cannot")
    return said


def decibels(value: float | None) -> str:
    """One digit, or nothing where there is no such signal."""
    return "" if value is None else "exact" if value == float("inf") else f"{value:.1f}"


def share(value: float | None) -> str:
    """In per cent, or nothing where it does not apply."""
    return "" if value is None else f"{100 * value:.2f} %" if value else "0"
