"""A file of weights that does not fill the model, and heads by the names of their outputs."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import save_encoder
from safetensors.torch import load_file, save_file

from limbeck.models.create import create_model
from limbeck.models.folders import load_model, save_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.hub import cure_of
from limbeck.models.user_model import check_made
from limbeck.surgeries import Evidence
from limbeck.surgeries.prune_width import PruneWidth
from limbeck.tasks.text_classification import TextClassification

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, ["sun", "rain"], vocabulary=40, width=16, layers=3))


@pytest.fixture(scope="module")
def task(encoder: Path) -> TextClassification:
    text = preprocess(str(encoder), TextClassification, [], 32)
    return TextClassification(["call", "weather"], text)


def changed(folder: Path, out: Path, change: Callable[[Tensors], Tensors], **config: Any) -> Path:
    """A copy of a model's folder with other weights and another config.json."""
    shutil.copytree(folder, out)
    weights = out / "model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    settings = json.loads((out / "config.json").read_text()) | config
    (out / "config.json").write_text(json.dumps(settings))
    return out


def made(folder: Path, task: Any, *, needs_head: bool = False) -> tuple[Any, list[str]]:
    """The model, and what was told of it without the folder's name."""
    told: list[str] = []
    model = create_model(str(folder), {}, task, seed=0, tell=told.append, needs_head=needs_head)
    return model, [line.removeprefix(f"model `{folder}`: ") for line in told]


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (
            lambda w: {key: value for key, value in w.items() if ".1." not in key},
            {},
            r"`bert\.encoder\.layer\.1\.attention\.self\.query\.weight` is missing",
        ),
        (
            lambda w: {f"module.net.{key}": value for key, value in w.items()},
            {},
            r"`bert\.embeddings\.word.*other names: `module\.net\.embeddings",
        ),
        (lambda w: w, {"num_hidden_layers": 4}, r"`bert\.encoder\.layer\.3\..*missing"),
        (lambda w: w, {"num_hidden_layers": 2}, r"holds `encoder\.layer\.2\..*no such layer"),
        (lambda w: w, {"intermediate_size": 64}, r"`bert\.encoder\.layer\.0\.inter.* shape"),
    ],
    ids=["a layer lacks", "other prefixes", "a layer too many", "one too few", "other widths"],
)
def test_an_encoder_that_is_not_filled_is_refused(
    encoder: Path, task: Any, tmp_path: Path, change: Any, config: Any, message: str
) -> None:
    folder = changed(encoder, tmp_path / "changed", change, **config)
    with pytest.raises(ValueError, match=message):
        made(folder, task)


def test_a_prefix_that_a_class_with_a_head_writes_is_no_other_name(
    encoder: Path, task: Any, tmp_path: Path
) -> None:
    folder = changed(
        encoder, tmp_path / "other", lambda w: {f"bert.{key}": value for key, value in w.items()}
    )
    model, told = made(folder, task)
    line = "its head is new, since `classifier.weight` is not among its weights"
    assert told == [line]
    _, told = made(folder, task, needs_head=True)
    (warning,) = told
    assert warning.startswith(f"warning: {line}, and nothing tunes it (epochs: 0): its answers")
    own = load_file(encoder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, own)


UNNAMED = "its head is new, since config.json does not say what its outputs mean (LABEL_0, LABEL_1)"
OTHERS = "its head is new, since it was made for {}, and the data has call, weather"


@pytest.mark.parametrize(
    ("names", "order", "line"),
    [
        (["call", "weather"], [0, 1], None),
        (["weather", "call"], [1, 0], None),
        (["Call", "Weather"], [0, 1], "its head's Call, Weather are read as call, weather"),
        (["Weather", "CALL"], [1, 0], "its head's Weather, CALL are read as weather, call"),
        (["LABEL_0", "LABEL_1"], None, UNNAMED),
        (["Call", "Wind"], None, OTHERS.format("Call, Wind")),
        (["Call", "call"], None, OTHERS.format("Call, call")),
        (["call", "weather", "z"], None, OTHERS.format("call, weather, z")),
    ],
)
def test_a_head_is_taken_by_the_names_of_its_outputs(
    encoder: Path,
    task: Any,
    tmp_path: Path,
    names: list[str],
    order: list[int] | None,
    line: str | None,
) -> None:
    weight = torch.arange(16.0 * len(names)).view(len(names), 16)
    head = {"classifier.weight": weight, "classifier.bias": torch.arange(float(len(names)))}
    folder = changed(
        encoder,
        tmp_path / "tuned",
        lambda w: {f"bert.{key}": value for key, value in w.items()} | head,
        id2label={str(number): name for number, name in enumerate(names)},
        label2id={name: number for number, name in enumerate(names)},
    )
    model, told = made(folder, task)
    assert told == ([] if line is None else [line])
    assert list(model.config.id2label.values()) == ["call", "weather"]
    if order is None:
        assert model.classifier.weight.abs().max() < 1  # drawn
        with pytest.raises(ValueError, match=r"taken as tuned already \(epochs: 0\)"):
            made(folder, task, needs_head=True)
        return
    assert torch.equal(model.classifier.weight, weight[order])
    assert model.classifier.bias.tolist() == [float(number) for number in order]
    made(folder, task, needs_head=True)


def test_labels_without_a_name_come_back_from_a_folder_of_ours(
    encoder: Path, task: Any, tmp_path: Path
) -> None:
    unnamed = TextClassification(["LABEL_0", "LABEL_1"], task.preprocess)
    model, _ = made(encoder, unnamed)
    save_model(
        model, tmp_path, network=None, preprocess_file="tokenizer.json", text=task.preprocess
    )
    found: Any = load_model(tmp_path, unnamed)
    assert torch.equal(found.classifier.weight, model.classifier.weight)


def test_a_cut_model_s_head_of_other_labels_is_drawn_anew_too(
    encoder: Path, task: Any, tmp_path: Path
) -> None:
    model, _ = made(encoder, TextClassification(["left", "right"], task.preprocess))
    student = PruneWidth(heads=1, intermediate=8, importance="magnitude").cut(
        model, Evidence(task, [])
    )
    save_model(
        student.student,
        tmp_path,
        network=None,
        preprocess_file="tokenizer.json",
        text=task.preprocess,
    )
    found, told = made(tmp_path, task)
    assert told == [OTHERS.format("left, right")]
    assert not torch.equal(found.classifier.weight, model.classifier.weight)
    assert torch.equal(found.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


# Weights that are no numbers.


def broken(value: float, name: str) -> Callable[[Tensors], Tensors]:
    """One number of the first tensor whose name ends so is another."""

    def change(tensors: Tensors) -> Tensors:
        tensor = next(tensor for key, tensor in tensors.items() if key.endswith(name))
        tensor.view(-1)[3] = value
        return tensors

    return change


@pytest.mark.parametrize(
    ("value", "name", "problem"),
    [
        (math.nan, "layer.1.output.dense.weight", "holds a NaN"),
        (math.inf, "embeddings.word_embeddings.weight", "holds an infinity"),
        (-math.inf, "layer.2.output.LayerNorm.bias", "holds an infinity"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    value: float, name: str, problem: str, encoder: Path, task: TextClassification, tmp_path: Path
) -> None:
    """The training blamed its loss for them, at the first step."""
    folder = changed(encoder, tmp_path / "m", broken(value, name))
    with pytest.raises(ValueError, match=f"{name.replace('.', '[.]')}` {problem}, in {folder}"):
        made(folder, task)


def test_the_file_of_several_is_named(
    encoder: Path, task: TextClassification, tmp_path: Path
) -> None:
    folder = changed(encoder, tmp_path / "m", broken(math.nan, "layer.1.output.dense.weight"))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    of_part = {name: parts[".layer." in name] for name in tensors}
    for part in parts:
        own = {name: tensor for name, tensor in tensors.items() if of_part[name] == part}
        save_file(own, folder / part, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": of_part}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=rf"holds a NaN, in .*{parts[1]}\. A training"):
        made(folder, task)


def test_own_modules_of_no_numbers_are_refused_and_masks_are_not() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    module.register_buffer("mask", torch.full((2, 2), -math.inf))
    check_made(module, "own")
    module[1].running_var[0] = math.nan
    with pytest.raises(ValueError, match=r"model `own`: `1\.running_var` holds a NaN\. A training"):
        check_made(module, "own")


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        (
            {"encoder.layer.0.attention.self.query.weight": torch.ones(16, 16, dtype=torch.int8)},
            "query.weight",
        ),
        (
            {
                "encoder.layer.0.attention.self.query.weight": torch.ones(16, 16).to(
                    torch.float8_e4m3fn
                )
            },
            "query.weight",
        ),
        ({"encoder.layer.0.attention.self.query.weight.SCB": torch.ones(16)}, "SCB"),
    ],
    ids=["int8", "float8", "scales"],
)
def test_codes_of_another_quantizer_are_no_weights(
    codes: Tensors, found: str, encoder: Path, task: Any, tmp_path: Path
) -> None:
    """Without its quantization_config such a folder was trained on codes up to 127, or on zeros."""
    folder = changed(encoder, tmp_path / "other", lambda w: w | codes)
    with pytest.raises(ValueError, match=f"weights of another quantizer.*{found}"):
        made(folder, task)


def test_tensors_of_an_encoder_that_have_no_place_are_told(
    encoder: Path, task: Any, tmp_path: Path
) -> None:
    folder = changed(
        encoder,
        tmp_path / "other",
        lambda w: (
            {f"bert.{key}": value for key, value in w.items()}
            | {
                "bert.embeddings.LayerNorm2.weight": torch.ones(16),
                "bert.pooler.more": torch.ones(2),
            }
        ),
    )
    _, told = made(folder, task)
    assert "warning: 1 tensors of its encoder have no place" in told[0]
    assert "bert.embeddings.LayerNorm2.weight" in told[0]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("model.onnx", "the folder that it was exported from"),
        ("model-00001-of-00002.safetensors", "model.safetensors.index.json says which"),
    ],
)
def test_other_weights_are_told_with_their_cure(file: str, told: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"x" * 2000)
    assert told in cure_of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 2000)
    assert cure_of(tmp_path) == "Copy the folder again"
