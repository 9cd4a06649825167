"""The state of the server at this moment, summed over its workers: what `/status.json` holds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import limbeck
from limbeck.server.admin import Admin
from limbeck.server.meters import Meters
from limbeck.server.processes.board import WAITING, Board
from limbeck.server.settings import Settings

SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
ERRORS_FROM = 400


def status_of(settings: Settings, admin: Admin, meters: Meters, board: Board) -> dict[str, Any]:
    """All of it, as JSON.

    `models`: by name, the versions (`live`, `previous`, `candidate` and what it was `seen` to do),
    answered `requests` by status, `errors` among them, `rows`, `abstained` and `latency`.
    """
    # Of the file, not of this worker: another one may have changed it a moment ago.
    plan = admin.told()
    figures = Figures(meters)
    models = {name: told | figures.of(name) for name, told in plan["models"].items()}
    charts = {name: seen.get("charts", []) for name, _, seen in admin.drifts()}
    return {
        "limbeck": limbeck.__version__,
        "began": round(board.began / 1e9, 3),
        "uptime_seconds": round(board.uptime_seconds, 3),
        "generation": plan["generation"],
        "workers": {"ready": board.num_ready, "all": settings.workers},
        "waiting": board.total(WAITING),
        "queue": settings.limits.queue,
        "models": models,
        # None: it is not watched.
        "drift": {name: charts.get(name) for name in models},
    }


class Figures:
    """The meters by model. They count from the server's start, whichever version answered."""

    def __init__(self, meters: Meters) -> None:
        self.requests: dict[str, Counter[str]] = defaultdict(Counter)
        self.rows: Counter[str] = Counter()
        self.abstained: Counter[str] = Counter()
        # Of each model, requests that took at most so many seconds.
        self.within: dict[str, dict[float, float]] = defaultdict(dict)
        self.seconds: dict[str, float] = defaultdict(float)
        # In one pass: each look reads the files of all workers.
        for name, labels, value in meters.samples():
            self.add(name, labels, value)

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Sort in one figure."""
        model = labels.get("model", "")
        if name == "limbeck_requests_total":
            # Summed over versions: a model goes on counting when another version answers.
            self.requests[model][labels["status"]] += round(value)
        elif name == "limbeck_rows_total":
            self.rows[model] += round(value)
        elif name == "limbeck_abstained_rows_total":
            self.abstained[model] += round(value)
        elif name == "limbeck_request_seconds_bucket":
            self.within[model][float(labels["le"])] = value
        elif name == "limbeck_request_seconds_sum":
            self.seconds[model] += value

    def of(self, model: str) -> dict[str, Any]:
        """Those of one model."""
        requests = dict(sorted(self.requests[model].items()))
        refused = [count for status, count in requests.items() if int(status) >= ERRORS_FROM]
        return {
            "requests": requests,
            "errors": sum(refused),
            "rows": self.rows[model],
            "abstained": self.abstained[model],
            "latency": self.latency(model),
        }

    def latency(self, model: str) -> dict[str, Any] | None:
        """Of a model's answered requests; None before the first.

        `buckets`: [seconds, how many took as long at most and longer than the bucket before], the
        last one without a bound, whose seconds are null.
        """
        within = sorted(self.within[model].items())
        count = within[-1][1] if within else 0
        if not count:
            return None
        # Prometheus counts in each bucket all that took less; a chart shows what each adds.
        before = 0.0
        buckets = []
        for bound, so_far in within:
            seconds = None if bound == float("inf") else bound
            buckets.append([seconds, round(so_far - before)])
            before = so_far
        found: dict[str, Any] = {"count": round(count), "buckets": buckets}
        found["mean_ms"] = round(1000 * self.seconds[model] / count, 3)
        for name, share in SHARES.items():
            found[name] = round(1000 * quantile(within, share), 3)
        return found


def quantile(within: Sequence[tuple[float, float]], share: float) -> float:
    """The seconds within which a share of the requests was answered, as Prometheus'
    `histogram_quantile` has it: between the bounds of a bucket they are taken as spread evenly.

    Args:
        within: (bound in seconds, requests that took at most so long), the last bound infinite.
        share: in (0, 1].

    >>> quantile([(0.1, 50.0), (0.2, 100.0), (float("inf"), 100.0)], 0.75)
    0.15000000000000002
    """
    wanted = share * within[-1][1]
    low = before = 0.0
    for bound, so_far in within:
        # Beyond the last bound nothing is known, but that it was longer.
        if bound == float("inf"):
            break
        if so_far >= wanted:
            return low + (bound - low) * (wanted - before) / (so_far - before)
        low, before = bound, so_far
    return low
