"""Do the quantized products of a graph run in integer kernels of ONNX Runtime?"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.models.anatomy.attention import Products
from limbeck.quantization.modules.integer import IntegerConvolution, IntegerLinear

# Ops of an optimized graph that multiply integers; each takes the place of one product.
INTEGER_KERNELS = (
    "MatMulIntegerToFloat",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
)


# Nodes that hand a tensor on in another shape or place.
HANDED_ON = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand")


def check_kernels(model: nn.Module, path: Path) -> None:
    """Compare the quantized products of a graph with the integer kernels that it becomes.

    They are counted by call, in the graph: a layer that is called twice is two products, and one
    whose answer nobody reads is none. `model`: what was converted; a module of which the file holds
    the integers is one product at least.

    Raises ValueError with both counts where a product runs in floats.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    stored = {initializer.name for initializer in graph.initializer}
    modules = 0
    for name, module in model.named_modules():
        if any(name and f"{name}.stored" in each for each in stored):
            modules += _num_products(module)
    wanted = max(num_quantized_products(graph), modules - num_constant_products(graph))
    ops = optimized_ops(path)
    fused = sum(ops[name] for name in INTEGER_KERNELS)
    if fused < wanted:
        raise ValueError(
            f"export: {wanted} products are quantized, but ONNX Runtime runs only {fused} "
            f"in integer kernels. Its graph: {dict(ops)}"
        )


def num_quantized_products(graph: Any) -> int:
    """The products of integers with integers that a graph computes anew for each input."""
    varying = varying_tensors(graph)
    return sum(any(name in varying for name in node.input) for node in quantized_products(graph))


def num_constant_products(graph: Any) -> int:
    """Those that hang on no input (a table of relative positions): a runtime computes them once,
    when it loads the graph."""
    return len(quantized_products(graph)) - num_quantized_products(graph)


def quantized_products(graph: Any) -> list[Any]:
    """The nodes that multiply integers: both factors were dequantized just before."""
    maker = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            found.append(node)
        elif node.op_type in ("MatMul", "Gemm", "Conv"):
            factors = [origin(maker, name) for name in node.input[:2]]
            if all(kind == "DequantizeLinear" for kind in factors):
                found.append(node)
    return found


def origin(maker: dict[str, Any], name: str) -> str:
    """The type of the node that makes a tensor, past those that hand it on; empty for none."""
    node = maker.get(name)
    while node is not None and node.op_type in HANDED_ON:
        node = maker.get(node.input[0])
    return "" if node is None else str(node.op_type)


def varying_tensors(graph: Any) -> set[str]:
    """The names of the tensors that hang on an input of the graph."""
    varying = {each.name for each in graph.input}
    # Nodes stand in the order in which they are computed.
    for node in graph.node:
        if any(name in varying for name in node.input):
            varying.update(node.output)
    return varying


def _num_products(module: nn.Module) -> int:
    """The products of integers with integers that one call of a module computes."""
    if isinstance(module, IntegerConvolution):
        return int(module.has_codes)
    if isinstance(module, Products):
        return 2  # queries with keys, probabilities with values
    if isinstance(module, IntegerLinear):
        # With weights alone in integers, its input is left as it is and the product is one of
        # floats.
        return int(module.is_dynamic or not isinstance(module.input, nn.Identity))
    return 0


def optimized_ops(path: Path) -> Counter[str]:
    """How many of each op the graph holds after ONNX Runtime has optimized it."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = (
            3  # errors only: it warns that the file fits this machine alone
        )
        # Each is an Exception of its own, with nothing above it.
        state = onnxruntime.capi.onnxruntime_pybind11_state
        refusals = (state.Fail, state.InvalidGraph, state.NotImplemented, state.RuntimeException)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except refusals as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"export: ONNX Runtime does not open the graph: {reason}") from None
        graph = onnx.load(options.optimized_model_filepath).graph
    return Counter(node.op_type for node in graph.node)
