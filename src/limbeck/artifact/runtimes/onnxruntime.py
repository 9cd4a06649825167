"""ONNX Runtime on the CPU: the runtime that `pip install limbeck` brings along."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from limbeck.artifact.runtimes import CACHE, CACHE_TYPES, Graph
from limbeck.core.system import machine

if TYPE_CHECKING:
    import onnxruntime


class Onnxruntime:
    """Opens `.onnx` files."""

    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "pip install onnxruntime"}

    # It computes the trained integers as they are, so only the order of float additions differs:
    # one decision in a thousand leaves room for ties and for nothing else.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A session that runs the graph with `threads` threads inside each operator."""
        session = exact_session(path, threads)
        # ONNX Runtime refuses an input that the graph does not have, such as unused token types.
        names = {argument.name for argument in session.get_inputs()}
        # A graph with a cache is asked for whole texts here, with nothing before them.
        caches = [each for each in session.get_inputs() if CACHE in each.name]
        refused = refusals()

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            num_rows = len(next(iter(inputs.values())))
            for each in caches:
                known[each.name] = empty_cache(each, inputs["input_ids"].shape)
            if caches and "position_ids" in names:
                # GPT-2 adds a vector for each place; padding stands at the end of a row.
                places = np.arange(inputs["input_ids"].shape[1], dtype=np.int64)
                known["position_ids"] = np.tile(places, (num_rows, 1))
            try:
                return session.run(None, known)[0]
            except refused as error:
                # Such as a text of more tokens than the model has positions.
                reason = str(error).splitlines()[0]
                raise ValueError(f"ONNX Runtime cannot run this input: {reason}") from None

        return run


def empty_cache(argument: "onnxruntime.NodeArg", shape: tuple[int, ...]) -> np.ndarray:
    """What a graph with a cache is given before it reads ids of a shape (B, T), and nothing else.

    Floats grow with what is read; codes and scales are buffers that hold all of it from the start
    (`exporters.onnx_decoder_attention`).
    """
    _, heads, _, width = argument.shape
    kind = CACHE_TYPES[argument.type]
    rows, tokens = shape
    capacity = 0 if kind is np.float32 else tokens
    return np.zeros((rows, heads, capacity, width), kind)


def exact_session(graph: Path | bytes, threads: int) -> "onnxruntime.InferenceSession":
    """A session whose integer products are exact on this CPU, wherever ONNX Runtime can do it.

    graph: its file, or what that holds.

    Its kernels that add in 32 bits need weights as uint8, and 1.32 cannot make these of a weight
    that several nodes share, nor of one that meets floats alone. Such a graph is opened as it
    comes: where a CPU then saturates, the artifact's recorded answers differ (`proof.golden`), and
    it is refused.
    """
    if machine.multiplies_exactly():
        return session_of(graph, threads, is_exact=False)
    try:
        session = session_of(graph, threads, is_exact=True)
    except refusals():
        return session_of(graph, threads, is_exact=False)
    # A graph with a cache has kernels of its own for its integers.
    if any(CACHE in each.name for each in session.get_inputs()):
        return session
    blank = blank_inputs(session)
    if runs(session, blank):
        return session
    as_it_comes = session_of(graph, threads, is_exact=False)
    # Where neither runs, it is these inputs that no model reads.
    return as_it_comes if runs(as_it_comes, blank) else session


def session_of(
    graph: Path | bytes, threads: int, *, is_exact: bool
) -> "onnxruntime.InferenceSession":
    """A session that runs the graph with `threads` threads inside each operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Operators run one after another: a second pool of threads would only take cores away.
    options.inter_op_num_threads = 1
    # Weights of few bits beside float activations become one kernel, which would round the
    # activations to eight bits by itself: 1 is float32.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if is_exact:
        add_exact_sums(options)
    # Errors only, the warnings are about its own optimizer; a graph that may fail says nothing.
    options.log_severity_level = 4 if is_exact else 3
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=["CPUExecutionProvider"],
        # Its fused kernel takes three times as long as an Add and a LayerNormalization.
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def refusals() -> tuple[type[Exception], ...]:
    """What a session raises; each is an Exception of its own, with nothing above it."""
    import onnxruntime

    state = onnxruntime.capi.onnxruntime_pybind11_state
    return (state.Fail, state.InvalidArgument, state.RuntimeException)


# Types of inputs in ONNX Runtime's words.
TYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(uint8)": np.uint8}


def blank_inputs(session: "onnxruntime.InferenceSession") -> dict[str, np.ndarray]:
    """Zeros in the shape of every input, one wherever a size may vary; a mask counts all."""
    blank = {}
    for each in session.get_inputs():
        sizes = [size if isinstance(size, int) else 1 for size in each.shape]
        # Kernels that count a mask read beside their memory where it counts nothing.
        value = 1 if "mask" in each.name else 0
        blank[each.name] = np.full(sizes, value, TYPES.get(each.type, np.float32))
    return blank


def runs(session: "onnxruntime.InferenceSession", inputs: dict[str, np.ndarray]) -> bool:
    """Whether a session answers to these inputs at all."""
    try:
        session.run(None, inputs)
    except refusals():
        return False
    return True


def add_exact_sums(options: "onnxruntime.SessionOptions") -> None:
    """Ask for exact products of uint8 and int8, on a CPU without VNNI, which adds two in 16 bits.

    ONNX Runtime then takes weights that can saturate there (any beyond -64..63) as uint8, whose
    kernels add in 32 bits. They are slower (1.22 ms in place of .95 for 128 x 768 by 768 x 768,
    where float32 takes 1.95), which is why a CPU that is exact already goes without.
    """
    if not machine.multiplies_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
