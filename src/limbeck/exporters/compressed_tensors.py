"""A folder for plain transformers, and for what reads compressed-tensors: config.json, the trained
integers in `model.safetensors`, tokenizer, chat template and end tokens.

    AutoModelForCausalLM.from_pretrained(ARTIFACT)        with `pip install compressed-tensors`

They lie in the folder of the artifact itself, and not in one within, so that it has its tokenizer
once. Codes and fp16 scales are the trained ones, read back and compared to the bit; what stayed
float is float32. `artifact.compressed_tensors.folder` says how each weight lies there, and what a
table of few bits costs more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.numpy import save_file
from torch import nn

from limbeck.artifact.compressed_tensors.folder import (
    ACTIVATION_GROUP,
    FILE,
    KEY,
    OUTPUT,
    Stored,
    WeightFolder,
    quantization_config,
    stored,
    tensors_of,
)
from limbeck.artifact.gguf import decoders
from limbeck.exporters.decoder_folder import (
    Checkpoint,
    activations_of,
    check_codes,
    read_model,
)


class CompressedTensors:
    """Writes the folder; `artifact.compressed_tensors` opens it."""

    runtimes: ClassVar[tuple[str, ...]] = ("transformers",)
    needs: ClassVar[Mapping[str, str]] = {}
    tasks: ClassVar[tuple[str, ...]] = ("text-generation",)
    writes_float: ClassVar[bool] = False
    kv_caches: ClassVar[tuple[str, ...]] = ("float",)
    other_kv_cache: ClassVar[str] = (
        "The folder holds weights alone: transformers has caches of its own, named where it writes "
        '(`generate(..., cache_implementation="quantized")`).'
    )

    def export(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], folder: Path
    ) -> dict[str, str]:
        """Write the folder. Raises ValueError, with the module's name, for a layer that is no
        Linear, as all of GPT-2's, and for a model that the proof's reference does not compute."""
        decoder = read_model(model, folder)
        modules = modules_of(decoder)
        refuse_unproven(decoder, modules)
        tensors = {name: weight.numpy() for name, weight in decoder.floats.items()}
        for name, module in modules.items():
            weight = decoder.codes.get(f"{name}.weight")
            if weight is not None:
                tensors |= tensors_of(name, weight, module)
        table = shared_table(decoder)
        if table is not None:
            # Its codes lie in the file once; the other module has the scales under its own name.
            tensors[f"{OUTPUT}.weight_scale"] = decoder.codes[table].scales
        # What is float is float32, which holds what integers stand for.
        changes = {"dtype": "float32", KEY: quantization_config(modules)}
        decoder.write_texts(folder, changes)
        # transformers asks for this note.
        save_file(tensors, folder / FILE, {"format": "pt"})
        check_equal(folder, decoder)
        return {"transformers": FILE}


def modules_of(decoder: Checkpoint) -> dict[str, Stored]:
    """How each module with integers is written, by its name.

    Raises ValueError for one that compressed-tensors does not read, and where there is none.
    """
    if not decoder.codes:
        raise ValueError(
            "no weight of the model is quantized, so there are no integers to write. Leave "
            "`compressed_tensors` out of `export`"
        )
    rounds = activations_of(decoder.model) == "int8"
    table = shared_table(decoder)
    found = {}
    for key, weight in decoder.codes.items():
        name = key.removesuffix(".weight")
        module = decoder.bare.get_submodule(name)
        is_table = isinstance(module, nn.Embedding)
        if not is_table and not isinstance(module, nn.Linear):
            raise ValueError(
                f"`{name}` is a {type(module).__name__}, and compressed-tensors holds Linear and "
                "Embedding alone. Leave `compressed_tensors` out of `export`"
            )
        # Rows of a table are looked up: nothing is rounded.
        found[name] = stored(weight, is_table=is_table, rounds=rounds and not is_table)
        if key == table:
            found[OUTPUT] = stored(weight, is_table=True, rounds=rounds)
    return found


def shared_table(decoder: Checkpoint) -> str | None:
    """The weight that input and output share, where it is integers."""
    if not decoder.config.tie_word_embeddings:
        return None
    tables = [name for name in decoder.codes if name.endswith("embed_tokens.weight")]
    return tables[0] if tables else None


def refuse_unproven(decoder: Checkpoint, modules: Mapping[str, Stored]) -> None:
    """Raise ValueError for what the reference of the proof does not compute."""
    leave = "Leave `compressed_tensors` out of `export`"
    try:
        decoders.sizes_of_config(decoder.config.to_dict())
    except ValueError as error:
        raise ValueError(
            f"the file could not be proven, since no reference computes this model: {error}. "
            f"{leave}"
        ) from None
    for name, module in modules.items():
        if module.rounds and module.group != ACTIVATION_GROUP:
            raise ValueError(
                f"`{name}` rounds its activations in groups of {module.group}, and here they are "
                f"written in groups of {ACTIVATION_GROUP}: say `group: {ACTIVATION_GROUP}`. {leave}"
            )


def check_equal(folder: Path, decoder: Checkpoint) -> None:
    """Raise ValueError where a folder does not hold a model's codes, scales and floats to the
    bit."""
    opened = WeightFolder(folder)
    # 1. Integers. A table that is shared has its scales twice.
    found = opened.all_codes()
    expected = dict(decoder.codes)
    table = shared_table(decoder)
    if table is not None:
        found[f"{OUTPUT}.weight"] = opened.codes(OUTPUT)
        expected[f"{OUTPUT}.weight"] = decoder.codes[table]
    check_codes(FILE, found, expected)
    # 2. Floats.
    for name, weight in decoder.floats.items():
        values = opened.values(name)
        if values is None or values.tobytes() != weight.numpy().tobytes():
            raise ValueError(f"{FILE}: {name} was read back with other values")
