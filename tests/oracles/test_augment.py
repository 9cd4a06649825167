"""Augmented views: a pure function of (seed, epoch, row), each change against slow numpy, and the teacher on the same views as the student."""

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from limbeck import augment, pipeline, recipe, teacher
from limbeck.store import Store
from limbeck.tasks import Batch

NAMES = list(augment.CHANGES)
each = pytest.mark.parametrize("name", NAMES)


def batch(rows: list[int], channels: int = 1, height: int = 16, width: int = 12) -> Batch:
    """Row i always holds the same image."""
    images = torch.stack([torch.randn(channels, height, width, generator=torch.Generator().manual_seed(row)) for row in rows])
    return Batch(
        {"pixel_values": images}, None, torch.zeros(len(rows), 1, dtype=torch.int64), torch.ones(len(rows), 1, dtype=torch.bool), np.array(rows)
    )


def views(rows: list[int], names: list[str], *, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    found: torch.Tensor = augment.augmented(batch(rows), names, seed=seed, epoch=epoch).inputs["pixel_values"]
    return found


def test_a_recipe_offers_every_change() -> None:
    (words,) = get_args(recipe.Train.model_fields["augment"].annotation)
    assert sorted(get_args(words)) == sorted(NAMES)


@each
def test_a_view_depends_on_seed_epoch_and_row_alone(name: str) -> None:
    rows = list(range(24))
    found = views(rows, [name])
    torch.randn(5)
    np.random.default_rng().random(5)
    alone = torch.cat([views([row], [name]) for row in reversed(rows)]).flip(0)
    assert torch.equal(found, alone)
    assert not torch.equal(found, batch(rows).inputs["pixel_values"])
    assert not torch.equal(found, views(rows, [name], epoch=1))
    assert not torch.equal(found, views(rows, [name], seed=1))


@each
def test_a_change_keeps_shape_and_type_and_leaves_the_batch_alone(name: str) -> None:
    given = batch(list(range(8)), channels=3)
    before = given.inputs["pixel_values"].clone()
    found = augment.augmented(given, [name], seed=0, epoch=0)
    assert found.inputs["pixel_values"].shape == before.shape
    assert found.inputs["pixel_values"].dtype == torch.float32
    assert torch.isfinite(found.inputs["pixel_values"]).all()
    assert torch.equal(given.inputs["pixel_values"], before)
    assert found.labels is given.labels


def test_half_of_the_images_are_mirrored() -> None:
    rows = list(range(400))
    plain, found = batch(rows).inputs["pixel_values"].numpy(), views(rows, ["flip"]).numpy()
    mirrored = np.array([np.array_equal(a, b[..., ::-1]) for a, b in zip(found, plain, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(found, plain, strict=True)])
    assert (mirrored ^ kept).all()
    assert 160 < mirrored.sum() < 240


def test_a_crop_is_a_shift_by_at_most_an_eighth_filled_with_the_mean() -> None:
    rows = list(range(200))
    shifts = set()
    for plain, found in zip(batch(rows).inputs["pixel_values"].numpy(), views(rows, ["crop"]).numpy(), strict=True):
        padded = np.pad(plain, ((0, 0), (2, 2), (2, 2)))
        own = [(top, left) for top in range(5) for left in range(5) if np.array_equal(found, padded[:, top : top + 16, left : left + 12])]
        assert len(own) == 1
        shifts.add(own[0])
    assert len(shifts) == 25


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, value: float) -> None:
        self.value = value

    def uniform(self, low: float, high: float) -> float:
        return self.value


@pytest.mark.parametrize(("height", "width"), [(9, 9), (9, 15)])
def test_a_rotation_samples_the_turned_positions(height: int, width: int) -> None:
    """Slow bilinear interpolation in pixels about the centre; outside the image the mean."""
    image, angle = torch.randn(1, height, width, generator=torch.Generator().manual_seed(0)), math.radians(7.0)
    found = augment.rotate(image, Fixed(7.0))[0].numpy()  # type: ignore[arg-type]
    padded = np.pad(image[0].numpy(), 4)
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            source_x = math.cos(angle) * x - math.sin(angle) * y + (width - 1) / 2 + 4
            source_y = math.sin(angle) * x + math.cos(angle) * y + (height - 1) / 2 + 4
            top, left = math.floor(source_y), math.floor(source_x)
            down, right = source_y - top, source_x - left
            expected = (1 - down) * ((1 - right) * padded[top, left] + right * padded[top, left + 1])
            expected += down * ((1 - right) * padded[top + 1, left] + right * padded[top + 1, left + 1])
            assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_cutout_sets_one_rectangle_to_the_mean() -> None:
    for plain, found in zip(batch(list(range(60))).inputs["pixel_values"], views(list(range(60)), ["cutout"]), strict=True):
        changed = np.argwhere((plain != found).numpy()[0])
        low, high = changed.min(0), changed.max(0) + 1
        assert len(changed) == np.prod(high - low)
        assert (high - low <= [4, 4]).all()
        assert (found[:, low[0] : high[0], low[1] : high[1]] == 0).all()


def test_brightness_is_linear_in_the_values() -> None:
    image = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3))
    found = augment.brightness(image, np.random.default_rng(0))
    slope, shift = np.polyfit(image.flatten(), found.flatten(), 1)
    assert 0.8 <= slope <= 1.2
    assert abs(shift) <= 0.2
    assert torch.allclose(found, image * slope + shift, atol=1e-5)


RECIPE = """
task: image-classification
data: {source: sklearn}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 2}
train: {epochs: 1, augment: [crop, cutout], threads: 1, batch_rows: 512}
distill: {losses: {kl: {}, hidden: {}}}
"""


def test_the_teacher_answers_the_views_that_the_student_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Live, in every step; and nothing is labelled ahead."""
    seen: list[tuple[Any, Any]] = []
    answer = teacher.Live.__call__

    def spy(self: teacher.Live, given: Batch) -> Any:
        found = answer(self, given)
        seen.append((given, found))
        return found

    monkeypatch.setattr(teacher.Live, "__call__", spy)
    store = Store()
    arm = pipeline.run_arm(recipe.parse(RECIPE), store)
    assert "label" not in [record["name"] for record in store.records]
    assert all({"kl", "hidden"} <= point["losses"].keys() for point in arm.history if "losses" in point)
    steps = seen[1:]  # the first asks for the widths of the layers
    assert len(steps) == 3
    bench = pipeline.Bench(recipe.parse(RECIPE), store)
    encoded = bench.encode("train", arm.task)
    for given, found in steps:
        plain = torch.stack([torch.from_numpy(encoded[row].inputs["pixel_values"]) for row in given.rows])
        expected = augment.augmented(Batch({"pixel_values": plain}, None, None, None, given.rows), ["crop", "cutout"], seed=0, epoch=0)
        assert torch.equal(given.inputs["pixel_values"], expected.inputs["pixel_values"])
        assert not found.logits.requires_grad


def test_a_teacher_of_other_pixels_cannot_share_views() -> None:
    class Net:
        def __init__(self, preprocess: str) -> None:
            self.task = type("Task", (), {"preprocess": preprocess})

    from limbeck.stages import label_stage

    read = recipe.parse(RECIPE)
    with pytest.raises(ValueError, match=r"train\.augment: .*another size or scale of pixels"):
        label_stage(None, read, Net("a"), Net("b"), [])  # type: ignore[arg-type]


def test_text_is_not_augmented() -> None:
    text = RECIPE.replace("image-classification", "token-classification")
    with pytest.raises(ValueError, match=r"train\.augment: `token-classification` reads no images"):
        recipe.parse(text).check_components()
