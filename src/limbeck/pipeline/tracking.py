"""`report_to`: each training's losses and metrics by epoch, and the verdict, in TensorBoard, MLflow
or trackio, by accelerate's trackers.

A training is a run of its own there (`joint-seed-0`), so that curves lie over one another; the
verdict is one more. What was reused, went on from a checkpoint or was trained by another process is
sent once the arms are there. Nothing of it is part of a key: the result does not depend on who
watches, and a tracker that fails is told and left out.
"""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import tracking

from limbeck.core.events import EpochEnded, Event, Note
from limbeck.core.foreign import told_as
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.stage import Stage
from limbeck.recipe.trackers import destinations
from limbeck.reports.typed import Report
from limbeck.training.checkpoints import History
from limbeck.training.job import Job

# Trackers that would report themselves to their makers are told not to.
OPT_OUTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# Where MLflow sends, if the recipe does not say it.
MLFLOW_URI = "MLFLOW_TRACKING_URI"
# MLflow takes no other signs in the name of a figure.
FOREIGN_SIGNS = re.compile(r"[^\w./ -]")
VERDICT = "verdict"

# Step -> the figures that are known then, by name.
Curve = dict[int, dict[str, float]]


class Failed(ValueError):
    """A tracker did not take what it was given."""


class Tracking:
    """Stands between a run and its trainings, as `Outlook` does, and sends what they tell.

    run: what the arms share. folder: the run folder. title: the report's, by which MLflow's
    experiment and trackio's project are called.
    """

    def __init__(self, run: RunContext, folder: Path, title: str) -> None:
        self.run = run
        self.folder = folder
        self.title = title
        self.destinations = destinations(run.recipe.report_to)
        self.run_train = run.train
        self.run_starts = run.when_started
        self.name = ""
        # What was sent of each training, so that nothing is sent twice.
        self.sent: dict[str, set[int]] = {}
        # A run that nobody watches is left as it is.
        if self.destinations:
            run.train = self.train
            run.when_started = self.start
            for name, value in OPT_OUTS.items():
                os.environ.setdefault(name, value)
        if "tensorboard" in self.destinations and not self.destinations["tensorboard"]:
            # Ours alone: the curves of an earlier run would lie under this one's.
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)

    def start(self, stage: Stage) -> None:
        """Note what trains next; other stages may be built within it."""
        if stage.name in ("teacher", "train"):
            self.name = name_of(stage.title or stage.name)
        self.run_starts(stage)

    def train(self, job: Job, folder: Path) -> History:
        """Train a job to its end, and send each epoch when it is over."""
        sent = self.sent.setdefault(self.name, set())
        with self.opened(self.name) as trackers:

            def tell(event: Event) -> None:
                job.tell(event)
                if isinstance(event, EpochEnded):
                    sent.add(event.epoch)
                    values = named("train", event.losses) | named("validation", event.metrics)
                    self.send(trackers, values, event.epoch)

            history = self.run_train(replace(job, tell=tell), folder)
            # Of one that went on from a checkpoint the epochs before that.
            self.send_rest(trackers, self.name, curve_of(history))
        return history

    def finish(self, report: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]) -> None:
        """Send what was trained elsewhere or before, and the verdict.

        report: report.json's content. curves: the lines of metrics.jsonl.
        """
        if not self.destinations:
            return
        # Arms that share a training each have a curve of their own.
        points: dict[str, list[Mapping[str, Any]]] = {}
        for point in curves:
            points.setdefault(training_of(point), []).append(point)
        for name, history in points.items():
            curve = curve_of(history)
            if set(curve) - self.sent.setdefault(name, set()):
                with self.opened(name) as trackers:
                    self.send_rest(trackers, name, curve)
        with self.opened(VERDICT) as trackers:
            self.send(trackers, outcome(Report(report)), 0)

    def send_rest(self, trackers: list[Any], name: str, curve: Curve) -> None:
        """Send the epochs of a training that were not sent yet."""
        for epoch in sorted(set(curve) - self.sent[name]):
            self.sent[name].add(epoch)
            self.send(trackers, curve[epoch], epoch)

    def send(self, trackers: list[Any], values: Mapping[str, float], step: int) -> None:
        """Send figures to each tracker; one that fails is told, and left out from then on."""
        for tracker in list(trackers):
            try:
                with quietly():
                    tracker.log(dict(values), step=step)
            except Failed as error:
                trackers.remove(tracker)
                self.leave_out(tracker.name, error)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[list[Any]]:
        """The trackers of a run of that name, closed at its end."""
        trackers: list[Any] = []
        # A copy: one that does not start is left out of them.
        for kind in list(self.destinations):
            try:
                with quietly():
                    tracker = self.create(kind, name)
                    tracker.start()
                trackers.append(tracker)
            except Failed as error:
                self.leave_out(kind, error)
        started = list(trackers)
        try:
            yield trackers
        finally:
            for tracker in started:
                with contextlib.suppress(Failed), quietly():
                    tracker.finish()

    def leave_out(self, kind: str, error: Failed) -> None:
        """Tell that a tracker failed, and send it no more: a training is worth more than its
        curve."""
        self.destinations.pop(kind, None)
        self.run.store.tell(Note(f"warning: report_to: {kind} is left out from here on: {error}"))

    def create(self, kind: str, name: str) -> Any:
        """accelerate's tracker for one of the runs, not started yet."""
        destination = self.destinations[kind]
        if kind == "tensorboard":
            folder = destination or self.folder / "tensorboard"
            return tracking.TensorBoardTracker(name, str(folder))
        if kind == "mlflow":
            return self.mlflow(destination, name)
        # A project of this machine, unless a Space of Hugging Face is named.
        where = {"space_id": destination} if destination else {}
        return tracking.TrackioTracker(project_of(self.title), name=name, **where)

    def mlflow(self, destination: str | None, name: str) -> Any:
        """MLflow's tracker; without a destination its files lie in the run folder."""
        import mlflow

        files = None
        uri = destination or os.environ.get(MLFLOW_URI)
        if uri is None:
            folder = self.folder.resolve()
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            files = str(folder / "mlruns")
        mlflow.set_tracking_uri(uri)
        return tracking.MLflowTracker(project_of(self.title), logging_dir=files, run_name=name)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Raise whatever a tracker raises as Failed; what it prints is no answer of a command."""
    with contextlib.redirect_stdout(sys.stderr), told_as(Failed):
        try:
            yield
        # A server that does not answer; what the disk refuses a tracker is no end of a run either.
        except OSError as error:
            raise Failed(str(error)) from error


def name_of(title: str) -> str:
    """`train (kd+ptq, seed 0)` to `kd-ptq-seed-0`, which is a folder's name on any system."""
    return re.sub(r"[^\w.]+", "-", title.removeprefix("train")).strip("-")


def project_of(title: str) -> str:
    """The report's title as the name of a project: a hub takes no others."""
    return re.sub(r"[^\w.-]+", "-", title).strip("-")


def training_of(point: Mapping[str, Any]) -> str:
    """The training that a line of metrics.jsonl is of."""
    arm = point["arm"]
    return arm if arm == "teacher" else name_of(f"train ({arm}, seed {point['seed']})")


def named(group: str, values: Mapping[str, float]) -> dict[str, float]:
    """Figures by `group/name`, which trackers show together."""
    return {f"{group}/{FOREIGN_SIGNS.sub('-', name)}": value for name, value in values.items()}


def curve_of(history: Sequence[Mapping[str, Any]]) -> Curve:
    """The last losses and the metrics of each epoch, from 1, of what a training logged."""
    curve: Curve = {}
    for point in history:
        # Such as the one that says that the time was used up.
        if "epoch" not in point:
            continue
        values = curve.setdefault(point["epoch"] + 1, {})
        # Of an epoch's losses the later ones take the place of the earlier.
        values |= named("train", point.get("losses", {}))
        values |= named("validation", point.get("validation", {}))
    return curve


def outcome(report: Report) -> dict[str, float]:
    """The verdict, and each arm's figures on the test split, as numbers."""
    values: dict[str, float | None] = {}
    verdict = report.verdict
    if verdict:
        values |= {
            "verdict/kept": float(verdict.kept),
            "verdict/drop": verdict.drop,
            "verdict/speedup": verdict.speedup,
            "verdict/compression": verdict.compression,
        }
    for name, arm in report.arms.items():
        for metric, mean in arm.mean.items():
            values[f"test/{name}/{metric}"] = mean
        values[f"bytes/{name}"] = arm.bytes
        if arm.latency_ms:
            values[f"ms/{name}"] = arm.latency_ms["p50"]
    known: dict[str, float] = {}
    for name, value in values.items():
        # Undefined on these rows, or of an arm that is not handed out.
        if value is not None:
            known[FOREIGN_SIGNS.sub("-", name)] = float(value)
    return known
