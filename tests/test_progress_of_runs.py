"""What a run tells while it runs, and how well it foretells its end."""

from pathlib import Path

import numpy as np
import pytest

from limbeck import run
from limbeck.core.events import (
    QUANTIZED,
    SETUP,
    STEP,
    VALIDATION,
    Ended,
    EpochEnded,
    Event,
    Meter,
    Note,
    Progress,
    Started,
)
from limbeck.data.batches import batch_plan
from limbeck.recipe.reading import parse

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, epochs: 1}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, batch_rows: 256}
distill: {losses: {kl: {}}}
"""


class Clock:
    """Seconds that only pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_events_of_a_run(tmp_path: Path) -> None:
    told: list[Event] = []
    run(parse(RECIPE), tmp_path / "run", tell=told.append)
    lasting = [event for event in told if not isinstance(event, Progress)]
    stages = [event.stage for event in lasting if isinstance(event, Started)]
    assert stages == [
        "student",
        "teacher",
        "evaluate",
        "label",
        "train (kd, seed 0)",
        "evaluate",
        "latency",
    ]
    assert [event.stage for event in lasting if isinstance(event, Ended)] == stages
    epochs = [event for event in lasting if isinstance(event, EpochEnded)]
    assert [(event.epoch, event.epochs) for event in epochs] == [(1, 1), (1, 2), (2, 2)]
    assert list(epochs[-1].losses) == ["task", "kl", "total"]
    assert set(epochs[-1].metrics) == {"accuracy", "macro_f1", "auc", "nats"}
    assert any(isinstance(event, Note) and "drawn from train" in event.text for event in lasting)


def test_a_run_from_python_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(parse(RECIPE), tmp_path / "run")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("start", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("overhead", [0.0, 0.02])
def test_the_time_left_is_within_a_fifth_after_a_tenth(start: float, overhead: float) -> None:
    """Batches of unequal length, a step with a fixed part, quantized steps at 1.3 times, a slow first step, noise, validation after each epoch."""
    chance = np.random.default_rng(0)
    sizes = np.clip(chance.lognormal(3, 0.8, 3000), 3, 256).astype(int)
    plans = [batch_plan(sizes.tolist(), 1024, seed=0, epoch=epoch) for epoch in range(4)]
    steps = [
        (float(len(rows) * sizes[rows].max()), rows is plan[-1]) for plan in plans for rows in plan
    ]
    kinds = [QUANTIZED if step >= int(start * len(steps)) else STEP for step in range(len(steps))]
    validation = float(sizes.sum()) / 10
    work = {
        kind: sum(units for (units, _), own in zip(steps, kinds, strict=True) if own == kind)
        for kind in (STEP, QUANTIZED)
    }
    clock = Clock()
    meter = Meter(work | {VALIDATION: validation * len(plans)}, clock)
    moments = []
    for index, ((units, ends_epoch), kind) in enumerate(zip(steps, kinds, strict=True)):
        meter.advance(SETUP, 0)
        seconds = units * 3e-4 * (1.3 if kind == QUANTIZED else 1.0) + overhead
        clock.now += seconds * chance.uniform(0.9, 1.1) * (5 if index == 0 else 1)
        meter.advance(kind, units)
        if ends_epoch:
            clock.now += validation * 1.3e-4
            meter.advance(VALIDATION, validation)
        moments.append((clock.now, meter.time_left_s()))
    total = clock.now - 100
    late = [
        (clock.now - now, left) for now, left in moments if 0.1 * total <= now - 100 <= 0.95 * total
    ]
    assert len(late) > 100
    for true, left in late:
        assert left == pytest.approx(true, rel=0.2)
    assert meter.time_left_s() == 0
