"""Several settings of a teacher's training, tried on validation: cheap where rows are few, and
worth it there, since what a small set wants differs most from set to set.

Rate and seed are what the outcome hangs on (Mosbach et al., 2021, arXiv 2006.04884; Dodge et al.,
2020, arXiv 2002.06305); the length is chosen within each try, by its best epoch. The first try is
the recipe as it stands; then come three times and a third of its rate, then other seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core import registry
from limbeck.pipeline.steps.validation import FEWEST_ROWS
from limbeck.recipe.model import Teacher, Train
from limbeck.training.job import Judge

# Of the labelled rows: with more, a training takes minutes, and tries differ by less. A row costs a
# pretrained model many times what it costs a network of ours.
FEW_ROWS = 2000
FEW_ROWS_OF_PRETRAINED = 500
TRIES = 3
FACTORS = (1.0, 3.0, 1 / 3)
# What stands in place of a history where a try diverged.
DIVERGED = "diverged"

History = Sequence[Mapping[str, Any]]


def number_of_tries(settings: Teacher, num_labelled: int, num_validation: int) -> int:
    """How many settings are tried.

    Args:
        settings: of the teacher.
        num_labelled: rows that it is tuned on.
        num_validation: rows that say which try is the best.
    """
    # A teacher that comes tuned has nothing to try, and what cannot be compared is not tried.
    if not settings.epochs or num_validation < FEWEST_ROWS:
        return 1
    if settings.tries == "auto":
        is_ours = settings.model in registry.names("networks")
        few = FEW_ROWS if is_ours else FEW_ROWS_OF_PRETRAINED
        return TRIES if num_labelled < few else 1
    return settings.tries or 1


def settings_to_try(steps: Train, count: int) -> list[Train]:
    """The settings of each try, the recipe's own first.

    >>> [(each.rate, each.seed) for each in settings_to_try(Train(learning_rate=0.3), 4)]
    [(0.3, 0), (0.9, 0), (0.1, 0), (0.3, 1)]
    """
    tries = []
    for number in range(count):
        # Rounded, so that a recipe can name the rate that won.
        rate = float(f"{steps.rate * FACTORS[number % len(FACTORS)]:.3g}")
        seed = steps.seed + number // len(FACTORS)
        rate = steps.rate if number % len(FACTORS) == 0 else rate
        tries.append(steps.model_copy(update={"learning_rate": rate, "seed": seed}))
    return tries


def kept_figures(history: History) -> Mapping[str, float] | None:
    """The validation figures of the epoch whose weights were kept; None where none was."""
    for end in history:
        if "kept" not in end:
            continue
        for point in history:
            if point["step"] == end["kept"]["step"] and "validation" in point:
                figures: Mapping[str, float] = point["validation"]
                return figures
    return None


def best_try(histories: Sequence[History], judge: Judge) -> int | None:
    """The number of the best try, the first of equals; None where no try kept any weights."""
    worths = {}
    for number, history in enumerate(histories):
        figures = kept_figures(history)
        if figures is not None:
            worths[number] = judge(figures)
    return max(worths, key=worths.__getitem__) if worths else None


def note_of_tries(
    tries: Sequence[Train], histories: Sequence[History], chosen: int, metric: str
) -> str:
    """What each try came to, and which one was taken."""
    told = []
    for number, (each, history) in enumerate(zip(tries, histories, strict=True)):
        figures = kept_figures(history)
        outcome = DIVERGED if figures is None else f"{metric} {figures[metric]:.4f}"
        taken = " (taken)" if number == chosen else ""
        told.append(f"rate {each.rate:g}, seed {each.seed}: {outcome}{taken}")
    return f"teacher: {len(tries)} settings tried on validation: {'; '.join(told)}"
