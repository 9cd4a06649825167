"""The teacher's cache in parts: resumed, shared by two processes, the same answers as in one piece; and the k largest logits of each unit."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck import run
from limbeck.core.cache.store import Store, lock
from limbeck.core.events import Event, Started
from limbeck.core.files import read_json
from limbeck.distillation import objective, teacher, teacher_cache
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.runs import label
from limbeck.pipeline.steps import teacher_outputs
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse
from limbeck.tasks import Batch

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 6, epochs: 2}
student: {model: small_cnn, width: 4}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1}
distill: {losses: {kl: {}, hidden: {}}}
"""


def cache(recipe: Recipe) -> teacher_cache.TeacherCache:
    bench = RunContext(recipe, Store())
    ready = prepare_teacher(recipe, bench)
    start = cut_student(recipe, bench, ready)
    found = teacher_outputs.teacher_outputs(
        recipe, bench, ready, start, objective.terms("cross_entropy", recipe.distill)
    ).open()
    assert isinstance(found, teacher_cache.TeacherCache)
    return found


def started(recipe: Recipe) -> list[str]:
    told: list[Event] = []
    label(recipe, told.append)
    return [event.stage for event in told if isinstance(event, Started)]


def batch(rows: list[int]) -> Batch:
    return Batch(
        {},
        None,
        torch.zeros(len(rows), 1),
        torch.ones(len(rows), 1, dtype=torch.bool),
        np.array(rows),
    )


def test_a_run_asks_nothing_after_its_labelling() -> None:
    # The student first: what is refused of it is told before a teacher is trained.
    assert started(parse(RECIPE)) == ["student", "teacher", "label"]
    teacher.counted[teacher.FORWARDS] = 0
    assert started(parse(RECIPE)) == []
    assert teacher.counted[teacher.FORWARDS] == 0


def test_parts_hold_what_one_piece_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, rows = compatibility.resolved(parse(RECIPE)), batch([3, 400, 399, 801, 0])
    whole = cache(recipe)(rows)
    monkeypatch.setattr(teacher_outputs, "PART_ROWS", 200)
    parts = cache(recipe)
    assert len(parts.logits.parts) > 3
    few = cache(compatibility.resolved(parse(RECIPE, overrides=["distill.top_k=9"])))
    # Nine of ten are all of them, but for steps of 1/32 and float32.
    log_p = whole.logits.log_softmax(-1)
    torch.testing.assert_close(few(rows).logits, log_p, atol=1 / 64 + 1e-4, rtol=0)
    found = parts(rows)
    torch.testing.assert_close(found.logits, whole.logits, atol=1e-5, rtol=1e-5)
    for tap, value in whole.inner.items():
        torch.testing.assert_close(found.inner[tap], value, atol=2e-3, rtol=2e-3)


def test_a_labelling_that_was_stopped_goes_on_after_its_last_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teacher_outputs, "PART_ROWS", 300)
    whole, calls = teacher_outputs.write_cache, list[int]()

    def twice(*args: object) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(teacher_outputs, "write_cache", twice)
    with pytest.raises(KeyboardInterrupt):
        label(parse(RECIPE))
    monkeypatch.setattr(teacher_outputs, "write_cache", whole)
    assert started(parse(RECIPE)) == [
        "label, part 3 of 5",
        "label, part 4 of 5",
        "label, part 5 of 5",
    ]


def test_what_another_process_labels_is_left_to_it_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(teacher_outputs, "PART_ROWS", 300)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "probe"))
    label(parse(RECIPE))
    first = next(
        entry
        for entry in (tmp_path / "probe").glob("label-*")
        if read_json(entry / "stage.json")["rows"][0] == 0
    ).name
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "shared"))
    asked: list[str] = []
    last_begun, released = threading.Event(), threading.Event()

    def other() -> None:
        """Holds part 1 until the last part was begun."""
        with lock(tmp_path / "shared" / "locks" / first, wait=True):
            held.set()
            assert last_begun.wait(60)
        released.set()

    def tell(event: Event) -> None:
        if isinstance(event, Started):
            asked.append(event.stage)
            if event.stage == "label, part 5 of 5":
                last_begun.set()

    held = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(60)
    label(parse(RECIPE), tell)
    thread.join()
    assert [name for name in asked if name.startswith("label")] == [
        f"label, part {number} of 5" for number in (2, 3, 4, 5, 1)
    ]
    assert released.is_set()


# Trainings of 7 s; what the cache keeps of each unit is held to slow code above.
@pytest.mark.slow
def test_training_on_the_largest_logits_is_training_on_all_of_them(tmp_path: Path) -> None:
    """Half of the labels, with a teacher that knows a little: pointwise, and in where the training ends."""
    known = ["teacher.epochs=8", "train.epochs=4", "distill.losses={kl: {}}"]
    rows = batch(list(range(0, 1200, 7)))
    whole, half = (
        cache(compatibility.resolved(parse(RECIPE, overrides=[*known, f"distill.top_k={top}"])))(
            rows
        ).logits.log_softmax(-1)
        for top in (0, 5)
    )
    assert (whole.exp() * (whole - half)).sum(-1).mean() < 5e-3
    reports = {
        top: run(parse(RECIPE, overrides=[*known, f"distill.top_k={top}"]), tmp_path / str(top))
        for top in (0, 5, 10)
    }
    accuracies = {top: report["arms"]["kd"]["mean"]["accuracy"] for top, report in reports.items()}
    assert accuracies[5] == pytest.approx(accuracies[0], abs=0.02), "seven rows of 359"
    assert [
        stage["name"]
        for stage in reports[10]["stages"]
        if stage["name"] == "label" and stage["reused"]
    ], "all of ten are all"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("distill:", "# ", "has no `distill`"),
        ("threads: 1", "threads: 1, augment: [flip]", r"`train\.views`"),
    ],
)
def test_what_has_no_answers_to_keep_is_said(old: str, new: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        label(parse(RECIPE.replace(old, new)))
