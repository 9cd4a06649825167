"""A small artifact whose graph is a table of numbers, and a server of it in processes of its own."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign_runtime
import numpy as np
import pytest
from task_examples import tokenizer_text
from tokenizers import Tokenizer

import limbeck
from limbeck.artifact import manifest
from limbeck.artifact.proof import golden
from limbeck.core.files import write_json
from limbeck.evaluation.drift import reference
from limbeck.evaluation.drift.observing import observed
from limbeck.tasks.text_classification import TextClassification

LABELS = ["place", "person"]
# The logits of a text are the sums of its tokens' rows: ids as in task_examples.VOCABULARY.
ROWS = {"New": (3.0, 0.0), "York": (2.0, 0.0), "Ada": (0.0, 4.0), "lives": (0.5, 0.25)}
TEXT = "Ada lives in New York"  # 5.5 for a place, 4.25 for a person

RUNTIME = '''"""Sums of table rows, after as many seconds as the environment says, once the file that it names is there."""

import os
import time

import numpy as np


class Table:
    """Opens `.npy` files."""

    needs = {"numpy": "pip install numpy"}
    allowed_flips = 0.001

    def open(self, path, threads):
        table = np.load(path)
        seconds = float(os.environ.get("TABLE_SECONDS", "0"))
        once = os.environ.get("TABLE_SLOW_ONCE", "/")

        def run(inputs):
            if os.path.exists(once):
                time.sleep(seconds)
            if os.environ.get("TABLE_DIES") and table.max() > 50:
                os._exit(9)
            mask = inputs["attention_mask"][..., None]
            return (table[inputs["input_ids"]] * mask).sum(1).astype(np.float32)

        return run
'''


def install_runtime(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the runtime, for this process and for those that it starts."""
    foreign_runtime.install(site, monkeypatch, name="table", target="Table", source=RUNTIME)


def write_artifact(
    folder: Path, times: float = 1.0, validation: Sequence[str] = (), preprocess: str = ""
) -> Path:
    """An artifact whose logits are so many times those of `ROWS`. validation: texts whose answers its
    reference.json counts; none without them. preprocess: another tokenizer."""
    folder.mkdir(parents=True)
    preprocess = preprocess or tokenizer_text()
    tokenizer = Tokenizer.from_str(preprocess)
    table = np.zeros((tokenizer.get_vocab_size(), len(LABELS)))
    for word, logits in ROWS.items():
        if tokenizer.token_to_id(word) is not None:
            table[tokenizer.token_to_id(word)] = logits
    write_json(folder / "labels.json", LABELS)
    (folder / "tokenizer.json").write_text(preprocess, encoding="utf-8")
    np.save(folder / "model.npy", times * table)
    encoded = TextClassification(LABELS, preprocess).encode([{"text": TEXT}])[0]
    example = {name: value[None] for name, value in encoded.inputs.items()}
    files = {"table": "model.npy"}
    golden.write(example, files, folder)
    manifest.write(folder, "text-classification", manifest.graphs_of(files))
    if validation:
        model = limbeck.load(folder)
        rows = [model.row(text) for text in validation]
        answers = [model.answer(row, model.logits(row)) for row in rows]
        found = [
            observed(row, model.encoded(row), answer)
            for row, answer in zip(rows, answers, strict=True)
        ]
        write_json(folder / reference.FILE, reference.reference_of(found, LABELS).to_json())
        manifest.write_again(folder)
    return folder


def probability(times: float = 1.0) -> float:
    """Of the label `place` for `TEXT`."""
    return float(1 / (1 + np.exp(-times * 1.25)))


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server under test."""

    process: subprocess.Popen
    port: int
    log: Path

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request by a connection of its own; `x_y` is the header `x-y`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if isinstance(body, dict | list):
                body = json.dumps(body)
                sent.setdefault("content-type", "application/json")
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())

    def predict(self, **row: Any) -> Reply:
        return self.ask("POST", "/predict", row)

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def event(self, name: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait for an event."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for each in self.events():
                if each["event"] == name:
                    return each
            time.sleep(0.02)
        raise AssertionError(f"no event {name!r}:\n{self.log.read_text()}")

    def workers(self) -> list[int]:
        """The processes that answer."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split()]

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def serving(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "limbeck", "serve"),
) -> Iterator[Served]:
    """`limbeck serve ARGUMENTS` on a free port, ready; its log lies in `folder`."""
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*command, "--port", "0", *arguments],
            stdout=file,
            stderr=file,
            env=os.environ | (environment or {}),
        )
    served = Served(process, 0, log)
    try:
        address = served.event("ready")["address"]
        served.port = int(address.rpartition(":")[2])
        yield served
    finally:
        process.kill()
        process.wait()
