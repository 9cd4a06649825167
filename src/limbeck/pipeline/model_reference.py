"""What a recipe's model name stands for, as part of a key."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.core.files import digest, file_digest
from limbeck.models.create import is_network
from limbeck.models.published import timm_models
from limbeck.models.published.hub import locate, quiet, reading

# What lies in a model's folder and is never read: words and pictures about it, and weights that
# only other programs open. Everything else counts: one file too many costs a training, one too few
# answers from another model.
NEVER_READ = (
    ".md",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".gguf",
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".tflite",
    ".mlmodel",
)

# Hex digits of git's name of a file's content, and of the SHA-256 that the hub has for large ones.
GIT_NAME = 40
SHA256_NAME = 64
COMMIT = re.compile("[0-9a-f]{40}")


def reference(name: str, options: dict[str, Any]) -> Any:
    """A network's options, a folder's bytes, or a hub id at its commit.

    Args:
        name: as a recipe has it.
        options: the recipe's keys beside the name, which only networks of ours take.

    Raises:
        ValueError: it is none of them.
    """
    if is_network(name):
        return {"network": name, "options": options}
    if name.startswith(timm_models.PREFIX):
        version = timm_models.library().__version__
        return {"timm": name, "version": version}
    folder = Path(locate(name))
    if folder.is_dir():
        # Its bytes and not its path: a folder may be moved, or filled anew.
        return {"folder": folder_reference(folder)}
    # Imported here: it takes seconds, and networks of ours do without.
    import transformers
    from transformers.utils.hub import cached_file

    with reading(name), quiet():
        # Fetches what is not there yet, and refuses a model that brings code of its own.
        transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        # Where the hub's cache keeps this commit, in a folder that is named by it.
        path = cached_file(name, "config.json")
    snapshot = Path(str(path)).parent
    if not COMMIT.fullmatch(snapshot.name):
        # A cache that somebody made by hand.
        return {"folder": folder_reference(snapshot)}
    return {"hub": name, "commit": snapshot.name, "altered": altered_files(snapshot)}


def folder_reference(folder: Path) -> str:
    """SHA-256 (hex) of the files below a model's folder that may be read."""
    return digest({name: file_digest(path) for name, path in paths_below(folder)})


def altered_files(snapshot: Path) -> dict[str, str]:
    """Name and SHA-256 of the files of a commit in the hub's cache that are not the hub's.

    The cache names a file by what it holds, so that one that was changed there by hand is seen. One
    that is not downloaded yet is as the commit says.
    """
    altered: dict[str, str] = {}
    for name, path in paths_below(snapshot):
        content_name = path.resolve().name
        is_named = path.is_symlink() and len(content_name) in (GIT_NAME, SHA256_NAME)
        if not is_named or not has_name(path, content_name):
            altered[name] = file_digest(path)
    return altered


def has_name(path: Path, content_name: str) -> bool:
    """Whether a file's content is the one that the hub calls so."""
    if len(content_name) == SHA256_NAME:
        return file_digest(path) == content_name
    # Of small files git's own name: the SHA-1 of a header and the bytes.
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == content_name


def paths_below(folder: Path) -> list[tuple[str, Path]]:
    """(name with slashes, path) of each file that may be read, sorted; links are followed."""
    files = [(path.relative_to(folder).as_posix(), path) for path in walk(folder, set())]
    return sorted(files)


def walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    """The regular files below a folder that may be read.

    Args:
        folder: where to look.
        seen: folders that were walked: links may lead in a circle.
    """
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for path in sorted(folder.iterdir()):
        # Hidden: a version control's, an editor's, a system's.
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from walk(path, seen)
        # No pipe or device, which has no end.
        elif path.is_file() and path.suffix.lower() not in NEVER_READ:
            yield path
