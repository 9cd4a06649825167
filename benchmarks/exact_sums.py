"""What exact sums of integer products cost on this CPU: `python benchmarks/exact_sums.py`.

A CPU without VNNI adds two products of uint8 and int8 in 16 bits, which saturate, unless ONNX
Runtime is asked for its kernels that add in 32 bits (`artifact.runtimes.onnxruntime`). Products of
128 x 768 by 768 x 768 on one thread, in turns; CPU time, the least of many.
"""

import time
from collections.abc import Callable

import numpy as np

from limbeck.artifact.runtimes.onnxruntime import add_exact_sums
from limbeck.cli import speed_probe
from limbeck.core.system import machine

ROUNDS = 200
# Largest weight of a format.
LARGEST = {"int8": 127, "int7": 64}

Run = Callable[[], np.ndarray]


def opened(operator: str, weight: np.ndarray, x: np.ndarray, *, is_asked: bool) -> Run:
    """The product as a session, with the kernels that add in 32 bits where they are asked for."""
    import onnxruntime

    types = (speed_probe.UINT8, speed_probe.INT8, speed_probe.INT32)
    if operator == "MatMul":
        types = (speed_probe.FLOAT,) * 3
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if is_asked:
        add_exact_sums(options)
    graph = speed_probe.onnx_model(operator, weight, types)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def main() -> None:
    """Print one line a way."""
    generator = np.random.default_rng(0)
    shape = (speed_probe.WIDTH, speed_probe.WIDTH)
    x = generator.integers(0, 256, (speed_probe.ROWS, speed_probe.WIDTH)).astype(np.uint8)
    runs: dict[str, Run] = {}
    exact: dict[str, bool] = {}
    for name, largest in LARGEST.items():
        weight = generator.integers(-largest, largest + 1, shape).astype(np.int8)
        expected = x.astype(np.int64) @ weight.astype(np.int64)
        for is_asked in (False, True):
            label = f"{name}, {'as artifacts are opened' if is_asked else 'as it comes'}"
            runs[label] = opened("MatMulInteger", weight, x, is_asked=is_asked)
            exact[label] = np.array_equal(runs[label](), expected)
    floats = weight.astype(np.float32)
    runs["float32"] = opened("MatMul", floats, x.astype(np.float32), is_asked=False)
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for label, run in runs.items():
            began = time.process_time()
            run()
            least[label] = min(least[label], time.process_time() - began)
    print(machine.cpu()[0], "adds in 32 bits" if machine.multiplies_exactly() else "has no VNNI")
    for label, seconds in least.items():
        told = "" if label not in exact else "exact" if exact[label] else "SATURATES"
        print(f"{label:32} {seconds * 1000:6.2f} ms  {told}")


if __name__ == "__main__":
    main()
