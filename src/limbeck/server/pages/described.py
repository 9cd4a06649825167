"""What is told of each model to who may ask it: what it reads, and what it can answer."""

from typing import Any

from limbeck.artifact.predictor import Predictor
from limbeck.evaluation.decisions.decision import PROBABILITIES
from limbeck.server.hosting import Model
from limbeck.server.settings import Limits
from limbeck.tasks.heads.number import bounds_of

# A language model has a label for every token of its vocabulary.
MOST_LABELS = 1000
REGRESSION = "text-regression"


def described(model: Model) -> dict[str, Any]:
    """A model as JSON, by the version that answers.

    - `reads`: `text`, `words` (it tags a sentence, which may come as a text) or `image`;
      `reads_pairs`: a second text may come with the first.
    - `labels`: the first thousand of `num_labels`. `range`: of a score, [low, high].
    - `abstains`, `answers_sets`: the answers have `abstain`, or `set`.
    """
    # A candidate beside it reads the same: it answers the same requests.
    predictor = model.live.predictor
    decision = predictor.decision
    labels = labels_of(predictor)
    return {
        "name": model.name,
        "version": model.live.name,
        "task": predictor.task_name,
        "reads": predictor.kind,
        "reads_pairs": reads_pairs(predictor),
        "labels": labels[:MOST_LABELS],
        "num_labels": len(labels),
        "range": range_of(predictor),
        "abstains": decision.threshold is not None,
        "answers_sets": decision.sets is not None,
    }


def labels_of(predictor: Predictor) -> list[str]:
    """The labels that answers may have; none of a task whose answers are numbers."""
    # Of a task with numbers they say the numbers' range.
    return predictor.labels if predictor.task.likelihood in PROBABILITIES else []


def range_of(predictor: Predictor) -> list[float] | None:
    """[low, high] of the scores that a regression was trained on; None of other tasks."""
    if predictor.task_name != REGRESSION:
        return None
    return list(bounds_of(predictor.labels[0]))


def reads_pairs(predictor: Predictor) -> bool:
    """Whether a second text may be sent with the first."""
    if predictor.kind != "text" or not predictor.reads_pairs:
        return False
    # The recipe does not always say it, and some tasks read one text alone.
    try:
        predictor.row(("a", "a"))
    except ValueError:
        return False
    return True


def bounds_told(limits: Limits) -> dict[str, int]:
    """What a page checks by itself, because a browser cannot show the answer to a body that the
    server did not read."""
    return {"body_bytes": limits.body_bytes, "text_characters": limits.text_characters}
