"""`limbeck serve`, as its users meet it: processes, sockets, signals."""

import gzip
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from served import TEXT, Reply, Served, install_runtime, probability, serving, write_artifact

pytest.importorskip("granian")
pytestmark = pytest.mark.services


@pytest.fixture(autouse=True, scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        install_runtime(tmp_path_factory.mktemp("runtime") / "site", patch)
        yield


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "model")


@pytest.fixture(scope="module")
def served(runtime: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("served")
    artifact = write_artifact(folder / "model")
    with serving(folder / "own", f"towns={artifact}") as server:
        yield server


def test_it_answers_a_text_in_every_form(served: Served) -> None:
    answer = served.predict(text=TEXT).json
    assert answer["label"] == "place"
    assert answer["probability"] == pytest.approx(probability(), abs=1e-6)
    assert answer["model"] == "towns" and len(answer["version"]) == 12
    several = served.ask("POST", "/predict/towns", {"inputs": [TEXT, {"text": "Ada"}]}).json
    assert [each["label"] for each in several["answers"]] == ["place", "person"]
    assert several["version"] == answer["version"]
    plain = served.ask("POST", "/predict", TEXT, content_type="text/plain; charset=utf-8").json
    assert plain == answer
    form = "--x\r\nContent-Disposition: form-data; name=text\r\n\r\nAda\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    assert served.ask("POST", "/predict", form, content_type=kind).json["label"] == "person"


MULTIPART = "multipart/form-data; boundary=x"
FORM = b"--x\r\nContent-Disposition: form-data; name=text\r\n\r\nAda\r\n"


@pytest.mark.parametrize(
    ("status", "body", "headers", "told"),
    [
        (400, b"[1", {}, "no JSON"),
        (400, b"", {}, "no JSON"),
        (400, b'{"text": "\xff"}', {}, "not UTF-8: invalid start byte at byte 10"),
        (400, b'{"text": NaN}', {}, "no JSON"),
        (400, b"[" * 100_000, {}, "no JSON"),
        (400, b"7", {}, "a row is an object"),
        (400, b"{}", {}, "a row is an object"),
        (400, b'{"txt": "a"}', {}, "Did you mean `text`?"),
        (400, b'{"text": "a", "id": 7}', {}, "'id': this model reads no such key"),
        (400, b'{"text": "a", "words": ["a"]}', {}, "'words': this model reads no such key"),
        (400, b'{"text": "a", "inputs": ["b"]}', {}, "'text' stands beside it"),
        (400, b'[{"text": "a"}, {"text": "a", "test_b": "c"}]', {}, "inputs[1]: 'test_b'"),
        (400, b'{"text": 3}', {}, "a text is expected"),
        (400, b'{"text": " "}', {}, "empty"),
        (400, b"[]", {}, "at least one"),
        (400, b'{"inputs": {}}', {}, "a list"),
        (400, b'["a", 5]', {}, "inputs[1]"),
        (400, b'{"words": []}', {}, "reads no such key"),
        (400, b'{"image": "***"}', {}, "reads no such key"),
        (413, json.dumps(["a"] * 300).encode(), {}, "at most 256"),
        (413, b" " * 3_000_000, {}, "at most 2,000,000"),
        (415, b"a", {"content-type": "text/html"}, "Content-Type"),
        (415, b"a", {"content-encoding": "gzip"}, "Content-Encoding"),
        (400, b"a", {"content-type": "multipart/form-data"}, "boundary"),
        (400, b"a", {"content-type": "multipart/form-data; boundary=x"}, "multipart"),
        (400, b"\x89PNG", {"content-type": "image/png"}, "reads no images"),
        (400, FORM * 2 + b"--x--\r\n", {"content-type": MULTIPART}, "twice"),
        (400, b'{"text": "a"}', {"x-request-timeout": "1e9"}, "in digits"),
        (400, b'{"text": "a"}', {"x-request-timeout": "soon"}, "seconds above 0"),
        (400, b'{"text": "a"}', {"x-request-timeout": "nan"}, "seconds above 0"),
        (400, b'{"text": "a"}', {"x-request-timeout": ""}, "seconds above 0"),
        (422, b'{"text": "\\ud800"}', {}, ""),
    ],
)
def test_what_it_cannot_answer_it_refuses_with_a_sentence(
    served: Served, status: int, body: bytes, headers: dict[str, str], told: str
) -> None:
    sent = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = served.ask("POST", "/predict", body, **sent)
    assert answer.status in (status, 400)
    assert told in answer.json["error"]
    assert "Traceback" not in answer.json["error"] and "/" not in answer.json["error"][:1]
    # And the next request is answered.
    assert served.predict(text=TEXT).json["label"] == "place"


def test_addresses_and_methods(served: Served) -> None:
    assert served.ask("GET", "/nothing").status == 404
    assert served.ask("POST", "/predict/other", {"text": "a"}).status == 404
    assert served.ask("POST", "/predict/..%2f..", {"text": "a"}).status == 404
    answer = served.ask("DELETE", "/predict")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    answer = served.ask("OPTIONS", "/predict")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    assert answer.body == b"" and served.ask("OPTIONS", "/nothing").status == 404
    # HEAD is GET without its body, whose length it tells.
    head, got = served.ask("HEAD", "/predict"), served.ask("GET", "/predict")
    assert (head.status, head.body, got.status) == (200, b"", 200)
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
    assert served.ask("HEAD", "/nothing").status == 404
    assert served.ask("HEAD", "/admin/models/towns/drop").headers["allow"] == "POST, OPTIONS"
    assert served.ask("GET", "/v2/health/live").status == 200
    assert served.ask("GET", "/v2/health/ready").json == {"ready": True}
    # Without a file of tokens nobody may change models.
    assert served.ask("PUT", "/admin/models/towns", {"artifact": "x"}).status == 403


def test_pages_of_elsewhere_are_refused(served: Served) -> None:
    # A name that an attacker has mean 127.0.0.1 is still in `Host`.
    for path in ("/", "/models.json", "/predict", "/v2/health/live", "/nothing", "/metrics"):
        assert served.ask("GET", path, host="evil.example").status == 421
    told = served.ask("POST", "/predict", {"text": TEXT}, host="evil.example:80")
    assert told.status == 421 and "hosts" in told.json["error"]
    # A form of any page may be sent here: text/plain is read as a text.
    page = {"origin": "https://evil.example", "content_type": "text/plain"}
    for method, path in (("POST", "/predict"), ("POST", "/v2/models/towns/infer")):
        assert served.ask(method, path, TEXT, **page).status == 403
    assert served.ask("PUT", "/admin/models/towns", {"artifact": "x"}, **page).status == 403
    # No answer names an origin that may read it, and nothing is granted before (CORS).
    granted = served.ask("OPTIONS", "/predict", origin="https://evil.example")
    assert not [name for name in granted.headers if name.startswith("access-control")]
    own = {"origin": f"http://localhost:{served.port}", "host": "localhost"}
    assert served.ask("POST", "/predict", {"text": TEXT}, **own).json["label"] == "place"


def test_with_tokens_any_name_may_be_asked_by(tmp_path: Path, artifact: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("shop aaaaaaaaaaaaaaaaaaaaaaaa\n")
    with serving(tmp_path / "served", str(artifact), "--tokens", str(tokens)) as served:
        elsewhere = {"host": "ml.example", "origin": "https://shop.example"}
        assert served.ask("POST", "/predict", {"text": TEXT}, **elsewhere).status == 401
        key = {"authorization": f"Bearer {'a' * 24}"}
        assert served.ask("POST", "/predict", {"text": TEXT}, **elsewhere, **key).status == 200


def test_a_request_has_an_id_and_a_log_no_text(tmp_path: Path, artifact: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("logs: {requests: true}\n")
    with serving(tmp_path / "served", str(artifact), "--config", str(config)) as served:
        mine = served.ask("POST", "/predict", {"text": TEXT}, x_request_id="mine")
        assert mine.headers["x-request-id"] == "mine"
        first = served.predict(text=TEXT).headers["x-request-id"]
        assert first != served.predict(text=TEXT).headers["x-request-id"]
        late = served.ask("POST", "/predict", {"text": TEXT}, x_request_timeout="0.000001")
        assert late.status in (408, 504)
        until = time.monotonic() + 10
        while len(told := [each for each in served.events() if each["event"] == "request"]) < 4:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert [each["status"] for each in told] == [200, 200, 200, late.status]
        assert TEXT not in served.log.read_text()


def exchange(port: int, content: bytes, seconds: float = 5.0) -> bytes:
    """All that comes back for raw bytes, until the connection is closed or nothing comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(content)
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
        except TimeoutError:
            pass
    return received


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"GET /v2/health/live HTTP/1.1\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\n" + b"a: b\r\n" * 2_000 + b"\r\n",
        b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\nrubbish\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_the_next_is_served(served: Served, content: bytes) -> None:
    answer = exchange(served.port, content, 2.0)
    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/")]
    # Of the last one the first request is whole.
    assert {status[:1] for status in statuses} <= {b"4", b"2"}
    assert not statuses or statuses[-1][:1] == b"4" or b"rubbish" in content
    assert served.predict(text=TEXT).status == 200


def test_http_1_0_and_pipelining(served: Served) -> None:
    assert b"200 OK" in exchange(served.port, b"GET /v2/health/live HTTP/1.0\r\n\r\n")
    one = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert exchange(served.port, one * 3 + last).count(b"200 OK") == 4


def test_who_expects_to_be_told_to_go_on_is_told_or_refused(served: Served) -> None:
    body = json.dumps({"text": TEXT}).encode()
    head = (
        "{} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    expecting = f"{head}content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(expecting.format("POST /predict").encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(body)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert b" 200 OK" in received and b'"place"' in received
    # What is not read need not be sent.
    told = exchange(served.port, expecting.format("POST /nothing").encode(), 5.0)
    assert told.startswith(b"HTTP/1.1 404") and b"100" not in told.split(b"\r\n")[0]


def test_slow_headers_and_bodies_are_cut(tmp_path: Path, artifact: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("limits: {header_seconds: 0.5, body_seconds: 0.5}\n")
    with serving(tmp_path / "served", str(artifact), "--config", str(config)) as served:
        began = time.monotonic()
        assert exchange(served.port, b"GET / HTTP/1.1\r\nhost:", 10.0)[:12] in (
            b"",
            b"HTTP/1.1 408",
        )
        assert exchange(served.port, b"", 10.0) == b""
        head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{"
        assert b" 408 " in exchange(served.port, head, 10.0)
        chunked = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
        assert b" 408 " in exchange(served.port, chunked, 10.0)
        assert time.monotonic() - began < 15
        assert served.predict(text=TEXT).status == 200


def test_the_queue_is_bounded_and_deadlines_are_kept(tmp_path: Path, artifact: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("limits: {queue: 3}\n")
    slow = {"TABLE_SECONDS": "0.2"}
    arguments = (str(artifact), "--config", str(config))
    with serving(tmp_path / "served", *arguments, environment=slow) as served:
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(served.predict, text=TEXT) for _ in range(12)]
            replies = [each.result() for each in asked]
        statuses = [each.status for each in replies]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 4
        refused = next(each for each in replies if each.status == 429)
        assert int(refused.headers["retry-after"]) >= 1
        # A full queue is known when the headers are there: no body is waited for.
        head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20\r\n\r\n"
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(served.predict, text=TEXT) for _ in range(8)]
            time.sleep(0.1)
            assert exchange(served.port, head, 0.5).startswith(b"HTTP/1.1 429")
            assert {each.result().status for each in asked} == {200, 429}
        # While one computes, health is told, and a request that may not wait is refused in time.
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(served.predict, text=TEXT)
            time.sleep(0.05)
            began = time.monotonic()
            late = served.ask("POST", "/predict", {"text": TEXT}, x_request_timeout="0.05")
            assert late.status == 504 and time.monotonic() - began < 0.5
            assert first.result().status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_loses_no_request(tmp_path: Path, artifact: Path, workers: int) -> None:
    arguments = (str(artifact), "--workers", str(workers))
    slow = {"TABLE_SECONDS": "0.01"}
    with serving(tmp_path / "served", *arguments, environment=slow) as served:
        lost: list[str] = []
        replies: list[Reply] = []

        def ask_until_nobody_listens() -> None:
            while True:
                try:
                    replies.append(served.predict(text=TEXT))
                except ConnectionRefusedError:
                    return
                except TimeoutError:
                    return
                except OSError as error:
                    lost.append(repr(error))
                    return

        threads = [threading.Thread(target=ask_until_nobody_listens) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert served.stop() == 0
        for thread in threads:
            thread.join(30)
        assert not lost
        assert len(replies) > 20 and {each.status for each in replies} == {200}


def test_a_killed_worker_is_replaced_and_its_counts_stay(tmp_path: Path, artifact: Path) -> None:
    with serving(tmp_path / "served", f"towns={artifact}", "--workers", "2") as served:
        for _ in range(10):
            assert served.predict(text=TEXT).status == 200
        victim = served.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + 10
        while len(set(served.workers()) - {victim}) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert served.event("worker died")["status"] == -9
        for _ in range(10):
            assert served.predict(text=TEXT).status == 200
        figures = served.ask("GET", "/metrics").body.decode()
        (line,) = (each for each in figures.splitlines() if each.startswith("limbeck_rows_total"))
        assert float(line.split()[-1]) == 20


def test_a_worker_that_is_stopped_is_not_ready(tmp_path: Path, artifact: Path) -> None:
    def ready(served: Served) -> int:
        try:
            return int(served.ask("GET", "/status.json").json["workers"]["ready"])
        except TimeoutError:
            # The worker that is stopped had taken the connection.
            return -1

    def becomes(served: Served, count: int) -> None:
        until = time.monotonic() + 60
        while ready(served) != count:
            assert time.monotonic() < until
            time.sleep(0.1)

    with serving(tmp_path / "served", str(artifact), "--workers", "2") as served:
        becomes(served, 2)
        victim = served.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        try:
            becomes(served, 1)
            figures = served.ask("GET", "/metrics").body.decode()
            assert "limbeck_ready_workers 1.0" in figures
        finally:
            os.kill(victim, signal.SIGCONT)
        becomes(served, 2)


def test_tokens_let_in_and_are_revoked(tmp_path: Path, artifact: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("shop aaaaaaaaaaaaaaaaaaaaaaaa\nops bbbbbbbbbbbbbbbbbbbbbbbb admin\n")
    config = tmp_path / "serve.yaml"
    config.write_text("limits: {rate: 1, burst: 3}\n")
    arguments = (f"towns={artifact}", "--tokens", str(tokens), "--config", str(config))
    with serving(tmp_path / "served", *arguments) as served:

        def ask(token: str) -> Reply:
            return served.ask(
                "POST", "/predict", {"text": TEXT}, authorization=f"Bearer {token * 24}"
            )

        assert served.predict(text=TEXT).status == 401
        assert served.predict(text=TEXT).headers["www-authenticate"] == "Bearer"
        assert ask("c").status == 401
        assert served.ask("GET", "/v2/health/ready").status == 200
        assert served.ask("GET", "/metrics").status == 401
        assert [ask("a").status for _ in range(4)] == [200, 200, 200, 429]
        assert ask("b").status == 200
        tokens.write_text("ops bbbbbbbbbbbbbbbbbbbbbbbb admin\n")
        served.process.send_signal(signal.SIGHUP)
        served.event("reloaded")
        assert ask("a").status == 401
        assert ask("b").status == 200


def test_an_artifact_is_changed_rolled_back_and_a_bad_one_refused(
    tmp_path: Path, artifact: Path
) -> None:
    other = write_artifact(tmp_path / "other", 2.0)
    broken = shutil.copytree(other, tmp_path / "broken")
    (broken / "model.npy").write_bytes(b"nothing")
    deadly = write_artifact(tmp_path / "deadly", 30.0)
    tokens = tmp_path / "tokens"
    tokens.write_text("ops bbbbbbbbbbbbbbbbbbbbbbbb admin\n")
    arguments = (f"towns={artifact}", "--tokens", str(tokens), "--workers", "2")
    dies = {"TABLE_DIES": "1"}
    with serving(tmp_path / "served", *arguments, environment=dies) as served:
        key = {"authorization": "Bearer bbbbbbbbbbbbbbbbbbbbbbbb"}

        def sure() -> list[float]:
            asked = [served.ask("POST", "/predict", {"text": TEXT}, **key) for _ in range(8)]
            (found,) = {each.json["probability"] for each in asked}
            return [found]

        def put(folder: Path) -> Reply:
            return served.ask("PUT", "/admin/models/towns", {"artifact": str(folder)}, **key)

        first = sure()
        assert first == pytest.approx([probability()], abs=1e-6)
        assert put(other).status == 200
        assert sure() == pytest.approx([probability(2.0)], abs=1e-6)
        for bad in (broken, deadly, tmp_path / "nothing"):
            reply = put(bad)
            assert reply.status == 422 and str(tmp_path) not in reply.json["error"]
            assert sure() == pytest.approx([probability(2.0)], abs=1e-6)
        # What happens to the folders reaches nobody, not even a worker that is started anew.
        shutil.rmtree(other)
        os.kill(served.workers()[0], signal.SIGKILL)
        time.sleep(1.5)
        assert sure() == pytest.approx([probability(2.0)], abs=1e-6)
        assert served.ask("POST", "/admin/models/towns/rollback", **key).status == 200
        assert sure() == first
        told = served.ask("GET", "/admin/models", **key).json["models"]["towns"]
        assert told["live"] != told["previous"]


@pytest.mark.parametrize(("times", "action"), [(1.5, "promote"), (-1.0, "drop")])
def test_a_candidate_is_scored_in_the_shadow_and_judged(
    tmp_path: Path, artifact: Path, times: float, action: str
) -> None:
    other = write_artifact(tmp_path / "other", times)
    config = tmp_path / "serve.yaml"
    bounds = "{rows: 20, agreement: 0.9, slowdown: 50, promote: true}"
    config.write_text(
        f"models:\n  towns:\n    folder: {artifact}\n"
        f"    candidate: {{folder: {other}, share: shadow, bounds: {bounds}}}\n"
    )
    with serving(tmp_path / "served", "--config", str(config), "--workers", "2") as served:
        live = served.predict(text=TEXT).json["version"]
        for _ in range(40):
            answer = served.predict(text=TEXT).json
            time.sleep(0.01)
        told = served.event(f"candidate: {action}")
        time.sleep(0.5)
        answer = served.predict(text=TEXT).json
        expected = probability(times) if action == "promote" else probability()
        assert answer["probability"] == pytest.approx(expected, abs=1e-6)
        assert (answer["version"] == told["version"]) == (action == "promote")
        plan = served.ask("GET", "/status.json").json["models"]["towns"]
        assert "candidate" not in plan and plan["ended"].startswith(f"{action}: {told['version']}")
        assert (answer["version"] == live) == (action == "drop")
        figures = served.ask("GET", "/metrics").body.decode()
        outcome = "same" if action == "promote" else "other"
        assert f'limbeck_candidate_rows_total{{model="towns",outcome="{outcome}"' in figures
        # Who reads the settings anew, for a token perhaps, undoes no decision.
        served.process.send_signal(signal.SIGHUP)
        told = served.event("settings read anew")
        assert (told["changed"], told["decided_since"]) == ([], ["towns"])
        assert served.predict(text=TEXT).json["version"] == answer["version"]


def test_what_a_candidate_was_seen_to_do_lasts(tmp_path: Path, artifact: Path) -> None:
    candidate = write_artifact(tmp_path / "candidate", 1.5)
    other = write_artifact(tmp_path / "other", 2.5)
    tokens = tmp_path / "tokens"
    tokens.write_text("ops 0123456789abcdef0123 admin\n")
    key = {"authorization": "Bearer 0123456789abcdef0123"}
    config = tmp_path / "serve.yaml"

    def settings(bounds: int) -> None:
        config.write_text(
            f"models:\n  towns:\n    folder: {artifact}\n    candidate: "
            f"{{folder: {candidate}, share: shadow, bounds: {{rows: {bounds}}}}}\n"
            f"  first: {{folder: {artifact}}}\ntokens: {tokens}\nworkers: 2\n"
        )

    def rows(served: Served) -> int:
        plan = served.ask("GET", "/admin/models", **key)
        return int(plan.json["models"]["towns"]["seen"]["rows"])

    def has_seen(served: Served, count: int) -> None:
        until = time.monotonic() + 10
        while rows(served) != count:
            assert time.monotonic() < until, (rows(served), count)
            time.sleep(0.05)

    def ask(served: Served) -> None:
        for _ in range(10):
            assert served.ask("POST", "/predict/towns", {"text": TEXT}, **key).status == 200
            time.sleep(0.01)

    settings(1000)
    with serving(tmp_path / "served", "--config", str(config)) as served:
        ask(served)
        has_seen(served, 10)
        # 1. A worker dies.
        victims = served.workers()
        os.kill(victims[0], signal.SIGKILL)
        until = time.monotonic() + 10
        while len(set(served.workers()) - {victims[0]}) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1.0)
        ask(served)
        has_seen(served, 20)
        # 2. Settings are read anew, with other bounds.
        settings(2000)
        served.process.send_signal(signal.SIGHUP)
        assert served.event("settings read anew")["changed"] == ["towns"]
        ask(served)
        has_seen(served, 30)
        # 3. Another model is changed.
        told = served.ask("PUT", "/admin/models/first", {"artifact": str(other)}, **key)
        assert told.status == 200
        ask(served)
        has_seen(served, 40)
        # Another candidate begins anew, and so does the first one after it.
        for folder in (other, candidate):
            asked = {"candidate": str(folder)}
            assert served.ask("PUT", "/admin/models/towns", asked, **key).status == 200
            assert rows(served) == 0
        ask(served)
        has_seen(served, 10)


def test_what_undoes_a_promotion_is_told(tmp_path: Path, artifact: Path) -> None:
    other = write_artifact(tmp_path / "other", 1.5)
    tokens = tmp_path / "tokens"
    tokens.write_text("ops 0123456789abcdef0123 admin\n")
    key = {"authorization": "Bearer 0123456789abcdef0123"}
    config = tmp_path / "serve.yaml"
    told = (
        f"tokens: {tokens}\nmodels:\n  towns:\n    folder: {artifact}\n    candidate: "
        f"{{folder: {other}, bounds: {{rows: ROWS}}}}\n"
    )
    config.write_text(told.replace("ROWS", "100"))
    with serving(tmp_path / "served", "--config", str(config)) as served:

        def undone() -> int:
            return [each["event"] for each in served.events()].count("a decision is undone")

        promoted = served.ask("POST", "/admin/models/towns/promote", **key).json
        assert "warning" not in promoted and not undone()
        put = served.ask("PUT", "/admin/models/towns", {"artifact": str(artifact)}, **key).json
        assert f"{promoted['live']} took its place: that is undone" in put["warning"]
        assert undone() == 1
        again = served.ask("POST", "/admin/models/towns/rollback", **key).json
        assert again["live"] == promoted["live"] and "warning" not in again
        # Of the settings other bounds alone are meant, and the live version goes with them.
        config.write_text(told.replace("ROWS", "200"))
        served.process.send_signal(signal.SIGHUP)
        served.event("settings read anew")
        assert undone() == 2


def test_a_share_of_the_ids_meets_the_candidate(tmp_path: Path, artifact: Path) -> None:
    other = write_artifact(tmp_path / "other", 1.5)
    with serving(tmp_path / "served", f"towns={artifact},{other}:30%") as served:
        versions: dict[str, set[str]] = {}
        for number in range(200):
            identity = str(number % 100)
            answer = served.ask("POST", "/predict", {"text": TEXT}, x_request_id=identity).json
            versions.setdefault(identity, set()).add(answer["version"])
        # The same id always meets the same version.
        assert {len(each) for each in versions.values()} == {1}
        counts = [next(iter(each)) for each in versions.values()]
        share = min(counts.count(version) for version in set(counts)) / 100
        assert 0.15 < share < 0.45


def test_it_starts_with_no_artifact_that_is_none(tmp_path: Path, artifact: Path) -> None:
    import subprocess
    import sys

    def refused(*arguments: str) -> str:
        command = [sys.executable, "-m", "limbeck", "serve", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        return done.stderr

    assert "no artifact" in refused(str(tmp_path), "--port", "0")
    assert "--tokens" in refused(str(artifact), "--host", "0.0.0.0")
    (artifact / "labels.json").write_text("[]")
    assert "labels.json" in refused(str(artifact), "--port", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fine = write_artifact(tmp_path / "fine")
        told = refused(str(fine), "--port", str(taken.getsockname()[1]))
        assert "it is in use already, by another server perhaps. Name another port" in told
        assert "Errno" not in told
    told = refused(str(tmp_path / "fien"), "--port", "0")
    assert f"there is no such folder. Did you mean `{tmp_path / 'fine'}`?" in told
    told = refused(str(tmp_path / "nowhere" / "artifact"), "--port", "0")
    assert "there is no such folder. Name the folder of an artifact" in told


def test_a_request_is_a_span_of_its_trace(tmp_path: Path, artifact: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    sent: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sent.append(gzip.decompress(body) if self.headers["content-encoding"] else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        config = tmp_path / "serve.yaml"
        config.write_text(f"tracing: http://127.0.0.1:{collector.server_port}\n")
        with serving(tmp_path / "served", f"towns={artifact}", "--config", str(config)) as served:
            trace = "0af7651916cd43dd8448eb211c80319c"
            parent = f"00-{trace}-b7ad6b7169203331-01"
            assert served.ask("POST", "/predict", {"text": TEXT}, traceparent=parent).status == 200
            assert served.ask("GET", "/nothing").status == 404
            # What has not been sent goes at the end.
            assert served.stop() == 0
        collector.shutdown()
        thread.join()
    spans = []
    for body in sent:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    first, second = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert (first.name, first.trace_id.hex()) == ("POST /predict", trace)
    assert first.parent_span_id.hex() == "b7ad6b7169203331"
    assert not second.parent_span_id
    told = {each.key: each.value.string_value or each.value.int_value for each in first.attributes}
    assert told["limbeck.model"] == "towns" and told["http.response.status_code"] == 200
    assert TEXT not in str(first)
