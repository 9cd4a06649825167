"""Milliseconds of each module on this machine, in integers and in float.

`limbeck search --milliseconds` chooses by them. Every distinct layer (kind, shapes, activations) is
exported by itself and run in ONNX Runtime, on one thread, on what reaches it of one row of middle
length. The whole model is run in int8 too: what its layers do not account for counts for every
plan. Codes of fewer than 8 bits are unpacked when a graph is loaded and multiplied as int8, so that
all integer formats take one time, and only `float` another.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.analysis.sensitivities import fitted
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import (
    Quantized,
    QuantizedConvolution,
    QuantizedLinear,
    QuantizedOutput,
)
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.recipe.model import Scheme

# Each graph runs as often; the median is told.
RUNS = 50

# What writes the graphs, and what runs them.
EXPORTER = "onnx"
RUNTIME = "onnxruntime"

INTEGERS = "int8"
FLOAT = "float"

# Milliseconds by module, in INTEGERS and in FLOAT.
Times = dict[str, dict[str, float]]

Run = Callable[[], Any]


@dataclass(frozen=True)
class TimedModel:
    """One model in three forms, and the row that it is timed on.

    swapped: prepared, with no activation quantized.
    plain: as it was.
    whole: prepared with the recipe's activations and int8 weights.
    schemes: the recipe's scheme of each module that is timed.
    inputs: of one row, on the CPU.
    """

    swapped: nn.Module
    plain: nn.Module
    whole: nn.Module
    schemes: Mapping[str, Scheme]
    inputs: dict[str, Tensor]

    def layer(self, name: str) -> Quantized:
        """The swapped module of this name."""
        layer = self.swapped.get_submodule(name)
        assert isinstance(layer, Quantized)
        return layer


def milliseconds(model: TimedModel) -> tuple[Times, float]:
    """(milliseconds of each module, of the rest of the model in int8).

    The rest can be negative, where a small layer's own call costs more than its work.

    Raises:
        ValueError: a layer does not run in integers.
    """
    inputs = layer_inputs(model)
    keys = {name: kind_of(model, name, x) for name, x in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        graphs: dict[Hashable, Run] = {}
        for name, x in inputs.items():
            for form in (INTEGERS, FLOAT):
                key = (keys[name], form)
                if key not in graphs:
                    layer = alone(model, name, x, form)
                    place = Path(folder) / str(len(graphs))
                    graphs[key] = graph_of(layer, {"input": x}, place)
        calibrate(model.whole, [lambda whole: whole(**model.inputs)])
        graphs["whole"] = graph_of(model.whole, model.inputs, Path(folder) / "whole")
        medians = median_milliseconds(graphs)

    # A layer that does not run takes no time.
    times: Times = {name: {INTEGERS: 0.0, FLOAT: 0.0} for name in model.schemes}
    # One format is chosen for tied weights: the first layer that holds them has the time of all.
    first: dict[FakeQuantizer, str] = {}
    for name in times:
        owner = first.setdefault(model.layer(name).quantizer, name)
        if name in keys:
            for form in (INTEGERS, FLOAT):
                times[owner][form] += medians[keys[name], form]
    # What is left holds for every plan: norms, activations, copies between layers.
    accounted = sum(row[INTEGERS] for row in times.values())
    return times, medians["whole"] - accounted


def layer_inputs(model: TimedModel) -> dict[str, Tensor]:
    """What each layer reads of the row; a layer that does not run is left out.

    A linear layer's input has an axis of positions, (1, T, D).
    """
    inputs: dict[str, Tensor] = {}
    handles = []
    for name in model.schemes:
        hook = partial(_keep_input, inputs, name)
        handles.append(model.layer(name).register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            model.swapped(**model.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _keep_input(
    kept: dict[str, Tensor],
    name: str,
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
) -> None:
    # A matrix of a recurrent layer is called without inputs: it is float by the time it runs.
    if not inputs:
        return
    x = inputs[0].detach()
    lacks_positions = isinstance(layer, QuantizedLinear) and x.ndim == 2
    kept[name] = x.unsqueeze(1) if lacks_positions else x


def kind_of(
    model: TimedModel,
    name: str,
    x: Tensor,
) -> Hashable:
    """What two layers share that take the same time; `x` is what the layer reads."""
    layer = model.layer(name)
    geometry = str(layer.geometry) if isinstance(layer, QuantizedConvolution) else ""
    return (
        type(layer),
        layer.weight.shape,
        x.shape,
        layer.quantizer.groups,
        model.schemes[name].activations,
        geometry,
    )


def alone(
    model: TimedModel,
    name: str,
    x: Tensor,
    form: str,
) -> nn.Module:
    """The layer as a model with the one input `x`, in INTEGERS or in FLOAT."""
    if form == FLOAT:
        return nn.Sequential(model.plain.get_submodule(name))
    # A copy, since the layer is given quantizers that the search's model must not have.
    layer = copy.deepcopy(model.layer(name))
    activations = model.schemes[name].activations
    is_linear = isinstance(layer, QuantizedLinear)
    layer.quantizer = fitted(layer, INTEGERS)
    layer.is_dynamic = activations == "uint8-dynamic" and is_linear
    has_product = isinstance(layer, QuantizedLinear | QuantizedConvolution)
    if activations != "uint8" or not has_product:
        return nn.Sequential(layer)
    layer.input = fitted_to_tensor(x)
    if is_linear:
        return nn.Sequential(layer)
    # Runtimes fuse a static convolution with the quantizer of what it makes.
    with torch.no_grad():
        return nn.Sequential(QuantizedOutput(layer, fitted_to_tensor(layer(x))))


def fitted_to_tensor(x: Tensor) -> FakeQuantizer:
    """A uint8 quantizer, fitted to one tensor."""
    quantizer = FakeQuantizer(GRIDS["uint8"], Minmax, device=x.device)
    quantizer.begin()
    quantizer(x)
    quantizer.finish()
    return quantizer


def graph_of(
    model: nn.Module,
    inputs: dict[str, Tensor],
    folder: Path,
) -> Run:
    """A run of the model's exported graph, written to the new folder `folder`, on one row."""
    folder.mkdir()
    exporter = registry.create("exporters", EXPORTER)
    # An exporter traces with two rows or more, so that the graph takes any number.
    two_rows = {name: torch.cat([value, value]) for name, value in inputs.items()}
    files = exporter.export(convert_model(model.eval()), two_rows, folder)
    run = open_graph(folder / files[RUNTIME], RUNTIME, 1)
    arrays = {name: value.cpu().numpy() for name, value in inputs.items()}
    return lambda: run(arrays)


def median_milliseconds(graphs: Mapping[Hashable, Run]) -> dict[Hashable, float]:
    """The median milliseconds of each."""
    times: dict[Hashable, list[float]] = {name: [] for name in graphs}
    # They take turns, so that a slow moment of the machine meets all of them alike.
    for _ in range(RUNS):
        for name, run in graphs.items():
            began = time.perf_counter()
            run()
            seconds = time.perf_counter() - began
            times[name].append(1000 * seconds)
    return {name: float(np.median(values)) for name, values in times.items()}
