"""What a preprocessor_config.json does to an image, against the processor of transformers itself, or refused by its key."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.models.published.processors import image_settings
from limbeck.tasks.image_classification import ImageClassification

STATISTICS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def test_levit_resizes_the_short_edge_to_more_than_it_says() -> None:
    """By a seventh: 256 of 224."""
    transformers = pytest.importorskip("transformers")
    import json

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
