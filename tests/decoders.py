"""Tiny causal language models with random weights, for the tests of what is cut from them."""

from typing import Any

import torch
from torch import nn

WIDTH, HEADS, UNITS, LAYERS, WORDS = 64, 4, 96, 3, 90
SIZES = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": UNITS,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip

# What each is beyond the sizes, and where the heads and the units of a layer are read.
FAMILIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "llama": ({"num_key_value_heads": 2, "tie_word_embeddings": True}, "self_attn.o_proj", "mlp.down_proj"),
    "mistral": ({"num_key_value_heads": 2}, "self_attn.o_proj", "mlp.down_proj"),
    "qwen2": ({"num_key_value_heads": 2, "tie_word_embeddings": True}, "self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ({"num_key_value_heads": 2, "head_dim": 32}, "self_attn.o_proj", "mlp.down_proj"),
    "gemma": ({"num_key_value_heads": 2, "head_dim": 32}, "self_attn.o_proj", "mlp.down_proj"),
    "phi3": ({"num_key_value_heads": 2}, "self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ({"n_inner": UNITS}, "attn.c_proj", "mlp.c_proj"),
    "gpt_neox": ({}, "attention.dense", "mlp.dense_4h_to_h"),
    "opt": ({"ffn_dim": UNITS, "word_embed_proj_dim": WIDTH}, "self_attn.out_proj", "fc2"),
}  # fmt: skip


def decoder(family: str = "llama", **settings: Any) -> Any:
    """A model of a family, in eval mode; every weight, bias and norm is off its starting value."""
    import transformers

    own = FAMILIES[family][0] if family in FAMILIES else {}
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **own, **settings})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def words(rows: int = 2, length: int = 9) -> torch.Tensor:
    """(rows, length) ids."""
    return torch.randint(3, WORDS, (rows, length), generator=torch.Generator().manual_seed(0))


def logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """What comes next, by each token."""
    with torch.no_grad():
        return model(input_ids=ids).logits  # type: ignore[no-any-return]
