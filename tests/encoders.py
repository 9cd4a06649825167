"""Tiny encoders in folders of their own, as `transformers` writes them, with a tokenizer trained on given words."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast


def save_encoder(folder: Path, words: Iterable[str], *, vocabulary: int, width: int, layers: int, lowercase: bool = False) -> str:
    """Write a random BERT and a WordPiece tokenizer; the folder's path."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if lowercase:
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] if lowercase else ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
    tokenizer.train_from_iterator(words, trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=specials, show_progress=False))
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
