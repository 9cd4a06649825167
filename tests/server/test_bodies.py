"""Bodies that do not come as they should: cut short, slow, many at once, or against the clock."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import TEXT, Served, install_runtime, serving, write_artifact

pytest.importorskip("granian")

from limbeck.server.requests.bodies import Bodies
from limbeck.server.requests.refusals import Refused

HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    config = folder / "serve.yaml"
    config.write_text("limits: {body_seconds: 1, timeout_seconds: 1, bodies_bytes: 2000000}\n")
    with pytest.MonkeyPatch.context() as patch:
        install_runtime(folder / "site", patch)
        artifact = write_artifact(folder / "model")
        with serving(folder / "own", f"towns={artifact}", "--config", str(config)) as server:
            yield server


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


def told(port: int, *parts: bytes | float, half: bool = True) -> bytes:
    """What comes back for parts (bytes, or seconds to wait); half: then nothing more is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        if half:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
            if half is False and b"}" in received:
                break
    return received


@pytest.mark.services
@pytest.mark.parametrize(
    "parts",
    [
        (CHUNKED + chunk(b"Ada"),),
        (CHUNKED + chunk(b"Ada"), 0.2, b"zz\r\n lives"),
        (CHUNKED + chunk(b"Ada") + b"20\r\n lives",),
        (HEAD + b"content-length: 40\r\n\r\nAda",),
        (HEAD + b"content-length: 40000\r\n\r\n" + b"Ada " * 900,),
    ],
)
def test_half_a_body_is_never_answered(served: Served, parts: tuple[bytes | float, ...]) -> None:
    answer = told(served.port, *parts)
    assert b" 200 " not in answer and b" 500 " not in answer
    assert b"cut short" in answer or not answer
    figures = served.ask("GET", "/metrics").body.decode()
    assert 'status="200"' not in figures and 'status="500"' not in figures


@pytest.mark.services
def test_a_body_that_breaks_off_ends_its_connection_and_says_so(served: Served) -> None:
    parts = (CHUNKED + chunk(b"Ada"), 0.2, b"zz\r\n lives")
    answer = told(served.port, *parts, half=False).lower()
    assert answer.startswith(b"http/1.1 400") and b"\r\nconnection: close\r\n" in answer


@pytest.mark.services
def test_a_stop_waits_for_no_refused_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of asyncio stood in its log, and it took longer."""
    install_runtime(tmp_path / "site", monkeypatch)
    artifact = write_artifact(tmp_path / "model")
    with serving(tmp_path / "own", f"towns={artifact}") as server:
        head = b"POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nAda"
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
            connection.sendall(head)
            assert answer_on(connection).startswith(b"HTTP/1.1 404")
            server.process.terminate()
            assert server.process.wait(20) == 0
        assert not [each for each in server.events() if each.get("level") == "error"]


@pytest.mark.services
def test_whole_bodies_are_answered_in_any_pieces(served: Served) -> None:
    for parts in (
        (CHUNKED + chunk(b"Ada") + chunk(b" lives") + b"0\r\n\r\n",),
        (CHUNKED, 0.2, chunk(b"A"), chunk(b"da") + b"0\r\n", 0.2, b"\r\n"),
        (HEAD + b"content-length: 40000\r\n\r\n" + b"Ada " * 9000, 0.2, b"Ada " * 1000),
    ):
        assert b" 200 " in told(served.port, *parts, half=False)


@pytest.mark.services
def test_a_deadline_of_the_senders_own_holds_for_its_body_too(served: Served) -> None:
    began = time.monotonic()
    for length in (b"10", b"100000"):
        head = HEAD + b"x-request-timeout: 0.3\r\ncontent-length: " + length + b"\r\n\r\n"
        answer = told(served.port, head, half=False)
        assert b" 408 " in answer and b"X-Request-Timeout" in answer
    assert time.monotonic() - began < 1.9


@pytest.mark.services
def test_a_body_within_its_bound_leaves_the_whole_time_to_answer(served: Served) -> None:
    # 1.4 s for 40,000 bytes, of 1 s and a second more for each 16,384; and 1 s to answer.
    piece = b"Ada " * 2500
    parts = [HEAD + b"content-length: 40000\r\n\r\n"] + [piece, 0.45] * 3 + [piece]
    assert b" 200 " in told(served.port, *parts, half=False)


@pytest.mark.services
def test_slow_bodies_are_held_up_to_a_bound(served: Served) -> None:
    held = []
    for _ in range(3):
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=15)
        connection.sendall(HEAD + b"content-length: 1500000\r\n\r\n" + b"a" * 900_000)
        held.append(connection)
        time.sleep(0.1)
    began = time.monotonic()
    # The first had to go for the third; by its own clock it had a minute.
    assert b" 408 " in held[0].recv(4096)
    assert time.monotonic() - began < 5
    assert served.predict(text=TEXT).status == 200
    for connection in held:
        connection.close()


@pytest.mark.services
@pytest.mark.parametrize("asked", ["1_0", "inf", "nan", "1e400", "0", "-1", "+1", "\u0661", "1 2"])
def test_a_time_is_a_number_of_seconds(served: Served, asked: str) -> None:
    head = f"x-request-timeout: {asked}\r\nconnection: close\r\ncontent-length: 3\r\n\r\nAda"
    assert b" 400 " in told(served.port, HEAD + head.encode(), half=False)


@pytest.mark.services
def test_of_two_times_none_is_taken(served: Served) -> None:
    twice = b"x-request-timeout: 1\r\nx-request-timeout: 5\r\ncontent-length: 3\r\n\r\nAda"
    assert b"twice" in told(served.port, HEAD + twice, half=False)


@pytest.mark.services
def test_of_two_hosts_none_is_taken(served: Served) -> None:
    twice = b"host: evil.example\r\nconnection: close\r\ncontent-length: 3\r\n\r\nAda"
    assert b" 400 " in told(served.port, HEAD + twice, half=False)


def test_bodies_that_wait_for_an_answer_are_not_given_up() -> None:
    async def scenario() -> None:
        bodies = Bodies(100)
        async with asyncio.timeout(60) as patience:
            waiting = bodies.begin(patience)
            bodies.hold(waiting, 80)
            bodies.is_whole(waiting)
            coming = bodies.begin(patience)
            with pytest.raises(Refused) as refused:
                bodies.hold(coming, 30)
            assert refused.value.status == 429
            bodies.release(coming)
            bodies.release(waiting)
            assert bodies.held == 0 and not bodies.coming

    asyncio.run(scenario())


def test_the_body_that_came_for_longest_is_given_up() -> None:
    async def slow(bodies: Bodies, size: int) -> int:
        async with asyncio.timeout(60) as patience:
            body = bodies.begin(patience)
            bodies.hold(body, size)
            await asyncio.sleep(0.05)
            bodies.hold(body, 1)
        return body.size

    async def scenario() -> list[int | BaseException]:
        bodies = Bodies(100)
        sizes = await asyncio.gather(
            *(slow(bodies, size) for size in (50, 40, 30)), return_exceptions=True
        )
        assert bodies.held == 72
        return sizes

    first, *others = asyncio.run(scenario())
    assert isinstance(first, TimeoutError) and others == [41, 31]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server to which any body of the tests below is too large."""
    folder = tmp_path_factory.mktemp("strict")
    config = folder / "serve.yaml"
    config.write_text("limits: {body_bytes: 1000, body_seconds: 2}\n")
    with pytest.MonkeyPatch.context() as patch:
        install_runtime(folder / "site", patch)
        artifact = write_artifact(folder / "model")
        with serving(folder / "own", f"towns={artifact}", "--config", str(config)) as server:
            yield server


OF_LENGTH = b"content-length: %d\r\n\r\n"
LARGE = b"Ada " * 2_500_000
BODIES = {
    "small": (OF_LENGTH % 4000, LARGE[:4000]),
    "large": (OF_LENGTH % len(LARGE), LARGE),
    "chunks": (
        b"transfer-encoding: chunked\r\n\r\n",
        chunk(LARGE[:50_000]) * 200 + b"0\r\n\r\n",
    ),
}
REFUSED = {
    b"404": b"POST /nothing HTTP/1.1\r\nhost: localhost\r\n",
    b"405": b"DELETE /predict HTTP/1.1\r\nhost: localhost\r\n",
    b"413": HEAD,
    b"415": HEAD + b"content-encoding: gzip\r\n",
    b"421": b"POST /predict HTTP/1.1\r\nhost: elsewhere.example\r\n",
    b"400": HEAD + b"x-request-timeout: never\r\n",
}


def answer_on(connection: socket.socket) -> bytes:
    """A whole answer of a connection that is kept."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.mark.services
@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("status", REFUSED)
def test_who_is_refused_reads_why_and_asks_on(strict: Served, status: bytes, kind: str) -> None:
    fields, body = BODIES[kind]
    right = HEAD + OF_LENGTH % 3 + b"Ada"
    with socket.create_connection(("127.0.0.1", strict.port), timeout=15) as connection:
        for _ in range(5):
            connection.sendall(REFUSED[status] + fields)
            # As http.client and others send it: a body by itself.
            time.sleep(0.02)
            connection.sendall(body)
            answer = answer_on(connection)
            assert answer.startswith(b"HTTP/1.1 " + status) and b'"error"' in answer
            assert b"connection: close" not in answer
            connection.sendall(right)
            assert answer_on(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.services
def test_a_refusal_waits_for_no_body(strict: Served) -> None:
    held = []
    # Where nothing else is asked Python's collector rests: what it was to close stayed open.
    for fields, _ in list(BODIES.values()) * 10:
        connection = socket.create_connection(("127.0.0.1", strict.port), timeout=15)
        held.append(connection)
        began = time.monotonic()
        connection.sendall(REFUSED[b"404"] + fields)
        assert answer_on(connection).startswith(b"HTTP/1.1 404")
        # Long before the time that a body has: then the connection is closed.
        assert time.monotonic() - began < 1.5
    for connection in held:
        assert connection.recv(65_536) == b""
        connection.close()


@pytest.mark.services
@pytest.mark.parametrize(
    "fields", [OF_LENGTH % 10**9, b"expect: 100-continue\r\n" + OF_LENGTH % 4000]
)
def test_a_body_that_will_not_be_read_is_told_so(strict: Served, fields: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=15) as connection:
        connection.sendall(REFUSED[b"404"] + fields)
        answer = answer_on(connection)
        assert answer.startswith(b"HTTP/1.1 404") and b"connection: close" in answer
        assert connection.recv(100) == b""
