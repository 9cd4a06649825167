"""A folder's tokenizer as GGUF's metadata: its pieces, their kinds and merges, and special tokens.

Two kinds are known, as tokenizer.json has them: byte-level BPE (llama.cpp calls it `gpt2`), and the
BPE of SentencePiece with single bytes for what it lacks (`llama`), whose merges llama.cpp takes
from the pieces' scores.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from limbeck.artifact.gguf import pre_tokenizers
from limbeck.artifact.gguf.folder import ModelFolder

# `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# GGUF's key -> what transformers calls the token.
SPECIAL = {
    "bos_token_id": "bos_token",
    "eos_token_id": "eos_token",
    "unknown_token_id": "unk_token",
    "padding_token_id": "pad_token",
}
BYTE_LEVEL = "gpt2"
SENTENCEPIECE = "llama"
WITHOUT_EFFECT = ("NFC",)


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF's metadata say of a tokenizer, after `tokenizer.ggml.`."""

    model: str
    pre: str | None
    tokens: list[str]
    token_type: list[int]
    merges: list[str]
    scores: list[float]
    flags: dict[str, bool]
    special: dict[str, int]


def vocabulary_of(folder: ModelFolder, num_rows: int) -> Vocabulary:
    """The tokenizer of a folder whose table of embeddings has so many rows.

    Raises ValueError for a tokenizer that llama.cpp would not do alike.
    """
    content = folder.tokenizer_json
    tokenizer = Tokenizer.from_str(json.dumps(content))
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        raise ValueError(
            f"{folder.path}: a tokenizer of the type {model['type']}; BPE alone is written to GGUF"
        )
    # Byte-level pieces need no single bytes for what they lack, since they lack nothing.
    is_sentencepiece = bool(model.get("byte_fallback"))
    tokens, kinds = _tokens(tokenizer, content, num_rows)
    if len(tokens) > num_rows:
        raise ValueError(
            f"{folder.path}: {len(tokens)} tokens, and the embeddings have {num_rows} rows. "
            "Take the tokenizer that belongs to the model"
        )
    pairs = [_pair(each) for each in model["merges"]]
    return Vocabulary(
        model=SENTENCEPIECE if is_sentencepiece else BYTE_LEVEL,
        pre=None if is_sentencepiece else _pre(tokenizer, content, folder),
        tokens=tokens,
        token_type=kinds,
        merges=[] if is_sentencepiece else [" ".join(pair) for pair in pairs],
        scores=_scores(tokens, pairs) if is_sentencepiece else [],
        flags=_flags(tokenizer, content, is_sentencepiece),
        special=special_ids(folder, tokenizer),
    )


def _tokens(
    tokenizer: Tokenizer, content: Mapping[str, Any], num_rows: int
) -> tuple[list[str], list[int]]:
    """Every piece by its id, and its kind; rows of the table that have none are called unused."""
    pieces = tokenizer.get_vocab(with_added_tokens=True)
    by_id = {index: text for text, index in pieces.items()}
    # Looked up once for each of 150,000 pieces.
    added = {each["id"]: bool(each.get("special")) for each in content.get("added_tokens", [])}
    tokens = []
    kinds = []
    # A table is often padded to a round number of rows: llama.cpp wants a token for each.
    for index in range(max(num_rows, max(by_id) + 1)):
        text = by_id.get(index)
        tokens.append(f"[PAD{index}]" if text is None else text)
        kinds.append(_kind(text, added.get(index), content["model"]))
    return tokens, kinds


def _kind(text: str | None, is_special: bool | None, model: Mapping[str, Any]) -> int:
    """The kind of a piece, as llama.cpp numbers them. `is_special`: None for one that is not added
    to those that were learned."""
    if text is None:
        return UNUSED
    is_sentencepiece = bool(model.get("byte_fallback"))
    # Byte-level pieces know every text, so that none of them stands for what is not known.
    if is_sentencepiece and text == model.get("unk_token"):
        return UNKNOWN
    if is_special is not None:
        # A special one is read as such only where a program, not a user, has written it.
        return CONTROL if is_special else USER_DEFINED
    is_byte = is_sentencepiece and text.startswith("<0x")
    return BYTE if is_byte else NORMAL


def _pair(merge: Any) -> tuple[str, str]:
    """The two pieces of a merge: a list, or as older files have it a text with a blank."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _scores(tokens: list[str], pairs: list[tuple[str, str]]) -> list[float]:
    """SentencePiece's scores: what is merged first has the highest."""
    ranks: dict[str, int] = {}
    # A piece that several merges make is made by the first of them.
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(token, 0)) for token in tokens]


def _pre(tokenizer: Tokenizer, content: Mapping[str, Any], folder: ModelFolder) -> str:
    """llama.cpp's name for how the text is split. Raises ValueError where it has none."""
    # Letters that are composed (NFC) are how nearly all texts are written: that is let pass.
    normalizer = (content.get("normalizer") or {}).get("type")
    if normalizer is not None and normalizer not in WITHOUT_EFFECT:
        raise ValueError(
            f"{folder.path}: its tokenizer changes texts first (`{normalizer}`), "
            "which llama.cpp does not"
        )
    name = pre_tokenizers.name_of(tokenizer)
    if name is None:
        known = ", ".join(pre_tokenizers.EXPRESSIONS)
        raise ValueError(
            f"{folder.path}: its tokenizer splits texts in a way that is none of llama.cpp's that "
            f"are known here: {known}"
        )
    return name


def _flags(
    tokenizer: Tokenizer, content: Mapping[str, Any], is_sentencepiece: bool
) -> dict[str, bool]:
    """What is added to every text, found by what the tokenizer does to one."""
    # What tokenizer.json says in half a dozen ways shows in what becomes of one letter.
    bare = tokenizer.encode("a", add_special_tokens=False)
    plain = bare.ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    start = _begin_of(whole, plain)
    flags = {
        "add_bos_token": start > 0,
        "add_eos_token": len(whole) > start + len(plain),
    }
    if is_sentencepiece:
        flags["add_space_prefix"] = bare.tokens[:1] != ["a"]
    return flags


def _begin_of(whole: list[int], part: list[int]) -> int:
    """Where a part begins in a whole."""
    starts = range(len(whole) - len(part) + 1)
    return next((start for start in starts if whole[start : start + len(part)] == part), 0)


def special_ids(folder: ModelFolder, tokenizer: Tokenizer) -> dict[str, int]:
    """GGUF's keys of the special tokens -> their ids: as the tokenizer names them, else as
    config.json does; a second token that ends an answer is `eot_token_id`."""
    named = folder.optional("special_tokens_map.json") | folder.optional("tokenizer_config.json")
    found: dict[str, int] = {}
    for key, name in SPECIAL.items():
        token = named.get(name)
        # Older folders write an object, with how the token is matched beside it.
        text = token.get("content") if isinstance(token, dict) else token
        index = tokenizer.token_to_id(text) if isinstance(text, str) else None
        # Where the tokenizer's files name no token, the model's config does.
        if index is None and key in ("bos_token_id", "eos_token_id"):
            index = first(folder.config.get(key))
        if index is not None:
            found[key] = index
    # A dialogue model has two: the end of a turn, and that of a text.
    others = [index for index in end_ids(folder) if index != found.get("eos_token_id")]
    if others:
        found["eot_token_id"] = others[0]
    return found


def end_ids(folder: ModelFolder) -> list[int]:
    """The ids at which transformers' `generate` stops."""
    # What generates reads the first, and falls back to the second.
    told = folder.optional("generation_config.json").get("eos_token_id")
    if told is None:
        told = folder.config.get("eos_token_id")
    return [told] if isinstance(told, int) else list(told or [])


def first(value: Any) -> int | None:
    """The first of a list of ids, or the id that is alone."""
    return next(iter(value), None) if isinstance(value, list) else value
