"""ONNX Runtime on a compressed graph, which is unpacked in memory."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.runtimes import Graph
from limbeck.artifact.runtimes.onnxruntime import exact_session


class Gzipped:
    """Opens `.onnx.gz` files."""

    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "pip install onnxruntime"}

    # The same kernels and integers as in `onnxruntime`, and so the same allowance.
    allowed_flips: ClassVar[float] = 0.001

    def open(self, path: Path, threads: int) -> Graph:
        """A session over the unpacked bytes."""
        # Not of ONNX Runtime directly: on a CPU without VNNI its int8 products would saturate.
        session = exact_session(gzip.decompress(path.read_bytes()), threads)
        # ONNX Runtime refuses an input that the graph does not have.
        names = {argument.name for argument in session.get_inputs()}

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            return session.run(None, known)[0]

        return run
