"""Our integer graph beside ONNX Runtime's own static quantization of the same float network.

    python benchmarks/against_static.py [NETWORK ...] [--side 28] [--channels 1] [--runs 300]

Every network (random weights: speed does not depend on them) is exported twice: calibrated and
written by limbeck, and as float32 quantized by
`onnxruntime.quantization.quantize_static` (QDQ, uint8 activations, int8 weights per channel, after
its own `quant_pre_process`). Both and the float32
graph run in turns in one process, batch 1, one thread. Prints medians, the median of the pairwise
ratios, and the ops of each optimized graph.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_graph import to_onnx
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize

ROWS = 32
TURN = 10  # runs of one graph before the next has its turn


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The calibration images, a few at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches: Iterator[dict[str, np.ndarray]] = iter(
            [{"pixel_values": part} for part in np.array_split(images, 4)]
        )

    def get_next(self) -> Any:
        return next(self.batches, None)


def graphs(name: str, images: torch.Tensor, folder: Path) -> dict[str, Path]:
    """The three graphs of one network."""
    paths = {kind: folder / f"{name}-{kind}.onnx" for kind in ("limbeck", "static", "float32")}
    torch.manual_seed(0)
    model = registry.create("networks", name).build(10, images.shape[1])
    model(pixel_values=images)  # running statistics of the norms
    inputs = {"pixel_values": images}
    export(model.eval(), inputs, paths["float32"])
    quant_pre_process(str(paths["float32"]), str(folder / "prepared.onnx"))
    quantize_static(
        str(folder / "prepared.onnx"), str(paths["static"]), Reader(images.numpy()),
        quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "minmax", lambda m: m(**inputs))
    calibrate(model, [lambda m: m(**inputs)])
    export(convert_model(model), inputs, paths["limbeck"])
    return paths


def export(model: nn.Module, inputs: dict[str, torch.Tensor], path: Path) -> None:
    to_onnx(model, inputs, path, dynamic_translation=dynamic_quantize_linear)


def measure(paths: dict[str, Path], image: np.ndarray, runs: int) -> dict[str, np.ndarray]:
    """Milliseconds of each graph, (runs / TURN) medians of one turn each."""
    running = {kind: open_graph(path, "onnxruntime", 1) for kind, path in paths.items()}
    found: dict[str, list[float]] = {kind: [] for kind in running}
    for turn in range(2 + runs // TURN):
        for kind, run in running.items():
            began = []
            for _ in range(TURN):
                start = time.perf_counter()
                run({"pixel_values": image})
                began.append(1000 * (time.perf_counter() - start))
            if turn >= 2:  # the first turns warm up
                found[kind].append(float(np.median(began)))
    return {kind: np.array(values) for kind, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    images = torch.randn(
        ROWS,
        arguments.channels,
        arguments.side,
        arguments.side,
        generator=torch.Generator().manual_seed(0),
    )
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            paths = graphs(name, images, Path(folder))
            milliseconds = measure(paths, images[:1].numpy(), arguments.runs)
            print(name)
            for kind, values in milliseconds.items():
                ratio = np.median(milliseconds["static"] / values)
                print(
                    f"  {kind:8} {np.median(values):8.3f} ms   {ratio:5.2f} x as fast as static   {paths[kind].stat().st_size:12,} bytes"
                )
            for kind in ("limbeck", "static"):
                print(f"  {kind:8} {dict(sorted(optimized_ops(paths[kind]).items()))}")


if __name__ == "__main__":
    main()
