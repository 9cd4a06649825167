"""An artifact's manifest: which files belong to it, with their digests."""

from pathlib import Path
from typing import Any

from limbeck.core import registry
from limbeck.core.files import file_digest, read_json

MANIFEST = "manifest.json"
GOLDEN = "golden.safetensors"
GOLDEN_TOLERANCE = 0.05  # relative root mean square error of the golden logits


class BrokenArtifact(ValueError):
    """The folder is not the artifact that was exported, or does not compute here what it computed there."""


def checked_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json, after every file it names was found unchanged. Raises BrokenArtifact."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"{folder}: no {MANIFEST} here, so this is no artifact. A run leaves one in RUN/artifact"
        )
    try:
        manifest = read_json(path)
        files = dict(manifest["files"])
        offered = [(graph["runtime"], graph["file"]) for graph in manifest["graphs"]]
        known = (
            manifest["task"] in registry.names("tasks")
            and bool(offered)
            and {file for _, file in offered} <= files.keys()
        )
        needed = (
            {"labels.json", GOLDEN, registry.load("tasks", manifest["task"]).preprocess_file}
            if known
            else set()
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"{path}: not a manifest of limbeck ({error}). Export the artifact again"
        ) from None
    if not known or not needed <= files.keys():
        raise BrokenArtifact(
            f"{path}: names a task or a graph that is not here, or leaves a file out. Export the artifact again"
        )
    if manifest.get("schema") != 1:
        raise BrokenArtifact(
            f"{path}: schema {manifest.get('schema')!r}; this version of limbeck reads schema 1"
        )
    for name, expected in files.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise BrokenArtifact(
                f"{folder}: `{name}` is missing. Copy the whole artifact folder again"
            )
        if file_digest(file) != expected:
            raise BrokenArtifact(
                f"{file}: changed since the export (its SHA-256 is not the manifest's). Copy or export the artifact again"
            )
    return manifest
