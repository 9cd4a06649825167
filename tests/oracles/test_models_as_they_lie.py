"""Models that nobody here made: padding that answers hang on, folders without a tokenizer, shared layers, own modules of many kinds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import save_encoder
from torch import nn
from torch.nn import functional

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.system import machine
from limbeck.exporters import onnx_kernels
from limbeck.models.anatomy.probe import check_answers
from limbeck.models.create import create_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.running import logits_of
from limbeck.models.user_model import Own
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import plan_schemes, quantizable_weights
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.surgeries import Evidence
from limbeck.surgeries.drop_layers import DropLayers
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.text_classification import TextClassification

WORDS = ["sun", "rain", "wind", "snow"]
ROWS = [{"text": " ".join(WORDS[: 1 + n % 4] * 2), "label": "ab"[n % 2]} for n in range(8)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, WORDS, vocabulary=40, width=16, layers=2))


@pytest.fixture(scope="module")
def task(encoder: Path) -> TextClassification:
    return TextClassification(["a", "b"], preprocess(str(encoder), TextClassification, [], 32))


# Padding.


def fnet() -> nn.Module:
    import transformers

    config = transformers.FNetConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, intermediate_size=16
    )
    torch.manual_seed(0)
    return transformers.FNetForSequenceClassification(config)


def without_padding() -> nn.Module:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=64, n_embd=16, n_layer=1, n_head=2, pad_token_id=None
    )
    return transformers.GPT2ForSequenceClassification(config)


class OfTheBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        means = (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(1)
        return means - means.mean(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (fnet, r"model `m`: the answer of FNetForSequenceClassification to a row hangs on how far"),
        (without_padding, r"model `m`: GPT2ForSequenceClassification fails.*gpt2\.py:\d+"),
        (OfTheBatch, r"model `m`: the answer of OfTheBatch .* its neighbours in a batch"),
    ],
)
def test_answers_that_are_not_a_row_s_own_are_refused(
    task: Any, make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_answers(make(), task, task.encode(ROWS), "m")


def test_a_model_that_hides_padding_passes_and_draws_nothing(encoder: Path, task: Any) -> None:
    model = create_model(str(encoder), {}, task, seed=0).train()
    before = torch.random.get_rng_state()
    check_answers(model, task, task.encode(ROWS), "m")
    # Texts of one length are cut, so that one is padded.
    check_answers(model, task, task.encode([ROWS[3], ROWS[7]]), "m")
    assert torch.equal(before, torch.random.get_rng_state())
    assert model.training


# Folders.


def test_a_folder_without_a_tokenizer_is_refused(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((encoder / "config.json").read_bytes())
    with pytest.raises(ValueError, match=rf"no tokenizer in {tmp_path}"):
        preprocess(str(tmp_path), TextClassification, [], 32)


# Layers that are shared.


def albert(groups: int) -> Any:
    import transformers

    config = transformers.AlbertConfig(
        vocab_size=64, embedding_size=8, hidden_size=16, num_hidden_layers=6, num_hidden_groups=groups,
        num_attention_heads=2, intermediate_size=16, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AlbertForSequenceClassification(config).eval()


def test_the_layers_of_albert_are_its_passes(task: Any) -> None:
    whole = albert(1)
    student = DropLayers(layers=2).cut(whole, Evidence(task, [])).student
    calls: list[int] = []
    layer = student.albert.encoder.albert_layer_groups[0]  # type: ignore[union-attr, index]
    layer.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    ids = torch.arange(5, 13).unsqueeze(0)
    assert not torch.equal(student(ids).logits, whole(ids).logits)
    assert len(calls) == 2
    with pytest.raises(ValueError, match=r"cannot keep 7 of 6 layers"):
        DropLayers(layers=7).cut(whole, Evidence(task, []))
    with pytest.raises(ValueError, match=r"the 6 passes of Albert\w+ share 2 layers"):
        DropLayers(layers=3).cut(albert(2), Evidence(task, []))


class SideBySide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))


def test_layers_in_lists_side_by_side_are_not_cut(task: Any) -> None:
    with pytest.raises(ValueError, match=r"layers of SideBySide lie in several lists"):
        DropLayers(layers=2).cut(SideBySide(), Evidence(task, []))


# Own modules.


class Mixed(nn.Module):
    """Weight norm, a layer that is called twice, a weight that is read past its layer, torch's attention, logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
        self.older = nn.utils.weight_norm(nn.Linear(16, 16))  # type: ignore[no-untyped-call]
        self.twice = nn.Linear(16, 16)
        self.past = nn.Linear(16, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.older(self.normed(pixel_values[:, 0]).relu())
        x = self.twice(self.twice(x).relu()).relu()
        x = functional.linear(x, self.past.weight, self.past.bias)
        return {"logits": self.head(self.layer(x).mean(1))}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_an_own_module_of_many_kinds_is_quantized_and_answers_as_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Mixed()
    inputs = {"pixel_values": torch.randn(32, 1, 8, 8)}
    floats = module.eval()(**inputs)["logits"].detach()  # with a history that torch does not copy
    model = Own(module).create().eval()
    torch.testing.assert_close(logits_of(model(**inputs)), floats)
    assert not [name for name, _ in model.named_parameters() if "original" in name or "_g" in name]
    schemes = plan_schemes(model, Quantize(), "uint8")
    prepare_model(model, schemes, "mse", lambda m: m(**inputs))
    swapped = {name for name, each in model.named_modules() if isinstance(each, Quantized)}
    attention = {f"layer.self_attn.{name}_proj" for name in ("q", "k", "v", "out")}
    plain = {"normed", "older", "twice", "layer.linear1", "layer.linear2", "head"}
    assert swapped == plain | attention
    calibrate(model, [lambda m: m(**inputs)])
    with torch.no_grad():
        expected = logits_of(model(**inputs)).numpy()
    assert np.abs(expected - floats.numpy()).max() < 0.05 * floats.abs().max()
    registry.create("exporters", "onnx").export(convert_model(model), inputs, tmp_path)
    given = {name: value.numpy() for name, value in inputs.items()}
    if not machine.multiplies_exactly():
        pytest.xfail("ONNX Runtime has no exact kernels for a weight that two nodes share")
    found = open_graph(tmp_path / "model.onnx", "onnxruntime", 1)(given)
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())
    import onnx

    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    # By calls: `twice` counts twice, what is read past its layer not at all.
    assert onnx_kernels.num_quantized_products(graph) == len(swapped) + 1


class Scaled(nn.Embedding):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) * 4


class Standardized(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


class Renamed(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight, self.bias)


def test_a_layer_that_computes_otherwise_than_its_class_stays_float() -> None:
    model = nn.Sequential(Scaled(8, 4), Standardized(2, 2, 3), Renamed(4, 4), nn.Linear(4, 4))
    assert list(quantizable_weights(model)) == ["2", "3"]


IMAGES = ImageClassification(
    ["a", "b"], json.dumps({"height": 4, "width": 4, "channels": 1, "mean": [0.0], "std": [1.0]})
)
PICTURES = [{"image": np.full((4, 4), 40 * n, np.uint8), "label": "ab"[n % 2]} for n in range(4)]


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such part")


class Branching(Raising):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(pixel_values.flatten(1))
        return logits * 2 if logits.sum() > 100 else logits


def line_with(text: str) -> int:
    """The first line of this file that holds a text."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_an_error_in_a_forward_is_told_with_its_line() -> None:
    place = rf"KeyError: 'no such part' \({__file__}:{line_with('raise KeyError')}\)"
    with pytest.raises(ValueError, match=place):
        Own(Raising()).check(IMAGES, IMAGES.encode(PICTURES), "m")


def test_a_branch_on_values_is_told_with_its_line(tmp_path: Path) -> None:
    place = rf"Branching cannot be traced .*\({__file__}:{line_with('if logits.sum()')}\)"
    with pytest.raises(ValueError, match=place):
        registry.create("exporters", "onnx").export(
            Branching().eval(), {"pixel_values": torch.randn(4, 1, 4, 4)}, tmp_path
        )
