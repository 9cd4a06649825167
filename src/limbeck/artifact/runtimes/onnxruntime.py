"""ONNX Runtime on the CPU: the runtime that `pip install limbeck` brings along."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.runtimes import Graph

# What inputs that hold earlier keys and values are called.
CACHE = "past_key_values"


class Onnxruntime:
    """Opens `.onnx` files."""

    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "pip install onnxruntime"}

    # It computes the trained integers as they are, so only the order of float additions differs:
    # one decision in a thousand leaves room for ties and for nothing else.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A session that runs the graph with `threads` threads inside each operator."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Operators run one after another: a second pool of threads would only take cores away.
        options.inter_op_num_threads = 1
        # Weights of few bits beside float activations become one kernel, which would round the
        # activations to eight bits by itself: 1 is float32.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        options.log_severity_level = 3  # errors only; the warnings are about its own optimizer
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            # Its fused kernel takes three times as long as an Add and a LayerNormalization.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
        # ONNX Runtime refuses an input that the graph does not have, such as unused token types.
        names = {argument.name for argument in session.get_inputs()}
        # A graph with a cache is asked for whole texts here, with nothing before them.
        caches = {each.name: each.shape for each in session.get_inputs() if CACHE in each.name}
        # Each is an Exception of its own, with nothing above it.
        state = onnxruntime.capi.onnxruntime_pybind11_state
        refusals = (state.Fail, state.InvalidArgument, state.RuntimeException)

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            num_rows = len(next(iter(inputs.values())))
            for name, (_, heads, _, width) in caches.items():
                known[name] = np.zeros((num_rows, heads, 0, width), np.float32)
            try:
                return session.run(None, known)[0]
            except refusals as error:
                # Such as a text of more tokens than the model has positions.
                reason = str(error).splitlines()[0]
                raise ValueError(f"ONNX Runtime cannot run this input: {reason}") from None

        return run
