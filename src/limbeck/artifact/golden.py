"""Golden outputs: what every graph of an artifact answered to a few inputs where it was exported.

`golden.safetensors` holds `input.NAME` for each input of the model and `output.RUNTIME` for each
runtime. They are replayed whenever the artifact is loaded, because the same file can compute
something else on another machine: int8 kernels saturate on CPUs without VNNI.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from limbeck.artifact.manifest import GOLDEN, BrokenArtifact
from limbeck.artifact.runtimes import Graph, open_graph
from limbeck.core.files import write_bytes

# Relative error of the golden logits. A graph errs by less than 0.01 against the trained model on
# the machine that exports it; saturated convolutions were seen to err by 0.115 (docs/log.md).
TOLERANCE = 0.05


def write(
    example: Mapping[str, np.ndarray],
    graph_files: Mapping[str, str],
    folder: Path,
) -> None:
    """Draw inputs in the shapes of `example` and write what every graph answers to them.

    The inputs are random, by a fixed seed, and never a row of the user's data.

    graph_files: runtime -> file name of its graph in `folder`.
    """
    from safetensors.numpy import save

    generator = np.random.default_rng(0)
    inputs = {name: draw_like(value, generator) for name, value in example.items()}
    tensors = {f"input.{name}": value for name, value in inputs.items()}
    for runtime, file in graph_files.items():
        graph = open_graph(folder / file, runtime, threads=1)
        # safetensors writes the memory as it lies, whatever strides an array has.
        tensors[f"output.{runtime}"] = np.ascontiguousarray(graph(inputs))
    write_bytes(folder / GOLDEN, save(tensors))


def draw_like(example: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random values in the shape, type and range of `example`."""
    if example.dtype.kind == "f":
        return generator.standard_normal(example.shape).astype(example.dtype)
    low = int(example.min())
    high = int(example.max())
    if high <= 1:
        # A mask, or token types: zeros at random places would hide the row or part of it.
        return np.full_like(example, high)
    drawn = generator.integers(low, high + 1, example.shape)
    return drawn.astype(example.dtype)


def replay(folder: Path, graph: Graph, runtime: str) -> None:
    """Compare the golden outputs of `runtime` with what its `graph` computes on this machine.

    Raises BrokenArtifact.
    """
    from safetensors.numpy import load_file

    tensors = load_file(folder / GOLDEN)
    if f"output.{runtime}" not in tensors:
        raise BrokenArtifact(
            f"{folder / GOLDEN}: no outputs of {runtime} to compare with. Export the artifact again"
        )
    inputs = {
        name.removeprefix("input."): value
        for name, value in tensors.items()
        if name.startswith("input.")
    }
    error = relative_error(graph(inputs), tensors[f"output.{runtime}"])
    # Written so that an error of NaN is refused too.
    if not error <= TOLERANCE:
        raise BrokenArtifact(
            f"{folder}: {runtime} computes other answers here than where it was exported "
            f"(relative error {error:.3f}, allowed {TOLERANCE}). "
            "A CPU without VNNI saturates products of int8 weights: "
            "quantize them as int7 (quantize.weights=int7), which cannot saturate"
        )


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference over that of `expected`; infinite where shapes differ."""
    if values.shape != expected.shape:
        return float("inf")
    error = np.mean((values - expected) ** 2)
    # All-zero logits would else divide by zero.
    power = max(float(np.mean(expected**2)), 1e-12)
    return float(np.sqrt(error / power))
