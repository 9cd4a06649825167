"""A causal language model as one ONNX graph with a cache: it reads a prompt, and then a token at a
time.

The graph is written node by node from the weights of a transformers model, and not traced: so its
integers are those that were trained, a tied table lies in the file once, and one graph takes any
number of tokens before and any number of new ones. Names of inputs and outputs are those of
onnxruntime-genai, whose `genai_config.json` is written beside it:

    input_ids (B, T), attention_mask (B, P + T), position_ids (B, T; GPT-2 alone),
    past_key_values.N.key (B, H, P, D) -> logits (B, T, V), present.N.key (B, H, P + T, D)

Keys and values may be kept in int8; `onnx_decoder_attention` says which inputs and outputs take the
place of `past_key_values.N.key` and `.value` then.

Families: Llama and what is built as it is (Mistral without a window, SmolLM2, TinyLlama), Qwen2,
and GPT-2. Shapes: B rows, T new tokens, P earlier ones, V vocabulary, H heads of keys, D their
width.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from limbeck.core.wording import suggest
from limbeck.exporters.decoders.families import refuse_other, write_family
from limbeck.exporters.decoders.shape import Shape, shape_of
from limbeck.exporters.onnx_decoder_attention import (
    AttentionWriter,
    kept_of_layer,
    write_rotary,
)
from limbeck.exporters.onnx_decoder_nodes import (
    ACCURACY_LEVELS,
    GROUP,
    MICROSOFT,
    ZERO_POINTS,
    Codes,
    GraphWriter,
    unpack,
)

if TYPE_CHECKING:
    import onnx
    from torch import nn

OPSET = 20  # the first with Gelu
GRAPH_FILE = "model.onnx"
GENAI_FILE = "genai_config.json"
# Protocol buffers hold no more.
MOST_BYTES = 2_000_000_000


# Codes of one kind, such as `GroupCodes`: what takes them gives them back.
AnyCodes = TypeVar("AnyCodes", bound=Codes)

# Of a tensor: numbers, and names of those that vary.
Sizes = list[str | int | None]


def export_decoder(
    model: "nn.Module",
    folder: Path,
    codes: Mapping[str, Codes] | None = None,
    activations: str = "float",
    max_positions: int | None = None,
    kv_cache: str = "float",
) -> Path:
    """Write the graph of a transformers model and `genai_config.json` into a folder.

    Args:
        model: a causal language model, on the CPU.
        folder: there.
        codes: the weights that are integers, by their names in the model's state dict; a tied table
            has one entry, under either name. Others stay float32.
        activations: `float`, or `int8`: rounded by the runtime before they meet integers.
        max_positions: tokens that the graph reads at most; None: as many as the model.
        kv_cache: how keys and values of earlier tokens are kept, `float` or `int8`. Of int8 our own
            loop alone runs the graph: onnxruntime-genai has no place for scales.

    Returns the path of the graph.

    Raises ValueError for an architecture that is not written, and for codes that do not fit.
    """
    config: Any = model.config
    if activations not in ACCURACY_LEVELS:
        hint = suggest(activations, ACCURACY_LEVELS)
        raise ValueError(f"activations: {activations!r} is not known. {hint}")
    refuse_other(config)
    # 1. What the file is made of.
    weights = {}
    for name, tensor in model.state_dict().items():
        weights[name] = tensor.detach().float().numpy()
    # Of a converted model the integers alone are left, beside the module's scale.
    for name, each in (codes or {}).items():
        if f"{name.removesuffix('.weight')}.scale" in weights:
            weights.setdefault(name, each.codes)
    writer = GraphWriter(weights, one_table(codes or {}, config, weights), activations)
    check_codes(writer.codes, weights)
    # 2. The nodes.
    shape = shape_of(config, max_positions, kv_cache)
    is_turned = config.model_type != "gpt2"
    # Once for all layers.
    rotary = write_rotary(writer, model, shape) if is_turned else ()
    attention = AttentionWriter(writer, shape, rotary)
    logits = write_family(writer, attention.layer, config)
    writer.node("Identity", [logits], ["logits"])
    made = model_of(writer, shape, reads_positions=not is_turned)
    # 3. The files.
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / GRAPH_FILE
    content = made.SerializeToString()
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"the graph has {len(content):,} bytes, and one file holds {MOST_BYTES:,}: take "
            "integers of 4 or 8 bits, or a smaller model"
        )
    path.write_bytes(content)
    told = genai_config(config, shape)
    (folder / GENAI_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return path


# Codes.


def one_table(
    codes: Mapping[str, AnyCodes], config: Any, weights: Mapping[str, Any]
) -> dict[str, AnyCodes]:
    """The codes; where embedding and output are tied, those of the one stand for the other."""
    found = dict(codes)
    for output, table in TIED:
        # Untied, each has codes of its own.
        if not config.tie_word_embeddings or table not in weights:
            continue
        if output in found and table in found:
            raise ValueError(
                f"`{output}` and `{table}` are one table, and each has codes of its own: give one"
            )
        if output in found:
            found[table] = found.pop(output)
    return found


# Output projection and table, by the names of each family.
TIED = (
    ("lm_head.weight", "model.embed_tokens.weight"),
    ("lm_head.weight", "transformer.wte.weight"),
)


def check_codes(codes: Mapping[str, Codes], weights: Mapping[str, Any]) -> None:
    """Raise ValueError for codes that no weight has, or that the runtime does not multiply with."""
    for name, each in codes.items():
        if name not in weights:
            raise ValueError(f"codes for `{name}`: no such weight. {suggest(name, weights)}")
        if each.bits not in ZERO_POINTS:
            raise ValueError(
                f"`{name}`: {each.bits} bits are not written into ONNX graphs with a cache; "
                "say int8 or int4"
            )
        rows, columns = each.codes.shape
        shape = weights[name].shape
        # GPT-2 keeps its weights transposed, codes are by output.
        if (rows, columns) not in (shape, shape[::-1]):
            raise ValueError(f"`{name}`: codes of {rows} x {columns} for a weight of {shape}")
        if columns % GROUP or each.scales.shape != (rows, columns // GROUP):
            raise ValueError(
                f"`{name}`: {columns} inputs with scales of {each.scales.shape}; groups of {GROUP} "
                f"are needed: make the width a multiple of {GROUP}"
            )


def read_codes(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """(codes, scales, bits) of every weight of integers in a graph, by name: what was written."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    tensors = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for name, packed in tensors.items():
        if name.endswith(".codes"):
            weight = name.removesuffix(".codes")
            # A group of 32 codes fills as many bytes, or half as many.
            bits = 8 * packed.shape[2] // GROUP
            found[weight] = unpack(packed, bits), tensors[f"{weight}.scales"], bits
    return found


# The file.


def model_of(writer: GraphWriter, shape: Shape, *, reads_positions: bool) -> "onnx.ModelProto":
    """The whole of the file."""
    from onnx import helper

    # Others tell places by the lengths.
    ids = ["input_ids", "position_ids"] if reads_positions else ["input_ids"]
    inputs = [helper.make_tensor_value_info(name, 7, ["batch", "tokens"]) for name in ids]
    inputs.append(helper.make_tensor_value_info("attention_mask", 7, ["batch", "total"]))
    outputs = [helper.make_tensor_value_info("logits", 1, ["batch", "tokens", shape.vocabulary])]
    for layer in range(shape.layers):
        for part, kind, heads, width in kept_of_layer(shape):
            past: Sizes = ["batch", heads, "past", width]
            present: Sizes = ["batch", heads, "present", width]
            name = f"past_key_values.{layer}.{part}"
            inputs.append(helper.make_tensor_value_info(name, kind, past))
            outputs.append(helper.make_tensor_value_info(f"present.{layer}.{part}", kind, present))
    graph = helper.make_graph(
        writer.nodes, "decoder", inputs, outputs, list(writer.initializers.values())
    )
    # ONNX Runtime's own operators have not changed since their first version.
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_model(graph, opset_imports=opsets, producer_name="limbeck")
    # The newest that every release of the runtime which we take knows.
    made.ir_version = 9
    return made


def genai_config(config: Any, shape: Shape) -> dict[str, Any]:
    """What onnxruntime-genai needs to run the graph."""
    names = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    if config.model_type == "gpt2":
        names["position_ids"] = "position_ids"
    end = config.eos_token_id
    # Several tokens may end an answer, as in Llama 3.
    pad = config.pad_token_id
    first_end = end[0] if isinstance(end, list) else end
    return {
        "model": {
            # By `gpt2` it understands another graph, whose keys and values are one tensor.
            "type": "decoder" if config.model_type == "gpt2" else config.model_type,
            "bos_token_id": config.bos_token_id,
            "eos_token_id": end,
            # GenAI needs one; a single row is never padded.
            "pad_token_id": first_end if pad is None else pad,
            "context_length": shape.positions,
            "vocab_size": shape.vocabulary,
            "decoder": {
                "filename": GRAPH_FILE,
                "session_options": {},
                "head_size": shape.head_width,
                "hidden_size": shape.width,
                "num_attention_heads": shape.heads,
                "num_key_value_heads": shape.key_heads,
                "num_hidden_layers": shape.layers,
                "inputs": names
                | {
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        # Keys and values stay where they are, as with our own loop.
        "search": {"max_length": shape.positions, "past_present_share_buffer": True},
    }
