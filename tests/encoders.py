"""Tiny encoders in folders of their own, as `transformers` writes them, with a tokenizer made of given words.

The vocabulary is made here: the trainer of `tokenizers` breaks ties by chance, so that a test would train on other pieces every time.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

# Opinions that their first word tells, for runs of a second.
TEXTS = [
    f"{mood} {noun} {tail}"
    for mood in ("good", "bad")
    for noun in ("film", "plot", "end")
    for tail in ("here", "again", "at last")
]
ROWS = [{"text": text, "label": text.split()[0]} for text in TEXTS * 3]
DATA: dict[str, Any] = {"train": ROWS, "test": ROWS[:20]}


def save_encoder(
    folder: Path,
    words: Iterable[str],
    *,
    vocabulary: int,
    width: int,
    layers: int,
    lowercase: bool = False,
) -> str:
    """Write a random BERT and a WordPiece tokenizer; the folder's path."""
    specials = (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        if lowercase
        else ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
    )
    tokens = specials + pieces(
        (word.lower() if lowercase else word for word in words), vocabulary - len(specials)
    )
    tokenizer = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if lowercase:
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.add_special_tokens(specials)
    ids = {token: tokenizer.token_to_id(token) for token in specials}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        model_max_length=128,
    )  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=128, pad_token_id=ids["[PAD]"],
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def pieces(words: Iterable[str], size: int) -> list[str]:
    """Every letter, as a word's first and as a later one, then whole words, the most frequent first, while there is room."""
    split = pre_tokenizers.BertPreTokenizer()
    counts = Counter(part for word in words for part, _ in split.pre_tokenize_str(word))
    letters = sorted(
        {word[0] for word in counts} | {f"##{letter}" for word in counts for letter in word[1:]}
    )
    whole = sorted(
        (word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word)
    )
    return letters + whole[: max(0, size - len(letters))]
