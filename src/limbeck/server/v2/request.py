"""A request for inference: from the bytes of its body, whatever they are, to checked tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limbeck.core.wording import suggest
from limbeck.server.v2.errors import InvalidRequest, shown, too_large
from limbeck.server.v2.json_text import read_object
from limbeck.server.v2.limits import Limits
from limbeck.server.v2.tensors import DATATYPES, Tensor, checked_shape, from_binary, from_json

# Inputs, and outputs, of one request: no model here has a dozen.
MOST_TENSORS = 32
# Characters of a name, and of an id, which comes back.
MOST_CHARACTERS = 256
HEADER = "Inference-Header-Content-Length"
# The keys of the protocol's objects. Extensions have their place in `parameters`, so that any other
# key is a mistake; KServe's own client adds the model's name, which stands in the address too.
REQUEST_KEYS = ("id", "parameters", "inputs", "outputs")
FURTHER_KEYS = ("model_name", "model_version")
INPUT_KEYS = ("name", "shape", "datatype", "parameters", "data")
OUTPUT_KEYS = ("name", "parameters")


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request names.

    `num_classes`: how many classes are asked for in place of the numbers; 0 for the numbers.
    """

    name: str
    is_binary: bool
    num_classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a request asks for.

    `inputs`: by name. `outputs`: in their order; none for all that there are. `is_binary`: how
    outputs are sent that the request does not name. `raw`: the one input of a request without JSON.
    `text_characters`: the most that a text of it may have.
    """

    inputs: dict[str, Tensor]
    text_characters: int
    outputs: list[RequestedOutput] = field(default_factory=list)
    id: str | None = None
    is_binary: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None

    @property
    def num_rows(self) -> int:
        """N, the first dimension of its inputs; 1 for a request without JSON."""
        return next((tensor.shape[0] for tensor in self.inputs.values()), 1)


def header_length(value: str | None) -> int | None:
    """What the header `Inference-Header-Content-Length` says; None where there is none.

    Raises InvalidRequest for what is no length: Python's `int` takes signs, spaces, underscores and
    the digits of every script.

    >>> header_length("160"), header_length(None)
    (160, None)
    """
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise InvalidRequest(f"{HEADER}: a number of bytes is expected, not {shown(value)}")
    return int(value)


def parse(
    body: bytes | bytearray | memoryview, header_length: int | None, limits: Limits
) -> InferRequest:
    """Read the body of a request, without looking at what a model takes.

    Args:
        body: JSON, and after it the bytes of binary tensors in the order of `inputs`.
        header_length: the bytes of the JSON, as `Inference-Header-Content-Length` says; None where
            the whole body is JSON; 0 where the whole body is the only input's one element.
        limits: the most that is read.

    Raises:
        InvalidRequest: with the status 400, or 413 for more than the limits.
    """
    # 1. How much of it is JSON.
    view = memoryview(body).cast("B")
    if len(view) > limits.body_bytes:
        raise too_large(f"a body of {len(view):,} bytes: at most {limits.body_bytes:,} are read")
    if header_length == 0:
        return raw_request(bytes(view), limits)
    if header_length is None and not view:
        raise InvalidRequest('the body is empty: send {"inputs": [...]}')
    size = len(view) if header_length is None else header_length
    if not 0 < size <= len(view):
        raise InvalidRequest(f"{HEADER}: {size:,}, and the body has {len(view):,} bytes")
    # 2. The JSON, and the tensors of it and behind it.
    content = read_object(view[:size])
    check_keys(content, REQUEST_KEYS, "request", FURTHER_KEYS)
    parameters = parameters_of(content, "request")
    is_binary = flag(parameters, "binary_data_output", False, "request")
    return InferRequest(
        inputs_of(content, None if header_length is None else view[size:], limits),
        limits.text_characters,
        outputs_of(content, is_binary),
        id_of(content),
        is_binary,
        parameters,
    )


def raw_request(content: bytes, limits: Limits) -> InferRequest:
    """A request of one text or image and nothing else. As Triton does, all outputs go back, in
    binary."""
    # Without the length before it that an element of BYTES has: it is what `curl --data-binary`
    # sends of a file.
    if not content:
        raise InvalidRequest(f"the body is empty. With {HEADER}: 0 it is the input itself")
    return InferRequest({}, limits.text_characters, is_binary=True, raw=content)


def check_keys(
    part: Mapping[str, Any], known: tuple[str, ...], where: str, further: tuple[str, ...] = ()
) -> None:
    """Raise InvalidRequest for a key that would be left unread: `outputs`, misspelt, would be
    answered with all outputs. further: keys that may be there and say nothing new."""
    for key, value in part.items():
        # Clients that write every field of theirs write null for those that they leave out.
        if key not in known and key not in further and value is not None:
            hint = suggest(key[:MOST_CHARACTERS], known)
            raise InvalidRequest(f"{where}: there is no key {shown(key)}. {hint}")


def id_of(content: Mapping[str, Any]) -> str | None:
    """The request's id, which the response repeats. Raises InvalidRequest for what is no text."""
    # Bounded, as it goes into the response and the log.
    found = content.get("id")
    if found is None or (isinstance(found, str) and len(found) <= MOST_CHARACTERS):
        return found
    raise InvalidRequest(f"id: a text of at most {MOST_CHARACTERS} characters is expected")


def inputs_of(
    content: Mapping[str, Any], binary: memoryview | None, limits: Limits
) -> dict[str, Tensor]:
    """The inputs by name. binary: the bytes after the JSON; None where the body is JSON alone."""
    parts = objects_of(content, "inputs")
    if not parts:
        raise InvalidRequest("inputs: a list of at least one tensor is expected")
    inputs: dict[str, Tensor] = {}
    start = 0
    for place, part in enumerate(parts):
        name = name_of(part, f"inputs[{place}]")
        where = f"inputs[{place}] ({shown(name)})"
        check_keys(part, INPUT_KEYS, where)
        if name in inputs:
            raise InvalidRequest(f"{where}: another input has this name already")
        # A view, of which the bytes are not copied.
        rest = None if binary is None else binary[start:]
        inputs[name], size = input_of(part, rest, limits, where)
        start += size
    if binary is not None and start != len(binary):
        raise InvalidRequest(
            f"{len(binary) - start:,} bytes are left after the binary tensors: each has its "
            f"binary_data_size, and {HEADER} is the length of the JSON alone"
        )
    return inputs


def input_of(
    part: Mapping[str, Any], binary: memoryview | None, limits: Limits, where: str
) -> tuple[Tensor, int]:
    """(an input, how many of the bytes after the JSON are its own). binary: those of it on."""
    datatype = part.get("datatype")
    # A list cannot be looked up in a dict.
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(
            f"{where}: datatype: one of {', '.join(DATATYPES)}, not {shown(datatype)}"
        )
    # No tensor has more elements than bytes, so that nothing is made in a size that is only said.
    shape = checked_shape(part.get("shape"), limits.body_bytes, where)
    if shape[0] > limits.rows:
        raise too_large(f"{where}: {shape[0]:,} rows: at most {limits.rows:,} are answered at once")
    name: str = part["name"]
    data = part.get("data")
    size = binary_size(parameters_of(part, where), where)
    if size is None:
        return Tensor(name, datatype, shape, from_json(data, datatype, shape, where)), 0
    # Of two that differ nobody knows which one is meant.
    if data is not None:
        raise InvalidRequest(f"{where}: data and binary_data_size: send one of the two")
    if binary is None:
        raise InvalidRequest(f"{where}: binary_data_size: it needs the header {HEADER}")
    if size > len(binary):
        raise InvalidRequest(
            f"{where}: binary_data_size: {size:,} bytes, and {len(binary):,} are left in the body"
        )
    return Tensor(name, datatype, shape, from_binary(binary[:size], datatype, shape, where)), size


def binary_size(parameters: Mapping[str, Any], where: str) -> int | None:
    """The bytes of a binary tensor; None for one of JSON. Raises InvalidRequest."""
    if "shared_memory_region" in parameters:
        raise InvalidRequest(f"{where}: shared memory is not offered: send the data in the body")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    # Not `isinstance`, by which `true` is a number.
    if type(size) is not int or size < 0:
        raise InvalidRequest(f"{where}: binary_data_size: a number of bytes, not {shown(size)}")
    return size


def outputs_of(content: Mapping[str, Any], is_binary: bool) -> list[RequestedOutput]:
    """The outputs that are asked for by name. is_binary: unless one says otherwise."""
    outputs: list[RequestedOutput] = []
    for place, part in enumerate(objects_of(content, "outputs")):
        where = f"outputs[{place}]"
        name = name_of(part, where)
        check_keys(part, OUTPUT_KEYS, where)
        if any(name == other.name for other in outputs):
            raise InvalidRequest(f"{where}: {shown(name)} is asked for twice")
        parameters = parameters_of(part, where)
        # Who asks for that would wait for what never comes there.
        if "shared_memory_region" in parameters:
            raise InvalidRequest(f"{where}: shared memory is not offered: it goes into the body")
        num_classes = parameters.get("classification", 0)
        if type(num_classes) is not int or num_classes < 0:
            raise InvalidRequest(f"{where}: classification: a number of classes is expected")
        binary = flag(parameters, "binary_data", is_binary, where)
        outputs.append(RequestedOutput(name, binary, num_classes))
    return outputs


def objects_of(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects; empty where there is none. Raises InvalidRequest for anything else."""
    # Clients of pydantic write null for what is left out.
    parts = content.get(key)
    if parts is None:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise InvalidRequest(f"{key}: a list of objects is expected")
    if len(parts) > MOST_TENSORS:
        raise too_large(f"{key}: {len(parts):,} tensors: at most {MOST_TENSORS} are read")
    return parts


def name_of(part: Mapping[str, Any], where: str) -> str:
    """A tensor's name. Raises InvalidRequest for what is none."""
    name = part.get("name")
    if isinstance(name, str) and 0 < len(name) <= MOST_CHARACTERS:
        return name
    raise InvalidRequest(f"{where}: name: a text of 1 to {MOST_CHARACTERS} characters is expected")


def parameters_of(part: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The parameters, of which those that are unknown are the sender's own. Raises InvalidRequest
    for what are none."""
    parameters = part.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}: parameters: an object is expected")
    # Extensions add keys of their own: these are kept for who knows them, and never looked into.
    for name, value in parameters.items():
        if isinstance(value, list | dict):
            raise InvalidRequest(
                f"{where}: parameters: {shown(name)}: a text, a number, true or false is expected"
            )
    return parameters


def flag(parameters: Mapping[str, Any], name: str, default: bool, where: str) -> bool:
    """A parameter that is true or false. Raises InvalidRequest for anything else."""
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidRequest(f"{where}: {name}: true or false is expected, not {shown(value)}")
    return value
