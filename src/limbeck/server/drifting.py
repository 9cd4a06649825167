"""Whether the requests of a model are still as its validation rows were.

Every worker counts what it answers in a row of its own of a file in memory, one file for each
version; one worker looks at the sums (`evaluation.drift`), logs an alarm when it begins, and writes
what it saw beside the file, for the metrics and the status page of all workers.
"""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.artifact.predictor import Predictor
from limbeck.core.files import write_bytes
from limbeck.evaluation.drift.tally import Tally, num_counts
from limbeck.evaluation.drift.watch import Look, Watch
from limbeck.server.processes.counts import shared_rows
from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.types import Array

# Looks of each window and statistic that the status page shows.
SHOWN = 40


class Drift:
    """The requests of one version, counted and watched.

    Args:
        predictor: with its reference; without one nothing is counted.
        path: of the counts; what was seen goes into a file beside it.
        row: of the worker that this process is. rows: how many there are.
    """

    def __init__(self, predictor: Predictor, path: Path, row: int, rows: int) -> None:
        self.path = path
        self.tally: Tally | None = None
        reference = predictor.reference
        if reference is None:
            return
        size = num_counts(reference)
        self.counts = shared_rows(path, rows, size)
        self.tally = Tally(reference, self.counts[row])
        self.watch = Watch(reference)
        self.has_looked = False
        # By window and statistic, the latest indices.
        self.indices: dict[str, deque[float]] = {}

    @property
    def seen(self) -> Path:
        """The file of what was seen."""
        return self.path.with_suffix(".json")

    def add(self, row: Row, encoded: Encoded | None, answer: dict[str, Any]) -> None:
        """Count one answered row."""
        if self.tally:
            self.tally.add(row, encoded, answer)

    def look(self) -> list[str]:
        """Look at all workers' counts; what to log. One worker does, now and then."""
        if self.tally is None:
            return []
        counts = self.counts.sum(0)
        if not self.has_looked:
            self.has_looked = True
            self.go_on(counts)
        before = self.watch.looks
        alarms = self.watch.look(counts)
        looks = self.watch.looks
        # Between two moves of a window there is nothing new.
        if looks != before:
            for look in looks:
                if look not in before:
                    self.remember(look)
            told = {
                "alarms": self.watch.alarms,
                "charts": list(self.charts(looks)),
                "state": self.watch.state,
            }
            write_bytes(self.seen, json.dumps(told).encode())
        return alarms

    def go_on(self, counts: Array) -> None:
        """Go on where another worker that looked has ended; what it told is not told again."""
        seen = read_seen(self.seen)
        if not seen:
            return
        self.watch.go_on(counts, seen["state"])
        for chart in seen["charts"]:
            self.indices[chart["name"]] = deque(chart["values"], maxlen=SHOWN)

    def remember(self, look: Look) -> None:
        """Keep the indices of a look."""
        for finding in look.findings:
            if finding.index is not None:
                key = name_of(look, finding.statistic)
                kept = self.indices.setdefault(key, deque(maxlen=SHOWN))
                kept.append(round(finding.index, 6))

    def charts(self, looks: list[Look]) -> Iterator[dict[str, Any]]:
        """What the status page draws and the metrics tell, of each statistic that has an index."""
        for look in looks:
            for finding in look.findings:
                if finding.index is None:
                    continue
                yield {
                    "name": name_of(look, finding.statistic),
                    "statistic": finding.statistic,
                    "window": look.size,
                    "against": look.against,
                    # None where single categories are tested, and not the index.
                    "threshold": finding.limit and round(finding.limit, 6),
                    "values": list(self.indices[name_of(look, finding.statistic)]),
                    "shifted": finding.is_shifted,
                    "note": f"{finding.category}: {finding.share:.1%} of the requests, "
                    f"{finding.of_reference:.1%} before",
                }


def name_of(look: Look, statistic: str) -> str:
    """What a chart is called."""
    return f"{statistic} of {look.size:,} requests against {look.against}"


def path_of(folder: Path, model: str, version: str) -> Path:
    """Where a server's folder has the counts of a version, as it answers for a model."""
    # Two models may be of one artifact, and what one of them is asked is no concern of the other.
    return folder / "drift" / model / f"{version}.counts"


def seen_of(folder: Path, model: str, version: str) -> dict[str, Any]:
    """What was seen of a model's version; nothing where nothing was yet."""
    return read_seen(path_of(folder, model, version).with_suffix(".json"))


def read_seen(path: Path) -> dict[str, Any]:
    """What a file of what was seen holds; nothing where there is none yet."""
    if not path.is_file():
        return {}
    seen: dict[str, Any] = json.loads(path.read_bytes())
    return seen
