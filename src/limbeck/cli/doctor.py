"""What this machine can do: what its CPU makes of int8 and bfloat16, memory, disk, versions, extras, the cache, and a speed probe. Torch-free."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import numpy as np

from limbeck.core import machine, memory
from limbeck.core.store import Store

PROBE_SECONDS = 0.8  # for each of the two products
ROWS, WIDTH = 128, 768
FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6  # TensorProto.DataType
PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "tokenizers", "numpy")
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*;\s*extra\s*==\s*['\"]([\w-]+)['\"]")
GIB = 2**30


def lines() -> Iterator[str]:
    """The report, line by line; the probe comes last but one."""
    name, features = machine.cpu()
    yield f"{'cpu':12} {name}, {machine.usable_cores()} of {os.cpu_count()} cores usable"
    yield f"{'int8':12} {int8_meaning(set(features))}"
    yield f"{'bfloat16':12} {bfloat16_meaning()}"
    total = memory.total_mb() / 2**10
    free = memory.available_mb()
    told = "" if free is None else f", {free / 2**10:.1f} GB of it free"
    yield f"{'memory':12} {total:.1f} GB{told}"
    yield from cache()
    yield f"{'python':12} {machine.versions()['python']}"
    for package in PACKAGES:
        yield f"{package:12} {installed(package) or 'not installed'}"
    yield from extras()
    yield f"{'speed':12} {speed()}"


def int8_meaning(features: set[str]) -> str:
    """What the CPU's instructions mean for an int8 artifact."""
    exact = [name for name in machine.EXACT if name in features]
    if exact:
        return f"{', '.join(exact)}: int8 products are exact, and several times as fast as float32"
    if features & {"avx2", "avx512f"}:
        return "no VNNI: products of uint8 and int8 saturate at 16 bits and gain little speed; weights of int7 (quantize.weights=int7) cannot"
    return "no integer dot product that this program knows: expect no speed from int8"


def bfloat16_meaning() -> str:
    """What train.dtype: auto chooses."""
    return (
        "native: `train.dtype: auto` trains text in bfloat16"
        if machine.has_bfloat16()
        else "not native: `train.dtype: auto` trains in float32"
    )


def cache() -> Iterator[str]:
    """The cache's folder, its size, and the room beside it."""
    folder = Store().folder
    stages = (
        [path for path in folder.iterdir() if path.is_dir() and path.name != "locks"]
        if folder.is_dir()
        else []
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    yield f"{'cache':12} {folder}: {len(stages)} stages, {size / GIB:.2f} GB (LIMBECK_CACHE names another folder)"
    yield f"{'disk':12} {shutil.disk_usage(existing).free / GIB:.1f} GB free there"


def installed(package: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def extras() -> Iterator[str]:
    """Each extra of ours: complete, or what is missing and how to install it."""
    try:
        wanted = REQUIREMENT.findall("\n".join(requires("limbeck") or []))
    except PackageNotFoundError:
        yield f"{'extras':12} limbeck runs from its sources and is not installed: pip install -e '.[train]'"
        return
    for extra in dict.fromkeys(extra for _, extra in wanted):
        missing = [
            package for package, owner in wanted if owner == extra and not installed(package)
        ]
        state = (
            f'without {", ".join(missing)}: pip install "limbeck[{extra}]"'
            if missing
            else "complete"
        )
        yield f"{'extra':12} {extra}: {state}"


def speed() -> str:
    """int8 against float32 in ONNX Runtime, one thread, and whether the integers are exact."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (ROWS, WIDTH), np.uint8)
    w = generator.integers(-127, 128, (WIDTH, WIDTH), np.int8)
    whole = opened("MatMulInteger", w, (UINT8, INT8, INT32))
    real = opened("MatMul", w.astype(np.float32), (FLOAT, FLOAT, FLOAT))
    exact = np.array_equal(whole(x), x.astype(np.float64) @ w.astype(np.float64))
    int8_ms, float_ms = milliseconds(whole, x), milliseconds(real, x.astype(np.float32))
    product = f"{ROWS} x {WIDTH} by {WIDTH} x {WIDTH}, one thread: {int8_ms:.2f} against {float_ms:.2f} ms"
    return f"int8 is {float_ms / int8_ms:.1f} times as fast as float32 ({product}); its products {'are exact' if exact else 'SATURATE'}"


def opened(
    operator: str, weight: np.ndarray, types: tuple[int, int, int]
) -> Callable[[np.ndarray], np.ndarray]:
    """A graph of one product x @ weight in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model(operator, weight, types), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def milliseconds(product: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> float:
    """The median of as many products as PROBE_SECONDS hold."""
    taken: list[float] = []
    while sum(taken) < PROBE_SECONDS:
        began = time.perf_counter()
        product(x)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000


def model(operator: str, weight: np.ndarray, types: tuple[int, int, int]) -> bytes:
    """An ONNX model y = operator(x, weight), written as the protocol buffer that it is: the package onnx belongs to the extra `train`."""
    given, own, made = types
    node = message((1, b"x"), (1, b"w"), (2, b"y"), (4, operator.encode()))
    tensor = message(
        *((1, size) for size in weight.shape), (2, own), (8, b"w"), (9, weight.tobytes())
    )
    graph = message(
        (1, node),
        (2, b"probe"),
        (5, tensor),
        (11, value(b"x", given, weight.shape[0])),
        (12, value(b"y", made, weight.shape[1])),
    )
    return message((1, 8), (7, graph), (8, message((1, b""), (2, 13))))


def value(name: bytes, kind: int, width: int) -> bytes:
    """A ValueInfoProto of (ROWS, width)."""
    shape = message(*((1, message((1, size))) for size in (ROWS, width)))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))


def message(*fields: tuple[int, Any]) -> bytes:
    """Fields (number, int or bytes) in the wire format of protocol buffers."""
    out = b""
    for number, content in fields:
        is_number = isinstance(content, int)
        out += (
            varint(number << 3 | (0 if is_number else 2))
            + varint(content if is_number else len(content))
            + (b"" if is_number else content)
        )
    return out


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)
