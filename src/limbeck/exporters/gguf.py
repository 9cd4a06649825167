"""GGUF, `model.gguf`, for llama.cpp and what is built on it: integers, tokenizer, chat template.

Weights of int8 become Q8_0 and those of int4 Q4_0, blocks of 32 with one fp16 scale, which are the
trained integers and scales as they are; what stayed float is float32. The file is read back, and
every code, scale and float must be equal to the bit.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.artifact.gguf import decoders, writing
from limbeck.artifact.gguf.file import read
from limbeck.exporters.decoder_folder import (
    WEIGHTS,
    Checkpoint,
    activations_of,
    check_codes,
    read_model,
)


class Gguf:
    """Writes a folder of transformers, and the file from it (`artifact.gguf.writing`)."""

    runtimes: ClassVar[tuple[str, ...]] = ("llama_cpp",)
    needs: ClassVar[Mapping[str, str]] = {"gguf": "pip install 'limbeck[generate]'"}
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    kv_caches: ClassVar[tuple[str, ...]] = ("float",)
    other_kv_cache: ClassVar[str] = (
        "The file holds weights alone: llama.cpp has types of its own for its cache, given when it "
        "starts (`--cache-type-k q8_0 --cache-type-v q8_0`)."
    )
    file: ClassVar[str] = "model.gguf"

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the file. Raises ValueError, with the tensor's name, for an architecture or a width
        that GGUF does not have, and for integers of other than 8 and 4 bits."""
        decoder = read_model(model, folder)
        path = folder / self.file
        # Within the artifact's folder: the system's own place for such may be small.
        with tempfile.TemporaryDirectory(prefix="gguf-", dir=folder) as place:
            # The file names its model by the folder, and the same model gives the same bytes.
            source = Path(place) / "model"
            source.mkdir()
            decoder.write_texts(source, {})
            save_file(decoder.all_in_float(), source / WEIGHTS)
            writing.write(source, decoder.codes, path, activations=activations_of(model))
        check_equal(path, decoder)
        return {"llama_cpp": self.file}


def check_equal(path: Path, decoder: Checkpoint) -> None:
    """Raise ValueError where a file does not hold a model's codes, scales and floats to the bit."""
    # 1. Integers, in the order of rows that transformers has.
    check_codes(path.name, writing.codes_of(path), decoder.codes)
    # 2. Floats.
    opened = read(path)
    sizes = decoders.sizes_of_metadata(opened.metadata)
    for name, weight in decoder.floats.items():
        own_name = decoders.gguf_name(name, sizes.architecture)
        assert own_name is not None
        values = decoders.from_gguf(name, opened.values(own_name), sizes)
        if not np.array_equal(values, weight.numpy()):
            raise ValueError(f"{path.name}: {name} was read back with other values")
