"""The one training loop: it minimises an objective over batches.

Before each step it calls listeners, which may change the model. It knows neither distillation nor
bits. Everything that a step depends on is a pure function of (seed, step): the batch and its
augmented views, the learning rate, dropout. A killed training goes on from its checkpoint to the
same bytes.

No step waits for the device: losses are read where they are logged, and whether they are finite is
remembered on the device until then. On a CPU, where reading is free, both are looked at in every
step.

Several processes (`models.processes`) read one batch together: each runs the forward pass on its
own rows, all compute the losses over the whole batch, and gradients are averaged.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.core.errors import Diverged, Interrupted
from limbeck.core.events import SETUP, VALIDATION, EpochEnded, Meter, Note, Progress
from limbeck.core.system import memory
from limbeck.core.system.signals import deferred_interrupt
from limbeck.data.batches import batch_plan, padded_size
from limbeck.models import processes
from limbeck.models.running import autocast, run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import to_device, to_torch
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded, collate, packed
from limbeck.training.batches import gathered, rows_of_process
from limbeck.training.best import ALL_EPOCHS, NO_BETTER, NO_TIME, Choice
from limbeck.training.checkpoints import (
    History,
    Standing,
    keep_best,
    read_best,
    read_checkpoint,
    seconds_spent,
    trained_parameters,
    write_best,
    write_checkpoint,
)
from limbeck.training.clock import Clock
from limbeck.training.job import Job

# Loss terms are logged about this many times a training, since the host waits for the device to
# read them, and at the end of every epoch.
LOG_POINTS = 100
# What costs a pass backward for each term is measured about this many times a training.
PROBES = 20
# The generator of a step's draw is not the stream that orders an epoch's rows.
DRAW_STREAM = 1
# More than the steps of a training, so that those of one seed do not meet those of the next.
SEED_STRIDE = 1_000_003

# Significant digits of a logged loss, and decimals of a metric: more would be noise.
DIGITS = 6

NOTHING_TO_LEARN = (
    "every loss term has the weight 0 here, and nothing is left to learn from. Give one a weight"
)
NOTHING_TO_TRAIN = (
    "the model's logits have no gradient, so nothing of it can be trained: it has no parameters, "
    "or they are frozen"
)


class Training:
    """A job under way.

    Args:
        job: what is trained; model and objective lie on its device already.
        folder: the stage's, where checkpoints are written.

    Raises:
        ValueError: a batch has fewer rows than there are processes.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.optimizer = make_optimizer(job.model, job.objective, job.settings)
        self.parameters = trained_parameters(self.optimizer)
        self.sizes = packed.sizes(job.rows.encoded)
        self.batches = all_batches(job.settings, job.rows.encoded, self.sizes)
        self.history: History = []
        total = len(self.batches)
        self.begins = job.begins(total)
        judge = job.validation.judge if job.validation else None
        rising = job.settings.warmup * total
        self.choice = Choice(job.settings, judge, self.begins[-1], rising)
        self.clock = Clock(job.seconds)
        # How many steps were done when the time was used up; 0 while it is not.
        self.out_of_time = 0
        # The epoch, by its last step, whose weights the last checkpoint counts on.
        self.saved_best: int | None = None
        count = processes.num_processes()
        if count > 1:
            # The replacements share the parameters that the optimizer already holds.
            processes.normalise_over_processes(job.model)
            refuse_small_batches([rows for _, rows in self.batches], count)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by the name of its part of a checkpoint."""
        return {"model": self.job.model, "objective": self.job.objective}

    @property
    def reading_is_free(self) -> bool:
        """Whether the host can read a tensor without waiting for a device."""
        return self.job.device.type == "cpu"

    def run(self) -> History:
        """Train to the end, from the last checkpoint where there is one.

        The model is left with the weights of the best epoch, where epochs can be compared.

        Returns:
            What was logged: losses at some steps, validation figures of every epoch, and which
            epoch's weights were kept.

        Raises:
            Diverged: a loss term is not finite.
            Interrupted: the process was asked to stop, and wrote its checkpoint.
        """
        job = self.job
        total = len(self.batches)
        saved = time.monotonic()
        start = self.load()
        meter = Meter(self.work(start))
        heap = memory.Heap()
        # Inside, a signal only asks to stop: no step is left half done.
        with deferred_interrupt() as stop:
            step = start
            while step < total and not self.choice.is_over and not self.out_of_time:
                # 1. Save, where it is time or where this is the end.
                is_due = time.monotonic() - saved >= job.settings.checkpoint_seconds
                if stop.requested or is_due:
                    self.save(step)
                    saved = time.monotonic()
                if stop.requested:
                    raise Interrupted(
                        f"stopped before step {step} of {total}; "
                        "the same command goes on from there"
                    )
                # 2. Listeners, whose time (calibration takes seconds) is that of no kind of step.
                for listener in job.watchers.before_step:
                    listener(step, total)
                meter.advance(SETUP, 0)
                # 3. The step.
                self.step(step, total)
                self.clock.end_step(self.units(step))
                meter.advance(job.kind(step, total), self.units(step))
                heap.tidy()
                # 4. What follows it.
                if self.ends_epoch(step) or self.is_late(step):
                    self.end_epoch(step)
                    self.is_late(step, at_end_of_epoch=True)
                    meter.advance(VALIDATION, self.validation_units)
                if meter.due():
                    self.show(step, meter)
                step = self.next_step(step)
            self.take_best()
        return self.history

    @property
    def validation_units(self) -> float:
        """What one validation costs; 0 where there is none."""
        return self.job.validation.units if self.job.validation else 0.0

    def units(self, step: int) -> float:
        """What the step's batch costs: its padded tokens, or its images."""
        _, rows = self.batches[step]
        return padded_size(self.sizes, rows)

    def work(self, start: int) -> dict[str, float]:
        """The units of every kind of work from step `start` on, for the time left."""
        total = len(self.batches)
        work = {VALIDATION: 0.0}
        for step in range(start, total):
            kind = self.job.kind(step, total)
            work[kind] = work.get(kind, 0.0) + self.units(step)
            if self.ends_epoch(step):
                work[VALIDATION] += self.validation_units
        return work

    def show(self, step: int, meter: Meter) -> None:
        """Tell how far it is."""
        epoch, _ = self.batches[step]
        # People count from 1.
        progress = Progress(
            step=step + 1,
            steps=len(self.batches),
            time_left_s=meter.time_left_s(),
            epoch=epoch + 1,
            epochs=self.job.settings.epochs,
            losses=self.last_logged("losses"),
            metrics=self.last_logged("validation"),
        )
        self.job.tell(progress)

    def last_logged(self, what: str) -> dict[str, float]:
        """The latest figures of one kind in the history; empty before the first."""
        for point in reversed(self.history):
            if what in point:
                return point[what]
        return {}

    def step(self, step: int, total: int) -> None:
        """One batch forward and backward.

        Raises:
            Diverged: a loss term is not finite, or none has a gradient.
        """
        job = self.job
        epoch, _ = self.batches[step]
        progress = step / total
        # 1. What chance decides in a step is decided by (seed, step), and by the process, whose
        #    rows are others'.
        seed = job.settings.seed * SEED_STRIDE + step
        torch.manual_seed(seed + processes.process_index() * SEED_STRIDE**2)
        self.set_learning_rate(progress)
        # 2. Forward.
        batch = self.batch(step)
        job.model.train()
        student = self.forward(batch)
        teacher = self.answers(batch)
        # Where no loss reads a teacher, none looks at what stands in its place.
        compared = student if teacher is None else teacher
        loss, parts = job.objective(student, compared, batch, progress)
        if self.reading_is_free:
            self.refuse_divergence(step, total)
        if not loss.requires_grad:
            learns = any(each.requires_grad for each in student.sources)
            why = NOTHING_TO_LEARN if learns else NOTHING_TO_TRAIN
            raise Diverged(f"step {step} of {total}: {why}")
        # 3. What looks at single gradients does so before the pass backward frees the graph.
        is_probed = is_one_of(PROBES, step, total)
        measures = {}
        if is_probed:
            measures = job.watchers.measure(student, teacher, parts, progress)
        # 4. Backward.
        loss.backward()
        processes.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, job.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        # 5. The only place where the host waits for the device.
        is_logged = is_probed or is_one_of(LOG_POINTS, step, total) or self.ends_epoch(step)
        if is_logged:
            self.refuse_divergence(step, total)
            self.log(step, epoch, parts | {"total": loss}, measures)

    def batch(self, step: int) -> Batch:
        """The step's whole batch, drawn and augmented on the host, then moved to the device.

        On the host, so that it is the same for every device, and in one copy. Only what the model
        itself puts into it comes later.
        """
        job = self.job
        epoch, rows = self.batches[step]
        encoded = [job.rows.encoded[row] for row in rows]
        batch = collate(encoded, rows, job.rows.padding)
        generator = np.random.default_rng([job.settings.seed, step, DRAW_STREAM])
        drawn = job.rows.draw(batch, generator)
        seen = job.rows.view(to_torch(drawn), epoch, step)
        return job.rows.rewrite(to_device(seen, job.device), step)

    def forward(self, batch: Batch) -> Outputs:
        """The model's outputs on every row of `batch`, whichever process reads which."""
        job = self.job
        count = processes.num_processes()
        if count == 1:
            with autocast(job.device, job.dtype):
                return run_model(job.model, batch, job.taps, project_later=True)
        own = rows_of_process(batch, processes.process_index(), count)
        # Quantizers that count the values of a batch (LSQ) count those of the whole.
        share = len(own.rows) / len(batch.rows)
        with autocast(job.device, job.dtype), processes.row_share.set_to(share):
            outputs = run_model(job.model, own, job.taps, project_later=True)
        return gathered(outputs, batch, count)

    def answers(self, batch: Batch) -> Outputs | None:
        """The teacher's outputs on the device; None where no loss asks it."""
        answers = self.job.teacher(batch)
        if answers is None:
            return None
        # A cache answers on the CPU.
        return to_device(answers, self.job.device)

    def set_learning_rate(self, progress: float) -> None:
        """Set the rate of a share of the training; it is computed, for a checkpoint has none."""
        settings = self.job.settings
        rate = settings.rate * warmup_then_linear(progress, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def refuse_divergence(self, step: int, total: int) -> None:
        """Look whether a loss was not finite, in this step or since the last look.

        Raises:
            Diverged: it was; with the step and what else is known.
        """
        try:
            self.job.objective.raise_if_diverged()
        except Diverged as error:
            # On a GPU the look comes some steps after it happened.
            progress = step / total if error.progress is None else error.progress
            broken_step = round(progress * total)
            lines = [f"step {broken_step} of {total}: {error}"]
            causes = self.job.watchers.diagnose()
            if causes:
                lines.append(causes)
            raise Diverged("\n".join(lines)) from None

    def log(
        self, step: int, epoch: int, parts: dict[str, torch.Tensor], measures: dict[str, float]
    ) -> None:
        """Note the losses of a step, and what was measured beside them."""
        # All of them in one copy: each copy is a wait.
        stacked = torch.stack([part.detach().float() for part in parts.values()])
        values = stacked.cpu().tolist()
        losses = {name: shortened(value) for name, value in zip(parts, values, strict=True)}
        point: dict[str, Any] = {
            "step": step + 1,
            "steps": len(self.batches),
            "epoch": epoch,
            "losses": losses,
        }
        if measures:
            point["measures"] = {name: shortened(value) for name, value in measures.items()}
        self.history.append(point)

    def ends_epoch(self, step: int) -> bool:
        """Whether `step` is the last of its epoch."""
        if step + 1 == len(self.batches):
            return True
        epoch, _ = self.batches[step]
        next_epoch, _ = self.batches[step + 1]
        return next_epoch != epoch

    def end_epoch(self, step: int) -> None:
        """Validate and tell."""
        epoch, _ = self.batches[step]
        # The last step of an epoch is always logged; one that is cut short within may not be.
        losses = self.last_logged("losses")
        metrics = {}
        if self.job.validation:
            began = self.clock.now()
            # Sums of several processes may differ in the last bit, and all must choose alike.
            metrics = processes.broadcast_value(self.job.validation.metrics())
            self.clock.end_validation(began)
        # Validation's batches have other shapes: what they freed fits no step of the training.
        memory.release_freed_memory()
        if metrics:
            rounded = {name: round(value, DIGITS) for name, value in metrics.items()}
            self.history.append({"step": step + 1, "epoch": epoch, "validation": rounded})
            self.judge_epoch(step)
        self.job.tell(EpochEnded(epoch + 1, self.job.settings.epochs, losses, metrics))

    def is_late(self, step: int, *, at_end_of_epoch: bool = False) -> bool:
        """Whether the time is used up after `step`; process 0's clock says so to all.

        Never before the model is of the kind that the training ends with: `next_step` sees to it
        that the time left reaches that.
        """
        if self.job.seconds is None:
            return False
        if at_end_of_epoch:
            self.clock.end_epoch()
        if step < self.begins[-1]:
            return False
        reserve = self.clock.reserve(self.validation_units)
        late = self.clock.is_over(at_end_of_epoch=at_end_of_epoch, reserve=reserve)
        if not processes.broadcast_value(late):
            return False
        self.out_of_time = step + 1
        return True

    def next_step(self, step: int) -> int:
        """The step after `step`, or the one at which the next format begins, where its time came.

        A format has its share of the time as it has its share of the steps: where steps are too
        slow for the time, those that are left before the format are left out.
        """
        ahead = [begin for begin in self.begins if begin > step + 1]
        if self.job.seconds is None or not ahead:
            return step + 1
        reserve = self.clock.reserve(self.validation_units)
        share = self.clock.share(reserve)
        if not processes.broadcast_value(share * len(self.batches) >= ahead[0]):
            return step + 1
        self.history.append({"step": step + 1, "ended": NO_TIME, "next": ahead[0] + 1})
        self.job.tell(
            Note(
                f"  warning: went from step {step + 1} to {ahead[0] + 1} of {len(self.batches)}: "
                f"its share of train.minutes, {self.job.seconds:.3g} s, is too short for the steps "
                "between"
            )
        )
        return ahead[0]

    def judge_epoch(self, step: int) -> None:
        """Keep the weights of the epoch that was just validated, where it is the best so far."""
        is_best = self.choice.see(self.history[-1])
        # Those of the last step stay in the model.
        if is_best and step + 1 < len(self.batches) and processes.process_index() == 0:
            write_best(self.folder, self.job.model, step + 1)
            self.tidy_best()

    def take_best(self) -> None:
        """Give the model the weights of the best epoch, and tell which one that is."""
        reached, last = self.history[-1]["step"], self.history[-1]["epoch"]
        self.note_time()
        best = self.choice.best
        if best is None:
            return
        # All processes wait for the one that writes.
        processes.wait_for_all()
        if best.step < reached:
            read_best(self.folder, self.job.model, best.step)
        ended = NO_BETTER if reached < len(self.batches) else ALL_EPOCHS
        if self.is_cut:
            ended = NO_TIME
        kept = {"epoch": best.number, "step": best.step, "ended": ended}
        self.history.append({"step": reached, "epoch": last, "kept": kept})
        if ended == NO_BETTER:
            self.job.tell(
                Note(
                    f"  ended after epoch {last + 1} of {self.job.settings.epochs}: "
                    f"{self.choice.waited} in a row were no better on validation (train.patience)"
                )
            )
        if best.step < reached:
            self.job.tell(Note(f"  kept the weights of epoch {best.number + 1}, the best one"))

    @property
    def is_cut(self) -> bool:
        """Whether the training ended before its last step because its time was used up."""
        return 0 < self.out_of_time < len(self.batches)

    def note_time(self) -> None:
        """Log and tell that the time was used up, where it was."""
        if self.is_cut:
            self.history.append({"step": self.out_of_time, "ended": NO_TIME})
            self.job.tell(
                Note(
                    f"  warning: ended after step {self.out_of_time} of {len(self.batches)}: its "
                    f"share of train.minutes, {self.job.seconds:.3g} s, is used up"
                )
            )

    def save(self, step: int) -> None:
        """Write the checkpoint from which `step` is the next to run; process 0 alone does."""
        if processes.process_index() > 0:
            return
        best = self.choice.best
        self.saved_best = best.step if best else None
        write_checkpoint(
            self.folder,
            self.modules,
            self.optimizer,
            step=step,
            history=self.history,
            standing=Standing(self.saved_best, self.clock.spent),
        )
        self.tidy_best()

    def tidy_best(self) -> None:
        """Leave the weights of the best epoch alone, and those that the last checkpoint needs."""
        best = self.choice.best
        steps = {best.step if best else None, self.saved_best}
        keep_best(self.folder, [step for step in steps if step is not None])

    def load(self) -> int:
        """Take up the checkpoint, if there is one; the step to run next."""
        # All processes wait for one another first, so that none reads what another still writes.
        processes.wait_for_all()
        trained = (self.folder, self.modules, self.optimizer)
        start, self.history = read_checkpoint(*trained, self.job.tell)
        self.choice.see_all(self.history)
        self.clock.start(seconds_spent(self.folder) if start else 0.0)
        self.saved_best = self.choice.best.step if self.choice.best else None
        processes.wait_for_all()
        if start:
            self.job.tell(Note(f"  going on from step {start} of {len(self.batches)}"))
        return start


def is_one_of(count: int, step: int, total: int) -> bool:
    """Whether `step` is one of about `count` spread evenly over `total`; the first one is.

    Example:
        >>> [step for step in range(10) if is_one_of(3, step, 10)]
        [0, 3, 6, 9]
    """
    every = max(1, total // count)
    return step % every == 0


def shortened(value: float) -> float:
    """Six digits, as a history keeps them."""
    return float(f"{value:.{DIGITS}g}")


def all_batches(
    settings: Train, encoded: Sequence[Encoded], sizes: Sequence[int]
) -> list[tuple[int, np.ndarray]]:
    """(epoch, indices of its rows) of every step of a training."""
    budget = batch_budget(settings, encoded)
    batches: list[tuple[int, np.ndarray]] = []
    for epoch in range(settings.epochs):
        plan = batch_plan(sizes, budget, seed=settings.seed, epoch=epoch)
        batches += [(epoch, rows) for rows in plan]
    return batches


def batch_budget(settings: Train, encoded: Sequence[Encoded]) -> int:
    """What a batch may cost: padded tokens of texts, or images."""
    if encoded[0].has_tokens:
        return settings.batch_tokens
    return settings.batch_rows


def refuse_small_batches(batches: Sequence[np.ndarray], count: int) -> None:
    """Refuse to share batches that are too small.

    Raises:
        ValueError: a batch has fewer rows than there are processes.
    """
    smallest = min(len(rows) for rows in batches)
    if smallest >= count:
        return
    row_count = "1 row" if smallest == 1 else f"{smallest} rows"
    # `torchrun` with one process would be a longer way to say the same.
    start = "run without torchrun"
    if smallest > 1:
        start = f"start at most {smallest} processes (torchrun --nproc_per_node {smallest})"
    raise ValueError(
        f"train: {count} processes share each batch, and one of these batches has {row_count}. "
        f"Raise train.batch_tokens or train.batch_rows, or {start}"
    )


def make_optimizer(model: nn.Module, objective: nn.Module, settings: Train) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2017, arXiv 1711.05101) over everything that is trained.

    Fused, since one kernel for all tensors is faster.
    """
    groups = parameter_groups(model, objective, settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.rate, fused=True)


def parameter_groups(
    model: nn.Module, objective: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """The groups of an optimizer: matrices decay; biases, norms and scales do not."""
    parameters = [*model.parameters(), *objective.parameters()]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    # Pulled to 0, a norm or a scale would shrink what passes it.
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def warmup_then_linear(progress: float, warmup: float) -> float:
    """The learning rate's factor, in [0, 1].

    Linear from 0 to 1 over the share `warmup` of the training, then linear to 0 at its end.

    Args:
        progress: the share of the training that is done, in [0, 1).
        warmup: in [0, 1].
    """
    if warmup == 0:
        return 1 - progress
    # The first step is at progress 0, where a factor of 0 would waste it.
    rising = (progress + 1e-3) / warmup
    # A warm-up of the whole training leaves nothing to fall over.
    falling = (1 - progress) / (1 - min(warmup, 0.999))
    return min(rising, 1.0, falling)
