"""What is asked at the end of every epoch of a training."""

from collections.abc import Callable
from functools import partial

from torch import nn

from limbeck.evaluation import collapse
from limbeck.evaluation.scores import quality
from limbeck.pipeline.context import RunContext
from limbeck.tasks import SelfSupervised, Task, packed
from limbeck.training.job import Validation
from limbeck.training.scoring import score_split


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
    figures = partial(quality, task=task)
    # Of a self-supervised task no answers are kept that could all be one.
    if isinstance(task, SelfSupervised):

        def metrics() -> dict[str, float]:
            return figures(score())

    else:
        watch = collapse.Watch(task, epochs, run.store.tell)
        metrics = collapse.watched(score, watch, figures)

    def after_first() -> dict[str, float]:
        if first is not None:
            first()
        return metrics()

    # Without padding: for the time left that is near enough.
    units = float(sum(packed.sizes(encoded)))
    return Validation(metrics=after_first, units=units)
