"""Golden outputs: what every graph of an artifact answered to a few inputs where it was exported.

`golden.safetensors` holds `output.RUNTIME` for each runtime, and for each input of the model either
the input, `input.NAME`, or, where it is an image, its shape alone, `shape.NAME`: the image is made
anew (`noise`), for it would outweigh many a model. They are replayed whenever the artifact is
loaded, because the same file can compute something else on another machine: int8 kernels saturate
on CPUs without VNNI.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from limbeck.artifact.manifest import GOLDEN, BrokenArtifact
from limbeck.artifact.runtimes import Graph, open_graph
from limbeck.core import registry
from limbeck.core.files import write_bytes

# Relative error of the golden logits. A graph errs by less than 0.01 against the trained model on
# the machine that exports it; saturated convolutions were seen to err by 0.115 (docs/log.md).
TOLERANCE = 0.05

# Numbers of all inputs, whose answers every load waits for. One image of 224 x 224 has more.
MOST_NUMBERS = 1 << 16

# Numbers of an image that is made anew, 256 MiB: a file that says more was not written here.
MOST_REMADE = 1 << 26

# Tokens at either end of a text that a tokenizer may have put there: MBart ends it by two.
ENDS = 2


def write(
    example: Mapping[str, np.ndarray],
    graph_files: Mapping[str, str],
    folder: Path,
) -> dict[str, np.ndarray]:
    """Draw inputs in the shapes of `example` and write what every graph answers to them.

    The inputs are random, by a fixed seed, and never a row of the user's data. Of large rows there
    are fewer than in `example`, at least one.

    graph_files: runtime -> file name of its graph in `folder`.

    Returns the logits by runtime.

    Raises ValueError where a graph answers nothing.
    """
    from safetensors.numpy import save

    graphs = {
        f"output.{runtime}": open_graph(folder / file, runtime, threads=1)
        for runtime, file in graph_files.items()
    }
    num_rows = max(1, MOST_NUMBERS // sum(value[0].size for value in example.values()))
    example = {name: value[:num_rows] for name, value in example.items()}
    generator = np.random.default_rng(0)
    inputs = {name: draw_like(value, generator) for name, value in example.items()}
    try:
        outputs = answers(graphs, inputs)
    except ValueError:
        # A head that looks for the end of a text among its tokens (BART, T5) finds none, or two.
        inputs = with_ends(inputs, example, generator)
        outputs = answers(graphs, inputs)
    tensors: dict[str, np.ndarray] = {}
    for name, value in inputs.items():
        if value.dtype == np.float32:
            tensors[f"shape.{name}"] = np.array(value.shape, np.int64)
        else:
            tensors[f"input.{name}"] = value
    write_bytes(folder / GOLDEN, save(tensors | outputs))
    return {name.removeprefix("output."): logits for name, logits in outputs.items()}


def answers(graphs: Mapping[str, Graph], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The logits of each graph, by its name."""
    # safetensors writes the memory as it lies, whatever strides an array has.
    return {name: np.ascontiguousarray(graph(inputs)) for name, graph in graphs.items()}


def draw_like(example: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random values in the shape, type and range of `example`."""
    if example.dtype == np.float32:
        return noise(example.shape)
    if example.dtype.kind == "f":
        return generator.standard_normal(example.shape).astype(example.dtype)
    low = int(example.min())
    high = int(example.max())
    if high <= 1:
        # A mask, or token types: zeros at random places would hide the row or part of it.
        return np.full_like(example, high)
    drawn = generator.integers(low, high + 1, example.shape)
    return drawn.astype(example.dtype)


def noise(shape: Sequence[int]) -> np.ndarray:
    """Numbers in [-2, 2) as float32, the same on every machine and with every version of numpy,
    whose generators promise neither: a counter, hashed by splitmix64 (Steele et al., 2014, OOPSLA,
    figure 17)."""
    counter = np.arange(1, 1 + math.prod(shape), dtype=np.uint64)
    # Products beyond 64 bits wrap around, as they are meant to.
    hashed = counter * np.uint64(0x9E3779B97F4A7C15)
    hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed = hashed ^ (hashed >> np.uint64(31))
    # The upper 16 bits, in steps that float32 holds exactly.
    steps = (hashed >> np.uint64(48)).astype(np.float32)
    values: np.ndarray = steps / np.float32(1 << 14) - np.float32(2)
    return values.reshape(shape)


def with_ends(
    drawn: Mapping[str, np.ndarray],
    example: Mapping[str, np.ndarray],
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """`drawn`, with texts that begin and end as all of the example's do, and have the tokens of
    beginnings and ends nowhere else."""
    inputs = dict(drawn)
    for name, ids in example.items():
        if ids.dtype.kind == "f" or ids.ndim != 2 or ids.max() <= 1:
            continue
        # Texts that are shorter than the longest end before their padding.
        mask = example.get("attention_mask", np.ones_like(ids))
        ends = common_ends([row[:length] for row, length in zip(ids, mask.sum(1), strict=True)])
        # Elsewhere they would be a second end.
        others = np.setdiff1d(ids, list(ends.values()))
        if len(others):
            inputs[name] = generator.choice(others, ids.shape)
        for place, token in ends.items():
            inputs[name][:, place] = token
    return inputs


def common_ends(rows: Sequence[np.ndarray]) -> dict[int, int]:
    """Place -> token, of the first and last places of all rows, where each has the same there."""
    ends = {}
    for place in (*range(ENDS), *range(-ENDS, 0)):
        tokens = {int(row[place]) for row in rows if len(row) >= ENDS}
        if len(tokens) == 1:
            ends[place] = tokens.pop()
    return ends


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
    error = relative_error(graph(inputs_of(folder)), tensors[f"output.{runtime}"])
    # Written so that an error of NaN is refused too.
    if not error <= TOLERANCE:
        package = registry.package_of("runtimes", runtime)
        cure = (
            "A CPU without VNNI saturates products of int8 weights that several layers share: "
            "quantize them as int7 (quantize.weights=int7), which cannot saturate"
        )
        if package or not math.isfinite(error):
            cure = f"Ask whoever offers the runtime, {package or 'limbeck'}"
        raise BrokenArtifact(
            f"{folder}: {runtime} computes other answers here than where it was exported "
            f"(relative error {error:.3f}, allowed {TOLERANCE}). {cure}"
        )


def inputs_of(folder: Path) -> dict[str, np.ndarray]:
    """The golden inputs of an artifact, by the names that its graphs give them; the first axis is
    that of the rows. Raises BrokenArtifact."""
    from safetensors.numpy import load_file

    inputs: dict[str, np.ndarray] = {}
    for name, value in load_file(folder / GOLDEN).items():
        kind, _, input_name = name.partition(".")
        if kind == "input":
            inputs[input_name] = value
        elif kind == "shape":
            inputs[input_name] = noise(bounded_shape(value, folder))
    return inputs


def bounded_shape(sizes: np.ndarray, folder: Path) -> list[int]:
    """The shape of an image that is made anew. Raises BrokenArtifact for one that no graph reads,
    or that would not fit in memory."""
    shape = [int(size) for size in sizes.reshape(-1)]
    if min(shape, default=0) < 1 or math.prod(shape) > MOST_REMADE:
        raise BrokenArtifact(
            f"{folder / GOLDEN}: inputs of the shape {shape} are no example of this model's. "
            "Export the artifact again"
        )
    return shape


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference over that of `expected`; infinite where shapes differ."""
    if values.shape != expected.shape:
        return float("inf")
    error = np.mean((values - expected) ** 2)
    # All-zero logits would else divide by zero.
    power = max(float(np.mean(expected**2)), 1e-12)
    return float(np.sqrt(error / power))
