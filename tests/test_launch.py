"""The variables of `torchrun`: what they say, what is refused, and how long a process waits for the others."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.cli import exits, main
from limbeck.core.system import launch
from limbeck.core.system.launch import Launch
from limbeck.training import rendezvous

WELL = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
Setter = Callable[..., None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """Sets the variables, and no others of their kind."""

    def set_to(**variables: str) -> None:
        for name in (*launch.NUMBERING, launch.HOST, launch.PORT):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_what_the_variables_say(say: Setter) -> None:
    say()
    assert launch.read() == Launch(0, 1)
    say(**WELL)
    assert launch.read() == Launch(1, 2, "127.0.0.1", 29500)
    assert launch.process_index() == 1
    # One process needs no place to meet.
    say(WORLD_SIZE="1")
    assert launch.read() == Launch(0, 1)
    # An empty variable says nothing.
    say(RANK="", WORLD_SIZE="")
    assert launch.read() == Launch(0, 1)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set, and RANK is not"),
        ({"RANK": "0"}, "RANK=0 is set, and WORLD_SIZE is not"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set, and MASTER_ADDR is not"),
        (WELL | {"MASTER_PORT": ""}, "WORLD_SIZE=2 is set, and MASTER_PORT is not"),
        (WELL | {"MASTER_PORT": "65536"}, "MASTER_PORT=65536: a port is a number from 1 to 65535"),
        ({"RANK": "foo"}, "RANK=foo: a whole number was expected"),
        (WELL | {"LOCAL_RANK": "x"}, "LOCAL_RANK=x: a whole number was expected"),
        (WELL | {"RANK": "2"}, "RANK=2 with WORLD_SIZE=2: processes are numbered from 0 to 1"),
        (WELL | {"RANK": "-1"}, "RANK=-1 with WORLD_SIZE=2: processes are numbered from 0 to 1"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "processes are numbered from 0 to 0"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: a run has at least one process"),
    ],
)
def test_variables_that_do_not_fit_are_named_with_the_cure(
    variables: dict[str, str], problem: str, say: Setter
) -> None:
    say(**variables)
    with pytest.raises(ValueError, match=r"^environment variables: ") as refused:
        launch.read()
    said = str(refused.value)
    assert f": {problem}. To run in two processes, `torchrun --nproc_per_node 2 -m limbeck" in said
    present = [
        name for name in (*launch.NUMBERING, "MASTER_ADDR", "MASTER_PORT") if name in os.environ
    ]
    assert said.endswith(f"To run in one: `unset {' '.join(present)}`")
    # A verb that trains nothing needs none of them.
    assert launch.process_index() == 0


def test_a_run_refuses_them_before_any_work(
    say: Setter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{task: image-classification, data: {source: sklearn, dataset: digits},"
        " student: {model: small_cnn}}"
    )
    say(RANK="3", WORLD_SIZE="2")
    assert main.exit_status(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert "limbeck: environment variables: RANK=3 with WORLD_SIZE=2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_alone_hides_the_variables_and_puts_them_back(say: Setter) -> None:
    say(**WELL)
    with launch.alone():
        assert launch.read() == Launch(0, 1)
        os.environ["LOCAL_RANK"] = "0"  # accelerate sets some itself
    assert launch.read().num_processes == 2
    assert "LOCAL_RANK" not in os.environ


@pytest.mark.parametrize(
    ("rank", "arguments", "answers"),
    [
        ("0", ["list"], True),
        ("1", ["list"], False),
        ("1", ["--help"], False),
        ("1", ["run", "-h"], False),
        ("1", ["check", "run"], False),
        ("1", ["run", "no-such.yaml"], True),
    ],
)
def test_process_0_alone_answers_where_nothing_is_trained(
    rank: str, arguments: list[str], answers: bool, say: Setter, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(**WELL | {"RANK": rank})
    asked: list[int] = []
    monkeypatch.setattr(main, "exit_status", lambda: asked.append(launch.read().num_processes) or 0)
    monkeypatch.setattr("sys.argv", ["limbeck", *arguments])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 0
    # What process 0 does by itself must wait for no other process.
    expected = 2 if arguments[0] == "run" else 1
    assert asked == ([expected] if answers else [])


def test_a_refusal_is_told_by_process_0(
    say: Setter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ValueError("no")

    def end(seconds: float) -> None:  # what `torchrun` does once process 0 has left
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", end)
    say(**WELL)
    assert exits.exit_status(refuse) == 2
    assert capsys.readouterr().err == ""
    say(**WELL | {"RANK": "0"})
    assert exits.exit_status(refuse) == 2
    assert capsys.readouterr().err == "limbeck: no\n"
    # A mistake of process 1's own: process 0 goes on, and nobody ends process 1.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    say(**WELL)
    assert exits.exit_status(refuse) == 2
    assert capsys.readouterr().err == "limbeck: no\n"


def test_processes_that_are_all_here_do_not_wait(say: Setter) -> None:
    say()
    port = free_port()
    stores = []
    told: list[object] = []

    def arrive(index: int) -> None:
        stores.append(rendezvous.meet(Launch(index, 2, "127.0.0.1", port), told.append))

    second = threading.Thread(target=arrive, args=(1,))
    second.start()
    arrive(0)
    second.join()
    assert len(stores) == 2
    assert told == []


@pytest.mark.parametrize(("index", "missing"), [(0, "1 of 2 processes"), (1, "process 0 of 2")])
def test_a_process_without_partners_says_so_and_gives_up(
    index: int, missing: str, say: Setter
) -> None:
    say()
    told: list[object] = []
    own = Launch(index, 2, "127.0.0.1", free_port())
    with pytest.raises(ValueError, match=rf"in vain for {missing}.* WORLD_SIZE is 2\. To run in"):
        rendezvous.meet(own, told.append, give_up_seconds=0.5)
    (note,) = told
    assert str(note).startswith(f"waiting for {missing}")
    assert f"at {own.address}, " in str(note)


def test_a_wait_ends_with_ctrl_c(say: Setter, monkeypatch: pytest.MonkeyPatch) -> None:
    say()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rendezvous.meet(Launch(1, 2, "127.0.0.1", free_port()), print)


def test_two_processes_of_one_number_are_refused(say: Setter) -> None:
    say()
    port = free_port()
    first = Launch(1, 3, "127.0.0.1", port)
    patience = rendezvous.Patience(first, print, 5.0)
    server = rendezvous._open(Launch(0, 3, "127.0.0.1", port), patience)
    rendezvous._note_arrival(server, first)
    with pytest.raises(ValueError, match="two processes say RANK=1"):
        rendezvous.meet(first, print, give_up_seconds=1)


def test_a_port_that_is_taken_is_told(say: Setter) -> None:
    say()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        own = Launch(0, 2, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ValueError, match="process 0 cannot listen there"):
            rendezvous.meet(own, print, give_up_seconds=1)


def test_a_host_that_nobody_knows_is_told_at_once(say: Setter) -> None:
    say()
    for index in (0, 1):
        own = Launch(index, 2, "no-such-host.invalid", 29500)
        with pytest.raises(ValueError, match=r"no-such-host\.invalid: no machine of that name"):
            rendezvous.meet(own, print)


def test_a_process_that_is_ended_with_others_does_not_promise_to_go_on(
    say: Setter, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        with exits.resumable():
            raise KeyboardInterrupt

    say(**WELL | {"RANK": "0"})
    assert exits.exit_status(stop) == 3
    assert "What another one says is why" in capsys.readouterr().err
    # Process 0 has said why it left.
    say(**WELL | {"RANK": "1"})
    assert exits.exit_status(stop) == 3
    assert capsys.readouterr().err == ""
    say()
    assert exits.exit_status(stop) == 3
    assert capsys.readouterr().err == "limbeck: stopped; the same command goes on from here\n"
