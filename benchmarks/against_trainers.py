"""Distilling beside other trainers: the same student and teacher, the same batches of the same
rows, optimizer, schedule, clipping and losses.

    python benchmarks/against_trainers.py RECIPE [key=value ...] [--rows N] [--epochs N] [--rounds
    N] [--dtype NAME]

RECIPE distils a text classifier, as recipes/text-classification-banking77-minilm3-joint.yaml does:
N of its training rows (0: all), in float, by
cross entropy and its `kl` alone. By limbeck, from its cache; by a Trainer of `transformers` whose
`compute_loss` asks the teacher; by TextBrewer: its
GeneralDistiller asks the teacher, its BasicDistiller caches (`is_caching_logits`: the first
epoch's batches, for every epoch). Each as its users get
it: limbeck with eager attention and freed memory kept, the others with the attention that
`transformers` takes by default. The others get batches
ready collated. Nobody validates, saves or probes meanwhile. A round is one training of each, by a
seed of its own, in a process of its own.

Prints, on the median of the rounds, examples a second in training and their ratio to limbeck's,
the peak of the process's memory, the seconds of
filling a cache, and the epochs after which limbeck's has paid; and the mean test accuracy,
answered in float32 (beside the cache, the teacher's).

All compute in float32, and in bfloat16 by autocast where the CPU has it: the Trainer's `bf16`
leaves the teacher in float32, and TextBrewer 0.2.1
knows apex's fp16 alone, so autocast is wrapped around those models here. TextBrewer leaves T^2 out
of its loss: its weight holds it here. It imports
tensorboardX, for which an empty module stands in. Needs `pip install textbrewer`.
"""

import argparse
import contextlib
import io
import multiprocessing
import sys
import tempfile
import time
import types
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from limbeck.core.cache.store import Store
from limbeck.core.system import machine, memory
from limbeck.data.batches import batch_plan
from limbeck.distillation import objective
from limbeck.evaluation.scores import quality
from limbeck.models.torch_batches import batch_of
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.teacher_outputs import TeacherAnswers, teacher_outputs
from limbeck.pipeline.steps.training import Objectives, training_job
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.tasks import packed
from limbeck.training import loop
from limbeck.training.job import Watchers
from limbeck.training.scoring import score_split


@dataclass(frozen=True)
class Found:
    """What one process measured; `label_s`: of filling a cache, which `seconds` leaves out."""

    seconds: float
    label_s: float
    peak_mb: float
    accuracy: float


class Case:
    """What the contenders share."""

    def __init__(self, recipe: Recipe, dtype: str, seed: int, rows: int) -> None:
        assert recipe.distill is not None
        self.bench = bench = RunContext(recipe, Store())
        torch.set_num_threads(recipe.train.threads)
        labelled = bench.data.labelled
        bench.data = replace(
            bench.data,
            train=[labelled[i] for i in np.random.default_rng(0).permutation(len(labelled))[:rows]],
            num_unlabelled=0,
        )
        self.ready = prepare_teacher(recipe, bench)
        self.start = cut_student(recipe, bench, self.ready)
        self.settings = recipe.train.model_copy(
            update={"dtype": dtype, "seed": seed, "checkpoint_seconds": 1e9}
        )
        bench.recipe = recipe.model_copy(
            update={"train": self.settings}
        )  # after the teacher, which is one for all
        self.dtype, self.task = bench.dtype(), self.start.task
        own: Any = recipe.distill.losses["kl"]
        self.temperature, self.weight = own["temperature"], own["weight"]
        distill = recipe.distill.model_copy(update={"losses": {"kl": own}, "task_weight": 1.0})
        self.recipe, self.terms = (
            bench.recipe.model_copy(update={"distill": distill, "quantize": None}),
            objective.terms(self.task.hard_loss, distill),
        )

    def answers(self) -> TeacherAnswers:
        """limbeck's cache."""
        return teacher_outputs(self.recipe, self.bench, self.ready, self.start, self.terms)

    def models(self) -> tuple[Any, Any]:
        """Student and teacher for the others; the student without autocast."""
        models: list[Any] = [self.start.load(), self.ready.load().eval()]
        for model in models:
            model.set_attn_implementation("sdpa")
        return models[0], self.autocast(models[1])

    def autocast(self, model: Any) -> Any:
        """The model, which computes in the case's dtype from now on."""
        model.forward = torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32)(
            model.forward
        )
        return model

    def batches(self, epochs: int) -> list[dict[str, torch.Tensor]]:
        """limbeck's, one epoch after the other, as `transformers` reads them."""
        encoded = self.bench.encode("train", self.task)
        sizes, budget = packed.sizes(encoded), loop.batch_budget(self.settings, encoded)
        plans = [
            batch_plan(sizes, budget, seed=self.settings.seed, epoch=epoch)
            for epoch in range(epochs)
        ]
        made = [batch_of(encoded, rows, self.task.padding) for plan in plans for rows in plan]
        return [{**batch.inputs, "labels": batch.labels.flatten()} for batch in made]

    def optimizer(
        self, model: nn.Module, total: int
    ) -> tuple[torch.optim.Optimizer, Callable[[int], float]]:
        """limbeck's, and its schedule of the learning rate."""
        groups = loop.parameter_groups(model, objective.Objective([]), self.settings.weight_decay)
        adam = torch.optim.AdamW(groups, lr=self.settings.rate, fused=True)
        return adam, lambda step: loop.warmup_then_linear(step / total, self.settings.warmup)

    def found(self, model: nn.Module, began: float, label_s: float = 0.0) -> Found:
        """The clock and the memory's peak are read before the test rows are answered."""
        seconds, peak_mb = time.perf_counter() - began - label_s, memory.peak_mb()
        fresh = self.start.load()
        fresh.load_state_dict(model.state_dict())
        return Found(seconds, label_s, peak_mb, self.accuracy(fresh))

    def accuracy(self, model: nn.Module) -> float:
        """Of the test split."""
        return quality(
            score_split(model, self.bench.encode("test", self.task), self.task), self.task
        )[self.task.metric]


def by_labelling(case: Case) -> Found:
    """Fill a new cache, the teacher's loading included."""
    with tempfile.TemporaryDirectory() as folder:
        case.bench.store, began = Store(Path(folder)), time.perf_counter()
        case.answers()
        seconds, peak_mb = time.perf_counter() - began, memory.peak_mb()
    return Found(0.0, seconds, peak_mb, case.accuracy(case.ready.load()))


def by_limbeck(case: Case) -> Found:
    """From the cache."""
    memory.keep_freed_memory()
    objectives = Objectives(case.terms, case.answers())
    job = training_job(case.recipe, case.bench, case.start, objectives)
    with tempfile.TemporaryDirectory() as folder:
        training = loop.Training(replace(job, validation=None, watchers=Watchers()), Path(folder))
        began = time.perf_counter()
        training.run()
    return case.found(job.model, began)


def by_trainer(case: Case) -> Found:
    """A Trainer with the usual `compute_loss`."""
    from transformers import Trainer, TrainingArguments

    student, teacher = case.models()
    batches, temperature = case.batches(case.settings.epochs), case.temperature

    class Distilling(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list will do

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> torch.Tensor:
            own = model(**inputs)
            with torch.no_grad():
                theirs = teacher(**inputs)
            log_q, log_p = (
                (each.logits.float() / temperature).log_softmax(-1) for each in (own, theirs)
            )
            soft = nn.functional.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
            return own.loss + case.weight * temperature**2 * soft

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, bf16=case.dtype == torch.bfloat16,
            max_grad_norm=case.settings.gradient_clip, seed=case.settings.seed,
            use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no",
            disable_tqdm=True,
        )  # fmt: skip
        optimizer, factor = case.optimizer(student, len(batches))
        trainer = Distilling(
            student,
            arguments,
            train_dataset=batches,
            optimizers=(optimizer, LambdaLR(optimizer, factor)),
        )
        began = time.perf_counter()
        trainer.train()
    return case.found(student, began)


def by_textbrewer(case: Case, *, cached: bool) -> Found:
    """`cached`: by the distiller that can. Its cache is full when it has asked the teacher for the
    last time."""
    sys.modules["tensorboardX"] = stand_in = types.ModuleType("tensorboardX")
    vars(stand_in)["SummaryWriter"] = None
    import textbrewer

    del sys.modules["tensorboardX"]  # transformers looks for it too
    student, teacher = case.models()
    batches, epochs = (
        (case.batches(1), case.settings.epochs)
        if cached
        else (case.batches(case.settings.epochs), 1)
    )
    asked = [0.0]

    def of_teacher(batch: Any, outputs: Any) -> dict[str, Any]:
        asked.append(time.perf_counter())
        return {"logits": outputs.logits.float()}

    def of_student(batch: Any, outputs: Any) -> dict[str, Any]:
        return {"logits": outputs.logits.float(), "losses": outputs.loss}

    kind, weight = (
        (textbrewer.BasicDistiller if cached else textbrewer.GeneralDistiller),
        case.weight * case.temperature**2,
    )
    losses = textbrewer.DistillationConfig(
        temperature=case.temperature,
        kd_loss_weight=weight,
        hard_label_weight=1.0,
        is_caching_logits=cached,
    )
    torch.manual_seed(case.settings.seed)
    optimizer, factor = case.optimizer(student, epochs * len(batches))
    schedule = {"scheduler_class": LambdaLR, "scheduler_args": {"lr_lambda": factor}}
    with tempfile.TemporaryDirectory() as folder:
        settings = textbrewer.TrainingConfig(device="cpu", output_dir=folder, ckpt_frequency=0)
        distiller = kind(settings, losses, teacher, case.autocast(student), of_teacher, of_student)
        with distiller:
            began = time.perf_counter()
            distiller.train(
                optimizer, batches, epochs, max_grad_norm=case.settings.gradient_clip, **schedule
            )
    return case.found(student, began, asked[-1] - began if cached else 0.0)


LABELLING, LIMBECK = "limbeck, filling its cache", "limbeck"
WAYS: dict[str, Callable[[Case], Any]] = {
    LABELLING: by_labelling,
    LIMBECK: by_limbeck,
    "transformers Trainer": by_trainer,
    "TextBrewer GeneralDistiller": partial(by_textbrewer, cached=False),
    "TextBrewer BasicDistiller": partial(by_textbrewer, cached=True),
}


def alone(way: Callable[[Case], Any], recipe: Recipe, dtype: str, seed: int, rows: int) -> Any:
    """In a process of its own, without its progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return way(Case(recipe, dtype, seed, rows))


def show(runs: dict[str, list[Found]], examples: int, epochs: int) -> None:
    """A table for the terminal."""
    median = {
        way: np.median([(each.seconds, each.label_s, each.peak_mb) for each in found], 0)
        for way, found in runs.items()
    }
    for way, (seconds, label_s, peak_mb) in median.items():
        print(
            f"  {way:28} {peak_mb:6,.0f} MB  accuracy {np.mean([each.accuracy for each in runs[way]]):.4f}",
            end="",
        )
        if seconds:
            print(
                f"  {examples / seconds:7.1f} examples/s  {median[LIMBECK][0] / seconds:.3f} x",
                end="",
            )
        if label_s:
            print(f"  cache {label_s:.1f} s", end="")
        elif (gain := (seconds - median[LIMBECK][0]) / epochs) > 0:
            print(
                f"  limbeck's cache has paid after {median[LABELLING][1] / gain:.2f} epochs", end=""
            )
        print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="one alone")
    arguments = parser.parse_args()
    recipe = compatibility.resolved(
        read(arguments.recipe, [*arguments.overrides, f"train.epochs={arguments.epochs}"])
    )
    rows = min(arguments.rows or sys.maxsize, len(RunContext(recipe, Store()).data.labelled))
    dtypes = (
        [arguments.dtype]
        if arguments.dtype
        else ["bfloat16", "float32"]
        if machine.has_bfloat16()
        else ["float32"]
    )
    runs: dict[str, dict[str, list[Found]]] = {dtype: {way: [] for way in WAYS} for dtype in dtypes}
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for dtype in dtypes:
            pool.submit(alone, fill_store, recipe, dtype, 0, rows).result()
        for seed in range(arguments.rounds):
            for dtype in dtypes:
                for title, way in WAYS.items():
                    runs[dtype][title].append(
                        pool.submit(alone, way, recipe, dtype, seed, rows).result()
                    )
    for dtype in dtypes:
        print(dtype)
        show(runs[dtype], rows * arguments.epochs, arguments.epochs)


def fill_store(case: Case) -> None:
    """Teacher, student and cache, before anything is measured."""
    case.answers()


if __name__ == "__main__":
    main()
