"""ONNX Runtime on a compressed graph, which is unpacked in memory."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.runtimes import Graph


class Gzipped:
    """Opens `.onnx.gz` files."""

    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "pip install onnxruntime"}

    # The same kernels and integers as in `onnxruntime`, and so the same allowance.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A session over the unpacked bytes."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph = gzip.decompress(path.read_bytes())
        session = onnxruntime.InferenceSession(graph, options)
        # ONNX Runtime refuses an input that the graph does not have.
        names = {argument.name for argument in session.get_inputs()}

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            return session.run(None, known)[0]

        return run
