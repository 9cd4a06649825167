"""The same artifact behind other servers: requests a second, and what a request costs them.

    python benchmarks/serving_peers.py ARTIFACT ROWS PYTHON

PYTHON is that of an environment of its own with `litserve`, `bentoml` and limbeck's base install, since they pin versions of their own.
Each server runs one process of the model, which calls `limbeck.load(ARTIFACT).predict`, and answers the rows of `benchmarks/serving.py`;
limbeck's own runs in this environment. All of a server's processes are counted, and the rounds alternate.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from serving import TICK, ask_for, interval, serving

LITSERVE = """
import sys
import limbeck, litserve

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = limbeck.load(sys.argv[1])

    def decode_request(self, request):
        return request

    def predict(self, row):
        return self.model.predict(row)

    def encode_response(self, answer):
        return answer

if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/predict"), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", log_level="error", generate_client_file=False)
"""
BENTOML = """
import os
import bentoml, limbeck

@bentoml.service(workers=1, traffic={"timeout": 30})
class Model:
    def __init__(self):
        self.model = limbeck.load(os.environ["ARTIFACT"])

    @bentoml.api(route="/predict")
    def predict(self, text: str) -> dict:
        return self.model.predict({"text": text})
"""
SECONDS = 5.0
ROUNDS = 5


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def cpu_seconds(session: int) -> float:
    """Of all processes of a session, and of those that they have waited for."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                total += sum(int(each) for each in fields[11:15])
    return total / TICK


@contextlib.contextmanager
def peer(name: str, python: str, artifact: str, rows: str) -> Iterator[tuple[int, int]]:
    """(port, session) of one of the others, ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / f"{name}_server.py"
        script.write_text(LITSERVE if name == "litserve" else BENTOML)
        command = [python, str(script), artifact, str(port)]
        if name == "bentoml":
            command = [
                python,
                "-m",
                "bentoml",
                "serve",
                f"{script.stem}:Model",
                "--port",
                str(port),
            ]
        environment = os.environ | {"ARTIFACT": artifact, "BENTOML_DO_NOT_TRACK": "True"}
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 90
            while not ask_for(port, rows, 0.2, 1).answered:
                if time.monotonic() > until:
                    raise SystemExit(f"{name} does not answer")
                time.sleep(0.5)
            yield port, process.pid
        finally:
            # BentoML's processes lead groups of their own.
            for path in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    pid, _, rest = path.read_text().partition(" ")
                    if int(rest.rpartition(")")[2].split()[3]) == process.pid:
                        os.kill(int(pid), signal.SIGKILL)
            process.wait()


def main() -> None:
    artifact, rows, python = sys.argv[1:]
    artifact = str(Path(artifact).resolve())
    with (
        serving(artifact) as own,
        peer("litserve", python, artifact, rows) as litserve,
        peer("bentoml", python, artifact, rows) as bentoml,
    ):
        ports = {"limbeck": own.port, "litserve": litserve[0], "bentoml": bentoml[0]}
        clocks = {
            "limbeck": own.cpu_seconds,
            "litserve": lambda: cpu_seconds(litserve[1]),
            "bentoml": lambda: cpu_seconds(bentoml[1]),
        }
        rates: dict[str, list[float]] = {name: [] for name in ports}
        costs: dict[str, list[float]] = {name: [] for name in ports}
        for number in range(ROUNDS):
            for name, port in ports.items():
                before = clocks[name]()
                load = ask_for(port, rows, SECONDS, 8)
                assert load.statuses.keys() == {"200"}, (name, load.statuses)
                rates[name].append(load.answered / SECONDS)
                costs[name].append((clocks[name]() - before) / load.answered)
            print(f"round {number}", {name: round(each[-1]) for name, each in rates.items()})
    for name in ports:
        cost = 1e6 * float(np.median(costs[name]))
        print(f"{name}: {np.median(rates[name]):.0f} a second, {cost:.0f} us of CPU a request")
        if name != "limbeck":
            ratios = [
                mine / theirs for mine, theirs in zip(rates["limbeck"], rates[name], strict=True)
            ]
            print(f"  limbeck answers {interval(ratios)} times as many")


if __name__ == "__main__":
    main()
