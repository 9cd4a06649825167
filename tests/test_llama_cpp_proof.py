"""When llama.cpp is refused: the bounds of the proof, without llama.cpp."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
import torch  # noqa: F401  (the toys are transformers')

from limbeck.artifact.gguf import reference, writing
from limbeck.artifact.gguf.file import read
from limbeck.artifact.llama_cpp import process, proof
from limbeck.artifact.model_process.proof import Proof, first_difference

GOOD = Proof(
    tokens=1000,
    mean=0.004,
    largest=0.2,
    own_mean=0.003,
    own_error=0.0004,
    nats=3.0,
    reference_nats=3.001,
    first_differences=(None, 3),
    tokens_per_second=50.0,
)


def test_what_last_bits_do_is_allowed_twice_and_no_more() -> None:
    assert not GOOD.reasons
    assert GOOD.shift == pytest.approx(math.exp(-0.001) - 1)
    assert not replace(GOOD, mean=0.0069).reasons
    assert "and 0.00700 is allowed" in replace(GOOD, mean=0.0071).reasons[0]
    assert not replace(GOOD, nats=3.0037).reasons
    assert "perplexity is +0.30% off" in replace(GOOD, nats=3.004).reasons[0]
    assert len(replace(GOOD, mean=math.nan, nats=math.nan).reasons) == 2
    assert "1 differ, first at token 4" in " ".join(GOOD.lines())


class Stub:
    """Answers as llama.cpp would, from the reference, off by so much."""

    program = "llama.cpp"

    def __init__(self, decoder: reference.Decoder, off: float) -> None:
        self.decoder = decoder
        self.off = off

    def __enter__(self) -> "Stub":
        return self

    def __exit__(self, *given: object) -> None: ...

    def score(self, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
        found, greedy = self.decoder.log_probabilities(np.array(tokens))
        return found - self.off, greedy

    def generate(self, tokens: list[int], most: int) -> dict[str, Any]:
        return {"tokens": [5, 6], "say_ms": 10.0, "read_ms": 1.0}


def test_a_runtime_that_is_off_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toys.toy_folder(tmp_path / "toy")
    path = tmp_path / "model.gguf"
    writing.write(folder, toys.codes_of_folder(folder, 8), path)
    documents = [[1, 5, 9, 200, 30], [7, 8, 9]]
    decoder = reference.of_file(read(path), reference.AS_LLAMA_CPP)
    for off in (0.0, 0.5):
        stub = Stub(decoder, off)
        monkeypatch.setattr(process, "run", lambda path, settings, stub=stub: stub)
        found = proof.prove(path, documents)
        assert bool(found.reasons) == bool(off)
        assert found.tokens == 6 and found.tokens_per_second == pytest.approx(200)


def test_the_first_token_that_the_reference_would_not_say(tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy")
    path = tmp_path / "model.gguf"
    writing.write(folder, {}, path)
    decoder = reference.of_file(read(path))
    said: list[int] = []
    for _ in range(4):
        logits = decoder.logits(np.array([3, 4, *said]))
        said.append(int(logits[-1].argmax()))
    assert first_difference(decoder, [3, 4], said) is None
    wrong = [*said[:2], (said[2] + 1) % toys.VOCABULARY, said[3]]
    assert first_difference(decoder, [3, 4], wrong) == 2
