"""A converted model to a file of ONNX, by torch.export and onnxscript."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.exporters import onnx_ops
from limbeck.models.anatomy.probe import line_of, place_in
from limbeck.models.running import logits_of

# What `to_onnx` imports -> how it is installed: the `needs` of an exporter that writes ONNX.
NEEDS = {
    "onnx": "pip install 'limbeck[train]'",
    "onnxscript": "pip install 'limbeck[train]'",
}

# The first opset with Gelu. `onnx_ops` is written in it, too.
OPSET = 20

# The name of an operation without a translation, in what the exporter says.
NODE = re.compile(r"translating node %(\w+)")

# Of the first line of a reason.
MOST_LETTERS = 200


class _Forward(nn.Module):
    """A model as a function from its inputs, by position, to its logits: torch.export wants one."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        by_name = dict(zip(self.names, inputs, strict=True))
        return logits_of(self.model(**by_name))


def to_onnx(
    model: nn.Module,
    inputs: dict[str, torch.Tensor],
    path: Path,
    *,
    dynamic_translation: Callable[..., Any],
) -> None:
    """Write the graph of a converted model for any number of rows and, of texts, of tokens.

    inputs: an example of two rows or more: torch.export takes an axis of length 1 for a constant.
    dynamic_translation: of a linear layer that quantizes its input by its own range (`onnx_ops`).
    """
    from onnxscript.optimizer import optimize_ir

    forward = _Forward(model, list(inputs)).eval()
    # Clones: two names of one tensor would be traced as one input.
    example = tuple(value.clone() for value in inputs.values())
    axes = (_free_axes(inputs),)

    def place_of(text: str) -> str | None:
        return line_of_node(forward, example, text)

    with warnings.catch_warnings(), torch.no_grad(), tracing(model, place_of):
        warnings.simplefilter("ignore")  # the deprecations of torch's own exporter
        program = torch.onnx.export(
            forward,
            example,
            dynamo=True,
            dynamic_shapes=axes,
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=OPSET,
            custom_translation_table=onnx_ops.translations(dynamic_translation),
            external_data=False,
            verbose=False,
            # It would compute what reads constants, the unpacking of the codes too; see below.
            optimize=False,
        )
    assert program is not None
    _name_squeezed_axes(program.model.graph)
    optimize_ir(program.model, should_fold=_may_fold)
    _check_free_axes(program.model.graph, inputs, type(model).__name__)
    program.save(str(path))
    _remove_traces(path)


@contextlib.contextmanager
def tracing(model: nn.Module, place_of: Callable[[str], str | None]) -> Iterator[None]:
    """Turn what torch.export raises, a page with the whole graph, into one sentence with the line.

    place_of: the line of the operation that a message without one names, where it names one.

    Raises ValueError for a model that cannot be traced.
    """
    try:
        with silence():
            yield
    except RuntimeError as error:
        cause = error.__cause__ or error
        text = f"{type(cause).__name__}: {cause}"
        # Its last frame, or what is left of it as text alone.
        place = place_in(text) or line_of(cause) or place_of(text)
        where = f" ({place})" if place else ""
        raise ValueError(
            f"export: {type(model).__name__} cannot be traced as a graph for any batch"
            f"{where}: {text.splitlines()[0][:MOST_LETTERS]}. A branch on values, a length that "
            "is fixed, or an operation without a translation cannot be exported"
        ) from None


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the graphs of all ways that torch tried off the terminal, and what it logs of them."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def line_of_node(
    forward: nn.Module,
    example: tuple[torch.Tensor, ...],
    text: str,
) -> str | None:
    """`FILE:LINE` of the operation that has no translation, by its name in torch's message."""
    named = NODE.search(text)
    if named is None:
        return None
    with silence():
        # For the example's own sizes: only names are looked for.
        program = torch.export.export(forward, example, strict=False)
        # Some operations are translated as they are, others after they were taken apart.
        nodes = [*program.graph.nodes, *program.run_decompositions().graph.nodes]
    for node in nodes:
        if node.name == named[1]:
            return place_in(node.meta.get("stack_trace") or "")
    return None


def _free_axes(inputs: dict[str, torch.Tensor]) -> tuple[dict[int, Any], ...]:
    """Axis -> its free length, for each input: (rows, tokens) of texts, (rows, ...) of images."""
    batch = torch.export.Dim("batch")
    tokens = torch.export.Dim("tokens")
    axes = []
    for value in inputs.values():
        # Texts are the inputs of two axes; an image has four, and its size is the model's.
        is_text = value.ndim == 2
        axes.append({0: batch, 1: tokens} if is_text else {0: batch})
    return tuple(axes)


def _check_free_axes(graph: Any, inputs: dict[str, torch.Tensor], told: str) -> None:
    """Refuse a graph for as many rows, or tokens, as the example has: a loop over them leaves it.

    graph: as onnxscript holds it. told: what to call the model.

    Raises ValueError.
    """
    for tensor in graph.inputs:
        free = (0, 1) if inputs[tensor.name].ndim == 2 else (0,)
        for axis in free:
            size = tensor.shape[axis]
            # A free length has a name.
            if isinstance(size, int):
                what = "tokens" if axis else "rows"
                raise ValueError(
                    f"export: {told} cannot be traced as a graph for any batch: its graph is for "
                    f"{size} {what} and no other number. A loop over the {what}, or their number "
                    "taken as a constant (`len(x)`, where `x.shape[0]` stays free), cannot be "
                    "exported"
                )


def _name_squeezed_axes(graph: Any) -> None:
    """Say which axes a `squeeze()` takes away: those of length 1 in any batch.

    Without axes a runtime takes the axis of the rows away, too, where there is one row (MBart).

    graph: as onnxscript holds it; changed in place.
    """
    from onnxscript import ir

    for node in list(graph):
        is_bare = node.op_type == "Squeeze" and not any(node.inputs[1:])
        if not is_bare or node.inputs[0].shape is None:
            continue
        axes = [axis for axis, size in enumerate(node.inputs[0].shape) if size == 1]
        name = f"{node.outputs[0].name}_axes"
        constant = ir.tensor(axes, ir.DataType.INT64, name=name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape([len(axes)]),
            const_value=constant,
        )
        graph.register_initializer(value)
        node.resize_inputs(2)
        node.replace_input_with(1, value)


def _may_fold(node: Any) -> bool | None:
    """Whether the optimizer computes a node on constants now; None leaves it to its own judgement.

    False for what reads packed codes, and for the table of all 256 bytes that they are unpacked
    with: folded, the file would hold something wider than the codes.
    """
    first = node.inputs[0] if node.inputs else None
    reads_codes = first is not None and str(first.name).endswith("stored")
    return False if reads_codes or node.op_type == "Range" else None


def _remove_traces(path: Path) -> None:
    """Remove what tells of this machine and this run: documentation strings and metadata."""
    import onnx

    model = onnx.load(str(path))
    model.producer_name = "limbeck"
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]

    graph = model.graph
    graph.doc_string = ""
    tensors = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for holder in (graph, *graph.node, *tensors):
        del holder.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    path.write_bytes(model.SerializeToString(deterministic=True))
