"""What one answer of each arm takes, and so the measurement of speed that closes a run."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from limbeck.artifact.load import load
from limbeck.artifact.manifest import graphs_in
from limbeck.artifact.speed import rounds
from limbeck.artifact.speed.worker import UNTIMED, Answer
from limbeck.core.system import machine
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.speed.graphs import structure_key
from limbeck.pipeline.speed.pytorch_worker import answerer
from limbeck.recipe.model import Recipe, Verdict

# Until a process of `pipeline.speed` has imported what it needs and answered once, on a machine of
# two cores: PyTorch with transformers, and a runtime alone.
PYTORCH_SECONDS = 4.0
RUNTIME_SECONDS = 0.5
# A slow model is timed on fewer rows than a fast one.
FEWEST_ANSWERS = 5
ENOUGH_SECONDS = 0.25
# About what scikit-learn and scipy take once the linear baseline has imported them.
BASELINE_MB = 120.0


def answers_of(arm: Arm) -> list[Answer]:
    """What answers raw input of an arm: its float model, or its artifact in each runtime."""
    if arm.artifact is None:
        return [answerer(arm.model(), arm.task)]
    return answers_of_artifact(arm.artifact.folder)


def answers_of_artifact(folder: Path) -> list[Answer]:
    """What answers raw input of an artifact, in each runtime that it offers."""
    runtimes = [graph["runtime"] for graph in graphs_in(folder)]
    return [load(folder, runtime=runtime, threads=1).predict for runtime in runtimes]


def answer_seconds(answers: Sequence[Answer], rows: Sequence[Any]) -> list[float]:
    """Seconds that one of `rows`, raw inputs, takes each of `answers`."""
    seconds = []
    for answer in answers:
        # The first answer also allocates and fills caches.
        answer(rows[0])
        began = time.perf_counter()
        num_answers = 0
        for row in rows:
            answer(row)
            num_answers += 1
            if num_answers >= FEWEST_ANSWERS and time.perf_counter() - began > ENOUGH_SECONDS:
                break
        seconds.append((time.perf_counter() - began) / num_answers)
    return seconds


def measurement_seconds(
    arms: Sequence[Arm], rows: Sequence[Any], num_rows: int, settings: Verdict
) -> float:
    """What `pipeline.speed.measuring` takes: each subject's start, and its turns.

    Args:
        arms: one seed of each, the teacher first.
        rows: raw inputs to time here.
        num_rows: of the whole test split.
        settings: how many of these are timed, and with how many threads.
    """
    turns = rounds.blocks(min(settings.latency_rows, num_rows))
    num_answers = sum(stop - start + UNTIMED for start, stop in turns)
    # With the recipe's number of threads, and on all cores.
    passes = 1 + (machine.usable_cores() != settings.latency_threads)
    least_seconds = len(turns) * rounds.LEAST_MS / 1000
    is_shipped = any(arm.artifact for arm in arms)
    # Float students that are alike are timed once, and as a graph where an artifact is shipped; so
    # is the teacher, beside PyTorch. A graph takes no longer than PyTorch, which answers here.
    alike: set[str] = set()
    seconds = 0.0
    for number, arm in enumerate(arms):
        key = structure_key(arm.student)
        if arm.artifact is None and key in alike:
            continue
        alike.add(key)
        starts = RUNTIME_SECONDS if is_shipped else PYTORCH_SECONDS
        if number == 0:
            starts = PYTORCH_SECONDS + is_shipped * RUNTIME_SECONDS
        for of_one in answer_seconds(answers_of(arm), rows):
            seconds += starts + passes * max(num_answers * of_one, least_seconds)
    return seconds


def unimported_mb(recipe: Recipe) -> float:
    """The memory of what a run imports and its rehearsal does not: the linear baseline's."""
    is_needed = recipe.verdict is not None and "sklearn" not in sys.modules
    return BASELINE_MB if is_needed else 0.0


def seconds_of(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
