"""What decision.json says, fitted through the artifact: its own runtime answers validation.

The half of validation that training saw (for early stopping, or to choose by) fits temperature,
biases and thresholds; the other half, if the recipe promises something, proves the promise alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from limbeck.artifact import manifest
from limbeck.artifact.proof import parity
from limbeck.core.files import read_json, write_json
from limbeck.evaluation.decisions import conformal, fitting
from limbeck.evaluation.decisions.decision import FILE, PROBABILITIES, Decision
from limbeck.evaluation.decisions.distinct import input_of_row
from limbeck.evaluation.decisions.promise import promise
from limbeck.evaluation.decisions.thresholds import best_f1
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding.asked import cost_matrix
from limbeck.recipe.model import Decide
from limbeck.tasks import OverVocabulary, Scored, Task
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.packed import labels_of_answers

# The splits that are answered to decide by; `promise` is empty where nothing is promised.
SPLITS = ("validation", "promise")
# The artifact's logits on both, in the stage's folder.
HELD = "held.npy"


@dataclass(frozen=True)
class Answers:
    """What an artifact answers in its first runtime.

    scored: its own logits on the test split, before decision.json.
    decision: what decision.json says.
    held: its own logits on the validation splits, by name.
    """

    scored: Scored
    decision: Decision
    held: Mapping[str, Scored]

    @property
    def decided(self) -> Scored:
        """The test split as the artifact answers it to a user."""
        return self.decision.scored(self.scored)


def has_decision(task: Task) -> bool:
    """Whether a task's answers are labels with probabilities."""
    return task.likelihood in PROBABILITIES and not isinstance(task, OverVocabulary)


def fit_decision(
    decide: Decide | None, run: RunContext, task: Task, artifact: Path, work: Path
) -> None:
    """Write decision.json into an artifact, and what it answered to `work`.

    Args:
        decide: the recipe's; None fits the probabilities alone.
        run: what the arms share.
        task: with the student's preprocessing.
        artifact: complete but for its decision.
        work: the stage's folder.

    Raises:
        ValueError: the artifact answers with what are no numbers.
    """
    # A number or a vector has no probability that could be fitted.
    if not has_decision(task):
        return
    # 1. The artifact answers, as a user's process would ask it; one process for both halves.
    rows = [row for split in SPLITS for row in getattr(run.data, split)]
    parity.answer_rows(artifact, first_runtime(artifact), rows, work / HELD)
    held = held_answers(run, task, work)
    # 2. What it answered is fitted, and the file vouched for. The last bits of sums hang on the
    #    number of threads, which torch does not set for numpy.
    with threadpool_limits(run.recipe.train.threads):
        decision = decided(decide, task, held)
    write_json(artifact / FILE, decision.to_json())
    manifest.write_again(artifact)


def decided(decide: Decide | None, task: Task, held: Mapping[str, Scored]) -> Decision:
    """The decision that answers to validation, and to the half of a promise, lead to."""
    # A rehearsal may have none.
    seen = held.get("validation")
    decision = Decision(likelihood=task.likelihood)
    if seen is None:
        return decision
    # Words of one sentence stand or fall together where it is asked what helps, and its copies too.
    inputs = input_of_row(seen.logits, seen.offsets)
    of_unit = np.repeat(inputs, np.diff(seen.offsets))
    fitted = fitting.fit(seen.logits, seen.labels, of_unit, task.likelihood)
    decision = replace(decision, temperature=fitted.temperature, bias=fitted.bias)
    # True probabilities are for everyone; what follows is for who asks.
    if decide is None:
        return decision
    # What is answered comes first: confidence and promise are those of the answers.
    if decide.costs is not None:
        decision = replace(decision, costs=cost_matrix(decide.costs, task.labels))
    if decide.thresholds:
        thresholds = best_f1(decision.probabilities(seen.logits), seen.labels)
        decision = replace(decision, label_thresholds=thresholds)
    # Last: all that a promise is about is fixed now, by other rows than those that prove it.
    if decide.max_error is not None:
        proven = promise(
            decision.judged(seen, once=True),
            decision.judged(held["promise"], once=True),
            decide.max_error,
            decide.confidence,
        )
        decision = replace(decision, promise=asdict(proven))
    if decide.sets is not None:
        decision = replace(decision, sets=_sets(decision, held["promise"], decide.sets))
    return decision


def _sets(decision: Decision, kept: Scored, coverage: float) -> dict[str, Any]:
    """What decision.json says of sets that hold the true label."""
    # A row of unknown label says nothing of whether a set holds it.
    # Nor do copies of a row of one label.
    inputs = input_of_row(kept.logits, kept.offsets)
    pairs = np.stack([inputs, kept.labels], 1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    is_first = np.isin(np.arange(len(inputs)), first)
    known = is_known(kept.labels) & is_first
    p = decision.probabilities(kept.logits[known])
    return {
        "coverage": coverage,
        "least_probability": conformal.least_probability(p, kept.labels[known], coverage),
        "rows": int(known.sum()),
        "needed": conformal.rows_needed(coverage),
    }


def read_answers(run: RunContext, task: Task, artifact: Path, work: Path) -> Answers:
    """What the stage left of an artifact's answers.

    Args:
        run: what the arms share.
        task: with the student's preprocessing.
        artifact: the exported folder.
        work: the stage's.
    """
    logits = np.load(parity.answers_file(work, first_runtime(artifact)))
    scored = Scored(logits, *labels_of_answers(run.encode("test", task)))
    # Numbers and vectors are answered as they are.
    if not has_decision(task):
        return Answers(scored, Decision(likelihood=task.likelihood), {})
    decision = Decision.of(read_json(artifact / FILE), task)
    return Answers(scored, decision, held_answers(run, task, work))


def held_answers(run: RunContext, task: Task, work: Path) -> dict[str, Scored]:
    """The artifact's logits on the splits of validation that have rows, from the stage's folder."""
    logits = np.load(work / HELD)
    held = {}
    start = 0
    for split in SPLITS:
        if not getattr(run.data, split):
            continue
        # Labels are those of the data: only logits are kept.
        labels, offsets = labels_of_answers(run.encode(split, task))
        held[split] = Scored(logits[start : start + len(labels)], labels, offsets)
        start += len(labels)
    return held


def first_runtime(artifact: Path) -> str:
    """The runtime that opens an artifact by default."""
    return manifest.graphs_in(artifact)[0]["runtime"]
