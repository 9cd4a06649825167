"""What a recipe's model name stands for, as part of a key."""

from pathlib import Path
from typing import Any

from limbeck.core.files import digest, file_digest
from limbeck.models import timm_models
from limbeck.models.hub import locate, quiet, reading
from limbeck.models.load import is_network

# Weights, configurations and tokenizers; a README beside them changes nothing.
COUNTED = (".json", ".safetensors", ".txt", ".model")


def reference(name: str, options: dict[str, Any]) -> Any:
    """A network's options, a folder's bytes, or a hub id at its commit.

    Raises:
        ValueError: it is none of them.
    """
    if is_network(name):
        return {"network": name, "options": options}
    if name.startswith(timm_models.PREFIX):
        return {"timm": name, "version": timm_models.library().__version__}
    folder = Path(locate(name))
    if folder.is_dir():
        return {"folder": folder_reference(folder)}
    import transformers

    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(name)
    return {"hub": name, "commit": config._commit_hash}


def folder_reference(folder: Path) -> str:
    """SHA-256 (hex) of the files of a model's folder that count."""
    wanted = sorted(path for path in folder.iterdir() if path.suffix in COUNTED)
    return digest({path.name: file_digest(path) for path in wanted})
