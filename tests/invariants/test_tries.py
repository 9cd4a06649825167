"""Several settings of a teacher, of which validation takes the best."""

from pathlib import Path
from typing import Any

import pytest

from limbeck.core.cache.store import Store
from limbeck.core.errors import Diverged
from limbeck.core.events import Event, Note, Started
from limbeck.pipeline.arm import run_teacher_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps import tries
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.model import Teacher
from limbeck.recipe.reading import parse
from limbeck.training.loop import Training

pytest.importorskip("torch")

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, epochs: 2, tries: 3, learning_rate: 1.0e-2}
student: {model: small_cnn, width: 2}
train: {epochs: 1, threads: 1}
"""


def context(*overrides: str, tell: Any = None) -> RunContext:
    recipe = compatibility.resolved(parse(RECIPE, overrides=list(overrides)))
    return RunContext(recipe, Store(tell=tell) if tell else Store())


def history(*values: float, kept: int) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = [
        {"step": step, "epoch": step - 1, "validation": {"f1": value}}
        for step, value in enumerate(values, 1)
    ]
    return [*points, {"step": len(values), "kept": {"step": kept}}]


@pytest.mark.parametrize(
    ("written", "labelled", "validation", "expected"),
    [
        ("auto", 1999, 30, 3),
        ("auto", 2000, 30, 1),
        ("auto", 100, 29, 1),
        (5, 10**6, 30, 5),
        (5, 100, 29, 1),
        (1, 100, 30, 1),
    ],
)
def test_how_many_are_tried(written: Any, labelled: int, validation: int, expected: int) -> None:
    settings = Teacher(model="small_cnn", tries=written)
    assert tries.number_of_tries(settings, labelled, validation) == expected
    tuned = settings.model_copy(update={"epochs": 0})
    assert tries.number_of_tries(tuned, labelled, validation) == 1


@pytest.mark.parametrize(("labelled", "expected"), [(499, 3), (500, 1)])
def test_a_pretrained_model_is_tried_on_fewer_rows(labelled: int, expected: int) -> None:
    """Three trainings of MiniLM on 608 long texts took eight of ten minutes."""
    assert (
        tries.number_of_tries(Teacher(model="some/encoder", tries="auto"), labelled, 30) == expected
    )


def test_the_best_epoch_of_the_best_try_wins_and_the_first_of_equals() -> None:
    def judge(figures: Any) -> tuple[float, ...]:
        return (figures["f1"],)

    found = [
        history(0.5, 0.7, kept=2),
        [{"diverged": "the loss is not finite"}],
        history(0.8, 0.6, kept=1),
        history(0.8, 0.9, kept=1),
    ]
    assert tries.best_try(found, judge) == 2
    assert tries.best_try(found[:2], judge) == 0
    assert tries.best_try(found[1:2], judge) is None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), 3),
        (("teacher.tries=null",), 1),  # a rate is named
        (("teacher.tries=null", "teacher.learning_rate=null"), "auto"),
        (("teacher.tries=null", "teacher.learning_rate=null", "train.learning_rate=1e-3"), 1),
    ],
)
def test_what_is_tried_where_the_recipe_leaves_it_open(
    overrides: tuple[str, ...], expected: Any
) -> None:
    recipe = compatibility.resolved(parse(RECIPE, overrides=list(overrides)))
    assert recipe.teacher is not None
    assert recipe.teacher.tries == expected
    assert compatibility.resolved(recipe) == recipe


def test_the_winner_is_the_teacher_and_its_training_is_that_of_its_recipe(tmp_path: Path) -> None:
    told: list[Event] = []
    run = context(tell=told.append)
    arm = run_teacher_arm(run)
    started = [event.stage for event in told if isinstance(event, Started)]
    assert [title for title in started if title.startswith("teacher")] == [
        "teacher (rate 0.01, seed 0)",
        "teacher (rate 0.03, seed 0)",
        "teacher (rate 0.00333, seed 0)",
    ]
    (note,) = [note for note in arm.notes if "settings tried" in note]
    assert note.count("(taken)") == 1
    # 1. The best of what the note says was taken.
    parts = note.split(": ", 2)[2].split("; ")
    values = [float(part.split("accuracy ")[1].split()[0]) for part in parts]
    assert "(taken)" in parts[max(range(3), key=values.__getitem__)]
    # 2. A recipe that names its rate finds the same stage.
    rate = parts[max(range(3), key=values.__getitem__)].split()[1].rstrip(",")
    alone = context("teacher.tries=1", f"teacher.learning_rate={rate}")
    found = prepare_teacher(alone.recipe, alone)
    assert found.folder == arm.student.folder
    assert found.notes == []
    # 3. Whoever asks again trains nothing.
    again = context()
    prepare_teacher(again.recipe, again)
    assert all(record["reused"] for record in again.store.records)


def test_a_try_that_diverges_is_left_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run_training = Training.run

    def diverging(training: Training) -> Any:
        if training.job.settings.rate > 0.02:
            raise Diverged("step 3 of 9: the loss term `task` is not finite")
        return run_training(training)

    monkeypatch.setattr(Training, "run", diverging)
    told: list[Event] = []
    run = context("teacher.epochs=1", tell=told.append)
    (note,) = prepare_teacher(run.recipe, run).notes
    assert "rate 0.03, seed 0: diverged;" in note
    assert [event.text for event in told if isinstance(event, Note)].count(note) == 1
    # By itself it stops the run, as ever, also where the cache knows of it.
    alone = context("teacher.epochs=1", "teacher.tries=1", "teacher.learning_rate=0.03")
    with pytest.raises(Diverged, match="step 3 of 9"):
        prepare_teacher(alone.recipe, alone)


def test_where_every_try_diverges_the_run_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(training: Training) -> Any:
        raise Diverged(f"rate {training.job.settings.rate:g}")

    monkeypatch.setattr(Training, "run", diverging)
    run = context("teacher.epochs=1", "teacher.width=5")
    with pytest.raises(Diverged, match=r"rate 0\.01$"):
        prepare_teacher(run.recipe, run)
