"""What is asked at the end of every epoch of a training, and which epoch's weights are the best.

Epochs are compared by the judged metric. Of two that are alike in it, the one whose labels were
more probable is the better one: metrics of decisions move in steps, and do not move at all while a
model has only begun to learn (F1 of rare labels is 0 for many epochs), where the likelihood does.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from limbeck.evaluation import collapse
from limbeck.evaluation.scores import mean_nats, quality
from limbeck.pipeline.context import RunContext
from limbeck.tasks import OverVocabulary, Scored, Task, metrics, packed
from limbeck.tasks.likelihood import LIKELIHOODS
from limbeck.training.job import Judge, Validation
from limbeck.training.scoring import score_split

# The mean nats a unit that the labels' improbability costs, among a validation's figures.
NATS = "nats"
# Fewer rows do not tell epochs apart: of a share on 30 rows the standard error is up to .09, more
# than most epochs differ by, and the luckiest one would be kept.
FEWEST_ROWS = 30


def validation(
    run: RunContext,
    model: nn.Module,
    task: Task,
    epochs: int,
    *,
    first: Callable[[], None] | None = None,
) -> Validation:
    """The metrics of `model` on the validation split, with a warning where it has collapsed.

    Args:
        run: what the arms share.
        model: the one that is trained.
        task: with the model's preprocessing.
        epochs: of the training.
        first: is called before every validation.
    """
    encoded = run.encode("validation", task)
    score = partial(score_split, model, encoded, task)
    # Of a vocabulary no answers are kept that could all be one.
    if isinstance(task, OverVocabulary):

        def figures() -> dict[str, float]:
            return quality(score(), task=task)

    else:
        watch = collapse.Watch(task, epochs, run.store.tell)
        figures = collapse.watched(score, watch, partial(figures_of, task=task))

    def after_first() -> dict[str, float]:
        if first is not None:
            first()
        return figures()

    # Without padding: for the time left that is near enough.
    units = float(sum(packed.sizes(encoded)))
    return Validation(metrics=after_first, units=units, judge=judge_of(run, len(encoded)))


def judge_of(run: RunContext, num_rows: int) -> Judge | None:
    """What compares epochs by their figures on so many validation rows; None where too few."""
    if num_rows < FEWEST_ROWS:
        run.store.tell_once(
            f"validation: {num_rows} rows do not tell epochs apart, so the last epoch's weights "
            f"are kept, and no training ends early (train.keep, train.patience: from {FEWEST_ROWS} "
            "rows on)"
        )
        return None
    return partial(worth, metric=run.recipe.judged_metric)


def worth(figures: Mapping[str, float], *, metric: str) -> tuple[float, float]:
    """What figures are compared by, the more the better: the metric, then the likelihood."""
    return metrics.sign(metric) * figures[metric], -figures.get(NATS, 0.0)


def figures_of(scored: Scored, *, task: Task) -> dict[str, float]:
    """Every metric of the task, and how improbable the labels were, where these have a chance."""
    figures = quality(scored, task)
    likelihood = LIKELIHOODS[task.likelihood]
    # The answers of a sentence embedding are vectors, and give its labels no probability.
    are_vectors = likelihood.labels_are_numbers and scored.logits.shape[1] > 1
    if not are_vectors:
        nats = mean_nats(scored.logits, scored.labels, task.likelihood)
        if nats is not None:
            figures[NATS] = nats
    return figures
