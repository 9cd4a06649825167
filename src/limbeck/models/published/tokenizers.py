"""Whether a tokenizer of `transformers` is one that an artifact can run.

Where a folder has a config.json and no tokenizer, `transformers` makes one of the special tokens
alone, by the name of the architecture, and every word is unknown to it.
"""

from pathlib import Path
from typing import Any

from limbeck.models.published.hub import SWITCH, first_line, locate, quiet, reading
from limbeck.tasks.inputs.tokenized import UNKNOWN_TEXT

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
