"""A stop that waits for what is under way, and no longer than it says."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import TEXT, Reply, Served, install_runtime, serving, write_artifact

pytest.importorskip("granian")
pytestmark = pytest.mark.services

KEY = {"authorization": f"Bearer {'a' * 24}"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server whose model takes 60 s a row once the file `slow` is there."""
    install_runtime(tmp_path / "site", monkeypatch)
    config = tmp_path / "serve.yaml"
    config.write_text("drain_seconds: 1\nlimits: {body_seconds: 60}\n")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ops {'a' * 24} admin\n")
    artifact = write_artifact(tmp_path / "model")
    arguments = (f"towns={artifact}", "--config", str(config), "--tokens", str(tokens))
    slow = {"TABLE_SECONDS": "60", "TABLE_SLOW_ONCE": str(tmp_path / "slow")}
    with serving(tmp_path / "served", *arguments, environment=slow) as server:
        yield server


def stopped_beside(served: Served, ask: Callable[[], Reply], seconds: float) -> Reply:
    """What a request is answered that is under way when the server is told to stop."""
    replies: list[Reply] = []
    asking = threading.Thread(target=lambda: replies.append(ask()))
    asking.start()
    time.sleep(1)
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < seconds
    asking.join(10)
    (reply,) = replies
    return reply


def test_a_row_that_takes_longer_is_refused(served: Served, tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    reply = stopped_beside(
        served,
        lambda: served.ask("POST", "/predict", {"text": TEXT}, x_request_timeout="50", **KEY),
        10,
    )
    assert reply.status == 503 and "stops" in reply.json["error"]


def test_an_artifact_that_is_verified_is_given_up(served: Served, tmp_path: Path) -> None:
    other = write_artifact(tmp_path / "other", 2.0)
    (tmp_path / "slow").touch()
    body = {"artifact": str(other)}
    reply = stopped_beside(served, lambda: served.ask("PUT", "/admin/models/towns", body, **KEY), 8)
    assert reply.status == 503 and "nothing was changed" in reply.json["error"]


def test_who_comes_during_a_stop_is_refused_at_once(served: Served, tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    asking = threading.Thread(
        target=lambda: served.ask("POST", "/predict", {"text": TEXT}, **KEY), daemon=True
    )
    asking.start()
    time.sleep(1)
    served.process.send_signal(signal.SIGTERM)
    # Open connections are answered once more for a second; the one under way has another.
    time.sleep(1.5)
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), timeout=10)
    assert time.monotonic() - began < 1
    assert served.process.wait(20) == 0
    asking.join(10)


def test_a_body_that_comes_in_time_is_answered(served: Served) -> None:
    body = b'{"text": "Ada' + b" " * 40_000 + b'"}'
    head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    head += f"authorization: {KEY['authorization']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:20_000])
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        # The socket of the server is closed by then; it waits for this for a second more.
        time.sleep(1.5)
        connection.sendall(body[20_000:])
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert b" 200 OK" in received and b"person" in received
    assert served.process.wait(20) == 0


def test_a_body_that_still_comes_is_not_waited_for(served: Served) -> None:
    head = "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000\r\n"
    head += f"authorization: {KEY['authorization']}\r\n\r\n{{"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head.encode())
        time.sleep(0.5)
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 10
    assert "Traceback" not in served.log.read_text()
