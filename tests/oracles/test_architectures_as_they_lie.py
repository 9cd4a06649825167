"""Architectures of transformers that keep their layers, heads and weights in ways of their own: cut and back from a folder, or refused by name.

The table of docs/guide.md has all of them; here stand those that limbeck got wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from encoders import save_encoder
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import save_file
from torch import nn

from limbeck.artifact.batches import depends_on_company
from limbeck.artifact.proof import golden
from limbeck.artifact.runtimes import open_graph
from limbeck.exporters.onnx import Onnx
from limbeck.models.anatomy.probe import check_answers
from limbeck.models.create import create_model
from limbeck.models.folders import load_model, save_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.heads import name_labels
from limbeck.models.running import logits_of
from limbeck.surgeries import Evidence
from limbeck.surgeries.drop_layers import DropLayers
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.text_classification import TextClassification

WORDS = ["sun", "rain", "wind", "snow"]
ROWS = [{"text": " ".join(WORDS[: 1 + n % 4] * 2), "label": "ab"[n % 2]} for n in range(8)]
TEXTS = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
# One way of padding, two layers of attention to neighbours and one to all.
MODERN = {"num_hidden_layers": 4, "pad_token_id": 0, "local_attention": 8}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2, "decoder_start_token_id": 0}
ESM = {"position_embedding_type": "rotary", "mask_token_id": 4, "pad_token_id": 0}
FUNNEL = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "block_sizes": [1, 1]}
PICTURES = {"image_size": 16, "patch_size": 8, "num_hidden_layers": 3}
IMAGE = json.dumps({"channels": 3, "height": 16, "width": 16})


def config_of(name: str, sizes: dict[str, Any]) -> Any:
    return transformers.CONFIG_MAPPING[name](**sizes)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return save_encoder(folder, WORDS, vocabulary=40, width=16, layers=1)


@pytest.fixture(scope="module")
def text_task(tokens: str) -> TextClassification:
    return TextClassification(["a", "b"], preprocess(tokens, TextClassification, [], 32))


def classifier(config: Any, kind: str) -> nn.Module:
    torch.manual_seed(0)
    name_labels(config, ["a", "b"])
    model: nn.Module = getattr(transformers, f"AutoModelFor{kind}Classification").from_config(
        config, attn_implementation="eager"
    )
    return model.eval()


def kept_of(model: nn.Module, student: nn.Module, names: list[str]) -> list[int]:
    """The numbers of the layers of `model` that `student` has, in a list called `names`."""
    layers = [model.get_submodule(name).state_dict() for name in names]
    kept = []
    for layer in student.get_submodule(names[0].rpartition(".")[0]).children():
        state = layer.state_dict()
        same = [
            number
            for number, other in enumerate(layers)
            if state.keys() == other.keys()
            and all(torch.equal(state[key], other[key]) for key in state)
        ]
        kept += same[:1]
    return kept


@pytest.mark.parametrize(
    ("name", "sizes", "layers", "keep", "expected"),
    [
        ("modernbert", TEXTS | MODERN, "model.layers.{}", "even", [0, 3]),
        ("modernbert", TEXTS | MODERN, "model.layers.{}", "first", [0, 1]),
        (
            "t5",
            T5 | {"num_layers": 4, "num_decoder_layers": 1, "vocab_size": 64},
            "transformer.encoder.block.{}",
            "even",
            [0, 3],
        ),
        # Its longest list is the decoder's, which the config counts apart.
        (
            "t5",
            T5 | {"num_layers": 1, "num_decoder_layers": 4, "vocab_size": 64},
            "transformer.decoder.block.{}",
            "last",
            [0, 3],
        ),
        ("esm", TEXTS | ESM | {"num_hidden_layers": 4}, "esm.encoder.layer.{}", "even", [1, 3]),
    ],
)
def test_cut_texts_come_back(
    text_task: TextClassification,
    tmp_path: Path,
    name: str,
    sizes: dict[str, Any],
    layers: str,
    keep: Any,
    expected: list[int],
) -> None:
    model = classifier(config_of(name, sizes), "Sequence")
    student = DropLayers(2, keep).cut(model, Evidence(text_task, [])).student.eval()
    assert kept_of(model, student, [layers.format(number) for number in range(4)]) == expected
    ids = torch.arange(12).view(2, 6) % 30 + 5
    if name == "t5":
        ids[:, -1] = 1  # its head reads the end of the sentence
    comes_back(student, text_task, tmp_path, input_ids=ids, attention_mask=torch.ones_like(ids))


def comes_back(student: nn.Module, task: Any, folder: Path, **inputs: torch.Tensor) -> None:
    save_model(
        student, folder, network=None, preprocess_file=task.preprocess_file, text=task.preprocess
    )
    again = load_model(folder, task).eval()
    with torch.no_grad():
        assert torch.equal(logits_of(student(**inputs)), logits_of(again(**inputs)))


@pytest.mark.parametrize("name", ["beit", "dinov2"])
def test_cut_images_come_back(tmp_path: Path, name: str) -> None:
    sizes = {key: value for key, value in TEXTS.items() if key != "vocab_size"}
    model = classifier(config_of(name, sizes | PICTURES), "Image")
    task = ImageClassification(["a", "b"], IMAGE)
    student = DropLayers(2).cut(model, Evidence(task, [])).student.eval()
    comes_back(student, task, tmp_path, pixel_values=torch.rand(2, 3, 16, 16))


def test_layers_that_are_counted_by_block_are_not_left_out(text_task: TextClassification) -> None:
    model = classifier(config_of("funnel", FUNNEL | {"vocab_size": 64}), "Sequence")
    with pytest.raises(ValueError, match="FunnelForSequenceClassification lie in blocks"):
        DropLayers(1).cut(model, Evidence(text_task, []))


def test_attention_by_blocks_is_that_of_short_texts(
    tokens: str, text_task: TextClassification, tmp_path: Path
) -> None:
    sizes = TEXTS | {"num_hidden_layers": 1, "attention_type": "block_sparse", "sep_token_id": 3}
    transformers.AutoModel.from_config(config_of("big_bird", sizes)).save_pretrained(tmp_path)
    model = create_model(str(tmp_path), {}, text_task, seed=0)
    before = [type(module) for module in model.modules()]
    check_answers(model, text_task, text_task.encode(ROWS), "m")
    assert [type(module) for module in model.modules()] == before


def test_a_config_may_count_its_labels_apart(tmp_path: Path) -> None:
    sizes = {
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "image_size": 32,
    }
    config = config_of("pvt", sizes)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | {"id2label": None}))
    task = ImageClassification(["a", "b", "c"], IMAGE.replace("16", "32"))
    model = create_model(str(tmp_path), {}, task, seed=0).eval()
    with torch.no_grad():
        assert logits_of(model(pixel_values=torch.rand(2, 3, 32, 32))).shape == (2, 3)


def test_a_package_that_a_model_needs_is_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers.models.dinat")
    config_of("dinat", {"embed_dim": 8, "depths": [1], "num_heads": [1]}).save_pretrained(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"needs a package .* not installed: .*natten"):
        create_model(str(tmp_path), {}, ImageClassification(["a", "b"], IMAGE), seed=0)


class Starts(nn.Module):
    """Reads its first token apart, without saying which axis goes, as MBart's decoder does."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(8, 4)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        start: torch.Tensor = self.words(input_ids[:, :1].squeeze())
        return start + self.words(input_ids).mean(1)


def test_an_axis_of_one_row_is_not_squeezed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Starts().eval()
    Onnx().export(model, {"input_ids": torch.ones(2, 5, dtype=torch.long)}, tmp_path)
    answer = open_graph(tmp_path / "model.onnx", "onnxruntime", 1)
    rows = torch.tensor([[3, 1, 4], [1, 5, 2]])
    with torch.no_grad():
        expected = model(rows).numpy()
    for numbers in ([0], [1], [0, 1]):
        found = answer({"input_ids": rows[numbers].numpy()})
        assert found.shape == (len(numbers), 4)
        assert np.allclose(found, expected[numbers], atol=1e-6)


# Where BART, MBart and T5 read their answer: each text has one end, before it the language's mark.
END, LANGUAGE = 2, 9


def of_the_end(inputs: dict[str, np.ndarray]) -> np.ndarray:
    ids = inputs["input_ids"]
    if ((ids == END).sum(1) != 1).any():
        raise ValueError("cannot be reshaped")
    return np.stack([ids.sum(1), (ids**2).sum(1)], 1).astype(np.float32)


def test_inputs_that_nobody_sent_have_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[3, 4, 5, 6, LANGUAGE, END], [7, 8, LANGUAGE, END, 0, 0], [6, 3, 8, LANGUAGE, END, 0]]
    ids = np.array(rows)
    example = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}
    monkeypatch.setattr(golden, "open_graph", lambda *_, **__: of_the_end)
    golden.write(example, {"onnxruntime": "model.onnx"}, tmp_path)
    written = load_arrays(tmp_path / golden.GOLDEN)
    drawn = written["input.input_ids"]
    assert (drawn[:, -2:] == [LANGUAGE, END]).all()
    assert not np.isin(drawn[:, :-2], [LANGUAGE, END]).any()
    assert not (drawn == ids).all(1).any()
    assert (written["input.attention_mask"] == 1).all()
    assert np.array_equal(written["output.onnxruntime"], of_the_end({"input_ids": drawn}))
    inputs = {"input_ids": drawn, "attention_mask": np.ones_like(drawn)}
    assert not depends_on_company(of_the_end, inputs, {"input_ids": 0, "attention_mask": 0})
