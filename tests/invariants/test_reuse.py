"""What was computed once is not computed again: stages, and above all the teacher's outputs."""

from pathlib import Path

import pytest

from limbeck import run
from limbeck.core.events import Event, Started
from limbeck.core.files import file_digest, read_json
from limbeck.distillation import teacher
from limbeck.recipe.reading import parse

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits, unlabelled: 0.3}
teacher: {model: small_cnn, width: 6, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
distill: {losses: {soft_cross_entropy: {}, hidden: {}}}
"""


def test_a_second_run_asks_the_teacher_nothing(tmp_path: Path) -> None:
    told: list[Event] = []
    run(parse(RECIPE), tmp_path / "first", tell=told.append)
    assert teacher.counted[teacher.FORWARDS] > 0
    teacher.counted[teacher.FORWARDS] = 0
    run(parse(RECIPE, overrides=["train.epochs=2"]), tmp_path / "longer", tell=told.append)
    assert teacher.counted[teacher.FORWARDS] == 0
    assert "label: reused" in map(str, told)


def test_weights_do_not_depend_on_what_was_cached_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher of another width than the student: the projectors' first weights are drawn, and must be drawn alike."""
    found = []
    for cache, warmed in (("cold", False), ("warm", True)):
        monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / cache))
        if warmed:
            run(parse(RECIPE, overrides=["train.epochs=2"]), tmp_path / "longer")
        run(parse(RECIPE), tmp_path / f"{cache}-run")
        (trained,) = [
            stage["entry"]
            for stage in read_json(tmp_path / f"{cache}-run" / "stages.json")
            if stage["name"].startswith("train")
        ]
        found.append(file_digest(tmp_path / cache / trained / "model.safetensors"))
    assert found[0] == found[1]


def test_an_unchanged_run_trains_nothing(tmp_path: Path) -> None:
    run(parse(RECIPE), tmp_path / "first")
    told: list[Event] = []
    second = run(parse(RECIPE), tmp_path / "second", tell=told.append)
    assert all(stage["reused"] for stage in second["stages"])
    assert {event.stage for event in told if isinstance(event, Started)} == {"latency"}


@pytest.mark.slow
def test_a_student_without_labels_learns_from_the_teacher_alone(tmp_path: Path) -> None:
    recipe = parse(
        RECIPE,
        overrides=[
            "data.unlabelled=0.9",
            "teacher.epochs=40",
            "train.epochs=12",
            "train.batch_rows=64",
            "distill.task_weight=0",
        ],
    )
    report = run(recipe, tmp_path / "run")
    assert "task" not in (tmp_path / "run" / "metrics.jsonl").read_text().split('"arm": "kd"')[1]
    assert report["arms"]["kd"]["mean"]["accuracy"] > 0.5


@pytest.mark.usefixtures("untimed")
def test_quantizing_without_a_teacher_is_legal(tmp_path: Path) -> None:
    text = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
quantize: {when: after, range: percentile, activations: uint8, keep_float: [classifier]}
"""
    report = run(parse(text), tmp_path / "run")
    assert list(report["arms"]) == ["ptq"]
    assert report["parity"][0]["holds"]
    assert report["arms"]["ptq"]["agreement"] is None
