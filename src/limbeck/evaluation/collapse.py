"""A model that gives one answer whatever it reads has learned nothing; told while it trains.

At the end the verdict holds its metric against chance (`chance.py`), which such a model is at.
"""

from collections.abc import Callable
from dataclasses import dataclass

from limbeck.core.events import Note, Reporter
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import LIKELIHOODS, is_known

CAUSES = (
    "Likely: a learning rate far too high or low, too few steps, or labels that do not belong to "
    "their rows. Try train.learning_rate a third or three times as large first, then more epochs"
)

# Epochs in a row after which it is told: in the first, many a model has only begun to learn.
PATIENCE = 2


@dataclass
class Watch:
    """Is shown the answers on the validation split once an epoch, and tells, once, where they are
    one: after two epochs in a row, or after the last."""

    task: Task
    epochs: int
    tell: Reporter
    seen: int = 0
    in_a_row: int = 0

    def __call__(self, scored: Scored) -> None:
        """One epoch's answers."""
        self.seen += 1
        answer = only_answer(scored, self.task)
        if answer is None:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        is_last = self.seen == self.epochs
        # Told once: a third epoch in a row says no more.
        if self.in_a_row == PATIENCE or (is_last and self.in_a_row < PATIENCE):
            warning = f"every unit of the validation split gets one answer, {answer}"
            self.tell(Note(f"warning: {warning}. {CAUSES}"))


def only_answer(scored: Scored, task: Task) -> str | None:
    """What every labelled unit gets, in words; None where they get several, or should get one."""
    likelihood = LIKELIHOODS[task.likelihood]
    known = is_known(scored.labels)
    # Of several labels, a unit counts where one of them is known.
    is_labelled = known.reshape(len(known), -1).any(1)
    labels = scored.labels[is_labelled]
    # One answer is right where there is one label.
    if not len(labels) or (labels == labels[0]).all():
        return None
    decisions = task.decisions(scored)[is_labelled]
    if not likelihood.is_one_answer(decisions):
        return None
    return likelihood.in_words(decisions, task.labels)


def watched(
    score: Callable[[], Scored],
    watch: Watch,
    figures: Callable[[Scored], dict[str, float]],
) -> Callable[[], dict[str, float]]:
    """A validation that gives metrics, and shows `watch` the answers on its way.

    `score`: gives the split's answers; `figures`: their metrics.
    """

    def validate() -> dict[str, float]:
        scored = score()
        watch(scored)
        return figures(scored)

    return validate
