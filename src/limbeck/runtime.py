"""An artifact answers: raw text or images in, labels, spans and probabilities out. Needs numpy, onnxruntime, tokenizers or pillow; never torch.

Loading checks the SHA-256 of every file against `manifest.json` and replays the golden inputs: an artifact that was changed, or that computes
something
else on this machine (int8 kernels saturate on CPUs without VNNI), is refused.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck import registry
from limbeck.sources import Row
from limbeck.sources._images import SUFFIXES
from limbeck.store import file_digest, read_json
from limbeck.tasks import Encoded, Task

MANIFEST = "manifest.json"
GOLDEN = "golden.safetensors"
GOLDEN_TOLERANCE = 0.05  # relative root mean square error of the golden logits

Graph = Callable[[dict[str, np.ndarray]], np.ndarray]


class BrokenArtifact(ValueError):
    """The folder is not the artifact that was exported, or does not compute here what it computed there."""


@dataclass(frozen=True)
class Predictor:
    """A loaded artifact."""

    task: Task
    graph: Graph
    runtime: str
    folder: Path

    def predict(self, raw: Any) -> dict[str, Any]:
        """One text, list of words, image path, image bytes or uint8 array to its answer. Raises ValueError for an input that is none of these."""
        row = self.task.row(raw)
        return self.task.decode(row, self.logits(row))

    def logits(self, row: Row) -> np.ndarray:
        """(W, V) logits of one row; units that were cut off are 0."""
        return run_graph(self.graph, self.task.encode([row])[0])


def run_graph(graph: Graph, encoded: Encoded) -> np.ndarray:
    """(W, V) logits of one encoded row."""
    if encoded.has_tokens and encoded.inputs["input_ids"].ndim == 2:  # a batch of texts already
        return graph(encoded.inputs)
    logits = graph({name: value[None] for name, value in encoded.inputs.items()})
    if encoded.positions is None:
        return logits
    return np.where((encoded.positions >= 0)[:, None], logits[0][np.maximum(encoded.positions, 0)], 0)


def load(folder: str | Path, *, runtime: str | None = None, threads: int = 1) -> Predictor:
    """The artifact in `folder`, checked.

    `runtime`: onnxruntime (default) or openvino, where the artifact offers it. Raises BrokenArtifact, ValueError.
    """
    folder = Path(folder)
    manifest = checked_manifest(folder)
    offered = {graph["runtime"]: graph["file"] for graph in manifest["graphs"]}
    runtime = runtime or next(iter(offered))
    if runtime not in offered:
        raise ValueError(f"{folder}: this artifact has no graph for `{runtime}`. {registry.suggest(runtime, offered)}")
    task_class = registry.load("tasks", manifest["task"])
    preprocess = (folder / task_class.preprocess_file).read_text(encoding="utf-8")
    graph = OPENERS[runtime](folder / offered[runtime], threads)
    replay(folder, graph, runtime)
    return Predictor(task_class(read_json(folder / "labels.json"), preprocess), graph, runtime, folder)


def checked_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json, after every file it names was found unchanged. Raises BrokenArtifact."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder}: no {MANIFEST} here, so this is no artifact. A run leaves one in RUN/artifact")
    try:
        manifest = read_json(path)
        files = dict(manifest["files"])
        offered = [(graph["runtime"], graph["file"]) for graph in manifest["graphs"]]
        known = manifest["task"] in registry.names("tasks") and bool(offered) and {file for _, file in offered} <= files.keys()
        needed = {"labels.json", GOLDEN, registry.load("tasks", manifest["task"]).preprocess_file} if known else set()
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(f"{path}: not a manifest of limbeck ({error}). Export the artifact again") from None
    if not known or not needed <= files.keys():
        raise BrokenArtifact(f"{path}: names a task or a graph that is not here, or leaves a file out. Export the artifact again")
    if manifest.get("schema") != 1:
        raise BrokenArtifact(f"{path}: schema {manifest.get('schema')!r}; this version of limbeck reads schema 1")
    for name, expected in files.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise BrokenArtifact(f"{folder}: `{name}` is missing. Copy the whole artifact folder again")
        if file_digest(file) != expected:
            raise BrokenArtifact(f"{file}: changed since the export (its SHA-256 is not the manifest's). Copy or export the artifact again")
    return manifest


def replay(folder: Path, graph: Graph, runtime: str) -> None:
    """Compare the golden outputs with what this machine computes. Raises BrokenArtifact."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / GOLDEN)
    if f"output.{runtime}" not in tensors:
        raise BrokenArtifact(f"{folder / GOLDEN}: no outputs of {runtime} to compare with. Export the artifact again")
    inputs = {name.removeprefix("input."): value for name, value in tensors.items() if name.startswith("input.")}
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
    return float(np.sqrt(np.mean((values - expected) ** 2) / max(float(np.mean(expected**2)), 1e-12)))


def require(runtime: str) -> None:
    """Raises ValueError for a runtime that is not installed."""
    if importlib.util.find_spec(runtime) is None:
        raise ValueError(f"export: the runtime `{runtime}` is not installed. pip install 'limbeck[{runtime}]', or leave `{runtime}` out of `export`")


def open_onnxruntime(path: Path, threads: int) -> Graph:
    """A graph in ONNX Runtime on the CPU. Its fused SkipLayerNormalization takes three times as long as an Add and a LayerNormalization."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"])
    names = {argument.name for argument in session.get_inputs()}
    return lambda inputs: session.run(None, {name: value for name, value in inputs.items() if name in names})[0]


def open_openvino(path: Path, threads: int) -> Graph:
    """A graph in OpenVINO on the CPU, in float32 between the integer kernels."""
    require("openvino")
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    names = {name for argument in compiled.inputs for name in argument.names}
    request = compiled.create_infer_request()
    return lambda inputs: request.infer({name: value for name, value in inputs.items() if name in names})[compiled.outputs[0]].copy()


OPENERS: dict[str, Callable[[Path, int], Graph]] = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


def read_inputs(source: str | None, lines: Iterator[str], *, images: bool) -> Iterator[Any]:
    """Raw inputs of `predict`: the images of a folder or file, or the lines of a text file or of standard input (`lines`; image paths there)."""
    if source is None:
        yield from (line.rstrip("\n") if images else text_or_pair(line.rstrip("\n")) for line in lines if line.strip())
        return
    path = Path(source)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if images:
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path}: no image here. Suffixes: {', '.join(sorted(SUFFIXES))}")
        yield from map(str, found)
        return
    for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        with open(file, encoding="utf-8") as text:
            yield from (text_or_pair(line.rstrip("\n")) for line in text if line.strip())


def text_or_pair(line: str) -> Any:
    """A line as it is; of one that is a JSON object the `text`, or the whole where it holds a pair, `text` and `text_b`."""
    try:
        found = json.loads(line) if line.lstrip().startswith("{") else None
    except ValueError:
        return line
    if not isinstance(found, dict):
        return line
    return found["text"] if found.keys() == {"text"} else found if found.keys() == {"text", "text_b"} else line
