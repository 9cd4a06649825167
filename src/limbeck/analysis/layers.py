"""What each layer of a quantized model loses, in the order in which they run, and where its changed answers begin: a stage of every run.

Signal to noise is 10 log10(sum x^2 / sum (x^ - x)^2) decibels: of a layer's weights, of the tensor that it reads (both against their own float
values, what the grid costs there) and of what it gives (against the float model of the same weights, what has added up so far); of attention's two
products, where they are quantized, each factor's and the context's. A peak is the
largest value over the root mean square, of weights the worst of all groups that share a scale: the outliers that a range must reach. `nats` is what
the layer's rounded weights cost a unit, to second order (`sensitivities/gradient`), and needs no label.

A test row whose answer changed leaves the float model at the first layer whose output on that row has a relative error |x^ - x| / |x| above LEAVES
(`rule: threshold`); where none has, at the layer where that error grows most (`rule: jump`).

On a CPU without VNNI products u8 x s8 are added two by two in int16 (vpmaddubsw), where 255 (w1 + w2) > 32,767 saturates: two weights of one sign
that add up to more than 128. `overflow` is the share of neighbours that can; `int16` the largest such sum of any two weights of a channel, in
whatever order a runtime lays them out, over what int16 holds: up to 1 no input can saturate, which `int7` (-64..64) keeps by construction.
"""

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck import tasks
from limbeck.analysis.sensitivities import error, expected_loss
from limbeck.analysis.sensitivities.gradient import fisher
from limbeck.core.files import read_json, write_json
from limbeck.core.grids import GRIDS
from limbeck.data.batches import in_order
from limbeck.models.attention import Products
from limbeck.models.taps import batch_of, capture
from limbeck.pipeline.context import REVISION, Arm, Bench
from limbeck.quantization.fake import FakeQuantizer, dynamic
from limbeck.quantization.swap import Quantized, Then
from limbeck.tasks import Batch, Scoring, Task
from limbeck.training.scoring import score_split

ROWS = 256  # of the test split that the signals are taken from
BATCH = 16  # rows at a time
CHANGED_ROWS = 50  # looked at one by one
LEAVES = 0.1  # a relative error, 20 dB
HALF = 0.501  # of a step, beyond which a value was clipped, not rounded
SATURATES = 128  # two weights of one sign beyond it, times 255, do not fit int16
SAFE = "int7"  # the format whose products cannot saturate


@dataclass
class Signal:
    """Sums over all values seen."""

    power: float = 0.0
    noise: float = 0.0

    def add(self, wanted: torch.Tensor, found: torch.Tensor) -> None:
        self.power += float(wanted.double().square().sum())
        self.noise += float((found.double() - wanted.double()).square().sum())

    @property
    def decibels(self) -> float | None:
        """None without noise: exact."""
        return 10 * math.log10(self.power / self.noise) if self.noise and self.power else None

    @property
    def error(self) -> float:
        """Relative: |noise| / |signal|."""
        return math.sqrt(self.noise / self.power) if self.power else 0.0


@dataclass
class Reading:
    """What was read in integers; layers that read the same tensor of static range share it."""

    signal: Signal = field(default_factory=Signal)
    low: float = math.inf
    high: float = -math.inf
    clipped: int = 0
    seen: int = 0

    def add(self, x: torch.Tensor, rounded: torch.Tensor, scale: torch.Tensor | float) -> None:
        self.signal.add(x, rounded)
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.clipped += int(((rounded - x).abs() > HALF * scale).sum())
        self.seen += x.numel()

    @property
    def peak(self) -> float:
        """The largest value over the root mean square."""
        return (
            max(-self.low, self.high) / math.sqrt(self.signal.power / self.seen)
            if self.signal.power
            else 0.0
        )


Readings = dict[nn.Module, Reading]  # by quantizer, and by layer where ranges are dynamic


def stage(bench: Bench, arm: Arm) -> dict[str, Any]:
    """`measure` as a stage of the store."""
    inputs = {
        "weights": arm.weights.name, "quantize": arm.recipe.model_dump(mode="json")["quantize"], "data": bench.fingerprint("test"),
        "rows": [ROWS, CHANGED_ROWS], "leaves": LEAVES, "revision": REVISION, **bench.environment(),
    }  # fmt: skip
    folder = bench.store.stage(
        "layers", inputs, lambda folder: write_json(folder / "layers.json", measure(bench, arm))
    )
    return read_json(folder / "layers.json")


def measure(bench: Bench, arm: Arm) -> dict[str, Any]:
    """The layers of an arm's model, and where its changed answers begin."""
    assert arm.model is not None
    quantized, plain = arm.model().eval(), floating(arm.model().eval())
    layers = {
        name: module for name, module in quantized.named_modules() if isinstance(module, Quantized)
    }
    encoded = bench.encode("test", arm.task)
    width = (
        1 if any(layer.is_dynamic for layer in layers.values()) else BATCH
    )  # a dynamic range is that of one row
    rows = in_order([1] * min(ROWS, len(encoded)), width)
    batches = [batch_of(encoded, part, arm.task.padding) for part in rows]
    products = {
        name: module for name, module in quantized.named_modules() if isinstance(module, Products)
    }
    outputs: dict[str, Signal] = {}
    readings: Readings = {
        layer.input or layer: Reading()
        for layer in layers.values()
        if layer.input is not None or layer.is_dynamic
    }
    readings |= {factor: Reading() for module in products.values() for factor in module.children()}
    with torch.no_grad(), reading(readings):
        for batch in batches:
            for name, (wanted, found) in both(
                plain, quantized, [*layers, *products], batch
            ).items():
                outputs.setdefault(name, Signal()).add(wanted, found)
    swapped = {
        name: module for name, module in plain.named_modules() if isinstance(module, Quantized)
    }
    curvature = fisher(plain, swapped, batches, likelihood=arm.task.likelihood)
    shown, sizes = names(quantized), bytes_of(layers)
    with torch.no_grad():
        described = [
            {
                "name": shown[name],
                **describe(layers[name], readings),
                "bytes": sizes[name],
                "output_db": output.decibels,
                **losses(layers[name], curvature[name]),
            }
            for name, output in outputs.items()
            if name in layers
        ]
    attending = [
        {
            "name": shown[name].rpartition(".")[0],
            **factors(module, readings),
            "output_db": outputs[name].decibels,
        }
        for name, module in products.items()
    ]
    return {
        "rows": sum(map(len, rows)),
        "layers": described,
        "attention": attending,
        "changed": changed(bench, arm, plain, quantized),
    }


def names(model: nn.Module) -> dict[str, str]:
    """Of each module, the name that it had before places of outputs were wrapped."""
    found = {"": ""}
    for name, module in model.named_modules():
        prefix = f"{found[name]}." if found[name] else ""
        for child, _ in module.named_children():
            below = (
                found[name] if isinstance(module, Then) and child == "module" else prefix + child
            )
            found[f"{name}.{child}" if name else child] = below
    return found


def floating(model: nn.Module) -> nn.Module:
    """The model with its quantizers off: the same weights in float."""
    for module in model.modules():
        if isinstance(module, FakeQuantizer):
            module.calibrated.fill_(False)
    return model


def both(
    plain: nn.Module, quantized: nn.Module, layers: list[str], batch: Batch
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Each layer's output in the float and in the quantized model, in the order of running."""
    with capture(plain, layers) as wanted:
        plain(**batch.inputs)
    with capture(quantized, layers) as found:
        quantized(**batch.inputs)
    return {name: (wanted[name], found[name]) for name in found}


@contextlib.contextmanager
def reading(readings: Readings) -> Iterator[None]:
    """Inside, what is read in integers is added up."""
    handles = []
    for module, found in readings.items():

        def static(
            module: nn.Module, inputs: Any, output: torch.Tensor, found: Reading = found
        ) -> None:
            found.add(inputs[0], output, module.scale)  # type: ignore[arg-type]

        def by_row(
            module: nn.Module, inputs: Any, output: torch.Tensor, found: Reading = found
        ) -> None:
            assert isinstance(module, Quantized)
            x = inputs[0] if module.basis is None else module.basis(inputs[0])
            found.add(x, dynamic(x.float(), GRIDS["uint8"]), math.inf)

        handles.append(
            module.register_forward_hook(by_row if isinstance(module, Quantized) else static)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def describe(layer: Quantized, readings: Readings) -> dict[str, Any]:
    """A layer's weights and what it reads; null where it reads no integers."""
    found = readings.get(layer.input or layer)
    weight, grid = layer.float_weight().detach(), layer.quantizer.grid
    share, bound = overflow(layer) if found else (0.0, 0.0)
    return {
        "kind": type(layer).__name__.removeprefix("Quantized"),
        "weights": next(each for each, other in GRIDS.items() if other == grid),
        "weight_db": signal(weight, layer.quantizer(weight)).decibels,
        "weight_range": [float(weight.min()), float(weight.max())],
        "weight_peak": peak(weight.reshape(layer.quantizer.groups, -1)),
        "input_db": found.signal.decibels if found else None,
        "input_range": [found.low, found.high] if found else None,
        "input_peak": found.peak if found else None,
        "clipped": found.clipped / found.seen if found else None,
        "overflow": share,
        "int16": bound,
    }


def factors(products: Products, readings: Readings) -> dict[str, float | None]:
    """The signal to noise of each factor of attention's two products."""
    return {
        f"{name}_db": readings[factor].signal.decibels for name, factor in products.named_children()
    }


def bytes_of(layers: Mapping[str, Quantized]) -> dict[str, int]:
    """What each layer's codes and scales take; tied weights lie in the file once, and the first has them."""
    first = {layer.quantizer: name for name, layer in [*layers.items()][::-1]}
    sizes = {
        quantizer: round(layers[name].weight.numel() * quantizer.grid.bits / 8)
        + 4 * quantizer.groups
        for quantizer, name in first.items()
    }
    return {
        name: sizes[layer.quantizer] if first[layer.quantizer] == name else 0
        for name, layer in layers.items()
    }


def peak(rows: torch.Tensor) -> float:
    """The largest of max |w| / root mean square over the rows; 0 where all are zero."""
    return float(
        (
            rows.abs().amax(1)
            / rows.square().mean(1).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        ).max()
    )


def losses(layer: Quantized, curvature: torch.Tensor) -> dict[str, float | None]:
    """Nats a unit that the layer's rounded weights cost, and what the same range would in the format that cannot saturate; null below 7 bits."""
    own = expected_loss(curvature, error(layer, layer.quantizer))
    if layer.quantizer.grid != GRIDS["int8"]:
        return {"nats": own, "safe_nats": None}
    safe = copy.deepcopy(layer.quantizer)
    safe.grid = GRIDS[SAFE]
    safe.log_scale.data += math.log(layer.quantizer.grid.high / safe.grid.high)
    return {"nats": own, "safe_nats": expected_loss(curvature, error(layer, safe))}


def overflow(layer: Quantized) -> tuple[float, float]:
    """The share of neighbouring pairs of weights whose products with the largest activation are beyond int16, and the largest such sum of any two
    weights of one output channel, over what int16 holds."""
    codes = layer.quantizer.codes(layer.float_weight()).flatten(1)
    padded = nn.functional.pad(codes, (0, max(2 - codes.shape[1], codes.shape[1] % 2)))
    pairs = padded.unflatten(1, (-1, 2))
    positive, negative = pairs.clamp_min(0).sum(2), pairs.clamp_max(0).neg().sum(2)
    share = float((torch.maximum(positive, negative) > SATURATES).double().mean())
    largest = max(
        float(side.clamp_min(0).topk(2).values.sum(1).max()) for side in (padded, -padded)
    )
    return share, largest * GRIDS["uint8"].high / (2**15 - 1)


def changed(bench: Bench, arm: Arm, plain: nn.Module, quantized: nn.Module) -> dict[str, Any]:
    """How many test rows are answered otherwise than by the float model; of some their first such unit, and the layer that leaves it first."""
    task, encoded = arm.task, bench.encode("test", arm.task)
    wanted = score_split(plain, encoded, task)
    differs: np.ndarray = np.atleast_1d(
        tasks.differs(task, wanted, arm.scored).reshape(len(wanted.labels), -1).any(1)
    )
    decided = [wanted.labels, tasks.decisions(task, wanted), tasks.decisions(task, arm.scored)]
    rows = np.unique(np.searchsorted(wanted.offsets, np.flatnonzero(differs), "right") - 1)
    shown, found = names(quantized), []
    layers = [name for name, module in quantized.named_modules() if isinstance(module, Quantized)]
    for row in rows[:CHANGED_ROWS].tolist():
        batch = batch_of(encoded, np.array([row]), task.padding)
        with torch.no_grad():
            errors = {
                shown[name]: signal(*pair).error
                for name, pair in both(plain, quantized, layers, batch).items()
            }
        unit = int(
            wanted.offsets[row]
            + np.flatnonzero(differs[wanted.offsets[row] : wanted.offsets[row + 1]])[0]
        )
        answers = dict(
            zip(
                ("label", "float", "quantized"),
                (spelled(task, each[unit]) for each in decided),
                strict=True,
            )
        )
        found.append({"row": row, **answers, **leaves(errors)})
    return {"rows": len(rows), "of": len(encoded), "threshold": LEAVES, "first": found}


def spelled(task: Task, decision: Any) -> str:
    """A label, several, or a score in hundredths of the range of labels; a label that is none (an item's number) is not told."""
    if isinstance(task, Scoring):
        return (
            f"{100 * decision:.1f} %"
            if np.issubdtype(np.asarray(decision).dtype, np.floating)
            else "-"
        )
    if np.ndim(decision):
        return (
            ", ".join(
                label for label, is_on in zip(task.labels, decision > 0, strict=True) if is_on
            )
            or "none"
        )
    return task.labels[int(decision)]


def leaves(errors: Mapping[str, float]) -> dict[str, Any]:
    """The layer at which a row leaves the float model, from the relative error of each layer's output in the order of running."""
    layer, rule = next((name for name, each in errors.items() if each > LEAVES), None), "threshold"
    if layer is None:
        before = dict(zip(errors, [0.0, *errors.values()], strict=False))
        layer, rule = max(errors, key=lambda name: errors[name] - before[name]), "jump"
    return {"layer": layer, "rule": rule, "error": errors[layer]}


def signal(wanted: torch.Tensor, found: torch.Tensor) -> Signal:
    """Of one pair of tensors."""
    sums = Signal()
    sums.add(wanted, found)
    return sums
