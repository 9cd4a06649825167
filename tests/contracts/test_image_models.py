"""Image models of `transformers`, offline: preprocessing as their own processors do it, new heads, layers, and artifacts in integers."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import logits, stirred
from torch import nn

from limbeck.artifact.proof.golden import relative_error
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.models.anatomy.layers import blocks
from limbeck.models.create import create_model
from limbeck.models.folders import load_model, save_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published import processors, timm_models
from limbeck.models.running import run_model
from limbeck.models.taps import hidden_of
from limbeck.models.torch_batches import to_torch
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.tasks import collate
from limbeck.tasks.image_classification import ImageClassification

LABELS = ["ant", "bee", "cat", "dog"]
SIDE = 32
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
    "convnext": {"size": {"shortest_edge": SIDE}, "crop_pct": 0.875, "resample": 3},
    "resnet": {"size": {"shortest_edge": SIDE}, "crop_pct": 0.875, "resample": 3, "image_processor_type": "ConvNextImageProcessor"},
    "efficientnet": {"size": {"height": SIDE, "width": SIDE}, "resample": 0, "include_top": True, "rescale_offset": True, "rescale_factor": 1 / 127.5},
    "mobilenet_v2": {"size": {"shortest_edge": 40}, "crop_size": {"height": SIDE, "width": SIDE}, "do_center_crop": True},
}  # fmt: skip
KINDS = ["convnext", "efficientnet", "resnet", "vit"]
kinds = pytest.mark.parametrize("kind", KINDS)


def config(kind: str) -> Any:
    import transformers

    sizes = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1]}
    made: dict[str, Callable[[], Any]] = {
        "resnet": lambda: transformers.ResNetConfig(embedding_size=8, layer_type="basic", **sizes),
        "convnext": lambda: transformers.ConvNextConfig(**sizes),
        "vit": lambda: transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=SIDE,
            patch_size=8,
        ),
        "efficientnet": lambda: transformers.EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, image_size=SIDE
        ),
    }
    found = made[kind]()
    found.initializer_range = 0.3  # else a toy answers alike whatever it sees
    return found


def settings(kind: str) -> dict[str, Any]:
    return {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "do_resize": True,
    } | PROCESSORS[kind]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A random model of two other labels in a folder, as `transformers` writes it."""

    @cache
    def saved(kind: str) -> str:
        import transformers

        path = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        transformers.AutoModelForImageClassification.from_config(config(kind)).save_pretrained(path)
        (path / "preprocessor_config.json").write_text(json.dumps(settings(kind)))
        return str(path)

    return saved


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth, so that two roundings differ by little."""
    rows, columns = np.mgrid[0:height, 0:width]
    grey = 127 + 90 * np.sin(rows / 9) * np.cos(columns / 7)
    colours = np.stack([grey, 255 - grey, np.roll(grey, 5, 0)], -1).astype(np.uint8)
    return colours if channels == 3 else colours[..., 0]


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (61, 47), (20, 90)])
@pytest.mark.parametrize("kind", sorted(PROCESSORS))
def test_pixels_are_those_of_the_model_s_own_processor(kind: str, height: int, width: int) -> None:
    import importlib

    name = {
        "vit": "ViT",
        "convnext": "ConvNext",
        "resnet": "ConvNext",
        "efficientnet": "EfficientNet",
        "mobilenet_v2": "MobileNetV2",
    }[kind]
    package = "convnext" if kind == "resnet" else kind
    module = importlib.import_module(
        f"transformers.models.{package}.image_processing_pil_{package}"
    )
    given = {key: value for key, value in settings(kind).items() if key != "image_processor_type"}
    expected = getattr(module, f"{name}ImageProcessorPil")(**given)(
        picture(height, width), return_tensors="np"
    )["pixel_values"][0]
    task = ImageClassification(LABELS, json.dumps(processors.image_settings(settings(kind))))
    found = task.input.pixels(picture(height, width))
    assert found.shape == expected.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_grey_image_becomes_three_channels(folder: Callable[[str], str]) -> None:
    task = ImageClassification(LABELS, preprocess(folder("vit"), ImageClassification, [], 0))
    pixels = task.input.pixels(picture(50, 50, channels=1))
    assert pixels.shape == (3, SIDE, SIDE)
    assert (pixels[0] == pixels[1]).all()


@kinds
def test_a_pretrained_model_gets_the_task_s_head_and_comes_back(
    kind: str, folder: Callable[[str], str], tmp_path: Path
) -> None:
    text = preprocess(folder(kind), ImageClassification, [], 0)
    task = ImageClassification(LABELS, text)
    model = create_model(folder(kind), {}, task, seed=0).eval()
    rows = task.encode(
        [{"image": picture(40, 40), "label": "bee"}, {"image": picture(33, 50), "label": "dog"}]
    )
    batch = to_torch(collate(rows, np.arange(2), task.padding))
    with torch.no_grad():
        outputs = run_model(model, batch, hidden_of(blocks(model)))
    assert outputs.logits.shape == (2, 1, 4)
    assert len(outputs.hidden) >= 2
    assert all(value.ndim == 3 and value.shape[:2] == (2, 1) for value in outputs.hidden.values())
    save_model(model, tmp_path, network=None, preprocess_file=task.preprocess_file, text=text)
    torch.testing.assert_close(
        logits(load_model(tmp_path, task).eval(), batch.inputs), outputs.logits[:, 0]
    )


def quantized(folder: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    task = ImageClassification(LABELS, preprocess(folder, ImageClassification, [], 0))
    model = stirred(create_model(folder, {}, task, seed=0))
    inputs = {
        "pixel_values": torch.randn(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    }
    model.train()(**inputs)  # running statistics of the norms
    prepare_model(
        model.eval(), plan_schemes(model, Quantize(), "uint8"), "mse", lambda m: m(**inputs)
    )
    calibrate(model, [lambda m: m(**inputs)])
    return model.eval(), inputs


# ViT has layer norms, GELU and patches, and is traced fastest; the convolutions stand in test_networks.
EXPORTED = ("vit",)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in EXPORTED)) for kind in KINDS],
)
def test_a_quantized_model_runs_in_both_runtimes_as_it_was_trained(
    kind: str, folder: Callable[[str], str], tmp_path: Path
) -> None:
    """Squeeze and excitation, SiLU, GELU, layer norms, depthwise and patch convolutions."""
    model, inputs = quantized(folder(kind))
    registry.create("exporters", "onnx").export(convert_model(model), inputs, tmp_path)
    others = {
        "pixel_values": torch.randn(32, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    }
    expected = logits(model, others).numpy()
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        found = open_graph(tmp_path / "model.onnx", name, 1)(
            {key: value.numpy() for key, value in others.items()}
        )
        is_exact = (
            name == "onnxruntime"
        )  # OpenVINO fuses the rounding of one layer into the next, and random weights amplify that
        # A value at the edge of two levels may fall to either side in a row or two of ONNX Runtime's.
        assert relative_error(found, expected) < (0.02 if is_exact else 0.15)
        assert np.median(np.abs(found - expected).max(1)) < (1e-5 if is_exact else 0.15)
        assert (found.argmax(1) != expected.argmax(1)).sum() <= (0 if is_exact else 2)
    ops = optimized_ops(tmp_path / "model.onnx")
    assert not {"Conv", "FusedConv"} & set(ops)
    assert expected.std(0).min() > 1e-3  # it tells images apart


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"size": None}, "`size` is None; expected a number"),
        ({"image_mean": None}, "`image_mean` and `image_std` are needed"),
        ({"do_resize": False}, "do_resize is false"),
        ({"size": {"longest_edge": 8}}, "`size` is {'longest_edge': 8}; expected a number"),
    ],
)
def test_a_processor_that_says_too_little_is_refused(
    folder: Callable[[str], str], tmp_path: Path, given: dict[str, Any], complaint: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings("vit") | given))
    with pytest.raises(
        ValueError, match=rf"model `{tmp_path}`: preprocessor_config.json: {complaint}"
    ):
        preprocess(str(tmp_path), ImageClassification, [], 0)


def test_a_model_without_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no preprocessor_config\.json beside"):
        preprocess(str(tmp_path), ImageClassification, [], 0)


def importable() -> bool:
    try:
        timm_models.library()
    except ValueError:
        return False
    return True


@pytest.mark.skipif(importable(), reason="timm is installed here")
def test_timm_is_asked_for_by_its_extra() -> None:
    task = ImageClassification(LABELS, "{}")
    with pytest.raises(
        ValueError, match=r"need timm and torchvision .*pip install 'limbeck\[vision\]'"
    ):
        create_model("timm:resnet18", {}, task, seed=0)
    with pytest.raises(ValueError, match=r"limbeck\[vision\]"):
        preprocess("timm:resnet18", ImageClassification, [], 0)


class NormAct(nn.BatchNorm2d):
    """A batch norm and its activation in one, as timm's is."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(x)))


def test_norms_of_timm_are_parted_from_their_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), NormAct(4), nn.Flatten(), nn.LazyLinear(2))
        model(torch.ones(2, 3, 8, 8))
        return model

    timm = SimpleNamespace(
        layers=SimpleNamespace(BatchNormAct2d=NormAct),
        is_model=lambda name: True,
        create_model=lambda name, **_: build(),
    )
    monkeypatch.setattr(timm_models, "library", lambda: timm)
    made = timm_models.create("timm:one", 2, pretrained=False)
    assert not any(isinstance(module, NormAct) for module in made.modules())
    whole = build()
    pixels = torch.randn(4, 3, 8, 8)
    assert torch.equal(made.train()(pixels), whole.train()(pixels))
    assert torch.equal(made.eval()(pixels), whole.eval()(pixels))


@pytest.mark.gpu
def test_a_timm_model_gives_logits() -> None:
    settings = timm_models.settings("timm:resnet18")
    model = timm_models.create("timm:resnet18", 4, pretrained=False).eval()
    assert logits(
        model,
        {
            "pixel_values": torch.randn(
                2, settings["channels"], settings["height"], settings["width"]
            )
        },
    ).shape == (2, 4)
