"""Was it worth it, and is the model still good? What the figures of a run's arms mean.

The arms: `plain` (the student without a teacher), `kd` (distilled, float), `kd+ptq` (the same
weights, quantized after), `joint` (distilled and quantized in one training), `quantized` (the one
arm of a recipe without a teacher or a verdict), `teacher`.

Which differences are more than chance, `bootstrap.py` says.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from limbeck.evaluation import paired
from limbeck.evaluation.bootstrap import ALPHA, interval, is_shown_better, p_of_larger_drop
from limbeck.recipe.model import Verdict

# Stands among the arms' means for the best answer that is the same for every row (`chance.py`).
CONSTANT = "constant"
# The first of these that was run is judged and shipped: the later in the flow, the earlier here.
JUDGED = ("joint", "quantized", "kd+ptq", "kd", "plain", "teacher")


def judged_arm(names: Iterable[str]) -> str:
    """Of the arms of a run, the one that is judged and shipped."""
    return min(names, key=JUDGED.index)


def judge_arms(
    means: dict[str, float],
    resampled: dict[str, np.ndarray],
    asked: Verdict,
    *,
    chance: np.ndarray | None,
    changed: paired.Changes | None = None,
    speedup: float,
) -> dict[str, Any]:
    """report.json's verdict, from each arm's mean metric and its resampled values (R), both signed
    so that higher is better.

    `means` may hold the metric of the best constant answer too, as CONSTANT. `chance`: (R) its
    resampled values, None where a task has no such answer; `changed`: the rows that teacher and
    student answer otherwise, where the metric is the share of right rows; `speedup`: times as fast
    as the teacher.

    The student is kept when a test rejects, at 5 %, that it drops by more than `asked.max_drop`
    (`paired` for shares of right rows, else the bootstrap), when it is as fast as asked, and when
    teacher and student are better than chance: what knows nothing has nothing to lose.
    """
    judged = judged_arm(name for name in means if name != CONSTANT)
    # In each resample both are scored on the same rows: what is hard for both cancels.
    drops = resampled["teacher"] - resampled[judged]
    test, p_noninferior, drop_ci95 = (
        "paired bootstrap",
        p_of_larger_drop(drops, asked.max_drop),
        interval(drops),
    )
    more_rows = ""
    if changed:
        test = "Tango's score test"
        p_noninferior = paired.p_of_larger_drop(changed, asked.max_drop)
        drop_ci95 = paired.interval(changed)
        more_rows = told_rows(changed, asked.max_drop)
    reasons = []
    if chance is not None:
        compared = {arm: resampled[arm] for arm in ("teacher", judged)}
        # On the test split itself, as the table of arms shows theirs: the mean of the resamples
        # is another number, by their own chance.
        level = means.get(CONSTANT, float(chance.mean()))
        reasons = at_chance(compared, chance, level)
    if p_noninferior > ALPHA:
        reasons.append(
            f"a drop of more than {asked.max_drop:g} is not ruled out (p = {p_noninferior:.3f})"
            f"{more_rows}"
        )
    if speedup < asked.min_speedup:
        reasons.append(f"{speedup:.1f} times as fast as the teacher, {asked.min_speedup:g} asked")
    verdict = {
        "kept": not reasons,
        "reasons": reasons,
        "drop": means["teacher"] - means[judged],
        "drop_ci95": drop_ci95,
        "max_drop": asked.max_drop,
        "min_speedup": asked.min_speedup,
        "test": test,
        "p_noninferior": p_noninferior,
        "speedup": speedup,
    }
    # What the teacher was worth, and what quantizing inside the training was.
    verdict |= gain("kd", "kd", "plain", means, resampled)
    verdict |= gain("joint", "joint", "kd+ptq", means, resampled)
    return verdict


def told_rows(changed: paired.Changes, max_drop: float) -> str:
    """How many test rows would prove what these cannot; nothing where the drop itself is to blame,
    or no number would."""
    is_small = changed.lost - changed.won < max_drop * changed.rows
    if max_drop == 0 or not is_small:
        return ""
    needed = paired.rows_to_prove(changed, max_drop, ALPHA)
    if needed <= changed.rows:
        return ""
    num_changed = changed.lost + changed.won
    return (
        f": {changed.rows:,} test rows cannot prove it, with {num_changed:,} answered otherwise; "
        f"about {needed:,} would where nothing is lost (80 % power)"
    )


def at_chance(resampled: dict[str, np.ndarray], chance: np.ndarray, level: float) -> list[str]:
    """A reason against each arm that is not shown to be better than one answer for every row.

    `level`: the metric of the best such answer on the test split.
    """
    # It is negative for a metric of which less is better.
    told = (
        f"is not shown to be better than one answer for every row ({abs(level):.4f}): a lead, "
        "where it has one, may be chance. It has learned nothing that this test set can show"
    )
    poor = [arm for arm, values in resampled.items() if not is_shown_better(values, chance)]
    return [f"`{arm}` {told}" for arm in poor]


def gain(
    name: str,
    arm: str,
    control: str,
    means: dict[str, float],
    resampled: dict[str, np.ndarray],
) -> dict[str, Any]:
    """`<name>_gain` of an arm over its control, with its interval; null where one of the two was
    not run."""
    if arm not in means or control not in means:
        return {f"{name}_gain": None, f"{name}_gain_ci95": None}
    differences = resampled[arm] - resampled[control]
    return {
        f"{name}_gain": means[arm] - means[control],
        f"{name}_gain_ci95": interval(differences),
    }
