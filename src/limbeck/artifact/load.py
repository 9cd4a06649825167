"""An artifact answers: raw text or images in, labels, spans and probabilities out. Needs numpy, onnxruntime, tokenizers or pillow; never torch.

Loading checks the SHA-256 of every file against `manifest.json` and replays the golden inputs: an artifact that was changed, or that computes
something
else on this machine (int8 kernels saturate on CPUs without VNNI), is refused.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from limbeck.artifact.manifest import GOLDEN, GOLDEN_TOLERANCE, BrokenArtifact, checked_manifest
from limbeck.artifact.predictor import Graph, Predictor
from limbeck.core import registry, wording
from limbeck.core.files import read_json


def load(folder: str | Path, *, runtime: str | None = None, threads: int = 1) -> Predictor:
    """The artifact in `folder`, checked.

    `runtime`: onnxruntime (default) or openvino, where the artifact offers it. Raises BrokenArtifact, ValueError.
    """
    folder = Path(folder)
    manifest = checked_manifest(folder)
    offered = {graph["runtime"]: graph["file"] for graph in manifest["graphs"]}
    runtime = runtime or next(iter(offered))
    if runtime not in offered:
        raise ValueError(
            f"{folder}: this artifact has no graph for `{runtime}`. {wording.suggest(runtime, offered)}"
        )
    task_class = registry.load("tasks", manifest["task"])
    preprocess = (folder / task_class.preprocess_file).read_text(encoding="utf-8")
    graph = OPENERS[runtime](folder / offered[runtime], threads)
    replay(folder, graph, runtime)
    return Predictor(
        task_class(read_json(folder / "labels.json"), preprocess), graph, runtime, folder
    )


def replay(folder: Path, graph: Graph, runtime: str) -> None:
    """Compare the golden outputs with what this machine computes. Raises BrokenArtifact."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / GOLDEN)
    if f"output.{runtime}" not in tensors:
        raise BrokenArtifact(
            f"{folder / GOLDEN}: no outputs of {runtime} to compare with. Export the artifact again"
        )
    inputs = {
        name.removeprefix("input."): value
        for name, value in tensors.items()
        if name.startswith("input.")
    }
    expected = tensors[f"output.{runtime}"]
    error = relative_error(graph(inputs), expected)
    if not error <= GOLDEN_TOLERANCE:
        raise BrokenArtifact(
            f"{folder}: {runtime} computes other answers here than where it was exported (relative error {error:.3f}, allowed {GOLDEN_TOLERANCE}). "
            "A CPU without VNNI saturates products of int8 weights: quantize them as int7 (quantize.weights=int7), which cannot saturate"
        )


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference over that of `expected`."""
    if values.shape != expected.shape:
        return float("inf")
    return float(
        np.sqrt(np.mean((values - expected) ** 2) / max(float(np.mean(expected**2)), 1e-12))
    )


def require(runtime: str) -> None:
    """Raises ValueError for a runtime that is not installed."""
    if importlib.util.find_spec(runtime) is None:
        raise ValueError(
            f"export: the runtime `{runtime}` is not installed. pip install 'limbeck[{runtime}]', or leave `{runtime}` out of `export`"
        )


def open_onnxruntime(path: Path, threads: int) -> Graph:
    """A graph in ONNX Runtime on the CPU. Its fused SkipLayerNormalization takes three times as long as an Add and a LayerNormalization."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],
    )
    names = {argument.name for argument in session.get_inputs()}
    return lambda inputs: session.run(
        None, {name: value for name, value in inputs.items() if name in names}
    )[0]


def open_openvino(path: Path, threads: int) -> Graph:
    """A graph in OpenVINO on the CPU, in float32 between the integer kernels."""
    require("openvino")
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    names = {name for argument in compiled.inputs for name in argument.names}
    request = compiled.create_infer_request()
    return lambda inputs: request.infer(
        {name: value for name, value in inputs.items() if name in names}
    )[compiled.outputs[0]].copy()


OPENERS: dict[str, Callable[[Path, int], Graph]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}
