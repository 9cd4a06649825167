"""What a recipe's model name stands for, as part of a key."""

from pathlib import Path
from typing import Any

from limbeck.core.files import digest, file_digest
from limbeck.models import timm_models
from limbeck.models.create import is_network
from limbeck.models.hub import locate, quiet, reading

# Weights, configurations and tokenizers; a README beside them changes nothing.
COUNTED = (".json", ".safetensors", ".txt", ".model")


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

    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    return {"hub": name, "commit": config._commit_hash}


def folder_reference(folder: Path) -> str:
    """SHA-256 (hex) of the files of a model's folder that count."""
    digests: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in COUNTED:
            digests[path.name] = file_digest(path)
    return digest(digests)
