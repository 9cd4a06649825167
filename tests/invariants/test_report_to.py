"""`report_to`: every epoch and the verdict reach a tracker, the result does not depend on it, and one that fails is told and left out."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking as accelerates

import limbeck
from limbeck.core.events import Event, Note
from limbeck.core.files import file_digest, read_json
from limbeck.pipeline import tracking
from limbeck.pipeline.run_folder import refuse_to_lose
from limbeck.pipeline.tracking import curve_of, name_of, project_of, training_of
from limbeck.recipe.reading import write
from limbeck.recipe.trackers import destinations

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 4, epochs: 2}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 2, learning_rate: 0.01, threads: 1, batch_rows: 256}
distill: {losses: {kl: {}}}
quantize: {when: train}
verdict: {arms: [kd, joint], latency_rows: 4}
"""
RUNS = ["joint-seed-0", "kd-seed-0", "teacher", "verdict"]


class Fake:
    """What accelerate's trackers do, noted."""

    name = "tensorboard"

    def __init__(self, name: str, folder: str) -> None:
        self.run = name
        self.folder = folder

    def start(self) -> None:
        seen.setdefault(self.run, []).append("start")

    def log(self, values: dict[str, float], step: int) -> None:
        seen[self.run].append((step, values))

    def finish(self) -> None:
        seen[self.run].append("finish")


seen: dict[str, list[Any]] = {}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, untimed: None) -> None:
    """A tracker that takes everything, under the name of one that need not be installed."""
    seen.clear()
    monkeypatch.setattr(accelerates, "TensorBoardTracker", Fake)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: name if name == "tensorboard" else found(name, *rest),
    )


def run(out: Path, *overrides: str, notes: list[str] | None = None) -> Any:
    def tell(event: Event) -> None:
        if notes is not None and isinstance(event, Note):
            notes.append(str(event))

    recipe = limbeck.parse(RECIPE, overrides=list(overrides))
    return limbeck.run(recipe, out, name="first", tell=tell)


@pytest.mark.slow
def test_every_epoch_and_the_verdict_are_sent_and_change_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain")
    assert not seen
    # Everything is reused, and sent all the same.
    watched = run(tmp_path / "watched", "report_to=tensorboard")
    reused = {name: calls[1:-1] for name, calls in seen.items()}
    assert sorted(seen) == RUNS and all(
        calls[0] == "start" and calls[-1] == "finish" for calls in seen.values()
    )
    for name in RUNS[:-1]:
        assert [step for step, _ in reused[name]] == [1, 2]
        assert all("validation/accuracy" in values for _, values in reused[name])
    assert {"train/kl", "train/task", "train/total"} <= set(reused["kd-seed-0"][0][1])
    ((step, verdict),) = reused["verdict"]
    assert step == 0 and verdict["verdict/drop"] == watched.verdict.drop
    assert verdict["test/joint/accuracy"] == watched.arms["joint"].mean["accuracy"]
    assert verdict["bytes/joint"] == watched.arms["joint"].bytes
    # The trainings and the artifact are the same entries and bytes.
    assert plain.arms["joint"].mean == watched.arms["joint"].mean
    stages = [read_json(tmp_path / name / "stages.json") for name in ("plain", "watched")]
    entries = [{row["entry"] for row in found} for found in stages]
    assert entries[1] <= entries[0] and all(row["reused"] for row in stages[1])
    for path in (tmp_path / "plain" / "artifact").iterdir():
        if path.name != "README.md":
            assert file_digest(path) == file_digest(tmp_path / "watched" / "artifact" / path.name)


def test_what_is_trained_is_sent_while_it_trains(tmp_path: Path) -> None:
    run(tmp_path / "run", "report_to=[tensorboard]")
    assert sorted(seen) == RUNS
    curves = [line for name in RUNS[:-1] for line in seen[name] if line not in ("start", "finish")]
    assert len(curves) == 6
    # Each once, though the end sends what is missing.
    assert all(seen[name].count("start") == 1 for name in RUNS)
    history = read_lines(tmp_path / "run" / "metrics.jsonl")
    kd = curve_of([point for point in history if point["arm"] == "kd"])
    for step, values in seen["kd-seed-0"][1:-1]:
        assert values == pytest.approx(kd[step], abs=1e-3)


def read_lines(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_one_that_fails_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Fake, values: Any, step: int) -> None:
        raise ConnectionError(111, "nobody answers")

    monkeypatch.setattr(Fake, "log", refuse)
    notes: list[str] = []
    report = run(tmp_path / "run", "report_to=tensorboard", notes=notes)
    assert report.arms["joint"].bytes
    (told,) = [note for note in notes if "report_to" in note]
    assert "tensorboard is left out from here on" in told and "nobody answers" in told
    assert list(seen) == ["teacher"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("report_to=tensorbord", "there is no tracker `tensorbord`. Did you mean `tensorboard`?"),
        ("report_to=[mlflow, wandb]", "there is no tracker `wandb`"),
        ("report_to=7", "write the name of a tracker, a list of names, or {mlflow: DESTINATION}"),
        ("report_to=trackio", "report_to: `trackio` is not installed. Run `pip install trackio`"),
    ],
)
def test_what_cannot_be_told_is_refused_before_anything(
    written: str, told: str, tmp_path: Path
) -> None:
    if "pip install" in told and importlib.util.find_spec("trackio"):
        pytest.skip("trackio is installed")
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        run(tmp_path / "run", written)
    assert told in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_it_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    recipe = limbeck.parse(RECIPE, overrides=["report_to.mlflow=http://user:secret@host:5000"])
    assert "secret" not in write(recipe, portable=True) and "report_to" not in write(
        recipe, portable=True
    )
    assert destinations(recipe.report_to) == {"mlflow": "http://user:secret@host:5000"}
    assert (destinations(None), destinations("mlflow")) == ({}, {"mlflow": None})
    run(tmp_path / "run")
    # The same run, watched: it goes on in its folder.
    refuse_to_lose(limbeck.parse(RECIPE, overrides=["report_to=tensorboard"]), tmp_path / "run")
    with pytest.raises(ValueError, match=r"train.epochs: 2 there, 3 here"):
        refuse_to_lose(limbeck.parse(RECIPE, overrides=["train.epochs=3"]), tmp_path / "run")


def test_names_are_those_of_folders() -> None:
    assert name_of("train (kd+ptq, seed 3)") == "kd-ptq-seed-3"
    assert name_of("teacher (rate 0.001, seed 0)") == "teacher-rate-0.001-seed-0"
    assert project_of("it's, mine/2") == "it-s-mine-2"
    assert training_of({"arm": "teacher", "seed": 0}) == "teacher"
    assert tracking.named("train", {"map[1]": 2.0}) == {"train/map-1-": 2.0}


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed"
)
def test_tensorboard_reads_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path / "run", "report_to=tensorboard")
    run(tmp_path / "run", "report_to=tensorboard")
    for name in RUNS[:-1]:
        (file,) = (tmp_path / "run" / "tensorboard" / name).iterdir()
        events = EventAccumulator(str(file)).Reload()
        assert [event.step for event in events.Scalars("validation/accuracy")] == [1, 2]
