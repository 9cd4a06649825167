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

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.proof import parity
from limbeck.artifact.rows.inputs import raw
from limbeck.core import plug_ins
from limbeck.core.cache.entries import FILES
from limbeck.core.cache.store import STAGE_FILE, Store
from limbeck.core.events import Reporter, silent
from limbeck.core.files import digest, folder_bytes, read_json
from limbeck.core.system import memory
from limbeck.data.batches import batch_plan, evaluation_budget, padded_size
from limbeck.data.splits import Splits
from limbeck.evaluation.verdict import judged_arm
from limbeck.models.anatomy.probe import said_where
from limbeck.models.taps import HIDDEN
from limbeck.models.user_model import Own
from limbeck.pipeline.arm import Arm, run_arm, run_teacher_arm
from limbeck.pipeline.arms import arm_title, derive_arms, training_title
from limbeck.pipeline.context import PACKED_ROWS, RunContext, use_machine
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.pipeline.preflight import answer_times, few_steps, paces
from limbeck.pipeline.preflight.answer_times import seconds_of
from limbeck.pipeline.preflight.costs import Cost, summed
from limbeck.pipeline.preflight.exportable import has_others_exporter, others_of
from limbeck.pipeline.preflight.few_ways import in_small, num_tries_of, with_one_try
from limbeck.pipeline.preflight.judging import require_judging
from limbeck.pipeline.preflight.structure import structure_of
from limbeck.pipeline.preflight.volumes import Volume, spread, units_of
from limbeck.pipeline.stage import ExportWork, Stage
from limbeck.pipeline.steps.copies import foreseen, with_copies
from limbeck.pipeline.steps.exporting import PARITY
from limbeck.pipeline.steps.student import named_origin
from limbeck.quantization.progressive import beginnings
from limbeck.recipe.model import Recipe, Train, Verdict
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task, check_answers, packed
from limbeck.training.checkpoints import History
from limbeck.training.job import Job, measure_nothing
from limbeck.training.loop import Training, all_batches, batch_budget, refuse_small_batches

# All of these are compromises: a rehearsal should take a minute at most, and err little.
BATCHES = 2  # drawn for the rehearsal, beside the largest
SAMPLE_ROWS = 4000  # encoded to count units, at most
SAMPLE_SECONDS = 1.5  # spent on encoding them, at most
LEAST_SAMPLE = 64  # rows that are encoded however long they take
TEST_ROWS = 32  # of validation and test, and rows that are copied for `augment`
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
        # Of memory: holes of the heap, and the teacher's cache, which counts as this process's once
        # it was read.
        self.holes_mb = 0.0
        self.mapped_mb = 0.0
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
        # By structure: the folder of the export stage, and how long it took to write.
        self.exported: dict[str, tuple[Path, float]] = {}
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
        self.measure_latency(list(done.values()))
        # 5. Encoding, of which only now is known which models read what.
        encoding_seconds = sum(each.seconds * each.scale for each in self.volumes.values())
        self.add("data", encoding_seconds, 0)
        return self.summed()

    def share_batches(self, num_processes: int) -> None:
        """Judge the run as one of several processes; the rehearsal stays in this one."""
        self.num_processes = num_processes
        if num_processes == 1 or not self.recipe.teacher:
            return
        # This process has nobody to split a teacher with.
        whole = {"placement": "whole"}
        teachers = [teacher.model_copy(update=whole) for teacher in self.recipe.teachers]
        changes = {"teacher": self.recipe.teacher.model_copy(update=whole), "teachers": teachers}
        self.recipe = self.recipe.model_copy(update=changes)
        self.context.recipe = self.recipe
        self.arm = self.recipe

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
        sizes = volume.sizes
        budget = batch_budget(self.recipe.train, volume.encoded)
        plan = batch_plan(sizes, budget, seed=0, epoch=0)

        def weight(rows: np.ndarray) -> float:
            # The longest texts of all fill memory most: attention grows with the length squared.
            longest = max(sizes[row] for row in rows)
            return longest * padded_size(sizes, rows)

        # 3. The rows of a few of them, each once.
        heaviest = max(plan, key=weight)
        wanted = np.concatenate([*plan[:BATCHES], heaviest])
        numbers = dict.fromkeys(wanted.tolist())
        rows = [splits.train[0]]
        rows += [chosen[number] for number in numbers]
        return replace(
            splits,
            train=rows,
            validation=spread(splits.validation, TEST_ROWS),
            promise=spread(splits.promise, TEST_ROWS),
            test=spread(splits.test, TEST_ROWS),
            notes=[],
            num_unlabelled=0,
        )

    def volume(
        self,
        split: str,
        task: Task,
        rows: list[Row] | None = None,
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
        began = time.perf_counter()
        encoded: list[Encoded] = []
        for row in rows:
            encoded += task.encode([row])
            is_late = time.perf_counter() - began > SAMPLE_SECONDS
            if is_late and len(encoded) >= LEAST_SAMPLE:
                break
        seconds = time.perf_counter() - began
        self.volumes[key] = Volume(len(whole), encoded, seconds)
        return self.volumes[key]

    def units_of_epoch(self, split: str, task: Task) -> float:
        """Padded units of one epoch over the whole."""
        volume = self.volume(split, task)
        budget = batch_budget(self.recipe.train, volume.encoded)
        return volume.trained(budget)

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
        # Float models that are alike validate alike.
        key = digest([paces.form_of(job.model), bool(job.watchers.before_step)])
        if key not in self.paces:
            encoded = self.context.encode("validation", task)
            self.paces[key] = paces.pace_of_pass(job.model, encoded, task)
        pass_pace = self.paces[key]
        epoch_seconds = self.units_of_epoch(split, task) * pace
        epoch_seconds += self.units_of_pass("validation", task) * pass_pace
        self.training_seconds = job.settings.epochs * epoch_seconds + setup_seconds
        few_steps.warn(self.volume(split, task), job.settings, self.stage, self.context.store)
        self.measuring_seconds = time.perf_counter() - began
        # Nothing is logged: the history of a rehearsal is read by nobody.
        return []

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
        # Every image costs the same.
        if not volume.encoded[0].has_tokens:
            return [volume.sizes[0]] * volume.rows, True
        # More texts than these take long. The copies of `augment` are not made yet, and only about
        # as long as their rows.
        if volume.rows < PACKED_ROWS and not self.recipe.augment:
            rows: list[Row] = getattr(self.splits, split)
            return packed.sizes(task.encode(rows)), True
        generator = np.random.default_rng(0)
        return generator.choice(volume.sizes, volume.rows).tolist(), False

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
        scale = self.calibration_scale(settings.calibration_rows)
        return seconds * scale, self.timed_steps(training)

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
        student = self.arm.student.model_dump(mode="json")
        key = digest([student, list(self.arm.export), structure_of(work.model)])
        # Somebody else's code may do what its modules do not show.
        is_ours = not (has_others_exporter(self.arm) or others_of(self.arm.quantize))
        if is_ours and key in self.exported:
            source, self.saved_seconds = self.exported[key]
            # All but what says whose entry it is.
            others = shutil.ignore_patterns(STAGE_FILE, FILES)
            shutil.copytree(source, folder, ignore=others, dirs_exist_ok=True)
            return
        began = time.perf_counter()
        work.write(folder)
        # A model that was hardly trained often differs from its graph in a few answers, which last
        # bits explain. They are asked, in some seconds, where a run would be refused for it.
        work.prove(folder, asks_last_bits=False)
        seconds = time.perf_counter() - began
        if any(parity.answers_otherwise(proof) for proof in read_json(folder / PARITY)):
            work.prove(folder)
            parity.refuse_other_answers(read_json(folder / PARITY))
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
        elif stage.work.calibration_rows is not None:
            # The bytes of weights do not grow with the rows.
            scale = self.calibration_scale(stage.work.calibration_rows)
            if self.num_ways:
                self.add("choose", self.num_ways * seconds * scale, 0, times=self.seeds)
            self.add(stage.name, seconds * scale, num_bytes, times=self.seeds)
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

    def add_label(self, stage: Stage, folder: Path, seconds: float) -> None:
        """The teacher's outputs over the sample; arms share those over the whole."""
        task = stage.work.task
        assert task is not None
        encoded = list(self.context.encode("train", task))
        here = Volume(len(encoded), encoded, 0.0)
        whole = self.volume("train", task)
        # Files are named `tap.<n>.npy`, `tap.<n>.scale.npy` and so on; the others hold something
        # for each unit, as those of hidden tensors do.
        taps = read_json(folder / "taps.json")["taps"]
        kinds: dict[str, str] = {}
        for number, (kind, _) in enumerate(taps):
            kinds[f"tap.{number}"] = kind
        num_bytes = 0.0
        for path in folder.iterdir():
            name = ".".join(path.name.split(".")[:2])
            kind = kinds.get(name, HIDDEN)
            # Cells of attention grow with the square of a text's length, others do not.
            scale = whole.cells(kind) / here.cells(kind)
            num_bytes += path.stat().st_size * scale
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

    def calibration_scale(self, wanted: int) -> float:
        """Calibration rows of the run over those of the rehearsal."""
        assert self.recipe.quantize is not None
        here = min(wanted, len(self.context.data.train))
        whole = min(self.recipe.quantize.calibration_rows, len(self.splits.train))
        return whole / here

    def timed_rows(self) -> list[Any]:
        """Raw inputs that an answer is timed with."""
        return [raw(row) for row in self.context.data.test[:TIMED_ANSWERS]]

    def measure_latency(self, arms: Sequence[Arm]) -> None:
        """The measurement that closes the run."""
        self.doing = "latency"
        settings = self.recipe.verdict or Verdict()
        num_rows = len(self.splits.test)
        seconds = answer_times.measurement_seconds(arms, self.timed_rows(), num_rows, settings)
        self.add("latency", seconds, 0)

    # Sums.

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

    def summed(self) -> list[Cost]:
        """One cost for each name, in the order in which the names came."""
        by_stage: dict[str, list[Cost]] = {}
        for cost in self.costs:
            by_stage.setdefault(cost.stage, []).append(cost)
        return [summed(costs) for costs in by_stage.values()]
