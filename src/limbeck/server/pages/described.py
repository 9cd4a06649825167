"""What is told of each model to who may ask it: what it reads, and what it can answer."""

from typing import TYPE_CHECKING, Any

from limbeck.artifact.answers import answer_keys
from limbeck.artifact.generation.text_model import ANSWER_KEYS
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import recipe_data
from limbeck.evaluation.decisions.decision import PROBABILITIES
from limbeck.server.requests.asked import ROW_KEYS
from limbeck.server.settings import Limits
from limbeck.tasks import OverVocabulary
from limbeck.tasks.heads.number import bounds_of
from limbeck.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    from limbeck.server.hosting import Version

# A language model has a label for every token of its vocabulary.
MOST_LABELS = 1000
REGRESSION = "text-regression"


def described(model: str, version: "Version") -> dict[str, Any]:
    """A version of a model as JSON, for pages and for a client that has only its address."""
    # Named as every answer names where it comes from.
    return {"model": model, "version": version.name} | version.facts


def facts_of(predictor: Predictor) -> dict[str, Any]:
    """What an artifact reads and answers.

    - `reads`: `text`, `words` (it tags a sentence, which may come as a text) or `image`;
      `reads_pairs`: a second text may come with the first, `needs_pair`: it must.
    - `columns`: what the columns of its training were called, by the key of a row.
    - `answers`: the keys of its answers. `labels`: the first thousand of `num_labels`. `range`: of
      a score, [low, high].
    - `abstains`, `answers_sets`: the answers have `abstain`, or `set`.
    """
    decision = predictor.decision
    labels = labels_of(predictor)
    recipe = recipe_data(predictor.folder)
    return {
        "task": predictor.task_name,
        "reads": predictor.kind,
        "reads_pairs": reads_pairs(predictor),
        "needs_pair": predictor.needs_pair,
        "columns": {key: recipe[key] for key in ROW_KEYS if isinstance(recipe.get(key), str)},
        "answers": keys_of_answers(predictor),
        "labels": labels[:MOST_LABELS],
        "num_labels": len(labels),
        "range": range_of(predictor),
        "abstains": decision.threshold is not None,
        "answers_sets": decision.sets is not None,
    }


def keys_of_answers(predictor: Predictor) -> list[str]:
    """The keys that its answers have."""
    if isinstance(predictor.task, TextGeneration):
        return list(ANSWER_KEYS)
    return answer_keys(predictor)


def labels_of(predictor: Predictor) -> list[str]:
    """The labels that answers may have; none of a task whose answers are numbers."""
    # A vocabulary is no set of answers, and a page would load tens of thousands of them.
    if isinstance(predictor.task, OverVocabulary):
        return []
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
