"""What decoders are, in the words of transformers and of GGUF: their sizes, and their tensors.

A transformers config and a GGUF file's metadata are both read to `Sizes`, so that what the two say
can be compared. Tensors are called as transformers calls them; `Names` has what GGUF calls them and
how it lays them out:

- `llama`: the rows of query and key are permuted, since llama.cpp turns neighbouring pairs of a
  head where transformers turns a number of its first half with one of its second;
- `gpt2`: matrices lie as (outputs, inputs), where transformers' Conv1D has (inputs, outputs).

Legend: H heads, D width of a head.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.core.wording import suggest

# transformers' model_type -> the architecture of GGUF. Those of one row compute alike.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gpt2": "gpt2",
}
# Mistral's files are Llama's to llama.cpp, and permuted alike.
PERMUTED = ("llama",)

# In both, `{}` is the number of the layer.
OF_LLAMA = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.{}.input_layernorm": "blk.{}.attn_norm",
    "model.layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "model.layers.{}.self_attn.k_proj": "blk.{}.attn_k",
    "model.layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "model.layers.{}.self_attn.o_proj": "blk.{}.attn_output",
    "model.layers.{}.self_attn.q_norm": "blk.{}.attn_q_norm",
    "model.layers.{}.self_attn.k_norm": "blk.{}.attn_k_norm",
    "model.layers.{}.post_attention_layernorm": "blk.{}.ffn_norm",
    "model.layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "model.layers.{}.mlp.up_proj": "blk.{}.ffn_up",
    "model.layers.{}.mlp.down_proj": "blk.{}.ffn_down",
}
OF_GPT2 = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
    "transformer.h.{}.ln_1": "blk.{}.attn_norm",
    "transformer.h.{}.attn.c_attn": "blk.{}.attn_qkv",
    "transformer.h.{}.attn.c_proj": "blk.{}.attn_output",
    "transformer.h.{}.ln_2": "blk.{}.ffn_norm",
    "transformer.h.{}.mlp.c_fc": "blk.{}.ffn_up",
    "transformer.h.{}.mlp.c_proj": "blk.{}.ffn_down",
}
TABLES = {"llama": OF_LLAMA, "qwen2": OF_LLAMA, "qwen3": OF_LLAMA, "gpt2": OF_GPT2}
# GPT-2's module for what others have a Linear for.
CONV1D = re.compile(r"\.c_(attn|proj|fc)\.weight$")
QUERY = re.compile(r"\.q_proj\.(weight|bias)$")
KEY = re.compile(r"\.k_proj\.(weight|bias)$")

# Field -> the key of GGUF, after the architecture's name; and that of transformers.
KEYS = {
    "layers": ("block_count", "num_hidden_layers"),
    "context": ("context_length", "max_position_embeddings"),
    "width": ("embedding_length", "hidden_size"),
    "feed_forward": ("feed_forward_length", "intermediate_size"),
    "heads": ("attention.head_count", "num_attention_heads"),
    "key_heads": ("attention.head_count_kv", "num_key_value_heads"),
    "head_width": ("attention.key_length", "head_dim"),
    "epsilon": ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    "rope_base": ("rope.freq_base", "rope_theta"),
}
# What GPT-2 calls otherwise.
GPT2_KEYS = KEYS | {
    "layers": ("block_count", "n_layer"),
    "context": ("context_length", "n_positions"),
    "width": ("embedding_length", "n_embd"),
    "feed_forward": ("feed_forward_length", "n_inner"),
    "heads": ("attention.head_count", "n_head"),
    "epsilon": ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
}
# llama.cpp's, where a file says nothing.
ROPE_BASE = 10000.0


@dataclass(frozen=True)
class Sizes:
    """What must be known of a decoder to run it, beside its tensors."""

    architecture: str
    layers: int
    context: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head_width: int
    epsilon: float
    rope_base: float


def sizes_of_config(config: Mapping[str, Any]) -> Sizes:
    """From a transformers config.json.

    Raises ValueError for a model that would be computed otherwise than said: another architecture,
    a scaled rotary embedding, a sliding window.
    """
    # 1. What is computed, by its name.
    kind = str(config.get("model_type", ""))
    if kind not in ARCHITECTURES:
        raise ValueError(
            f"the model_type `{kind}` is not known here: {suggest(kind, ARCHITECTURES)}"
        )
    # 2. What changes how positions are told.
    # Since transformers 5 the base stands among the rotary embedding's keys.
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope_type = rotary.get("rope_type", rotary.get("type", "default"))
    if rope_type != "default":
        raise ValueError(f"the rotary embedding is scaled (`{rope_type}`), which is not done here")
    # Qwen2's configs name a window that is not in use, and Mistral's one that is.
    sliding = config.get("sliding_window") and config.get("use_sliding_window", True)
    # A window as wide as the context hides nothing.
    if sliding and config["sliding_window"] < config.get("max_position_embeddings", 0):
        raise ValueError("attention looks through a sliding window, which is not done here")
    # 3. The bend of the feed-forward network, which llama.cpp knows by the architecture alone.
    activation = config.get("hidden_act", config.get("activation_function", "silu"))
    usual = ("gelu_new", "gelu_pytorch_tanh") if kind == "gpt2" else ("silu", "swish")
    if activation not in usual:
        raise ValueError(f"the activation `{activation}` is not what llama.cpp computes: {usual}")
    found = {field: config.get(key) for field, (_, key) in keys_of(kind).items()}
    found["rope_base"] = rotary.get("rope_theta", found["rope_base"])
    return completed(ARCHITECTURES[kind], found)


def sizes_of_metadata(metadata: Mapping[str, Any]) -> Sizes:
    """From the metadata of a GGUF file. Raises ValueError for an architecture not known here, and
    for metadata that lack a size."""
    kind = str(metadata.get("general.architecture", ""))
    if kind not in TABLES:
        raise ValueError(f"the architecture `{kind}` is not known here: {suggest(kind, TABLES)}")
    scaling = str(metadata.get(f"{kind}.rope.scaling.type", "none"))
    if scaling != "none":
        raise ValueError(f"the rotary embedding is scaled (`{scaling}`), which is not done here")
    found = {field: metadata.get(f"{kind}.{key}") for field, (key, _) in keys_of(kind).items()}
    # Files from before `key_length` tell a head's width by how much of it is turned.
    found["head_width"] = found["head_width"] or metadata.get(f"{kind}.rope.dimension_count")
    return completed(kind, found)


def keys_of(kind: str) -> Mapping[str, tuple[str, str]]:
    """What GGUF and transformers call the fields of `Sizes`."""
    return GPT2_KEYS if kind == "gpt2" else KEYS


def completed(architecture: str, found: dict[str, Any]) -> Sizes:
    """The sizes, with what may be left out. Raises ValueError for one that is missing."""
    if architecture == "gpt2":
        found["feed_forward"] = found["feed_forward"] or 4 * (found["width"] or 0)
    # Everything else has a value where it is left out.
    for field in ("layers", "context", "width", "feed_forward", "heads"):
        if not isinstance(found[field], int) or found[field] < 1:
            gguf_key, key = keys_of(architecture)[field]
            raise ValueError(f"`{key}` (GGUF: `{gguf_key}`) is {found[field]!r}, and no size")
    if found["epsilon"] is None:
        raise ValueError("the epsilon of the norms is missing")
    return Sizes(
        architecture=architecture,
        layers=found["layers"],
        context=found["context"],
        width=found["width"],
        feed_forward=found["feed_forward"],
        heads=found["heads"],
        key_heads=found["key_heads"] or found["heads"],
        head_width=found["head_width"] or found["width"] // found["heads"],
        # The file has float32, and JSON the number as it was written.
        epsilon=float(np.float32(found["epsilon"])),
        rope_base=float(found["rope_base"] or ROPE_BASE),
    )


def gguf_name(name: str, architecture: str) -> str | None:
    """What GGUF calls a tensor of transformers; None for one that is not known.

    >>> gguf_name("model.layers.3.mlp.up_proj.weight", "llama")
    'blk.3.ffn_up.weight'
    """
    return _renamed(name, TABLES[architecture])


def transformers_name(name: str, architecture: str) -> str | None:
    """What transformers calls a tensor of GGUF; None for one that is not known."""
    return _renamed(name, {gguf: own for own, gguf in TABLES[architecture].items()})


def _renamed(name: str, table: Mapping[str, str]) -> str | None:
    """A name by a table of names without numbers and endings."""
    stem, _, ending = name.rpartition(".")
    # A name of a layer has one number; the dot makes one at the end look like others.
    numbers = re.findall(r"\.(\d+)\.", stem + ".")
    pattern = re.sub(r"\.\d+(?=\.)", ".{}", stem, count=1)
    found = table.get(pattern)
    if found is None or ending not in ("weight", "bias"):
        return None
    return f"{found.format(*numbers)}.{ending}"


def to_gguf(name: str, array: np.ndarray, sizes: Sizes) -> np.ndarray:
    """A tensor of transformers, by its name there, as GGUF lays it out."""
    if is_turned(name, sizes):
        return np.ascontiguousarray(array.T)
    return permuted_rows(name, array, sizes)


def from_gguf(name: str, array: np.ndarray, sizes: Sizes) -> np.ndarray:
    """The other way round: a tensor of GGUF as transformers lays it out."""
    if is_turned(name, sizes):
        return np.ascontiguousarray(array.T)
    return unpermuted_rows(name, array, sizes)


def is_turned(name: str, sizes: Sizes) -> bool:
    """Whether transformers has a matrix as (inputs, outputs)."""
    return sizes.architecture == "gpt2" and CONV1D.search(name) is not None


def permuted_rows(name: str, array: np.ndarray, sizes: Sizes) -> np.ndarray:
    """The rows (outputs first) in GGUF's order: whole ones, so that codes and blocks will do."""
    heads = _permuted_heads(name, sizes)
    if heads is None:
        return array
    # (H, 2, D / 2, ...): the halves of a head, one number of each beside the other.
    halves = array.reshape(heads, 2, -1, *array.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)


def unpermuted_rows(name: str, array: np.ndarray, sizes: Sizes) -> np.ndarray:
    """The rows in transformers' order."""
    heads = _permuted_heads(name, sizes)
    if heads is None:
        return array
    # (H, D / 2, 2, ...): what turns together lies side by side.
    pairs = array.reshape(heads, -1, 2, *array.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(array.shape)


def _permuted_heads(name: str, sizes: Sizes) -> int | None:
    """How many heads the rows of a tensor are, where GGUF permutes them; None where it does not."""
    if sizes.architecture not in PERMUTED:
        return None
    if QUERY.search(name):
        return sizes.heads
    return sizes.key_heads if KEY.search(name) else None
