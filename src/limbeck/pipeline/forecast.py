"""What a run will take: its own stages, rehearsed on a few batches of the right size in a cache that is thrown away, scaled to the whole work.

Seconds: each kind of work (float steps, quantized steps, passes without training, one row in a runtime) is timed a unit (a padded token, or an
image), and the units of the whole are counted on a sample of encoded rows. Memory: the peak of this process, whose batches are among the largest,
with what the rows not encoded here will hold, and the holes that batches of many lengths leave in a heap. Nothing is taken as found in the cache.
What the rehearsal raises, the run would have raised later.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.analysis.layers import ROWS, measure
from limbeck.artifact import latency as benchmark
from limbeck.artifact.load import load
from limbeck.core import memory
from limbeck.core.events import Tell, silent
from limbeck.core.files import read_json
from limbeck.core.memory import peak_mb
from limbeck.core.store import Store
from limbeck.data.batches import (
    LENGTH_POOL,
    batch_plan,
    evaluation_batches,
    evaluation_budget,
    in_order,
    padded_size,
)
from limbeck.data.splits import Splits
from limbeck.distillation import objective, ragged_cache
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.taps import HIDDEN
from limbeck.models.weights import WEIGHTS, model_state, save_tensors
from limbeck.pipeline import context, copies, stages
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.latency import pytorch_answerer
from limbeck.pipeline.teacher_outputs import label_stages
from limbeck.quantization.progressive import beginnings
from limbeck.recipe.model import Augment, Recipe, Verdict
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task
from limbeck.training.loop import Training, batch_budget, nothing
from limbeck.training.scoring import score_split

BATCHES = 3  # drawn for the rehearsal, beside the largest
SAMPLE_ROWS = 4000  # encoded to count units, at most
SAMPLE_SECONDS = 1.5
TEST_ROWS = 32
TIMED_ANSWERS = 20


@dataclass(frozen=True)
class Cost:
    """One stage of the run, all its arms and seeds together; `peak_mb` is the process's so far, as report.json has it."""

    stage: str
    seconds: float
    peak_mb: float
    disk_mb: float


@dataclass(frozen=True)
class Volume:
    """A split as one model reads it: `rows` in the whole, some of them `encoded` in `seconds`."""

    rows: int
    encoded: list[Encoded]
    seconds: float

    @property
    def scale(self) -> float:
        """The whole over the sample."""
        return self.rows / len(self.encoded)

    @cached_property
    def sizes(self) -> list[int]:
        return [row.size for row in self.encoded]

    def trained(self, budget: int) -> float:
        """Padded units of an epoch of the whole. A sample smaller than a pool of batches is cut finer, so that rows as similar meet."""
        pool = LENGTH_POOL * budget / float(np.mean(self.sizes))
        share = min(1.0, len(self.encoded) / min(pool, self.rows))
        return self._padded(batch_plan(self.sizes, max(1, int(budget * share)), seed=0, epoch=0))

    def passed(self, budget: int) -> float:
        """Padded units of a pass over the whole, which is cut by size: the sample is cut as much finer as it is smaller."""
        return self._padded(in_order(self.sizes, max(1, int(budget / self.scale))))

    def _padded(self, batches: Sequence[np.ndarray]) -> float:
        return self.scale * sum(padded_size(self.sizes, rows) for rows in batches)

    def cells(self, kind: str) -> float:
        """What a teacher's cache holds of the whole, of a kind of output."""
        return self.scale * int(ragged_cache.counts(kind, self.encoded, np.array(self.sizes)).sum())

    def unread_mb(self) -> float:
        """What the rows will hold that are not encoded yet: arrays, and about 100 bytes a Python object. Images hold nothing."""
        if not self.encoded[0].has_tokens:
            return 0.0
        held = sum(
            sum(array.nbytes + 100 for array in (*row.inputs.values(), row.labels)) + 400
            for row in self.encoded
        )
        return (self.scale - 1) * held / 2**20


def rehearse(
    recipe: Recipe, found: Splits, reading_seconds: float, tell: Tell = silent
) -> list[Cost]:
    """The cost of every stage; reading the data `found` took `reading_seconds`; `tell` hears what the stages tell. Raises ValueError for whatever
    would stop the run."""
    cache = Store().folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=cache) as folder:
        rehearsal = Rehearsal(recipe, found, Path(folder), reading_seconds, tell)
        try:
            return rehearsal.run()
        except (RuntimeError, IndexError) as error:  # what torch raises for shapes that do not fit
            raise ValueError(
                f"{rehearsal.doing}: a batch cannot be computed: {str(error).strip().splitlines()[0]}"
            ) from None
        except ValueError as error:
            stage = rehearsal.doing.split()[0]
            raise ValueError(
                f"{rehearsal.doing}: {str(error).removeprefix(f'{stage}: ')}"
            ) from None


@dataclass
class Rehearsal:
    """A run in small."""

    recipe: Recipe
    found: Splits
    folder: Path
    reading_seconds: float
    tell: Tell = silent
    costs: list[Cost] = field(default_factory=list)
    volumes: dict[tuple[str, str], Volume] = field(default_factory=dict)
    holes_mb: float = 0.0
    mapped_mb: float = (
        0.0  # of the teacher's cache, which counts as this process's memory once it was read
    )
    doing: str = "model"

    def __post_init__(self) -> None:
        self.bench = context.Bench(self.recipe, Store(self.folder / "cache", tell=self.tell))

    def run(self) -> list[Cost]:
        """Teacher, student, every arm, latency."""
        torch.set_num_threads(self.recipe.train.threads)
        memory.keep_freed_memory()
        arms = (
            derive_arms(self.recipe, 0)
            if self.recipe.verdict
            else {stages.arm_title(self.recipe): self.recipe}
        )
        if self.recipe.augment:
            self.augment(self.recipe.augment)
        self.bench.data = self.sample()
        self.add("data", self.reading_seconds, 0)
        ready = self.teacher() if self.recipe.teacher else None
        self.doing = "student"
        few = self.bench.data
        self.bench.data = replace(
            few, train=spread(self.found.train, SAMPLE_ROWS)
        )  # a vocabulary is cut to what many rows use
        start = stages.student_stage(self.bench, self.recipe, ready)
        self.bench.data = few
        self.add("student", self.last_seconds(), self.bytes_of(start.folder))
        trained: dict[str, Path] = {}
        done = {name: self.arm(derived, start, ready, trained) for name, derived in arms.items()}
        if ready:
            done["teacher"] = self.teacher_arm(ready)
        if arms[judged_arm(arms)].quantize:
            self.layers(done[judged_arm(arms)])
        self.latency(list(done.values()))
        self.add("data", sum(volume.seconds * volume.scale for volume in self.volumes.values()), 0)
        return self.summed()

    def augment(self, settings: Augment) -> None:
        """Copies of a few rows; from here on the data is as large as with all of them."""
        self.doing = "augment"
        few = Splits(spread(self.found.labelled, TEST_ROWS), [], [], self.found.labels)
        copies.added(
            few, self.recipe, self.bench.task_class, self.bench.store, self.bench.reference
        )
        folder = self.bench.store.folder / self.bench.store.records[-1]["entry"]
        scale = len(self.found.labelled) / len(few.train)
        self.add("augment", self.last_seconds() * scale, self.bytes_of(folder) * scale)
        self.found = copies.foreseen(self.found, settings)

    def sample(self) -> Splits:
        """Rows of a few batches, the largest among them; the first row too, which images take their size from."""
        found, settings = self.found, self.recipe.train
        self.bench.data = Splits(
            found.train[: SAMPLE_ROWS // 4], found.validation, found.test, found.labels
        )
        name = self.recipe.student.origin or (
            self.recipe.teacher.model if self.recipe.teacher else ""
        )
        task = self.bench.new_task(name)
        chosen = spread(found.train, SAMPLE_ROWS)
        volume = self.volume("train", task, chosen)
        plan = batch_plan(volume.sizes, batch_budget(settings, volume.encoded), seed=0, epoch=0)
        largest = max(
            plan,
            key=lambda rows: (
                max(volume.sizes[row] for row in rows) * padded_size(volume.sizes, rows)
            ),
        )
        wanted = np.concatenate([*plan[:BATCHES], largest])
        rows = [found.train[0], *(chosen[row] for row in dict.fromkeys(wanted.tolist()))]
        return Splits(
            rows, spread(found.validation, TEST_ROWS), spread(found.test, TEST_ROWS), found.labels
        )

    def volume(self, split: str, task: Task, rows: list[Row] | None = None) -> Volume:
        """A split's whole size for a task, from rows encoded for at most SAMPLE_SECONDS."""
        key = (split, task.preprocess)
        if key not in self.volumes:
            everything = getattr(self.found, split)
            began, encoded = time.perf_counter(), list[Encoded]()
            for row in spread(everything, SAMPLE_ROWS) if rows is None else rows:
                encoded += task.encode([row])
                if time.perf_counter() - began > SAMPLE_SECONDS and len(encoded) >= 64:
                    break
            self.volumes[key] = Volume(len(everything), encoded, time.perf_counter() - began)
        return self.volumes[key]

    def units_of_epoch(self, task: Task, split: str = "train") -> float:
        """Padded units of one epoch."""
        volume = self.volume(split, task)
        return volume.trained(batch_budget(self.recipe.train, volume.encoded))

    def units_of_pass(self, split: str, task: Task, *, one_by_one: bool = False) -> float:
        """Padded units of one pass over a split without training."""
        volume = self.volume(split, task)
        return volume.passed(1 if one_by_one else evaluation_budget(volume.encoded))

    def teacher(self) -> context.Net:
        """Load or build the teacher, and tune it for a few steps where the run tunes it."""
        settings = self.recipe.teacher
        assert settings is not None
        self.doing = "teacher"
        untuned = self.recipe.model_copy(
            update={"teacher": settings.model_copy(update={"epochs": 0})}
        )
        ready = stages.teacher_stage(self.bench, untuned)
        seconds = self.last_seconds()
        disk = self.bytes_of(ready.folder)
        if settings.epochs:
            job = stages.tuning_job(
                self.bench, ready.load(), ready.task, stages.tuning(self.bench, self.recipe)
            )
            pace = self.pace(Training(job, self.folder))
            split = "labelled" if self.found.num_unlabelled else "train"
            epoch = self.units_of_epoch(ready.task, split) * pace + self.units_of_pass(
                "validation", ready.task
            ) * self.pace_of_pass(job.model, ready.task)
            seconds, disk = (
                seconds + settings.epochs * epoch,
                4 * disk,
            )  # the checkpoint holds the weights and two moments of each
        self.add("teacher", seconds, disk)
        return ready

    def teacher_arm(self, ready: context.Net) -> context.Arm:
        """The teacher's pass over the test split."""
        scored, seconds = timed(
            lambda: stages.score(self.bench, ready.folder, ready.load, ready.task)
        )
        loading = timed(ready.load)[1]
        self.add("evaluate", loading + self.scaled(seconds - loading, ready.task), 0)
        return context.Arm(self.recipe, ready.task, scored, ready.folder, 0, 0, model=ready.load)

    def arm(
        self,
        derived: Recipe,
        start: context.Net,
        ready: context.Net | None,
        trained: dict[str, Path],
    ) -> context.Arm:
        """One arm: labelled, trained for a few steps, quantized, evaluated, exported and proven. `trained`: weights by title, which arms share."""
        title, seeds = (
            stages.training_title(derived),
            self.recipe.verdict.seeds if self.recipe.verdict else 1,
        )
        if title not in trained:
            self.doing = f"train ({title})"
            trained[title] = self.train(derived, start, ready, title)
        self.doing = f"quantize ({stages.arm_title(derived)})"
        known = len(self.bench.store.records)
        derived, _ = stages.choose_stage(self.bench, derived, start, trained[title])
        if len(self.bench.store.records) > known:
            self.add(
                "choose", self.last_seconds() * self.calibration_scale(derived), 0, times=seeds
            )
        weights = stages.quantize_stage(self.bench, derived, start, trained[title])
        if weights != trained[title]:
            self.add(
                "quantize",
                self.last_seconds() * self.calibration_scale(derived),
                self.bytes_of(weights),
                times=seeds,
            )
        self.doing = f"evaluate ({stages.arm_title(derived)})"
        arm = stages.evaluate_stage(self.bench, derived, start, weights)
        assert arm.model is not None
        building = min(timed(arm.model)[1], seconds := self.last_seconds())
        one_by_one = (
            derived.quantize is not None
            and stages.activations(self.bench, derived) == "uint8-dynamic"
        )
        self.add(
            "evaluate",
            building + self.scaled(seconds - building, start.task, one_by_one=one_by_one),
            0,
            times=seeds,
        )
        if derived.quantize:
            self.doing = f"export ({stages.arm_title(derived)})"
            stages.export_stage(self.bench, derived, start, weights, arm, derived.export)
            seconds, parity_rows = (
                self.last_seconds(),
                len(self.found.test) - len(self.bench.data.test),
            )
            self.add(
                "export",
                seconds + sum(self.answer_seconds(arm)) * parity_rows,
                2 * arm.num_bytes,
                times=seeds,
            )
        return arm

    def layers(self, arm: context.Arm) -> None:
        """What the layers of the shipped arm lose: a fixed number of rows, and the test split once in float."""
        self.doing = "layers"
        seconds = timed(lambda: measure(self.bench, arm))[1]
        rows = min(ROWS, len(self.found.test)) / min(ROWS, len(self.bench.data.test))
        assert arm.model is not None
        test = self.units_of_pass("test", arm.task) * self.pace_of_pass(arm.model(), arm.task)
        self.add("layers", seconds * rows + test, 0)

    def train(
        self, derived: Recipe, start: context.Net, ready: context.Net | None, title: str
    ) -> Path:
        """A few float steps, and quantized ones where the arm has them; the weights they leave."""
        terms = objective.terms(start.task.hard_loss, derived.distill)
        answers = (
            self.label(derived, ready, start, terms)
            if ready and any(term.loss.reads for term in terms)
            else None
        )
        job = replace(
            stages.training_job(self.bench, derived, start, terms, answers), measure=nothing
        )  # a few steps of the whole are measured
        training, setup, switch = Training(job, self.folder), 0.0, 1.0
        pace = quantized = self.pace(training)
        if job.listeners and derived.quantize:
            switch, total = derived.quantize.start, len(training.batches)
            switches = beginnings(derived.quantize, total)
            setup = timed(
                lambda: [listener(step, total) for step in switches for listener in job.listeners]
            )[1]
            setup, quantized = setup * self.calibration_scale(derived), self.pace(training)
        epoch = self.units_of_epoch(start.task) * (switch * pace + (1 - switch) * quantized)
        epoch += self.units_of_pass("validation", start.task) * self.pace_of_pass(
            job.model, start.task
        )
        weights = self.folder / f"train-{title}"
        weights.mkdir()
        save_tensors(model_state(job.model), weights / WEIGHTS)
        seeds = self.recipe.verdict.seeds if self.recipe.verdict else 1
        self.add(
            f"train ({title})",
            self.recipe.train.epochs * epoch + setup,
            self.bytes_of(weights),
            times=seeds,
        )
        return weights

    def label(
        self, derived: Recipe, ready: context.Net, start: context.Net, terms: list[objective.Term]
    ) -> context.Answers:
        """The teacher's outputs over the sample; arms share them, and where it answers live a step holds their cost."""
        known = len(self.bench.store.records)
        answers, task = label_stages(self.bench, derived, ready, start, terms), ready.task
        for record in self.bench.store.records[known:]:
            if record["reused"]:
                continue
            encoded = list(self.bench.encode("train", task))
            here, folder = (
                Volume(len(encoded), encoded, 0.0),
                self.bench.store.folder / record["entry"],
            )
            loading = min(timed(ready.load)[1], record["seconds"])
            seconds = loading + (record["seconds"] - loading) * self.units_of_pass(
                "train", task
            ) / units_here(encoded)
            kinds = {
                f"tap.{i}": kind
                for i, (kind, _) in enumerate(read_json(folder / "taps.json")["taps"])
            }
            whole, num_bytes = self.volume("train", task), 0.0
            for path in folder.iterdir():
                kind = kinds.get(".".join(path.name.split(".")[:2]), HIDDEN)
                num_bytes += path.stat().st_size * whole.cells(kind) / here.cells(kind)
            self.mapped_mb += num_bytes / 2**20
            self.add("label", seconds, num_bytes)
        return answers

    def pace(self, training: Training) -> float:
        """Seconds a unit of a training step: every full batch of the sample once, after one to warm up."""
        steps = [step for step, (epoch, _) in enumerate(training.batches) if epoch == 0]
        full = (
            max(training.units(step) for step in steps) / 2
        )  # what is left over at the end of the sample is rare in the whole
        steps = [step for step in steps if training.units(step) >= full]
        seconds = [
            timed(partial(training.step, step, len(training.batches)))[1]
            for step in [steps[0], *steps]
        ]
        if training.job.encoded[0].has_tokens:
            self.holes_mb = max(self.holes_mb, (memory.SPREAD - 1) * memory.resident_mb())
        return sum(seconds[1:]) / sum(training.units(step) for step in steps)

    def pace_of_pass(self, model: torch.nn.Module, task: Task) -> float:
        """Seconds a unit of a pass without training."""
        encoded = self.bench.encode("validation", task)
        score_split(model, encoded[:2], task)
        seconds = timed(lambda: score_split(model, encoded, task))[1]
        return seconds / units_here(encoded)

    def scaled(self, seconds: float, task: Task, *, one_by_one: bool = False) -> float:
        """A pass over the sample's test rows to one over all."""
        encoded = self.bench.encode("test", task)
        return (
            max(0.0, seconds)
            * self.units_of_pass("test", task, one_by_one=one_by_one)
            / units_here(encoded, one_by_one)
        )

    def calibration_scale(self, derived: Recipe) -> float:
        """Calibration rows of the run over those of the rehearsal."""
        assert derived.quantize is not None
        return min(derived.quantize.calibration_rows, len(self.found.train)) / min(
            derived.quantize.calibration_rows, len(self.bench.data.train)
        )

    def answer_seconds(self, arm: context.Arm) -> list[float]:
        """Seconds that one raw row takes, in every runtime of the artifact or in PyTorch."""
        rows = [benchmark.raw(row) for row in self.bench.data.test[:TIMED_ANSWERS]]
        if arm.artifact is None:
            answers: list[Callable[[Any], Any]] = [pytorch_answerer(arm)]
        else:
            graphs = read_json(arm.artifact / "manifest.json")["graphs"]
            answers = [
                load(arm.artifact, runtime=graph["runtime"], threads=1).predict for graph in graphs
            ]
        for answer in answers:
            answer(rows[0])
        return [timed(partial(list, map(answer, rows)))[1] / len(rows) for answer in answers]

    def latency(self, arms: list[context.Arm]) -> None:
        """The measurement that closes the run."""
        self.doing = "latency"
        settings = self.recipe.verdict or Verdict()
        rows = min(settings.latency_rows, len(self.found.test))
        self.add("latency", (rows + 10) * sum(sum(self.answer_seconds(arm)) for arm in arms), 0)

    def last_seconds(self) -> float:
        return float(self.bench.store.records[-1]["seconds"])

    def bytes_of(self, folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def add(self, stage: str, seconds: float, disk_bytes: float, *, times: int = 1) -> None:
        """Note what a stage costs, with the memory of this moment."""
        here_mb, unread_mb = peak_mb(), sum(volume.unread_mb() for volume in self.volumes.values())
        self.costs.append(
            Cost(
                stage,
                times * seconds,
                here_mb + unread_mb + self.mapped_mb + self.holes_mb,
                times * disk_bytes / 2**20,
            )
        )

    def summed(self) -> list[Cost]:
        """One cost for each name."""
        names = dict.fromkeys(cost.stage for cost in self.costs)
        groups = [[cost for cost in self.costs if cost.stage == name] for name in names]
        return [
            Cost(
                group[0].stage,
                sum(c.seconds for c in group),
                max(c.peak_mb for c in group),
                sum(c.disk_mb for c in group),
            )
            for group in groups
        ]


def units_here(encoded: Sequence[Encoded], one_by_one: bool = False) -> float:
    """Padded units of one pass over the sample."""
    sizes = [row.size for row in encoded]
    return sum(padded_size(sizes, rows) for rows in evaluation_batches(encoded, one_by_one))


def spread(rows: list[Row], count: int) -> list[Row]:
    """At most `count` rows, drawn by a fixed seed."""
    if len(rows) <= count:
        return rows
    return [
        rows[i] for i in np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
