"""A trained, quantized model to an artifact: a folder that answers without torch and without us.

`artifact.proof.parity` then proves that the folder decides as the model does.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.artifact import manifest
from limbeck.artifact.proof import golden
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.contract import wrong_return
from limbeck.core.files import file_digest, write_bytes, write_json
from limbeck.core.foreign import told_as
from limbeck.evaluation.decisions.decision import FILE, Decision
from limbeck.exporters.requirements import why_other_kv_cache
from limbeck.models.running import logits_of
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.kv_cache import cache_format
from limbeck.tasks import Encoded, OverVocabulary, Task, apart, collate
from limbeck.tasks.likelihood import LIKELIHOODS

# Rows to trace with, and in the golden file; torch.export wants two at least (`onnx_graph`).
GOLDEN_ROWS = 4
# The same where every token has logits of a whole vocabulary.
GOLDEN_TEXTS = 2
GOLDEN_TOKENS = 12
# Beside a graph that holds all it needs.
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Artifact:
    """What goes into an artifact."""

    model: nn.Module
    """The fake-quantized model, on the CPU."""
    task: Task
    task_name: str
    """Its name in a recipe."""
    recipe: str
    """The text of recipe.yaml."""
    exporters: Sequence[str]
    """By name; the first writes the graph that is opened by default."""


def write(artifact: Artifact, example: Sequence[Encoded], folder: Path) -> None:
    """Fill `folder`.

    example: rows to trace with; the golden inputs take their shapes, never their values.

    Raises ValueError where an exporter refuses the model.
    """
    folder.mkdir(exist_ok=True)
    task = artifact.task

    # 1. The graphs.
    rows = list(example[:GOLDEN_ROWS])
    if isinstance(task, OverVocabulary):
        # Of each token the golden file holds a number for each of the vocabulary.
        rows = [beginning(row) for row in rows[:GOLDEN_TEXTS]]
    batch = collate(rows, np.arange(len(rows)), task.padding)
    arrays = apart(batch.inputs)
    inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
    graph_files = write_graphs(artifact.model, artifact.exporters, inputs, folder, read_with(task))

    # 2. What stands beside them.
    write_bytes(folder / task.preprocess_file, task.preprocess.encode())
    # A vocabulary lies in the tokenizer already.
    is_vocabulary = isinstance(task, OverVocabulary)
    write_json(folder / "labels.json", [] if is_vocabulary else list(task.labels))
    write_bytes(folder / "recipe.yaml", artifact.recipe.encode())
    if not (is_vocabulary or LIKELIHOODS[task.likelihood].labels_are_numbers):
        # As the graph says it, until `pipeline.deciding` has fitted it.
        write_json(folder / FILE, Decision(likelihood=task.likelihood).to_json())
    shape = answer_shape(artifact.model, inputs)
    write_golden(artifact.exporters, arrays, graph_files, folder, shape)
    graphs = manifest.graphs_of(graph_files)

    # 3. The manifest comes last: it lists every other file.
    manifest.write(folder, artifact.task_name, graphs)


def beginning(row: Encoded) -> Encoded:
    """The first tokens of a text, without what it is asked."""
    inputs = {name: value[..., :GOLDEN_TOKENS] for name, value in row.inputs.items()}
    return Encoded(inputs, None, row.labels[:1])


def read_with(task: Task) -> dict[str, str]:
    """What an exporter finds in its folder: the file that says how inputs are read."""
    return {task.preprocess_file: task.preprocess}


def write_graphs(
    model: nn.Module,
    exporters: Sequence[str],
    inputs: dict[str, torch.Tensor],
    folder: Path,
    beside: Mapping[str, str] = NOTHING,
) -> dict[str, str]:
    """Write the graph of a fake-quantized model, or of a float one, with each of the `exporters`.

    inputs: an example to trace with, two rows or more.
    beside: what exporters find in their folder (`read_with`), by the names of files. It is not left
        in `folder`.

    Returns runtime -> file name in `folder`, in the order of the exporters.

    Raises ValueError where an exporter does not write what the model is.
    """
    for name in exporters:
        reason = why_other_kv_cache(name, cache_format(model))
        if reason:
            raise ValueError(reason)
    converted = convert_model(model)
    graph_files: dict[str, str] = {}
    # In a folder within one of our own: what lies beside it then is this exporter's doing. Beside
    # `folder`, in the cache, other processes write. Where this one is killed, the store knows it by
    # its suffix.
    with tempfile.TemporaryDirectory(suffix=".tmp", prefix="exporting-", dir=folder) as around:
        room = Path(around) / "graphs"
        room.mkdir()
        # In the folder and no argument: a file of text generation holds the tokenizer as well, and
        # exporters of others, which need none, stay as they are.
        for file, text in beside.items():
            write_bytes(room / file, text.encode())
        for name in exporters:
            # Later exporters may name a file that an earlier one wrote (`exporters.openvino`).
            exporter = registry.create("exporters", name)
            of_others = {path.name: file_digest(path) for path in room.iterdir()}
            written = exporter.export(converted, inputs, room)
            check_written(name, exporter.runtimes, written, room)
            check_left(name, room, _names(room.parent) - {room.name})
            check_unchanged(name, room, of_others)
            graph_files |= written
        for file in beside:
            (room / file).unlink()
        arrays = {name: value.numpy() for name, value in inputs.items()}
        check_needed(exporters, arrays, graph_files, room)
        for path in room.iterdir():
            path.replace(folder / path.name)
    return graph_files


def write_golden(
    exporters: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    graph_files: Mapping[str, str],
    folder: Path,
    shape: Sequence[int],
) -> None:
    """Write what every graph answers to a few inputs (`artifact.proof.golden`).

    `shape`: of the model's own answer to `arrays`.

    Raises ValueError where the graph of somebody else's exporter does not open, or fails, or gives
    logits of another shape.
    """
    others = [name for name in exporters if registry.package_of("exporters", name)]
    told_of = told_as(partial(_why_unopened, others, graph_files))
    with told_of if others else contextlib.nullcontext():
        answers = golden.write(arrays, graph_files, folder)
    for runtime, logits in answers.items():
        # Of large rows the golden inputs are fewer.
        expected = (len(logits), *shape[1:])
        if logits.shape != expected:
            told = f"logits of shape {expected}, as the model's are"
            called = registry.method_of("runtimes", runtime, "open")
            told_name = f"the runtime `{runtime}`"
            raise wrong_return(told_name, "open(...)(inputs)", logits, told, called)


def answer_shape(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> Sequence[int]:
    """The shape of what a model answers."""
    with torch.no_grad():
        return logits_of(model(**inputs)).shape


def _why_unopened(others: Sequence[str], graph_files: Mapping[str, str], reason: str) -> ValueError:
    files = " or ".join(f"{file} in {runtime}" for runtime, file in graph_files.items())
    names = " or ".join(f"`{name}`" for name in others)
    return ValueError(
        f"the exporter {names} wrote a graph that cannot be opened, or answers nothing "
        f"({files}): {reason}. Mend what `export` writes, or name the runtime that opens it"
    )


def check_written(name: str, runtimes: Sequence[str], written: Any, folder: Path) -> None:
    """Raise ValueError where an exporter, perhaps somebody else's, did not write what it says."""
    if not isinstance(written, dict) or set(written) != set(runtimes):
        expected = f"a dict of the file of each of its runtimes: {', '.join(runtimes)}"
        called = registry.method_of("exporters", name, "export")
        raise wrong_return(f"the exporter `{name}`", "export", written, expected, called)
    for file in written.values():
        # Of another folder, or of one within, the manifest would not know it.
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(
                f"the exporter `{name}` names the file {file!r}; the name of a file in the folder "
                "that it was given is expected, without any folder"
            )
        if not (folder / file).is_file():
            raise ValueError(f"the exporter `{name}` names the file {file!r} and did not write it")


def check_left(name: str, folder: Path, beside: Collection[str]) -> None:
    """Raise ValueError where an exporter left what an artifact cannot hold: a folder or a link in
    `folder`, or anything `beside` it."""
    if beside:
        raise ValueError(
            f"the exporter `{name}` wrote {', '.join(sorted(beside))} beside the folder that it "
            "was given. An artifact is what lies in that folder"
        )
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no file"
            raise ValueError(
                f"the exporter `{name}` left `{path.name}`, which is {kind}, in the folder that it "
                "was given. An artifact holds files alone"
            )


def check_unchanged(name: str, folder: Path, before: Mapping[str, str]) -> None:
    """Raise ValueError where an exporter changed what one before it wrote; `before`: the digest of
    each of those files."""
    for file, digest in before.items():
        if not (folder / file).is_file() or file_digest(folder / file) != digest:
            raise ValueError(
                f"the exporter `{name}` changed `{file}`, which an exporter before it wrote. It "
                "may read that file; let it write others"
            )


def check_needed(
    exporters: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    graph_files: Mapping[str, str],
    folder: Path,
) -> None:
    """Raise ValueError for a file that somebody else's exporter left and that belongs to no graph:
    it would be shipped with every artifact. It is not removed, for nobody here knows what it is.

    A file belongs to a graph that cannot be opened without it, or by its name: `model.bin` and
    `model.onnx.data` to `model.onnx`.
    """
    others = [name for name in exporters if registry.package_of("exporters", name)]
    stems = tuple(Path(file).name.split(".")[0] for file in graph_files.values())
    extra = sorted(name for name in _names(folder) if not name.startswith(stems))
    for file in extra if others else ():
        if is_read(file, arrays, graph_files, folder):
            continue
        names = " or ".join(f"`{name}`" for name in others)
        raise ValueError(
            f"the exporter {names} left `{file}` in the folder of the artifact, and every graph "
            "there answers without it. Remove it at the end of `export`, or where it belongs to a "
            f"graph begin its name as the graph's file ({', '.join(graph_files.values())})"
        )


def is_read(
    file: str, arrays: Mapping[str, np.ndarray], graph_files: Mapping[str, str], folder: Path
) -> bool:
    """Whether some graph of a folder cannot be opened, or answers nothing, without a file."""
    with tempfile.TemporaryDirectory() as home:
        for path in folder.iterdir():
            if path.name != file:
                shutil.copyfile(path, Path(home) / path.name)
        try:
            with told_as(ValueError):
                for runtime, graph in graph_files.items():
                    open_graph(Path(home) / graph, runtime, 1)(dict(arrays))
        except (ValueError, OSError):
            return True
    return False


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
