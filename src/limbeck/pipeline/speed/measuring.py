"""One measurement of speed, which every figure of a report is taken from."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from limbeck.artifact.rows.inputs import raw
from limbeck.artifact.speed import ratios, rounds
from limbeck.artifact.speed.in_process import InProcess
from limbeck.artifact.speed.inputs import read_inputs, write_inputs
from limbeck.artifact.speed.product import product
from limbeck.artifact.speed.ratios import ratio
from limbeck.artifact.speed.rounds import Timed
from limbeck.artifact.speed.worker import decision_of
from limbeck.artifact.speed.workers import Answerer, Worker, started
from limbeck.core.events import Ended, Started
from limbeck.core.system import machine
from limbeck.evaluation.verdict import judged_arm
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.speed import graphs
from limbeck.pipeline.speed.pytorch_worker import answerer
from limbeck.pipeline.speed.subjects import FLOAT, INT8, Subjects, steps_of, subjects_of

Times = Mapping[str, Timed]
Arms = Mapping[str, list[Arm]]
Latencies = dict[str, dict[str, Any]]


def measure_speed(
    run: RunContext, arms: Arms, num_rows: int, threads: int
) -> tuple[Latencies, dict[str, Any]]:
    """How long every arm takes for one row, and how the shipped arm compares.

    Args:
        run: what the arms share.
        arms: every seed of each arm.
        num_rows: how many rows of the test split are timed.
        threads: with which all answer; they are timed with all cores as well.

    Returns:
        (`latency_ms` by arm, report.json's `speed`).

    Raises:
        WorkerDied: a process that measures ended, or failed.
    """
    # 1. As a user would send them.
    rows = [raw(row) for row in run.data.test[:num_rows]]
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        inputs = Path(folder) / "inputs.jsonl"
        write_inputs(rows, inputs)
        # 2. Graphs are stages of the store.
        subjects = subjects_of(run, arms, inputs, threads)
        # 3. The measurement is none: what a machine takes today is measured today.
        began = time.perf_counter()
        run.store.tell(Started("latency"))
        with opened(subjects) as answerers:
            measured = rounds.measure(answerers, len(rows), threads=threads)
            started = {name: start_of(each) for name, each in answerers.items()}
            on_all = measured_on_all(subjects, answerers, len(rows))
        run.store.tell(Ended("latency", round(time.perf_counter() - began, 3)))
    # 4. Every figure of speed in the report.
    described = Description(run, arms, subjects, measured)
    speed = described.speed(started)
    speed["rows"] = len(rows)
    speed["all_threads"] = described.on_all_threads(on_all)
    return described.latencies(), speed


@contextmanager
def opened(subjects: Subjects) -> Iterator[dict[str, Answerer]]:
    """Every subject in a process of its own, and the user's own modules in this one."""
    before = torch.get_num_threads()
    answerers: dict[str, Answerer] = {}
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(subjects.threads)
        # All are open before any is timed: they share the memory of the machine.
        for name, subject in subjects.by_name.items():
            if name in subjects.own:
                model = subjects.own[name]
                decision = decision_of(subjects.by_name[name].spec, model.task)
                answer = answerer(model.load(), model.task, decision)
                inputs = read_inputs(subjects.inputs)
                answerers[name] = InProcess(answer, inputs, torch.set_num_threads)
            else:
                answerers[name] = stack.enter_context(started(subject))
        yield answerers


def start_of(opened_subject: Answerer) -> dict[str, float]:
    """From the start of its process to its first answer, and the most memory; none in process."""
    if not isinstance(opened_subject, Worker):
        return {}
    return {
        "cold_start_ms": round(opened_subject.cold_start_ms, 1),
        "peak_mb": round(opened_subject.peak_mb(), 1),
    }


def measured_on_all(
    subjects: Subjects, answerers: Mapping[str, Answerer], num_rows: int
) -> Times | None:
    """The same on all cores; None where that is no other number of threads."""
    cores = machine.usable_cores()
    if cores == subjects.threads:
        return None
    # The same processes: only what they answer with is opened again.
    for each in answerers.values():
        each.use_threads(cores)
    return rounds.measure(answerers, num_rows, threads=cores)


class Description:
    """What was measured, as report.json has it."""

    def __init__(self, run: RunContext, arms: Arms, subjects: Subjects, measured: Times) -> None:
        self.run = run
        self.subjects = subjects
        self.measured = measured
        self.shipped_name = judged_arm(arms)
        self.shipped = arms[self.shipped_name][0]
        # An artifact of several runtimes is used in its fastest.
        self.best = {arm: self.fastest(names) for arm, names in subjects.arms.items()}
        self.steps = steps_of(subjects, self.shipped_name, self.best[self.shipped_name])

    def fastest(self, names: list[str]) -> str:
        """Of what is timed of an arm, the one whose median is the smallest."""
        return min(names, key=lambda name: self.measured[name].ms)

    def latencies(self) -> Latencies:
        """`latency_ms` of every arm, `speedup` with it: how many times as fast as the teacher."""
        found: Latencies = {}
        teacher = self.best.get("teacher")
        of_shipped = product(self.measured, self.steps)["total"]
        for arm, name in self.best.items():
            runtime = self.subjects.runtime(name)
            times = self.measured[name]
            found[arm] = rounds.summary(times, runtime)
            if teacher is None:
                continue
            faster = ratio(self.measured[teacher], times).told()
            # Of the shipped arm the total of the product: one figure, everywhere the same.
            if arm == self.shipped_name:
                faster = of_shipped
            found[arm]["speedup"] = faster["ratio"]
            found[arm]["speedup_ci95"] = faster["ratio_ci95"]
        return found

    def speed(self, started: Mapping[str, dict[str, float]]) -> dict[str, Any]:
        """report.json's `speed` of the recipe's number of threads.

        started: by subject, as `start_of` gives it.
        """
        subjects = self.subjects
        own = self.best[self.shipped_name]
        formats: list[str] = []
        if self.shipped.artifact is not None:
            formats = graphs.formats_of(self.shipped.recipe, self.run, self.shipped.student)
        # For a reader who wants to see each: the other figures follow from these.
        described: dict[str, Any] = {}
        for name, times in self.measured.items():
            runtime = subjects.runtime(name)
            told = rounds.summary(times, runtime)
            described[name] = told | started[name]
        return {
            "arm": self.shipped_name,
            "formats": formats,
            "runtime": subjects.runtime(own),
            "p50": round(self.measured[own].p50, 3),
            "ms": round(self.measured[own].ms, 3),
            "threads": subjects.threads,
            "rounds": rounds.ROUNDS,
            **started[own],
            "product": product(self.measured, self.steps),
            "twins": self.twins(),
            "busy": self.signs,
            "subjects": described,
        }

    @property
    def signs(self) -> list[str]:
        """What says that the machine was busy."""
        return ratios.signs_of_noise(self.chain())

    def chain(self) -> Times:
        """The subjects of the product."""
        names = dict.fromkeys(name for name in self.steps.names if name is not None)
        return {name: self.measured[name] for name in names}

    def twins(self) -> list[dict[str, Any]]:
        """The same student in int8 and in float, each in the artifact's own runtime."""
        own = self.best[self.shipped_name]
        runtime = self.subjects.runtime(own)
        rows = []
        for form in (INT8, FLOAT):
            name = self.subjects.others.get((form, runtime))
            # There is none in int8 where the artifact is that itself.
            if name is None:
                continue
            times = self.measured[name]
            longer = ratio(self.measured[own], times)
            rows.append(
                {
                    "form": form,
                    "runtime": runtime,
                    "p50": round(times.p50, 3),
                    "ms": round(times.ms, 3),
                    **longer.told(),
                    "slower": longer.is_slower,
                }
            )
        return rows

    def on_all_threads(self, measured: Times | None) -> dict[str, Any] | None:
        """The product with all cores; None where that is what was measured anyway."""
        if measured is None:
            return None
        threads = machine.usable_cores()
        # What is not in the product is not worth a word about noise.
        of_chain = {name: measured[name] for name in self.chain()}
        own = self.best[self.shipped_name]
        return {
            "threads": threads,
            "p50": round(measured[own].p50, 3),
            "product": product(measured, self.steps),
            # Several threads are timed by the clock, right after one: who waited there waits here.
            "busy": [*self.signs, *ratios.signs_of_noise(of_chain)],
        }
