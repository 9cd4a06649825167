"""The process above the workers: it holds the listening socket, starts what died, and passes on
what it is told by signals.

It opens no model and answers no request, so nothing that others send can reach it.
"""

import importlib.util
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck.core.wording import EXTRAS
from limbeck.server import logs
from limbeck.server.plans import NO_PLAN, PLAN, Shelf, Standing
from limbeck.server.processes.board import READY, Board
from limbeck.server.processes.folder import own_folder, require_locks
from limbeck.server.processes.sockets import let_nobody_in, listening_socket
from limbeck.server.processes.task import BOARD, BROKEN, MISTAKE, Task, verifying, working
from limbeck.server.requests.access import read_tokens
from limbeck.server.settings import Settings

# A worker that dies is started anew at once, and one that dies young after a pause, twice as long
# each time: a model that kills its process would else take all of the machine.
YOUNG_SECONDS = 5.0
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
LOOK_SECONDS = 0.05  # from one look at whether the first worker answers to the next
# SIGQUIT is how other servers are told to end once what is under way is answered.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# They mean nothing here, and each would end the process at once, with what is under way.
MEANINGLESS = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
    signal.SIGIO,
)


@dataclass
class Worker:
    """A worker's process, when it began, how often it has died young, and when it may begin."""

    process: subprocess.Popen | None = None
    began: float = 0.0
    deaths: int = 0
    not_before: float = 0.0


class Supervisor:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        settings: of the server.
        reread: gives them anew, at a reload (SIGHUP).
        folder: of its own, for the plan, the versions' files and what workers share.
        lock: the file descriptor that holds the folder's lock; None where there is none.

    Raises:
        ValueError: an artifact or a file of tokens that is none.
        OSError: the address is taken, or is none of this machine's.
        ModuleNotFoundError: what a worker needs is not installed.
    """

    def __init__(
        self, settings: Settings, reread: Callable[[], Settings], folder: Path, lock: int | None
    ) -> None:
        self.settings = settings
        self.reread = reread
        self.folder = folder
        self.lock = lock
        self.shelf = Shelf(folder)
        # Copied now: a worker that is started in a month finds what was served from the start.
        models = {
            name: self.shelf.standing_of(each, self.shelf.take_up)
            for name, each in settings.models.items()
        }
        # What the settings gave last: where they give the same again, what was decided since stays.
        self.given = models
        self.shelf.write(NO_PLAN.followed_by(models))
        if settings.tokens:
            read_tokens(settings.tokens)
        require_packages(settings)
        Board.create(folder / BOARD, settings.workers)
        self.board = Board(folder / BOARD)
        self.workers = [Worker() for _ in range(settings.workers)]
        # Last: nobody can connect before there is something to answer him.
        self.socket = listening_socket(settings.host, settings.port)
        self.status: int | None = None
        self.was_ready = False
        # Reloads come one after another, and what is asked for meanwhile is one more.
        self.is_reload_due = threading.Event()
        # The process that opens an artifact for a reload; None where none does.
        self.verifier: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> int:
        """Start the workers and keep them until a signal ends it; the exit status."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        # Signals come as bytes of a pipe, so that one wait hears them and the clock.
        signal.set_wakeup_fd(write_end)
        for signum in (*ENDING, signal.SIGHUP, signal.SIGCHLD, *MEANINGLESS):
            signal.signal(signum, ignore)
        selector = selectors.DefaultSelector()
        selector.register(read_end, selectors.EVENT_READ)
        # Artifacts are opened on the way, in seconds; workers that die meanwhile do not wait.
        threading.Thread(target=self.reload_when_due, daemon=True).start()
        while self.status is None:
            self.start_missing()
            if selector.select(self.pause()):
                for number in os.read(read_end, 4096):
                    self.hear(number)
            self.tell_when_ready()
        self.stop()
        return self.status

    def hear(self, signum: int) -> None:
        """Do what a signal asks for."""
        if signum in ENDING:
            self.status = 0
        elif signum in MEANINGLESS:
            name = signal.Signals(signum).name
            why = "SIGHUP has the settings read anew, SIGTERM stops the server"
            logs.log("signal without a meaning", logs.WARNING, signal=name, why=why)
        elif signum == signal.SIGHUP:
            # Apart from all else, and first: who is to be shut out does not wait for artifacts, and
            # is let in by none that is broken.
            self.reread_tokens()
            self.is_reload_due.set()

    def tell_when_ready(self) -> None:
        """Say once that requests are answered."""
        if not self.was_ready and any(self.board.of_all(READY)):
            self.was_ready = True
            logs.log("ready", address=self.address)

    def start_missing(self) -> None:
        """Start each worker that does not run, where it may."""
        now = time.monotonic()
        for row, worker in enumerate(self.workers):
            if worker.process and worker.process.poll() is not None:
                self.bury(row, worker, now)
            is_due = worker.process is None and now >= worker.not_before
            if is_due and self.status is None and self.has_plan():
                worker.process = self.start(row)
                worker.began = now

    def has_plan(self) -> bool:
        """Whether a worker would find what it is to open; without any worker that is the end."""
        if (self.folder / PLAN).is_file():
            return True
        # Those that live answer from memory. Once none does, whoever watches over this process is
        # to start it anew: connections would else be taken and never answered.
        if not any(worker.process for worker in self.workers):
            logs.log("the server's folder is gone", logs.ERROR, folder=self.folder)
            self.status = BROKEN
        return False

    def bury(self, row: int, worker: Worker, now: float) -> None:
        """Note that a worker has died; before any was ready, a mistake of the user's ends all."""
        assert worker.process is not None
        status = worker.process.returncode
        if status == MISTAKE and not self.was_ready:
            self.status = MISTAKE
        is_young = now - worker.began < YOUNG_SECONDS
        worker.deaths = worker.deaths + 1 if is_young else 0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (worker.deaths - 1)) if is_young else 0.0
        worker.not_before = now + pause
        worker.process = None
        self.board.clear(row)
        logs.log("worker died", logs.ERROR, worker=row, status=status, again_in_s=pause)

    def pause(self) -> float | None:
        """Seconds until something is to be looked at; None where only signals are waited for."""
        waiting = [each.not_before for each in self.workers if each.process is None]
        pause = max(0.0, min(waiting) - time.monotonic()) if waiting else None
        if not self.was_ready:
            return min(LOOK_SECONDS, pause or LOOK_SECONDS)
        return pause

    def start(self, row: int) -> subprocess.Popen:
        """A worker's process."""
        task = Task(
            settings=self.settings,
            folder=self.folder,
            row=row,
            socket=self.socket.fileno(),
            parent=os.getpid(),
        )
        passed = [self.socket.fileno()]
        # It holds the folder's lock as long as it lives.
        if self.lock is not None:
            passed.append(self.lock)
        process = subprocess.Popen(working(), stdin=subprocess.PIPE, pass_fds=passed)
        assert process.stdin is not None
        # Not as arguments, which every user of the machine can read.
        process.stdin.write(task.model_dump_json().encode())
        process.stdin.close()
        return process

    def reload_when_due(self) -> None:
        """Reload whenever it is asked for."""
        while self.is_reload_due.wait():
            self.is_reload_due.clear()
            self.reload()

    def reload(self) -> None:
        """Read settings and artifacts anew; what is broken stays as it was."""
        # To verify an artifact may take a minute: whoever asked for it sees that it was heard.
        logs.log("reload begins")
        try:
            settings = self.reread()
            fixed = unlike(self.settings, settings)
            if fixed:
                why = "these settings take a new start: they stay as they were"
                logs.log("settings are not all followed", logs.WARNING, settings=fixed, why=why)
            standing = {
                name: self.shelf.standing_of(each, self.verified)
                for name, each in settings.models.items()
            }
            before = self.shelf.plan().models
            self.follow(standing)
            after = self.shelf.plan().models
            names = sorted(before.keys() | after.keys())
            changed = [name for name in names if before.get(name) != after.get(name)]
            decided = [name for name in standing if not is_as_given(after[name], standing[name])]
            # Though nothing is another.
            logs.log("settings read anew", changed=changed, decided_since=decided)
        except (ValueError, OSError) as error:
            # A server that stops has given it up.
            if self.status is None:
                logs.log("reload refused", logs.ERROR, why=str(error))

    def reread_tokens(self) -> None:
        """Have the workers read the file of tokens anew, where it is one."""
        if self.settings.tokens is None:
            return
        try:
            read_tokens(self.settings.tokens)
        except (ValueError, OSError) as error:
            why = f"{self.settings.tokens}: {error}" if isinstance(error, OSError) else str(error)
            logs.log("tokens refused: those of before are let in", logs.ERROR, why=why)
            return
        self.board.token_reads[0] += 1

    def follow(self, standing: dict[str, Standing]) -> None:
        """Make the models of the settings the plan; a model of which they give what they gave
        before stays as it was decided since. Raises OSError where the plan cannot be written."""
        with self.shelf.changed() as models:
            for name, new in standing.items():
                old = models.get(name)
                # Who revokes a token has no candidate come back that was dropped.
                if old and new == self.given.get(name):
                    continue
                # The version before stays at hand.
                is_other = old is not None and old.live != new.live
                why = self.shelf.why_unlike(old.live, new.live) if old and is_other else None
                if why:
                    # By the settings, whose word counts; but who asks may not expect it.
                    logs.log("clients may break", logs.WARNING, model=name, why=why)
                given = self.given.get(name)
                # They name what they named before, and something else was decided since.
                if old and is_other and given and given.live == new.live:
                    why = f"{old.undone_by(new.live)}. Name its artifact in the settings to keep it"
                    logs.log("a decision is undone", logs.WARNING, model=name, why=why)
                previous = old.live if old and is_other else (old.previous if old else None)
                models[name] = new.model_copy(update={"previous": previous})
            for name in set(models) - set(standing):
                del models[name]
            self.given = standing

    def verified(self, folder: Path) -> str:
        """The version of an artifact that a process of its own has taken up and opened. Raises
        ValueError for one that is refused."""
        command = verifying(folder, self.folder, self.settings)
        # It is opened by that process alone: no artifact can harm the one that watches.
        self.verifier = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # It may have been told to stop between the two lines.
        if self.status is not None:
            self.verifier.kill()
        output, complaint = self.verifier.communicate()
        status = self.verifier.returncode
        self.verifier = None
        # By a signal, such as the system's where memory ran out: it could say nothing itself.
        if status < 0:
            name = signal.Signals(-status).name
            raise ValueError(f"{folder}: what opened it was ended by {name}; it is not taken up")
        if status:
            raise ValueError(complaint.strip()[-1000:])
        return output.strip()

    def stop(self) -> None:
        """Let nobody in any more, tell the workers to end, and wait until they have."""
        logs.log("stopping")
        let_nobody_in(self.socket)
        verifier = self.verifier
        if verifier is not None:
            verifier.kill()
        running = [each.process for each in self.workers if each.process]
        for process in running:
            process.terminate()
        # The workers close theirs within a second or two: then who comes is refused at once.
        self.socket.close()
        for process in running:
            process.wait()
        logs.log("stopped")


def require_packages(settings: Settings) -> None:
    """Raise ModuleNotFoundError for a package that workers need and that is not installed: they
    would die of it, one after another."""
    needed = [package for package, extra in EXTRAS.items() if extra == "serve"]
    if settings.tracing:
        needed.append("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    for package in needed:
        # Looked for, and not loaded: this process needs none of them.
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(name=package)


def is_as_given(standing: Standing, given: Standing) -> bool:
    """Whether a model answers, and is tried, as the settings gave it."""
    # Which version was before, and how the trial of a candidate goes, is nothing that they say.
    unsaid = {name: getattr(given, name) for name in ("previous", "trial", "ended")}
    return standing.model_copy(update=unsaid) == given


def unlike(old: Settings, new: Settings) -> list[str]:
    """The settings that differ, but for the models, which are followed at once."""
    names = [name for name in Settings.model_fields if name != "models"]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def ignore(signum: int, frame: object) -> None:
    """A signal is told by its number, in the pipe that `run` reads."""


def serve(settings: Settings, reread: Callable[[], Settings]) -> int:
    """Serve until told to stop; the exit status.

    Raises ValueError and OSError as `Supervisor` does.
    """
    require_locks(settings.workers)
    with own_folder() as (folder, lock):
        supervisor = Supervisor(settings, reread, folder, lock)
        print(f"limbeck: listening at {supervisor.address}", flush=True)
        return supervisor.run()
