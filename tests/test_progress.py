"""Progress: the event stream of a run, the time left under a clock of our own, JSON lines, and the live line on a real terminal."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest
from rich.console import Console

from limbeck.core.events import (
    COST,
    FORWARD,
    QUANTIZED,
    SETUP,
    STEP,
    VALIDATION,
    Ended,
    EpochEnded,
    Event,
    Meter,
    Note,
    Progress,
    Started,
    duration,
    track,
)
from limbeck.core.terminal.console import JsonLines, LiveLine


class Clock:
    """Seconds that only pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_foretold_before_anything_was_done() -> None:
    clock = Clock()
    meter = Meter({STEP: 10.0}, clock)
    assert meter.time_left_s() is None
    clock.now += 3
    meter.advance(SETUP, 0)
    assert meter.time_left_s() is None
    clock.now += 1
    meter.advance(STEP, 1)
    assert meter.time_left_s() == 9


def test_every_kind_of_work_has_a_cost() -> None:
    assert set(COST) == {STEP, QUANTIZED, FORWARD, VALIDATION, SETUP}


def test_a_pass_is_tracked_and_told_at_most_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("limbeck.core.events.Meter.__init__.__defaults__", (clock,))
    told: list[Event] = []
    for _ in track(range(100), float, told.append):
        clock.now += 0.03
    seen = [event for event in told if isinstance(event, Progress)]
    assert 20 <= len(seen) <= 30
    assert seen[-1].steps == 100


def test_json_lines_hold_one_progress_in_ten_seconds() -> None:
    clock, file = Clock(), io.StringIO()
    lines = JsonLines(file, clock)
    lines(Note("data: drawn"))
    lines(Started("train (kd, seed 0)"))
    for step in range(250):
        clock.now += 0.1
        lines(Progress(step, 250, 25.0, 1, 1, {"kl": 0.5}, {}))
    lines(EpochEnded(1, 1, {"kl": 0.5}, {"f1": 0.9}))
    lines(Ended("train (kd, seed 0)", 25.0))
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [each["event"] for each in found] == [
        "note",
        "start",
        "progress",
        "progress",
        "epoch",
        "end",
    ]
    assert {each["stage"] for each in found[1:]} == {"train (kd, seed 0)"}
    assert found[2]["time_left_s"] == 25.0
    assert found[4]["metrics"] == {"f1": 0.9}
    assert found[-1]["at_s"] == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("encoding", "escaped"), [("utf-8", False), ("UTF8", False), ("ascii", True)]
)
def test_json_lines_are_json_in_any_locale(encoding: str, escaped: bool) -> None:
    """stderr replaces what its encoding lacks by an escape that is no JSON."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace") as file:
        JsonLines(file, Clock())(Note("größer"))
        written = raw.getvalue().decode(encoding)
    assert json.loads(written)["text"] == "größer"
    assert ("\\u" in written) == escaped


def test_a_stage_within_a_stage_gives_the_name_back() -> None:
    clock, file = Clock(), io.StringIO()
    lines = JsonLines(file, clock)
    for event in (
        Started("train"),
        Started("encode"),
        Ended("encode", 1.0),
        Ended("label", 0.0, reused=True),
    ):
        lines(event)
    clock.now += 11
    lines(Progress(1, 9, 8.0, 1, 1, {}, {}))
    lines(Ended("train", 12.0))
    lines(Note("between"))
    assert [json.loads(line)["stage"] for line in file.getvalue().splitlines()] == [
        "train",
        "encode",
        "encode",
        "label",
        "train",
        "train",
        None,
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def drawn(terminal: str) -> str:
    """What the events of a short training write to a terminal."""
    file = io.StringIO()
    environment = {"TERM": terminal, "COLUMNS": "60"}
    with LiveLine(Console(file=file, force_terminal=True, _environ=environment)) as line:
        line(Started("train (kd, seed 0)"))
        for epoch in range(1, 41):
            line(Progress(epoch, 40, 9.0, epoch, 40, {"kl": 0.5}, {"f1": 0.25}))
            line(EpochEnded(epoch, 40, {"kl": 0.5}, {"f1": 0.25}))
        line(Ended("train (kd, seed 0)", 25.0))
    return file.getvalue()


def test_few_epochs_leave_a_line() -> None:
    text = drawn("dumb")
    assert "\x1b" not in text.replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert re.findall(r"epoch (\d+)/40", text) == [
        "1",
        "6",
        "11",
        "16",
        "21",
        "26",
        "31",
        "36",
        "40",
    ]
    assert "train (kd, seed 0): running" in text


SCRIPT = """
import time
from limbeck.core.terminal.console import *
from limbeck.core.events import *
with on_stderr() as tell:
    tell(Started("train (kd, seed 0)"))
    for step in range(1, 6):
        tell(Progress(step, 5, 9.0, 1, 1, {"kl": 0.5}, {}))
    tell(EpochEnded(1, 1, {"kl": 0.5}, {"f1": 0.25}))
    tell(Ended("train (kd, seed 0)", 25.0))
"""


def on_a_terminal(environment: dict[str, str]) -> str:
    """What SCRIPT writes to a pseudo-terminal."""
    controller, terminal = pty.openpty()
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    }
    everything = {
        **inherited,
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "LINES": "24",
        **environment,
    }
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=everything,
    ) as process:
        os.close(terminal)
        written = b""
        while process.poll() is None or select.select([controller], [], [], 0)[0]:
            if select.select([controller], [], [], 0.1)[0]:
                try:
                    written += os.read(controller, 65536)
                except OSError:  # the other end is closed and all was read
                    break
    os.close(controller)
    assert process.returncode == 0, written.decode()
    return written.decode()


def screen(text: str) -> list[str]:
    """The lines that stay on a terminal of carriage returns, erased lines and moves up."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d*)A", part):
            row -= int(up[1] or 1)
        elif part[0] not in "\x1b\r":
            lines[row] = part if text[text.index(part) - 1] == "\r" else lines[row] + part
    return [line for line in lines if line.strip()]


def test_a_live_line_is_redrawn_and_nothing_of_it_is_left() -> None:
    text = on_a_terminal({})
    assert all(f"{step}/5" in text for step in range(1, 6))
    assert text.count("\x1b[2K") >= 5
    assert "\x1b[1;36m" in text
    assert [line.strip() for line in screen(text)] == [
        "epoch 1/1  kl 0.5000  validation:  f1 0.2500",
        "train (kd, seed 0): done in 25.0 s",
    ]


def test_no_color_is_respected() -> None:
    text = on_a_terminal({"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text)
    assert "5/5" in text
