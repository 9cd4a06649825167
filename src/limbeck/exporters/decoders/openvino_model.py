"""A causal language model as OpenVINO's own files, with a state for keys and values.

    input_ids (B, T), attention_mask (B, P + T), position_ids (B, T), beam_idx (B)
        -> logits (B, T, V)

Inputs and outputs are those of optimum-intel's exports, which OpenVINO GenAI opens. The same model
gives the same bytes: nodes are numbered by their order and not by a counter of the process.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.artifact.generation.openvino_decoder import POSITIONS
from limbeck.artifact.group_codes import GroupCodes
from limbeck.exporters.decoders.families import write_family
from limbeck.exporters.decoders.openvino_attention import AttentionWriter, rotary_of
from limbeck.exporters.decoders.openvino_nodes import CODES, SCALES, NodeWriter, unpacked
from limbeck.exporters.decoders.shape import shape_of

if TYPE_CHECKING:
    import openvino

# The CPU plugin would round what integers are multiplied with to int8, in groups. It reads this
# where the file is opened, whoever opens it. Not so the type of the cache: of a file that asks for
# float32, GenAI's paged attention fails on a CPU that computes in bf16 (seen in 2026.4.1).
UNROUNDED = ("runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE")


def model_of(
    model: Any, weights: Mapping[str, NDArray[np.float32]], codes: Mapping[str, GroupCodes]
) -> "openvino.Model":
    """The model of a family that `families.refuse_other` lets through.

    model: of transformers, on the CPU; its config and its rotary embedding are asked. weights,
    codes: by the names in its state dict; a table that input and output share is one entry.
    """
    import openvino
    from openvino import opset13 as ops

    # 1. Inputs, of any length.
    inputs = {}
    for name in ("input_ids", "attention_mask", "position_ids"):
        inputs[name] = ops.parameter([-1, -1], np.int64)
    inputs["beam_idx"] = ops.parameter([-1], np.int32)
    for name, parameter in inputs.items():
        parameter.set_friendly_name(name)
        parameter.output(0).set_names({name})
    # 2. Nodes.
    writer = NodeWriter(weights, codes, inputs)
    shape = shape_of(model.config, None, "float")
    attention = AttentionWriter(writer, shape, rotary_of(model))
    logits = ops.result(write_family(writer, attention.layer, model.config))
    logits.output(0).set_names({"logits"})
    # 3. The whole.
    parameters = list(inputs.values())
    made = openvino.Model([logits], attention.sinks, parameters, "decoder")
    made.set_rt_info("0", [*UNROUNDED])
    # The graph takes texts of any length; what opens it is told how much the model reads.
    made.set_rt_info(str(shape.positions), [*POSITIONS])
    return made


# Nodes, and tensors between them, that nobody has named.
NUMBERED = re.compile(r"^[A-Za-z]\w*_\d+(\.\d+)?$")


def write(model: "openvino.Model", path: Path) -> None:
    """Write a model as `path` and the `.bin` beside it, the same bytes for the same model."""
    import openvino

    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if NUMBERED.match(node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_of_{number}")
        for port in node.outputs():
            names = port.get_names()
            if any(NUMBERED.match(name) for name in names):
                known = {name for name in names if not NUMBERED.match(name)}
                port.set_names(known or {f"{kind}_of_{number}"})
    openvino.serialize(model, path, path.with_suffix(".bin"))


def constants_of(path: Path) -> "dict[str, openvino.op.Constant]":
    """The constants of a file, by their names; of weights those in the model."""
    import openvino

    model = openvino.Core().read_model(path)
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            found[node.get_friendly_name()] = node
    return found


def codes_of(constants: "Mapping[str, openvino.op.Constant]") -> dict[str, GroupCodes]:
    """The integers among the constants of a file, by the names of their weights."""
    found = {}
    for name, node in constants.items():
        if name.endswith(CODES):
            weight = name.removesuffix(CODES)
            bits = node.get_element_type().bitwidth
            rows = node.get_output_shape(0)[0]
            scales = constants[f"{weight}{SCALES}"].data
            codes = unpacked(node.data, bits).reshape(rows, -1)
            found[weight] = GroupCodes(codes, scales.reshape(rows, -1), bits)
    return found
