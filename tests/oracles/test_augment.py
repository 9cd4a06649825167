"""Augmented views: a pure function of (seed, epoch, row), each change against slow numpy, and the teacher on the same views as the student."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from limbeck.core.cache.store import Store
from limbeck.data import augment, randaugment
from limbeck.data.warp import warped
from limbeck.distillation import objective, teacher, teacher_cache
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.teacher_outputs import refuse_other_inputs, teacher_outputs
from limbeck.recipe.model import Distill, Train
from limbeck.recipe.reading import parse
from limbeck.tasks import UNKNOWN, Batch

LEVELS = (torch.full((1, 1, 1), -2.0), torch.full((1, 1, 1), 2.0))
NAMES = list(augment.changes_by_name(LEVELS))
each = pytest.mark.parametrize("name", NAMES)


def batch(rows: list[int], channels: int = 1, height: int = 16, width: int = 12) -> Batch:
    """Row i always holds the same image."""
    images = torch.stack(
        [
            torch.randn(channels, height, width, generator=torch.Generator().manual_seed(row))
            for row in rows
        ]
    )
    return Batch(
        {"pixel_values": images},
        None,
        torch.zeros(len(rows), 1, dtype=torch.int64),
        torch.ones(len(rows), 1, dtype=torch.bool),
        np.array(rows),
    )


def views(rows: list[int], names: list[str], *, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    found: torch.Tensor = augment.Views(names, seed, LEVELS)(batch(rows), epoch, 0).inputs[
        "pixel_values"
    ]
    return found


def test_a_recipe_offers_every_change() -> None:
    (words,) = get_args(Train.model_fields["augment"].annotation)
    assert sorted(get_args(words)) == sorted([*NAMES, "mixup"])


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
    found = augment.Views([name], 0, LEVELS)(given, 0, 0)
    assert found.inputs["pixel_values"].shape == before.shape
    assert found.inputs["pixel_values"].dtype == torch.float32
    assert torch.isfinite(found.inputs["pixel_values"]).all()
    assert torch.equal(given.inputs["pixel_values"], before)
    assert found.labels is given.labels
    assert found.mixed is None


def test_half_of_the_images_are_mirrored() -> None:
    rows = list(range(400))
    plain, found = batch(rows).inputs["pixel_values"].numpy(), views(rows, ["flip"]).numpy()
    mirrored = np.array(
        [np.array_equal(a, b[..., ::-1]) for a, b in zip(found, plain, strict=True)]
    )
    kept = np.array([np.array_equal(a, b) for a, b in zip(found, plain, strict=True)])
    assert (mirrored ^ kept).all()
    assert 160 < mirrored.sum() < 240


def test_a_crop_is_a_shift_by_at_most_an_eighth_filled_with_the_mean() -> None:
    rows = list(range(200))
    shifts = set()
    for plain, found in zip(
        batch(rows).inputs["pixel_values"].numpy(), views(rows, ["crop"]).numpy(), strict=True
    ):
        padded = np.pad(plain, ((0, 0), (2, 2), (2, 2)))
        own = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(found, padded[:, top : top + 16, left : left + 12])
        ]
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
    image, angle = (
        torch.randn(1, height, width, generator=torch.Generator().manual_seed(0)),
        math.radians(7.0),
    )
    found = augment.rotate(image, Fixed(7.0))[0].numpy()  # type: ignore[arg-type]
    padded = np.pad(image[0].numpy(), 4)
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            source_x = math.cos(angle) * x - math.sin(angle) * y + (width - 1) / 2 + 4
            source_y = math.sin(angle) * x + math.cos(angle) * y + (height - 1) / 2 + 4
            top, left = math.floor(source_y), math.floor(source_x)
            down, right = source_y - top, source_x - left
            expected = (1 - down) * (
                (1 - right) * padded[top, left] + right * padded[top, left + 1]
            )
            expected += down * (
                (1 - right) * padded[top + 1, left] + right * padded[top + 1, left + 1]
            )
            assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_cutout_sets_one_rectangle_to_the_mean() -> None:
    for plain, found in zip(
        batch(list(range(60))).inputs["pixel_values"],
        views(list(range(60)), ["cutout"]),
        strict=True,
    ):
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


BYTES = [
    np.random.default_rng(number)
    .integers(40 * number, 180 + 15 * number, (9, 11, 3))
    .astype(np.uint8)
    for number in range(5)
]


def by_pillow(name: str, picture: Image.Image, signed: float) -> Image.Image:
    """The operation by Pillow, on bytes."""
    factor = 1 + 0.9 * signed
    enhancers = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
    }
    if name in enhancers:
        return enhancers[name](picture).enhance(factor)
    if name == "sharpness":
        return ImageEnhance.Sharpness(picture).enhance(factor)
    if name == "solarize":
        return ImageOps.solarize(picture, math.ceil(255 * (1 - abs(signed))))
    if name == "posterize":
        return ImageOps.posterize(picture, 8 - round(4 * abs(signed)))
    return {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[name](picture)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("signed", [0.3, -0.3, 0.7])
@pytest.mark.parametrize("name", randaugment.VALUES)
def test_operations_on_values_are_those_of_pillow(name: str, signed: float, mode: str) -> None:
    """Bytes against normalised floats, up to two levels, which Pillow loses by rounding in between."""
    mean, deviation = (
        torch.tensor([0.4, 0.5, 0.6])[:, None, None],
        torch.tensor([0.2, 0.25, 0.3])[:, None, None],
    )
    for pixels in BYTES:
        picture = Image.fromarray(pixels).convert(mode)
        values = (
            torch.from_numpy(np.array(picture)).reshape(9, 11, -1).permute(2, 0, 1).float() / 255
        )
        own = [each[: len(values)] for each in (mean, deviation)]
        levels = ((0 - own[0]) / own[1], (1 - own[0]) / own[1])
        found = (
            randaugment.on_values(
                (values - own[0]) / own[1], randaugment.VALUES[name], signed, levels
            )
            * own[1]
            + own[0]
        )
        expected = (
            np.asarray(by_pillow(name, picture, signed)).reshape(9, 11, -1).transpose(2, 0, 1)
        )
        assert np.abs(found.numpy() * 255 - expected).max() < (
            0.01 if name in ("equalize", "solarize", "posterize") else 2
        )


def test_shears_and_translations_move_pixels_as_said() -> None:
    image = torch.randn(1, 20, 20, generator=torch.Generator().manual_seed(0))

    def moved(name: str, signed: float) -> torch.Tensor:
        return warped(image, randaugment.GEOMETRY[name](signed, 20, 20))

    assert torch.allclose(moved("identity", 1.0), image, atol=1e-5)
    assert torch.allclose(moved("translate_x", 1 / 3)[:, :, :17], image[:, :, 3:], atol=1e-4)
    assert torch.allclose(moved("translate_y", -1 / 3)[:, 3:], image[:, :17], atol=1e-4)
    assert (moved("translate_x", 1 / 3)[:, :, 17:].abs() < 1e-4).all()
    rows = 0.3 * (np.arange(20) - 9.5)
    for row in (2, 11):
        columns = np.arange(8, 12) + rows[row]
        expected = np.interp(columns, np.arange(20), image[0, row].numpy())
        assert np.allclose(moved("shear_x", 1.0)[0, row, 8:12].numpy(), expected, atol=1e-4)
    assert torch.allclose(
        moved("shear_y", 1.0),
        warped(image.transpose(1, 2), randaugment.GEOMETRY["shear_x"](1.0, 20, 20)).transpose(1, 2),
        atol=1e-4,
    )


def test_randaugment_draws_two_operations_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def spy(name: str) -> Any:
        def values(image: torch.Tensor, signed: float) -> torch.Tensor:
            assert abs(signed) == pytest.approx(0.3)
            counts[name] += 1
            return image

        return values

    monkeypatch.setattr(randaugment, "VALUES", {name: spy(name) for name in randaugment.VALUES})
    image = torch.zeros(1, 4, 4)
    for row in range(700):
        randaugment.randaugment(image, np.random.default_rng(row), LEVELS)
    assert set(counts) == set(randaugment.VALUES)
    assert all(60 < count < 145 for count in counts.values())  # 100 each: 1,400 draws of 14


def mixed(step: int, labels: list[int], seed: int = 0) -> tuple[Batch, Batch]:
    plain = replace(batch(list(range(len(labels)))), labels=torch.tensor(labels)[:, None])
    return plain, augment.Views(["mixup"], seed, LEVELS)(plain, 3, step)


def test_a_mixture_is_of_two_rows_and_of_both_their_labels() -> None:
    labels = [0, 1, 2, 3, 4, UNKNOWN]
    shares = set()
    for step in range(20):
        plain, found = mixed(step, labels)
        assert found.mixed is not None
        other, share = found.mixed
        shares.add(share)
        assert 0.5 <= share <= 1
        images = plain.inputs["pixel_values"]
        for row, image in enumerate(found.inputs["pixel_values"]):
            partners = [
                i
                for i in range(6)
                if torch.allclose(image, share * images[row] + (1 - share) * images[i], atol=1e-6)
            ]
            assert partners if share > 0.9999 else len(partners) == 1
            expected = (
                (labels[row], labels[partners[0]])
                if UNKNOWN not in (labels[row], labels[partners[0]])
                else (UNKNOWN, UNKNOWN)
            )
            if len(partners) == 1:
                assert (int(found.labels[row]), int(other[row])) == expected
        assert torch.equal(plain.labels.flatten(), torch.tensor(labels))
    assert len(shares) == 20


def test_mixtures_depend_on_seed_and_step_alone() -> None:
    first, again, later, otherwise = (
        mixed(step, [0, 1, 2], seed)[1] for step, seed in ((5, 0), (5, 0), (6, 0), (5, 1))
    )
    assert torch.equal(first.inputs["pixel_values"], again.inputs["pixel_values"])
    assert not torch.equal(first.inputs["pixel_values"], later.inputs["pixel_values"])
    assert not torch.equal(first.inputs["pixel_values"], otherwise.inputs["pixel_values"])


def test_a_hard_loss_is_the_cross_entropy_with_the_mixed_label() -> None:
    """Equation 1, slow and in float64: y = s y_i + (1 - s) y_j."""
    _, found = mixed(1, [0, 1, 2, 3])
    assert found.mixed is not None
    other, share = found.mixed
    logits = torch.randn(4, 1, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    outputs = Outputs(logits, found.mask)
    _, parts = objective.Objective(objective.terms("cross_entropy", Distill()))(
        outputs, Outputs(logits.detach() + 1, found.mask), found, 0.0
    )
    log = logits.detach()[:, 0].double().log_softmax(1).numpy()
    rows = range(4)
    soft = [
        share * log[i, int(found.labels[i])] + (1 - share) * log[i, int(other[i])] for i in rows
    ]
    assert parts["task"].item() == pytest.approx(-np.mean(soft), abs=1e-6)
    assert parts["kl"].item() == pytest.approx(0, abs=1e-6)


def test_mixup_is_named_last() -> None:
    with pytest.raises(
        ValueError,
        match=r"train\.augment: `mixup` mixes finished views\. Name it once, as the last",
    ):
        parse(RECIPE.replace("[crop, cutout]", "[mixup, crop]"))


def test_a_run_that_mixes_goes_from_end_to_end() -> None:
    arm = run_arm(parse(RECIPE.replace("[crop, cutout]", "[randaugment, mixup]")), Store())
    assert all(
        {"task", "kl", "hidden"} <= point["losses"].keys()
        for point in arm.history
        if "losses" in point
    )


RECIPE = """
task: image-classification
data: {source: sklearn}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 2}
train: {epochs: 1, learning_rate: 1.0e-3, augment: [crop, cutout], threads: 1, batch_rows: 512}
distill: {losses: {kl: {}, hidden: {}}}
"""


def test_the_teacher_answers_the_views_that_the_student_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Live, in every step; and nothing is labelled ahead."""
    seen: list[tuple[Any, Any]] = []
    answer = teacher.LiveTeacher.__call__

    def spy(self: teacher.LiveTeacher, given: Batch) -> Any:
        found = answer(self, given)
        seen.append((given, found))
        return found

    monkeypatch.setattr(teacher.LiveTeacher, "__call__", spy)
    store = Store()
    arm = run_arm(parse(RECIPE), store)
    assert "label" not in [record["name"] for record in store.records]
    assert all(
        {"kl", "hidden"} <= point["losses"].keys() for point in arm.history if "losses" in point
    )
    steps = seen[1:]  # the first asks for the widths of the layers
    assert len(steps) == 3
    bench = RunContext(parse(RECIPE), store)
    encoded = bench.encode("train", arm.task)
    for given, found in steps:
        plain = torch.stack(
            [torch.from_numpy(encoded[row].inputs["pixel_values"]) for row in given.rows]
        )
        expected = augment.Views(["crop", "cutout"], 0, LEVELS)(
            Batch({"pixel_values": plain}, None, None, None, given.rows), 0, 0
        )
        assert torch.equal(given.inputs["pixel_values"], expected.inputs["pixel_values"])
        assert not found.logits.requires_grad


VIEWS = ["train.augment=[crop, flip]", "train.views=2", "train.epochs=5"]


def test_cached_views_are_what_the_teacher_answers_live() -> None:
    """Pointwise, in every epoch; epoch e shows view e mod 2."""
    read = parse(RECIPE, overrides=VIEWS)
    bench = RunContext(read, Store())
    ready = prepare_teacher(read, bench)
    terms = objective.terms("cross_entropy", read.distill)
    start = cut_student(read, bench, ready)
    cached, asked = (
        teacher_outputs(read, bench, ready, start, terms).open(),
        augment.views(read.train, ready.task),
    )
    assert isinstance(cached, teacher_cache.CachedViews)
    assert asked is not None
    live = teacher.LiveTeacher(ready.load().eval(), cached.caches[0].taps, torch.float32)
    rows = np.array([5, 900, 31, 2])
    plain = batch_of(bench.encode("train", ready.task), rows, {})
    seen = [asked(plain, epoch, 7) for epoch in range(4)]
    for shown in seen:
        own, theirs = cached(shown), live(shown)
        assert torch.allclose(own.logits, theirs.logits, atol=1e-5)
        assert own.hidden.keys() == theirs.hidden.keys() != set()
        assert all(
            torch.allclose(own.hidden[name], theirs.hidden[name], rtol=2e-3, atol=1e-3)
            for name in own.hidden
        )
    assert torch.equal(seen[0].inputs["pixel_values"], seen[2].inputs["pixel_values"])
    assert not torch.equal(seen[0].inputs["pixel_values"], seen[1].inputs["pixel_values"])
    assert not torch.allclose(cached(seen[0]).logits, cached(seen[1]).logits, atol=1e-3)


def test_a_training_on_cached_views_is_the_one_with_a_live_teacher() -> None:
    """As many views as epochs are a view an epoch."""
    losses = []
    for views in ("null", "2"):
        arm = run_arm(parse(RECIPE, overrides=["train.epochs=2", f"train.views={views}"]), Store())
        losses.append(
            [list(point["losses"].values()) for point in arm.history if "losses" in point]
        )
    assert np.allclose(*losses, rtol=2e-3)


@pytest.mark.slow
def test_views_are_answered_once_for_all_arms_and_runs() -> None:
    store = Store()
    run_arm(parse(RECIPE, overrides=VIEWS), store)
    teacher.counted[teacher.FORWARDS] = 0
    for overrides in ([], ["train.epochs=7"], ["student.width=3"]):
        run_arm(parse(RECIPE, overrides=[*VIEWS, *overrides]), store)
    assert teacher.counted[teacher.FORWARDS] == 0
    run_arm(parse(RECIPE, overrides=[*VIEWS, "train.views=3"]), store)
    fresh = [
        record["name"]
        for record in store.records
        if record["name"].startswith("label") and not record["reused"]
    ]
    assert fresh == ["label (view 1 of 2)", "label (view 2 of 2)", "label (view 3 of 3)"]


@pytest.mark.parametrize("augmented", ["[]", "[crop, mixup]"])
def test_views_need_what_makes_them(augmented: str) -> None:
    with pytest.raises(ValueError, match="`views` are those that `augment` makes of each row"):
        parse(RECIPE, overrides=[f"train.augment={augmented}", "train.views=2"])


def test_a_teacher_of_other_pixels_cannot_share_views() -> None:
    class Net:
        def __init__(self, preprocess: str) -> None:
            self.task = type("Task", (), {"preprocess": preprocess})

    read = parse(RECIPE)
    with pytest.raises(ValueError, match=r"train\.augment: .*another size or scale of pixels"):
        refuse_other_inputs(read, None, Net("a"), Net("b"), [])  # type: ignore[arg-type]


def test_text_is_not_augmented() -> None:
    text = RECIPE.replace("image-classification", "token-classification")
    with pytest.raises(ValueError, match=r"train\.augment: `token-classification` reads no images"):
        compatibility.check_components(parse(text))
