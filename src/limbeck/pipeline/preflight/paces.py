"""How long a step of a training takes, and a pass without training, for each unit of its work.

A unit is a padded token of a text, or an image (`volumes`). A few steps and one small pass are
timed, after one that allocates and fills caches.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.pipeline.preflight.answer_times import seconds_of
from limbeck.pipeline.preflight.volumes import units_of
from limbeck.tasks import Encoded, Task
from limbeck.training.checkpoints import keep_best, write_best
from limbeck.training.job import Job, measure_nothing
from limbeck.training.loop import PROBES, Training, is_one_of
from limbeck.training.scoring import score_split

# Of a training, after the one that warms up: more would agree with them within some percent.
TIMED_STEPS = 2
# A first step that takes longer is timed itself: filling caches is a small part of it by then, and
# more of them would take the minutes that a rehearsal should not.
LONG_STEP_SECONDS = 5.0
# Of a step: a pass backward that computes no gradients of weights but the first layer's, where a
# step is a pass forward and one backward that takes twice as long.
OF_GRADIENT = 1 / 3


def pace_of_steps(training: Training) -> float:
    """Seconds a unit of a step: of a few full batches, after the longest to warm up.

    Of a large model the longest alone.
    """
    epochs = [epoch for epoch, _ in training.batches]
    steps = [step for step, epoch in enumerate(epochs) if epoch == 0]
    # What is left over at the end of the sample is rare in the whole.
    full_units = max(training.units(step) for step in steps) / 2
    steps = [step for step in steps if training.units(step) >= full_units]
    encoded = training.job.rows.encoded

    def longest(step: int) -> int:
        _, rows = training.batches[step]
        return max(encoded[row].size for row in rows)

    # 1. The one that fills memory most; it also allocates and fills caches. It is made the
    #    first, so that a loss which fails in it is told to have failed before any change.
    total = len(training.batches)
    heaviest = max(steps, key=longest)
    others = [batch for step, batch in enumerate(training.batches) if step != heaviest]
    training.batches = [training.batches[heaviest], *others]
    run_step = training.step
    first_seconds = seconds_of(partial(run_step, 0, total))
    if first_seconds > LONG_STEP_SECONDS:
        return first_seconds / training.units(0)
    # 2. Of the others as many as are timed; a step of a large model takes seconds.
    full = [step for step in range(1, total) if training.units(step) >= full_units]
    steps = [step for step in full if training.batches[step][0] == 0][:TIMED_STEPS] or [0]
    seconds = [seconds_of(partial(run_step, step, total)) for step in steps]
    units = sum(training.units(step) for step in steps)
    return sum(seconds) / units


def pace_of_pass(model: nn.Module, encoded: Sequence[Encoded], task: Task) -> float:
    """Seconds a unit of a pass without training."""
    # The first pass also allocates and fills caches.
    score_split(model, encoded[:2], task)
    seconds = seconds_of(lambda: score_split(model, encoded, task))
    return seconds / units_of(encoded)


def steps_of_probes(job: Job, total: int) -> float:
    """How many steps' time the probes of a training take, which asks for each loss's gradient by
    itself in some of its `total` steps."""
    if job.watchers.measure is measure_nothing:
        return 0.0
    num_probes = sum(is_one_of(PROBES, step, total) for step in range(total))
    return num_probes * len(job.objective.terms) * OF_GRADIENT


def seconds_of_keeping(job: Job, folder: Path) -> float:
    """How long the weights of an epoch take to be written, as those of the best so far are."""
    if job.validation is None or job.validation.judge is None or job.settings.keep != "best":
        return 0.0
    seconds = seconds_of(partial(write_best, folder, job.model, 0))
    keep_best(folder, [])
    return seconds


def form_of(model: nn.Module) -> list[Any]:
    """The shapes of a model's parameters: an assistant is not the student, nor one teacher another.

    As plain data, for a key.
    """
    return [[name, list(each.shape)] for name, each in model.named_parameters()]
