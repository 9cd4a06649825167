"""What a run will take: its own steps, rehearsed on a few batches of the right size in a cache that is
thrown away, scaled to the whole work.

The rehearsal walks `run_arm` as the run does, with a context that counts: a training takes a few
steps, and every stage that was built is scaled by what it says of its work (`stage.Work`).

Seconds: each kind of work (float steps, quantized steps, passes without training, one row in a
runtime) is timed a unit (a padded token, or an image), and the units of the whole are counted on a
sample of encoded rows. Memory: the peak of this process, whose batches are among the largest, with
what the rows not encoded here will hold, and the holes that batches of many lengths leave in a heap.
Nothing is taken as found in the cache. What the rehearsal raises, the run would have raised later.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.artifact.inputs import raw
from limbeck.artifact.load import load
from limbeck.core import memory
from limbeck.core.events import Reporter, silent
from limbeck.core.files import read_json
from limbeck.core.memory import peak_mb
from limbeck.core.store import Store
from limbeck.data.batches import batch_plan, evaluation_budget, padded_size
from limbeck.data.splits import Splits
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.taps import HIDDEN
from limbeck.pipeline.arm import Arm, run_arm, run_teacher_arm, use_machine
from limbeck.pipeline.arms import arm_title, derive_arms, training_title
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.latency import answerers_of
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.copies import foreseen, with_copies
from limbeck.pipeline.volumes import Volume, spread, units_of
from limbeck.quantization.progressive import beginnings
from limbeck.recipe.model import Recipe, Verdict
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task
from limbeck.training.checkpoints import History
from limbeck.training.job import Job, measure_nothing
from limbeck.training.loop import Training, batch_budget
from limbeck.training.scoring import score_split

BATCHES = 3  # drawn for the rehearsal, beside the largest
SAMPLE_ROWS = 4000  # encoded to count units, at most
SAMPLE_SECONDS = 1.5  # spent on encoding them, at most
LEAST_SAMPLE = 64  # rows that are encoded however long they take
TEST_ROWS = 32
TIMED_ANSWERS = 20
# A checkpoint holds the weights and two moments of each; the finished weights stand beside it.
CHECKPOINT_SIZE = 4
WARMUP_ROWS = 10  # of `artifact.latency`, which come before those that are timed


@dataclass(frozen=True)
class Cost:
    """One stage of the run, all its arms and seeds together.

    `peak_mb` is the process's so far, as report.json has it.
    """

    stage: str
    seconds: float
    peak_mb: float
    disk_mb: float


def rehearse(
    recipe: Recipe, splits: Splits, reading_seconds: float, tell: Reporter = silent
) -> list[Cost]:
    """The cost of every stage of a run.

    Args:
        splits: the whole data, which took `reading_seconds` to read.
        tell: hears what the stages tell.

    Raises:
        ValueError: whatever would stop the run, with the stage that it would stop in.
    """
    cache = Store().folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=cache) as folder:
        rehearsal = Rehearsal(recipe, splits, reading_seconds, Path(folder), tell)
        try:
            return rehearsal.run()
        except (RuntimeError, IndexError) as error:  # what torch raises for shapes that do not fit
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{rehearsal.doing}: a batch cannot be computed: {reason}") from None
        except ValueError as error:
            stage = rehearsal.doing.split()[0]
            raise ValueError(
                f"{rehearsal.doing}: {str(error).removeprefix(f'{stage}: ')}"
            ) from None


class Rehearsal:
    """A run in small. `doing`: what is under way, for an error."""

    def __init__(
        self, recipe: Recipe, splits: Splits, reading_seconds: float, folder: Path, tell: Reporter
    ) -> None:
        self.recipe = recipe
        self.splits = splits
        self.reading_seconds = reading_seconds
        self.costs: list[Cost] = []
        self.volumes: dict[tuple[str, str], Volume] = {}
        self.doing = "model"
        # Of memory: holes of the heap, and the teacher's cache, which counts as this process's once
        # it was read.
        self.holes_mb = 0.0
        self.mapped_mb = 0.0
        # Of the arm and the training under way.
        self.arm = recipe
        self.seeds = 1
        self.training_seconds = 0.0
        self.measuring_seconds = 0.0
        self.context = RunContext(
            recipe,
            Store(folder / "cache", tell=tell),
            train=self.measure_training,
            when_started=self.note_start,
            when_built=self.add_stage,
        )

    def run(self) -> list[Cost]:
        """Data, teacher, every arm, the shipped arm's layers, latency."""
        recipe, context = self.recipe, self.context
        use_machine(recipe)
        arms = {arm_title(recipe): recipe}
        if recipe.verdict:
            arms = derive_arms(recipe, 0)
        if recipe.augment:
            self.augment()
        context.data = self.sample()
        # A vocabulary is cut to what many rows use.
        context.surgery_rows = spread(self.splits.train, SAMPLE_ROWS)
        self.add("data", self.reading_seconds, 0)
        done: dict[str, Arm] = {}
        if recipe.teacher:
            self.doing = "teacher"
            done["teacher"] = run_teacher_arm(context)
        self.seeds = recipe.verdict.seeds if recipe.verdict else 1
        for name, derived in arms.items():
            self.arm = derived
            done[name] = run_arm(derived, context.store, run=context)
        self.seeds = 1
        shipped = done[judged_arm(done)]
        if shipped.artifact:
            analyse_layers(context, shipped)
        self.measure_latency(list(done.values()))
        encoding = sum(volume.seconds * volume.scale for volume in self.volumes.values())
        self.add("data", encoding, 0)
        return self.summed()

    # The data in small.

    def augment(self) -> None:
        """Copies of a few rows; from here on the data is as large as with all of them."""
        settings = self.recipe.augment
        assert settings is not None
        few = Splits(spread(self.splits.labelled, TEST_ROWS), [], [], self.splits.labels)
        with_copies(few, self.context)
        self.splits = foreseen(self.splits, settings)

    def sample(self) -> Splits:
        """Rows of a few batches, the largest among them, and a few for validation and test.

        The first row is one of them, which images take their size from.
        """
        splits = self.splits
        beginning = splits.train[: SAMPLE_ROWS // 4]
        self.context.data = Splits(beginning, splits.validation, splits.test, splits.labels)
        teacher = self.recipe.teacher.model if self.recipe.teacher else ""
        task = self.context.new_task(self.recipe.student.origin or teacher)
        chosen = spread(splits.train, SAMPLE_ROWS)
        volume = self.volume("train", task, chosen)
        sizes = volume.sizes
        budget = batch_budget(self.recipe.train, volume.encoded)
        plan = batch_plan(sizes, budget, seed=0, epoch=0)

        def weight(rows: np.ndarray) -> float:
            # The longest texts of all fill memory most: attention grows with the length squared.
            longest = max(sizes[row] for row in rows)
            return longest * padded_size(sizes, rows)

        wanted = np.concatenate([*plan[:BATCHES], max(plan, key=weight)])
        rows = [splits.train[0], *(chosen[row] for row in dict.fromkeys(wanted.tolist()))]
        return Splits(
            rows,
            spread(splits.validation, TEST_ROWS),
            spread(splits.test, TEST_ROWS),
            splits.labels,
        )

    def volume(self, split: str, task: Task, rows: list[Row] | None = None) -> Volume:
        """A split's whole size for a task, from rows encoded for a second or so."""
        key = (split, task.preprocess)
        if key not in self.volumes:
            whole: list[Row] = getattr(self.splits, split)
            began = time.perf_counter()
            encoded: list[Encoded] = []
            for row in spread(whole, SAMPLE_ROWS) if rows is None else rows:
                encoded += task.encode([row])
                is_late = time.perf_counter() - began > SAMPLE_SECONDS
                if is_late and len(encoded) >= LEAST_SAMPLE:
                    break
            self.volumes[key] = Volume(len(whole), encoded, time.perf_counter() - began)
        return self.volumes[key]

    def units_of_epoch(self, split: str, task: Task) -> float:
        """Padded units of one epoch over the whole."""
        volume = self.volume(split, task)
        return volume.trained(batch_budget(self.recipe.train, volume.encoded))

    def units_of_pass(self, split: str, task: Task, *, one_by_one: bool = False) -> float:
        """Padded units of one pass over the whole split without training."""
        volume = self.volume(split, task)
        return volume.passed(1 if one_by_one else evaluation_budget(volume.encoded))

    # A training in small.

    def measure_training(self, job: Job, folder: Path) -> History:
        """A few steps of a training, float and quantized; what the whole takes is noted."""
        began = time.perf_counter()
        # What is measured now and then in the whole would be measured in every step here.
        watchers = replace(job.watchers, measure=measure_nothing)
        training = Training(replace(job, watchers=watchers), folder)
        pace = quantized_pace = self.pace(training)
        switch = 1.0
        setup = 0.0
        settings = self.arm.quantize
        if job.watchers.before_step and settings:
            switch = settings.start
            setup, quantized_pace = self.measure_switch(job, training)
        assert self.stage.work.task is not None and self.stage.work.split is not None
        task = self.stage.work.task
        step = switch * pace + (1 - switch) * quantized_pace
        epoch = self.units_of_epoch(self.stage.work.split, task) * step
        epoch += self.units_of_pass("validation", task) * self.pace_of_pass(job.model, task)
        self.training_seconds = job.settings.epochs * epoch + setup
        self.measuring_seconds = time.perf_counter() - began
        return []

    def measure_switch(self, job: Job, training: Training) -> tuple[float, float]:
        """(seconds that turning quantization on takes, seconds a unit of a quantized step)."""
        settings = self.arm.quantize
        assert settings is not None
        total = len(training.batches)
        began = time.perf_counter()
        for step in beginnings(settings, total):
            for listener in job.watchers.before_step:
                listener(step, total)
        seconds = time.perf_counter() - began
        return seconds * self.calibration_scale(settings.calibration_rows), self.pace(training)

    def pace(self, training: Training) -> float:
        """Seconds a unit of a step: every full batch of the sample once, after one to warm up."""
        steps = [step for step, (epoch, _) in enumerate(training.batches) if epoch == 0]
        # What is left over at the end of the sample is rare in the whole.
        full = max(training.units(step) for step in steps) / 2
        steps = [step for step in steps if training.units(step) >= full]
        total = len(training.batches)
        seconds = [seconds_of(partial(training.step, step, total)) for step in [steps[0], *steps]]
        if training.job.rows.encoded[0].has_tokens:
            holes_mb = (memory.SPREAD - 1) * memory.resident_mb()
            self.holes_mb = max(self.holes_mb, holes_mb)
        return sum(seconds[1:]) / sum(training.units(step) for step in steps)

    def pace_of_pass(self, model: torch.nn.Module, task: Task) -> float:
        """Seconds a unit of a pass without training."""
        encoded = self.context.encode("validation", task)
        score_split(model, encoded[:2], task)
        seconds = seconds_of(lambda: score_split(model, encoded, task))
        return seconds / units_of(encoded)

    # Stages, scaled.

    def note_start(self, stage: Stage) -> None:
        """What is under way, for an error, and for the training within."""
        self.stage = stage
        self.training_seconds = self.measuring_seconds = 0.0
        if stage.name == "train":
            self.doing = f"train ({training_title(self.arm)})"
        elif stage.name in ("choose", "quantize", "evaluate", "export"):
            self.doing = f"{stage.name} ({arm_title(self.arm)})"
        else:
            self.doing = stage.name

    def add_stage(self, stage: Stage, folder: Path) -> None:
        """Note what a stage of the whole run costs, from the small one that was just built."""
        seconds = float(self.context.store.records[-1]["seconds"])
        num_bytes = float(bytes_of(folder))
        if stage.name == "train":
            self.add(
                f"train ({training_title(self.arm)})",
                seconds - self.measuring_seconds + self.training_seconds,
                num_bytes,
                times=self.seeds,
            )
        elif stage.name == "teacher":
            size = CHECKPOINT_SIZE if self.training_seconds else 1
            seconds += self.training_seconds - self.measuring_seconds
            self.add("teacher", seconds, size * num_bytes)
        elif stage.name == "augment":
            scale = len(self.splits.labelled) / TEST_ROWS
            self.add("augment", seconds * scale, num_bytes * scale)
        elif stage.name == "label":
            self.add_label(stage, folder, seconds)
        elif stage.name == "export":
            self.add_export(folder / "artifact", seconds)
        elif stage.name in ("student", "assistant"):
            self.add(stage.name, seconds, num_bytes)
        elif stage.work.calibration_rows is not None:
            scale = self.calibration_scale(stage.work.calibration_rows)
            self.add(stage.name, seconds * scale, num_bytes, times=self.seeds)
        else:
            self.add(stage.name, self.scaled(stage, seconds), 0, times=self.seeds)

    def scaled(self, stage: Stage, seconds: float) -> float:
        """A stage's seconds on the sample to those on the whole split that it passes over."""
        work = stage.work
        if work.split is None or work.task is None:
            return seconds
        once = min(seconds, seconds_of(work.once)) if work.once else 0.0
        here = units_of(self.context.encode(work.split, work.task), one_by_one=work.one_by_one)
        whole = self.units_of_pass(work.split, work.task, one_by_one=work.one_by_one)
        return once + (seconds - once) * whole / here

    def add_label(self, stage: Stage, folder: Path, seconds: float) -> None:
        """The teacher's outputs over the sample; arms share those over the whole."""
        task = stage.work.task
        assert task is not None
        encoded = list(self.context.encode("train", task))
        here = Volume(len(encoded), encoded, 0.0)
        whole = self.volume("train", task)
        taps = read_json(folder / "taps.json")["taps"]
        kinds = {f"tap.{number}": kind for number, (kind, _) in enumerate(taps)}
        num_bytes = 0.0
        for path in folder.iterdir():
            kind = kinds.get(".".join(path.name.split(".")[:2]), HIDDEN)
            num_bytes += path.stat().st_size * whole.cells(kind) / here.cells(kind)
        self.mapped_mb += num_bytes / 2**20
        self.add("label", self.scaled(stage, seconds), num_bytes)

    def add_export(self, artifact: Path, seconds: float) -> None:
        """Writing the graphs, and answering every test row by itself in each runtime."""
        rows = len(self.splits.test) - len(self.context.data.test)
        runtimes = [graph["runtime"] for graph in read_json(artifact / "manifest.json")["graphs"]]
        answers = [load(artifact, runtime=runtime, threads=1).predict for runtime in runtimes]
        parity = rows * sum(self.answer_seconds(answers))
        self.add("export", seconds + parity, 2 * bytes_of(artifact), times=self.seeds)

    def calibration_scale(self, wanted: int) -> float:
        """Calibration rows of the run over those of the rehearsal."""
        here = len(self.context.data.train)
        return min(wanted, len(self.splits.train)) / min(wanted, here)

    def answer_seconds(self, answers: Sequence[Callable[[Any], Any]]) -> list[float]:
        """Seconds that one raw row takes each of `answers`."""
        rows = [raw(row) for row in self.context.data.test[:TIMED_ANSWERS]]
        seconds = []
        for answer in answers:
            answer(rows[0])
            seconds.append(seconds_of(partial(answer_all, answer, rows)) / len(rows))
        return seconds

    def measure_latency(self, arms: Sequence[Arm]) -> None:
        """The measurement that closes the run."""
        self.doing = "latency"
        settings = self.recipe.verdict or Verdict()
        rows = min(settings.latency_rows, len(self.splits.test)) + WARMUP_ROWS
        answers = [answer for arm in arms for answer in answerers_of(arm, 1).values()]
        self.add("latency", rows * sum(self.answer_seconds(answers)), 0)

    # Sums.

    def add(self, stage: str, seconds: float, disk_bytes: float, *, times: int = 1) -> None:
        """Note what a stage costs, with the memory of this moment."""
        unread_mb = sum(volume.unread_mb() for volume in self.volumes.values())
        held_mb = peak_mb() + unread_mb + self.mapped_mb + self.holes_mb
        self.costs.append(Cost(stage, times * seconds, held_mb, times * disk_bytes / 2**20))

    def summed(self) -> list[Cost]:
        """One cost for each name, in the order in which the names came."""
        names = dict.fromkeys(cost.stage for cost in self.costs)
        return [summed([cost for cost in self.costs if cost.stage == name]) for name in names]


def summed(costs: Sequence[Cost]) -> Cost:
    """The costs of one stage's arms and seeds together."""
    return Cost(
        costs[0].stage,
        sum(cost.seconds for cost in costs),
        max(cost.peak_mb for cost in costs),
        sum(cost.disk_mb for cost in costs),
    )


def bytes_of(folder: Path) -> int:
    """On disk."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def answer_all(answer: Callable[[Any], Any], rows: Sequence[Any]) -> None:
    """Each row by itself."""
    for row in rows:
        answer(row)


def seconds_of(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
