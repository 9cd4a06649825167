"""Models beside the artifact, decided as it is: like is compared with like.

An artifact of `decide.costs` answers what costs least, and its accuracy is lower for it. Beside a
teacher that answers what is most probable that would look like a loss. So every model of a verdict
decides by the same costs (or by thresholds for each label), with probabilities of its own: the
temperature, the biases and the thresholds are fitted to its own answers to validation, as those of
the artifact are (`making`).

What a model has learned shows in its most probable labels, whatever costs make of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.scores import quality
from limbeck.evaluation.student_t import quantile
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.making import decided, has_decision
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import is_known


@dataclass(frozen=True)
class Decided:
    """A model's answers to the test split.

    raw: its own logits. decision: how it decides by them; None where the logits say it.
    """

    raw: Scored
    decision: Decision | None = None

    @cached_property
    def answered(self) -> Scored:
        """As a user is answered."""
        return self.decision.scored(self.raw) if self.decision else self.raw

    @property
    def has_costs(self) -> bool:
        """Whether costs decide."""
        return self.decision is not None and self.decision.costs is not None

    @cached_property
    def most_probable(self) -> Scored:
        """The same without costs, which may ask for another label than the most probable one."""
        if self.decision is None:
            return self.raw
        return replace(self.decision, costs=None).scored(self.raw)


def decided_alike(
    run: RunContext, task: Task, answer_validation: Callable[[], Scored]
) -> Decision | None:
    """How a model without an artifact decides; None where artifacts, too, answer what the logits
    say.

    Args:
        run: what the arms share.
        task: with the model's preprocessing.
        answer_validation: gives its logits on the validation split.
    """
    decide = run.recipe.decide
    # Without an artifact nobody is answered by what `decide` says.
    if decide is None or run.recipe.quantize is None or not has_decision(task):
        return None
    is_moved = decide.costs is not None or decide.thresholds is not None
    # A rehearsal may have no validation.
    if not is_moved or not run.data.validation:
        return None
    # What is promised, or answered as a set, changes no decision.
    decide = decide.model_copy(update={"max_error": None, "sets": None})
    held = {"validation": answer_validation()}
    # As for an artifact: the last bits of sums hang on the number of threads.
    with threadpool_limits(run.recipe.train.threads):
        return decided(decide, task, held)


def told_alike(models: Mapping[str, Decided], task: Task, metric: str) -> dict[str, Any] | None:
    """What costs make of every model, and what of one answer for every row; None without costs.

    models: of each arm its first seed's, and the baseline's, by name. metric: of the verdict.
    """
    told: dict[str, Any] = {}
    for name, model in models.items():
        if model.decision is None or model.decision.costs is None:
            continue
        costs, answered = model.decision.costs, model.answered
        known = is_known(answered.labels)
        of_row = costs[answered.labels[known]]
        chosen = costs[answered.labels[known], task.decisions(answered)[known]]
        # On test itself, which is the hardest answer to beat.
        cheapest = int(of_row.mean(0).argmin())
        told[name] = {
            "cost": float(chosen.mean()),
            "least_saved": least_mean(of_row[:, cheapest] - chosen),
            "most_probable": quality(model.most_probable, task)[metric],
            "as_answered": quality(answered, task)[metric],
        }
        # The labels of the test split are the same for all of them.
        told["constant"] = {
            "cost": float(of_row[:, cheapest].mean()),
            "label": task.labels[cheapest],
        }
    return told or None


def least_mean(values: np.ndarray) -> float:
    """What the mean of rows (N) is at least, at 95 % confidence, by Student's t; what it is where
    no spread says how far it may lie from that."""
    num_rows = len(values)
    spread = float(values.std(ddof=1)) if num_rows > 1 else 0.0
    unsure = quantile(ALPHA, max(1, num_rows - 1)) * spread / math.sqrt(num_rows)
    return float(values.mean()) - unsure
