"""Threads of the command line sleep soon where they wait, and what is timed is timed as others run it."""

import os

import pytest

from limbeck.cli.main import exit_status
from limbeck.core.system import waiting_threads


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in waiting_threads.DECIDING:
        # Set first, so that what the code sets is taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_command_line_says_how_long() -> None:
    assert exit_status(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == waiting_threads.SPINS
    assert "GOMP_SPINCOUNT" not in waiting_threads.environment_of_others()
    assert waiting_threads.environment_of_others()["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("name", waiting_threads.DECIDING)
def test_who_has_decided_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "active")
    waiting_threads.spin_briefly()
    others = waiting_threads.environment_of_others()
    assert {each: others.get(each) for each in waiting_threads.DECIDING} == {
        each: "active" if each == name else None for each in waiting_threads.DECIDING
    }
