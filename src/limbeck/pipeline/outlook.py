"""What the trainings of a run will take, told after an epoch of the teacher and of a student.

Nothing is rehearsed for it. Until a student had an epoch, students are taken to cost what
`preflight.minutes` shares time by. It is the most that they take: a training may end early
(`train.patience`), and others may lie in the cache.
"""

import time
from dataclasses import replace
from pathlib import Path

from limbeck.core.events import EpochEnded, Event, Note, duration
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight.minutes import OF_TEACHER, work_of_students, work_of_teachers
from limbeck.pipeline.stage import Stage
from limbeck.training.checkpoints import History, seconds_spent
from limbeck.training.job import Job

# The stages that train.
TEACHER, STUDENT = "teacher", "train"
# A first epoch of at least so many seconds tells what the others take; else the second does.
LONG_SECONDS = 20.0


class Outlook:
    """Stands between a run and its trainings, and tells what they will take."""

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.run_train = run.train
        self.run_starts = run.when_started
        # The stage that trains next, and those of which an epoch was timed.
        self.name = TEACHER
        self.timed: set[str] = set()

    def start(self, stage: Stage) -> None:
        """Note which training a stage is; others may be built within it."""
        if stage.name in (TEACHER, STUDENT):
            self.name = stage.name
        self.run_starts(stage)

    def train(self, job: Job, folder: Path) -> History:
        """Train a job to its end."""
        began = time.monotonic()
        # What goes on from a checkpoint has a first epoch of a part of the steps.
        is_timed = self.name not in self.timed and not seconds_spent(folder)

        def tell(event: Event) -> None:
            nonlocal began
            job.tell(event)
            if not is_timed or not isinstance(event, EpochEnded) or self.name in self.timed:
                return
            seconds = time.monotonic() - began
            began = time.monotonic()
            # What is computed for the first time takes seconds, which long epochs hide.
            is_short = seconds < LONG_SECONDS and event.epoch == 1 < event.epochs
            if not is_short:
                self.timed.add(self.name)
                self.tell(seconds)

        return self.run_train(replace(job, tell=tell), folder)

    def tell(self, seconds: float) -> None:
        """Say what all trainings take, by the `seconds` of one epoch of the training under way."""
        # An epoch of a joint training begins in float, as any student's.
        is_teacher = self.name == TEACHER
        work = work_of_students(self.run)
        by, taken = "a student", ""
        if is_teacher:
            work += work_of_teachers(self.run)
            by, taken = "the teacher", "; a student is taken to cost half of it"
        total = work * seconds / (OF_TEACHER if is_teacher else 1.0)
        minutes = self.run.recipe.train.minutes
        if minutes is not None:
            total = min(total, 60 * minutes)
        whose = "trainings" if is_teacher else "students"
        self.run.store.tell(
            Note(f"{whose}: at most about {duration(total)} in all, by an epoch of {by}{taken}")
        )


def tell_outlook(run: RunContext) -> None:
    """Have a run tell what its trainings will take, as soon as that is known."""
    outlook = Outlook(run)
    run.train = outlook.train
    run.when_started = outlook.start
