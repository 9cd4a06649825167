"""Rows that are encoded when they are asked for are those that were encoded at once, and a store keeps packed texts."""

import json
from pathlib import Path

import numpy as np
import pytest

from limbeck.tasks import Encoded, collate, packed
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.packed import unit_offsets


def example(*, tagged: bool) -> list[Encoded]:
    generator = np.random.default_rng(0)
    found = []
    for length in generator.integers(3, 20, 23):
        ids, units = (
            generator.integers(0, 90, length),
            int(generator.integers(1, length)) if tagged else 1,
        )
        positions = generator.integers(-1, length, units) if tagged else None
        found.append(
            Encoded(
                {"input_ids": ids, "attention_mask": np.ones_like(ids)},
                positions,
                generator.integers(-100, 5, units),
                begins=int(generator.integers(0, 3)),
            )
        )
    return found


@pytest.mark.parametrize("tagged", [False, True], ids=["texts", "sentences"])
@pytest.mark.parametrize("chunk", [1, 10, 50])
def test_packed_rows_are_the_rows(tagged: bool, chunk: int, tmp_path: Path) -> None:
    rows = example(tagged=tagged)
    packed.pack((rows[start : start + chunk] for start in range(0, len(rows), chunk)), tmp_path)
    found = packed.open_packed(tmp_path)
    assert len(found) == len(rows)
    for own, row in zip(found, rows, strict=True):
        assert {name: value.tolist() for name, value in own.inputs.items()} == {
            name: value.tolist() for name, value in row.inputs.items()
        }
        assert own.labels.tolist() == row.labels.tolist()
        assert (own.positions is None) == (row.positions is None)
        assert own.positions is None or (
            own.positions.tolist() == row.positions.tolist()
            and own.positions.dtype == row.positions.dtype
        )
        assert {value.dtype for value in (*own.inputs.values(), own.labels)} == {np.dtype(np.int64)}
    for figure in (packed.sizes, packed.unit_counts):
        assert figure(found) == figure(rows)
    assert packed.begins(found).tolist() == [row.begins for row in found]
    assert packed.begins(found).tolist() == packed.begins(rows).tolist()
    assert packed.flat_labels(found).tolist() == packed.flat_labels(rows).tolist()
    assert unit_offsets(found).tolist() == unit_offsets(rows).tolist()
    picked = np.array([4, 22, 0])
    assert (
        collate([found[i] for i in picked], picked, {}).labels.tolist()
        == collate([rows[i] for i in picked], picked, {}).labels.tolist()
    )
    assert [row.labels.tolist() for row in found[1:3]] == [row.labels.tolist() for row in rows[1:3]]
    with pytest.raises(IndexError):
        found[23]


def test_images_are_encoded_when_they_are_asked_for() -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"image": generator.integers(0, 256, (6, 9, 3), np.uint8), "label": label}
        for label in ("bee", "ant", None, "bee")
    ]
    task = ImageClassification(["ant", "bee"], ImageInput.fit_preprocess(rows))
    found = task.encode(rows)
    kept = list(found)
    assert [row.labels.tolist() for row in kept] == [[1], [0], [-100], [1]]
    assert all(
        row.inputs["pixel_values"].dtype == np.float32
        and row.inputs["pixel_values"].shape == (3, 6, 9)
        for row in kept
    )
    assert found[0].inputs["pixel_values"] is not found[0].inputs["pixel_values"]
    for figure in (packed.sizes, packed.unit_counts):
        assert figure(found) == figure(kept) == [1, 1, 1, 1]
    assert packed.flat_labels(found).tolist() == packed.flat_labels(kept).tolist()
    assert [row.labels.tolist() for row in found[1:3]] == [[0], [-100]]
    with pytest.raises(IndexError):
        found[4]


def test_the_normalisation_is_that_of_all_pixels() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, shape, np.uint8) for shape in ((6, 9, 3), (4, 4, 3))]
    found = json.loads(ImageInput.fit_preprocess([{"image": image} for image in images]))
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    assert found["mean"] == pytest.approx(pixels.mean(0), abs=6e-5)
    assert found["std"] == pytest.approx(pixels.std(0), abs=6e-5)
