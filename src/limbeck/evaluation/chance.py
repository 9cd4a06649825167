"""Chance: the metric of the best answer that is the same for every row.

Accuracy where 55 % of the rows have one label looks like a result at .55, every film is a drama at
a micro F1 of .27, and the F1 of a tagger that tags nothing is 0. What the constant answers are, the
likelihood says (`tasks/likelihood.py`).
"""

import numpy as np

from limbeck.evaluation.scores import quality
from limbeck.tasks import Scored, Task, metrics
from limbeck.tasks.likelihood import LIKELIHOODS


def best_constant_answer(
    scored: Scored,
    task: Task,
    metric: str,
) -> Scored:
    """Of the constant answers, the best by `metric`, in place of a model's."""
    likelihood = LIKELIHOODS[task.likelihood]
    num_units, num_logits = scored.logits.shape
    answers = []
    for logits in likelihood.constant_answers(scored.labels, num_logits):
        repeated = np.tile(logits, (num_units, 1))
        answers.append(Scored(repeated, scored.labels, scored.offsets))
    # An error is the better the smaller it is.
    sign = metrics.sign(metric)
    return max(answers, key=lambda answer: sign * quality(answer, task)[metric])
