"""What a model of sentence-transformers says of how tokens become a vector (modules.json).

Its modules run one after the other: the encoder, a pooling, a length of 1, which a vector has here
in any case (`models.published.embedder`). Whatever else a folder says is refused, not read past.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from limbeck.core.files import read_json, write_json
from limbeck.models.published.embedder import MEAN, POOLINGS
from limbeck.models.published.hub import file_of
from limbeck.models.published.tokenizers import read_tokenizer

FILE = "modules.json"

# The settings of the encoder, and those of the whole.
ENCODER_FILE = "sentence_bert_config.json"
PROMPTS_FILE = "config_sentence_transformers.json"

# By the last part of a module's type.
ENCODER = "Transformer"
POOLING = "Pooling"
LENGTH_OF_1 = "Normalize"

# Keys of a pooling's config.json that say which one it is, true or false; a newer one is a name.
MODE = "pooling_mode_"

# Names that `pooling_mode` has for keys of the older kind.
SHORT_NAMES = {"cls": "cls_token", "max": "max_tokens", "mean": MEAN}


def read_poolings(name: str, tell: Callable[[str], None]) -> tuple[str, ...]:
    """The poolings of a model, keys of `embedder.POOLINGS`; the mean where nothing says which.

    `name`: a folder or hub id. `tell`: is given a line where texts have a beginning of their own.

    Raises ValueError with the module or the setting that limbeck does not compute.
    """
    path = file_of(name, FILE)
    if path is None:
        return (MEAN,)
    poolings: tuple[str, ...] = (MEAN,)
    for module in modules_in(path):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == POOLING:
            poolings = poolings_of(name, f"{module['path']}/config.json")
        elif kind not in (ENCODER, LENGTH_OF_1):
            raise ValueError(
                f"model `{name}`: {FILE} has a module `{kind}` behind its encoder, which limbeck "
                "does not compute. Take a model of an encoder and a pooling (mean, cls or max), or "
                "build it in Python: limbeck.run(recipe, models={'mine': model})"
            )
    check_letters(name)
    tell_of_prompt(name, tell)
    return poolings


def modules_in(path: Path) -> list[dict[str, Any]]:
    """The modules that a modules.json lists. Raises ValueError where it is something else."""
    listed = read_json(path)
    modules = listed if isinstance(listed, list) else [listed]
    for module in modules:
        if not (isinstance(module, dict) and {"type", "path"} <= module.keys()):
            raise ValueError(f"{path}: no list of modules, each with `type` and `path`")
    return modules


def settings_in(path: Path | None) -> dict[str, Any]:
    """The keys of a config; none without a file. Raises ValueError where it is no object."""
    settings = {} if path is None else read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: no JSON object of settings")
    return settings


def poolings_of(name: str, file: str) -> tuple[str, ...]:
    """The poolings that a model's `file` names. Raises ValueError for one that is not computed."""
    path = file_of(name, file)
    if path is None:
        raise ValueError(f"model `{name}`: {FILE} names {file}, which is not there")
    modes = pooling_modes(settings_in(path))
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown or not modes:
        raise ValueError(
            f"model `{name}`: {file} pools by {' and '.join(unknown) or 'nothing'}, and limbeck "
            f"computes {', '.join(POOLINGS)}. Take a model that was trained with one of these, or "
            "build it in Python: limbeck.run(recipe, models={'mine': model})"
        )
    return tuple(modes)


def pooling_modes(settings: dict[str, Any]) -> list[str]:
    """The names of the poolings that are joined to one vector, in their order.

    Example:
        >>> pooling_modes({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
        ['cls_token']
        >>> pooling_modes({"pooling_mode": "max"})
        ['max_tokens']
    """
    named = settings.get("pooling_mode")
    if named is not None:
        listed = [named] if isinstance(named, str) else list(named)
        return [SHORT_NAMES.get(mode, str(mode)) for mode in listed]
    # What a config leaves out is as the library has it: the mean is on.
    switches = {MODE + MEAN: True, **settings}
    modes = [key.removeprefix(MODE) for key, is_on in switches.items() if is_pooling(key, is_on)]
    order = list(POOLINGS)
    return sorted(modes, key=lambda mode: order.index(mode) if mode in order else len(order))


def is_pooling(key: str, is_on: Any) -> bool:
    """Whether a key of a pooling's config switches one on."""
    return key.startswith(MODE) and bool(is_on)


def check_letters(name: str) -> None:
    """Refuse a model whose texts are put into small letters before its tokenizer, which does not.

    Raises ValueError.
    """
    if not settings_in(file_of(name, ENCODER_FILE)).get("do_lower_case"):
        return
    normalizer = read_tokenizer(name).backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        raise ValueError(
            f"model `{name}`: {ENCODER_FILE} puts texts into small letters (do_lower_case), and "
            "its tokenizer.json does not. Add the normalizer Lowercase to tokenizer.json"
        )


def tell_of_prompt(name: str, tell: Callable[[str], None]) -> None:
    """Tell of words that sentence-transformers puts before every text unasked."""
    settings = settings_in(file_of(name, PROMPTS_FILE))
    prompt = (settings.get("prompts") or {}).get(settings.get("default_prompt_name"))
    if prompt:
        tell(
            f"model `{name}`: sentence-transformers begins each text with `{prompt}` "
            f"({PROMPTS_FILE}), and limbeck reads texts as they are: write it into the data"
        )


def write_poolings(poolings: Sequence[str], config: Any, folder: Path) -> None:
    """Write a folder's poolings, as sentence-transformers does, where they are not the mean alone.

    `config`: of the encoder.
    """
    if tuple(poolings) == (MEAN,):
        return
    kinds = {"": ENCODER, "1_Pooling": POOLING, "2_Normalize": LENGTH_OF_1}
    modules = []
    for number, (path, kind) in enumerate(kinds.items()):
        kind_name = f"sentence_transformers.models.{kind}"
        modules.append({"idx": number, "name": str(number), "path": path, "type": kind_name})
    write_json(folder / FILE, modules)
    switches = {MODE + mode: mode in poolings for mode in POOLINGS}
    (folder / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": config.hidden_size, **switches}
    write_json(folder / "1_Pooling" / "config.json", settings)
