"""Arms and seeds side by side: `verdict.jobs` processes, each of which takes arms and fills the
cache.

Nothing is computed twice: whoever wants a stage that another process is at waits for it, and the
run that started the processes then finds everything made. So what it reports does not hang on how
many there were. Arms that share a training (`kd`, `kd+ptq`) go to one process.

`python -m limbeck.pipeline.jobs` is such a process. It reads one line of JSON from standard input
(`Task`), and stops, with its checkpoint written, where standard input is closed: whoever started it
is gone, or wants it to. What it met it writes to standard output, as JSON.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import IO

from limbeck.artifact.speed.worker import own_output, reply
from limbeck.core import registered
from limbeck.core.cache.store import Store
from limbeck.core.errors import Interrupted
from limbeck.core.events import Note
from limbeck.core.system import launch
from limbeck.pipeline.arm import run_arm
from limbeck.pipeline.arms import derive_arms, training_title
from limbeck.pipeline.context import RunContext
from limbeck.recipe.components import named_components
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse, write

# How often the run looks whether it was asked to stop.
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """What a process is asked: the arms of one seed, by name, of a recipe.

    `text`: of the resolved recipe. `origin`: the file that it was read from, beside which its data
    lie.
    """

    text: str
    origin: str
    seed: int
    arms: list[str]

    @property
    def title(self) -> str:
        """For a reader."""
        return f"{' and '.join(self.arms)}, seed {self.seed}"


class Workers:
    """The processes of a run, which all stop once it says so."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.lock = threading.Lock()
        self.is_stopped = False

    def start(self, errors: IO[str]) -> subprocess.Popen[str]:
        """Another process, with its standard error in a file. Raises Interrupted where they were
        stopped."""
        command = [sys.executable, "-m", "limbeck.pipeline.jobs"]
        pipe = subprocess.PIPE
        # None may start between the last look at `is_stopped` and its own entry in the list.
        with self.lock:
            if self.is_stopped:
                raise Interrupted("stopped; the same command goes on from here")
            # Of a session of its own: Ctrl-C in the terminal is for the run, which asks it to stop.
            worker = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, text=True, start_new_session=True
            )
            self.started.append(worker)
        return worker

    def stop(self) -> None:
        """Let none start any more, and those that run write their checkpoints and end."""
        with self.lock:
            self.is_stopped = True
            for worker in self.started:
                # Of one that has ended the pipe may be broken.
                with contextlib.suppress(OSError):
                    if worker.stdin:
                        worker.stdin.close()


def require_sharing(run: RunContext) -> None:
    """Refuse `verdict.jobs` for a run that processes cannot share.

    Raises:
        ValueError: `torchrun` started it, or Python gave it models or rows.
    """
    verdict = run.recipe.verdict
    if verdict is None or verdict.jobs == 1:
        return
    if launch.is_one_of_several():
        raise ValueError(
            "verdict.jobs: `torchrun` has started the processes of this run, which share each "
            "training. Leave out --jobs, or start `limbeck run` alone"
        )
    own = [each for each in named_components(run.recipe) if registered.find(each.family, each.name)]
    if run.own or own or run.rows is not None:
        raise ValueError(
            "verdict.jobs: models, losses and rows from Python are in this process alone. Leave it "
            "out"
        )


def fill(run: RunContext) -> None:
    """Let processes compute every arm of every seed into the cache.

    Raises:
        ValueError: a process was refused, as it told.
        Interrupted: one was stopped from outside; the same command goes on.
        KeyboardInterrupt: this process was asked to stop; the others have stopped too.
    """
    recipe = run.recipe
    assert recipe.verdict is not None
    workers = Workers()
    with ThreadPoolExecutor(recipe.verdict.jobs) as pool:
        waiting = {pool.submit(ask, task, workers) for task in tasks_of(recipe)}
        try:
            while waiting:
                # In turns, for Python handles signals between two of its own instructions.
                done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                for each in done:
                    run.store.tell(Note(each.result()))
        finally:
            # Where all went well nothing is left to stop.
            for each in waiting:
                each.cancel()
            workers.stop()


def tasks_of(recipe: Recipe) -> list[Task]:
    """What there is to do, seed by seed, so that whole seeds are done first."""
    assert recipe.verdict is not None
    origin = str(recipe.folder / "recipe.yaml") if recipe.folder else "recipe"
    tasks = []
    for seed in range(recipe.verdict.seeds):
        by_training: dict[str, list[str]] = {}
        for name, arm in derive_arms(recipe, seed).items():
            # What is not trained goes by itself.
            title = training_title(arm) if arm.train.epochs else name
            by_training.setdefault(title, []).append(name)
        tasks += [Task(write(recipe), origin, seed, arms) for arms in by_training.values()]
    return tasks


def ask(task: Task, workers: Workers) -> str:
    """Give a task to a process and wait for it; what is to be told of it. Raises as `fill`."""
    began = time.monotonic()
    # A file: a pipe that nobody reads would fill, and stop the process.
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        worker = workers.start(errors)
        assert worker.stdin and worker.stdout
        # One that is gone already has closed it, and its status says so.
        with contextlib.suppress(OSError):
            worker.stdin.write(json.dumps(asdict(task)) + "\n")
            worker.stdin.flush()
        answer = worker.stdout.read()
        status = worker.wait()
        worker.stdout.close()
        with contextlib.suppress(OSError):
            worker.stdin.close()
        if not answer:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"it ended with status {status}"]
            raise Interrupted(f"the process of {task.title} is gone: {lines[-1]}")
    told = json.loads(answer)
    if "refused" in told:
        raise ValueError(told["refused"])
    if "stopped" in told:
        raise Interrupted(told["stopped"])
    return f"jobs: {task.title}: done in {time.monotonic() - began:.0f} s"


def main() -> None:
    """One task, read from standard input."""
    # Whatever a library prints is not what was asked.
    answers = own_output()
    task = Task(**json.loads(sys.stdin.readline()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_leave_with_the_run, daemon=True).start()
    told = {"done": task.title}
    try:
        compute(task)
    except ValueError as error:
        told = {"refused": str(error)}
    except (Interrupted, KeyboardInterrupt):
        told = {"stopped": f"{task.title}: stopped; the same command goes on from here"}
    reply(answers, told)


def compute(task: Task) -> None:
    """Every stage of the arms of a task. Raises as `run_arm`."""
    recipe = parse(task.text, origin=task.origin)
    store = Store()
    run = RunContext(recipe, store)
    derived = derive_arms(recipe, task.seed)
    for name in task.arms:
        run_arm(derived[name], store, run=run)


def _leave_with_the_run() -> None:
    """Ask this process to stop once standard input is closed."""
    # Not `sys.stdin`, whose lock a thread that still reads would hold when Python ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
