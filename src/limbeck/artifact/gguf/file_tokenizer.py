"""The tokenizer that a GGUF file describes, as the library `tokenizers` runs it: what llama.cpp
would make of a text, where llama.cpp is not at hand."""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from limbeck.artifact.gguf import pre_tokenizers
from limbeck.artifact.gguf.tokenizer import BYTE_LEVEL, CONTROL, SENTENCEPIECE, USER_DEFINED

SPACE = "\u2581"  # SentencePiece's blank


def tokenizer_of(metadata: Mapping[str, Any]) -> Tokenizer:
    """From a file's metadata. Raises ValueError for a kind of tokenizer that is not known here."""
    kind = metadata.get("tokenizer.ggml.model")
    tokens = metadata.get("tokenizer.ggml.tokens")
    # WordPiece (`bert`) and Unigram (`t5`) are of encoders and of other decoders than these.
    if kind not in (BYTE_LEVEL, SENTENCEPIECE) or not isinstance(tokens, list):
        raise ValueError(f"its tokenizer is of the kind `{kind}`, which is not known here")
    ids = {text: index for index, text in enumerate(tokens)}
    make = _byte_level if kind == BYTE_LEVEL else _sentencepiece
    tokenizer = make(metadata, ids)
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    # Those that are cut out of a text before anything else is done to it.
    for text, token_kind in zip(tokens, kinds, strict=False):
        if token_kind == CONTROL:
            special = AddedToken(text, special=True, normalized=False)
            tokenizer.add_special_tokens([special])
        elif token_kind == USER_DEFINED:
            added = AddedToken(text, normalized=False)
            tokenizer.add_tokens([added])
    return tokenizer


def _byte_level(metadata: Mapping[str, Any], ids: dict[str, int]) -> Tokenizer:
    """BPE of bytes. A name of splitting that is not known is taken as llama.cpp's default."""
    told = str(metadata.get("tokenizer.ggml.pre", "default"))
    pre = pre_tokenizers.known_name(told) or "default"
    merges = []
    for merge in metadata.get("tokenizer.ggml.merges", []):
        left, _, right = merge.partition(" ")
        # One that lacks a piece would be refused by the library, and is passed over by llama.cpp.
        if {left, right, left + right} <= ids.keys():
            merges.append((left, right))
    ignoring = pre in pre_tokenizers.IGNORING_MERGES
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=ignoring))
    tokenizer.pre_tokenizer = pre_tokenizers.splitter(pre)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(metadata: Mapping[str, Any], ids: dict[str, int]) -> Tokenizer:
    """BPE of characters, whose merges follow from the scores of what they make."""
    scores = metadata.get("tokenizer.ggml.scores", [])
    if len(scores) != len(ids):
        raise ValueError(f"its tokenizer has {len(scores)} scores for {len(ids)} pieces")
    # What has the highest score is merged first, of whatever two pieces it comes.
    by_score = sorted(
        ids,
        key=lambda text: -float(scores[ids[text]]),
    )
    merges = []
    for text in by_score:
        for place in range(1, len(text)):
            left = text[:place]
            right = text[place:]
            if left in ids and right in ids:
                merges.append((left, right))
    model = models.BPE(
        ids,
        merges,
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    steps: list[Any] = [normalizers.Replace(" ", SPACE)]
    # Where a file does not say, llama.cpp puts a blank before a text of this kind.
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer
