"""Open an artifact: raw text or images in, labels, spans and probabilities out.

It needs numpy, safetensors, the packages of the chosen runtime, and tokenizers or Pillow. Loading
checks the SHA-256 of every file (`manifest`), replays the golden inputs (`golden`) and answers an
input of its own (`rehearsal`), so that an artifact that was changed, whose files do not belong
together, or that computes something else on this machine, is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.artifact.manifest import BrokenArtifact, checked_manifest, why_not_offered
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.proof.golden import replay
from limbeck.artifact.proof.rehearsal import rehearse
from limbeck.artifact.runtimes import open_graph, require_runtime
from limbeck.core import registry, wording
from limbeck.core.contract import require_argument
from limbeck.core.files import read_json
from limbeck.core.foreign import told_as
from limbeck.evaluation.decisions import decision
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.drift import reference
from limbeck.evaluation.drift.reference import Reference
from limbeck.tasks import Task


def load(folder: str | Path, *, runtime: str | None = None, threads: int = 1) -> Predictor:
    """The artifact in `folder`, checked and ready to answer.

    Args:
        folder: an artifact's.
        runtime: one that the artifact offers, such as `onnxruntime` or `openvino`; without it, the
            first of its manifest, which is the first that the recipe's `export` names.
        threads: of the CPU, for one answer.

    Raises:
        BrokenArtifact: the folder is not what was exported.
        ValueError: it is no artifact, offers no such runtime, or the runtime is not installed.
        TypeError: arguments of another type.

    ```
    limbeck.load("run/artifact").predict("Ada Lovelace lives in London.")
    ```
    """
    require_argument("folder", folder, (str, Path), "the path of an artifact")
    require_argument("threads", threads, (int,), "a whole number of 1 or more")
    if threads < 1:
        raise ValueError(f"threads: a whole number of 1 or more is expected, and not {threads}")
    folder = Path(folder)
    # Before anything of the folder is read or run.
    manifest = checked_manifest(folder)
    graph_files = {graph["runtime"]: graph["file"] for graph in manifest["graphs"]}
    # The manifest keeps the order of the exporters, and a dict that of the manifest.
    runtime = runtime or next(iter(graph_files))
    if runtime not in graph_files:
        raise ValueError(
            f"{folder}: this artifact has no graph for `{runtime}`. "
            f"{wording.suggest(runtime, graph_files)}"
        )
    if runtime not in registry.names("runtimes"):
        others = [each for each in graph_files if each != runtime]
        otherwise = f". The artifact offers others: {', '.join(others)}" if others else ""
        raise ValueError(f"{folder}: {why_not_offered(manifest, 'runtimes', runtime)}{otherwise}")
    require_runtime(runtime)

    def broken(reason: str) -> BrokenArtifact:
        return BrokenArtifact(
            f"{folder}: its files do not make an artifact: {reason}. "
            "Copy or export the artifact again"
        )

    with told_as(broken, passing=BrokenArtifact):
        task = load_task(folder, manifest["task"])
        fitted = load_decision(folder, manifest, task)
        counts = load_reference(folder, manifest)
        graph = open_graph(folder / graph_files[runtime], runtime, threads)
        replay(folder, graph, runtime)
        rehearse(folder, task, graph)
    return Predictor(task, graph, runtime, folder, fitted, counts)


def load_task(folder: Path, name: str) -> Task:
    """The task `name` with the labels and the preprocessing that `folder` holds."""
    task_class = registry.load("tasks", name)
    labels = read_json(folder / "labels.json")
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not is_list or len(set(labels)) < len(labels):
        raise BrokenArtifact(f"{folder / 'labels.json'}: not a list of labels, each once")
    preprocess = (folder / task_class.preprocess_file).read_text(encoding="utf-8")
    task: Task = task_class(labels, preprocess)
    return task


def load_decision(folder: Path, manifest: Mapping[str, Any], task: Task) -> Decision | None:
    """How logits become answers; None for an artifact that was exported without decision.json.

    Raises BrokenArtifact for a file that the manifest does not vouch for, ValueError for one that
    does not fit the task.
    """
    # The file decides what users are answered.
    content = _vouched_for(folder, manifest, decision.FILE)
    return None if content is None else Decision.of(content, task)


def load_reference(folder: Path, manifest: Mapping[str, Any]) -> Reference | None:
    """What the artifact answered to validation; None for one that was exported without
    reference.json.

    Raises BrokenArtifact for a file that the manifest does not vouch for, ValueError for one that
    says nothing that could be meant.
    """
    content = _vouched_for(folder, manifest, reference.FILE)
    return None if content is None else Reference.of(content)


def _vouched_for(folder: Path, manifest: Mapping[str, Any], name: str) -> Any:
    """The content of a JSON file that an artifact may have; None where it has none."""
    if name in manifest["files"]:
        return read_json(folder / name)
    if (folder / name).exists():
        raise BrokenArtifact(
            f"{folder / name}: the manifest does not name it, so somebody put it there. "
            "Remove it, or export the artifact again"
        )
    return None
