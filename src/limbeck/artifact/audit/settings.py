"""What a GGUF file says of a model beside its tensors, against the folder: sizes, and the tokenizer
that it describes."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from tokenizers import Tokenizer

from limbeck.artifact.gguf import decoders, pre_tokenizers
from limbeck.artifact.gguf.file import GgufFile
from limbeck.artifact.gguf.folder import ModelFolder
from limbeck.artifact.gguf.tokenizer import UNUSED, Vocabulary, end_ids, vocabulary_of

# Any of the tokens that end an answer may stand under the first; llama.cpp finds others by their
# text.
END_KEYS = ("eos_token_id", "eot_token_id")
# What llama.cpp does where the file says nothing of a flag.
SILENT = {"add_bos_token": {"llama": True}, "add_space_prefix": {"llama": True}}
# Far beyond what float32 does to a number of JSON.
CLOSE = 1e-5


def sizes_that_differ(opened: GgufFile, folder: ModelFolder) -> Iterator[str]:
    """A sentence for each size or constant on which the two do not agree."""
    # Both read by the same names, with the same values where something is left out.
    own = decoders.sizes_of_config(folder.config)
    told = decoders.sizes_of_metadata(opened.metadata)
    keys = decoders.keys_of(own.architecture)
    for field in fields(own):
        expected = getattr(own, field.name)
        found = getattr(told, field.name)
        if is_same(expected, found):
            continue
        if field.name == "architecture":
            yield f"general.architecture is {found}, and the folder's model is {expected}"
            continue
        key, name = keys[field.name]
        yield f"{told.architecture}.{key} is {found}, and {name} of the folder {expected}"


def is_same(expected: Any, found: Any) -> bool:
    """Whether two sizes are one; floats as float32 keeps them."""
    if isinstance(expected, float):
        return abs(expected - found) <= CLOSE * abs(expected)
    return bool(expected == found)


def tokenizer_that_differs(opened: GgufFile, folder: ModelFolder, num_rows: int) -> Iterator[str]:
    """A sentence for each part of the tokenizer on which the two do not agree."""
    metadata = {
        key.removeprefix("tokenizer.ggml."): value for key, value in opened.metadata.items()
    }
    # What a file made from the folder now would say.
    try:
        expected = vocabulary_of(folder, num_rows)
    except ValueError as error:
        yield f"the folder's tokenizer is not one that GGUF could hold: {error}"
        return
    # Of another kind of tokenizer no part could be compared.
    if metadata.get("model") != expected.model:
        yield f"tokenizer.ggml.model is {metadata.get('model')}, and should be {expected.model}"
        return
    yield from _pieces(metadata, expected)
    yield from _splitting(metadata.get("pre"), expected.pre)
    yield from _flags(metadata, expected)
    yield from _special(metadata, expected, end_ids(folder))


def _pieces(metadata: Mapping[str, Any], expected: Vocabulary) -> Iterator[str]:
    """Tokens, their kinds, and merges."""
    tokens = metadata.get("tokens", [])
    # Rows beyond the tokenizer's tokens have names of anybody's choice.
    pairs = enumerate(zip(tokens, expected.tokens, strict=False))
    wrong = [
        place for place, (mine, theirs) in pairs if mine != theirs and theirs != f"[PAD{place}]"
    ]
    if len(tokens) != len(expected.tokens):
        yield f"{len(tokens)} tokens, and the folder's model has {len(expected.tokens)}"
    if wrong:
        place = wrong[0]
        yield (
            f"{len(wrong)} tokens are others, the first is number {place}: {tokens[place]!r} for "
            f"{expected.tokens[place]!r}"
        )
    # A special token that is a usual one is written by users, and read as its letters.
    kinds = metadata.get("token_type", [])
    changed = [
        place
        for place, (mine, theirs) in enumerate(zip(kinds, expected.token_type, strict=False))
        if mine != theirs and theirs != UNUSED
    ]
    if changed:
        place = changed[0]
        yield (
            f"{len(changed)} tokens are of another kind, the first is {tokens[place]!r}: "
            f"{kinds[place]} for {expected.token_type[place]} (1 usual, 3 special, 4 added)"
        )
    if expected.merges and list(metadata.get("merges", [])) != expected.merges:
        yield f"the merges differ: {len(metadata.get('merges', []))} for {len(expected.merges)}"


def _splitting(told: str | None, expected: str | None) -> Iterator[str]:
    """How texts are split before they are merged."""
    # SentencePiece splits nothing.
    if expected is None:
        return
    if told is None:
        yield (
            f"tokenizer.ggml.pre is missing: llama.cpp splits texts by its default, and the folder "
            f"as `{expected}`"
        )
        return
    # Many names are one: those that models have brought along.
    known = pre_tokenizers.known_name(told)
    if known is None:
        yield f"tokenizer.ggml.pre is `{told}`, which is not known here; the folder is `{expected}`"
    elif known != expected:
        yield f"tokenizer.ggml.pre is `{told}`, and the folder splits texts as `{expected}`"


def _flags(metadata: Mapping[str, Any], expected: Vocabulary) -> Iterator[str]:
    """What is added to every text."""
    for flag, value in expected.flags.items():
        silent = SILENT.get(flag, {}).get(expected.model, False)
        found = metadata.get(flag, silent)
        if bool(found) != value:
            told, right = (str(bool(each)).lower() for each in (found, value))
            yield f"tokenizer.ggml.{flag} is {told}, and should be {right}"


def _special(metadata: Mapping[str, Any], expected: Vocabulary, ends: list[int]) -> Iterator[str]:
    """Tokens that begin and end a text."""
    for key, index in expected.special.items():
        found = metadata.get(key)
        told = None if found is None else _named(expected.tokens, found)
        # One that the file leaves out is not used, or has its usual text.
        if key not in END_KEYS and found not in (None, index):
            yield f"tokenizer.ggml.{key} is {told}, in the folder {_named(expected.tokens, index)}"
    end = expected.special.get("eos_token_id")
    found = metadata.get("eos_token_id")
    if found is None and end is not None:
        right = _named(expected.tokens, end)
        yield f"tokenizer.ggml.eos_token_id is missing: answers end at {right}"
    elif found is not None and found not in (end, *ends):
        told = _named(expected.tokens, found)
        right = "none" if end is None else _named(expected.tokens, end)
        yield (
            f"tokenizer.ggml.eos_token_id is {told}, at which no answer ends; the folder's: {right}"
        )


def _named(tokens: list[str], index: int) -> str:
    """A token's number and text."""
    text = tokens[index] if 0 <= index < len(tokens) else "no token"
    return f"{index} ({text})"


def ids_that_differ(texts: list[str], own: Tokenizer, ids: list[list[int]]) -> Iterator[str]:
    """A sentence for the first text that is read as other tokens, and how many there are.

    ids: what the file's tokenizer makes of each text.
    """
    wrong = []
    for place, (text, found) in enumerate(zip(texts, ids, strict=True)):
        expected = own.encode(text, add_special_tokens=False).ids
        if found != expected:
            wrong.append((place, expected, found))
    if not wrong:
        return
    # The first place where they part tells most, such as a number that is cut otherwise.
    place, expected, found = wrong[0]
    pairs = enumerate(zip(expected, found, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(expected), len(found)))
    mine = [own.id_to_token(index) for index in expected[at : at + 4]]
    theirs = [own.id_to_token(index) for index in found[at : at + 4]]
    yield (
        f"{len(wrong)} of {len(texts)} texts are read as other tokens; text {place + 1} from token "
        f"{at + 1} on: {theirs} for {mine}"
    )
