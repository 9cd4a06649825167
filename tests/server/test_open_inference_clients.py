"""The Open Inference Protocol as NVIDIA's client speaks it (`pip install 'limbeck[clients]'`): its own encoders of requests and decoder of responses.

Where it is not installed, its requests are those that version 2.73.0 wrote (`triton_requests.py`).
"""

import json
from typing import Any

import numpy as np
import pytest
from open_inference import DTYPES, LIMITS, finished, opened
from task_examples import EXAMPLES, INTENT
from triton_requests import RECORDED

from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.infer import infer
from limbeck.server.v2.interface import Interface, interface_of
from limbeck.server.v2.outputs import response_of
from limbeck.server.v2.request import parse
from limbeck.server.v2.response import InferResponse, encode
from limbeck.server.v2.tensors import Tensor

TEXTS = ["Ada lives in New York", "größer \U0001f9ff", "a\0b"]


def numbers(datatype: str) -> np.ndarray:
    """(2, 3) of a datatype, its extremes among them."""
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind == "b":
        return np.array([[True, False, True], [False, False, True]])
    bounds = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    values = np.array([0, 1, 2, 3, 100, 0]).astype(dtype).reshape(2, 3)
    values[1, 0], values[1, 2] = bounds.min, bounds.max
    return values


def objects(values: list[Any]) -> np.ndarray:
    return np.array(values, object)


Inputs = list[tuple[str, str, np.ndarray, bool]]
ALL: Inputs = [(name.lower(), name, numbers(name), True) for name in DTYPES]
# Name: (inputs, outputs as (name, binary, classes), id).
CASES: dict[str, tuple[Inputs, list[tuple[str, bool, int]], str]] = {
    "all as binary": (ALL, [], ""),
    "all as JSON": ([(name, datatype, values, False) for name, datatype, values, _ in ALL], [], "7"),
    "every second as binary": ([(*each[:3], bool(place % 2)) for place, each in enumerate(ALL)], [], "7"),
    "texts as binary": ([("text", "BYTES", objects(TEXTS), True)], [], "r-1"),
    "texts as JSON": ([("text", "BYTES", objects(TEXTS), False)], [], "r-1"),
    "bytes": ([("image", "BYTES", objects([b"\x89PNG\r\n", b"", b"\xff\xfe"]).reshape(3, 1), True)], [], ""),
    "outputs": (
        [("text", "BYTES", objects(TEXTS), True)],
        [("label", False, 0), ("logits", True, 0), ("probabilities", True, 2)],
        "r-2",
    ),
}  # fmt: skip


def elements(values: np.ndarray, *, is_binary: bool) -> list[Any]:
    """What BYTES are read as."""
    flat = values.ravel().tolist()
    return [each.encode() if isinstance(each, str) and is_binary else each for each in flat]


@pytest.mark.parametrize("name", CASES)
def test_requests_of_tritonclient_are_read(name: str) -> None:
    inputs, outputs, request_id = CASES[name]
    request = parse(*RECORDED[name], LIMITS)
    assert (request.id or "") == request_id
    # Where it names no outputs, it wants them all in binary.
    assert request.is_binary == (not outputs)
    assert [(each.name, each.is_binary, each.num_classes) for each in request.outputs] == outputs
    assert list(request.inputs) == [each[0] for each in inputs]
    for key, datatype, values, is_binary in inputs:
        found = request.inputs[key]
        assert (found.datatype, found.shape) == (datatype, values.shape)
        if datatype == "BYTES":
            assert found.values == elements(values, is_binary=is_binary)
        else:
            assert found.values.dtype == values.dtype
            assert found.values.tobytes() == values.tobytes()


@pytest.fixture
def client() -> Any:
    pytest.importorskip("geventhttpclient")
    return pytest.importorskip("tritonclient.http")


def written(client: Any, name: str) -> tuple[bytes, int | None]:
    """What tritonclient sends for a case."""
    inputs, outputs, request_id = CASES[name]
    sent = []
    for key, datatype, values, is_binary in inputs:
        sent.append(client.InferInput(key, list(values.shape), datatype))
        sent[-1].set_data_from_numpy(values, binary_data=is_binary)
    wanted = [client.InferRequestedOutput(*each) for each in outputs]
    body, length = client.InferenceServerClient.generate_request_body(
        sent, outputs=wanted, request_id=request_id
    )
    return body, length


@pytest.mark.parametrize("name", CASES)
def test_what_was_recorded_is_what_it_sends(client: Any, name: str) -> None:
    body, length = written(client, name)
    assert (body, length) == RECORDED[name]
    parse(body, length, LIMITS)


@pytest.mark.parametrize("is_binary", [True, False])
def test_tritonclient_reads_what_is_encoded(client: Any, is_binary: bool) -> None:
    expected = {name: numbers(name) for name in DTYPES}
    tensors = [Tensor(name, name, (2, 3), values, is_binary) for name, values in expected.items()]
    tensors.insert(3, Tensor("BYTES", "BYTES", (3, 1), TEXTS, is_binary))
    body, length = encode(InferResponse("m", "1", tensors, "7"))
    result = client.InferResult.from_response_body(body, header_length=length)
    assert result.get_response()["id"] == "7"
    for name, values in expected.items():
        found = result.as_numpy(name)
        assert found.dtype == values.dtype
        assert (found == values).all()
    found = result.as_numpy("BYTES")
    assert found.shape == (3, 1)
    assert [each.decode() if is_binary else each for each in found.ravel()] == TEXTS


def answered(client: Any, served: Interface, body: bytes, length: int | None) -> Any:
    request = parse(body, length, LIMITS)
    found, _ = finished(infer(request, served))
    body, length = encode(response_of(request, found, "m", "1"))
    return client.InferResult.from_response_body(body, header_length=length)


def readable(client: Any, name: str) -> tuple[bytes, int | None]:
    """What tritonclient sends for a case, without its NUL character."""
    body, length = written(client, name)
    return body.replace(b"a\0b", b"a\tb"), length


def test_tritonclient_asks_a_model(client: Any, tmp_path: Any) -> None:
    served = interface_of(opened(INTENT, tmp_path / "opened"))
    with pytest.raises(InvalidRequest, match="row 2: text: a NUL character"):
        answered(client, served, *written(client, "texts as binary"))
    # What the protocol carries, a model's texts may not hold.
    expected = served.predictor.predict([text.replace("\0", "\t") for text in TEXTS])
    result = answered(client, served, *readable(client, "texts as binary"))
    assert result.as_numpy("label").tolist() == [each["label"].encode() for each in expected]
    result = answered(client, served, *readable(client, "outputs"))
    assert result.as_numpy("label").tolist() == [each["label"] for each in expected]
    for row, answer in zip(result.as_numpy("probabilities"), expected, strict=True):
        value, index, label = row[0].decode().split(":")
        assert (label, served.labels[int(index)]) == (answer["label"], answer["label"])
        assert float(value) == pytest.approx(answer["probability"], abs=1e-6)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_tritonclient_reads_the_outputs_of_every_task(
    client: Any, name: str, tmp_path: Any
) -> None:
    task, rows, _ = EXAMPLES[name]
    served = interface_of(opened(task, tmp_path / "opened"))
    if "image" in task.row_keys:
        given, key, datatype = np.stack([row["image"] for row in rows]), "pixels", "UINT8"
    elif not {"text", "words"} & set(task.row_keys):
        # Dialogues: rows of several keys go as objects of JSON.
        given, key, datatype = objects([json.dumps(row) for row in rows]), "row", "BYTES"
    else:
        raws = [" ".join(row["words"]) if "words" in row else row["text"] for row in rows]
        given, key, datatype = objects(raws), "text", "BYTES"
    sent = client.InferInput(key, list(given.shape), datatype)
    sent.set_data_from_numpy(given)
    body, length = client.InferenceServerClient.generate_request_body([sent])
    result = answered(client, served, body, length)
    for output in result.get_response()["outputs"]:
        found = result.as_numpy(output["name"])
        assert list(found.shape) == output["shape"]
        assert len(found) == len(rows)
