"""The graph of `onnx`, compressed by gzip (RFC 1952), for the runtime `gzipped`."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch
from torch import nn

from limbeck.exporters.onnx import Onnx


class GzippedOnnx:
    """The exporter. It has no keys."""

    runtimes: ClassVar[tuple[str, ...]] = ("gzipped",)
    needs: ClassVar[Mapping[str, str]] = Onnx.needs
    file: ClassVar[str] = "model.onnx.gz"

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the graph. Raises ValueError as `onnx` does."""
        # Elsewhere first: a `model.onnx` of the exporter `onnx` may lie in the artifact's folder.
        with TemporaryDirectory() as elsewhere:
            Onnx().export(model, inputs, Path(elsewhere))
            graph = (Path(elsewhere) / Onnx.file).read_bytes()
        # Without the time, which gzip writes into its header: equal models give equal bytes.
        compressed = gzip.compress(graph, mtime=0)
        (folder / self.file).write_bytes(compressed)
        return {"gzipped": self.file}
