"""A folder for OpenVINO GenAI: the model with its cache, the tokenizer as OpenVINO's own models,
chat template and end tokens.

    openvino_genai.LLMPipeline(ARTIFACT, "CPU", **EXACT)
    EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}

Weights of int8 become i8 and those of int4 i4, in groups with one fp16 scale, which are the trained
integers and scales as they are; what stayed float is float32. The file is read back, and every
code, scale and float must be equal to the bit. It also says that activations are not rounded, which
OpenVINO would do otherwise. That keys and values stay float32, and all is computed in it and not in
bf16 where a CPU has that, is said where the folder is opened, as above: so it is proven.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from limbeck.artifact.group_codes import RANGES
from limbeck.artifact.runtimes import require_packages
from limbeck.exporters.decoder_folder import (
    Checkpoint,
    activations_of,
    check_codes,
    read_model,
)
from limbeck.exporters.decoders import openvino_model, openvino_texts
from limbeck.exporters.decoders.families import refuse_other

LEAVE = "leave `openvino_genai` out of `export`"


class OpenvinoGenai:
    """Writes the folder; OpenVINO's runtime opens the model in it (`runtimes.openvino_genai`)."""

    runtimes: ClassVar[tuple[str, ...]] = ("openvino_genai",)
    needs: ClassVar[Mapping[str, str]] = {
        "openvino": "pip install 'limbeck[openvino-genai]'",
        "openvino_tokenizers": "pip install 'limbeck[openvino-genai]'",
    }
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    kv_caches: ClassVar[tuple[str, ...]] = ("float",)
    other_kv_cache: ClassVar[str] = (
        "The file holds weights alone: OpenVINO has types of its own for its cache, given where it "
        'is opened (`LLMPipeline(..., KV_CACHE_PRECISION="u8")`).'
    )
    file: ClassVar[str] = "openvino_model.xml"

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the folder. Raises ValueError, by name, for an architecture, a weight or
        activations that are not computed as trained, and where texts are read otherwise there."""
        decoder = read_model(model, folder)
        refuse_unlike(decoder)
        require_packages(self.needs, LEAVE)
        weights = {name: weight.numpy() for name, weight in decoder.floats.items()}
        made = openvino_model.model_of(model, weights, decoder.codes)
        openvino_model.write(made, folder / self.file)
        check_equal(folder / self.file, decoder)
        decoder.write_ends(folder)
        decoder.write_tokenizer(folder)
        openvino_texts.write(folder, decoder.reading.tokenizer)
        return {"openvino_genai": self.file}


def refuse_unlike(decoder: Checkpoint) -> None:
    """Raise ValueError for what the graph does not compute as it was trained."""
    refuse_other(decoder.config)
    if activations_of(decoder.model) != "float":
        raise ValueError(
            "OpenVINO does not round activations as the model was trained to. Say "
            f"`activations: float`, or {LEAVE}"
        )
    for name, each in decoder.codes.items():
        if each.bits not in RANGES:
            known = " and ".join(f"int{bits}" for bits in sorted(RANGES, reverse=True))
            raise ValueError(
                f"`{name}`: codes of {each.bits} bits, and OpenVINO computes {known}. Say one of "
                f"them for it, or {LEAVE}"
            )


def check_equal(path: Path, decoder: Checkpoint) -> None:
    """Raise ValueError where a file does not hold a model's codes, scales and floats to the bit."""
    constants = openvino_model.constants_of(path)
    # 1. Integers.
    check_codes(path.name, openvino_model.codes_of(constants), decoder.codes)
    # 2. Floats.
    for name, weight in decoder.floats.items():
        values: Any = constants.get(name)
        if values is None or values.data.tobytes() != weight.numpy().tobytes():
            raise ValueError(f"{path.name}: {name} was read back with other values")
