"""Milliseconds of each module on this machine, in integers and in float: what `limbeck search --milliseconds` chooses by.

Every distinct layer (kind, shapes, activations) is exported by itself and run in ONNX Runtime, on one thread, on what reaches it of one row of middle
length; so is the whole model in int8, and what its layers do not account for counts for every plan. Codes of fewer than 8 bits are unpacked when a
graph is loaded and multiplied as int8: all integer formats take one time, and only `float` another.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.analysis.sensitivities import fitted
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.quantization.swap import Quantized, QuantizedConvolution, QuantizedLinear, Then
from limbeck.recipe.model import Scheme

RUNS = 50
INTEGERS, FLOAT = "int8", "float"
Timed = dict[str, dict[str, float]]  # module: milliseconds in INTEGERS and in FLOAT


@dataclass(frozen=True)
class Subject:
    """One model three times: `swapped` for a search, `plain` as it was, `whole` prepared with the recipe's activations; `inputs` of one row."""

    swapped: nn.Module
    plain: nn.Module
    whole: nn.Module
    schemes: Mapping[str, Scheme]
    inputs: dict[str, torch.Tensor]


def milliseconds(subject: Subject) -> tuple[Timed, float]:
    """Of each module, and of the rest of the model. Raises ValueError where a layer does not run in integers."""
    read = layer_inputs(subject)
    keys = {name: key(subject, name, x) for name, x in read.items()}
    with tempfile.TemporaryDirectory() as folder:
        graphs: dict[Any, Callable[[], Any]] = {}
        for name, x in read.items():
            for form in (INTEGERS, FLOAT):
                if (keys[name], form) not in graphs:
                    graphs[keys[name], form] = graph(
                        alone(subject, name, x, form), {"input": x}, Path(folder) / str(len(graphs))
                    )
        forward: Callable[[nn.Module], Any] = lambda model: model(**subject.inputs)  # noqa: E731
        calibrate(subject.whole, [forward])
        graphs["whole"] = graph(subject.whole, subject.inputs, Path(folder) / "whole")
        medians = timed(graphs)
    found: Timed = {name: dict.fromkeys((INTEGERS, FLOAT), 0.0) for name in subject.schemes}
    first: dict[FakeQuantizer, str] = {}
    for name in found:
        layer = subject.swapped.get_submodule(name)
        assert isinstance(layer, Quantized)
        owner = first.setdefault(
            layer.quantizer, name
        )  # of tied weights, for which one format is chosen
        for form in found[name] if name in keys else ():
            found[owner][form] += medians[keys[name], form]
    return found, medians["whole"] - sum(row[INTEGERS] for row in found.values())


def layer_inputs(subject: Subject) -> dict[str, torch.Tensor]:
    """What each layer reads of the row; a linear layer's with an axis of positions. One that is not run is not in it."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for name in subject.schemes:
        layer = subject.swapped.get_submodule(name)

        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            if not inputs:  # a matrix of a recurrent layer, which is float by the time it runs
                return
            x = inputs[0].detach()
            found[name] = (
                x.unsqueeze(1) if isinstance(module, QuantizedLinear) and x.ndim == 2 else x
            )

        handles.append(layer.register_forward_pre_hook(hook))
    with torch.no_grad():
        subject.swapped(**subject.inputs)
    for handle in handles:
        handle.remove()
    return found


def key(subject: Subject, name: str, x: torch.Tensor) -> Any:
    """What two layers share that take the same time."""
    layer = subject.swapped.get_submodule(name)
    assert isinstance(layer, Quantized)
    geometry = str(layer.geometry) if isinstance(layer, QuantizedConvolution) else ""
    return (
        type(layer),
        layer.weight.shape,
        x.shape,
        layer.quantizer.groups,
        subject.schemes[name].activations,
        geometry,
    )


def alone(subject: Subject, name: str, x: torch.Tensor, form: str) -> nn.Module:
    """The layer as a model with one input; a static convolution with the quantizer of what it makes, with which runtimes fuse it."""
    if form == FLOAT:
        return nn.Sequential(subject.plain.get_submodule(name))
    layer = copy.deepcopy(subject.swapped.get_submodule(name))
    assert isinstance(layer, Quantized)
    layer.quantizer = fitted(layer, INTEGERS)
    layer.is_dynamic = subject.schemes[name].activations == "uint8-dynamic" and isinstance(
        layer, QuantizedLinear
    )
    if subject.schemes[name].activations != "uint8" or not isinstance(
        layer, QuantizedLinear | QuantizedConvolution
    ):
        return nn.Sequential(layer)
    layer.input = static(x)
    if isinstance(layer, QuantizedLinear):
        return nn.Sequential(layer)
    with torch.no_grad():
        return nn.Sequential(Then(layer, static(layer(x))))


def static(x: torch.Tensor) -> FakeQuantizer:
    """A quantizer of a tensor, fitted to it."""
    quantizer = FakeQuantizer(GRIDS["uint8"], Minmax)
    quantizer.begin()
    quantizer(x)
    quantizer.finish()
    return quantizer


def graph(model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path) -> Callable[[], Any]:
    """A run of the model's exported graph on one row."""
    folder.mkdir()
    exporter = registry.create("exporters", "onnx")
    two_rows = {name: torch.cat([value, value]) for name, value in inputs.items()}
    run = exporter.open(folder / exporter.export(convert_model(model.eval()), two_rows, folder), 1)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    return lambda: run(arrays)


def timed(graphs: Mapping[Any, Callable[[], Any]]) -> dict[Any, float]:
    """The median milliseconds of each, taking turns."""
    found: dict[Any, list[float]] = {name: [] for name in graphs}
    for _ in range(RUNS):
        for name, run in graphs.items():
            began = time.perf_counter()
            run()
            found[name].append(1000 * (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in found.items()}
