"""OpenVINO on the CPU, in float32 between the integer kernels."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from limbeck.artifact.runtimes import Graph
from limbeck.core.system import machine


class Openvino:
    """Opens `.onnx` files, and OpenVINO's own `.xml`."""

    needs: ClassVar[Mapping[str, str]] = {"openvino": "pip install 'limbeck[openvino]'"}

    # Where activations are dynamic it quantizes them by itself, in groups, and not as the model was
    # trained to: 0.1 to 0.3 % of tokens were seen to flip, which this allows with a margin.
    allowed_flips: ClassVar[float] = 0.005

    def open(self, path: Path, threads: int) -> Graph:
        """A compiled model and one request, which is used again for every input."""
        import openvino

        settings = {
            # The default on CPUs with bfloat16 is bf16, which flips more decisions (0.7 % of
            # tokens were seen) than quantization does.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if not machine.multiplies_exactly():
            # A CPU without VNNI adds two products in 16 bits, which saturate, and there are no
            # other integer kernels here: the integers are multiplied as floats, which is exact.
            settings["LP_TRANSFORMS_MODE"] = "NO"
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        # OpenVINO refuses an input that the graph does not have.
        names = {name for argument in compiled.inputs for name in argument.names}
        request = compiled.create_infer_request()

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            logits = request.infer(known)[compiled.outputs[0]]
            return logits.copy()  # the request writes its next answer over this memory

        return run
