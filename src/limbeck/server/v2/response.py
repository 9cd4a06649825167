"""A response: from tensors to the bytes of its body."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.server.v2.tensors import Tensor, to_binary, to_json


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What is sent back. `id`: the request's, where it had one."""

    model_name: str
    model_version: str
    outputs: Sequence[Tensor]
    id: str | None = None


def encode(response: InferResponse) -> tuple[bytes, int | None]:
    """(body, how many bytes of it are JSON); None where all of it is.

    The number belongs into the header `Inference-Header-Content-Length`; the content type is
    application/json without it, and application/octet-stream with it. Numbers that are not finite
    are null in JSON.
    """
    import orjson

    told: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    # One that was not given is not there: null is no text.
    if response.id is not None:
        told["id"] = response.id
    # Binary tensors stand behind the JSON in the order of their descriptions.
    buffers = []
    outputs = []
    for tensor in response.outputs:
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        if tensor.is_binary:
            content = to_binary(tensor)
            output["parameters"] = {"binary_data_size": len(content)}
            buffers.append(content)
        else:
            output["data"] = to_json(tensor)
        outputs.append(output)
    told["outputs"] = outputs
    # Arrays as they lie: lists of Python's floats would take 20 times as long.
    header = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
    if not buffers:
        return header, None
    return b"".join((header, *buffers)), len(header)
