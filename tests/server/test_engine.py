"""The queue before the models: bounded, in order, within deadlines, and never in the loop's way."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from limbeck.server.engine import FAST_SECONDS, Engine
from limbeck.server.processes.board import WAITING, Board
from limbeck.server.requests.refusals import ClientGone, Refused

Scene = Callable[[Engine], Coroutine[Any, Any, None]]


def play(scene: Scene, folder: Path, most: int = 4, workers: int = 1) -> None:
    """A scene with an engine in a loop of its own."""

    async def act() -> None:
        Board.create(folder / "board", workers)
        board = Board(folder / "board")
        await scene(Engine(most, workers, board, asyncio.get_running_loop()))
        assert board.total(WAITING) == 0

    asyncio.run(act())


def steps(name: str, seen: list[str], count: int = 1, seconds: float = 0.0) -> Iterator[str | None]:
    """Work of so many steps, each of which notes itself."""
    for number in range(count):
        time.sleep(seconds)
        seen.append(f"{name}{number}")
        yield name if number + 1 == count else None


def test_jobs_are_done_in_order_and_what_nobody_awaits_comes_last(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        seen: list[str] = []
        first = asyncio.create_task(engine.compute(steps("a", seen, 3), 5, "m"))
        second = asyncio.create_task(engine.compute(steps("b", seen, 2), 5, "m"))
        await asyncio.sleep(0)
        engine.compute_later(steps("spare", seen, 2), "spare")
        assert await asyncio.gather(first, second) == ["a", "b"]
        await asyncio.sleep(0.05)
        assert seen == ["a0", "a1", "a2", "b0", "b1", "spare0", "spare1"]

    play(scene, tmp_path)


def answer(name: str, seen: list[str]) -> Iterator[str]:
    """An answer that grows, three pieces long."""
    for number in range(3):
        seen.append(f"{name}{number}")
        yield f"{name}{number}"


def test_answers_that_grow_take_turns_and_end_with_who_asked(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        seen: list[str] = []

        async def read(name: str, most: int) -> list[str]:
            gone = engine.loop.create_future()
            pieces = []
            with contextlib.suppress(ClientGone):
                async for piece in engine.turns(answer(name, seen), 5, "m", gone):
                    pieces.append(piece)
                    if len(pieces) == most:
                        gone.set_result(None)
            return pieces

        read_pieces = await asyncio.gather(read("a", 9), read("b", 2), read("c", 9))
        assert read_pieces == [["a0", "a1", "a2"], ["b0", "b1"], ["c0", "c1", "c2"]]
        assert seen == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "c2"]

    play(scene, tmp_path)


def test_an_answer_that_grows_is_counted_as_waiting_throughout(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        gone = engine.loop.create_future()
        pieces = engine.turns(answer("a", []), 5, "m", gone)
        assert await anext(pieces) == "a0"
        assert engine.board.total(WAITING) == 1
        with pytest.raises(Refused, match="busy"):
            await anext(engine.turns(answer("b", []), 5, "m", gone))
        await pieces.aclose()

    play(scene, tmp_path, most=0)


@pytest.mark.parametrize("seconds", [0.0, 2 * FAST_SECONDS], ids=["in the loop", "in a thread"])
def test_errors_come_back_to_who_asked(seconds: float, tmp_path: Path) -> None:
    def broken() -> Iterator[None]:
        time.sleep(seconds)
        yield None
        raise KeyError("of a library")

    async def scene(engine: Engine) -> None:
        seen: list[str] = []
        for _ in range(2):
            with pytest.raises(ValueError, match="KeyError"):
                await engine.compute(broken(), 5, "broken")
            assert await engine.compute(steps("next", seen), 5, "fine") == "next"

    play(scene, tmp_path)


def test_more_than_may_wait_are_refused_and_the_rest_is_answered(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        seen: list[str] = []
        asked = [
            asyncio.create_task(engine.compute(steps(str(n), seen, 1, 0.01), 5, "m"))
            for n in range(9)
        ]
        done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in done if isinstance(each, Refused)]
        # Four wait, and one is computed.
        assert len(refused) == 4
        assert {each.status for each in refused} == {429}
        assert int(dict(refused[0].headers)["retry-after"]) >= 1
        assert seen == ["00", "10", "20", "30", "40"]

    play(scene, tmp_path)


def test_the_bound_is_the_whole_server_s(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        # Another worker has all of them waiting.
        other = Board(tmp_path / "board", 1)
        other.own[WAITING] = 6
        assert engine.is_full
        with pytest.raises(Refused):
            await engine.compute(steps("a", []), 5, "m")
        other.own[WAITING] = 5
        assert not engine.is_full
        assert await engine.compute(steps("a", []), 5, "m") == "a"
        other.own[WAITING] = 0

    play(scene, tmp_path, most=4, workers=2)


def test_a_slow_model_does_not_stop_the_loop(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        seen: list[str] = []
        slow = asyncio.create_task(engine.compute(steps("slow", seen, 1, 0.3), 5, "slow"))
        await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.2
        # Its deadline comes while the other is computed: the work is dropped.
        with pytest.raises(Refused) as refused:
            await engine.compute(steps("late", seen), 0.05, "m")
        assert refused.value.status == 504
        assert await slow == "slow"
        await asyncio.sleep(0.02)
        assert seen == ["slow0"]

    play(scene, tmp_path)


def test_a_fast_model_is_computed_in_the_loop(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        import threading

        threads: list[str] = []

        def work() -> Iterator[str]:
            threads.append(threading.current_thread().name)
            yield "x"

        for _ in range(3):
            await engine.compute(work(), 5, "fast")
        # Of the first nobody knows how long it takes.
        assert threads[0].startswith("inference")
        assert threads[1:] == [threading.main_thread().name] * 2

    play(scene, tmp_path)


def test_slow_work_that_nobody_awaits_stops_nobody(tmp_path: Path) -> None:
    async def scene(engine: Engine) -> None:
        seen: list[str] = []
        engine.compute_later(steps("spare", seen, 3, 0.1), "slow")
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.08
        # A request waits for the step under way, and not for the rest.
        assert await engine.compute(steps("a", seen), 5, "m") == "a"
        assert seen == ["spare0", "a0"]
        await asyncio.sleep(0.4)
        assert seen == ["spare0", "a0", "spare1", "spare2"] and not engine.spare

    play(scene, tmp_path)


def test_long_work_is_computed_in_the_thread_and_is_no_measure_of_its_kind(tmp_path: Path) -> None:
    threads: list[str] = []

    def noting(seconds: float) -> Iterator[str]:
        threads.append(threading.current_thread().name.partition("_")[0])
        time.sleep(seconds)
        yield "done"

    async def scene(engine: Engine) -> None:
        # Once known to be fast, a kind is computed in the loop.
        for _ in range(3):
            await engine.compute(noting(0), 5, "m")
        ticks = 0
        long = asyncio.create_task(engine.compute(noting(0.3), 5, "m", is_long=True))
        while not long.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10 and engine.step_seconds["m"] < FAST_SECONDS
        await engine.compute(noting(0), 5, "m")
        gone = engine.loop.create_future()
        assert [each async for each in engine.turns(noting(0), 5, "m", gone, is_long=True)]
        with pytest.raises(Refused, match="no answer in the time"):
            await engine.compute(noting(0.3), 0.05, "m", is_long=True)

    play(scene, tmp_path)
    assert (
        threads == ["inference", *["MainThread"] * 2, "inference", "MainThread"] + ["inference"] * 2
    )
