"""What each layer of a quantized model loses, in the order in which the layers run.

Signal to noise, in decibels (`signals`), is given of a layer's weights, of the tensor that it
reads (both against their own float values: what the grid costs there) and of what it gives
(against the float model of the same weights: what has added up so far). Where the two products of
attention are quantized, it is given of each factor and of the context.

A peak is the largest value over the root mean square, of weights the worst of all groups that
share a scale: the outliers that a range must reach. `nats` is what the layer's rounded weights
cost a unit, to second order (`sensitivities.gradient`), which needs no label. `changed_answers`
says where rows go astray, and `saturation` what overflows on some CPUs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.analysis.changed_answers import changed_answers
from limbeck.analysis.float_products import float_products
from limbeck.analysis.saturation import overflow, safe_nats
from limbeck.analysis.sensitivities import expected_loss, rounding_error
from limbeck.analysis.sensitivities.gradient import fisher
from limbeck.analysis.side_by_side import (
    modules_of,
    paired_outputs,
    recipe_names,
    without_quantizers,
)
from limbeck.analysis.signals import (
    InputStatistics,
    Signal,
    StatisticsByReader,
    peak,
    signal_of,
    watching_inputs,
)
from limbeck.core.grids import GRIDS
from limbeck.data.batches import in_order
from limbeck.models.anatomy.attention import Products
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized
from limbeck.tasks import Batch, Encoded, Scored, Task

# Rows that the signals are taken from, a sample since each takes a pass of both models, and how
# many of them at a time.
ROWS = 256
BATCH = 16


def measure(
    quantized: nn.Module,
    plain: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    answers: Scored | None,
) -> dict[str, Any]:
    """The table of layers, and where changed answers begin.

    Args:
        quantized: the model in eval mode.
        plain: the same model once more; its quantizers are turned off here.
        task: what is predicted.
        encoded: the rows; signals are taken from the first ROWS.
        answers: the quantized model's, on all rows; None for one that was trained with its
            quantizers on. Without them it answers by weights that nobody trained to answer so, and
            is no float model that it could be compared with.

    Returns:
        Plain data, `report.json`'s `layers`: `rows` that the signals are taken from, a row for
        each of the `layers` and of the modules that do `attention`, the `float_products` by weight,
        and `changed` answers, None without `answers`.
    """
    plain = without_quantizers(plain)
    layers = modules_of(quantized, Quantized)
    products = quantized_products(quantized)
    batches = signal_batches(layers, task, encoded)

    # 1. One pass of both models over the rows, for the signals.
    statistics = statistics_for(layers, products)
    with torch.no_grad(), watching_inputs(statistics):
        signals = output_signals(plain, quantized, [*layers, *products], batches)

    # 2. A backward pass of the float model, for the nats.
    swapped = modules_of(plain, Quantized)
    curvature = fisher(plain, swapped, batches, likelihood=task.likelihood)

    # 3. The tables, in the order in which the layers ran.
    names = recipe_names(quantized)
    sizes = bytes_of(layers)
    rows = []
    with torch.no_grad():
        for path in signals:
            if path not in layers:
                continue
            row = {
                "name": names[path],
                **describe(layers[path], statistics),
                "bytes": sizes[path],
                "output_db": signals[path].decibels,
                **nats_of(layers[path], curvature[path]),
            }
            rows.append(row)
    attention = []
    for path, module in products.items():
        row = {
            "name": names[path].rpartition(".")[0],
            **factor_decibels(module, statistics),
            "output_db": signals[path].decibels,
        }
        attention.append(row)

    # 4. The rows whose answer changed.
    changed = None
    if answers is not None:
        changed = changed_answers(quantized, plain, task, encoded, answers)
    return {
        "rows": sum(len(batch.rows) for batch in batches),
        "layers": rows,
        "attention": attention,
        "float_products": float_products(quantized, partial(run_model, batch=batches[0])),
        "changed": changed,
    }


def signal_batches(
    layers: Mapping[str, Quantized],
    task: Task,
    encoded: Sequence[Encoded],
) -> list[Batch]:
    """The first ROWS rows, in batches."""
    # A dynamic range is that of one row: beside other rows it would be wider than in the runtime.
    is_dynamic = any(layer.is_dynamic for layer in layers.values())
    width = 1 if is_dynamic else BATCH
    count = min(ROWS, len(encoded))
    parts = in_order([1] * count, width)
    return [batch_of(encoded, part, task.padding) for part in parts]


def quantized_products(model: nn.Module) -> dict[str, Products]:
    """The products of attention whose factors are integers, by name. Others only round what a cache
    keeps, which no table here is about."""
    found = modules_of(model, Products)
    return {name: each for name, each in found.items() if isinstance(each.query, FakeQuantizer)}


def statistics_for(
    layers: Mapping[str, Quantized],
    products: Mapping[str, Products],
) -> StatisticsByReader:
    """Empty statistics for all that is read in integers."""
    statistics: StatisticsByReader = {}
    for layer in layers.values():
        if layer.input is not None or layer.is_dynamic:
            statistics[layer.input or layer] = InputStatistics()
    for module in products.values():
        # Each factor has a quantizer of its own.
        for factor in module.children():
            statistics[factor] = InputStatistics()
    return statistics


def output_signals(
    plain: nn.Module,
    quantized: nn.Module,
    names: Sequence[str],
    batches: Sequence[Batch],
) -> dict[str, Signal]:
    """The signal of each named module's output, in the order in which they run."""
    signals: dict[str, Signal] = {}
    for batch in batches:
        outputs = paired_outputs(plain, quantized, names, batch)
        for name, (exact, rounded) in outputs.items():
            signal = signals.setdefault(name, Signal())
            signal.add(exact, rounded)
    return signals


def describe(layer: Quantized, statistics: StatisticsByReader) -> dict[str, Any]:
    """A layer's weights and what it reads; null where it reads no integers."""
    read = statistics.get(layer.input or layer)
    weight = layer.float_weight().detach()
    grid = layer.quantizer.grid
    # What shares a scale is a row: neighbouring values of an output channel.
    groups = weight.reshape(layer.quantizer.groups, -1)
    # Without integers at the input there is no integer product that could saturate.
    share, bound = overflow(layer) if read else (0.0, 0.0)
    return {
        "kind": type(layer).__name__.removeprefix("Quantized"),
        "weights": next(name for name, other in GRIDS.items() if other == grid),
        "weight_db": signal_of(weight, layer.rounded_weight().detach()).decibels,
        "weight_range": [float(weight.min()), float(weight.max())],
        "weight_peak": peak(groups),
        "input_db": read.signal.decibels if read else None,
        "input_range": [read.low, read.high] if read else None,
        "input_peak": read.peak if read else None,
        "clipped": read.clipped / read.seen if read else None,
        "overflow": share,
        "int16": bound,
    }


def nats_of(layer: Quantized, curvature: Tensor) -> dict[str, float | None]:
    """Nats a unit that the layer's rounded weights cost, as they are and in the safe format."""
    error = rounding_error(layer, layer.quantizer)
    return {
        "nats": expected_loss(curvature, error),
        "safe_nats": safe_nats(layer, curvature),
    }


def factor_decibels(products: Products, statistics: StatisticsByReader) -> dict[str, float | None]:
    """The signal to noise of each factor of attention's two products."""
    return {
        f"{name}_db": statistics[factor].signal.decibels
        for name, factor in products.named_children()
    }


def bytes_of(layers: Mapping[str, Quantized]) -> dict[str, int]:
    """Bytes that each layer's codes and scales take in the file.

    Layers with tied weights share one quantizer; the file holds their codes once, and the first of
    them has the bytes.
    """
    counted: set[FakeQuantizer] = set()
    sizes = {}
    for name, layer in layers.items():
        quantizer = layer.quantizer
        bits = layer.weight.numel() * quantizer.grid.bits
        codes = round(bits / 8)
        # A scale is a float32.
        scales = 4 * quantizer.groups
        sizes[name] = 0 if quantizer in counted else codes + scales
        counted.add(quantizer)
    return sizes
