"""The Open Inference Protocol's bytes: what is read, what is refused and with which words, and that no bytes do anything else."""

import base64
import json
import math
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_inference import (
    DTYPES,
    LIMITS,
    Limits,
    binary_body,
    body_of,
    bytes_of,
    decoded,
    tensor,
    texts,
)

from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.request import InferRequest, header_length, parse
from limbeck.server.v2.response import InferResponse, encode
from limbeck.server.v2.tensors import DATATYPES, Tensor

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True],
    "INT8": [-128, 127, 0, 5],
    "INT16": [-(2**15), 2**15 - 1, 0, 5],
    "INT32": [-(2**31), 2**31 - 1, 0, 5],
    "INT64": [-(2**63), 2**63 - 1, 0, 5],
    "UINT8": [0, 255, 1, 5],
    "UINT16": [0, 2**16 - 1, 1, 5],
    "UINT32": [0, 2**32 - 1, 1, 5],
    "UINT64": [0, 2**64 - 1, 1, 5],
    "FP16": [-65504.0, 65504.0, 0.1, 5],
    "FP32": [-3.4028234663852886e38, 3.4028234663852886e38, 0.1, 5],
    "FP64": [-1.7976931348623157e308, 1.7976931348623157e308, 0.1, 5],
}


def read(body: bytes, length: int | None = None, limits: Any = LIMITS) -> InferRequest:
    return parse(body, length, limits)


def outcome(
    body: bytes, length: int | None = None, limits: Any = LIMITS
) -> InferRequest | InvalidRequest:
    """The request that bytes are, or why they are none; whatever else is raised goes on."""
    try:
        return parse(body, length, limits)
    except InvalidRequest as error:
        return error


def refusal(body: bytes, length: int | None = None, limits: Any = LIMITS) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(body, length, limits)
    return caught.value


def test_the_protocol_s_own_example() -> None:
    """From inference_rest.md, with a third name that servers of models put there."""
    request = read(
        b'{"id": "42", "model_name": "mymodel", "inputs": ['
        b'{"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},'
        b'{"name": "input1", "shape": [3], "datatype": "BOOL", "data": [true, false, true]}],'
        b'"outputs": [{"name": "output0"}]}'
    )
    assert request.id == "42"
    assert request.inputs["input0"].values.tolist() == [[1, 2], [3, 4]]
    assert request.inputs["input0"].values.dtype == np.uint32
    assert request.inputs["input1"].values.tolist() == [True, False, True]
    assert [(each.name, each.is_binary) for each in request.outputs] == [("output0", False)]


def test_the_binary_extension_s_own_example() -> None:
    """From extension_binary_data.md: 16 bytes of input0 and 3 of input1."""
    body, length = binary_body(
        [
            (tensor("input0", "UINT32", [2, 2]), np.arange(1, 5, dtype="<u4").tobytes()),
            (tensor("input1", "BOOL", [3]), b"\1\0\1"),
        ],
        outputs=[{"name": "output0", "parameters": {"binary_data": True}}],
    )
    for each in (body, bytearray(body), memoryview(body)):
        request = parse(each, length, LIMITS)
        assert request.inputs["input0"].values.tolist() == [[1, 2], [3, 4]]
        assert request.inputs["input1"].values.tolist() == [True, False, True]
        assert request.outputs[0].is_binary
    # Numbers of a body at any place are aligned, and outlive it.
    assert request.inputs["input0"].values.flags.aligned
    assert (
        request.inputs["input0"].values.flags.owndata
        or request.inputs["input0"].values.base is not None
    )


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_is_read_as_json_flat_and_nested_and_as_binary(datatype: str) -> None:
    values = VALUES[datatype]
    expected = np.array(values, DTYPES[datatype]).reshape(2, 1, 2)
    nested = [[values[:2]], [values[2:]]]
    body, length = binary_body([(tensor("x", datatype, [2, 1, 2]), expected.tobytes())])
    for request in (
        read(body_of(tensor("x", datatype, [2, 1, 2], values))),
        read(body_of(tensor("x", datatype, [2, 1, 2], nested))),
        read(body, length),
    ):
        found = request.inputs["x"].values
        assert found.dtype == expected.dtype
        assert found.shape == (2, 1, 2)
        assert (found == expected).all()


def test_texts_are_read_as_json_and_as_binary() -> None:
    words = ["größer", "", "a\0b", "\U0001f9ff"]
    assert read(body_of(texts(*words))).inputs["text"].values == words
    content = bytes_of([word.encode() for word in words] + [b"\xff\xfe"])
    body, length = binary_body([(tensor("text", "BYTES", [5]), content)])
    assert read(body, length).inputs["text"].values == [
        *(word.encode() for word in words),
        b"\xff\xfe",
    ]


def test_json_and_binary_inputs_stand_side_by_side() -> None:
    content = np.arange(3, dtype="<i8").tobytes()
    first = tensor("a", "INT64", [3], binary_data_size=24)
    header = body_of(
        first, texts("x", "y", "z", name="b"), tensor("c", "UINT8", [3], binary_data_size=3)
    )
    request = read(header + content + b"\7\10\11", len(header))
    assert request.inputs["a"].values.tolist() == [0, 1, 2]
    assert request.inputs["b"].values == ["x", "y", "z"]
    assert request.inputs["c"].values.tolist() == [7, 8, 9]


def test_a_body_may_be_the_only_input() -> None:
    request = read(b"\x89PNG...", 0)
    assert (request.raw, request.inputs, request.is_binary) == (b"\x89PNG...", {}, True)
    assert "the body is empty" in str(refusal(b"", 0))


def test_null_is_as_left_out() -> None:
    """As MLServer's client and others of pydantic send it."""
    told = texts("a") | {"parameters": None}
    request = read(body_of(told, id=None, parameters=None, outputs=None))
    assert (request.id, request.outputs, request.parameters) == (None, [], {})
    nulls = {"binary_data": None, "content_type": None}
    assert (
        not read(body_of(texts("a"), outputs=[{"name": "x", "parameters": nulls}]))
        .outputs[0]
        .is_binary
    )
    assert read(body_of(texts("a"), outputs=[])).outputs == []


def test_an_output_s_own_wish_goes_before_the_request_s() -> None:
    """kserve/kserve#5907: the request's was lost wherever outputs were named."""
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    request = read(body_of(texts("x"), parameters={"binary_data_output": True}, outputs=outputs))
    assert request.is_binary
    assert [each.is_binary for each in request.outputs] == [True, False]


def test_what_clients_of_the_protocol_add_is_no_mistake() -> None:
    # KServe's names the model; those of pydantic write null for what is left out.
    more = {"model_name": "m", "model_version": None, "outputs": None, "raw": None}
    assert list(read(body_of(texts("x") | {"parameters": None}, **more)).inputs) == ["text"]


def test_parameters_of_the_sender_s_own_are_kept() -> None:
    told = {"my_parameter": 42, "note": "x", "priority": 1, "share": 0.5, "yes": True}
    assert read(body_of(texts("x"), parameters=told)).parameters == told


X = tensor("x", "INT64", [2], [1, 2])

MISTAKES: list[tuple[bytes, str]] = [
    (b"", "the body is empty"),
    (b"[]", "is no object of JSON"),
    (b"1", "is no object of JSON"),
    (b"null", "is no object of JSON"),
    (b"{", "is no JSON"),
    (b"{}", "inputs: a list of at least one tensor"),
    (b'{"inputs": []}', "inputs: a list of at least one tensor"),
    (b'{"inputs": {}}', "inputs: a list of objects"),
    (b'{"inputs": [1]}', "inputs: a list of objects"),
    (b'{"inputs": [[]]}', "inputs: a list of objects"),
    # One mark of the byte order is dropped.
    (2 * b"\xef\xbb\xbf" + b"{}", "is no JSON"),
    (b"\xff\xfe", "is not UTF-8: invalid start byte at byte 0"),
    (b'{"id": "\xff"}', "is not UTF-8: invalid start byte at byte 8"),
    (b'{"id": "\xed\xa0\x80"}', "is not UTF-8"),
    (rb'{"id": "\ud800"}', "is no JSON"),
    ('{"inputs": []}'.encode("utf-16"), "is not UTF-8"),
    (body_of(X)[:-1], "is no JSON"),
    # Without the header of the binary extension: triton-inference-server/server#1822.
    (body_of(X) + b"\0\0", "is no JSON"),
    (body_of(tensor("x", "FP32", [1], [math.nan])), "NaN and Infinity are no JSON"),
    (body_of(tensor("x", "FP32", [1], [math.inf])), "NaN and Infinity are no JSON"),
    (body_of(tensor("x", "FP32", [1], [-math.inf])), "NaN and Infinity are no JSON"),
    (
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1e999]}]}',
        "is no JSON",
    ),
    (body_of(X, id=7), "id: a text of at most 256"),
    (body_of(X, id=["7"]), "id: a text of at most 256"),
    (body_of(X, id="7" * 257), "id: a text of at most 256"),
    (body_of(X, parameters=[]), "request: parameters: an object"),
    (body_of(X, parameters={"a": [1]}), "parameters: 'a': a text, a number, true or false"),
    (body_of(X, parameters={"binary_data_output": 1}), "binary_data_output: true or false"),
    (body_of(X, output=[{"name": "y"}]), "there is no key 'output'. Did you mean `outputs`?"),
    (body_of(X, binary_data_output=True), "there is no key 'binary_data_output'"),
    (body_of(X | {"dtype": "INT64"}), "inputs[0] ('x'): there is no key 'dtype'"),
    (body_of(X | {"\ud800": 1}), "is no JSON"),
    (body_of(X, outputs=[{"name": "y", "classification": 3}]), "outputs[0]: there is no key"),
    (body_of(X, X), "inputs[1] ('x'): another input has this name"),
    (body_of(X | {"name": ""}), "inputs[0]: name: a text of 1 to 256"),
    (body_of(X | {"name": 5}), "inputs[0]: name: a text of 1 to 256"),
    (body_of(X | {"name": "x" * 257}), "inputs[0]: name: a text of 1 to 256"),
    (body_of({"datatype": "INT64"}), "inputs[0]: name: a text of 1 to 256"),
    (body_of(X | {"datatype": "INT65"}), "datatype: one of BOOL, INT8"),
    (body_of(X | {"datatype": "int64"}), "datatype: one of BOOL, INT8"),
    (body_of(X | {"datatype": None}), "not null"),
    (body_of(X | {"datatype": ["INT64"]}), "not a list"),
    (body_of(X | {"datatype": "BF16"}), "not 'BF16'"),
    # triton-inference-server/server#1649: a shape that is a text ended the server.
    (body_of(X | {"shape": "-1"}), "shape: a list of 1 to 8 whole numbers"),
    (body_of(X | {"shape": []}), "shape: a list of 1 to 8 whole numbers"),
    (body_of(X | {"shape": [1] * 9}), "shape: a list of 1 to 8 whole numbers"),
    (body_of(X | {"shape": {"0": 2}}), "shape: a list of 1 to 8 whole numbers"),
    # triton-inference-server/server#3563: a dimension of -1 ended it too.
    (body_of(X | {"shape": [-1, 2]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": [0]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": [2.0]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": ["2"]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": [True, 2]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": [None]}), "shape: every dimension is a whole number of 1 or more"),
    (body_of(X | {"shape": [2**70]}), "shape: every dimension"),
    (body_of(X | {"shape": [3]}), "data: 2 elements, and the shape has room for 3"),
    (body_of(X | {"shape": [1]}), "data: 2 elements, and the shape has room for 1"),
    (body_of(X | {"data": 1}), "data: a list of the elements"),
    (body_of(X | {"data": None}), "data: a list of the elements"),
    (body_of(X | {"data": "ab"}), "data: a list of the elements"),
    (body_of(X | {"data": [[1], [2]]}), "holds whole numbers"),
    (body_of(X | {"data": [1, 2.0]}), "holds whole numbers"),
    (body_of(X | {"data": [1, True]}), "holds whole numbers"),
    (body_of(X | {"data": [1, "2"]}), "holds whole numbers"),
    (body_of(X | {"data": [1, None]}), "holds whole numbers"),
    (body_of(X | {"data": [1, 2**63]}), "a number lies outside of INT64"),
    (body_of(X | {"data": [1, 2**64]}), "holds whole numbers"),
    (body_of(X | {"data": [1, -(2**63) - 1]}), "holds whole numbers"),
    (body_of(X | {"data": [1, int("9" * 300)]}), "holds whole numbers"),
    (body_of(tensor("x", "INT8", [1], [128])), "a number lies outside of INT8"),
    (body_of(tensor("x", "UINT8", [1], [-1])), "a number lies outside of UINT8"),
    (body_of(tensor("x", "FP32", [1], [1e39])), "a number lies outside of FP32"),
    (body_of(tensor("x", "FP16", [1], [-65536])), "a number lies outside of FP16"),
    (body_of(tensor("x", "FP16", [1], [1e300])), "a number lies outside of FP16"),
    (body_of(tensor("x", "FP32", [1], ["1.0"])), "holds numbers"),
    (body_of(tensor("x", "FP32", [1], [True])), "holds numbers"),
    (body_of(tensor("x", "BOOL", [2], [1, 0])), "holds true or false"),
    (body_of(tensor("x", "BYTES", [1], [5])), "BYTES holds texts"),
    # As TensorFlow Serving has it: triton-inference-server/server#1649.
    (body_of(tensor("x", "BYTES", [1], [{"b64": "aGk="}])), "BYTES holds texts"),
    (
        body_of(tensor("x", "INT64", [2, 2], [[1, 2], [3]])),
        "nested lists are expected to be as long",
    ),
    (body_of(tensor("x", "INT64", [2, 2], [[1, 2], 3])), "nested lists are expected to be as long"),
    (
        body_of(tensor("x", "INT64", [2, 2], [[1, 2]])),
        "data: 1 elements, and the shape has room for 2",
    ),
    (body_of(tensor("x", "INT64", [2, 2], [[1, [2]], [3, 4]])), "holds whole numbers"),
    (
        body_of(X | {"parameters": {"binary_data_size": 16}}),
        "data and binary_data_size: send one of the two",
    ),
    (
        body_of(tensor("x", "INT64", [2], binary_data_size=16)),
        "it needs the header Inference-Header",
    ),
    (body_of(X | {"parameters": {"shared_memory_region": "r"}}), "shared memory is not offered"),
    (body_of(X, outputs={"name": "y"}), "outputs: a list of objects"),
    (body_of(X, outputs=["y"]), "outputs: a list of objects"),
    (body_of(X, outputs=[{}]), "outputs[0]: name: a text"),
    (body_of(X, outputs=[{"name": "y"}, {"name": "y"}]), "outputs[1]: 'y' is asked for twice"),
    (
        body_of(X, outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
        "binary_data: true or false is expected, not 'yes'",
    ),
    (
        body_of(X, outputs=[{"name": "y", "parameters": {"classification": 1.5}}]),
        "classification: a number of classes",
    ),
    (
        body_of(X, outputs=[{"name": "y", "parameters": {"classification": -1}}]),
        "classification: a number of classes",
    ),
    (
        body_of(X, outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]),
        "shared memory is not offered",
    ),
]


@pytest.mark.parametrize(("body", "told"), MISTAKES)
def test_what_is_wrong_is_said_in_a_sentence_with_the_status_400(body: bytes, told: str) -> None:
    error = refusal(body)
    assert told in str(error)
    assert error.status == 400
    assert len(str(error)) < 400


def test_a_mistake_repeats_no_more_than_the_beginning_of_what_was_sent() -> None:
    error = refusal(body_of(X | {"datatype": "A" * 50_000}))
    assert "AAAA..." in str(error)
    assert len(str(error)) < 300


BINARY_MISTAKES: list[tuple[str, list[int], bytes, Any, str]] = [
    ("INT64", [2], bytes(16), 15, "15 bytes, and INT64 of this shape has 16"),
    ("INT64", [2], bytes(16), 17, "17 bytes, and 16 are left in the body"),
    ("INT64", [2], bytes(16), 2**62, "bytes, and 16 are left in the body"),
    ("INT64", [2], bytes(16), -16, "a number of bytes, not -16"),
    ("INT64", [2], bytes(16), 16.0, "a number of bytes, not 16.0"),
    ("INT64", [2], bytes(16), "16", "a number of bytes, not '16'"),
    ("INT64", [2], bytes(16), True, "a number of bytes, not true or false"),
    ("INT64", [2], bytes(16), 0, "0 bytes, and INT64 of this shape has 16"),
    ("INT64", [2], bytes(17), 16, "1 bytes are left after the binary tensors"),
    ("INT64", [2], bytes(17), 17, "17 bytes, and INT64 of"),
    ("BOOL", [2], b"\1\2", 2, "a byte of BOOL is 0 or 1"),
    ("BYTES", [1], b"", 0, "0 bytes are too few for 1 elements"),
    ("BYTES", [1], b"\1\0\0", 3, "3 bytes are too few for 1 elements"),
    ("BYTES", [1], b"\2\0\0\0a", 5, "element 0 runs past the end"),
    ("BYTES", [1], b"\xff\xff\xff\xffa", 5, "element 0 runs past the end"),
    ("BYTES", [2], b"\4\0\0\0abcd", 8, "element 1 runs past the end"),
    ("BYTES", [2], b"\2\0\0\0ab\0\0", 8, "element 1 runs past the end"),
    ("BYTES", [1], b"\1\0\0\0ab", 6, "1 bytes are left after the 1 elements"),
    ("BYTES", [50, 1000], bytes(8), 8, "8 bytes are too few for 50,000 elements"),
]


@pytest.mark.parametrize(("datatype", "shape", "content", "size", "told"), BINARY_MISTAKES)
def test_binary_sizes_that_do_not_add_up_are_told(
    datatype: str, shape: list[int], content: bytes, size: Any, told: str
) -> None:
    header = body_of(tensor("x", datatype, shape, binary_data_size=size))
    error = refusal(header + content, len(header))
    assert told in str(error)
    assert error.status == 400


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (-1, "-1, and the body has"),
        (10**9, "1,000,000,000, and the body has"),
        (5, "is no JSON"),
    ],
)
def test_a_header_length_that_lies_is_told(length: int, told: str) -> None:
    assert told in str(refusal(body_of(X), length))


def test_bytes_after_json_that_no_input_asks_for_are_told() -> None:
    header = body_of(X)
    assert "3 bytes are left after the binary tensors" in str(refusal(header + b"abc", len(header)))
    assert read(header, len(header)).inputs["x"].values.tolist() == [1, 2]


@pytest.mark.parametrize(
    "value", ["", "-1", "+5", " 5", "5 ", "1_0", "0x10", "\uff11\uff12", "5.0", "9" * 19, "1e3"]
)
def test_the_header_is_read_strictly(value: str) -> None:
    with pytest.raises(InvalidRequest, match="a number of bytes is expected"):
        header_length(value)


def test_more_than_the_limits_is_413() -> None:
    small = Limits(body_bytes=500, rows=3)
    for body, told in (
        (body_of(texts("a" * 600)), "at most 500 are read"),
        (body_of(texts(*"abcd")), "4 rows: at most 3 are answered at once"),
        (body_of(tensor("x", "FP32", [3, 200], [1])), "room for more than 500 elements"),
        (
            body_of(tensor("x", "FP32", [10**18, 10**18, 10**18], [1])),
            "room for more than 500 elements",
        ),
    ):
        error = refusal(body, limits=small)
        assert told in str(error)
        assert error.status == 413
    many = [{"name": str(number)} for number in range(33)]
    assert refusal(body_of(X, outputs=many)).status == 413
    assert refusal(body_of(*[texts("a", name=str(number)) for number in range(33)])).status == 413


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', ' [ "[" , '])
@pytest.mark.parametrize("depth", [1025, 20_000, 400_000])
def test_depth_is_bounded_where_it_is_parsed(opening: str, depth: int) -> None:
    """triton-inference-server/server#8172, tensorflow/serving#4146: the stack overflowed."""
    limits = replace(LIMITS, body_bytes=10**7)
    for body in (
        opening * depth,
        '{"inputs": ' + opening * depth,
        '{"id": "' + r"\"" * 9 + '", "x": ' + opening * depth,
    ):
        assert "is no JSON" in str(refusal(body.encode(), limits=limits))


def test_depth_is_bounded_by_the_shape() -> None:
    nested = json.dumps(1)
    for _ in range(900):
        nested = f"[{nested}]"
    told = '{"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": DATA}], "id": DATA}'
    error = refusal(told.replace("DATA", nested).encode())
    assert "holds whole numbers" in str(error)


def test_brackets_within_texts_are_no_depth() -> None:
    many = "[[[{{{" * 100
    assert (
        read(body_of(texts(many, many + '"', many + "\\", '\\"' + many))).inputs["text"].values[0]
        == many
    )


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet='a"\\[]{}é,:'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='b"\\[{'), inner, max_size=3)
    ),
    max_leaves=12,
)


ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=8),
    **{
        name: st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
        for name, dtype in DTYPES.items()
        if np.dtype(dtype).kind in "iu"
    },
    **{
        name: st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=False, allow_infinity=False)
        for name, dtype in DTYPES.items()
        if np.dtype(dtype).kind == "f"
    },
}


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, list[int], list[Any]]:
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    count = math.prod(shape)
    return datatype, shape, draw(st.lists(ELEMENTS[datatype], min_size=count, max_size=count))


def content_of(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return bytes_of([value.encode() for value in values])
    return np.array(values, DTYPES[datatype]).tobytes()


Sent = list[tuple[str, list[int], list[Any], bool]]


def request_of(sent: Sent, **keys: Any) -> tuple[bytes, int | None]:
    """(body, bytes of JSON) of tensors, each of which says whether it is binary."""
    inputs = []
    buffers = []
    for number, (datatype, shape, values, is_binary) in enumerate(sent):
        if is_binary:
            buffers.append(content_of(datatype, values))
            inputs.append(tensor(str(number), datatype, shape, binary_data_size=len(buffers[-1])))
        else:
            inputs.append(tensor(str(number), datatype, shape, values))
    header = body_of(*inputs, **keys)
    return header + b"".join(buffers), len(header) if buffers else None


SENT = st.lists(st.tuples(tensors(), st.booleans()), min_size=1, max_size=4).map(
    lambda pairs: [(*each, is_binary) for each, is_binary in pairs]
)


@given(SENT, st.none() | st.text(max_size=8))
def test_what_is_sent_is_what_is_read(sent: Sent, name: str | None) -> None:
    request = read(*request_of(sent, id=name))
    assert request.id == name
    for number, (datatype, shape, values, is_binary) in enumerate(sent):
        found = request.inputs[str(number)]
        assert (found.datatype, list(found.shape)) == (datatype, shape)
        if datatype == "BYTES":
            assert found.values == ([value.encode() for value in values] if is_binary else values)
        else:
            expected = np.array(values, DTYPES[datatype]).reshape(shape)
            assert found.values.tobytes() == expected.tobytes()


@given(SENT, st.none() | st.text(max_size=8))
def test_what_is_encoded_is_what_is_decoded(sent: Sent, name: str | None) -> None:
    """By a decoder that is written from the protocol's text, in JSON and in binary."""
    outputs = []
    for number, (datatype, shape, values, is_binary) in enumerate(sent):
        array = values if datatype == "BYTES" else np.array(values, DTYPES[datatype]).reshape(shape)
        outputs.append(Tensor(str(number), datatype, tuple(shape), array, is_binary))
    body, length = encode(InferResponse("m", "1", outputs, name))
    assert (length is None) == (not any(each[3] for each in sent))
    told = json.loads(body[:length])
    assert (told["model_name"], told["model_version"], told.get("id")) == ("m", "1", name)
    found = decoded(body, length)
    for number, (datatype, shape, values, _) in enumerate(sent):
        expected = (
            np.array([each.encode() for each in values], object)
            if datatype == "BYTES"
            else np.array(values, DTYPES[datatype])
        )
        assert (found[str(number)] == expected.reshape(shape)).all()


def test_numbers_that_are_not_finite_leave_as_null_in_json_and_as_they_are_in_binary() -> None:
    values = np.array([math.nan, math.inf, 0.1], np.float32)
    body, _ = encode(InferResponse("m", "1", [Tensor("x", "FP32", (3,), values)]))
    assert json.loads(body)["outputs"][0]["data"] == [None, None, 0.1]
    found = decoded(*encode(InferResponse("m", "1", [Tensor("x", "FP32", (3,), values, True)])))[
        "x"
    ]
    assert found.tobytes() == values.tobytes()


def test_float32_has_its_shortest_digits_in_json() -> None:
    """Which are read back to the same number, in half the bytes of its float64's."""
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    body, _ = encode(InferResponse("m", "1", [Tensor("x", "FP32", (500,), values)]))
    assert (np.array(json.loads(body)["outputs"][0]["data"], np.float32) == values).all()
    assert len(body) < 500 * 14


def mutants() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Changes of bytes: one put in, taken out, overwritten, a part repeated, or all of it cut off."""
    places = st.floats(0, 1)
    some = st.binary(max_size=6) | st.sampled_from(
        [b"[" * 99, b'"', b"\\", b"null", b"-1", b"1e9", b"NaN", b"\0"]
    )

    def insert(place: float, new: bytes) -> Callable[[bytes], bytes]:
        return lambda body: body[: int(place * len(body))] + new + body[int(place * len(body)) :]

    def overwrite(place: float, new: bytes) -> Callable[[bytes], bytes]:
        return lambda body: (
            body[: int(place * len(body))] + new + body[int(place * len(body)) + len(new) :]
        )

    def remove(place: float, share: float) -> Callable[[bytes], bytes]:
        return lambda body: (
            body[: int(place * len(body))] + body[int(place * len(body)) + int(share * 20) :]
        )

    def repeat(place: float, share: float) -> Callable[[bytes], bytes]:
        return lambda body: body[: int(place * len(body))] + body[int(share * len(body)) :]

    return (
        st.builds(insert, places, some)
        | st.builds(overwrite, places, some)
        | st.builds(remove, places, places)
        | st.builds(repeat, places, places)
    )


@settings(max_examples=400)
@given(
    SENT,
    st.lists(mutants(), min_size=1, max_size=4),
    st.none() | st.integers(-3, 300),
    st.booleans(),
)
def test_whatever_bytes_come_there_is_a_request_or_a_sentence(
    sent: Sent,
    changes: list[Callable[[bytes], bytes]],
    other_length: int | None,
    keeps_length: bool,
) -> None:
    body, length = request_of(
        sent, id="a", outputs=[{"name": "y"}], parameters={"binary_data_output": True}
    )
    for change in changes:
        body = change(body)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outcome(body, length if keeps_length else other_length)
    if isinstance(found, InvalidRequest):
        assert found.status in (400, 413)
        assert 10 < len(str(found).encode()) < 600
    else:
        for each in found.inputs.values():
            count = len(each.values) if each.datatype == "BYTES" else each.values.size
            assert count == math.prod(each.shape)
    # Of a body of a few kB; a hundred times what it takes.
    assert time.process_time() - began < 0.2


@settings(max_examples=200)
@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_any_bytes_at_all(body: bytes, length: int | None) -> None:
    found = outcome(body, length)
    assert isinstance(found, InvalidRequest) or found.raw is not None or found.inputs


@settings(max_examples=200)
@given(
    JSONS,
    st.sampled_from(
        [
            "inputs",
            "outputs",
            "parameters",
            "id",
            "name",
            "shape",
            "datatype",
            "data",
            "binary_data_size",
        ]
    ),
)
def test_any_json_in_any_place(value: Any, key: str) -> None:
    told: dict[str, Any] = {"inputs": [dict(X)], "outputs": [{"name": "y"}]}
    if key in ("inputs", "outputs", "parameters", "id"):
        told[key] = value
    elif key == "binary_data_size":
        told["inputs"][0]["parameters"] = {key: value}
    else:
        told["inputs"][0][key] = value
    body = json.dumps(told).encode()
    for length in (None, len(body)):
        found = outcome(body, length)
        assert isinstance(found, InferRequest) or found.status in (400, 413)


HURTFUL = {
    "brackets": lambda size: b"[" * size,
    "lists": lambda size: body_of(tensor("x", "FP32", [1], [[]] * (size // 4))),
    "nested": lambda size: body_of(tensor("x", "FP32", [size // 10, 1], [[1]] * (size // 10))),
    "backslashes": lambda size: b'{"id": "' + rb"\\" * (size // 2) + b"[" * 20,
    "escapes": lambda size: b'{"id": "' + rb"\"" * (size // 2) + b"[" * 20,
    "quotes": lambda size: b'"' * size,
    "digits": lambda size: b'{"inputs": ' + b"9" * size,
    "texts": lambda size: body_of(tensor("x", "BYTES", [size // 5], ["a"] * (size // 5))),
    "keys": lambda size: json.dumps({str(number): 1 for number in range(size // 12)}).encode(),
    "empty bytes": lambda size: bytes_of([b""] * (size // 4)),
}


@pytest.mark.parametrize("kind", HURTFUL)
def test_time_grows_as_the_body_does(kind: str) -> None:
    """A body of 500 kB takes at most five seconds, which is some ten times what the slowest does on a slow core beside a large heap; one that grows as a square takes minutes."""
    size = 500_000
    limits = Limits(body_bytes=2 * size, rows=size)
    body = HURTFUL[kind](size)
    length = None
    if kind == "empty bytes":
        header = body_of(tensor("x", "BYTES", [size // 4], binary_data_size=len(body)))
        body, length = header + body, len(header)
    began = time.process_time()
    found = outcome(body, length, limits)
    assert time.process_time() - began < 5
    assert isinstance(found, InferRequest) or len(str(found)) < 400


def test_base64_is_text_here() -> None:
    """What an image is, the model's inputs say."""
    told = base64.b64encode(struct.pack("<I", 7)).decode()
    assert read(body_of(texts(told, name="image"))).inputs["image"].values == [told]
