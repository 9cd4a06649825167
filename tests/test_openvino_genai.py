"""OpenVINO GenAI opens our folder as it lies, and OpenVINO proves it: the trained integers, the log-probabilities and the greedy tokens of our own loop, and texts as the trained model reads them."""

from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
from generation_artifacts import ROWS, logits_of, task_of, trained, write_artifact
from tokenizers import Tokenizer, normalizers, processors

import limbeck
from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.openvino_decoder import OpenvinoDecoder
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.proof import parity
from limbeck.exporters.decoders import openvino_texts
from limbeck.quantization.group_codes import group_codes
from limbeck.training.scoring import score_split

openvino: Any = pytest.importorskip("openvino")
pytest.importorskip("openvino_tokenizers")

PROMPT = np.random.default_rng(1).integers(3, toys.VOCABULARY, 20)
NAMES = ["onnx", "openvino_genai"]
MIXED = {"weights": "int8", "activations": "float", "group": 32, "scale": "float16"}
# As the guide says it.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
# Of logits that spread by 1: only the order of additions differs.
CLOSE = 2e-5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.toy_folder(tmp_path_factory.mktemp("toy") / "model", "llama")


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "artifact"
    return write_artifact(trained(source, "int4"), task_of(source), NAMES, folder)


@pytest.fixture(scope="module")
def decoder(artifact: Path) -> OpenvinoDecoder:
    return OpenvinoDecoder(artifact / "openvino_model.xml")


def said_by(folder: Path, runtime: str) -> list[int]:
    writer = text_model_of(limbeck.load(folder, runtime=runtime))
    assert writer is not None
    pieces = writer.answer(PROMPT.tolist(), Asked(max_tokens=20, end_ids=()))
    return [piece.token for piece in pieces if piece.token is not None]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_it_says_what_our_loop_says(kind: str, weights: str, tmp_path: Path) -> None:
    genai: Any = pytest.importorskip("openvino_genai")
    source = toys.toy_folder(tmp_path / "toy", kind)
    folder = write_artifact(trained(source, weights), task_of(source), NAMES, tmp_path / "artifact")
    own = said_by(folder, "onnxruntime")
    assert len(own) == 20 and said_by(folder, "openvino_genai") == own
    # Its own loop, with pages of keys and values and without.
    for backend in ("PA", "SDPA"):
        pipeline = genai.LLMPipeline(str(folder), "CPU", ATTENTION_BACKEND=backend, **EXACT)
        asked = genai.GenerationConfig()
        asked.max_new_tokens, asked.do_sample, asked.ignore_eos = 20, False, True
        found = pipeline.generate(openvino.Tensor(PROMPT[None]), asked)
        assert list(found.tokens[0]) == own
    # Texts, messages and ends.
    tokenizer = pipeline.get_tokenizer()
    writer = text_model_of(limbeck.load(folder))
    assert writer is not None and writer.template is not None
    for text in toys.TEXTS:
        ids = writer.prompt_of_text(text)
        assert tokenizer.encode(text).input_ids.data[0].tolist() == ids
        assert tokenizer.decode(ids) == text
    messages = [{"role": "user", "content": "hello"}]
    written = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert written == writer.template.render(messages, add_generation_prompt=True)
    assert pipeline.get_generation_config().stop_token_ids == set(writer.end_ids)


@pytest.mark.parametrize(
    ("kind", "keys", "changes"),
    [
        ("llama", {"weights": "int4"}, {}),
        ("llama", {"weights": "int8", "group": None}, {"tie_word_embeddings": False}),
        ("qwen2", {"weights": "int4", "keep_float": ["*q_proj", "*embed_tokens", "lm_head"]}, {}),
        ("gpt2", {"weights": "int4", "keep_float": ["*c_attn"]}, {}),
        ("gpt2", {"weights": "int8"}, {}),
        ("llama", {"weights": "int4", "modules": {"*mlp*": MIXED}}, {}),
    ],
)
def test_every_kind_of_weights_is_proven(
    kind: str, keys: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    source = toys.toy_folder(tmp_path / "toy", kind, **changes)
    model, task = trained(source, **keys), task_of(source)
    artifact = write_artifact(model, task, NAMES[1:], tmp_path / "artifact")
    scored = score_split(model, task.encode(ROWS), task, one_by_one=True)
    (found,) = parity.prove(artifact, scored, ROWS, task, tmp_path)
    assert found["holds"], found["failures"]
    # No last bits are asked for, and nothing is rounded on the way.
    assert found["flips"] == 0 and found["last_bits"] is None
    assert found["max_abs_logit_difference"] < CLOSE


def test_a_cache_goes_on_where_it_was(decoder: OpenvinoDecoder, source: Path) -> None:
    expected = logits_of(trained(source, "int4"), PROMPT.tolist())
    one, other = decoder.cache(20), decoder.cache(12)
    np.testing.assert_allclose(decoder.logits(PROMPT[:5], one), expected[:5], atol=CLOSE)
    # Another conversation comes between, with a state of its own.
    np.testing.assert_allclose(decoder.logits(PROMPT[:9], other), expected[:9], atol=CLOSE)
    np.testing.assert_allclose(decoder.logits(PROMPT[5:6], one), expected[5:6], atol=CLOSE)
    np.testing.assert_allclose(decoder.logits(PROMPT[6:], one), expected[6:], atol=CLOSE)
    with pytest.raises(ValueError, match="1 tokens after 20: the cache holds 20"):
        decoder.logits(PROMPT[:1], one)
    with pytest.raises(ValueError, match="not among the model's 384 tokens"):
        decoder.logits(np.array([384]), other)
    with pytest.raises(ValueError, match=r"129 tokens.*reads at most 128"):
        decoder.cache(129)


def test_rows_that_are_padded_are_read_as_each_alone(
    artifact: Path, decoder: OpenvinoDecoder, source: Path
) -> None:
    """Of our graph function, and of the model itself where a batch is padded on its left, as OpenVINO GenAI does it."""
    expected = logits_of(trained(source, "int4"), PROMPT[:6].tolist())
    ids = np.stack([PROMPT[:8], np.concatenate([PROMPT[:6], [0, 0]])])
    mask = np.array([[1] * 8, [1] * 6 + [0] * 2])
    logits = decoder({"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(logits[1, :6], expected, atol=CLOSE)
    assert not logits[1, 6:].any()
    left = {
        "input_ids": np.stack([PROMPT[:8], np.concatenate([[0, 0], PROMPT[:6]])]),
        "attention_mask": np.array([[1] * 8, [0] * 2 + [1] * 6]),
        "position_ids": np.array([range(8), [1, 1, *range(6)]]),
        "beam_idx": np.arange(2, dtype=np.int32),
    }
    found = decoder.compiled.create_infer_request().infer(left)["logits"]
    np.testing.assert_allclose(found[1, 2:], expected, atol=CLOSE)


def test_the_file_is_as_large_as_its_integers(artifact: Path, source: Path) -> None:
    """The shared table lies there once, codes of four bits in half a byte."""
    codes = group_codes(trained(source, "int4")).values()
    numbers = sum(each.codes.size // 2 + each.scales.nbytes for each in codes)
    norms = 5 * 64 * 4
    size = (artifact / "openvino_model.bin").stat().st_size
    # Sizes and places of nodes, by the hundred.
    assert numbers + norms <= size < numbers + norms + 1500


def test_what_the_file_says_is_obeyed(artifact: Path) -> None:
    """Activations are not rounded, whoever opens it."""
    compiled = openvino.Core().compile_model(artifact / "openvino_model.xml", "CPU")
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


def test_it_opens_without_a_setting(artifact: Path) -> None:
    """On a CPU with bf16 too, where paged attention takes no cache of float32."""
    genai: Any = pytest.importorskip("openvino_genai")
    pipeline = genai.LLMPipeline(str(artifact), "CPU")
    assert pipeline.generate("hello", max_new_tokens=4)


def test_greedy_answers_are_told_beside_the_proof(
    artifact: Path, source: Path, tmp_path: Path
) -> None:
    task = task_of(source)
    scored = score_split(trained(source, "int4"), task.encode(ROWS), task, one_by_one=True)
    onnx, found = parity.prove(artifact, scored, ROWS, task, tmp_path)
    assert found["runtime"] == "openvino_genai" and found["holds"], found["failures"]
    assert found["flips"] == 0 and found["max_abs_logit_difference"] < CLOSE
    rows = len(task.encode(ROWS))
    expected = {"answers": rows, "tokens": 32, "first_differences": [None] * rows}
    assert found["greedy"] == expected and "greedy" not in onnx
    assert found["perplexity"] == pytest.approx(found["trained_perplexity"], rel=1e-5)


def test_another_model_is_refused_with_figures(
    artifact: Path, source: Path, tmp_path: Path
) -> None:
    task = task_of(source)
    other = trained(toys.toy_folder(tmp_path / "toy", "llama", rms_norm_eps=0.1), "int4")
    scored = score_split(other, task.encode(ROWS), task, one_by_one=True)
    _, found = parity.prove(artifact, scored, ROWS, task, tmp_path)
    assert not found["holds"] and any("decisions differ" in each for each in found["failures"])


def test_a_file_of_another_kind_is_refused(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"openvino_tokenizer\.xml: a model that `openvino_genai`"):
        OpenvinoDecoder(artifact / "openvino_tokenizer.xml")
    (tmp_path / "openvino_model.xml").write_text("<net", encoding="utf-8")
    with pytest.raises(ValueError, match=r"openvino_model\.xml: OpenVINO does not open it: "):
        OpenvinoDecoder(tmp_path / "openvino_model.xml")


# Texts.


def written(tokenizer: Tokenizer, folder: Path) -> Tokenizer:
    """A tokenizer as a folder of transformers, and OpenVINO's models of it."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = '{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}'
    (folder / "tokenizer_config.json").write_text(told, encoding="utf-8")
    openvino_texts.write(folder, tokenizer)
    return tokenizer


def test_a_beginning_is_not_added_where_none_was_trained(tmp_path: Path) -> None:
    tokenizer = toys.toy_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    written(tokenizer, tmp_path / "folder")
    encode = openvino.Core().compile_model(tmp_path / "folder" / openvino_texts.TOKENIZER_FILE)
    expected = tokenizer.encode("hello", add_special_tokens=False).ids
    assert encode(["hello"])["input_ids"][0].tolist() == expected


def test_texts_that_are_read_otherwise_are_refused(tmp_path: Path) -> None:
    written(toys.toy_tokenizer(), tmp_path / "folder")
    tokenizer = toys.toy_tokenizer()
    tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ValueError, match=r"'.*' has the tokens \[.*\] there, not \[.*\]\. Leave"):
        openvino_texts.check_texts(tmp_path / "folder", tokenizer)


def test_a_tokenizer_that_openvino_does_not_know_is_refused(tmp_path: Path) -> None:
    tokenizer = toys.toy_tokenizer()
    tokenizer.normalizer = normalizers.Nmt()
    with pytest.raises(ValueError, match=r"does not know this tokenizer: .*'Nmt'.*\. Leave"):
        written(tokenizer, tmp_path / "folder")
