"""What a candidate was seen to do beside a live version: counts of all workers, in a file.

A trial is of two versions, and is named by the generation of the plan that first had them so
(`plans.Plan.followed_by`). Its file outlives a worker that dies and every change that is none of
these two versions; another candidate, or another live version, has another file, and begins at 0.

```
FOLDER/trials/MODEL/GENERATION
```
"""

from dataclasses import dataclass
from pathlib import Path

from limbeck.server.processes.counts import shared_rows, summed_rows

# What a worker's row holds, in this order.
ROWS, SAME, FAILED, LIVE_NS, CANDIDATE_NS = range(5)
SIZE = 5


@dataclass(frozen=True)
class Seen:
    """What a candidate was seen to do, in all workers."""

    rows: int = 0
    same: int = 0
    failed: int = 0
    live_ns: int = 0
    candidate_ns: int = 0

    @property
    def agreement(self) -> float:
        """The share of rows to which both give the same answer."""
        return self.same / self.rows if self.rows else 0.0

    @property
    def slowdown(self) -> float:
        """How many times as long as the live model it takes."""
        return self.candidate_ns / self.live_ns if self.live_ns else 1.0


class Trial:
    """The counts of one trial, of which a worker writes its own row.

    Args:
        folder: the server's. model: its name. number: of the trial.
        row: of the worker that this process is. rows: how many there are.
    """

    def __init__(self, folder: Path, model: str, number: int, row: int, rows: int) -> None:
        self.number = number
        self.counts = shared_rows(path_of(folder, model, number), rows, SIZE)
        self.own = self.counts[row].data

    def count(self, outcome: str, live_ns: int, candidate_ns: int) -> None:
        """Note what came of a row; `outcome`: one of `meters.OUTCOMES`."""
        self.own[ROWS] += 1
        self.own[SAME] += outcome == "same"
        self.own[FAILED] += outcome == "failed"
        self.own[LIVE_NS] += live_ns
        self.own[CANDIDATE_NS] += candidate_ns

    def seen(self) -> Seen:
        """The sums over all workers."""
        return Seen(*self.counts.sum(0).tolist())


def path_of(folder: Path, model: str, number: int) -> Path:
    """Where a server's folder has the counts of a trial."""
    return folder / "trials" / model / str(number)


def seen_of(folder: Path, model: str, number: int) -> Seen:
    """What was seen of a model's candidate; zeros before a worker has opened it."""
    path = path_of(folder, model, number)
    return Seen(*summed_rows(path, SIZE)) if path.is_file() else Seen()
