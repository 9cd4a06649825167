"""The one training loop: it minimises an objective over batches, and calls listeners before each step.

It knows neither distillation nor bits. Everything that a step depends on is a pure function of
(seed, step): the batch and its augmented views, the learning rate, dropout. A killed training goes
on from its checkpoint to the same bytes.

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

from limbeck.core import memory
from limbeck.core.errors import Diverged, Interrupted
from limbeck.core.events import SETUP, VALIDATION, EpochEnded, Meter, Note, Progress
from limbeck.core.signals import deferred_interrupt
from limbeck.data.batches import batch_plan, padded_size
from limbeck.models import processes
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import to_device, to_torch
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded, collate, packed
from limbeck.training.batches import gathered, rows_of_process
from limbeck.training.checkpoints import (
    History,
    read_checkpoint,
    trained_parameters,
    write_checkpoint,
)
from limbeck.training.devices import autocast
from limbeck.training.job import Job

LOG_POINTS = 100  # loss terms are logged this many times a training, and at the end of every epoch
PROBES = 20  # what costs a pass backward for each term is measured this many times a training
DRAW_STREAM = 1  # the generator of a step's draw is not the stream that orders an epoch's rows
SEED_STRIDE = 1_000_003  # a prime: the steps of one seed do not meet those of the next
NOTHING_TO_LEARN = (
    "every loss term has the weight 0 here, and nothing is left to learn from. Give one a weight"
)


class Training:
    """A job under way. `folder` is the stage's, where checkpoints are written."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.optimizer = make_optimizer(job.model, job.objective, job.settings)
        self.parameters = trained_parameters(self.optimizer)
        self.sizes = packed.sizes(job.rows.encoded)
        self.batches = all_batches(job.settings, job.rows.encoded, self.sizes)
        self.history: History = []
        if processes.num_processes() > 1:
            processes.normalise_over_processes(job.model)
            refuse_small_batches([rows for _, rows in self.batches], processes.num_processes())

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

        Returns:
            What was logged: losses at some steps, validation figures of every epoch.

        Raises:
            Diverged: a loss term is not finite.
            Interrupted: the process was asked to stop, and wrote its checkpoint.
        """
        total = len(self.batches)
        saved = time.monotonic()
        start = self.load()
        meter = Meter(self.work(start))
        heap = memory.Heap()
        with deferred_interrupt() as stop:
            for step in range(start, total):
                is_due = time.monotonic() - saved >= self.job.settings.checkpoint_seconds
                if stop.requested or is_due:
                    self.save(step)
                    saved = time.monotonic()
                if stop.requested:
                    raise Interrupted(
                        f"stopped before step {step} of {total}; the same command goes on from there"
                    )
                for listener in self.job.watchers.before_step:
                    listener(step, total)
                meter.advance(SETUP, 0)
                self.step(step, total)
                meter.advance(self.job.kind(step, total), self.units(step))
                heap.tidy()
                if self.ends_epoch(step):
                    self.end_epoch(step)
                    meter.advance(VALIDATION, self.validation_units)
                if meter.due():
                    self.show(step, meter)
        return self.history

    @property
    def validation_units(self) -> float:
        """What one validation costs; 0 where there is none."""
        return self.job.validation.units if self.job.validation else 0.0

    def units(self, step: int) -> float:
        """What the step's batch costs: its padded tokens, or its images."""
        return padded_size(self.sizes, self.batches[step][1])

    def work(self, start: int) -> dict[str, float]:
        """The units of every kind of work from step `start` on."""
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
        epoch = self.batches[step][0] + 1
        self.job.tell(
            Progress(
                step + 1,
                len(self.batches),
                meter.time_left_s(),
                epoch,
                self.job.settings.epochs,
                self.last_logged("losses"),
                self.last_logged("validation"),
            )
        )

    def last_logged(self, what: str) -> dict[str, float]:
        """The latest figures of one kind in the history; empty before the first."""
        points = (point[what] for point in reversed(self.history) if what in point)
        return next(points, {})

    def step(self, step: int, total: int) -> None:
        """One batch forward and backward."""
        job = self.job
        epoch, rows = self.batches[step]
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
        loss, parts = job.objective(
            student, student if teacher is None else teacher, batch, progress
        )
        if self.reading_is_free:
            self.refuse_divergence(step, total)
        if not loss.requires_grad:
            raise Diverged(f"step {step} of {total}: {NOTHING_TO_LEARN}")
        # 3. What looks at single gradients does so before the pass backward frees the graph.
        is_probed = step % max(1, total // PROBES) == 0
        measures = job.watchers.measure(student, teacher, parts, progress) if is_probed else {}
        # 4. Backward.
        loss.backward()
        processes.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, job.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        # 5. The only place where the host waits for the device.
        if is_probed or step % max(1, total // LOG_POINTS) == 0 or self.ends_epoch(step):
            self.refuse_divergence(step, total)
            self.log(step, epoch, parts | {"total": loss}, measures)

    def batch(self, step: int) -> Batch:
        """The step's whole batch on the device, drawn and augmented."""
        job = self.job
        epoch, rows = self.batches[step]
        generator = np.random.default_rng([job.settings.seed, step, DRAW_STREAM])
        encoded = [job.rows.encoded[row] for row in rows]
        drawn = job.rows.draw(collate(encoded, rows, job.rows.padding), generator)
        return job.rows.view(to_device(to_torch(drawn), job.device), epoch, step)

    def forward(self, batch: Batch) -> Outputs:
        """The model's outputs on every row of `batch`, whichever process reads which."""
        job = self.job
        count = processes.num_processes()
        if count == 1:
            with autocast(job.device, job.dtype):
                return run_model(job.model, batch, job.taps)
        own = rows_of_process(batch, processes.process_index(), count)
        share = len(own.rows) / len(batch.rows)
        with autocast(job.device, job.dtype), processes.row_share.set_to(share):
            outputs = run_model(job.model, own, job.taps)
        return gathered(outputs, batch, count)

    def answers(self, batch: Batch) -> Outputs | None:
        """The teacher's outputs on the device; None where no loss asks it."""
        answers = self.job.teacher(batch)
        return None if answers is None else to_device(answers, self.job.device)

    def set_learning_rate(self, progress: float) -> None:
        """The rate at a share of the training."""
        settings = self.job.settings
        rate = settings.learning_rate * warmup_then_linear(progress, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def refuse_divergence(self, step: int, total: int) -> None:
        """Raises Diverged with the step and what else is known, where a loss was not finite."""
        try:
            self.job.objective.raise_if_diverged()
        except Diverged as error:
            causes = self.job.watchers.diagnose()
            at = error.progress if error.progress is not None else step / total
            lines = [f"step {round(at * total)} of {total}: {error}", causes]
            raise Diverged("\n".join(filter(None, lines))) from None

    def log(
        self, step: int, epoch: int, parts: dict[str, torch.Tensor], measures: dict[str, float]
    ) -> None:
        """Note the losses of a step, and what was measured beside them."""
        losses = {name: shortened(part.item()) for name, part in parts.items()}
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
        is_last = step + 1 == len(self.batches)
        return is_last or self.batches[step + 1][0] != self.batches[step][0]

    def end_epoch(self, step: int) -> None:
        """Validate and tell."""
        epoch = self.batches[step][0]
        losses = self.history[-1]["losses"]
        metrics = self.job.validation.metrics() if self.job.validation else {}
        memory.release_freed_memory()
        if metrics:
            rounded = {name: round(value, 6) for name, value in metrics.items()}
            self.history.append({"step": step + 1, "epoch": epoch, "validation": rounded})
        self.job.tell(EpochEnded(epoch + 1, self.job.settings.epochs, losses, metrics))

    def save(self, step: int) -> None:
        """Write the checkpoint from which `step` is the next to run; process 0 alone does."""
        if processes.process_index() == 0:
            write_checkpoint(
                self.folder, self.modules, self.optimizer, step=step, history=self.history
            )

    def load(self) -> int:
        """Take up the checkpoint, if there is one; the step to run next."""
        # All processes wait for one another first, so that none reads what another still writes.
        processes.wait_for_all()
        start, self.history = read_checkpoint(self.folder, self.modules, self.optimizer)
        processes.wait_for_all()
        if start:
            self.job.tell(Note(f"  going on from step {start} of {len(self.batches)}"))
        return start


def shortened(value: float) -> float:
    """Six digits, as a history keeps them."""
    return float(f"{value:.6g}")


def all_batches(
    settings: Train, encoded: Sequence[Encoded], sizes: Sequence[int]
) -> list[tuple[int, np.ndarray]]:
    """(epoch, indices of its rows) of every step of a training."""
    budget = batch_budget(settings, encoded)
    return [
        (epoch, rows)
        for epoch in range(settings.epochs)
        for rows in batch_plan(sizes, budget, seed=settings.seed, epoch=epoch)
    ]


def batch_budget(settings: Train, encoded: Sequence[Encoded]) -> int:
    """What a batch may cost: padded tokens of texts, or images."""
    return settings.batch_tokens if encoded[0].has_tokens else settings.batch_rows


def refuse_small_batches(batches: Sequence[np.ndarray], count: int) -> None:
    """Raises ValueError where a batch has fewer rows than there are processes."""
    smallest = min(len(rows) for rows in batches)
    if smallest < count:
        raise ValueError(
            f"train: {count} processes share each batch, and one of these batches has {smallest} "
            f"row{'s' * (smallest > 1)}. Raise train.batch_tokens or train.batch_rows, or start at "
            f"most {smallest} process{'es' * (smallest > 1)} (torchrun --nproc_per_node)"
        )


def make_optimizer(model: nn.Module, objective: nn.Module, settings: Train) -> torch.optim.AdamW:
    """AdamW over everything that is trained; fused, since one kernel for all tensors is faster."""
    groups = parameter_groups(model, objective, settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def parameter_groups(
    model: nn.Module, objective: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and scales do not."""
    modules = (model, objective)
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def warmup_then_linear(progress: float, warmup: float) -> float:
    """The learning rate's factor, in [0, 1].

    Linear from 0 to 1 over the share `warmup` of the training, then linear to 0 at its end.
    """
    if warmup == 0:
        return 1 - progress
    # The first step is at progress 0, where a factor of 0 would waste it.
    rising = (progress + 1e-3) / warmup
    # A warm-up of the whole training leaves nothing to fall over.
    falling = (1 - progress) / (1 - min(warmup, 0.999))
    return min(rising, 1.0, falling)
