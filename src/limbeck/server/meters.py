"""What the server counts, as Prometheus reads it: summed over workers, living and dead.

By prometheus-client's files, one for each worker's process, in the server's folder. Labels are
models, versions and statuses: nothing that who asks can choose, so that nobody can fill memory.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from limbeck.server.processes.board import READY, WAITING, Board

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# (model, version, what `drifting` wrote of it) of each model.
Seen = Callable[[], Iterable[tuple[str, str, dict[str, Any]]]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meters:
    """The meters of one worker.

    Args:
        folder: of all workers' files.
        board: what waits, in all of them.
    """

    def __init__(self, folder: Path, board: Board) -> None:
        folder.mkdir(exist_ok=True)
        # prometheus-client reads it when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.folder = folder
        self.board = board
        # Of the models that answer, which whoever opens them says.
        self.drifts: Seen = list
        # A registry of its own: no figures of Python's garbage collector among ours.
        own = CollectorRegistry()
        self.requests = Counter(
            "limbeck_requests", "Answered requests.", ["model", "version", "status"], registry=own
        )
        self.seconds = Histogram(
            "limbeck_request_seconds",
            "From a request's headers to its answer.",
            ["model"],
            buckets=SECONDS,
            registry=own,
        )
        self.rows = Counter("limbeck_rows", "Answered rows.", ["model", "version"], registry=own)
        self.abstained = Counter(
            "limbeck_abstained_rows", "Rows left to others.", ["model", "version"], registry=own
        )
        self.shadowed = Counter(
            "limbeck_candidate_rows",
            "Rows that a candidate was scored on beside the live model: same, other, failed.",
            ["model", "version", "outcome"],
            registry=own,
        )
        # Looked up by labels, a meter takes 2 microseconds.
        self.known: dict[tuple[str, ...], Any] = {}

    def count(self, model: str, version: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (model, version, str(status))
        meters = self.known.get(key)
        if meters is None:
            meters = (self.requests.labels(*key), self.seconds.labels(model))
            self.known[key] = meters
        meters[0].inc()
        meters[1].observe(seconds)

    def count_rows(self, model: str, version: str, rows: int, abstained: int) -> None:
        """So many rows were answered, and so many of them left to others."""
        key = (model, version)
        meters = self.known.get(key)
        if meters is None:
            meters = (self.rows.labels(*key), self.abstained.labels(*key))
            self.known[key] = meters
        meters[0].inc(rows)
        # Of an artifact that never abstains no second figure is written.
        if abstained:
            meters[1].inc(abstained)

    def text(self) -> bytes:
        """All of it, summed over the workers."""
        from prometheus_client import generate_latest

        content: bytes = generate_latest(self.summed())
        return content

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """(name, labels, value) of every figure, summed over the workers."""
        for metric in self.summed().collect():
            for sample in metric.samples:
                yield sample.name, sample.labels, sample.value

    def summed(self) -> Any:
        """A registry of what all workers have counted until now."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        # Made anew: it reads the files of all workers at this moment.
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.folder))
        registry.register(Now(self.board))
        registry.register(Drifts(self.drifts))
        return registry


class Drifts:
    """What was seen of each model's requests, as a collector of prometheus-client.

    Args:
        seen: gives what was seen of each model that answers.
    """

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def collect(self) -> Iterator[Any]:
        """The gauges."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["model", "version", "statistic", "against", "window"]
        index = GaugeMetricFamily(
            "limbeck_drift_index", "Population stability index of the last window.", labels=labels
        )
        limit = GaugeMetricFamily(
            "limbeck_drift_limit", "What it stays under where nothing has changed.", labels=labels
        )
        alarms = CounterMetricFamily(
            "limbeck_drift_alarms", "How often requests became unlike.", labels=labels[:2]
        )
        for model, version, told in self.seen():
            alarms.add_metric([model, version], told.get("alarms", 0))
            for chart in told.get("charts", []):
                own = [model, version, chart["statistic"], chart["against"], str(chart["window"])]
                index.add_metric(own, chart["values"][-1])
                if chart["threshold"] is not None:
                    limit.add_metric(own, chart["threshold"])
        yield from (index, limit, alarms)


class Now:
    """What the board says at this moment, as a collector of prometheus-client."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def collect(self) -> Iterator[Any]:
        """The gauges."""
        from prometheus_client.core import GaugeMetricFamily

        # Summed here, not by files: they are of this moment, and a dead worker has none.
        waiting, ready = self.board.total(WAITING), self.board.total(READY)
        yield GaugeMetricFamily("limbeck_waiting_requests", "That wait for an answer.", waiting)
        yield GaugeMetricFamily("limbeck_ready_workers", "Workers that answer.", ready)
