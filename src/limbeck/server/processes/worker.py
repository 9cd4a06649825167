"""One process of a server: it opens the models and answers requests, until it is told to stop.

    python -m limbeck.server.processes.worker

The supervisor gives it its settings as JSON on standard input, and the listening socket. Exit
status 2 where the models cannot be opened, with the reason on standard error.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from typing import Any

from limbeck.core.system.memory import release_freed_memory
from limbeck.server import candidates, logs
from limbeck.server.app import Application
from limbeck.server.engine import Engine
from limbeck.server.hosting import Models, Opener
from limbeck.server.meters import Meters
from limbeck.server.plans import Shelf, acted
from limbeck.server.processes.board import BEAT_SECONDS, FAILED, GENERATION, PROCESS, READY, Board
from limbeck.server.processes.sockets import BACKLOG, connections_within
from limbeck.server.processes.task import BOARD, METERS, MISTAKE, Task
from limbeck.server.requests.access import Access, read_tokens
from limbeck.server.settings import Settings
from limbeck.sources._images import bound_pixels

# Of one request. A connection holds so much until its headers are whole, and then a small body:
# what all of them may take is counted where memory is asked for (`deploy.folder`).
HEADER_BYTES = 16_384
DRIFT_SECONDS = 1.0
LOOK_SECONDS = 0.1  # from one look at what is wanted to the next
# Once a server is to stop: connections that were kept open are answered as usual for so long, and
# closed with the answer, so that no request meets a closed one.
FAREWELL_SECONDS = 1.0
# Until refusals of what was under way for too long are sent.
DISMISSAL_SECONDS = 1.0


def main() -> int:
    """Serve until SIGTERM, or until the supervisor is gone; the exit status."""
    import uvloop

    task = Task.model_validate_json(sys.stdin.read())
    # Ctrl-C reaches all processes of a terminal; the supervisor tells the workers what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.take_in_libraries()
    worker = Worker(task)
    try:
        worker.open()
    except (ValueError, OSError) as error:
        print(f"limbeck: {error}", file=sys.stderr)
        return MISTAKE
    if uvloop.run(worker.serve()):
        return 0
    # A row is computed that nobody awaits, for as long as it takes: Python would wait for it.
    sys.stderr.flush()
    os._exit(0)


class Worker:
    """One process that answers."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.settings = task.settings
        self.board = Board(task.folder / BOARD, task.row)
        self.shelf = Shelf(task.folder)
        self.opener = Opener(self.settings, self.shelf, task.row)
        self.meters = Meters(task.folder / METERS, self.board)
        self.models = Models({}, 0)
        self.connections = 0
        # When drift was looked for.
        self.looked = 0.0
        # How often the supervisor had tokens read anew, when this worker last did.
        self.token_reads = 0
        # Why it cannot follow, so that it is said once.
        self.trouble = ""
        # Of the plan that is followed.
        self.stamp = (0, 0)

    def open(self) -> None:
        """Open the models. Raises ValueError where one cannot be, or no connection could, OSError
        without room for its counts."""
        bound_pixels(self.settings.limits.image_pixels)
        self.stamp = self.shelf.stamp()
        self.models = self.opener.models(self.shelf.plan())
        self.meters.open(self.models.versions())
        # A graph is read, optimised and laid out anew: half of that is free by now.
        release_freed_memory()
        self.connections = connections_of(self.settings)
        # What is open stays: a collection that looked at all of it took 150 ms beside a body of
        # many lists.
        gc.collect()
        gc.freeze()

    async def serve(self) -> bool:
        """Answer requests until the supervisor wants the worker to stop; whether all that was under
        way has ended."""
        loop = asyncio.get_running_loop()
        most = self.settings.limits.queue
        engine = Engine(most, self.settings.workers, self.board, loop)
        app = Application(
            self.settings, self.models, engine, self.meters, self.access(), self.shelf
        )
        server = server_on(self.task, app, self.connections)
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        serving = asyncio.create_task(server.serve())
        self.board.own[PROCESS] = os.getpid()
        self.board.own[GENERATION] = self.models.generation
        # By itself: to open a model takes the loop below as long as that lasts.
        beating = asyncio.create_task(beat(self.board))
        while not stop.is_set() and not serving.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
            await self.follow_if_possible(app)
            # The supervisor was killed: nobody else would ever end this process.
            if os.getppid() != self.task.parent:
                stop.set()
        # 1. No new connections; those that are open are answered once more.
        app.stop()
        beating.cancel()
        self.board.own[READY] = 0
        await asyncio.sleep(FAREWELL_SECONDS)
        # 2. The socket is closed: who comes now is refused at once, and goes elsewhere.
        server.stop()
        # 3. What is under way; what takes longer is refused.
        await none_under_way(app, self.settings.drain_seconds)
        engine.dismiss()
        await none_under_way(app, DISMISSAL_SECONDS)
        # Granian waits for what still comes of bodies that were refused, too.
        app.bodies.give_up_all()
        await asyncio.wait([serving], timeout=DISMISSAL_SECONDS)
        if app.tracing:
            app.tracing.close()
        return not engine.is_in_thread

    def access(self) -> Access:
        """Who may ask. Raises ValueError for a file of tokens that is none."""
        path = self.settings.tokens
        # Before the file: what changes while it is read is read again.
        self.token_reads = self.board.token_reads[0]
        tokens = read_tokens(path) if path else None
        return Access(tokens, self.settings.limits, self.board)

    async def follow_if_possible(self, app: Application) -> None:
        """Follow what is wanted; without room on the disk, or without the server's folder, the
        models that are open go on answering."""
        self.follow_tokens(app)
        try:
            await self.follow(app)
            trouble = ""
        except OSError as error:
            trouble = str(error)
        if trouble and trouble != self.trouble:
            logs.log("goes on as it is", logs.ERROR, why=trouble)
        self.trouble = trouble

    def follow_tokens(self, app: Application) -> None:
        """Let in those of the file of tokens, where the supervisor has found that it changed."""
        if self.board.token_reads[0] == self.token_reads:
            return
        try:
            app.access = self.access()
        except (ValueError, OSError) as error:
            logs.log("tokens refused: those of before are let in", logs.ERROR, why=str(error))

    async def follow(self, app: Application) -> None:
        """Take up the plan where it has changed, and judge candidates. Raises OSError."""
        stamp = self.shelf.stamp()
        if stamp != self.stamp:
            await self.take_up(app)
            self.stamp = stamp
        # One worker judges for all.
        if self.task.row == 0:
            self.judge()
            if time.monotonic() - self.looked > DRIFT_SECONDS:
                self.looked = time.monotonic()
                # Beside the requests: what was seen is put onto the disk.
                await asyncio.to_thread(self.look_for_drift)

    async def take_up(self, app: Application) -> None:
        """Open what the plan names, beside the requests, and then answer by it."""
        plan = self.shelf.plan()
        try:
            models = await asyncio.to_thread(self.opener.models, plan)
            self.meters.open(models.versions())
        except (ValueError, OSError) as error:
            self.board.own[FAILED] = plan.generation
            logs.log("reload failed", logs.ERROR, generation=plan.generation, why=str(error))
            return
        release_freed_memory()
        # Between two requests, for nothing else runs in the loop: all of them at once.
        self.models = app.models = models
        self.board.own[GENERATION] = plan.generation
        versions = {name: model.live.name for name, model in models.by_name.items()}
        logs.log("reloaded", generation=plan.generation, models=versions)

    def look_for_drift(self) -> None:
        """Tell where the requests of a model have become unlike its validation rows."""
        for name, model in self.models.by_name.items():
            for alarm in model.live.drift.look():
                told = {"model": name, "version": model.live.name, "why": alarm}
                logs.log("drift", logs.WARNING, **told)

    def judge(self) -> None:
        """Promote a candidate, or drop it, where its bounds say so."""
        for name, model in self.models.by_name.items():
            if model.trial is None or model.bounds is None:
                continue
            found = candidates.verdict(model.bounds, model.trial.seen())
            if found is None:
                continue
            action, why = found
            with self.shelf.changed() as models:
                # Somebody may have changed it meanwhile.
                standing = models.get(name)
                if standing and standing.trial == model.trial.number:
                    ended = f"{action}: {standing.candidate}, as {why}"
                    models[name] = acted(standing, action).model_copy(update={"ended": ended})
                    told = {"model": name, "version": standing.candidate, "why": why}
                    logs.log(f"candidate: {action}", logs.WARNING, **told)


async def beat(board: Board) -> None:
    """Say again and again that this worker answers."""
    while True:
        board.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def none_under_way(app: Application, seconds: float) -> None:
    """Wait until every request is answered, for so many seconds at most."""
    until = time.monotonic() + seconds
    while app.under_way and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS / 5)


def connections_of(settings: Settings) -> int:
    """How many connections a worker takes: its share, or what the system grants. Raises ValueError
    where that is none."""
    # Who is full takes no connection, and leaves it to the others.
    share = -(-settings.limits.connections // settings.workers)
    connections = connections_within(share)
    if connections < share:
        why = f"of {share:,} connections {connections:,} can be open: raise `ulimit -n`"
        logs.log("few files may be open", logs.WARNING, why=why)
    return connections


def server_on(task: Task, app: Application, connections: int) -> Any:
    """Granian's server on the supervisor's socket, for so many connections at once."""
    from granian.constants import HTTPModes
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    # Its type stubs are behind its code.
    holder: Any = importlib.import_module("granian.net").SocketHolder

    class OnSocket(Server):
        """Listens on the socket that all workers share."""

        # Granian opens a socket here for each worker, whose queue would be lost with the worker.
        def _init_shared_socket(self) -> None:
            self._shd = holder(task.socket, False, BACKLOG)

    limits = task.settings.limits
    return OnSocket(
        app,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(1000 * limits.header_seconds), max_buffer_size=HEADER_BYTES
        ),
        websockets=False,
        backlog=BACKLOG,
        backpressure=connections,
        log_enabled=False,
    )


if __name__ == "__main__":
    sys.exit(main())
