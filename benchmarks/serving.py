"""What `limbeck serve` costs and withstands, each part by itself:

    python benchmarks/serving.py cpu ARTIFACT ROWS          CPU of a request over that of the same call in a loop
    python benchmarks/serving.py rate ARTIFACT ROWS         requests a second, and p50, p99 at 70 % of that
    python benchmarks/serving.py overload ARTIFACT ROWS     five times as many requests as it can answer
    python benchmarks/serving.py slow ARTIFACT ROWS         a thousand sockets slow with headers and with bodies
    python benchmarks/serving.py restarts ARTIFACT ROWS     SIGTERM, and reloads, under load
    python benchmarks/serving.py killed ARTIFACT ROWS       kill -9 of a worker under load
    python benchmarks/serving.py replicas ARTIFACT ROWS     two servers behind nginx, one of which is killed
    python benchmarks/serving.py start ARTIFACT ROWS        from the command to the first answer, and memory

ROWS is a file of JSON lines, each a row as POST /predict takes it, asked in its order. The client is a process of its own, and only
the processor time of the server's workers is counted. Ratios come from rounds that alternate, with a bootstrap over rounds.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TICK = os.sysconf("SC_CLK_TCK")
# Connections that never leave a worker without work.
BUSY = 8
HEAD = "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\r\n"


@dataclass
class Server:
    """A server under test."""

    process: subprocess.Popen
    port: int = 0
    ready_seconds: float = 0.0

    def workers(self) -> list[int]:
        """The processes that answer."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(each) for each in text.split()]

    def cpu_seconds(self) -> float:
        """Of all workers so far, in user and system."""
        total = 0
        for pid in self.workers():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory_mb(self) -> float:
        """Resident, of workers and supervisor; pages that they share count once."""
        total = 0
        for pid in [self.process.pid, *self.workers()]:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total / 1024


@contextlib.contextmanager
def serving(artifact: str, *options: str, port: int = 0) -> Iterator[Server]:
    """`limbeck serve`, ready."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "limbeck", "serve", artifact, "--port", str(port), *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    server = Server(process)
    assert process.stderr is not None
    for line in process.stderr:
        if '"ready"' in line:
            server.port = int(json.loads(line)["address"].rpartition(":")[2])
            break
    server.ready_seconds = time.perf_counter() - began
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
        drain.wait()


@dataclass
class Load:
    """What a client saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """With an answer of the model."""
        return self.statuses["200"]


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, more: str = ""
) -> tuple[str, bool]:
    """(status, whether the server closes the connection) of one request."""
    writer.write(HEAD.format(len(body), more).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return head.split()[1], "connection: close" in head


async def keep_asking(
    port: int, bodies: list[bytes], load: Load, until: float, gap: float = 0.0, more: str = ""
) -> None:
    """Requests by one connection, one after another; a connection that is closed is made anew.

    gap: seconds between beginnings on the average, drawn; 0 sends the next as soon as there is an answer.
    """
    chance = random.Random(id(load) + hash(asyncio.current_task()))
    writer: asyncio.StreamWriter | None = None
    number = chance.randrange(len(bodies))
    due = time.perf_counter() + chance.uniform(0, gap)
    while time.perf_counter() < until:
        if gap:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += chance.expovariate(1 / gap)
        number = (number + 1) % len(bodies)
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status, is_closed = await ask(reader, writer, bodies[number], more)
        except ConnectionRefusedError:
            status, is_closed = "refused", True
            await asyncio.sleep(0.02)
        except (OSError, asyncio.IncompleteReadError) as error:
            status, is_closed = f"lost: {type(error).__name__}", True
        load.statuses[status] += 1
        load.seconds.append(time.perf_counter() - began)
        if is_closed and writer is not None:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def crowd(
    port: int, bodies: list[bytes], seconds: float, connections: int, gap: float = 0.0
) -> Load:
    """So many connections for so long."""
    load = Load()
    until = time.perf_counter() + seconds
    await asyncio.gather(*(keep_asking(port, bodies, load, until, gap) for _ in range(connections)))
    return load


def ask_for(port: int, rows: str, seconds: float, connections: int, gap: float = 0.0) -> Load:
    """`crowd`, in a process of its own."""
    words = [
        sys.executable,
        __file__,
        "client",
        rows,
        str(port),
        str(seconds),
        str(connections),
        str(gap),
    ]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return Load(Counter(told["statuses"]), told["seconds"])


def client(rows: str, port: int, seconds: float, connections: int, gap: float) -> None:
    """What a process of `ask_for` does."""
    load = asyncio.run(crowd(port, bodies_of(rows), seconds, connections, gap))
    print(json.dumps({"statuses": load.statuses, "seconds": load.seconds}))


def bodies_of(rows: str) -> list[bytes]:
    """The bodies of requests."""
    return [line.encode() for line in Path(rows).read_text().splitlines() if line]


def loop(artifact: str, rows: str, seconds: float) -> None:
    """What a process does that calls the artifact in a loop: processor seconds a call."""
    import limbeck

    predictor = limbeck.load(artifact)
    inputs = [json.loads(body) for body in bodies_of(rows)]
    for each in inputs[:50]:
        predictor.predict(each)
    began, until, calls = cpu_of_process(), time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        predictor.predict(inputs[calls % len(inputs)])
        calls += 1
    print(json.dumps({"seconds": (cpu_of_process() - began) / calls}))


def cpu_of_process() -> float:
    """User and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def interval(ratios: list[float]) -> str:
    """The median of rounds with its 95 % bootstrap interval."""
    chance = np.random.default_rng(0)
    drawn = chance.choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, 1), [0.025, 0.975])
    return f"{np.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


def cpu(artifact: str, rows: str, rounds: int = 10, seconds: float = 3.0) -> None:
    """The server's processor time a request, over that of a call in a loop.

    As busy as the loop is: a processor that sleeps between requests is slow when it wakes, with or without a server (the loop takes
    1.5 to 2.5 times as long where it sleeps .2 to 5 ms between calls).
    """
    found = []
    with serving(artifact) as server:
        ask_for(server.port, rows, 1.0, BUSY)
        for number in range(rounds):
            words = [sys.executable, __file__, "loop", artifact, rows, str(seconds)]
            alone = json.loads(
                subprocess.run(words, capture_output=True, text=True, check=True).stdout
            )
            before = server.cpu_seconds()
            load = ask_for(server.port, rows, seconds, BUSY)
            served = (server.cpu_seconds() - before) / load.answered
            found.append(served / alone["seconds"])
            print(
                f"round {number}: loop {1e6 * alone['seconds']:.0f} us, served {1e6 * served:.0f} us"
            )
    print(f"server / loop {interval(found)}")


def peak(server: Server, rows: str, seconds: float = 5.0) -> Load:
    """As fast as answers come."""
    ask_for(server.port, rows, 1.0, BUSY)
    return ask_for(server.port, rows, seconds, BUSY)


def rate(artifact: str, rows: str, workers: int = 1, seconds: float = 10.0) -> None:
    """Requests a second, and how long answers take at 70 % of that."""
    with serving(artifact, "--workers", str(workers)) as server:
        load = peak(server, rows, seconds)
        most = load.answered / seconds
        print(f"{workers} workers: {most:.0f} a second, {dict(load.statuses)}")
        connections = 16
        load = ask_for(server.port, rows, seconds, connections, connections / (0.7 * most))
        p50, p99 = np.quantile(load.seconds, [0.5, 0.99])
        print(
            f"at 70 %: p50 {1e3 * p50:.2f} ms, p99 {1e3 * p99:.2f} ms, {p99 / p50:.2f} times; {dict(load.statuses)}"
        )


def overload(artifact: str, rows: str, seconds: float = 60.0) -> None:
    """Five times as many requests as it answers, and what is left of it then."""
    with serving(artifact) as server:
        most = peak(server, rows).answered / 5.0
        memory = server.memory_mb()
        connections = 400
        load = ask_for(server.port, rows, seconds, connections, connections / (5 * most))
        asked = sum(load.statuses.values()) / seconds
        good = load.answered / seconds
        print(
            f"peak {most:.0f} a second; asked {asked:.0f}, answered {good:.0f} ({good / most:.2f} of the peak)"
        )
        print(f"{dict(load.statuses)}; memory {memory:.0f} MB, then {server.memory_mb():.0f} MB")
        began = time.perf_counter()
        while ask_for(server.port, rows, 0.5, 1).statuses.keys() != {"200"}:
            pass
        print(f"back to answers alone after {time.perf_counter() - began:.1f} s")


async def hold(port: int, count: int, content: bytes, seconds: float) -> int:
    """Sockets that have sent `content` and then a byte a second; how many were cut."""

    async def one() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(content)
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await reader.read(4096)
                        return True
                writer.write(b"a")
        except OSError:
            return True
        writer.close()
        return False

    return sum(await asyncio.gather(*(one() for _ in range(count))))


def slow(artifact: str, rows: str, count: int = 1000, seconds: float = 30.0) -> None:
    """Honest requests beside sockets that are slow with their headers, and with their bodies."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serving(artifact) as server:

        async def scene() -> Load:
            head = b"POST /predict HTTP/1.1\r\nhost: a\r\nx: "
            body = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n{"
            held = [
                asyncio.create_task(hold(server.port, count, each, seconds))
                for each in (head, body)
            ]
            await asyncio.sleep(2)
            load = await crowd(server.port, bodies_of(rows), seconds - 5, 4, 0.05)
            print(f"cut: {[await each for each in held]} of {count} each")
            return load

        load = asyncio.run(scene())
        share = load.answered / sum(load.statuses.values())
        print(
            f"honest requests answered: {share:.4f} of {sum(load.statuses.values())}; {dict(load.statuses)}"
        )


def restarts(artifact: str, rows: str, count: int = 100) -> None:
    """Requests that were lost while the server was stopped and started, and while it reloaded."""
    for what in ("reload", "restart"):
        total: Counter[str] = Counter()
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(serving(artifact, "--workers", "2"))
            port = server.port
            words = [sys.executable, __file__, "client", rows, str(port), "100000", "8", "0.005"]
            for _ in range(count):
                words[5] = "2.5"
                asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
                time.sleep(0.8)
                if what == "reload":
                    server.process.send_signal(signal.SIGHUP)
                else:
                    server.process.send_signal(signal.SIGTERM)
                    server.process.wait()
                    server = stack.enter_context(serving(artifact, "--workers", "2", port=port))
                out, _ = asking.communicate()
                total.update(json.loads(out)["statuses"])
        lost = sum(number for name, number in total.items() if name.startswith("lost"))
        print(f"{count} times {what}: {lost} lost, {dict(total)}")


def killed(artifact: str, rows: str, times: int = 6) -> None:
    """Requests that a worker takes with it, and how long the server then needs.

    With one worker until a new connection is answered, with two until both are ready again.
    """
    for workers in (1, 2):
        lost, answered, took = [], 0, []
        with serving(artifact, "--workers", str(workers)) as server:
            for _ in range(times):
                # Longer than a worker is young: one that dies young is started after a pause.
                seconds, connections, gap = "9", "8", "0.01"
                words = [sys.executable, __file__, "client", rows, str(server.port)]
                words += [seconds, connections, gap]
                asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
                time.sleep(2)
                victim = server.workers()[0]
                os.kill(victim, signal.SIGKILL)
                began = time.perf_counter()
                # Until its place is another's, the board still says that it is ready.
                while (
                    victim in server.workers()
                    or len(server.workers()) < workers
                    or not is_back(server.port, workers)
                ):
                    time.sleep(0.02)
                took.append(time.perf_counter() - began)
                told = json.loads(asking.communicate()[0])["statuses"]
                lost.append(sum(n for name, n in told.items() if name.startswith("lost")))
                answered += told["200"]
                others = told.keys() - {"200"} - {each for each in told if each.startswith("lost")}
                assert not others, told
        print(
            f"{workers} workers, {times} times killed: back after {np.median(took):.2f} s, {max(took):.2f} at most; "
            f"of 8 connections {max(lost)} lost a request at most; {answered} answered"
        )


def is_back(port: int, workers: int) -> bool:
    """Whether a new connection is answered, and so many workers are ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return f"limbeck_ready_workers {workers}.0" in answer.read().decode()
    except OSError:
        return False


PROXY = """
daemon off; error_log /dev/null; pid {folder}/pid; events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream limbeck {{ server 127.0.0.1:{first} fail_timeout=1s; server 127.0.0.1:{second} fail_timeout=1s; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://limbeck; proxy_next_upstream error timeout non_idempotent; }}
  }}
}}
"""


def replicas(artifact: str, rows: str, seconds: float = 10.0) -> None:
    """Requests by a plain proxy to two servers, one of which is killed with all its workers."""
    with (
        serving(artifact) as first,
        serving(artifact) as second,
        tempfile.TemporaryDirectory() as folder,
        socket.socket() as free,
    ):
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = Path(folder) / "nginx.conf"
        settings.write_text(
            PROXY.format(folder=folder, first=first.port, second=second.port, port=port)
        )
        proxy = subprocess.Popen(["nginx", "-c", str(settings)])
        time.sleep(0.5)
        words = [sys.executable, __file__, "client", rows, str(port), str(seconds), "8", "0.02"]
        asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        time.sleep(seconds / 2)
        for pid in [*first.workers(), first.process.pid]:
            os.kill(pid, signal.SIGKILL)
        out, _ = asking.communicate()
        print(f"one of two killed: {json.loads(out)['statuses']}")
        proxy.terminate()
        proxy.wait()


def start(artifact: str, rows: str, times: int = 5) -> None:
    """From the command to the first answer, and what the server then holds in memory."""
    size = sum(path.stat().st_size for path in Path(artifact).rglob("*")) / 1e6
    for _ in range(times):
        began = time.perf_counter()
        with serving(artifact) as server:
            ask_for(server.port, rows, 0.0, 1)
            asyncio.run(crowd(server.port, bodies_of(rows)[:1], 0.05, 1))
            seconds = time.perf_counter() - began
            print(
                f"ready after {server.ready_seconds:.2f} s, answered by {seconds:.2f} s (with the client's start), {server.memory_mb():.0f} MB, artifact {size:.1f} MB"
            )


def main() -> None:
    parts: dict[str, Any] = {
        "cpu": cpu,
        "rate": rate,
        "overload": overload,
        "slow": slow,
        "restarts": restarts,
        "killed": killed,
        "replicas": replicas,
        "start": start,
    }
    if sys.argv[1:2] == ["client"]:
        rows, port, seconds, connections, gap = sys.argv[2:]
        client(rows, int(port), float(seconds), int(connections), float(gap))
        return
    if sys.argv[1:2] == ["loop"]:
        loop(sys.argv[2], sys.argv[3], float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=parts)
    parser.add_argument("artifact")
    parser.add_argument("rows")
    asked = parser.parse_args()
    parts[asked.part](asked.artifact, asked.rows)


if __name__ == "__main__":
    main()
