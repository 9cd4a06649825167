"""What is refused by its head alone, and what is counted of it."""

import json
import socket
from collections.abc import Iterator

import pytest
from served import Served, install_runtime, serving, write_artifact

pytest.importorskip("granian")
pytestmark = pytest.mark.services

ASKED = b'{"text": "Ada"}'
START = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"
KIND = b"content-type: application/json\r\n"
LENGTH = b"content-length: 15\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNK = b"f\r\n" + ASKED + b"\r\n0\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        install_runtime(folder / "site", patch)
        artifact = write_artifact(folder / "model")
        with serving(folder / "own", f"towns={artifact}") as server:
            yield server


def told(port: int, content: bytes, seconds: float = 10.0) -> tuple[int, str]:
    """(status, what is said) of the answer to bytes as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(content)
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith(b"}"):
            piece = connection.recv(65_536)
            if not piece:
                break
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"POST /predict HTTP/1.1\r\n" + LENGTH + b"\r\n" + ASKED, "HTTP/1.1 needs"),
        (b"POST /predict HTTP/1.1\r\nhost:\r\n" + LENGTH + b"\r\n" + ASKED, "HTTP/1.1 needs"),
        (b"POST /predict HTTP/1.1\r\nhost: \xff\r\n" + LENGTH + b"\r\n" + ASKED, "ASCII"),
        (START + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNK + b"\r\n", "gzip, chunked"),
        (START + KIND + b"content-type: text/plain\r\n" + LENGTH + b"\r\n" + ASKED, "Content-Type"),
        (START + CHUNKED + CHUNKED + b"\r\n" + CHUNK + b"\r\n", "Transfer-Encoding"),
    ],
    ids=["no host", "empty host", "host of bytes", "gzip", "two types", "two codings"],
)
def test_a_head_that_can_be_meant_otherwise_is_refused(
    served: Served, content: bytes, why: str
) -> None:
    status, body = told(served.port, content)
    assert status == 400 and why in json.loads(body)["error"]


def test_the_host_of_a_whole_address_counts(served: Served) -> None:
    elsewhere = START.replace(b"/predict", b"http://evil.example/predict")
    assert told(served.port, elsewhere + LENGTH + b"\r\n" + ASKED)[0] == 421
    here = START.replace(b"/predict", b"http://localhost:8000/predict")
    assert told(served.port, here + LENGTH + b"\r\n" + ASKED)[0] == 200
    # Of 1.0, which has no such header, there is nothing to ask for.
    old = b"POST /predict HTTP/1.0\r\n" + LENGTH + b"\r\n" + ASKED
    assert told(served.port, old)[0] == 200


def test_trailers_are_taken_where_a_body_says_itself_that_it_is_whole(served: Served) -> None:
    named = CHUNKED + b"trailer: x-sum\r\n"
    trailer = b"x-sum: 7\r\n\r\n"
    assert told(served.port, START + KIND + named + b"\r\n" + CHUNK + trailer)[0] == 200
    half = b"9\r\n" + ASKED[:9] + b"\r\nzz\r\n"
    assert told(served.port, START + KIND + named + b"\r\n" + half)[0] == 400
    for head in (KIND + CHUNKED, b"content-type: text/plain\r\n" + named):
        status, body = told(served.port, START + head + b"\r\n" + CHUNK + trailer)
        assert status == 400 and "Trailers" in json.loads(body)["error"]


def test_a_body_too_large_is_not_asked_for(served: Served) -> None:
    head = START + b"content-length: 3000000\r\nexpect: 100-continue\r\n\r\n"
    status, body = told(served.port, head, 2.0)
    assert status == 413 and "2,000,000" in json.loads(body)["error"]


def test_what_is_refused_before_a_model_is_known_is_counted(served: Served) -> None:
    def counted() -> dict[str, int]:
        lines = served.ask("GET", "/metrics").body.decode().splitlines()
        own = [line for line in lines if line.startswith('limbeck_requests_total{model="",')]
        return {line.split('status="')[1][:3]: round(float(line.split()[-1])) for line in own}

    before = counted()
    assert served.ask("GET", "/nothing").status == 404
    assert served.ask("DELETE", "/predict").status == 405
    assert served.ask("PUT", "/admin/models/towns", {}).status == 403
    assert served.ask("GET", "/v2/health/ready").status == 200
    after = counted()
    risen = {status: count - before.get(status, 0) for status, count in after.items()}
    assert {status: count for status, count in risen.items() if count} == {
        "403": 1,
        "404": 1,
        "405": 1,
    }


def test_what_a_model_is_asked_about_itself_is_no_work_of_it(served: Served) -> None:
    def requests() -> int:
        latency = served.ask("GET", "/status.json").json["models"]["towns"]["latency"]
        return int(latency["count"]) if latency else 0

    before = requests()
    for path in ("/predict", "/v2/models/towns", "/v2/models/towns/ready"):
        assert served.ask("GET", path).status == 200
    assert served.predict(text="Ada").status == 200
    assert requests() == before + 1


def test_every_answer_is_what_it_is_called(served: Served) -> None:
    for path in ("/", "/nothing", "/metrics", "/predict", "/docs", "/v2", "/v1/models"):
        answer = served.ask("GET", path)
        assert answer.headers["x-content-type-options"] == "nosniff"
