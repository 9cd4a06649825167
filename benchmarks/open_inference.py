"""What the Open Inference Protocol costs a request: parsing and encoding, without a model or a socket.

    python benchmarks/open_inference.py [ARTIFACT TEXT]

For one text and 4, 77 and 150 labels, as JSON and as the binary extension: microseconds of the
process's CPU, the least of several rounds. For bodies of 2 MB, as they are sent and as they are made
to hurt: milliseconds, and nanoseconds a byte. With an artifact, what one request takes beside
`predict` on the same text.
"""

import argparse
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

import limbeck
from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.infer import infer
from limbeck.server.v2.interface import interface_of
from limbeck.server.v2.outputs import response_of
from limbeck.server.v2.request import parse
from limbeck.server.v2.response import InferResponse, encode
from limbeck.server.v2.tensors import BYTES, Tensor

TEXT = "I lost my card yesterday and cannot find it anywhere, please help me."
ROUNDS = 7
SIZE = 2_000_000


@dataclass(frozen=True)
class Limits:
    body_bytes: int = SIZE + 1000
    rows: int = SIZE
    text_characters: int = 1_000_000


def seconds(call: Callable[[], object], calls: int) -> float:
    """The least mean CPU time of a call over several rounds."""
    means = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            call()
        means.append((time.process_time() - began) / calls)
    return min(means)


def body_of(name: str, shape: list[int], datatype: str, data: object) -> bytes:
    """A request of one JSON tensor."""
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": data}
    return json.dumps({"id": "42", "inputs": [tensor]}).encode()


def binary_text(text: str) -> tuple[bytes, int]:
    """(body, bytes of JSON) of a request of one binary text."""
    content = struct.pack("<I", len(text.encode())) + text.encode()
    tensor = {
        "name": "text",
        "shape": [1],
        "datatype": BYTES,
        "parameters": {"binary_data_size": len(content)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return header + content, len(header)


def response(num_labels: int, *, is_binary: bool) -> InferResponse:
    """The default outputs for one text."""
    values = np.random.default_rng(0).dirichlet(np.ones(num_labels)).astype(np.float32)[None]
    answer = json.dumps(
        {
            "label": "label_7",
            "probabilities": {f"label_{n}": round(float(p), 6) for n, p in enumerate(values[0])},
        }
    )
    outputs = [
        Tensor("label", BYTES, (1,), ["label_7"], is_binary),
        Tensor("probabilities", "FP32", values.shape, values, is_binary),
        Tensor("logits", "FP32", values.shape, np.log(values), is_binary),
        Tensor("answer", BYTES, (1,), [answer.encode()], is_binary),
    ]
    return InferResponse("model", "1", outputs, "42")


def large() -> dict[str, bytes]:
    """Bodies of 2 MB."""
    numbers = np.random.default_rng(0).normal(size=SIZE // 21).tolist()
    nested = [[0.5] * 10] * (SIZE // 52)
    return {
        "flat numbers": body_of("x", [len(numbers)], "FP32", numbers),
        "nested numbers": body_of("x", [len(nested), 10], "FP32", nested),
        "one text": body_of("text", [1], BYTES, ["a" * SIZE]),
        "texts of one letter": body_of("text", [SIZE // 5], BYTES, ["a"] * (SIZE // 5)),
        "brackets": b"[" * SIZE,
        "empty lists": body_of("x", [1], "FP32", [[]] * (SIZE // 4)),
        "backslashes": b'{"id": "' + rb"\\" * (SIZE // 2) + b"[" * 20,
        "quotes": b'"' * SIZE,
        "long number": b'{"inputs": ' + b"9" * SIZE,
    }


def read(body: bytes) -> str:
    """Whether a body is a request, for the table."""
    try:
        parse(body, None, Limits())
    except InvalidRequest as error:
        return f"{error.status}: {str(error)[:60]}"
    return "read"


def through(folder: str, text: str) -> None:
    """A whole request of one text through an artifact, beside `predict`."""
    predictor = limbeck.load(folder)
    interface = interface_of(predictor)
    body = body_of("text", [1], BYTES, [text])

    def ask() -> bytes:
        request = parse(body, None, Limits())
        *_, answered = infer(request, interface)
        assert answered is not None
        return encode(response_of(request, answered, "model", "1"))[0]

    direct = seconds(lambda: predictor.predict(text), 200)
    whole = seconds(ask, 200)
    print(
        f"{folder}: predict {direct * 1e6:.0f} us, a request {whole * 1e6:.0f} us ({whole / direct:.3f}x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", nargs="?")
    parser.add_argument("text", nargs="?", default=TEXT)
    arguments = parser.parse_args()
    as_json, (binary, length) = body_of("text", [1], BYTES, [TEXT]), binary_text(TEXT)
    print(
        f"parse one text: JSON {seconds(lambda: parse(as_json, None, Limits()), 2000) * 1e6:.1f} us"
    )
    print(
        f"parse one text: binary {seconds(lambda: parse(binary, length, Limits()), 2000) * 1e6:.1f} us"
    )
    for num_labels in (4, 77, 150):
        for is_binary in (False, True):
            told = response(num_labels, is_binary=is_binary)
            spent = seconds(partial(encode, told), 2000) * 1e6
            print(
                f"encode {num_labels} labels: {'binary' if is_binary else 'JSON'} {spent:.1f} us, {len(encode(told)[0]):,} bytes"
            )
    for name, body in large().items():
        spent = seconds(partial(read, body), 2)
        print(
            f"{name}: {len(body):,} bytes in {spent * 1e3:.1f} ms, {spent / len(body) * 1e9:.1f} ns a byte ({read(body)})"
        )
    if arguments.artifact:
        through(arguments.artifact, arguments.text)


if __name__ == "__main__":
    main()
