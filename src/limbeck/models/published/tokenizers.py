"""Whether a tokenizer of `transformers` is one that an artifact can run.

Where a folder has a config.json and no tokenizer, `transformers` makes one of the special tokens
alone, by the name of the architecture, and every word is unknown to it. Where it has a
tokenizer.json, `transformers` 5 takes the words from it, and for many architectures not how it
parts a text into words (huggingface/transformers 45920): the file is followed here.
"""

import json
from pathlib import Path
from typing import Any

from limbeck.core.files import MOST_TEXT_BYTES, read_at_most
from limbeck.models.published.hub import SWITCH, file_of, first_line, locate, quiet, reading
from limbeck.tasks.inputs.tokenized import UNKNOWN_TEXT

FILE = "tokenizer.json"
# The parts of the file that make ids of a text.
PARTS = ("normalizer", "pre_tokenizer", "model")
# Of these tokenizer_config.json has the last word, as it had when the model was trained.
OF_THE_CONFIG = {
    "add_prefix_space",
    "clean_text",
    "handle_chinese_chars",
    "lowercase",
    "strip_accents",
    "trim_offsets",
}

# SentencePiece makes one piece, the mark of a space, out of nothing.
FEWEST = 2


def read_tokenizer(name: str) -> Any:
    """The tokenizer of a model's folder or hub id.

    Raises ValueError where there is none, where it knows no words, and where it is written in
    Python: an artifact has the library `tokenizers` and no more.
    """
    import transformers

    folder = locate(name)
    where = f"no tokenizer in {folder}" if Path(folder).is_dir() else "it has no tokenizer"
    cure = (
        "Copy the files of the model's tokenizer there (tokenizer.json, or vocab.txt and the like)"
    )
    with reading(name), quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # Of a package that a tokenizer in Python needs.
        except ImportError as error:
            raise ValueError(f"model `{name}`: {where} that runs: {first_line(error)}") from None
        except ValueError as error:
            if SWITCH in str(error):
                raise  # `reading` knows what that is
            raise ValueError(f"model `{name}`: {where}: {first_line(error)}. {cure}") from None
        if tokenizer.is_fast and not follows_file(tokenizer, name):
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
                folder, trust_remote_code=False
            )
        # A text of which it knows nothing: a tokenizer whose own words are missing fails now.
        tokenizer(UNKNOWN_TEXT)
    if len(words_of(tokenizer)) < FEWEST:
        raise ValueError(
            f"model `{name}`: {where}: it would be special tokens alone, to which every word is "
            f"unknown. {cure}"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"model `{name}`: its tokenizer, {type(tokenizer).__name__}, is written in Python, and "
            "an artifact reads texts by the library tokenizers alone, without transformers. Take "
            "a model with a tokenizer.json"
        )
    return tokenizer


def follows_file(tokenizer: Any, name: str) -> bool:
    """Whether a tokenizer makes ids of texts as the model's tokenizer.json does; True where it has
    no such file."""
    from tokenizers import Tokenizer

    path = file_of(name, FILE)
    if path is None:
        return True
    with open(path, "rb") as file:
        text = read_at_most(file, MOST_TEXT_BYTES, str(path)).decode("utf-8")
    # Read and written again: a file may leave out what has its usual value.
    published = json.loads(Tokenizer.from_str(text).to_str())
    found = json.loads(tokenizer.backend_tokenizer.to_str())
    return all(_without_config(found[part]) == _without_config(published[part]) for part in PARTS)


def _without_config(part: Any) -> Any:
    """A part of a tokenizer.json, less the settings that tokenizer_config.json may change, and less
    those that are switched off, which some leave out."""
    if isinstance(part, list):
        return [_without_config(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if key not in OF_THE_CONFIG}
    kept = {
        key: value for key, value in kept.items() if value not in (None, "") and value is not False
    }
    # Of a model's vocabulary every word counts.
    if "vocab" in part:
        return kept
    return {key: _without_config(value) for key, value in kept.items()}


def words_of(tokenizer: Any) -> set[str]:
    """The tokens that are not special."""
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    return set(tokenizer.get_vocab()) - special


def padding_token(tokenizer: Any) -> tuple[int, str]:
    """What fills up a text, as number and token: a model that only generates has no such token, and
    what its mask hides may be any."""
    for kind in ("pad", "eos", "unk"):
        token = getattr(tokenizer, f"{kind}_token")
        if token is not None:
            return getattr(tokenizer, f"{kind}_token_id"), token
    return 0, tokenizer.convert_ids_to_tokens(0)
