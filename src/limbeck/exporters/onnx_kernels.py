"""Do the quantized products of a graph run in integer kernels of ONNX Runtime?"""

import tempfile
from collections import Counter
from pathlib import Path

from torch import nn

from limbeck.models.attention import Products
from limbeck.quantization.integer import IntegerConvolution, IntegerLinear

# Ops of an optimized graph that multiply integers; each takes the place of one product.
INTEGER_KERNELS = (
    "MatMulIntegerToFloat",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
)


def check_kernels(model: nn.Module, path: Path) -> None:
    """Compare the quantized products of a converted model with the integer kernels of its graph.

    Raises ValueError with both counts where a product runs in floats.
    """
    wanted = sum(_num_products(module) for module in model.modules())
    ops = optimized_ops(path)
    fused = sum(ops[name] for name in INTEGER_KERNELS)
    if fused < wanted:
        raise ValueError(
            f"export: {wanted} products are quantized, but ONNX Runtime runs only {fused} "
            f"in integer kernels. Its graph: {dict(ops)}"
        )


def _num_products(module: nn.Module) -> int:
    """The products of integers with integers that one module computes."""
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
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    return Counter(node.op_type for node in graph.node)
