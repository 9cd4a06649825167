"""The teacher's cache against the live teacher: words with another padding, whole texts, and images; in float16 and in int8."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForTokenClassification,
    ViTConfig,
    ViTForImageClassification,
)

from limbeck.core import registry
from limbeck.distillation.teacher import TeacherRequest
from limbeck.distillation.teacher_cache import open_cache, write_cache
from limbeck.models.running import run_model
from limbeck.models.taps import BY_PLACE, Outputs, Tap
from limbeck.models.torch_batches import batch_of
from limbeck.tasks import Batch, Encoded
from limbeck.tasks.packed import Part

ROWS = 7
ERROR = {
    "float16": 1e-3,
    "int8": 0.5 / 127 + 1e-4,
}  # of the largest of a cell: half a step, and float32's own


class Anything:
    """A task of which only the padding is asked."""

    padding: ClassVar[dict[str, int]] = {}


def texts(units: bool) -> tuple[Any, list[Encoded]]:
    torch.manual_seed(0)
    sizes: dict[str, int] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    model = BertForTokenClassification(
        BertConfig(**sizes, num_labels=3, initializer_range=0.3)
    ).eval()
    generator, rows = np.random.default_rng(0), []
    for length in generator.integers(3, 12, ROWS):
        ids = generator.integers(0, 50, length)
        positions = np.array([0, length - 1, -1][: 2 + length % 2]) if units else None
        labels = np.zeros(1 if positions is None else len(positions), int)
        rows.append(
            Encoded({"input_ids": ids, "attention_mask": np.ones(length, int)}, positions, labels)
        )
    return model, rows


def images(kind: str) -> tuple[Any, list[Encoded]]:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    rows = [
        Encoded(
            {"pixel_values": generator.normal(size=(1, 8, 8)).astype(np.float32)},
            None,
            np.zeros(1, int),
        )
        for _ in range(ROWS)
    ]
    if kind == "cnn":
        return registry.create("networks", "small_cnn", {"width": 3}).build(4, 1).eval(), rows
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=4,
    )
    return ViTForImageClassification(config).eval(), rows


BERT, VIT = "bert.encoder.layer.1", "vit.layers.1"
CASES = {
    "words": (lambda: texts(True), [Tap(kind, BERT) for kind in ("hidden", *BY_PLACE)]),
    "texts": (lambda: texts(False), [Tap(kind, BERT) for kind in BY_PLACE]),
    "cnn": (
        lambda: images("cnn"),
        [Tap("maps", "blocks.1"), Tap("hidden", "blocks.2"), Tap("maps", "blocks.2")],
    ),
    "vit": (lambda: images("vit"), [Tap(kind, VIT) for kind in ("hidden", *BY_PLACE)]),
}


def counted(tap: Tap, outputs: Outputs) -> torch.Tensor:
    """Where a batch is no padding, in a shape that the tap's tensor broadcasts with."""
    places = outputs.place_mask if tap.kind in BY_PLACE else outputs.mask
    if tap.kind in ("hidden", "places"):
        return places[..., None]
    if tap.kind == "maps":
        return torch.ones(1, dtype=torch.bool)
    return places[:, None, :, None] & (
        places[:, None, None, :] if tap.kind == "attention" else torch.ones(1, dtype=torch.bool)
    )


def answers(folder: Path, stored: str, name: str, taps: Sequence[Tap]) -> tuple[Outputs, Outputs]:
    """(from the cache, live) on a batch that was none while the cache was filled."""
    model, rows = CASES[name][0]()
    request = TeacherRequest(taps, torch.float32, stored)
    write_cache(model, Part(rows, 0, len(rows)), Anything(), request, folder)  # type: ignore[arg-type]
    batch: Batch = batch_of(rows, np.array([5, 0, 3]), {})
    with torch.no_grad():
        return open_cache([folder], len(rows), lambda: model)(batch), run_model(model, batch, taps)


@pytest.mark.parametrize("stored", ["float16", "int8"])
@pytest.mark.parametrize("name", list(CASES))
def test_the_cache_is_the_live_teacher(tmp_path: Path, name: str, stored: str) -> None:
    taps = CASES[name][1]
    cached, live = answers(tmp_path, stored, name, taps)
    torch.testing.assert_close(
        cached.logits[live.mask], live.logits[live.mask], atol=1e-5, rtol=1e-5
    )
    assert torch.equal(cached.mask, live.mask)
    assert torch.equal(cached.place_mask, live.place_mask)
    assert list(cached.inner) == list(live.inner) == taps
    for tap in taps:
        found, expected, kept = cached.inner[tap], live.inner[tap], counted(tap, live)
        assert found.shape == expected.shape
        error = torch.where(kept, found - expected, 0.0).abs().max() / expected.abs().max()
        assert error <= ERROR[stored], tap
        assert torch.where(kept, found, 0.0).abs().max() > 0


def test_int8_takes_about_half_the_bytes(tmp_path: Path) -> None:
    def size(stored: str, name: str) -> int:
        (folder := tmp_path / stored).mkdir(exist_ok=True)
        answers(folder, stored, "cnn", [Tap("maps", "blocks.1")])
        return sum(path.stat().st_size for path in folder.glob(name))

    assert size("int8", "tap.0.npy") + size("int8", "tap.0.scale.npy") < 0.7 * size(
        "float16", "tap.0.npy"
    )
