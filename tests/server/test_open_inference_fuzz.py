"""A hundred thousand damaged requests before a model of every task: `pytest -m nightly tests/server/test_open_inference_fuzz.py`."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
from open_inference import (
    LIMITS,
    binary_body,
    body_of,
    bytes_of,
    decoded,
    finished,
    opened,
    tensor,
    texts,
)
from task_examples import EXAMPLES
from triton_requests import RECORDED

from limbeck.core import registry
from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.infer import infer
from limbeck.server.v2.interface import Interface, interface_of
from limbeck.server.v2.outputs import response_of
from limbeck.server.v2.request import parse
from limbeck.server.v2.response import encode

# What a request is made of, and what is none.
PIECES = [
    *(f'"{word}"'.encode() for word in ("shape", "data", "datatype", "name", "inputs", "outputs", "BYTES", "FP32", "INT64")),
    *(f'"{word}"'.encode() for word in ("text", "words", "pixels", "image", "label", "logits", "parameters")),
    *(b"[", b"]", b"{", b"}", b",", b":", b"null", b"true", b"-1", b"0", b"1e400", b"1.5", b"9" * 25, b'"classification":3'),
    *(b"\xff", b"\0", b'"\\ud800"', b"\xff\xff\xff\xff", b"\xff\xff\x7f\x7f", b"NaN"),
]  # fmt: skip


def requests() -> list[tuple[bytes, int | None]]:
    """Whole ones, of every kind of input."""
    ids = np.ones((2, 5), np.int64)
    return [
        *RECORDED.values(),
        binary_body([(tensor("text", "BYTES", [2]), bytes_of([b"Ada lives", b"New York"]))]),
        (body_of(texts("Ada", "b"), texts("c", "d", name="text_b"), id="x"), None),
        (body_of(tensor("words", "BYTES", [2, 2], ["Ada", "lives", "b", ""])), None),
        binary_body([(tensor("input_ids", "INT64", [2, 5]), ids.tobytes()), (tensor("attention_mask", "INT64", [2, 5]), ids.tobytes())]),
        binary_body([(tensor("pixels", "UINT8", [2, 6, 5]), bytes(60))]),
        binary_body([(tensor("pixel_values", "FP32", [2, 1, 6, 5]), bytes(240))]),
    ]  # fmt: skip


def damaged(body: bytes, chance: random.Random) -> bytes:
    """A body with a piece put in, taken out, moved or overwritten, or a digit changed."""
    place = chance.randrange(len(body) + 1)
    before, after = body[:place], body[place:]
    kind = chance.randrange(6)
    if kind == 0:
        return before + chance.choice(PIECES) + after
    if kind == 1:
        return before + after[chance.randrange(1, 12) :]
    if kind == 2:
        return before + bytes([chance.randrange(256)]) + after[1:]
    if kind == 3:
        start = chance.randrange(len(body) + 1)
        return before + body[start : start + chance.randrange(40)] + after
    if kind == 4:
        piece = chance.choice(PIECES)
        return before + piece + after[len(piece) :]
    digits = [place for place, byte in enumerate(body) if 48 <= byte < 58]
    place = chance.choice(digits or [0])
    return body[:place] + str(chance.randrange(10)).encode() + body[place + 1 :]


def told(error: InvalidRequest, what: str) -> str:
    """What became of a request whose sender gets a status and a sentence."""
    assert error.status in (400, 413)
    assert len(str(error).encode()) < 1000
    return what


def outcome(body: bytes, length: int | None, served: Interface) -> str:
    """What becomes of a request; whatever else is raised goes on."""
    try:
        request = parse(body, length, LIMITS)
    except InvalidRequest as error:
        return told(error, "unread")
    try:
        answered, _ = finished(infer(request, served))
        decoded(*encode(response_of(request, answered, "m", "1")))
    except InvalidRequest as error:
        return told(error, "refused")
    return "answered"


@pytest.mark.nightly
def test_damaged_requests_are_answered_or_refused(tmp_path: Path) -> None:
    """And each within 100 ms of the processor, which is a hundred times what it takes."""
    served = [
        interface_of(opened(EXAMPLES[name][0], tmp_path / name)) for name in registry.names("tasks")
    ]
    seeds = requests()
    chance = random.Random(0)
    counts = {"unread": 0, "refused": 0, "answered": 0}
    for _ in range(100_000):
        body, length = chance.choice(seeds)
        for _ in range(chance.choice([0, 1, 1, 2, 3, 6])):
            body = damaged(body, chance)
        if chance.random() < 0.2:
            length = chance.choice([None, 0, len(body), chance.randrange(len(body) + 5)])
        began = time.process_time()
        counts[outcome(body, length, chance.choice(served))] += 1
        assert time.process_time() - began < 0.1
    # None of the three is by chance alone.
    assert min(counts.values()) > 5000, counts
