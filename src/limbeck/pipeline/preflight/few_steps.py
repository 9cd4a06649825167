"""A training of so few steps that the model will hardly have left its start, told before it."""

import math

from limbeck.core.cache.store import Store
from limbeck.evaluation.undertrained import ENOUGH_OF_EPOCH, ENOUGH_STEPS, FEWEST_STEPS
from limbeck.pipeline.preflight.volumes import Volume
from limbeck.pipeline.stage import Stage
from limbeck.recipe.model import Train
from limbeck.training.loop import batch_budget

# Within what is told.
TOO_FEW = "steps, which is too few"


def warn(volume: Volume, settings: Train, stage: Stage, store: Store) -> None:
    """Tell how many steps a training will have, and what to write, where they are too few.

    Args:
        volume: of the rows that it is trained on.
        settings: of the training.
        stage: of the training, `teacher` or `train`.
        store: tells it, once.
    """
    budget = batch_budget(settings, volume.encoded)
    units = volume.trained(budget)
    total = steps_of_epoch(volume, settings) * settings.epochs
    if total >= FEWEST_STEPS:
        return
    # Smaller batches first, as an epoch of three is hardly one; but each holds the longest text.
    smaller = min(budget, max(*volume.sizes, round(units / ENOUGH_OF_EPOCH)))
    epochs = math.ceil(ENOUGH_STEPS / math.ceil(units / smaller))
    has_tokens = volume.encoded[0].has_tokens
    batch = "train.batch_tokens" if has_tokens else "train.batch_rows"
    store.tell_once(
        f"{stage.name}: about {total} {TOO_FEW}. Write {batch}={smaller} "
        f"{stage.name}.epochs={epochs}, for about {ENOUGH_STEPS}"
    )


def steps_of_epoch(volume: Volume, settings: Train) -> int:
    """About how many steps an epoch has."""
    budget = batch_budget(settings, volume.encoded)
    return math.ceil(volume.trained(budget) / budget)
