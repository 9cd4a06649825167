"""What a run will take: its own steps, rehearsed in small and scaled to the whole work.

They are rehearsed on a few batches of the right size, in a cache that is thrown away. The
rehearsal walks `run_arm` as the run does, with a context that counts: a training takes a few steps,
and every stage that was built is scaled by what it says of its work (`stage.Work`).

Seconds: each kind of work (float steps, quantized steps, passes without training, one row in a
runtime) is timed a unit (a padded token, or an image), and the units of the whole are counted on a
sample of encoded rows (`volumes`).

Memory: the peak of this process, whose batches are among the largest, with what the rows not
encoded here will hold, and the holes that batches of many lengths leave in a heap.

Nothing is taken as found in the cache. What the rehearsal raises, the run would have raised later.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.proof import parity
from limbeck.artifact.rows.inputs import raw
from limbeck.core import plug_ins
from limbeck.core.cache.store import Store, copy_entry
from limbeck.core.events import Reporter, silent
from limbeck.core.files import digest, folder_bytes, read_json
from limbeck.core.system import memory
from limbeck.data.batches import evaluation_budget
from limbeck.data.splits import Splits
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.anatomy.probe import said_where
from limbeck.models.user_model import Own
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.arm import Arm, run_arm, run_teacher_arm
from limbeck.pipeline.arms import arm_title, derive_arms, training_title
from limbeck.pipeline.context import PACKED_ROWS, RunContext, use_machine
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.pipeline.preflight import answer_times, few_steps, few_ways, paces
from limbeck.pipeline.preflight.answer_times import seconds_of
from limbeck.pipeline.preflight.costs import Cost, by_stage
from limbeck.pipeline.preflight.few_ways import in_small, num_tries_of, with_one_try
from limbeck.pipeline.preflight.judging import require_judging
from limbeck.pipeline.preflight.structure import graph_key
from limbeck.pipeline.preflight.volumes import (
    Volume,
    cache_bytes,
    rows_of_few_batches,
    spread,
    units_of,
    volume_of,
    whole_sizes,
)
from limbeck.pipeline.speed.graphs import structure_key
from limbeck.pipeline.stage import ExportWork, Stage
from limbeck.pipeline.steps.copies import foreseen, with_copies
from limbeck.pipeline.steps.exporting import PARITY
from limbeck.pipeline.steps.student import named_origin
from limbeck.quantization.progressive import beginnings
from limbeck.recipe.model import Recipe, Train, Verdict
from limbeck.sources import Row
from limbeck.tasks import Task, check_answers
from limbeck.training.checkpoints import History
from limbeck.training.job import Job, measure_nothing
from limbeck.training.loop import Training, all_batches, batch_budget, refuse_small_batches

# All of these are compromises: a rehearsal should take a minute at most, and err little.
SAMPLE_ROWS = 4000  # encoded to count units, at most
TEST_ROWS = 32  # of validation and test, at most, and rows that are copied for `augment`
FEWEST_TEST_ROWS = 4  # however long they are
TEST_UNITS = 2048  # of validation and of test, about: fewer rows of long texts
TIMED_ANSWERS = 20  # rows that each runtime answers
# Before what is told of the whole and known from a sample alone.
ESTIMATED = "by an estimate from some of the texts, the run may be refused"
# A checkpoint holds the weights and two moments of each; beside it stand the weights of two epochs,
# the best so far and the one that the checkpoint counts on, or the finished weights.
CHECKPOINT_SIZE = 5


def rehearse(
    recipe: Recipe,
    splits: Splits,
    reading_seconds: float,
    tell: Reporter = silent,
    *,
    num_processes: int = 1,
    own: Mapping[str, Own] | None = None,
) -> list[Cost]:
    """The cost of every stage of a run.

    Args:
        recipe: resolved.
        splits: the whole data.
        reading_seconds: how long it took to read them.
        tell: hears what the stages tell.
        num_processes: that the run will have; the rehearsal is this process's alone.
        own: the user's modules by name.

    Returns:
        A cost for each name of a stage, in the order in which they come.

    Raises:
        ValueError: whatever would stop the run, with the stage that it would stop in.
    """
    # Below the cache, so that disk and speed of the disk are those of the run.
    cache = Store().folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=cache) as folder:
        store = Store(Path(folder) / "cache", tell=tell)
        rehearsal = Rehearsal(recipe, splits, reading_seconds, store, own or {})
        rehearsal.share_batches(num_processes)
        try:
            return rehearsal.run()
        # What torch raises for shapes that do not fit.
        except (RuntimeError, IndexError) as error:
            told = plug_ins.blame(error) or f"a batch cannot be computed: {said_where(error)}"
            raise ValueError(f"{rehearsal.doing}: {told}") from None
        except ValueError as error:
            # Some messages name their stage already.
            stage = rehearsal.doing.split()[0]
            reason = plug_ins.words_of(error).removeprefix(f"{stage}: ")
            raise ValueError(f"{rehearsal.doing}: {reason}") from None


def few_scored_rows(volume: Volume) -> int:
    """How many rows of a split are scored in a rehearsal: `TEST_UNITS` of them, by their mean."""
    num_rows = len(set(volume.origins))
    affordable = TEST_UNITS * num_rows // sum(volume.sizes)
    return max(FEWEST_TEST_ROWS, min(TEST_ROWS, affordable))


class Rehearsal:
    """A run in small, and what it tells of the whole.

    `context` calls it back: `note_start` where a stage is about to be built, `measure_training` in
    place of a training, `export_once` in place of an export, `add_stage` where a stage is built.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        reading_seconds: float,
        store: Store,
        own: Mapping[str, Own],
    ) -> None:
        # Of several tries of a teacher one is rehearsed, and counted so often.
        self.tries = num_tries_of(recipe, splits)
        recipe = with_one_try(recipe)
        self.recipe = recipe
        self.splits = splits
        self.reading_seconds = reading_seconds
        self.costs: list[Cost] = []
        # By split and preprocessing.
        self.volumes: dict[tuple[str, str], Volume] = {}
        # How many processes share each batch of the run, and the trainings looked at for that.
        self.num_processes = 1
        self.judged: set[str] = set()
        # What is under way, for an error: models are the first that can fail.
        self.doing = "model"
        # Seconds a unit, by what is computed: of float steps, and of passes without training.
        self.paces: dict[str, float] = {}
        # The last pace of a pass, by the stage that trains.
        self.of_passes: dict[str, float] = {}
        # Of memory: holes of the heap, and the teacher's cache, which counts as this process's once
        # it was read.
        self.holes_mb = 0.0
        self.mapped_mb = answer_times.unimported_mb(recipe)
        # Of the arm under way: its recipe, and how often the run computes its stages.
        self.arm = recipe
        self.seeds = 1
        # How many ways of quantizing the run tries, of which the rehearsal takes one.
        self.num_ways = 0
        # Of the stage under way: what its training takes in the whole, and what it took here; and
        # what its graph took when it was written for another arm.
        self.training_seconds = 0.0
        self.measuring_seconds = 0.0
        self.saved_seconds = 0.0
        # Of writing a graph, for each tensor of the model.
        self.graph_seconds = 0.0
        # By structure: the folder of the export stage, and how long it took to write.
        self.exported: dict[str | None, tuple[Path, float]] = {}
        self.context = RunContext(
            recipe,
            store,
            own=own,
            train=self.measure_training,
            export=self.export_once,
            when_started=self.note_start,
            when_built=self.add_stage,
        )

    def run(self) -> list[Cost]:
        """Data, teacher, every arm, the shipped arm's layers, latency."""
        recipe = self.recipe
        context = self.context
        use_machine(recipe)
        arms = {arm_title(recipe): recipe}
        num_seeds = 1
        if recipe.verdict:
            arms = derive_arms(recipe, 0)
            num_seeds = recipe.verdict.seeds
        # 1. Data in small.
        if recipe.augment:
            self.augment()
        context.data = self.sample()
        # A surgery cuts a vocabulary to the words that rows use: a few rows would use too few.
        context.surgery_rows = spread(self.splits.train, SAMPLE_ROWS)
        self.add("data", self.reading_seconds, 0)
        self.doing = "evaluate"
        require_judging(context, self.splits.test)
        # 2. The teacher, once for all seeds.
        done: dict[str, Arm] = {}
        if recipe.teacher:
            self.doing = "teacher"
            done["teacher"] = run_teacher_arm(context)
        # 3. Every arm, once for each seed in the run.
        self.seeds = num_seeds
        for name, derived in arms.items():
            self.arm, self.num_ways = in_small(derived)
            done[name] = run_arm(self.arm, context.store, run=context)
        # 4. What follows the arms, again once.
        self.seeds = 1
        shipped = done[judged_arm(done)]
        self.doing = "evaluate"
        check_answers(shipped.task, context.data.test, shipped.scored)
        if shipped.artifact:
            analyse_layers(context, shipped)
            self.add_graphs(shipped, list(done.values()))
        self.measure_latency(list(done.values()))
        # 5. Encoding, of which only now is known which models read what.
        encoding_seconds = sum(each.seconds * each.scale for each in self.volumes.values())
        self.add("data", encoding_seconds, 0)
        return by_stage(self.costs)

    def share_batches(self, num_processes: int) -> None:
        """Judge the run as one of several processes; the rehearsal stays in this one."""
        self.num_processes = num_processes
        if num_processes == 1:
            return
        # This process has nobody to split a teacher with.
        self.recipe = self.context.recipe = self.arm = few_ways.with_teachers(
            self.recipe, {"placement": "whole"}
        )

    # The data in small.

    def augment(self) -> None:
        """Copies of a few rows; from here on the data is as large as with all of them."""
        settings = self.recipe.augment
        assert settings is not None
        rows = spread(self.splits.labelled, TEST_ROWS)
        few = Splits(rows, [], [], self.splits.labels)
        # For the stage that it builds, which is scaled; the copies themselves are left.
        with_copies(few, self.context)
        self.splits = foreseen(self.splits, settings)

    def sample(self) -> Splits:
        """Rows of a few batches, the largest among them, and a few for validation and test.

        The first row is one of them, which images take their size from.
        """
        splits = self.splits
        # 1. The student's task. What is fitted to images is fitted to the first of them here: all
        #    would take too long.
        beginning = splits.train[: SAMPLE_ROWS // 4]
        self.context.data = replace(splits, train=beginning, num_unlabelled=0)
        origin, _ = named_origin(self.recipe)
        task = self.context.new_task(origin)
        # 2. The batches of a training on a sample.
        chosen = spread(splits.train, SAMPLE_ROWS)
        volume = self.volume("train", task, chosen)
        budget = batch_budget(self.recipe.train, volume.encoded)
        # 3. The rows of a few of them, each once.
        numbers = rows_of_few_batches(volume, budget)
        rows = [splits.train[0]]
        # A row may be read in several parts.
        rows += [chosen[number] for number in dict.fromkeys(volume.origins[i] for i in numbers)]
        num_scored = few_scored_rows(volume)
        return replace(
            splits,
            train=rows,
            validation=spread(splits.validation, num_scored),
            promise=spread(splits.promise, num_scored),
            test=spread(splits.test, num_scored),
            notes=[],
            num_unlabelled=0,
        )

    def volume(
        self,
        split: str,
        task: Task,
        rows: Sequence[Row] | None = None,
    ) -> Volume:
        """A split's whole size for a task, from rows encoded for a second or so.

        Args:
            split: "train", "labelled", "validation" or "test".
            task: with the preprocessing of the model that reads it.
            rows: a sample of the split; drawn here where left out.
        """
        key = (split, task.preprocess)
        if key in self.volumes:
            return self.volumes[key]
        whole: list[Row] = getattr(self.splits, split)
        if rows is None:
            rows = spread(whole, SAMPLE_ROWS)
        self.volumes[key] = volume_of(task, rows, len(whole))
        return self.volumes[key]

    def units_of_pass(
        self,
        split: str,
        task: Task,
        *,
        one_by_one: bool = False,
    ) -> float:
        """Padded units of one pass over the whole split without training."""
        volume = self.volume(split, task)
        budget = 1 if one_by_one else evaluation_budget(volume.encoded)
        return volume.passed(budget)

    # A training in small.

    def measure_training(self, job: Job, folder: Path) -> History:
        """A few steps of a training, float and quantized; what the whole takes is noted."""
        began = time.perf_counter()
        # What is measured now and then in the whole would be measured in every step here.
        watchers = replace(job.watchers, measure=measure_nothing)
        training = Training(replace(job, watchers=watchers), folder)
        # 1. Seconds a unit: of float steps until quantization begins, if it does, of others after.
        pace = self.float_pace(training)
        setup_seconds = 0.0
        settings = self.arm.quantize
        if job.watchers.before_step and settings:
            setup_seconds, quantized_pace = self.measure_switch(job, training)
            pace = settings.start * pace + (1 - settings.start) * quantized_pace
        # 2. The units of an epoch, and of the validation after it.
        split = self.stage.work.split
        task = self.stage.work.task
        assert split is not None and task is not None
        # The sample does not know which of its rows have no label; the whole does.
        if self.stage.name == "teacher" and self.splits.num_unlabelled:
            split = "labelled"
        if self.num_processes > 1:
            self.judge_batches(job.settings, split, task)
        pass_pace = self.pass_pace(job, task)
        volume = self.volume(split, task)
        num_steps = few_steps.steps_of_epoch(volume, job.settings)
        total = num_steps * job.settings.epochs
        step_units = volume.trained(batch_budget(self.recipe.train, volume.encoded)) / num_steps
        # 3. What is done at an epoch's end: validation, before which quantizers are looked at, and
        #    the weights of the best one, at most each time.
        looked_at_units = 0.0
        if job.watchers.before_step:
            looked_at_units = self.calibration_units(task)
            setup_seconds += self.unseen_share() * looked_at_units * pass_pace
        end_seconds = (self.units_of_pass("validation", task) + looked_at_units) * pass_pace
        end_seconds += paces.seconds_of_keeping(job, folder)
        self.training_seconds = job.settings.epochs * end_seconds + setup_seconds
        self.training_seconds += (total + paces.steps_of_probes(job, total)) * step_units * pace
        few_steps.warn(volume, job.settings, self.stage, self.context.store)
        self.measuring_seconds = time.perf_counter() - began
        # Nothing is logged: the history of a rehearsal is read by nobody.
        return []

    def pass_pace(self, job: Job, task: Task) -> float:
        """Seconds a unit of a pass without training; models that are alike take the same."""
        key = digest([paces.form_of(job.model), bool(job.watchers.before_step)])
        if key not in self.paces:
            encoded = self.context.encode("validation", task)
            self.paces[key] = paces.pace_of_pass(job.model, encoded, task)
        self.of_passes[self.stage.name] = self.paces[key]
        return self.paces[key]

    def calibration_units(self, task: Task) -> float:
        """Padded units of a pass over the run's calibration rows."""
        assert self.recipe.quantize is not None
        volume = self.volume("train", task)
        rows = min(self.recipe.quantize.calibration_rows, volume.rows)
        return rows * volume.passed(evaluation_budget(volume.encoded)) / volume.rows

    def judge_batches(self, settings: Train, split: str, task: Task) -> None:
        """Look whether each batch of the whole training has a row for each process.

        Raises:
            ValueError: one has not. Where sizes are estimated it is told instead, for the run may
                draw better.
        """
        seeds = range(settings.seed, settings.seed + self.seeds)
        steps = settings.model_dump(include={"epochs", "batch_tokens", "batch_rows"})
        key = digest([split, task.preprocess, steps, list(seeds)])
        # Arms share their batches.
        if key in self.judged:
            return
        self.judged.add(key)
        encoded = self.volume(split, task).encoded
        sizes, is_exact = self.sizes_of_whole(split, task)
        plans: list[np.ndarray] = []
        for seed in seeds:
            seeded = settings.model_copy(update={"seed": seed})
            plans += [rows for _, rows in all_batches(seeded, encoded, sizes)]
        try:
            refuse_small_batches(plans, self.num_processes)
        except ValueError as error:
            if is_exact:
                raise
            self.context.store.tell_once(f"{ESTIMATED}: {error}")

    def sizes_of_whole(self, split: str, task: Task) -> tuple[list[int], bool]:
        """(what each row of the whole split costs a batch, whether this is exact)."""
        volume = self.volume(split, task)
        rows: Sequence[Row] = getattr(self.splits, split)
        # More texts than these take long. The copies of `augment` are not made yet, and only about
        # as long as their rows.
        is_known = volume.rows < PACKED_ROWS and not self.recipe.augment
        return whole_sizes(volume, partial(task.encode, rows) if is_known else None)

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
        return seconds, self.timed_steps(training)

    def float_pace(self, training: Training) -> float:
        """`pace` of float steps, measured once for arms that take the same ones (`kd`, `joint`)."""
        # Whatever a step computes; how often it does stands in `train` too, and costs nothing here.
        parts = {"student", "distill", "train", "teacher", "teachers", "assistant"}
        step = self.arm.model_dump(mode="json", include=parts)
        key = digest([self.stage.name, step, paces.form_of(training.job.model)])
        if key not in self.paces:
            self.paces[key] = self.timed_steps(training)
        return self.paces[key]

    def timed_steps(self, training: Training) -> float:
        """Seconds a unit of a training's steps, as it is now."""
        seconds = paces.pace_of_steps(training)
        # Texts come in batches of many lengths, which leave holes; `memory.Heap` bounds them.
        if training.job.rows.encoded[0].has_tokens:
            holes_mb = (memory.SPREAD - 1) * memory.resident_mb()
            self.holes_mb = max(self.holes_mb, holes_mb)
        return seconds

    # An export, once for models that are alike.

    def export_once(self, work: ExportWork, folder: Path) -> None:
        """Write and prove an artifact, or take that of an arm which differs by its weights alone.

        Raises:
            ValueError: the graph answers otherwise than the model.
        """
        key = graph_key(self.arm, work.model)
        if key in self.exported:
            source, self.saved_seconds = self.exported[key]
            copy_entry(source, folder)
            return
        began = time.perf_counter()
        work.write(folder)
        # Tracing takes its time by module, each of which has a tensor or two.
        num_tensors = sum(1 for _ in work.model.parameters())
        self.graph_seconds = (time.perf_counter() - began) / num_tensors
        # A model that was hardly trained often differs from its graph in a few answers, which last
        # bits explain. They are asked, in some seconds, where a run would be refused for it.
        work.prove(folder, asks_last_bits=False)
        seconds = time.perf_counter() - began
        if any(parity.answers_otherwise(proof) for proof in read_json(folder / PARITY)):
            work.prove(folder)
            parity.refuse_other_answers(read_json(folder / PARITY))
        if key is not None:
            self.exported[key] = (self.context.store.entry("export", self.stage.key), seconds)

    # Stages, scaled.

    def note_start(self, stage: Stage) -> None:
        """What is under way, for an error, and for the training within."""
        self.stage = stage
        self.training_seconds = 0.0
        self.measuring_seconds = 0.0
        self.saved_seconds = 0.0
        # Of an arm's own stages the arm is told too; the others are shared.
        if stage.name == "train":
            self.doing = f"train ({training_title(self.arm)})"
        elif stage.name in ("choose", "quantize", "evaluate", "export"):
            self.doing = f"{stage.name} ({arm_title(self.arm)})"
        else:
            self.doing = stage.name

    def add_stage(self, stage: Stage, folder: Path) -> None:
        """Note what a stage of the whole run costs, from the small one that was just built."""
        # The store has just noted it.
        record = self.context.store.records[-1]
        seconds = float(record["seconds"])
        num_bytes = float(folder_bytes(folder))
        # A few measured steps are no part of the run: the whole training stands in their place.
        trained_seconds = seconds - self.measuring_seconds + self.training_seconds
        if stage.name == "train":
            title = f"train ({training_title(self.arm)})"
            self.add(title, trained_seconds, num_bytes, times=self.seeds)
        elif stage.name == "teacher":
            size = CHECKPOINT_SIZE if self.training_seconds else 1
            self.add("teacher", trained_seconds, size * num_bytes, times=self.tries)
        elif stage.name == "augment":
            scale = len(self.splits.labelled) / TEST_ROWS
            self.add("augment", seconds * scale, num_bytes * scale)
        elif stage.name == "label":
            self.add_label(stage, folder, seconds)
        elif stage.name == "export":
            self.add_export(folder / "artifact", seconds + self.saved_seconds)
        elif stage.name in ("student", "assistant"):
            self.add(stage.name, seconds, num_bytes)
        elif stage.name == "quantize":
            self.add_quantized(stage, folder, seconds)
        elif stage.work.calibration_rows is not None:
            whole_seconds = seconds / (1 - self.unseen_share())
            self.add(stage.name, whole_seconds, num_bytes, times=self.seeds)
        else:
            whole_seconds = self.scaled(stage, seconds)
            self.add(stage.name, whole_seconds, 0, times=self.seeds)

    def scaled(self, stage: Stage, seconds: float) -> float:
        """A stage's seconds on the sample to those on the whole split that it passes over."""
        work = stage.work
        if work.split is None or work.task is None:
            return seconds
        once_seconds = 0.0
        if work.once:
            # On a busy machine the second time may take longer than the whole stage did.
            once_seconds = min(seconds, seconds_of(work.once))
        encoded = self.context.encode(work.split, work.task)
        here = units_of(encoded, one_by_one=work.one_by_one)
        whole = self.units_of_pass(work.split, work.task, one_by_one=work.one_by_one)
        if work.most_rows is not None:
            num_rows = self.volume(work.split, work.task).rows
            full = min(num_rows, work.most_rows)
            whole *= (full + work.later * (num_rows - full)) / num_rows
        return once_seconds + (seconds - once_seconds) * whole / here

    def add_quantized(self, stage: Stage, folder: Path, seconds: float) -> None:
        """What was fitted to calibration rows, and the search for how, if the run has one."""
        # 1. Beside passes over the rows, weights are fitted, however many rows there are.
        trained = str(stage.inputs["trained"]).split("-")[0]
        task = self.context.new_task(named_origin(self.arm)[0])
        pass_seconds = self.calibration_units(task) * self.of_passes.get(trained, 0.0)
        seconds += self.unseen_share() * pass_seconds
        # 2. The way that is rehearsed corrects nothing; the one that is chosen may. A trial is
        #    fitted to half of the rows, and judged on the others.
        correction_seconds = 0.0
        if self.num_ways:
            num_passes = few_ways.passes_of_correction(self.arm, folder / WEIGHTS)
            correction_seconds = num_passes * pass_seconds
            tried_seconds = self.num_ways * seconds + correction_seconds / 2
            self.add("choose", tried_seconds, 0, times=self.seeds)
        # The bytes of weights do not grow with the rows.
        num_bytes = folder_bytes(folder)
        self.add(stage.name, seconds + correction_seconds, num_bytes, times=self.seeds)

    def add_label(self, stage: Stage, folder: Path, seconds: float) -> None:
        """The teacher's outputs over the sample; arms share those over the whole."""
        task = stage.work.task
        assert task is not None
        encoded = list(self.context.encode("train", task))
        here = Volume(len(encoded), encoded, 0.0)
        whole = self.volume("train", task)
        num_bytes = cache_bytes(folder, here, whole)
        self.mapped_mb += num_bytes / memory.MB
        self.add("label", self.scaled(stage, seconds), num_bytes)

    def add_export(self, artifact: Path, seconds: float) -> None:
        """Writing the graphs, and answering every test row by itself in each runtime."""
        # The rows of the sample were answered within the stage.
        rows = len(self.splits.test) - len(self.context.data.test)
        answers = answer_times.answers_of_artifact(artifact)
        parity_seconds = rows * sum(answer_times.answer_seconds(answers, self.timed_rows()))
        # What is shipped is copied into the run folder: as much again, at most.
        num_bytes = 2 * folder_bytes(artifact)
        self.add("export", seconds + parity_seconds, num_bytes, times=self.seeds)

    def unseen_share(self) -> float:
        """Of the run's calibration rows, how many the rehearsal has not seen."""
        assert self.arm.quantize is not None and self.recipe.quantize is not None
        here = min(self.arm.quantize.calibration_rows, len(self.context.data.train))
        whole = min(self.recipe.quantize.calibration_rows, len(self.splits.train))
        return 1 - here / whole

    def timed_rows(self) -> list[Any]:
        """Raw inputs that an answer is timed with."""
        return [raw(row) for row in self.context.data.test[:TIMED_ANSWERS]]

    def add_graphs(self, shipped: Arm, arms: Sequence[Arm]) -> None:
        """Graphs of the float models that the artifact is timed beside, one for those alike."""
        models = {structure_key(arm.student): arm.student for arm in [shipped, *arms]}
        for model in models.values():
            num_tensors = len(paces.form_of(model.load()))
            self.add("graph", num_tensors * self.graph_seconds, folder_bytes(model.folder))

    def measure_latency(self, arms: Sequence[Arm]) -> None:
        """The measurement that closes the run."""
        self.doing = "latency"
        settings = self.recipe.verdict or Verdict()
        num_rows = len(self.splits.test)
        seconds = answer_times.measurement_seconds(arms, self.timed_rows(), num_rows, settings)
        self.add("latency", seconds, 0)

    def add(
        self,
        stage: str,
        seconds: float,
        disk_bytes: float,
        *,
        times: int = 1,
    ) -> None:
        """Note what a stage costs, with the memory of this moment; `times`: how often it is run."""
        unread_mb = sum(volume.unread_mb() for volume in self.volumes.values())
        held_mb = memory.peak_mb() + unread_mb + self.mapped_mb + self.holes_mb
        cost = Cost(
            stage=stage,
            seconds=times * seconds,
            peak_mb=held_mb,
            disk_mb=times * disk_bytes / memory.MB,
        )
        self.costs.append(cost)
