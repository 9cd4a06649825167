"""What the server counts, as Prometheus reads it: summed over workers, living and dead.

A file of counts for each model and version, with a row for each worker (`processes.counts`); only
who asks for the metrics has them put into Prometheus' words. To add to a count of its own library's
files takes 4 microseconds, and each request adds to five.

Labels are models, versions and statuses: nothing that who asks can choose, so that nobody can fill
memory.

```
FOLDER/MODEL/VERSION
FOLDER/refused         by status, of requests that are refused before a model is known
```
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from limbeck.server.processes.board import WAITING, Board
from limbeck.server.processes.counts import shared_rows, summed_rows

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# What became of a row that a candidate was scored on, beside the live model.
OUTCOMES = ("same", "other", "failed")
# The places in a worker's row: rows, those that were left to others, what candidates said, the
# time of all requests, how many took how long, and how many had which status of HTTP.
ROWS, ABSTAINED, SHADOWED, NANOSECONDS, BUCKETS = 0, 1, 2, 5, 6
STATUSES = BUCKETS + len(SECONDS) + 1
MOST_STATUS = 599
NUM_STATUSES = MOST_STATUS + 1
SIZE = STATUSES + NUM_STATUSES
# No model's name: these are folders.
REFUSED = "refused"
# (model, version, what `drifting` wrote of it) of each model.
Seen = Callable[[], Iterable[tuple[str, str, dict[str, Any]]]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meters:
    """The meters of one worker.

    Args:
        folder: of all workers' files.
        board: which worker this is, of how many, and what waits in all of them.
    """

    def __init__(self, folder: Path, board: Board) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.board = board
        # Of the models that answer, which whoever opens them says.
        self.drifts: Seen = list
        # This worker's counts, by model and version.
        self.known: dict[tuple[str, str], memoryview] = {}
        # By status, of what is refused before a model is known: without a token, at no address.
        self.refused = shared_rows(folder / REFUSED, board.num_workers, NUM_STATUSES)

    def open(self, versions: Iterable[tuple[str, str]]) -> None:
        """Make room for the counts of each (model, version). Raises OSError where there is none.

        Once there is, to count takes nothing of the disk: a request never fails for it.
        """
        for model, version in versions:
            self.own(model, version)

    def own(self, model: str, version: str) -> memoryview:
        """This worker's counts of a version of a model."""
        found = self.known.get((model, version))
        if found is None:
            path = self.folder / model / version
            rows = shared_rows(path, self.board.num_workers, SIZE)
            found = self.known[model, version] = rows[self.board.row].data
        return found

    def count(self, model: str, version: str, status: int, seconds: float) -> None:
        """One request was answered."""
        own = self.own(model, version)
        own[STATUSES + status] += 1
        # The first bound that it does not exceed; behind them one for all that took longer.
        own[BUCKETS + bisect_left(SECONDS, seconds)] += 1
        own[NANOSECONDS] += int(1e9 * seconds)

    def count_refused(self, status: int) -> None:
        """One request was refused before a model was known."""
        self.refused[self.board.row, status] += 1

    def count_rows(self, model: str, version: str, rows: int, abstained: int) -> None:
        """So many rows were answered, and so many of them left to others."""
        own = self.own(model, version)
        own[ROWS] += rows
        own[ABSTAINED] += abstained

    def count_shadowed(self, model: str, version: str, outcome: str) -> None:
        """A candidate was scored on a row; `outcome`: one of `OUTCOMES`."""
        self.own(model, version)[SHADOWED + OUTCOMES.index(outcome)] += 1

    def counts(self) -> Iterator[tuple[str, str, list[int]]]:
        """(model, version, counts) of every version that was ever asked, summed over workers."""
        for path in sorted(self.folder.glob("*/*")):
            yield path.parent.name, path.name, summed_rows(path, SIZE)

    def refusals(self) -> Iterator[tuple[int, int]]:
        """(status, count) of what was refused before a model was known, summed over workers."""
        # From memory: a server whose folder is gone goes on telling them.
        sums = self.refused.sum(0).tolist()
        yield from ((status, count) for status, count in enumerate(sums) if count)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
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

        # One of its own: no figures of Python's garbage collector among ours.
        registry = CollectorRegistry()
        registry.register(Counted(self))
        registry.register(Now(self.board))
        registry.register(Drifts(self.drifts))
        return registry


class Counted:
    """The counts of all workers, as a collector of prometheus-client."""

    def __init__(self, meters: Meters) -> None:
        self.meters = meters

    def collect(self) -> Iterator[Any]:
        """Counters, and a histogram of seconds."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        labels = ["model", "version"]
        requests = CounterMetricFamily(
            "limbeck_requests",
            "Answered requests; without a model those that were refused before one was known.",
            labels=[*labels, "status"],
        )
        rows = CounterMetricFamily("limbeck_rows", "Answered rows.", labels=labels)
        abstained = CounterMetricFamily(
            "limbeck_abstained_rows", "Rows left to others.", labels=labels
        )
        shadowed = CounterMetricFamily(
            "limbeck_candidate_rows",
            "Rows that a candidate was scored on beside the live model: same, other, failed.",
            labels=[*labels, "outcome"],
        )
        # A label without a value is none to Prometheus: these are of no model.
        for status, count in self.meters.refusals():
            requests.add_metric(["", "", str(status)], count)
        times: dict[str, list[Sequence[int]]] = defaultdict(list)
        for model, version, counts in self.meters.counts():
            own = [model, version]
            rows.add_metric(own, counts[ROWS])
            abstained.add_metric(own, counts[ABSTAINED])
            for status, count in enumerate(counts[STATUSES:]):
                # Of most statuses there is none.
                if count:
                    requests.add_metric([*own, str(status)], count)
            for outcome, count in zip(OUTCOMES, counts[SHADOWED:NANOSECONDS], strict=True):
                if count:
                    shadowed.add_metric([*own, outcome], count)
            times[model].append(counts[NANOSECONDS:STATUSES])
        seconds = HistogramMetricFamily(
            "limbeck_request_seconds",
            "From a request's headers to its answer.",
            labels=["model"],
        )
        for model, parts in times.items():
            nanoseconds, *buckets = (sum(part) for part in zip(*parts, strict=True))
            seconds.add_metric([model], cumulated(buckets), nanoseconds / 1e9)
        yield from (requests, seconds, rows, abstained, shadowed)


def cumulated(buckets: Sequence[int]) -> list[tuple[str, int]]:
    """(bound, how many took at most so long) of counts between the bounds, as Prometheus has it."""
    so_far = 0
    found = []
    for bound, count in zip((*map(str, SECONDS), "+Inf"), buckets, strict=True):
        so_far += count
        found.append((bound, so_far))
    return found


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
        waiting, ready = self.board.total(WAITING), self.board.num_ready
        yield GaugeMetricFamily("limbeck_waiting_requests", "That wait for an answer.", waiting)
        yield GaugeMetricFamily("limbeck_ready_workers", "Workers that answer.", ready)
