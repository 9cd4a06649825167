"""Folders that hold a model, but none that `transformers` makes whole: an adapter beside a base
model, weights in the numbers of another quantizer, a folder of folders. Each is told as what it is,
with the way to a model.

As users meet them: huggingface/peft issues 298 and 523, huggingface/optimum issue 1914,
sentence-transformers issues 546 and 658.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from limbeck.core.files import read_json
from limbeck.models.published.bounds import CONFIG, WEIGHTS_SUFFIXES
from limbeck.models.published.hub import cure_of

ADAPTER = "adapter_config.json"
MODULES = "modules.json"

# Of weights: whole numbers in place of floats, and floats of 8 bits.
CODES = {"I8", "U8", "I32", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4"}
OF_QUANTIZERS = (".SCB", ".weight_scale", ".weight_scale_inv", ".qweight", ".qzeros", ".absmax")

# Folders inside that a message names.
SHOWN = 3


def check_is_whole(name: str, folder: Path) -> None:
    """Raise ValueError for a folder that is not a model by itself, with what it is.

    `name`: as the recipe has it.
    """
    # First: an adapter may lie beside the config of its base, which would be read without it.
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"model `{name}`: it is an adapter{_base_of(folder)} ({ADAPTER}), no model by itself. "
            "Merge it in Python: AutoPeftModelFor...from_pretrained(FOLDER).merge_and_unload()"
            ".save_pretrained(MERGED), and name MERGED with the tokenizer in it (where the weights "
            f"are merged already, remove {ADAPTER})"
        )
    if not (folder / CONFIG).is_file():
        raise ValueError(f"model `{name}`: no {CONFIG} in {folder}{_where_else(folder)}")
    config = read_json(folder / CONFIG)
    settings = config.get("quantization_config") if isinstance(config, dict) else None
    if settings:
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        raise ValueError(
            f"model `{name}`: its weights are quantized already ({method or 'quantization_config'} "
            f"in {CONFIG}), and limbeck trains and quantizes float weights. Name the model that "
            "they were made of"
        )


def check_has_weights(name: str, folder: Path) -> None:
    """Raise ValueError for a folder in which nothing is that could be weights.

    `name`: as the recipe has it.
    """
    if not any(file.suffix in WEIGHTS_SUFFIXES for file in folder.iterdir()):
        cure = cure_of(folder)
        raise ValueError(
            f"model `{name}`: its files cannot be read: no weights in {folder}. {cure}"
        )


def check_are_floats(name: str, folder: Path) -> None:
    """Raise ValueError for weights that another quantizer wrote, whatever config.json says of them:
    codes would be trained as if they were values.

    `name`: as the recipe has it.
    """
    for file in sorted(folder.glob("*.safetensors")):
        found = _quantized_in(file)
        if found:
            raise ValueError(
                f"model `{name}`: {file.name} holds weights of another quantizer (`{found}`), and "
                "limbeck trains and quantizes float weights. Name the model that they were made of"
            )


def _quantized_in(file: Path) -> str | None:
    """A tensor of a file that holds codes, or scales of codes; None where there is none."""
    try:
        with safe_open(file, framework="np") as tensors:
            for tensor in tensors.keys():  # noqa: SIM118 - it is no dict
                part = tensors.get_slice(tensor)
                # Positions and the like are whole numbers too, in one row.
                is_codes = part.get_dtype() in CODES and min(part.get_shape() or [1]) > 1
                if is_codes or tensor.endswith(OF_QUANTIZERS):
                    return str(tensor)
    # What is wrong with the file is told where its weights are read.
    except (SafetensorError, OSError):
        return None
    return None


def _base_of(folder: Path) -> str:
    """Of which model a folder's adapter is, where it says so."""
    settings: Any = read_json(folder / ADAPTER)
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    return f" of `{base}`" if isinstance(base, str) and base else ""


def _where_else(folder: Path) -> str:
    """A sentence on where a folder without a config has one, or what it lacks."""
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}") if path.is_file())
    # A pooling of sentence-transformers has a config too, and is no model.
    inside = [each for each in inside if "Pooling" not in each and "Dense" not in each]
    if inside and (folder / MODULES).is_file():
        # Named by itself the encoder would be read without its pooling.
        return (
            f": that of its encoder lies in {inside[0]}, as old sentence-transformers write it. "
            f'Move the files of {inside[0]} beside {MODULES}, and write "path": "" for it there'
        )
    if inside:
        return f". There is one in {', '.join(inside[:SHOWN])}: name that folder"
    return (
        ". A model's folder has config.json, its weights (model.safetensors) and its tokenizer: "
        "model.save_pretrained(FOLDER), tokenizer.save_pretrained(FOLDER)"
    )
