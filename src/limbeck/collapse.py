"""A model that gives one answer whatever it reads has learned nothing: told while it trains, and held against the verdict.

Chance is the metric of the best constant answer: the label that the split holds most often, for every unit. Accuracy where 55 % of the rows
have one label looks like a result at .55, and the F1 of a tagger that tags nothing is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limbeck.progress import Note, Tell
from limbeck.tasks import Scored, Task, is_known

CAUSES = (
    "Likely: a learning rate far too high or low, too few steps, or labels that do not belong to their rows. "
    "Try train.learning_rate a third or three times as large first, then more epochs"
)


@dataclass
class Watch:
    """Is shown the answers on the validation split once an epoch, and tells, once, where they are one label in two epochs in a row or in the last."""

    task: Task
    epochs: int
    tell: Tell
    seen: int = 0
    in_a_row: int = 0

    def __call__(self, scored: Scored) -> None:
        """One epoch's answers."""
        self.seen += 1
        self.in_a_row = self.in_a_row + 1 if (label := only_answer(scored)) is not None else 0
        if label is not None and (self.in_a_row == 2 or (self.in_a_row == 1 and self.seen == self.epochs)):
            self.tell(Note(f"warning: every unit of the validation split gets one answer, `{self.task.labels[label]}`. {CAUSES}"))


def only_answer(scored: Scored) -> int | None:
    """The label that every labelled unit gets, where they hold several."""
    known = is_known(scored.labels)
    decided, held = scored.decisions[known], scored.labels[known]
    return int(decided[0]) if len(decided) and (decided == decided[0]).all() and (held != held[0]).any() else None


def constant(scored: Scored, num_labels: int) -> Scored:
    """The answers of a model that knows only which label a split holds most often."""
    known = scored.labels[is_known(scored.labels)]
    most = np.bincount(known, minlength=num_labels).argmax() if len(known) else 0
    logits = np.zeros((len(scored.labels), num_labels), np.float32)
    logits[:, most] = 1
    return Scored(logits, scored.labels, scored.offsets)


def watched(score: Callable[[], Scored], watch: Watch, figures: Callable[[Scored], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """A validation: the split's answers, looked at by `watch`, to metrics."""

    def validate() -> dict[str, float]:
        scored = score()
        watch(scored)
        return figures(scored)

    return validate
