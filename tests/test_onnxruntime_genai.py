"""ONNX Runtime GenAI opens our folder as it lies: the log-probabilities and the greedy tokens of our own loop, and the tokenizer's ids."""

from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
from generation_artifacts import logits_of, task_of, trained, write_artifact

import limbeck
from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.text_model import text_model_of

pytestmark = pytest.mark.services
genai: Any = pytest.importorskip("onnxruntime_genai")
PROMPT = np.random.default_rng(1).integers(3, toys.VOCABULARY, 20)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_it_says_what_our_loop_says(kind: str, weights: str, tmp_path: Path) -> None:
    source = toys.toy_folder(tmp_path / "toy", kind)
    model = trained(source, weights)
    folder = write_artifact(model, task_of(source), ["onnx"], tmp_path / "artifact")
    # 1. Ours.
    writer = text_model_of(limbeck.load(folder))
    assert writer is not None
    asked = Asked(max_tokens=20, end_ids=writer.end_ids)
    pieces = writer.answer(PROMPT.tolist(), asked)
    own = [piece.token for piece in pieces if piece.token is not None]
    # 2. Theirs: after each token its logits, by which it goes on.
    opened = genai.Model(str(folder))
    settings = genai.GeneratorParams(opened)
    settings.set_search_options(max_length=len(PROMPT) + 20, do_sample=False)
    generator = genai.Generator(opened, settings)
    generator.append_tokens(PROMPT.astype(np.int32))
    expected = logits_of(model, [*PROMPT.tolist(), *own])
    said: list[int] = []
    for token in own:
        place = len(PROMPT) + len(said) - 1
        np.testing.assert_allclose(generator.get_logits()[0, -1], expected[place], atol=1e-4)
        generator.generate_next_token()
        said.append(int(generator.get_next_tokens()[0]))
        assert said[-1] == token
    assert generator.is_done()
    # 3. Texts.
    for text in toys.TEXTS:
        ids = writer.tokenizer.encode(text, add_special_tokens=False).ids
        assert genai.Tokenizer(opened).encode(text).tolist() == ids
