"""What a preprocessor_config.json does to an image, against the processor of transformers itself, or refused by its key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.models.preprocessing import image_processor
from limbeck.models.published.processors import image_settings
from limbeck.tasks.image_classification import ImageClassification

STATISTICS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def test_levit_resizes_the_short_edge_to_more_than_it_says() -> None:
    """By a seventh: 256 of 224."""
    transformers = pytest.importorskip("transformers")
    config: dict[str, Any] = {
        "image_processor_type": "LevitImageProcessor",
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
        "do_center_crop": True,
        "resample": 2,
        **STATISTICS,
    }
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(pixels)
    expected = transformers.LevitImageProcessor(
        **{k: v for k, v in config.items() if k != "image_processor_type"}
    )(image, return_tensors="np")["pixel_values"][0]
    settings = image_settings(config)
    assert settings["edge"] == 32
    task = ImageClassification(["a", "b"], json.dumps(settings))
    (encoded,) = task.encode([task.row(image)])
    found = encoded.inputs["pixel_values"]
    assert found.shape == expected.shape
    # Both interpolate bytes, and round them once.
    assert np.abs(found - expected).max() < 2.5 / 255 / 0.2


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order: it reads blue, green and red"),
        ({"do_pad": True}, "do_pad: it pads images"),
        ({"image_std": [0.0, 0.1, 0.1]}, r"`image_std` is \[0.0, 0.1, 0.1\]: a number above 0"),
        ({"image_std": [0.1]}, "each of the 3 channels"),
    ],
)
def test_what_is_not_done_is_refused_by_its_key(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        image_settings({"size": 16, **STATISTICS, **keys})


def test_a_resampling_that_is_null_is_the_usual_one() -> None:
    assert image_settings({"size": 16, "resample": None, **STATISTICS})["resample"] == "bilinear"


# As they lie on the hub: numbers for sizes, the older name of the class, and keys left out.
AS_PUBLISHED = {
    "DeiT": {"size": 32, "crop_size": 28, "do_center_crop": True, "resample": 3},
    "Beit": {"size": 32, "crop_size": 28, "do_center_crop": True, "resample": 3},
    "ConvNext": {"size": 28, "resample": 3},
    "PoolFormer": {"size": 28, "crop_pct": 0.9, "do_resize_and_center_crop": True},
    "Levit": {"size": 28, "crop_size": 28, "do_center_crop": True},
    "CLIP": {"size": 32, "crop_size": 28, "do_center_crop": True},
    "ViT": {"size": [28, 24]},
}


def published(folder: Path, config: dict[str, Any], architecture: str = "vit") -> str:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": architecture}))
    return str(folder)


def assert_same_pixels(name: str, processor: Any) -> None:
    """`processor`: that of transformers, which works by Pillow."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    expected = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    task = ImageClassification(["a", "b"], json.dumps(image_processor(name)))
    (encoded,) = task.encode([task.row(Image.fromarray(pixels))])
    np.testing.assert_allclose(encoded.inputs["pixel_values"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", AS_PUBLISHED)
def test_an_older_processor_reads_as_its_class_does(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    named = {"feature_extractor_type": f"{kind}FeatureExtractor"}
    name = published(tmp_path, AS_PUBLISHED[kind] | named | STATISTICS)
    pillow = getattr(transformers, f"{kind}ImageProcessorPil")
    assert_same_pixels(name, pillow.from_pretrained(name))


def test_what_a_file_leaves_out_is_what_its_class_takes_for_granted(tmp_path: Path) -> None:
    """DeiT: 256 squeezed, 224 cropped; without a name the architecture says which class it is."""
    transformers = pytest.importorskip("transformers")
    name = published(tmp_path, {"image_processor_type": "DeiTImageProcessor"})
    assert_same_pixels(name, transformers.DeiTImageProcessorPil())
    name = published(tmp_path, {"size": 28, **STATISTICS}, "convnext")
    assert_same_pixels(name, transformers.ConvNextImageProcessorPil(size=28, **STATISTICS))


def test_a_class_that_transformers_lacks(tmp_path: Path) -> None:
    """Named, it may do anything to an image; unnamed, the file says all that is done."""
    pytest.importorskip("transformers")
    config = {"size": 28, **STATISTICS}
    name = published(tmp_path, config | {"image_processor_type": "OwnImageProcessor"})
    with pytest.raises(ValueError, match=r"transformers has no OwnImageProcessor\. .*take that"):
        image_processor(name)
    assert image_processor(published(tmp_path, config, "bert"))["height"] == 28


@pytest.mark.parametrize("named", [True, False])
def test_a_class_for_torchvision_alone(named: bool, tmp_path: Path) -> None:
    """DINOv3's: without torchvision its file is read as it stands."""
    pytest.importorskip("transformers")
    config = {"size": {"height": 28, "width": 28}, "do_resize": True, **STATISTICS}
    kind = {"image_processor_type": "DINOv3ViTImageProcessorFast"} if named else {}
    settings = image_processor(published(tmp_path, config | kind, "dinov3_vit"))
    assert (settings["height"], settings["resample"]) == (28, "bilinear")


def test_a_crop_before_the_resize_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    name = published(tmp_path, {"feature_extractor_type": "PerceiverFeatureExtractor"})
    with pytest.raises(ValueError, match="Perceiver's processor crops the centre before"):
        image_processor(name)


KINDS = (
    *("Beit", "Bit", "CLIP", "ConvNext", "DeiT", "EfficientNet", "Levit", "MobileNetV1"),
    *("MobileNetV2", "PoolFormer", "Pvt", "Segformer", "Siglip", "ViT"),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_every_class_of_a_classifier_takes_for_granted(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name = published(tmp_path, {"image_processor_type": f"{kind}ImageProcessor"})
    assert_same_pixels(name, getattr(transformers, f"{kind}ImageProcessorPil")())
