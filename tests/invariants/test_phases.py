"""Phases of a training by the weights of its losses: the guide's recipe, from self-study to tutoring."""

import re
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.core.errors import Diverged
from limbeck.core.files import read_json
from limbeck.recipe.reading import parse

pytest.importorskip("torch")  # every test here trains

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
(RECIPE,) = (
    block
    for block in re.findall(r"^```yaml\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    if "step(" in block
)
SHORT = [
    "teacher.epochs=1",
    "teacher.width=6",
    "student.width=4",
    "train.epochs=5",
    "train.batch_rows=128",
    "train.threads=1",
]


def history(cache: Path, out: Path) -> list[dict[str, Any]]:
    (entry,) = [
        record["entry"]
        for record in read_json(out / "stages.json")
        if record["name"].startswith("train (joint")
    ]
    return [point for point in read_json(cache / entry / "history.json") if "losses" in point]


@pytest.mark.usefixtures("untimed")
def test_self_study_hears_no_teacher_and_tutoring_does(tmp_path: Path, cache_folder: Path) -> None:
    limbeck.run(parse(RECIPE, overrides=SHORT), tmp_path / "run")
    points = history(cache_folder, tmp_path / "run")
    assert len(points) > 20
    for point in points:
        progress, losses = (point["step"] - 1) / point["steps"], point["losses"]
        assert ("kl" in losses) == (progress >= 0.4)
        assert "task" in losses
        weight = min(progress / 0.4, 1) * 1e-3
        expected = losses["task"] + losses.get("kl", 0.0) + weight * losses.get("quantization", 0.0)
        assert losses["total"] == pytest.approx(expected, rel=1e-4)


def test_a_phase_without_any_loss_is_refused_by_its_step(tmp_path: Path) -> None:
    asked = parse(
        RECIPE,
        overrides=[*SHORT, "distill.task_weight=step(1@0, 0@0.2)", "quantize.error_weight=0"],
    )
    with pytest.raises(Diverged, match=r"^step \d+ of \d+: every loss term has the weight 0 here"):
        limbeck.run(asked, tmp_path / "run")
