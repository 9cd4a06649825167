"""A folder of transformers, read without transformers and torch: config, weights, tokenizer."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.core import files

# What safetensors calls the types of numbers. bfloat16 is read by hand: numpy has none.
KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# As safetensors itself allows.
MOST_HEADER_BYTES = 100 << 20
EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight")
OUTPUT = "lm_head.weight"
# Buffers that old versions of transformers stored beside the weights.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: the file, its first byte there, type and shape."""

    path: Path
    offset: int
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelFolder:
    """What a folder of transformers holds."""

    path: Path
    config: Mapping[str, Any]
    places: dict[str, Place] = field(repr=False)

    def values(self, name: str) -> np.ndarray:
        """A tensor, float32."""
        place = self.places[name]
        # Mapped: a folder may be larger than memory, and one tensor at a time is not.
        kind = np.dtype(KINDS[place.kind])
        count = int(np.prod(place.shape))
        stored = np.memmap(place.path, kind, "r", place.offset, (count,))
        if place.kind == "BF16":
            # bfloat16 is the upper half of a float32.
            wide = stored.astype(np.uint32) << 16
            return wide.view(np.float32).reshape(place.shape)
        return stored.astype(np.float32).reshape(place.shape)

    @property
    def embeddings(self) -> str:
        """The name of the table of embeddings. Raises ValueError where there is none."""
        for name in EMBEDDINGS:
            if name in self.places:
                return name
        raise ValueError(f"{self.path}: no table of embeddings, {' or '.join(EMBEDDINGS)}")

    @property
    def num_rows(self) -> int:
        """How many tokens the table of embeddings has."""
        return self.places[self.embeddings].shape[0]

    @cached_property
    def tokenizer_json(self) -> dict[str, Any]:
        """tokenizer.json. Raises ValueError where there is none."""
        path = self.path / "tokenizer.json"
        if not path.is_file():
            raise ValueError(
                f"{path} is not there. Make it: AutoTokenizer.from_pretrained("
                f'"{self.path}").save_pretrained("{self.path}")'
            )
        return read_object(path)

    def optional(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none."""
        path = self.path / name
        return read_object(path) if path.is_file() else {}

    @cached_property
    def chat_template(self) -> str | None:
        """The chat template, from its file or tokenizer_config.json; of several the default."""
        path = self.path / "chat_template.jinja"
        if path.is_file():
            files.require_file(path)
            return path.read_text(encoding="utf-8")
        found = self.optional("tokenizer_config.json").get("chat_template")
        # Some models have one for tools beside the usual one.
        if isinstance(found, list):
            by_name = {each.get("name"): each.get("template") for each in found}
            found = by_name.get("default")
        return found if isinstance(found, str) else None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object. Raises ValueError."""
    files.require_file(path)
    with files.naming(path), open(path, "rb") as file:
        content = files.read_at_most(file, files.MOST_TEXT_BYTES, str(path))
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path}: no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: an object is expected, {{...}}")
    return found


def read_folder(path: Path) -> ModelFolder:
    """Open a folder that transformers has saved. Raises ValueError for what is missing."""
    if not (path / "config.json").is_file():
        raise ValueError(f"{path}: no config.json, so this is no folder of a transformers model")
    config = read_object(path / "config.json")
    # Of a model in parts all files are read; the index beside them says nothing more.
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise ValueError(
            f"{path}: no *.safetensors. Write them: "
            f'AutoModelForCausalLM.from_pretrained("{path}").save_pretrained("{path}")'
        )
    places: dict[str, Place] = {}
    for each in weights:
        places |= read_places(each)
    # GPT-2's config class ties where config.json does not say.
    tied = bool(config.get("tie_word_embeddings", config.get("model_type") == "gpt2"))
    known = {
        _full_name(name): place
        for name, place in places.items()
        if not name.endswith(BUFFERS) and not (tied and name == OUTPUT)
    }
    return ModelFolder(path, config, known)


def _full_name(name: str) -> str:
    """The name of a tensor below the whole model: GPT-2's folders have it from `h.0` on."""
    is_bare = name.startswith(("h.", "wte.", "wpe.", "ln_f."))
    return f"transformer.{name}" if is_bare else name


def read_places(path: Path) -> dict[str, Place]:
    """Where the tensors of a safetensors file lie. Raises ValueError for a broken file."""
    files.require_file(path)
    size = path.stat().st_size
    # 1. The length of the header, and the header: JSON.
    with files.naming(path), open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError(f"{path}: no whole safetensors file. Copy or download it again")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError(f"{path}: no whole safetensors file: its header is no JSON") from None
    # Notes of whoever has written the file.
    header.pop("__metadata__", None)
    # 2. Each tensor's type, shape and place.
    places = {}
    for name, told in header.items():
        begin, end = told["data_offsets"]
        if told["dtype"] not in KINDS:
            raise ValueError(f"{path}: {name} is of the type {told['dtype']}; weights are floats")
        # Offsets count from the end of the header.
        if 8 + length + end > size:
            raise ValueError(f"{path}: {name} ends behind the file. Copy or download it again")
        places[name] = Place(path, 8 + length + begin, told["dtype"], tuple(told["shape"]))
    return places
