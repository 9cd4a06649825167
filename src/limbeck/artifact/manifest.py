"""The manifest of an artifact: its task, its graphs, and the SHA-256 of every file.

```
{"schema": 1, "task": "token-classification",
 "graphs": [{"runtime": "onnxruntime", "role": "forward", "file": "model.onnx"}],
 "files": {"model.onnx": "9f86d0...", "labels.json": "..."}}
```
It holds no time and no path, so that the same training writes the same bytes.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.core import registry
from limbeck.core.files import MOST_TEXT_BYTES, file_digest, read_json, require_file, write_json
from limbeck.core.terminal.shell import command
from limbeck.core.wording import nearest

MANIFEST = "manifest.json"
GOLDEN = "golden.safetensors"
SCHEMA = 1
# Of one file, 16 GiB: a sparse terabyte would be hashed for ten minutes before it is refused.
MOST_FILE_BYTES = 16 << 30
COPIED_BYTES = 1 << 20  # at a time
TEXT_SUFFIXES = (".json", ".yaml", ".md", ".txt")
# The manifest's key for the packages of others without which the artifact cannot be opened; it is
# there only where there are some.
PLUG_INS = "plug_ins"


class BrokenArtifact(ValueError):
    """The folder is not what was exported, or computes other answers here than it did there."""


def graphs_of(graph_files: Mapping[str, str]) -> list[dict[str, str]]:
    """The `graphs` of a manifest. graph_files: runtime -> file, the default runtime first."""
    # The one role so far: the whole of the model, from its inputs to its logits.
    role = "forward"
    graphs = []
    for runtime, file in graph_files.items():
        graphs.append({"runtime": runtime, "role": role, "file": file})
    return graphs


def graphs_in(folder: Path) -> list[dict[str, str]]:
    """What the manifest of an artifact says of each graph: its runtime, role and file; the one that
    is opened by default first. The artifact is taken for sound (`checked_manifest` is for others').
    """
    graphs: list[dict[str, str]] = read_json(folder / MANIFEST)["graphs"]
    return graphs


def write(folder: Path, task: str, graphs: Sequence[Mapping[str, str]]) -> None:
    """Write the manifest over the files that `folder` holds. `task`: its name in a recipe."""
    # Sorted, so that the same files give the same bytes. It cannot hold its own digest.
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    digests = {path.name: file_digest(path) for path in paths}
    content = {"schema": SCHEMA, "task": task, "graphs": list(graphs), "files": digests}
    plug_ins = plug_ins_of(task, graphs)
    if plug_ins:
        content[PLUG_INS] = plug_ins
    write_json(folder / MANIFEST, content)


def write_again(folder: Path) -> None:
    """Write the manifest of an artifact to which a file was added."""
    content = read_json(folder / MANIFEST)
    write(folder, content["task"], content["graphs"])


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The content of manifest.json, after every file that it names was found unchanged.

    Raises ValueError where there is no manifest, BrokenArtifact where anything is not as exported.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise ValueError(f"{folder}: there is no such folder. {_nearest(folder)}")
    if not path.is_file():
        below = folder / "artifact"
        raise ValueError(
            f"{folder}: no {MANIFEST} here, so this is no artifact. "
            f"A run leaves one in {below if (below / MANIFEST).is_file() else 'RUN/artifact'}"
        )
    try:
        manifest: dict[str, Any] = read_json(path)
        known = manifest["task"] in registry.names("tasks")
        complete = known and _is_complete(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenArtifact(
            f"{path}: not a manifest of limbeck ({error}). Export the artifact again"
        ) from None
    if not known:
        raise BrokenArtifact(f"{path}: {why_not_offered(manifest, 'tasks', manifest['task'])}")
    if not complete:
        raise BrokenArtifact(
            f"{path}: names no graph, or leaves a file out. Export the artifact again"
        )
    # A later schema may mean other things by the same names.
    if manifest.get("schema") != SCHEMA:
        raise BrokenArtifact(
            f"{path}: schema {manifest.get('schema')!r}; "
            f"this version of limbeck reads schema {SCHEMA}"
        )
    for name, digest in manifest["files"].items():
        _check_file(folder, name, digest)
    return manifest


def _nearest(folder: Path) -> str:
    """The folder that was probably meant by one that is not there: the first part of its path that
    is not there may be misspelt."""
    missing = next(each for each in (*reversed(folder.parents), folder) if not each.exists())
    siblings = []
    if missing.parent.is_dir():
        siblings = [each.name for each in missing.parent.iterdir() if each.is_dir()]
    name = nearest(missing.name, siblings)
    if name is None:
        return "Name the folder of an artifact, such as RUN/artifact"
    return f"Did you mean `{missing.parent / name / folder.relative_to(missing)}`?"


def copy_artifact(folder: Path, target: Path) -> None:
    """Copy what the manifest of an artifact lists, and nothing else that lies in the folder.

    A link is copied as the file that it leads to. The copy is to be checked (`checked_manifest`): a
    file may change while it is read.

    Raises FileExistsError for a target that is there, and OSError where there is no room.
    """
    names = [MANIFEST, *read_json(folder / MANIFEST)["files"]]
    target.mkdir(parents=True)
    for name in names:
        require_file(folder / name)
        with open(folder / name, "rb") as source, open(target / name, "wb") as copy:
            # What was checked may be something else by now, such as a device.
            left = os.fstat(source.fileno()).st_size
            while left > 0 and (piece := source.read(min(left, COPIED_BYTES))):
                copy.write(piece)
                left -= len(piece)


def refuse_artifact(folder: Path, verb: str) -> None:
    """Raise ValueError where a verb that reads a run was given an artifact; with the run above."""
    if not (folder / MANIFEST).is_file():
        return
    # Of `.` the folder above is `..`, and of `run/artifact` it is `run`.
    run = Path(os.path.normpath(folder / ".."))
    cure = f"Name the folder of a run, which holds report.json, as in `{command(verb, 'RUN')}`"
    if (run / "report.json").is_file():
        cure = f"Its run is the folder above: `{command(verb, run)}`"
    raise ValueError(f"{folder}: this is an artifact, not a run. {cure}")


def why_not_offered(manifest: Mapping[str, Any], family: str, name: str) -> str:
    """The message for a task or runtime of an artifact that nothing offers that is installed."""
    plug_ins = manifest.get(PLUG_INS)
    package = plug_ins.get(f"{family}/{name}") if isinstance(plug_ins, dict) else None
    cure = "Install the package that offers it, or export the artifact again"
    if package:
        cure = f"The package {package} offered it where the artifact was made. Install it here"
    return f"no package here offers the {family.removesuffix('s')} `{name}`. {cure}"


def plug_ins_of(task: str, graphs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """FAMILY/NAME -> the package that offers it, of what opens an artifact and is not limbeck's."""
    needed = [("tasks", task)]
    needed += [("runtimes", graph["runtime"]) for graph in graphs]
    found = {}
    for family, name in needed:
        package = registry.package_of(family, name)
        if package:
            found[f"{family}/{name}"] = package
    return found


def _is_complete(manifest: dict[str, Any]) -> bool:
    """Whether there is a graph, and every file that loading reads is vouched for by a digest.

    Raises ValueError, KeyError or TypeError for what has not the shape of a manifest.
    """
    listed = dict(manifest["files"]).keys()
    # Both keys are read, so that a graph without one of them is refused here.
    graphs = [(graph["runtime"], graph["file"]) for graph in manifest["graphs"]]
    if not graphs:
        return False
    task = registry.load("tasks", manifest["task"])
    needed = {"labels.json", GOLDEN, task.preprocess_file}
    needed.update(file for _, file in graphs)
    return needed <= listed


def _check_file(folder: Path, name: str, digest: str) -> None:
    """Compare one file with its digest. Raises BrokenArtifact."""
    if not isinstance(name, str) or "\0" in name:
        raise BrokenArtifact(f"{folder}: `{name!r}` is no name of a file. Copy the folder again")
    file = folder / name
    # A name such as `../labels.json` would let a manifest vouch for a file of somebody else. A link
    # in the folder is somebody's way to lay it out (a download of the hub): its bytes count.
    is_inside = file.parent == folder and name not in ("", ".", "..") and "\\" not in name
    if not is_inside or not file.is_file():
        raise BrokenArtifact(f"{folder}: `{name}` is missing. Copy the whole artifact folder again")
    most = MOST_TEXT_BYTES if file.suffix in TEXT_SUFFIXES else MOST_FILE_BYTES
    if file.stat().st_size > most:
        raise BrokenArtifact(
            f"{file}: {file.stat().st_size:,} bytes, and at most {most:,} are read. "
            "Copy the whole artifact folder again"
        )
    if file_digest(file) != digest:
        raise BrokenArtifact(
            f"{file}: changed since the export (its SHA-256 is not the manifest's). "
            "Copy or export the artifact again"
        )
