"""`calibration` of report.json: whether probabilities mean what they say, what the artifact decides
by, and what came of its promise on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.decisions import conformal
from limbeck.evaluation.decisions.coverage import cascade_curve, coverage_curve
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.decisions.distinct import input_of_row
from limbeck.evaluation.decisions.promise import lower_bound
from limbeck.evaluation.decisions.reliability import Pairs, calibration
from limbeck.evaluation.scores import told_quality
from limbeck.evaluation.verdict import judged_arm
from limbeck.pipeline.arm import Arm
from limbeck.pipeline.deciding.making import Answers, has_decision
from limbeck.pipeline.deciding.shift import shift
from limbeck.tasks import Scored, Task
from limbeck.tasks.likelihood import is_known

# The same model in float, by the arm whose artifact is handed out.
FLOAT_ARMS = {"joint": "kd", "kd+ptq": "kd", "qat": "plain", "ptq": "teacher"}
# A lower bound of what goes wrong on test is one-sided, as the promise is.
CONFIDENCE = 0.95

Json = dict[str, Any]


def describe_calibration(
    arms: Mapping[str, Sequence[Arm]], latency: Mapping[str, Json], metric: str, kept: np.ndarray
) -> Json | None:
    """How the artifact that is handed out decides, judged on the test rows that a verdict is about;
    None where there is none, or its answers are no labels.

    Args:
        arms: every seed of each arm.
        latency: of each arm, as report.json has it.
        metric: that the verdict is about.
        kept: (N; bool) which rows of the test split it is about.
    """
    # 1. What is handed out: the first seed's artifact.
    name = judged_arm(arms)
    shipped = arms[name][0]
    task = shipped.task
    if shipped.artifact is None or not has_decision(task):
        return None
    every = shipped.artifact.answers
    answers = replace(every, scored=of_rows(every.scored, kept))
    decision = answers.decision
    plain = Decision(likelihood=task.likelihood)
    # 2. Before and after quantization, and before and after fitting.
    float_arm = arms.get(FLOAT_ARMS.get(name, ""))
    models = {}
    if float_arm:
        models["float"] = calibration(of_rows(float_arm[0].decided.raw, kept), plain)
    models |= {
        "raw": calibration(answers.scored, plain),
        "fitted": calibration(answers.scored, decision),
    }
    # Of rows that neither training nor fitting saw, but that are drawn as validation is: where test
    # is not, the two differ.
    promised = answers.held.get("promise")
    if promised:
        models["kept"] = calibration(promised, decision)
    # 3. Rows that abstain may go to the teacher.
    teachers = arms.get("teacher")
    cascade = None
    if teachers:
        milliseconds = latency[name]["ms"], latency["teacher"]["ms"]
        teacher = of_rows(teachers[0].scored, kept)
        cascade = cascade_curve(answers.scored, decision, teacher, task, milliseconds)
    return {
        "arm": name,
        "metric": metric,
        "of": unit_of(task),
        "inputs": num_inputs(answers),
        "temperature": decision.temperature,
        "bias": None if decision.bias is None else decision.bias.tolist(),
        "models": models,
        "per_label": per_label(answers.scored, decision, task),
        "answers": told_answers(answers, task),
        "promise": told_promise(answers),
        "sets": told_sets(answers),
        "shift": told_shift(answers, task),
        "coverage": coverage_curve(answers.scored, decision),
        "cascade": cascade,
    }


def num_inputs(answers: Answers) -> int:
    """How many inputs that differ the probabilities were fitted on."""
    held = answers.held.get("validation")
    return len(np.unique(input_of_row(held.logits, held.offsets))) if held else 0


def unit_of(task: Task) -> str:
    """What has a probability of its own."""
    if "words" in task.row_keys:
        return "words"
    return "labels of rows" if task.likelihood == "bernoulli" else "rows"


def per_label(scored: Scored, decision: Decision, task: Task) -> list[Json] | None:
    """Of several labels, the ECE of each before and after; None of others."""
    if task.likelihood != "bernoulli":
        return None
    # As the graph says it, and as it is fitted.
    known = is_known(scored.labels)
    both = [Decision(likelihood=task.likelihood), decision]
    rows = []
    for index, label in enumerate(task.labels):
        own = known[:, index]
        # A label that nobody spoke of in test has no error.
        if not own.any():
            continue
        hit = scored.labels[own, index] > 0
        # One label of a row is one pair of its own.
        row = np.flatnonzero(own)
        errors = [
            Pairs(each.probabilities(scored.logits)[own, index], hit, row, len(own)).ece
            for each in both
        ]
        rows.append({"label": label, "ece_raw": errors[0], "ece_fitted": errors[1]})
    return rows


def told_answers(answers: Answers, task: Task) -> Json | None:
    """Every metric of the most probable labels of the graph, and of what is answered; and what both
    cost. None where these are the same."""
    decision = answers.decision
    decided = answers.decided
    # A temperature alone changes no decision.
    if decided.decided is None and decision.bias is None:
        return None
    # Both on the same rows and by the same metrics, so that what thresholds win is seen.
    told: Json = {
        "most_probable": told_quality(answers.scored, task),
        "as_answered": told_quality(decided, task),
    }
    if decision.label_thresholds is not None:
        pairs = zip(task.labels, decision.label_thresholds.tolist(), strict=True)
        told["thresholds"] = dict(pairs)
    if decision.costs is not None:
        # What the recipe's costs come to, a row.
        known = is_known(answers.scored.labels)
        true = answers.scored.labels[known]
        for name, scored in (("most_probable", answers.scored), ("as_answered", decided)):
            costs = decision.costs[true, task.decisions(scored)[known]]
            told[f"cost_{name}"] = float(costs.mean())
    return told


def told_promise(answers: Answers) -> Json | None:
    """The promise, and what came of it on the test split."""
    promise = answers.decision.promise
    threshold = answers.decision.threshold
    if promise is None or threshold is None:
        return None
    # The test split takes no part in the promise: it shows what came of it.
    judged = answers.decision.judged(answers.scored)
    answered, errors = judged.answered(threshold)
    low = lower_bound(errors, answered, CONFIDENCE)
    test = {
        "rows": len(judged.wrong),
        "answered": answered,
        "errors": errors,
        "coverage": answered / max(1, len(judged.wrong)),
        "error": errors / answered if answered else None,
        "error_low": low,
    }
    return {**promise, "test": test, "is_broken": low > promise["max_error"]}


def told_sets(answers: Answers) -> Json | None:
    """The sets, and how many of the test split hold the true label."""
    asked = answers.decision.sets
    if asked is None:
        return None
    known = is_known(answers.scored.labels)
    labels = answers.scored.labels[known]
    p = answers.decision.probabilities(answers.scored.logits[known])
    least = asked["least_probability"]
    chosen = conformal.sets(p, 0.0 if least is None else least)
    # Out of the set, by its true label.
    missed = int((~chosen[np.arange(len(labels)), labels]).sum())
    # Also right sets miss more than they promise of rows, by which rows were kept for them.
    p_right = conformal.p_of_misses(missed, len(labels), asked["rows"], asked["coverage"])
    test = {
        "rows": len(labels),
        "missed": missed,
        "p": p_right,
        "coverage": 1 - missed / max(1, len(labels)),
        "mean_size": float(chosen.sum(1).mean()) if len(labels) else None,
        "one_label": float((chosen.sum(1) == 1).mean()) if len(labels) else None,
    }
    return {**asked, "test": test, "is_broken": p_right < 1 - CONFIDENCE}


def told_shift(answers: Answers, task: Task) -> Json | None:
    """What differs between the rows that were decided by and the test split; None without any."""
    # Rows that no training saw are the better witnesses, where some were kept.
    held = answers.held.get("promise") or answers.held.get("validation")
    return shift(held, answers.scored, answers.decision, task) if held else None


def reasons(calibration: Json | None) -> list[str]:
    """Why an artifact is not kept for what `decide` asked of it: nothing could be promised, or the
    test split breaks the promise."""
    found = []
    # An artifact that abstains from everything was not asked for.
    promise = (calibration or {}).get("promise")
    if promise and promise["threshold"] is None:
        found.append(unpromised(promise))
    if promise and promise["is_broken"]:
        test = promise["test"]
        found.append(
            f"decide: at most {promise['max_error']:g} of the answers were to be wrong, and of "
            f"{test['answered']:,} answered test rows {test['errors']:,} are: at least "
            f"{test['error_low']:.4f} at {CONFIDENCE:.0%} confidence{because(calibration)}"
        )
    # Sets are broken by what test shows beyond the chance of both draws, kept rows and test rows.
    sets = (calibration or {}).get("sets")
    if sets and sets["least_probability"] is None:
        found.append(
            f"decide: {sets['rows']:,} rows were kept for sets that hold the true label in "
            f"{sets['coverage']:.0%} of all cases, which {sets['needed']:,} would prove: every set "
            "is all labels"
        )
    if sets and sets["is_broken"]:
        found.append(
            f"decide: {sets['coverage']:.0%} of the sets were to hold the true label, and on test "
            f"{sets['test']['coverage']:.1%} do: sets that are right miss so many in a share "
            f"of {sets['test']['p']:.2g} of all draws of the {sets['rows']:,} kept rows and of "
            f"test{because(calibration)}"
        )
    return found + too_costly(calibration)


def too_costly(calibration: Json | None) -> list[str]:
    """That the artifact is not shown to cost less than one answer for every row, for which nobody
    needs a model."""
    alike = ((calibration or {}).get("answers") or {}).get("alike")
    if not calibration or not alike:
        return []
    own, constant = alike[calibration["arm"]], alike["constant"]
    if own["least_saved"] > 0:
        return []
    return [
        f"decide.costs: a row costs {own['cost']:.4g}, and `{constant['label']}` for every row "
        f"{constant['cost']:.4g}: it is not shown to be cheaper. Train on more rows, or ask "
        "whether these costs leave a model anything to decide"
    ]


def unpromised(promise: Json) -> str:
    """Why nothing is promised, and how many rows would do."""
    asked = f"that at most {promise['max_error']:g} of the answers is wrong"
    why = (
        f"of the {promise['answered']:,} rows, kept for it, that it is surest of, "
        f"{promise['errors']:,} are wrong, so the share may be as high as {promise['upper']:.3f}"
    )
    return (
        f"decide: it cannot be promised {asked} ({promise['confidence']:.0%} confidence): {why}; "
        f"{promise['needed']:,} answered rows without an error would prove it. The artifact "
        "abstains from every row. Give more validation rows, or allow more by decide.max_error"
    )


def because(calibration: Json | None) -> str:
    """The shift between validation and test, behind a broken promise."""
    words = ((calibration or {}).get("shift") or {}).get("words")
    return f". Test is not drawn as validation: {words}" if words else ""
