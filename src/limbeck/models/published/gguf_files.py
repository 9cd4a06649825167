"""Models that lie in one GGUF file, llama.cpp's format: made into a folder of `transformers` once,
in the cache, so that everything else reads one kind of folder.

`transformers` makes config, weights (in float32), tokenizer, chat template and the tokens that end
an answer of the file. What the file's own types say of its weights is noted in `gguf.json`: those
of 2 to 5 bits are on a coarse grid already, and quantizing them again to so many bits loses less
than it would of a model that was trained in floats.
"""

import contextlib
import io
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from limbeck.artifact.gguf import file as gguf_file
from limbeck.artifact.gguf import pre_tokenizers
from limbeck.core.cache.store import Store
from limbeck.core.files import file_digest, read_json, write_bytes, write_json
from limbeck.core.foreign import told_as
from limbeck.core.wording import some
from limbeck.models.anatomy.coarse_grid import coarse_grid

SUFFIX = ".gguf"
NOTES = "gguf.json"
# Of a folder that has weights of its own; a GGUF file beside them is a further copy.
WEIGHTS = (".safetensors", ".bin")

# Raised where the folder is written otherwise: then files that were read before are read anew.
LAYOUT = 1

# The kind of tokenizer whose texts are parted into words before bytes are merged.
BYTE_LEVEL = "gpt2"

# What was made in this process, by where a file lies and what it was like. The store is kept, for
# as long as it lives nobody prunes what it gave.
_MADE: dict[tuple[str, int, int], tuple[Store, Path]] = {}


class Unreadable(ValueError):
    """A GGUF file of which no model can be made."""


def file_in(path: Path) -> Path | None:
    """The GGUF file that a path stands for: itself, or the only one of a folder that has no other
    weights; None where it stands for something else.

    Raises ValueError for a folder of several.
    """
    if path.is_file():
        return path if path.suffix.lower() == SUFFIX else None
    if not path.is_dir() or any(each.suffix in WEIGHTS for each in path.iterdir()):
        return None
    files = sorted(each for each in path.iterdir() if each.suffix.lower() == SUFFIX)
    if len(files) > 1:
        names = some([each.name for each in files], 3)
        raise ValueError(
            f"model `{path}`: {len(files)} GGUF files lie there ({names}). Name one of them: "
            f"model: {files[0]}. Of a model in several parts take the whole, which llama.cpp's "
            "llama-gguf-split --merge makes"
        )
    return files[0] if files else None


def as_folder(file: Path, name: str) -> Path:
    """The folder of `transformers` that a GGUF file is made into, once.

    name: as the recipe has it, for messages.

    Raises ValueError for a file that is broken, of an unknown architecture or without all weights,
    and where the package `gguf` is missing.
    """
    import transformers

    told = file.stat()
    signature = (str(file.resolve()), told.st_size, told.st_mtime_ns)
    if signature not in _MADE:
        described = _described(file, name)
        inputs = {
            "file": file_digest(file),
            "layout": LAYOUT,
            "transformers": transformers.__version__,
        }
        store = Store()
        folder = store.stage("gguf", inputs, lambda to: _convert(file, described, to, name))
        _MADE[signature] = (store, folder)
    return _MADE[signature][1]


def notes_of(folder: Path) -> dict[str, Any] | None:
    """What the GGUF file of a model's folder said of itself; None where it came from none.

    `architecture`; `types`: by ggml's type, the share of the bytes of matrices; `pre_tokenizer`:
    how texts are parted into words, by llama.cpp's name, where that is not known here;
    `coarse_grid`: `share` of the weights and `bits`, where they lie on a grid of a few bits.
    """
    path = folder / NOTES
    return read_json(path) if path.is_file() else None


def _described(file: Path, name: str) -> Any:
    """The header of a file, checked. Raises ValueError."""
    try:
        return gguf_file.read(file)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"model `{name}`: reading a GGUF file needs the package {error.name}: "
            'pip install "limbeck[generate]"'
        ) from None
    except ValueError as error:
        raise ValueError(f"model `{name}`: {error}") from None


def _notes(described: Any, model: Any) -> dict[str, Any]:
    """See `notes_of`."""
    grid = coarse_grid(model.parameters())
    counts: Counter[str] = Counter()
    for tensor in described.tensors.values():
        # Norms and biases are floats in every file.
        if len(tensor.shape) > 1:
            counts[tensor.type] += tensor.num_bytes
    total = max(1, sum(counts.values()))
    return {
        "architecture": described.architecture,
        "types": {kind: round(count / total, 4) for kind, count in counts.most_common()},
        "pre_tokenizer": _unknown_splitting(described),
        "coarse_grid": asdict(grid) if grid else None,
    }


def _splitting(described: Any) -> str | None:
    """How texts are parted into words, by llama.cpp's name; None where nothing is said of it."""
    metadata = described.metadata
    name = metadata.get("tokenizer.ggml.pre")
    is_byte_level = metadata.get("tokenizer.ggml.model") == BYTE_LEVEL
    return str(name) if is_byte_level and name else None


def _unknown_splitting(described: Any) -> str | None:
    """The same, where it is a name that nobody here knows."""
    name = _splitting(described)
    return name if name and pre_tokenizers.known_name(name) is None else None


def _split_as(tokenizer: Any, described: Any) -> None:
    """Let a tokenizer part texts as the file says, which transformers does for some names alone:
    texts that are parted otherwise have other tokens than the model was trained on."""
    name = _splitting(described)
    known = pre_tokenizers.known_name(name) if name else None
    backend = tokenizer.backend_tokenizer
    if known is not None and pre_tokenizers.name_of(backend) != known:
        backend.pre_tokenizer = pre_tokenizers.splitter(known)


def _convert(file: Path, described: Any, folder: Path, name: str) -> None:
    """Write the folder. Raises ValueError as `as_folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def broken(reason: str) -> Unreadable:
        return Unreadable(
            f"model `{name}`: transformers cannot read this GGUF file ({described.architecture}): "
            f"{reason}. Take the folder that it was converted from"
        )

    # Its progress bars ask nobody whether they may show.
    with contextlib.redirect_stderr(io.StringIO()), told_as(broken, passing=Unreadable):
        tokenizer = AutoTokenizer.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            trust_remote_code=False,
        )
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    model, info = loaded
    _split_as(tokenizer, described)
    # What a file lacks is drawn at random without a word.
    missing = sorted(info["missing_keys"])
    if missing:
        raise broken(f"it lacks {some(missing, 3)}")
    # They say that the weights are quantized, which they are no more, and forbid to save them.
    del model.config.quantization_config
    model.hf_quantizer = None
    # Where a file lay is no part of a model.
    model.config._name_or_path = ""
    tokenizer.name_or_path = ""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / NOTES, _notes(described, model))
    licence = described.metadata.get("general.license")
    if isinstance(licence, str) and licence.strip():
        head = f"---\nlicense: {json.dumps(licence)}\n---\n"
        write_bytes(folder / "README.md", head.encode())
