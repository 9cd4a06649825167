"""The one training loop. It knows neither distillation nor bits: it minimises an objective over batches, and calls listeners before each step.

Everything that a step depends on is a pure function of (seed, step): the batch and its augmented views, the learning rate, dropout. A checkpoint is
one safetensors file (model, objective, optimizer; the step and the history in its JSON header), so that a killed training goes on to the same bytes.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from limbeck.core import memory
from limbeck.core.errors import Diverged, Interrupted
from limbeck.core.events import (
    SETUP,
    STEP,
    VALIDATION,
    EpochEnded,
    Meter,
    Note,
    Progress,
    Tell,
    silent,
)
from limbeck.core.files import write_bytes
from limbeck.core.signals import deferred_interrupt
from limbeck.data.batches import batch_plan, padded_size
from limbeck.distillation.objective import Objective
from limbeck.models.taps import Outputs, Tap, run_model, to_torch
from limbeck.models.weights import model_state, restore_state
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded, collate, packed

CHECKPOINT = "checkpoint/last.safetensors"
LOG_POINTS = 100  # loss terms are logged this many times a training, and at the end of every epoch
PROBES = 20  # what costs a pass backward for each term is measured this many times a training


def all_alike(step: int, total: int) -> str:
    """Every step costs the same."""
    return STEP


Measure = Callable[[Outputs, Outputs | None, dict[str, torch.Tensor], float], dict[str, float]]


def nothing(
    student: Outputs, teacher: Outputs | None, parts: dict[str, torch.Tensor], progress: float
) -> dict[str, float]:
    """Nothing is measured beside the losses."""
    return {}


View = Callable[[Batch, int, int], Batch]


def as_it_is(batch: Batch, epoch: int, step: int) -> Batch:
    """The rows look alike in every epoch."""
    return batch


Transform = Callable[[Batch, np.random.Generator], Batch]


def unchanged(batch: Batch, generator: np.random.Generator) -> Batch:
    """Every step trains on the rows as they are."""
    return batch


@dataclass(frozen=True)
class Job:
    """One training.

    `teacher(batch)` answers, from the cache or live; `taps` are captured; `listeners` get the step about to run; `validate` gives metrics and costs
    `validation_units`; `kind(step, total)` is the step's kind of work (`limbeck.core.events`); `transform(batch, generator)` makes of
    a numpy batch the one to train on, by a generator that (seed, step) alone decides; `diagnose()` adds what it knows where a loss is not finite;
    `measure(student, teacher, parts, progress)` is asked PROBES times, before the pass backward, for figures to log beside the losses;
    `view(batch, epoch, step)` gives the augmented batch.
    """

    model: nn.Module
    objective: Objective
    encoded: Sequence[Encoded]
    padding: dict[str, int]
    settings: Train
    dtype: torch.dtype = torch.float32
    taps: Sequence[Tap] = ()
    teacher: Callable[[Batch], Outputs | None] = lambda batch: None
    listeners: Sequence[Callable[[int, int], None]] = ()
    validate: Callable[[], dict[str, float]] | None = None
    validation_units: float = 0.0
    kind: Callable[[int, int], str] = all_alike
    tell: Tell = silent
    transform: Transform = unchanged
    diagnose: Callable[[], str] = str
    measure: Measure = nothing
    view: View = as_it_is


class Training:
    """A job under way."""

    def __init__(self, job: Job, folder: Path) -> None:
        from accelerate import Accelerator

        settings = job.settings
        self.job, self.folder = job, folder
        self.accelerator = Accelerator()  # its mixed precision is one for a whole process, and one process may train text and images
        self.optimizer = torch.optim.AdamW(
            parameter_groups(job.model, job.objective, settings.weight_decay),
            lr=settings.learning_rate,
            fused=True,
        )
        self.sizes = sizes = packed.sizes(job.encoded)
        plans = [
            batch_plan(sizes, batch_budget(settings, job.encoded), seed=settings.seed, epoch=epoch)
            for epoch in range(settings.epochs)
        ]
        self.batches = [(epoch, rows) for epoch, plan in enumerate(plans) for rows in plan]
        self.history: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, from the last checkpoint where there is one. Returns the history. Raises Diverged and Interrupted."""
        total, saved = len(self.batches), time.monotonic()
        start = self.load()
        meter, heap = Meter(self.work(start)), memory.Heap()
        with deferred_interrupt() as stop:
            for step in range(start, total):
                if (
                    stop.requested
                    or time.monotonic() - saved >= self.job.settings.checkpoint_seconds
                ):
                    self.save(step)
                    saved = time.monotonic()
                if stop.requested:
                    raise Interrupted(
                        f"stopped before step {step} of {total}; the same command goes on from there"
                    )
                for listener in self.job.listeners:
                    listener(step, total)
                meter.advance(SETUP, 0)
                self.step(step, total)
                meter.advance(self.job.kind(step, total), self.units(step))
                heap.tidy()
                if self.ends_epoch(step):
                    self.end_epoch(step)
                    meter.advance(VALIDATION, self.job.validation_units)
                if meter.due():
                    self.show(step, meter)
        return self.history

    def units(self, step: int) -> float:
        """What the step's batch costs: its padded tokens, or its images."""
        return padded_size(self.sizes, self.batches[step][1])

    def work(self, start: int) -> dict[str, float]:
        """The units of every kind from step `start` on."""
        total, work = len(self.batches), {VALIDATION: 0.0}
        for step in range(start, total):
            kind = self.job.kind(step, total)
            work[kind] = work.get(kind, 0.0) + self.units(step)
            work[VALIDATION] += self.job.validation_units * self.ends_epoch(step)
        return work

    def show(self, step: int, meter: Meter) -> None:
        """Tell how far it is."""
        losses: dict[str, float] = next(
            (point["losses"] for point in reversed(self.history) if "losses" in point), {}
        )
        metrics: dict[str, float] = next(
            (point["validation"] for point in reversed(self.history) if "validation" in point), {}
        )
        epoch, epochs = self.batches[step][0] + 1, self.job.settings.epochs
        self.job.tell(
            Progress(
                step + 1, len(self.batches), meter.time_left_s(), epoch, epochs, losses, metrics
            )
        )

    def step(self, step: int, total: int) -> None:
        """One batch forward and backward."""
        job, (epoch, rows) = self.job, self.batches[step]
        torch.manual_seed(job.settings.seed * 1_000_003 + step)
        rate = job.settings.learning_rate * warmup_then_linear(step / total, job.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = np.random.default_rng(
            [job.settings.seed, step, 1]
        )  # 1: not the stream that orders an epoch's rows
        batch = to_torch(
            job.transform(collate([job.encoded[i] for i in rows], rows, job.padding), generator)
        )
        batch = job.view(batch, epoch, step)
        job.model.train()
        with torch.autocast(
            self.accelerator.device.type, job.dtype, enabled=job.dtype != torch.float32
        ):
            student = run_model(job.model, batch, job.taps)
        teacher = job.teacher(batch)
        try:
            loss, parts = job.objective(
                student, student if teacher is None else teacher, batch, step / total
            )
        except Diverged as error:
            raise Diverged(
                "\n".join(filter(None, (f"step {step} of {total}: {error}", job.diagnose())))
            ) from None
        if not loss.requires_grad:
            raise Diverged(
                f"step {step} of {total}: every loss term has the weight 0 here, and nothing is left to learn from. Give one a weight"
            )
        probed = step % max(1, total // PROBES) == 0
        measures = job.measure(student, teacher, parts, step / total) if probed else {}
        self.accelerator.backward(loss)
        nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]],
            job.settings.gradient_clip,
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if probed or step % max(1, total // LOG_POINTS) == 0 or self.ends_epoch(step):
            losses = {name: short(part.item()) for name, part in (parts | {"total": loss}).items()}
            point = {"step": step + 1, "steps": total, "epoch": epoch, "losses": losses}
            self.history.append(
                point
                | (
                    {"measures": {name: short(value) for name, value in measures.items()}}
                    if measures
                    else {}
                )
            )

    def ends_epoch(self, step: int) -> bool:
        """Whether `step` is the last of its epoch."""
        return step + 1 == len(self.batches) or self.batches[step + 1][0] != self.batches[step][0]

    def end_epoch(self, step: int) -> None:
        """Validate and tell."""
        epoch, epochs = self.batches[step][0], self.job.settings.epochs
        losses = self.history[-1]["losses"]
        metrics = self.job.validate() if self.job.validate else {}
        memory.release_freed_memory()
        if metrics:
            self.history.append(
                {
                    "step": step + 1,
                    "epoch": epoch,
                    "validation": {name: round(value, 6) for name, value in metrics.items()},
                }
            )
        self.job.tell(EpochEnded(epoch + 1, epochs, losses, metrics))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that changes while training, by name."""
        found = {f"model.{name}": tensor for name, tensor in model_state(self.job.model).items()}
        found |= {
            f"objective.{name}": tensor for name, tensor in model_state(self.job.objective).items()
        }
        for index, parameter in enumerate(
            p for group in self.optimizer.param_groups for p in group["params"]
        ):
            found |= {
                f"optimizer.{index}.{key}": value
                for key, value in self.optimizer.state[parameter].items()
            }
        return found

    def save(self, step: int) -> None:
        """Write the checkpoint from which `step` is the next to run."""
        path = self.folder / CHECKPOINT
        path.parent.mkdir(exist_ok=True)
        header = {"step": str(step), "history": json.dumps(self.history)}
        write_bytes(
            path,
            save({name: tensor.contiguous() for name, tensor in self.tensors().items()}, header),
        )

    def load(self) -> int:
        """Take up the checkpoint, if there is one; the step to run next."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return 0
        with safe_open(path, "pt") as file:
            header = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "objective": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            parts[owner][rest] = tensor
        restore_state(self.job.model, parts["model"])
        restore_state(self.job.objective, parts["objective"])
        for index, parameter in enumerate(
            p for group in self.optimizer.param_groups for p in group["params"]
        ):
            own = {
                name.partition(".")[2]: tensor
                for name, tensor in parts["optimizer"].items()
                if name.startswith(f"{index}.")
            }
            if own:
                self.optimizer.state[parameter] = own
        self.history = json.loads(header["history"])
        self.job.tell(Note(f"  going on from step {header['step']} of {len(self.batches)}"))
        return int(header["step"])


def short(value: float) -> float:
    """Six digits, as a history keeps them."""
    return float(f"{value:.6g}")


def batch_budget(settings: Train, encoded: Sequence[Encoded]) -> int:
    """What a batch may cost: padded tokens of texts, or images."""
    return settings.batch_tokens if encoded[0].has_tokens else settings.batch_rows


def parameter_groups(
    model: nn.Module, objective: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and scales do not."""
    trained = [p for module in (model, objective) for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def warmup_then_linear(progress: float, warmup: float) -> float:
    """The learning rate's factor: linear from 0 to 1 over the share `warmup`, then linear to 0."""
    rising = math.inf if warmup == 0 else (progress + 1e-3) / warmup
    return (
        min(1.0, rising) * (1 - progress)
        if warmup == 0
        else min(rising, 1.0, (1 - progress) / (1 - min(warmup, 0.999)))
    )
