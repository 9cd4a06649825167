"""Models of sentence-transformers: every pooling against plain numpy, in torch and in the artifact's graph; modules.json read whole or refused."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from encoders import save_encoder
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.models.create import create_model
from limbeck.models.folders import load_model, save_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published import hub
from limbeck.models.published.embedder import POOLINGS, Embedder
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.pipeline.model_reference import reference
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.tasks import collate
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_classification import TextClassification

WORDS = ["sun", "rain", "wind", "snow"]
ROWS = [
    {"text": "sun", "text_b": "rain wind snow rain", "label": "0.5"},
    {"text": "snow wind", "text_b": "sun", "label": "0.1"},
    {"text": "wind sun sun rain snow"},
]
SWITCHES = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, WORDS, vocabulary=40, width=16, layers=2))


def sentence_model(encoder: Path, out: Path, settings: Any, *kinds: str) -> Path:
    """A copy of an encoder's folder as sentence-transformers writes it. `settings`: of its pooling. `kinds`: of the modules."""
    shutil.copytree(encoder, out)
    modules = []
    for number, kind in enumerate(kinds or ("Transformer", "Pooling", "Normalize")):
        path = f"{number}_{kind}" if number else ""
        modules.append({"path": path, "type": f"sentence_transformers.models.{kind}"})
        if kind == "Pooling":
            (out / path).mkdir()
            (out / path / "config.json").write_text(json.dumps(settings))
    (out / "modules.json").write_text(json.dumps(modules))
    return out


def switched(*modes: str) -> dict[str, bool]:
    return {f"pooling_mode_{mode}": mode in modes for mode in SWITCHES}


def task_of(folder: Path) -> SentenceEmbedding:
    return SentenceEmbedding(["0 to 1"], preprocess(str(folder), SentenceEmbedding, [], 32))


def by_hand(hidden: np.ndarray, modes: tuple[str, ...]) -> np.ndarray:
    """The vector of a text's hidden states (T, D), none of which is padding."""
    parts: dict[str, Callable[[], np.ndarray]] = {
        "cls_token": lambda: hidden[0],
        "max_tokens": lambda: hidden.max(0),
        "mean_tokens": lambda: hidden.mean(0),
        "mean_sqrt_len_tokens": lambda: hidden.sum(0) / len(hidden) ** 0.5,
    }
    vector = np.concatenate([parts[mode]() for mode in modes])
    return vector / np.linalg.norm(vector)


MODES = [*[(mode,) for mode in SWITCHES], ("cls_token", "max_tokens"), ("mean_tokens", SWITCHES[3])]


@pytest.mark.parametrize("modes", MODES, ids="+".join)
def test_a_pooling_is_what_numpy_makes_of_the_hidden_states(
    encoder: Path, tmp_path: Path, modes: tuple[str, ...]
) -> None:
    from transformers import BertModel

    folder = sentence_model(encoder, tmp_path / "model", switched(*modes))
    task = task_of(folder)
    model: Any = create_model(str(folder), {}, task, seed=0).eval()
    plain = BertModel.from_pretrained(encoder).eval()
    rows = task.encode(ROWS)
    batch = to_torch(collate(rows, np.arange(3), task.padding))
    with torch.no_grad():
        found = run_model(model, batch).logits
    for row, vectors in zip(ROWS, found, strict=True):
        for text, vector in zip((row["text"], row.get("text_b")), vectors, strict=True):
            if text is None:
                # What only fills up a row.
                assert not vector.any()
                continue
            ids = torch.tensor([task.input.tokenizer.encode(text).ids])
            with torch.no_grad():
                hidden = plain(ids).last_hidden_state[0].double().numpy()
            np.testing.assert_allclose(vector, by_hand(hidden, modes), atol=1e-6)


RUNTIMES = ["onnxruntime"]
if importlib.util.find_spec("openvino"):
    RUNTIMES.append("openvino")


class Encoder(nn.Module):
    """As small as an encoder can be: a graph of BERT takes seconds to write."""

    config = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(40, 16)
        self.layer = nn.Linear(16, 16)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        hidden = self.layer(self.table(input_ids))
        return SimpleNamespace(last_hidden_state=nn.functional.layer_norm(hidden, (16,)))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_graph_pools_as_the_trained_model_does(tmp_path: Path, runtime: str) -> None:
    """All poolings side by side, in integers."""
    model = Embedder(Encoder(), SWITCHES).eval()
    ids = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    schemes = plan_schemes(model, Quantize(), "uint8")
    prepare_model(model, schemes, "minmax", lambda each: each(**inputs))
    calibrate(model, [lambda each: each(**inputs)])
    exporter = registry.create("exporters", "onnx" if runtime == "onnxruntime" else runtime)
    exporter.export(convert_model(model), inputs, tmp_path)
    (graph,) = [path for path in tmp_path.iterdir() if path.name in ("model.onnx", "model.xml")]
    run = open_graph(graph, runtime, 1)
    with torch.no_grad():
        expected = model(**inputs)
    # Each by itself and unpadded, as an artifact answers.
    for row, length in enumerate((5, 3)):
        alone = {name: value[row : row + 1, :length].numpy() for name, value in inputs.items()}
        (vector,) = run(alone)
        assert vector.shape == (4 * 16,)
        np.testing.assert_allclose(vector, expected[row], atol=5e-3)


def test_gradients_of_every_pooling_are_finite_and_leave_padding_alone() -> None:
    hidden = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[1.0, 1, 0], [0, 0, 0]], dtype=torch.float64).unsqueeze(-1)
    for pool in POOLINGS.values():
        pool(hidden, weights).square().sum().backward()
    assert torch.isfinite(hidden.grad).all()
    assert hidden.grad[0, :2].abs().min() > 0
    assert not hidden.grad[0, 2].any() and not hidden.grad[1].any()


def test_a_folder_keeps_its_poolings_and_the_key_tells_them_apart(
    encoder: Path, tmp_path: Path
) -> None:
    keys = set()
    for number, modes in enumerate(MODES):
        folder = sentence_model(encoder, tmp_path / f"{number}", switched(*modes))
        keys.add(json.dumps(reference(str(folder), {})))
        task = task_of(folder)
        model: Any = create_model(str(folder), {}, task, seed=0)
        (tmp_path / f"{number}-saved").mkdir()
        save_model(
            model, tmp_path / f"{number}-saved", network=None, preprocess_file="tokenizer.json", text=task.preprocess,
        )  # fmt: skip
        again: Any = load_model(tmp_path / f"{number}-saved", task)
        assert model.poolings == again.poolings == modes
    assert len(keys) == len(MODES)
    # The mean, which a folder without modules.json means too, is not written.
    assert not (tmp_path / "2-saved" / "modules.json").exists()


@pytest.mark.parametrize(
    ("settings", "kinds", "poolings", "message"),
    [
        ({"pooling_mode": "mean"}, (), ("mean_tokens",), None),
        ({"pooling_mode": "cls"}, (), ("cls_token",), None),
        ({"pooling_mode": ["max", "cls"]}, (), ("max_tokens", "cls_token"), None),
        ({}, (), ("mean_tokens",), None),
        ({"pooling_mode_max_tokens": True}, (), ("max_tokens", "mean_tokens"), None),
        ({"pooling_mode": "weightedmean"}, (), None, r"config\.json pools by weightedmean, and"),
        ({"pooling_mode_lasttoken": True}, (), None, r"1_Pooling/config\.json pools by lasttoken"),
        (switched(), (), None, r"pools by nothing, and limbeck computes cls_token, max_tokens"),
        ([1], (), None, r"no JSON object of settings"),
        ({}, ("Transformer", "Pooling", "Dense", "Normalize"), None, r"a module `Dense` behind"),
        ({}, ("StaticEmbedding", "Normalize"), None, r"a module `StaticEmbedding` behind"),
        ({}, ("Transformer", "Normalize"), ("mean_tokens",), None),
    ],
)
def test_modules_are_read_whole_or_refused(
    encoder: Path, tmp_path: Path, settings: Any, kinds: Any, poolings: Any, message: str | None
) -> None:
    folder = sentence_model(encoder, tmp_path / "model", settings, *kinds)
    task = task_of(folder)
    if message is None:
        model: Any = create_model(str(folder), {}, task, seed=0)
        assert model.poolings == poolings
        return
    with pytest.raises(ValueError, match=message):
        create_model(str(folder), {}, task, seed=0)
    # A classifier has a head of its own and reads no pooling.
    classes = TextClassification(["a", "b"], task.preprocess)
    create_model(str(folder), {}, classes, seed=0)


@pytest.mark.parametrize("content", ["[1]", '{"type": 1}', '[{"type": "a.Pooling"}]', "[", "[[]]"])
def test_a_modules_file_of_another_kind_is_refused(
    encoder: Path, tmp_path: Path, content: str
) -> None:
    folder = sentence_model(encoder, tmp_path / "model", {})
    (folder / "modules.json").write_text(content)
    with pytest.raises(ValueError, match=r"JSON|Expecting|no list of modules"):
        create_model(str(folder), {}, task_of(folder), seed=0)


def test_small_letters_and_prompts_are_not_read_past(encoder: Path, tmp_path: Path) -> None:
    folder = sentence_model(encoder, tmp_path / "model", switched("cls_token"))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}, "default_prompt_name": "query"})
    )
    told: list[str] = []
    create_model(str(folder), {}, task_of(folder), seed=0, tell=told.append)
    assert len(told) == 1 and "begins each text with `query: `" in told[0]
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(ValueError, match=r"small letters \(do_lower_case\), and its tokenizer"):
        create_model(str(folder), {}, task_of(folder), seed=0)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    create_model(str(folder), {}, task_of(folder), seed=0)


def test_a_hub_id_s_poolings_are_read_from_the_hub_s_cache(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    folder = sentence_model(encoder, tmp_path / "model", switched("max_tokens"))
    place = tmp_path / "hub" / "models--someone--sentences"
    shutil.copytree(folder, place / "snapshots" / ("0" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.file_of("someone/sentences", "2_Dense/config.json") is None
    model = create_model("someone/sentences", {}, task_of(folder), seed=0)
    assert isinstance(model, Embedder) and model.poolings == ("max_tokens",)
