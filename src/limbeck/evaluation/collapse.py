"""A model that gives one answer whatever it reads has learned nothing: told while it trains, and held against the verdict.

Chance is the metric of the best constant answer. That is the label that the split holds most often, for every unit; where a unit has several labels,
the best of four: the most frequent labels as far as they raise micro F1, all labels (macro F1), the set that is most frequent (exact match), and the
labels by their frequency (ranking precision); where labels are numbers, their mean. Accuracy where 55 % of the rows have one label looks like a
result at .55, every film is a drama at a micro F1 of .27, and the F1 of a tagger that tags nothing is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.core.events import Note, Tell
from limbeck.evaluation.scores import quality
from limbeck.tasks import TOLERANCE, Scored, Scoring, Task, decisions, is_known, metrics

CAUSES = (
    "Likely: a learning rate far too high or low, too few steps, or labels that do not belong to their rows. "
    "Try train.learning_rate a third or three times as large first, then more epochs"
)


@dataclass
class Watch:
    """Is shown the answers on the validation split once an epoch, and tells, once, where they are one in two epochs in a row or in the last."""

    task: Task
    epochs: int
    tell: Tell
    seen: int = 0
    in_a_row: int = 0

    def __call__(self, scored: Scored) -> None:
        """One epoch's answers."""
        self.seen += 1
        self.in_a_row = self.in_a_row + 1 if (answer := only_answer(scored, self.task)) else 0
        if answer and (self.in_a_row == 2 or (self.in_a_row == 1 and self.seen == self.epochs)):
            self.tell(
                Note(
                    f"warning: every unit of the validation split gets one answer, {answer}. {CAUSES}"
                )
            )


def only_answer(scored: Scored, task: Task) -> str | None:
    """What every labelled unit gets, in words, where they hold several answers: scores are one answer within TOLERANCE."""
    known = is_known(scored.labels)
    units = known.reshape(len(known), -1).any(1)
    decided, held = decisions(task, scored)[units], scored.labels[units]
    if not len(decided) or (held == held[0]).all():
        return None
    if isinstance(task, Scoring):
        return f"a score of {decided.mean():.3g}" if np.ptp(decided) <= TOLERANCE else None
    if (decided != decided[0]).any():
        return None
    chosen = (
        np.flatnonzero(decided[0]) if task.likelihood == "bernoulli" else decided[:1]
    ).tolist()
    return ", ".join(f"`{task.labels[label]}`" for label in chosen) or "no label"


def constant(scored: Scored, task: Task, metric: str) -> Scored:
    """The best constant answer by a metric of the task, in place of a model's."""
    answers = [
        Scored(np.tile(logits, (len(scored.labels), 1)), scored.labels, scored.offsets)
        for logits in CONSTANTS[task.likelihood](scored)
    ]
    return max(answers, key=lambda answer: metrics.sign(metric) * quality(answer, task)[metric])


def most_frequent(scored: Scored) -> list[np.ndarray]:
    """The logits of the label that most units have."""
    counts = np.bincount(scored.labels[is_known(scored.labels)], minlength=scored.logits.shape[1])
    return [np.eye(len(counts), dtype=np.float32)[counts.argmax()]]


def frequent_sets(scored: Scored) -> list[np.ndarray]:
    """The logits of the set of labels with the best micro F1, of all labels, of the set that most rows have, and each label's share of the rows
    over one half.

    The k most frequent labels for every row have a micro F1 of 2 h / (n + t): h and n the true and the known entries among them, t all true ones.
    """
    known = is_known(scored.labels)
    true = (scored.labels > 0) & known
    order = np.argsort(-true.sum(0), kind="stable")
    micro = true.sum(0)[order].cumsum() / np.maximum(known.sum(0)[order].cumsum() + true.sum(), 1)
    best = np.isin(np.arange(len(order)), order[: micro.argmax() + 1])
    sets, counts = np.unique(true[known.any(1)], axis=0, return_counts=True)
    shares = true.sum(0) / np.maximum(known.sum(0), 1)
    answers = [
        *(np.where(each, 1, -1) for each in (best, np.ones_like(best), sets[counts.argmax()])),
        shares - 0.5,
    ]
    return [logits.astype(np.float32) for logits in answers]


def mean_score(scored: Scored) -> list[np.ndarray]:
    """The mean of the labels; where an answer is a vector, one vector, and any is as good."""
    width = scored.logits.shape[1]
    return [
        np.full(
            width, scored.labels[is_known(scored.labels)].mean() if width == 1 else 1, np.float32
        )
    ]


CONSTANTS = {"categorical": most_frequent, "bernoulli": frequent_sets, "gaussian": mean_score}


def watched(
    score: Callable[[], Scored], watch: Watch, figures: Callable[[Scored], dict[str, float]]
) -> Callable[[], dict[str, float]]:
    """A validation: the split's answers, looked at by `watch`, to metrics."""

    def validate() -> dict[str, float]:
        scored = score()
        watch(scored)
        return figures(scored)

    return validate
