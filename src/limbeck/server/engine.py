"""The queue before the models of a worker, which is bounded, and the computing itself.

One request at a time: several at once gain nothing on the same cores (batches of texts gain less
than 8 % on a CPU), and each would wait for the slowest. A fast model computes in the event loop: to
hand a request to another thread and back takes 100 microseconds, a tenth of its time. A slow one
computes in a thread, and so does any over a long body, which is slow for every model. So newcomers
are let in or refused, deadlines kept and health checks answered in time, whatever is computed;
between two rows of a request the loop has its turn, too.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from limbeck.core.foreign import told_as
from limbeck.server.processes.board import WAITING, Board
from limbeck.server.requests.refusals import ClientGone, is_stopping, too_busy, too_late

# What is given after the last step of an answer that comes in turns.
NO_MORE = object()
# What a step may take in the event loop.
FAST_SECONDS = 0.005
# How much the last one weighs in the mean time of a step, or of a request.
SHARE_OF_LAST = 0.05


@dataclass
class Job:
    """Work under way: its steps, who awaits what the last of them gives, and the kind of work.

    is_long: whether it is over a long body, whatever its kind's usual time is.
    """

    steps: Iterator[Any]
    outcome: asyncio.Future
    kind: str
    is_long: bool = False
    seconds: float = 0.0


class Engine:
    """What computes in one worker.

    Args:
        most: requests of the whole server that may wait.
        workers: of the server, each of which computes one more.
        board: where the workers count what waits.
        loop: on which requests are awaited, and in which they are computed.
    """

    def __init__(
        self, most: int, workers: int, board: Board, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.most = most
        self.workers = workers
        self.board = board
        self.loop = loop
        self.mean_seconds = 0.0
        # Of a step of each kind of work; one that is not known yet is taken for slow.
        self.step_seconds: dict[str, float] = {}
        self.thread = ThreadPoolExecutor(1, "inference")
        self.is_awake = False
        # Whether a step is computed in the thread at this moment.
        self.is_in_thread = False
        self.jobs: deque[Job] = deque()
        # Work that nobody awaits: a step at a time, while no request is let in. Between two tokens
        # of an answer nothing waits here, and yet the next one would come later.
        self.spare: deque[Job] = deque()

    async def compute(
        self, steps: Iterator[Any], seconds: float, kind: str, *, is_long: bool = False
    ) -> Any:
        """What the last of `steps` gives, if it does within so many seconds.

        Args:
            steps: each gives None, but for the last, which gives the result.
            seconds: what it may take.
            kind: of the work, by which its steps' time is known.
            is_long: whether the work is over a long body (`http.is_long`), and so no measure of its
                kind.

        Raises:
            Refused: too many requests wait (429), or the time is up (504): the rest of the work is
                dropped.
            ValueError: as a step does.
        """
        with self.let_in():
            outcome = self.loop.create_future()
            timer = self.loop.call_later(seconds, refuse, outcome)
            try:
                return await self.queued(Job(steps, outcome, kind, is_long))
            finally:
                # Else it would hold the result until the time is up.
                timer.cancel()

    async def turns(
        self,
        steps: Iterator[Any],
        seconds: float,
        kind: str,
        gone: asyncio.Future,
        *,
        is_long: bool = False,
    ) -> AsyncGenerator[Any]:
        """What each of `steps` gives, as it comes: between two of them all others who wait have a
        turn, so that several answers grow side by side.

        Args:
            steps, seconds, kind, is_long: as `compute`'s, but that each step gives something.
            gone: done once nobody reads the answer any more.

        Raises Refused and ValueError as `compute`, and ClientGone: then no further step is
        computed.
        """
        until = self.loop.time() + seconds
        with self.let_in():
            while True:
                outcome = self.loop.create_future()
                timer = self.loop.call_at(until, refuse, outcome)
                leave = partial(drop, outcome)
                gone.add_done_callback(leave)
                try:
                    given = await self.queued(Job(one_of(steps), outcome, kind, is_long))
                finally:
                    timer.cancel()
                    gone.remove_done_callback(leave)
                if given is NO_MORE:
                    return
                yield given

    @contextlib.contextmanager
    def let_in(self) -> Iterator[None]:
        """Count a request while it waits or is computed. Raises Refused where too many are."""
        self.check_room()
        self.board.own[WAITING] += 1
        try:
            yield
        finally:
            self.board.own[WAITING] -= 1
            if self.due:
                self.wake()

    @property
    def due(self) -> deque[Job]:
        """Of what the next step is computed: of what is awaited, or else of the rest."""
        is_idle = not self.jobs and not self.board.own[WAITING]
        return self.spare if is_idle else self.jobs

    @property
    def is_full(self) -> bool:
        """Whether as many requests of the whole server wait as may."""
        # One more than may wait is computed in each worker.
        return self.board.total(WAITING) >= self.most + self.workers

    def check_room(self) -> None:
        """Raise Refused (429) where one more request would be too many."""
        if self.is_full:
            raise too_busy(self.wait_seconds())

    async def queued(self, job: Job) -> Any:
        """What a job gives, once those before it are done."""
        self.jobs.append(job)
        self.wake()
        return await job.outcome

    def compute_later(self, steps: Iterator[Any], kind: str, *, is_long: bool = False) -> None:
        """Compute steps whose result nobody awaits, once no request waits; they raise nothing."""
        # Its caller bounds how many there are.
        self.spare.append(Job(steps, self.loop.create_future(), kind, is_long))
        self.wake()

    def dismiss(self) -> None:
        """Refuse all that is awaited: the server stops. A step under way in the thread goes on, as
        nothing can end it but the end of the process."""
        for job in self.jobs:
            if not job.outcome.done():
                job.outcome.set_exception(is_stopping())

    @property
    def spare_jobs(self) -> int:
        """How much work waits that nobody awaits."""
        return len(self.spare)

    def wake(self) -> None:
        """Have the next step computed, unless it is going to be."""
        if not self.is_awake:
            self.is_awake = True
            self.loop.call_soon(self.step)

    def wait_seconds(self) -> int:
        """In how many seconds the queue will have been worked off, at least one."""
        return max(1, math.ceil(self.most * self.mean_seconds / self.workers))

    def step(self) -> None:
        """Compute a step of the first job that is still awaited, and come again for the next."""
        while self.jobs and self.jobs[0].outcome.done():
            self.jobs.popleft()
        queue = self.due
        if queue:
            job = queue[0]
            if job.is_long or self.step_seconds.get(job.kind, math.inf) > FAST_SECONDS:
                self.is_in_thread = True
                step = self.loop.run_in_executor(self.thread, self.advance, job)
                step.add_done_callback(partial(self.settle, job, queue))
                return
            self.give(job, queue, self.advance(job))
        self.again()

    def again(self) -> None:
        """Have the next step computed in the loop's next turn, where there is one."""
        self.is_awake = bool(self.due)
        if self.is_awake:
            self.loop.call_soon(self.step)

    def settle(self, job: Job, queue: deque[Job], step: asyncio.Future) -> None:
        """Go on after a step that the thread has computed."""
        self.is_in_thread = False
        self.give(job, queue, step.result())
        self.again()

    def advance(self, job: Job) -> Any:
        """Compute a step of a job: its result, or what it raised; None where more is to be done."""
        began = time.perf_counter()
        result: Any = None
        try:
            # Whatever a library raises over an input, the loop goes on.
            with told_as(ValueError):
                result = next(job.steps)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            result = error
        seconds = time.perf_counter() - began
        job.seconds += seconds
        # One long text would have a hundred short ones after it take the way over the thread.
        if job.is_long:
            return result
        known = self.step_seconds.get(job.kind, seconds)
        self.step_seconds[job.kind] = known + SHARE_OF_LAST * (seconds - known)
        return result

    def give(self, job: Job, queue: deque[Job], result: Any) -> None:
        """Give who awaits the first job of a queue its result, once there is one."""
        if result is None:
            return
        # It is still the first: others are only added behind, and dropped between two steps.
        queue.popleft()
        self.mean_seconds += SHARE_OF_LAST * (job.seconds - self.mean_seconds)
        if job.outcome.done():
            return
        if isinstance(result, Exception):
            job.outcome.set_exception(result)
        else:
            job.outcome.set_result(result)


def refuse(outcome: asyncio.Future) -> None:
    """Tell who still awaits a result that his time is up."""
    if not outcome.done():
        outcome.set_exception(too_late())


def drop(outcome: asyncio.Future, gone: asyncio.Future) -> None:
    """Drop the work of an answer that nobody reads any more."""
    if not outcome.done():
        outcome.set_exception(ClientGone())


def one_of(steps: Iterator[Any]) -> Iterator[Any]:
    """The next of some steps as all the work of a job."""
    yield next(steps, NO_MORE)
