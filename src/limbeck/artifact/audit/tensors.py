"""Each tensor of a GGUF file against the folder's: how far it is, and what is wrong where it is too
far: rows in another order, a matrix that lies on its side, another tensor's values, none at all."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from limbeck.artifact.gguf import decoders
from limbeck.artifact.gguf.decoders import Sizes
from limbeck.artifact.gguf.file import GgufFile
from limbeck.artifact.gguf.folder import ModelFolder

# A type -> the relative error that its rounding may leave; of others by their bits. Twice what
# ggml's own rounding to nearest leaves on weights that are spread normally, or more.
ALLOWED = {"F64": 1e-6, "F32": 1e-6, "F16": 1e-3, "BF16": 6e-3, "TQ1_0": 1.0}
OF_BITS = {8: 0.02, 6: 0.06, 5: 0.12, 4: 0.25, 3: 0.45, 2: 0.7, 1: 1.0}
# Rows that are enough to know another tensor by.
ROWS_TO_KNOW = 64
# Of the error without it: a cause that is one takes nearly all of it away.
EXPLAINED = 0.5
# In place of the type of what is missing.
ABSENT = "-"
# What llama.cpp reads beside the weights of a transformers folder.
WITHOUT_ORIGIN = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class TensorFinding:
    """One tensor. `error`: the norm of the difference over the folder's own; None where there is
    nothing to compare. `fault`: what is wrong, or nothing."""

    name: str
    type: str
    error: float | None
    fault: str | None = None


def allowed_error(type_name: str) -> float:
    """The relative error that the rounding to a type may leave.

    >>> allowed_error("Q4_K"), allowed_error("F16")
    (0.25, 0.001)
    """
    if type_name in ALLOWED:
        return ALLOWED[type_name]
    digit = re.search(r"\d", type_name)
    return OF_BITS[int(digit.group())] if digit else 0.0


def compared(opened: GgufFile, folder: ModelFolder) -> Iterator[TensorFinding]:
    """Every tensor of the file in its order, and then those that it lacks."""
    sizes = decoders.sizes_of_config(folder.config)
    seen = set()
    for own_name, tensor in opened.tensors.items():
        name = decoders.transformers_name(own_name, sizes.architecture)
        # 1. What both have.
        if name is not None and name in folder.places:
            seen.add(name)
            yield _compared(opened, folder, name, sizes)
        # 2. What the folder has not, or not by itself.
        elif own_name == "output.weight":
            yield _output_of_its_own(opened, folder)
        elif own_name not in WITHOUT_ORIGIN:
            fault = f"{own_name}: the folder has no such tensor"
            yield TensorFinding(
                name=own_name,
                type=tensor.type,
                error=None,
                fault=fault,
            )
    # 3. What the file has not.
    for name in folder.places:
        if name not in seen:
            own_name = decoders.gguf_name(name, sizes.architecture) or name
            fault = f"{own_name} ({name} of the folder) is missing"
            yield TensorFinding(
                name=own_name,
                type=ABSENT,
                error=None,
                fault=fault,
            )


def _compared(opened: GgufFile, folder: ModelFolder, name: str, sizes: Sizes) -> TensorFinding:
    """A tensor that both have."""
    own_name = decoders.gguf_name(name, sizes.architecture) or name
    tensor = opened.tensors[own_name]
    expected = folder.values(name)
    laid_out = opened.values(own_name)
    if expected.size != laid_out.size:
        fault = f"{own_name}: its shape is {tensor.shape}, and {name}'s {expected.shape}"
        return TensorFinding(
            name=own_name,
            type=tensor.type,
            error=None,
            fault=fault,
        )
    values = decoders.from_gguf(name, laid_out, sizes).reshape(expected.shape)
    error = relative_error(values, expected)
    # Whether it is the right tensor, and not how good it is: that is for perplexity to say.
    if error <= allowed_error(tensor.type):
        return TensorFinding(own_name, tensor.type, error)
    told = f"{own_name} ({tensor.type}) is {error:.1%} off {name}"
    cause = _cause(laid_out, name, folder, sizes)
    reason = cause or "that is more than its type's rounding leaves, and nothing explains it"
    return TensorFinding(
        name=own_name,
        type=tensor.type,
        error=error,
        fault=f"{told}: {reason}",
    )


def _cause(laid_out: np.ndarray, name: str, folder: ModelFolder, sizes: Sizes) -> str | None:
    """What explains that a tensor is far off: the layouts that it may have by mistake, and the
    folder's other tensors of its shape."""
    expected = folder.values(name)
    shape = expected.shape
    right = decoders.from_gguf(name, laid_out, sizes).reshape(shape)
    # A cause must take most of the error away, or it is none.
    limit = EXPLAINED * relative_error(right, expected)
    layouts = {
        "its rows are not permuted, as llama.cpp wants those of query and key": laid_out,
        "its rows are permuted twice": decoders.unpermuted_rows(name, right, sizes),
        "its rows are permuted, which llama.cpp does not want here": _unpermuted(right, sizes),
    }
    # One that is not square would have another shape, and be told by that.
    if len(shape) == 2 and shape[0] == shape[1]:
        layouts["it is transposed"] = right.T
    for told, values in layouts.items():
        if values.shape == shape and relative_error(values, expected) < limit:
            return told
    part = right[:ROWS_TO_KNOW]
    for other, place in folder.places.items():
        # By some rows, and only then by all: a model has hundreds of one shape.
        if other == name or place.shape != shape:
            continue
        if relative_error(part, folder.values(other)[:ROWS_TO_KNOW]) < limit:
            return f"it holds the values of {other}"
    return None


def _unpermuted(values: np.ndarray, sizes: Sizes) -> np.ndarray:
    """Values as a permutation that is not due would have them before it."""
    width = sizes.head_width
    if sizes.architecture in decoders.PERMUTED or len(values) % width:
        return values
    pairs = values.reshape(-1, width // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def _output_of_its_own(opened: GgufFile, folder: ModelFolder) -> TensorFinding:
    """An output projection in the file, where the folder ties it to the embeddings."""
    kind = opened.tensors["output.weight"].type
    expected = folder.values(folder.embeddings)
    values = opened.values("output.weight")
    if values.shape != expected.shape:
        return TensorFinding("output.weight", kind, None, "output.weight has another shape")
    error = relative_error(values, expected)
    fault = None
    if error > allowed_error(kind):
        fault = f"output.weight ({kind}) is {error:.1%} off the embeddings, to which it is tied"
    return TensorFinding(
        name="output.weight",
        type=kind,
        error=error,
        fault=fault,
    )


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the difference over the norm of what was expected."""
    norm = float(np.linalg.norm(expected))
    distance = float(np.linalg.norm(values - expected))
    # A NaN in the file is as far off as can be.
    if not np.isfinite(distance):
        return float("inf")
    return distance / norm if norm > 0 else float(distance > 0)
