"""What a causal language model is made of, whatever the format: Llama and what is built as it is
(Mistral without a window, SmolLM2, TinyLlama), Qwen2, and GPT-2.

A format brings a `Writer`, which makes nodes and hands each on as it likes (ONNX by its name,
OpenVINO as an output), and the attention of a layer, which keeps earlier keys and values.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from limbeck.core.wording import suggest

ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh")


# What a writer makes, and is given again.
Node = TypeVar("Node")


class Writer(Protocol[Node]):
    """The nodes of a format. Weights are named as in the state dict of the transformers model."""

    def embedding(self, ids: str, weight: str) -> Node:
        """(B, T) ids, an input of that name, to (B, T, D) rows of a table."""
        ...

    def linear(self, hidden: Node, weight: str, bias: str | None = None) -> Node:
        """(B, T, D) times a weight (out, in), and a bias where the model has it."""
        ...

    def transposed_linear(self, hidden: Node, weight: str, bias: str | None = None) -> Node:
        """(B, T, D) times a weight that the model keeps as (in, out); its codes are (out, in)."""
        ...

    def add(self, left: Node, right: Node) -> Node: ...

    def multiply(self, left: Node, right: Node) -> Node: ...

    def rms_norm(self, hidden: Node, weight: str, epsilon: float) -> Node:
        """RMSNorm over the width."""
        ...

    def layer_norm(self, hidden: Node, name: str, epsilon: float) -> Node:
        """Layer normalization over the width, with a bias."""
        ...

    def activation(self, hidden: Node, name: str) -> Node:
        """The activation that a config names; it is in `ACTIVATIONS`."""
        ...


# Number of a layer, and its queries, keys and values, or the one tensor in which they lie side by
# side -> what all heads have mixed, side by side.
Attention = Callable[[int, Sequence[Node]], Node]


def write_llama(writer: Writer[Node], attention: Attention[Node], config: Any) -> Node:
    """The nodes of a Llama (Touvron et al., 2023, arXiv 2302.13971); its logits."""
    hidden = writer.embedding("input_ids", "model.embed_tokens.weight")
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}"
        normed = writer.rms_norm(hidden, f"{at}.input_layernorm.weight", config.rms_norm_eps)

        # Biases are there in Qwen2, and in a Llama whose config asks for them.
        def times(inputs: Node, name: str, at: str = at) -> Node:
            return writer.linear(inputs, f"{at}.{name}.weight", f"{at}.{name}.bias")

        query = times(normed, "self_attn.q_proj")
        key = times(normed, "self_attn.k_proj")
        value = times(normed, "self_attn.v_proj")
        mixed = attention(layer, [query, key, value])
        hidden = writer.add(hidden, times(mixed, "self_attn.o_proj"))
        normed = writer.rms_norm(
            hidden, f"{at}.post_attention_layernorm.weight", config.rms_norm_eps
        )
        # A gated product (Shazeer, 2020, arXiv 2002.05202, equation 6).
        gate = writer.activation(times(normed, "mlp.gate_proj"), config.hidden_act)
        wide = writer.multiply(gate, times(normed, "mlp.up_proj"))
        hidden = writer.add(hidden, times(wide, "mlp.down_proj"))
    hidden = writer.rms_norm(hidden, "model.norm.weight", config.rms_norm_eps)
    is_tied = config.tie_word_embeddings
    return writer.linear(hidden, "model.embed_tokens.weight" if is_tied else "lm_head.weight")


def refuse_llama(config: Any) -> None:
    """Raise ValueError for what a Llama-like config may ask for and the graph does not do."""
    refuse_activation(config.hidden_act)
    window = getattr(config, "sliding_window", None)
    # Qwen2 names a window, and uses it only where it says so.
    if window and getattr(config, "use_sliding_window", True):
        raise ValueError(
            f"the model attends to a window of {window} tokens (`sliding_window`), which the graph "
            "does not do. Set it to null in config.json if your texts are shorter"
        )


def refuse_activation(name: str) -> None:
    """Raise ValueError for an activation that the graph has no operator for."""
    if name not in ACTIVATIONS:
        raise ValueError(f"the activation `{name}` is not written. {suggest(name, ACTIVATIONS)}")


def write_gpt2(writer: Writer[Node], attention: Attention[Node], config: Any) -> Node:
    """The nodes of a GPT-2 (Radford et al., 2019); its logits."""
    epsilon = config.layer_norm_epsilon
    tokens = writer.embedding("input_ids", "transformer.wte.weight")
    places = writer.embedding("position_ids", "transformer.wpe.weight")
    hidden = writer.add(tokens, places)
    for layer in range(config.num_hidden_layers):
        at = f"transformer.h.{layer}"

        def times(inputs: Node, name: str, at: str = at) -> Node:
            return writer.transposed_linear(inputs, f"{at}.{name}.weight", f"{at}.{name}.bias")

        normed = writer.layer_norm(hidden, f"{at}.ln_1", epsilon)
        # Queries, keys and values side by side.
        packed = times(normed, "attn.c_attn")
        mixed = attention(layer, [packed])
        hidden = writer.add(hidden, times(mixed, "attn.c_proj"))
        normed = writer.layer_norm(hidden, f"{at}.ln_2", epsilon)
        wide = writer.activation(times(normed, "mlp.c_fc"), config.activation_function)
        hidden = writer.add(hidden, times(wide, "mlp.c_proj"))
    hidden = writer.layer_norm(hidden, "transformer.ln_f", epsilon)
    is_tied = config.tie_word_embeddings
    return writer.linear(hidden, "transformer.wte.weight" if is_tied else "lm_head.weight")


def refuse_gpt2(config: Any) -> None:
    """Raise ValueError for what the config of a GPT-2 may ask for and the graph does not do."""
    refuse_activation(config.activation_function)
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if getattr(config, key, False):
            raise ValueError(f"`{key}` in config.json: the graph does not do this")


# By the `model_type` of transformers. GPT-2 adds a vector for each place, the others turn queries
# and keys.
LLAMAS = ("llama", "mistral", "qwen2")
FAMILIES = (*LLAMAS, "gpt2")


def write_family(writer: Writer[Node], attention: Attention[Node], config: Any) -> Node:
    """The nodes of a model of a family that `refuse_other` lets through; its logits."""
    if config.model_type in LLAMAS:
        return write_llama(writer, attention, config)
    return write_gpt2(writer, attention, config)


def refuse_other(config: Any) -> None:
    """Raise ValueError for an architecture that is not written, and for what a config asks for that
    its family's graph does not do."""
    if config.model_type not in FAMILIES:
        raise ValueError(
            "a graph with a cache is not written for the architecture "
            f"`{config.model_type}`. {suggest(config.model_type, FAMILIES)}"
        )
    if config.model_type in LLAMAS:
        refuse_llama(config)
    else:
        refuse_gpt2(config)
