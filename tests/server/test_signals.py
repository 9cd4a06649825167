"""What a server hears from the machine it runs on, and that it says so in its log."""

import contextlib
import signal
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import TEXT, Served, install_runtime, serving, write_artifact

pytest.importorskip("fcntl")
pytest.importorskip("orjson")
import resource

from limbeck.cli.main import exit_status
from limbeck.server.chat.replies import error_of
from limbeck.server.processes import supervisor
from limbeck.server.processes.sockets import connections_within
from limbeck.server.requests.http import TRACE
from limbeck.server.requests.refusals import NothingThere, Refused
from limbeck.server.settings import Limits, Settings


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_runtime(tmp_path / "site", monkeypatch)
    return write_artifact(tmp_path / "model")


def events(served: Served, name: str, count: int) -> list[dict[str, Any]]:
    """So many events of a name, once they are there."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = [each for each in served.events() if each["event"] == name]
        if len(found) == count:
            return found
        time.sleep(0.05)
    raise AssertionError(served.log.read_text())


@pytest.mark.services
def test_signals_without_a_meaning_end_no_request(tmp_path: Path, artifact: Path) -> None:
    pytest.importorskip("granian")
    with serving(tmp_path / "served", str(artifact)) as served:
        for number, signum in enumerate(supervisor.MEANINGLESS, 1):
            served.process.send_signal(signum)
            told = events(served, "signal without a meaning", number)
            assert told[-1]["signal"] == signal.Signals(signum).name
        assert served.predict(text=TEXT).status == 200
        # As SIGTERM.
        served.process.send_signal(signal.SIGQUIT)
        assert served.process.wait(20) == 0
        assert served.event("stopped")


@pytest.mark.services
def test_a_reload_says_what_it_changed_and_what_takes_a_new_start(
    tmp_path: Path, artifact: Path
) -> None:
    pytest.importorskip("granian")
    config = tmp_path / "serve.yaml"
    config.write_text(f"models: {{towns: {{folder: {artifact}}}}}\n")
    with serving(tmp_path / "served", "--config", str(config)) as served:
        served.process.send_signal(signal.SIGHUP)
        assert events(served, "reload begins", 1)
        assert events(served, "settings read anew", 1)[0]["changed"] == []
        other = write_artifact(tmp_path / "other", 2.0)
        models = f"models: {{towns: {{folder: {artifact}}}, more: {{folder: {other}}}}}\n"
        config.write_text(f"{models}workers: 2\nlimits: {{queue: 5}}\n")
        served.process.send_signal(signal.SIGHUP)
        assert events(served, "settings read anew", 2)[1]["changed"] == ["more"]
        (told,) = events(served, "settings are not all followed", 1)
        assert told["settings"] == ["workers", "limits"]


@pytest.mark.services
def test_a_storm_of_reloads_is_a_few_and_a_stop_gives_them_up(
    tmp_path: Path, artifact: Path
) -> None:
    """Each signal began processes of its own, a hundred at once, which outlived the server."""
    pytest.importorskip("granian")
    with serving(tmp_path / "served", str(artifact)) as served:
        for _ in range(100):
            served.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
            assert len(openers(tmp_path)) <= 1
        served.event("settings read anew")
        assert served.predict(text=TEXT).status == 200
        served.process.send_signal(signal.SIGHUP)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        assert openers(tmp_path) == []
        read = [each for each in served.events() if each["event"] == "settings read anew"]
        assert 1 <= len(read) <= 20


def openers(folder: Path) -> list[int]:
    """The processes that open an artifact of a folder for a server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode()
            if "processes.verify" in command and str(folder) in command:
                found.append(int(process.name))
    return found


def test_an_opener_that_was_killed_is_told_with_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = ["sh", "-c", "kill -9 $$"]
    monkeypatch.setattr(supervisor, "verifying", lambda *given: killed)
    server: Any = SimpleNamespace(folder=tmp_path, settings=None, status=None, verifier=None)
    with pytest.raises(ValueError, match="model: what opened it was ended by SIGKILL"):
        supervisor.Supervisor.verified(server, tmp_path / "model")


def test_settings_that_differ_are_named() -> None:
    old = Settings(models={})
    assert supervisor.unlike(old, Settings(models={}, limits=Limits())) == []
    assert supervisor.unlike(old, Settings(models={}, port=1, limits=Limits(rows=3))) == [
        "port",
        "limits",
    ]


def test_no_more_connections_are_held_than_files_may_be_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, before[1]))
        # The system grants what it may.
        assert connections_within(200) == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.services
def test_few_files_are_told_when_a_server_begins(tmp_path: Path, artifact: Path) -> None:
    pytest.importorskip("granian")
    command = ("sh", "-c", f'ulimit -n 80; exec {sys.executable} -m limbeck serve "$@"', "sh")
    with serving(tmp_path / "served", str(artifact), command=command) as served:
        assert "ulimit -n" in served.event("few files may be open")["why"]
        assert served.predict(text=TEXT).status == 200


@pytest.mark.services
def test_a_server_that_could_open_no_connection_is_refused(artifact: Path) -> None:
    """It said that it was ready, and its workers died one after another."""
    pytest.importorskip("granian")
    serve = f"exec {sys.executable} -m limbeck serve --port 0 {artifact}"
    command = ["sh", "-c", f"ulimit -n 24; {serve}"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2 and "`ulimit -n` lets a process open 24 files" in found.stderr


@pytest.mark.parametrize(
    ("package", "extra"), [("opentelemetry", "tracing"), ("granian", "serve"), ("orjson", "serve")]
)
def test_what_workers_need_is_told_before_a_server_listens(
    package: str,
    extra: str,
    tmp_path: Path,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every worker died of it, for ever, and nothing said what to install."""
    pytest.importorskip("granian")
    for name in [each for each in sys.modules if each.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    config = tmp_path / "serve.yaml"
    config.write_text("tracing: http://127.0.0.1:4318\n")
    assert exit_status(["serve", str(artifact), "--port", "0", "--config", str(config)]) == 2
    assert f'pip install "limbeck[{extra}]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trace", "is_one"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", True),
        (f"00-{'0' * 31}1-{'0' * 15}1-00", True),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'0' * 16}-01", False),
        (f"ff-{'a' * 32}-{'b' * 16}-01", False),
    ],
)
def test_ids_of_zeros_are_no_trace(trace: str, is_one: bool) -> None:
    assert bool(TRACE.fullmatch(trace)) == is_one


def test_of_an_address_that_is_none_no_model_is_missing() -> None:
    assert error_of(NothingThere())["error"]["code"] is None
    missing = Refused(HTTPStatus.NOT_FOUND, "no model of this name is served")
    assert error_of(missing)["error"]["code"] == "model_not_found"
