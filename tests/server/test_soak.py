"""A server under load for ten minutes: neither memory nor open files grow."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from served import TEXT, Served, install_runtime, serving, write_artifact

pytest.importorskip("granian")
pytestmark = pytest.mark.nightly

SECONDS = 600.0
WARM_SECONDS = 60.0


def test_nothing_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_runtime(tmp_path / "site", monkeypatch)
    texts = [TEXT, "Ada", "New York"] * 100
    artifact = write_artifact(tmp_path / "model", 1.0, texts)
    with serving(tmp_path / "served", f"towns={artifact}", "--workers", "2") as served:
        statuses: Counter[int] = Counter()
        until = time.monotonic() + SECONDS
        threads = [
            threading.Thread(target=ask_until, args=(served, until, statuses)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(WARM_SECONDS)
        before = [(memory_mb(pid), open_files(pid)) for pid in served.workers()]
        for thread in threads:
            thread.join()
        after = [(memory_mb(pid), open_files(pid)) for pid in served.workers()]
        assert len(after) == 2
        for (old_mb, old_files), (new_mb, new_files) in zip(before, after, strict=True):
            assert new_mb <= 1.05 * old_mb + 1
            assert new_files <= old_files + 8
        assert sum(statuses.values()) > 5_000
        assert set(statuses) == {200, 400, 404, 413}


def ask_until(served: Served, until: float, statuses: Counter[int]) -> None:
    """Requests of every kind, each by a connection of its own."""
    while time.monotonic() < until:
        for reply in (
            served.predict(text=TEXT),
            served.predict(text=" "),
            served.ask("POST", "/predict", {"inputs": ["a"] * 300}),
            served.ask("GET", "/nothing"),
            served.ask("GET", "/metrics"),
            served.ask("GET", "/status.json"),
        ):
            statuses[reply.status] += 1


def memory_mb(pid: int) -> float:
    """Resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("VmRSS"))
    return int(found.split()[1]) / 1024


def open_files(pid: int) -> int:
    """File descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))
