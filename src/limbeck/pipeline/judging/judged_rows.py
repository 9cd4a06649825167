"""Which test rows the verdict is about: those that no model has learned by heart or was chosen by,
each input once.

A row whose input is in train, too, says how well train is remembered; a model at chance elsewhere
may have three quarters of such a split. One that is in validation chose the epoch that was kept,
and the temperature and thresholds by which it is answered. Rows of one input, or of one `group`,
are one proof.

Where a model's rows are others than those of the data (`OverVocabulary`: several short texts are
read together, or a long one in parts), what is read is known when at least half of its letters are
of known rows. Parts of one text are proofs of their own, as the same parts of its copies are not.

Shapes: R rows of the test split; N as the model reads them, K of them judged.
"""

from dataclasses import dataclass, field

import numpy as np

from limbeck.data.checks import one_score, only_score
from limbeck.data.same_inputs import FEWEST_NEW, cluster_of_row, num_that_differ
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.compare import Judged
from limbeck.pipeline.context import RunContext
from limbeck.sources import Row
from limbeck.tasks import OverVocabulary, Scored, Task, packed


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
    places = {"train": run.known_from_train, "validation": run.known_from_validation}
    counts = {name: int(found.sum()) for name, found in places.items() if found.any()}
    known = np.any(list(places.values()), axis=0)
    clusters = cluster_of_row(rows, task)
    num_new = int((~known).sum())
    num_differ = num_that_differ(clusters[~known])
    known, clusters = as_read(run, task, known, clusters)
    told = " and ".join(
        f"{count:,} of {len(rows):,} test rows are in {name} too" for name, count in counts.items()
    )
    # With which nothing correlates, whatever was learned.
    score = only_score(rows, task)
    reasons = [] if score is None else [one_score(score)]
    notes: list[str] = []
    if counts and (num_differ < FEWEST_NEW or known.all()):
        that_differ = "" if num_differ == num_new else f", of which {num_differ:,} differ,"
        reasons.append(
            f"{told}: the other {num_new:,}{that_differ} are too few to show what new rows "
            f"are answered. Take their copies out of {' and '.join(counts)}, or give a test "
            "split of new rows"
        )
        known = np.zeros(len(known), bool)
    elif counts:
        notes.append(f"{told}, and were left out: all figures are of the other {num_new:,}")
    if run.data.num_grouped:
        notes.append(
            f"{run.data.num_grouped:,} of {len(rows):,} test rows are of a group that train has "
            "too: the figures may not hold for new groups"
        )
    kept = ~known
    # What is left out must not count among the copies either.
    clusters = np.unique(clusters[kept], return_inverse=True)[1]
    num_clusters = num_that_differ(clusters)
    if num_clusters == len(clusters):
        return JudgedRows(kept, None, reasons, notes)
    notes.append(
        f"{len(clusters):,} test rows are {num_clusters:,} that differ (equal inputs, or one "
        "group): intervals count each once"
    )
    return JudgedRows(kept, clusters, reasons, notes)


def as_read(
    run: RunContext, task: Task, known: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(R), (R) to (N), (N): which of what the model reads is known, and what counts as one."""
    if not isinstance(task, OverVocabulary):
        return known, clusters
    begins = packed.begins(run.encode("test", task))
    # 1. Which rows each holds: from `first` to before `end`. A further part is of the row before.
    end = np.cumsum(begins)
    first = np.minimum(end - begins, end - 1)
    # 2. How much of it is known.
    rows = run.data.test
    sizes = np.array([num_letters(row, task) for row in rows])
    read = np.concatenate([[0], np.cumsum(sizes)])
    learned = np.concatenate([[0], np.cumsum(sizes * known)])
    is_known = 2 * (learned[end] - learned[first]) >= read[end] - read[first]
    # 3. Its longest row stands for it, with the number of the part where there are several.
    spans = zip(first.tolist(), end.tolist(), strict=True)
    longest = np.array([start + int(sizes[start:stop].argmax()) for start, stop in spans])
    places = np.arange(len(begins))
    part = places - np.maximum.accumulate(np.where(begins > 0, places, 0))
    # Of a group everything is one proof.
    is_grouped = np.array(["group" in row for row in rows])
    keys = np.stack([clusters[longest], np.where(is_grouped[longest], 0, part)], 1)
    return is_known, np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def num_letters(row: Row, task: Task) -> int:
    """How long a row is, beside others: one without a text counts, too."""
    content = task.content(row)
    texts = [content] if isinstance(content, str) else [text for _, text in content]
    return 1 + sum(map(len, texts))
