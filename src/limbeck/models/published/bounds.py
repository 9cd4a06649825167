"""What a model's folder may ask for before it is read: a config of a few words can ask for a
hundred million layers, and a pipe in a file's place is waited for until somebody writes to it.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from limbeck.core.files import (
    DEAD_LINK,
    MOST_TEXT_BYTES,
    kind_in_place,
    read_json,
    require_file,
)

CONFIG = "config.json"
WEIGHTS_SUFFIXES = (".safetensors", ".bin")
TEXT_SUFFIXES = (".json", ".txt", ".jinja")
# Of one file of weights, 64 GiB: a sparse terabyte would be hashed for an hour.
MOST_FILE_BYTES = 64 << 30

# Of a config: the deepest models have hundreds of layers, of which lists speak one by one, the
# widest of width 20,000, the largest vocabularies a million words.
MOST_DEPTH = 30
MOST_ENTRIES = 10_000
MOST_LABELS = 300_000
MOST_NUMBER = 10**12
MOST_IN_LIST = 10**6
MOST_LAYERS = 10_000
COUNTS_LAYERS = re.compile(r"layers?$|blocks?$|stages?$|depths?$|experts$")

# Of a model that is being made: tensors, and numbers in all beyond twice the bytes of its weights.
MOST_TENSORS = 50_000
MOST_NUMBERS_BEYOND = 1 << 28


def check_folder(name: str, folder: Path) -> None:
    """Raise ValueError for a folder with pipes or devices in it, or with a config out of bounds.

    `name`: as the recipe has it.
    """
    for file in sorted(folder.iterdir()):
        # Nobody waits for a link that leads nowhere: people remove weights of other programs.
        if file.name.startswith(".") or kind_in_place(file) == DEAD_LINK:
            continue
        require_file(file)
        if not file.is_file():
            continue
        is_text = file.suffix.lower() in TEXT_SUFFIXES
        most = MOST_TEXT_BYTES if is_text else MOST_FILE_BYTES
        if file.stat().st_size > most:
            raise ValueError(
                f"model `{name}`: {file.name} has {file.stat().st_size:,} bytes, and at most "
                f"{most:,} are read. Copy the file again, or move it elsewhere"
            )
    if (folder / CONFIG).is_file():
        _check_config(name, read_json(folder / CONFIG))


def _check_config(name: str, config: Any) -> None:
    """Raise ValueError for a config that asks for more than any model is."""
    if not isinstance(config, dict):
        raise ValueError(f"model `{name}`: {CONFIG} is no object of keys and values")
    for path, value in _walk(config, "", 0):
        problem = _problem(path, value)
        if problem:
            raise ValueError(
                f"model `{name}`: {CONFIG} says {problem}. No model is that large: copy the file "
                "again, or mend it"
            )


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every value of a config with the keys that lead to it; None beyond `MOST_DEPTH`."""
    yield path, value if depth <= MOST_DEPTH else None
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _walk(inside, f"{path}.{key}" if path else str(key), depth + 1)
    # A list that is too long is told before it is walked through.
    elif isinstance(value, list) and len(value) <= MOST_ENTRIES:
        for inside in value:
            yield from _walk(inside, f"{path}[]", depth + 1)


def _problem(path: str, value: Any) -> str | None:
    """What a value of a config says that cannot be; None where it can."""
    if value is None and path.count(".") + path.count("[]") >= MOST_DEPTH:
        return f"{MOST_DEPTH} keys inside each other at {path[:60]}"
    if isinstance(value, list) and len(value) > MOST_ENTRIES:
        return f"a list of {len(value):,} entries for {path}, and at most {MOST_ENTRIES:,} are read"
    if isinstance(value, dict) and len(value) > MOST_LABELS:
        return f"{len(value):,} keys for {path}, and at most {MOST_LABELS:,} are read"
    if not isinstance(value, int):
        return None
    most = MOST_IN_LIST if path.endswith("[]") else MOST_NUMBER
    if COUNTS_LAYERS.search(path):
        most = MOST_LAYERS
    # Of a number of a thousand digits the first tell enough.
    shown = f"{value:,}" if abs(value) < 10**30 else "a number of over thirty digits"
    return f"{shown} for {path}, and at most {most:,} can be" if abs(value) > most else None


@contextlib.contextmanager
def bounded(name: str, folder: Path | None) -> Iterator[None]:
    """Check a folder; then refuse a model that is much larger than the weights in it, as soon as
    that is seen.

    `folder`: the model's own, or a hub id's in the hub's cache; None checks nothing.

    Raises ValueError, also in the `with` block.
    """
    if folder is None or not folder.is_dir():
        yield
        return
    check_folder(name, folder)
    num_tensors = 0
    num_numbers = 0

    def count(module: nn.Module, key: str, tensor: Any) -> None:
        nonlocal num_tensors, num_numbers
        num_tensors += 1
        num_numbers += 0 if tensor is None else tensor.numel()
        if num_tensors <= MOST_TENSORS and num_numbers <= MOST_NUMBERS_BEYOND:
            return
        # Looked at only now: the weights of a hub id come after its config.
        files = [file for file in folder.glob("*") if file.is_file()]
        num_bytes = sum(file.stat().st_size for file in files)
        # Until then its shapes alone are asked for, which take no memory.
        has_weights = any(file.suffix in WEIGHTS_SUFFIXES for file in files)
        is_shape = tensor is not None and tensor.is_meta and not has_weights
        is_larger = num_numbers > 2 * num_bytes + MOST_NUMBERS_BEYOND
        if num_tensors > MOST_TENSORS or (is_larger and not is_shape):
            raise ValueError(
                f"model `{name}`: {CONFIG} asks for a model of over {num_tensors:,} tensors and "
                f"{num_numbers:,} numbers, and its files have {num_bytes:,} bytes. The config is "
                "another model's: copy both again"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
