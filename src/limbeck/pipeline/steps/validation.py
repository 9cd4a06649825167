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
        first: is called before every validation.
    """
    encoded = run.encode("validation", task)
    score = partial(score_split, model, encoded, task)
    figures = partial(quality, task=task)
    if isinstance(task, SelfSupervised):

        def metrics() -> dict[str, float]:
            return figures(score())

    else:
        metrics = collapse.watched(score, collapse.Watch(task, epochs, run.store.tell), figures)

    def after_first() -> dict[str, float]:
        if first is not None:
            first()
        return metrics()

    return Validation(metrics=after_first, units=float(sum(packed.sizes(encoded))))
