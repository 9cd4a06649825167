"""What trainings may take: shares by work, a clock over several lives, and a loop that keeps to it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.core.cache.store import Store
from limbeck.core.events import EpochEnded
from limbeck.distillation.objective import Objective, hard_terms
from limbeck.evaluation.undertrained import signs, was_cut
from limbeck.pipeline import outlook
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility, minutes
from limbeck.pipeline.preflight.check import note_of_minutes
from limbeck.pipeline.preflight.forecast import Cost
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.model import Train
from limbeck.recipe.reading import parse
from limbeck.tasks import Encoded
from limbeck.training import loop
from limbeck.training.checkpoints import Standing, seconds_spent, write_checkpoint
from limbeck.training.clock import Clock
from limbeck.training.job import Job, TrainingRows, Validation

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, epochs: 3, learning_rate: 1.0e-2}
student: {model: small_cnn, width: 2}
train: {epochs: 4, threads: 1, minutes: 10}
distill: {losses: {kl: {}}}
quantize: {when: train, start: 0.5}
verdict: {arms: [plain, kd, kd+ptq, joint], seeds: 2}
"""


def context(*overrides: str) -> RunContext:
    return RunContext(compatibility.resolved(parse(RECIPE, overrides=list(overrides))), Store())


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_ends_where_another_epoch_would_not_fit() -> None:
    time = Time()
    clock = Clock(10.0, time)
    time.seconds = 3
    clock.end_epoch()
    assert not clock.is_over(at_end_of_epoch=True)  # 3 + 3
    time.seconds = 7.5
    clock.end_epoch()
    assert clock.is_over(at_end_of_epoch=True)  # 7.5 + 4.5
    assert not clock.is_over(at_end_of_epoch=False)
    time.seconds = 10.1
    assert clock.is_over(at_end_of_epoch=False)
    # In another life what was spent counts.
    clock.start(9.0)
    time.seconds += 1.5
    assert clock.spent == pytest.approx(10.5)
    assert clock.is_over(at_end_of_epoch=False)
    assert not Clock(None, time).is_over(at_end_of_epoch=True)


def test_shares_are_by_work_and_add_up() -> None:
    run = context()
    assert run.recipe.teacher is not None
    teacher = minutes.of_teacher(run, run.recipe.teacher)
    # The teacher 2 x 3 epochs; for each of two seeds plain and kd 4 each, joint 1.3 x 4; kd+ptq
    # shares kd's training.
    assert teacher == pytest.approx(600 * 6 / (6 + 2 * (4 + 4 + 5.2)), rel=1e-4)
    joint = minutes.of_student(run, run.recipe)
    assert joint == pytest.approx(600 * 5.2 / 32.4, rel=1e-4)
    tries = context("teacher.tries=3")
    assert tries.recipe.teacher is not None
    found = minutes.of_teacher(tries, tries.recipe.teacher)
    assert found == pytest.approx(600 * 6 / (18 + 26.4), rel=1e-4)
    unbound = context("train.minutes=null")
    assert minutes.of_student(unbound, unbound.recipe) is None


@pytest.mark.parametrize("value", ["0", "-1", ".inf"])
def test_no_time_at_all_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"train\.minutes"):
        parse(RECIPE, overrides=[f"train.minutes={value}"])


class Network(nn.Module):
    """Two classes from three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.layer(pixel_values)


def job(seconds: float, begins: Sequence[int] = (0,)) -> Job:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    encoded = [
        Encoded({"pixel_values": row}, None, np.array([number % 2]))
        for number, row in enumerate(rows)
    ]
    return Job(
        model=Network(),
        objective=Objective(hard_terms("cross_entropy")),
        rows=TrainingRows(encoded=encoded, padding={}),
        settings=Train(epochs=2, batch_rows=10, learning_rate=1e-3),
        seconds=seconds,
        begins=lambda total: begins,
    )


def timed(
    folder: Path, seconds: float, begins: Sequence[int] = (0,)
) -> tuple[list[dict[str, Any]], list[int]]:
    """A training of 8 steps of a second each, which may take so many."""
    steps: list[int] = []
    training = loop.Training(job(seconds, begins), folder)
    time = Time()
    training.clock.now = time
    training.clock.start(0.0)
    run_step = training.step

    def step(number: int, total: int) -> None:
        time.seconds += 1
        steps.append(number)
        run_step(number, total)

    training.step = step  # type: ignore[method-assign]
    return training.run(), steps


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (100.0, 8),
        (8.0, 8),
        (7.9, 8),  # the time is up when nothing is left to do
        (6.5, 7),  # an epoch of four is more than half: it ends within
        (2.5, 3),
    ],
)
def test_a_training_ends_when_its_time_is_used_up(
    seconds: float, steps: int, tmp_path: Path
) -> None:
    history, done = timed(tmp_path, seconds)
    # A time that is up after the last step cuts nothing.
    is_cut = any(point.get("ended") == "minutes" for point in history)
    assert done == list(range(steps))
    assert is_cut == (steps < 8)
    assert was_cut(history) == is_cut
    assert ("raise train.minutes" in str(signs(history, "f1", 100, "train.epochs"))) == is_cut


@pytest.mark.parametrize("seconds", [3.0, 4.0, 5.5, 7.0, 9.0, 11.0, 12.5, 20.0])
def test_a_training_keeps_to_its_time_its_last_validation_included(
    seconds: float, tmp_path: Path
) -> None:
    """To 5 % and one step, where an epoch takes four steps of a second and a validation of two."""
    time = Time()

    def metrics() -> dict[str, float]:
        time.seconds += 2
        return {"accuracy": 0.5}

    # Five steps' rows, and 1.2 / 3 of the time for each.
    validated = replace(job(seconds), validation=Validation(metrics=metrics, units=50))
    training = loop.Training(validated, tmp_path)
    training.clock.now = time
    training.clock.start(0.0)
    run_step = training.step

    def step(number: int, total: int) -> None:
        time.seconds += 1
        run_step(number, total)

    training.step = step  # type: ignore[method-assign]
    history = training.run()
    assert time.seconds <= 1.05 * seconds + 1
    # Where a step is lacking it is done.
    assert was_cut(history) == (seconds < 11)
    # Whatever it was cut to, its last weights were judged.
    assert any("validation" in point for point in history)
    # None of it is wasted: a further step with its validation would not have fitted, nor an epoch.
    assert time.seconds > min(12, seconds - 6) - 1


@pytest.mark.parametrize(
    ("seconds", "begins", "steps"),
    [
        # Of eight steps; a format begins when its share of the time is over.
        (2.5, [6], [0, 1, 6]),
        (4.0, [4], [0, 1, 4, 5, 6]),
        (0.1, [6], [0, 6]),
        (0.1, [2, 4, 6], [0, 2, 4, 6]),
        (4.0, [2, 6], [0, 2, 3, 6, 7]),
        (8.0, [4], list(range(8))),
    ],
)
def test_a_joint_training_is_quantized_within_its_time(
    seconds: float, begins: list[int], steps: list[int], tmp_path: Path
) -> None:
    """It left out steps in float, and ended with a model that could not be used, or with none."""
    history, done = timed(tmp_path, seconds, begins)
    assert done == steps
    assert was_cut(history) == (len(steps) < 8)


def test_a_checkpoint_says_what_was_spent(tmp_path: Path) -> None:
    assert seconds_spent(tmp_path) == 0
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters())
    write_checkpoint(
        tmp_path, {"model": model}, optimizer, step=3, history=[], standing=Standing(None, 12.5)
    )
    assert seconds_spent(tmp_path) == 12.5
    # In its next life the training has the rest alone.
    training = loop.Training(job(20.0), tmp_path)
    write_checkpoint(
        tmp_path,
        training.modules,
        training.optimizer,
        step=4,
        history=[],
        standing=Standing(None, 19.9999),
    )
    history = training.run()
    assert was_cut(history)
    assert history[-1]["step"] == 5


def test_a_check_says_that_the_minutes_will_not_do() -> None:
    def cost(stage: str, seconds: float) -> Cost:
        return Cost(stage, seconds, 0.0, 0.0)

    costs = [cost("teacher", 100), cost("train (kd)", 530), cost("export", 900)]
    recipe = parse(RECIPE)
    (line,) = note_of_minutes(recipe, costs)
    assert "train.minutes 10 are too few" in line
    assert "Raise it to 11" in line
    assert note_of_minutes(recipe, costs[:1]) == []
    assert note_of_minutes(parse(RECIPE, overrides=["train.minutes=null"]), costs) == []


def test_what_ended_by_itself_is_found_without_a_bound_and_what_was_cut_is_not() -> None:
    rich = context("train.minutes=1000")
    found = prepare_teacher(rich.recipe, rich)
    unbound = context("train.minutes=null")
    assert prepare_teacher(unbound.recipe, unbound).folder == found.folder
    assert unbound.store.records[-1]["reused"]
    poor = context("train.minutes=0.001", "teacher.width=5")
    cut = prepare_teacher(poor.recipe, poor)
    again = context("train.minutes=0.001", "teacher.width=5")
    assert prepare_teacher(again.recipe, again).folder == cut.folder
    assert again.store.records[-1]["reused"]
    unbound = context("train.minutes=null", "teacher.width=5")
    assert prepare_teacher(unbound.recipe, unbound).folder != cut.folder


def test_a_run_tells_what_its_trainings_take_by_their_first_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock by which an epoch of the teacher takes 30 s, and one of a student 10 s."""
    run = context("train.minutes=null", "train.patience=null")
    told: list[str] = []
    run.store.tell = lambda event: told.append(str(getattr(event, "text", "")))
    time = Time()
    monkeypatch.setattr(outlook.time, "monotonic", time)
    seconds_of = {"teacher": 30.0, "train": 10.0}
    started: list[str] = []
    run.when_started = lambda stage: started.append(stage.name)

    def train(job: Job, folder: Path) -> list[dict[str, Any]]:
        for epoch in range(2):
            is_first_of_short = epoch == 0 and started[-1] == "train"
            time.seconds += seconds_of[started[-1]] + 5 * is_first_of_short
            job.tell(EpochEnded(epoch + 1, 2, {}, {}))
        return []

    run.train = train
    outlook.tell_outlook(run)
    one = replace(job(100.0, 0), tell=run.store.tell)
    for name in ("teacher", "teacher", "train", "train"):
        # What is built within a training's stage trains nothing.
        for each in (name, "encode")[: 1 + (name == "train")]:
            run.when_started(Stage(name=each, inputs={}, build=lambda folder: None))
        started[:] = [name]
        run.train(one, Path("nowhere"))
    lines = [line for line in told if "at most" in line]
    # A short first epoch is not taken: it begins with what is done once.
    # Of a teacher's epoch students take half: (3 x 2 + 2 x (4 + 4 + 5.2)) x 15 s.
    assert lines[0].startswith("trainings: at most about 8 min 06 s in all")
    assert lines[1].startswith("students: at most about 4 min 24 s in all")
    assert len(lines) == 2
