"""What a folder of sentence-transformers says of how tokens become a vector (modules.json).

Its modules run one after the other. Here a vector is the mean of the encoder's last hidden states
at length 1 (`models.embedder`): a folder that says otherwise is refused, not read past.
"""

from pathlib import Path
from typing import Any

from limbeck.core.files import read_json
from limbeck.models.hub import locate

FILE = "modules.json"

# By the last part of a module's type: the encoder itself, and a length of 1, which a vector has
# here in any case.
READ_ALREADY = ("Transformer", "Normalize")

# Keys of a pooling's config.json that say which one it is, true or false; a newer one is a name.
MODE = "pooling_mode_"
MEAN = "pooling_mode_mean_tokens"


def check_sentence_modules(name: str) -> None:
    """Refuse a model of sentences whose vectors are others than the mean of its tokens.

    Raises ValueError with the module, and the pooling that it asks for.
    """
    folder = Path(locate(name))
    if not (folder / FILE).is_file():
        return
    for module in read_json(folder / FILE):
        kind = str(module["type"]).rpartition(".")[2]
        if kind in READ_ALREADY:
            continue
        if kind != "Pooling":
            raise ValueError(
                f"model `{name}`: {FILE} has a module `{kind}` behind its encoder, which limbeck "
                "does not compute. Take a model of an encoder and a pooling (mean), or build it "
                "in Python: limbeck.run(recipe, models={'mine': model})"
            )
        settings = read_json(folder / module["path"] / "config.json")
        modes = pooling_modes(settings)
        if modes != ["mean_tokens"]:
            raise ValueError(
                f"model `{name}`: {module['path']}/config.json pools by {' and '.join(modes)}, and "
                "limbeck takes the mean over tokens. Take a model that was trained so, or build it "
                "in Python: limbeck.run(recipe, models={'mine': model})"
            )


def pooling_modes(settings: dict[str, Any]) -> list[str]:
    """The names of the poolings that are joined to one vector; the mean where none is named.

    Example:
        >>> pooling_modes({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
        ['cls_token']
    """
    named = settings.get("pooling_mode")
    if named is not None:
        listed = [named] if isinstance(named, str) else list(named)
        return ["mean_tokens" if mode == "mean" else str(mode) for mode in listed]
    modes = [key.removeprefix(MODE) for key, is_on in settings.items() if is_pooling(key, is_on)]
    # What a config leaves out is as the library has it: the mean is on.
    if settings.get(MEAN, True) and "mean_tokens" not in modes:
        modes.append("mean_tokens")
    return sorted(modes)


def is_pooling(key: str, is_on: Any) -> bool:
    """Whether a key of a pooling's config switches one on."""
    return key.startswith(MODE) and bool(is_on)
