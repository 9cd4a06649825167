"""How fast int8 is here: one product of matrices in ONNX Runtime, in int8 and in float32.

The probe needs neither torch nor the package onnx, which come with the extra `train`: a graph of
one node is written by hand, as the protocol buffer that an ONNX file is (onnx.proto of the ONNX
project names the fields, protobuf.dev/programming-guides/encoding the bytes).
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # else imported inside the functions: what the command line imports stays light
    import numpy as np

# A linear layer of BERT base on one row of 128 tokens.
ROWS, WIDTH = 128, 768
SECONDS = 0.8  # for each of the two products: enough for a steady median of hundreds of runs

# The numbers of types in onnx.proto's TensorProto.DataType.
FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6

# Old enough for every ONNX Runtime that is still in use. MatMulInteger came with set 10.
IR_VERSION = 8
OPERATOR_SET = 13

# Kinds of fields in the encoding of protocol buffers.
VARINT, BYTES = 0, 2

Product = Callable[["np.ndarray"], "np.ndarray"]
Field = tuple[int, int | bytes]


def sentence() -> str:
    """int8 against float32 on one thread, and whether the integer products are exact."""
    import numpy as np

    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (ROWS, WIDTH), np.uint8)
    weight = generator.integers(-127, 128, (WIDTH, WIDTH), np.int8)
    int8_product = opened("MatMulInteger", weight, (UINT8, INT8, INT32))
    float_product = opened("MatMul", weight.astype(np.float32), (FLOAT, FLOAT, FLOAT))
    # float64 holds sums of 768 products of 8 bits exactly.
    expected = x.astype(np.float64) @ weight.astype(np.float64)
    is_exact = np.array_equal(int8_product(x), expected)
    int8_ms = milliseconds(int8_product, x)
    float_ms = milliseconds(float_product, x.astype(np.float32))
    return (
        f"int8 is {float_ms / int8_ms:.1f} times as fast as float32 "
        f"({ROWS} x {WIDTH} by {WIDTH} x {WIDTH}, one thread: "
        f"{int8_ms:.2f} against {float_ms:.2f} ms); "
        f"its products {'are exact' if is_exact else 'SATURATE'}"
    )


def opened(operator: str, weight: "np.ndarray", types: tuple[int, int, int]) -> Product:
    """x -> x @ weight in ONNX Runtime, on one thread.

    `types`: of x, of the weight and of the product.
    """
    import onnxruntime

    from limbeck.artifact.runtimes.onnxruntime import add_exact_sums

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    # As every artifact is opened.
    add_exact_sums(options)
    graph = onnx_model(operator, weight, types)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def milliseconds(product: Product, x: "np.ndarray") -> float:
    """The median of as many products as SECONDS hold."""
    import numpy as np

    seconds: list[float] = []
    while sum(seconds) < SECONDS:
        began = time.perf_counter()
        product(x)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) * 1000


def onnx_model(operator: str, weight: "np.ndarray", types: tuple[int, int, int]) -> bytes:
    """A file with the one node y = operator(x, weight); `types`: of x, weight and y."""
    x_type, weight_type, y_type = types
    num_inputs, num_outputs = weight.shape
    node = message((1, b"x"), (1, b"w"), (2, b"y"), (4, operator.encode()))  # NodeProto
    tensor = message(  # TensorProto
        (1, num_inputs),
        (1, num_outputs),
        (2, weight_type),
        (8, b"w"),
        (9, weight.tobytes()),
    )
    graph = message(  # GraphProto
        (1, node),
        (2, b"probe"),
        (5, tensor),
        (11, matrix(b"x", x_type, num_inputs)),
        (12, matrix(b"y", y_type, num_outputs)),
    )
    operator_set = message((1, b""), (2, OPERATOR_SET))
    return message((1, IR_VERSION), (7, graph), (8, operator_set))  # ModelProto


def matrix(name: bytes, element_type: int, width: int) -> bytes:
    """The ValueInfoProto of an input or output (ROWS, width)."""
    dimensions = [message((1, size)) for size in (ROWS, width)]
    shape = message(*((1, dimension) for dimension in dimensions))
    tensor_type = message((1, element_type), (2, shape))
    return message((1, name), (2, message((1, tensor_type))))


def message(*fields: Field) -> bytes:
    """Fields, each a number and its content, in the encoding of protocol buffers."""
    encoded = b""
    for number, content in fields:
        # A field begins with its number and its kind; bytes then say how many they are.
        if isinstance(content, int):
            encoded += varint(number << 3 | VARINT) + varint(content)
        else:
            encoded += varint(number << 3 | BYTES) + varint(len(content)) + content
    return encoded


def varint(number: int) -> bytes:
    """A number in seven bits a byte, the lowest first; the eighth bit says that more follow."""
    if number < 128:
        return bytes([number])
    return bytes([number & 127 | 128]) + varint(number >> 7)
