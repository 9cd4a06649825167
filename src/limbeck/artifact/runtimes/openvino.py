"""OpenVINO on the CPU, in float32 between the integer kernels."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from limbeck.artifact.runtimes import CACHE, Graph, text_by_text
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
        core = openvino.Core()
        model = core.read_model(str(path))
        caches = caches_of(model)
        if caches:
            # Of a model that writes nothing but weights is in integers. A CPU with VNNI would round
            # what they are multiplied with to int8 as well, in groups: one to five percent of a
            # logit on toys.
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        compiled = core.compile_model(model, "CPU", settings)
        # OpenVINO refuses an input that the graph does not have.
        names = {name for argument in compiled.inputs for name in argument.names}
        request = compiled.create_infer_request()

        def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
            known = {name: value for name, value in inputs.items() if name in names}
            logits = request.infer(known)[compiled.outputs[0]]
            return logits.copy()  # the request writes its next answer over this memory

        return partial(run_texts, run, caches) if caches else run


def caches_of(model: Any) -> dict[str, tuple[int, int]]:
    """Inputs of earlier keys and values -> heads and their width; none of a graph without them."""
    caches = {}
    for argument in model.inputs:
        if CACHE in argument.any_name:
            _, heads, _, width = argument.partial_shape
            caches[argument.any_name] = (heads.get_length(), width.get_length())
    return caches


def run_texts(
    run: Graph, caches: Mapping[str, tuple[int, int]], inputs: dict[str, np.ndarray]
) -> np.ndarray:
    """(B, T, V) logits of a graph with a cache, asked for whole texts with nothing before them.

    One by one: OpenVINO (2026.4) reads the lengths of ONNX Runtime's GroupQueryAttention for one
    row, and fails on two.
    """
    empty = {
        name: np.zeros((1, heads, 0, width), np.float32) for name, (heads, width) in caches.items()
    }

    def answer(ids: np.ndarray) -> np.ndarray:
        text = ids[None]
        # GPT-2 adds a vector for each place; others have no such input.
        places = np.arange(len(ids), dtype=np.int64)[None]
        read = {"input_ids": text, "attention_mask": np.ones_like(text), "position_ids": places}
        return run(read | empty)[0]

    return text_by_text(answer, inputs)
