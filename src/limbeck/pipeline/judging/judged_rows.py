"""Which test rows the verdict is about: those that no model has learned by heart or was chosen by,
each input once.

A row whose input is in train, too, says how well train is remembered; a model at chance elsewhere
may have three quarters of such a split. One that is in validation chose the epoch that was kept,
and the temperature and thresholds by which it is answered. Rows of one input, or of one `group`,
are one proof.

Shapes: N rows of the test split, K of them judged.
"""

from dataclasses import dataclass, field

import numpy as np

from limbeck.data.checks import one_score, only_score
from limbeck.data.same_inputs import FEWEST_NEW, cluster_of_row
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.compare import Judged
from limbeck.pipeline.context import RunContext
from limbeck.tasks import OverVocabulary, Scored, Task


@dataclass(frozen=True)
class JudgedRows:
    """`kept`: (N; bool) which rows are judged. `clusters`: (K) as of `influences`. `reasons`: what
    stands against a verdict on them. `notes`: what is left out, and what counts as one."""

    kept: np.ndarray
    clusters: np.ndarray | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def judged(self, seeds: list[Scored], task: Task) -> Judged:
        """Answers to the rows that are judged."""
        return Judged([of_rows(scored, self.kept) for scored in seeds], task, self.clusters)


def judged_rows(run: RunContext, task: Task) -> JudgedRows:
    """The rows that a verdict judges; `task`: any arm's."""
    rows = run.data.test
    # Rows of such a task may be packed into one, or cut.
    if isinstance(task, OverVocabulary):
        num_rows = len(run.encode("test", task))
        return JudgedRows(np.ones(num_rows, bool))
    places = {"train": run.known_from_train, "validation": run.known_from_validation}
    counts = {name: int(found.sum()) for name, found in places.items() if found.any()}
    known = np.any(list(places.values()), axis=0)
    num_new = int((~known).sum())
    told = " and ".join(
        f"{count:,} of {len(rows):,} test rows are in {name} too" for name, count in counts.items()
    )
    # With which nothing correlates, whatever was learned.
    score = only_score(rows, task)
    reasons = [] if score is None else [one_score(score)]
    notes: list[str] = []
    if num_new < FEWEST_NEW and known.any():
        reasons.append(
            f"{told}: the other {num_new:,} are too few to show what new rows "
            f"are answered. Take their copies out of {' and '.join(counts)}, or give a test "
            "split of new rows"
        )
        known = np.zeros(len(rows), bool)
    elif known.any():
        notes.append(f"{told}, and were left out: all figures are of the other {num_new:,}")
    if run.data.num_grouped:
        notes.append(
            f"{run.data.num_grouped:,} of {len(rows):,} test rows are of a group that train has "
            "too: the figures may not hold for new groups"
        )
    kept = ~known
    # What is left out must not count among the copies either.
    clusters = np.unique(cluster_of_row(rows, task)[kept], return_inverse=True)[1]
    num_clusters = len(np.unique(clusters))
    if num_clusters == len(clusters):
        return JudgedRows(kept, None, reasons, notes)
    notes.append(
        f"{len(clusters):,} test rows are {num_clusters:,} that differ (equal inputs, or one "
        "group): intervals count each once"
    )
    return JudgedRows(kept, clusters, reasons, notes)
