"""Was it worth it, and is it still good? Control arms, seeds and a paired bootstrap over test rows.

The arms: `plain` (the same student without a teacher), `kd` (distilled, float), `kd+ptq` (the same weights, quantized after), `joint` (distilled
and quantized in one training). A metric is a function of the rows' weights, so one resample of the rows (Efron and Tibshirani, 1993, chapter 6;
Berg-Kirkpatrick et al., 2012) serves every arm and the differences are paired. Seeds are averaged within a resample. Rows are sentences for
tagging, never tokens.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from limbeck.evaluation.bootstrap import ALPHA, interval
from limbeck.recipe.model import Verdict

AT_CHANCE = "is not shown to be better than one answer for every row ({:.4f}): it has learned nothing that this test set can show"
JUDGED = ("joint", "quantized", "kd+ptq", "kd", "plain", "teacher")  # the first that was run


def judged_arm(names: Iterable[str]) -> str:
    """Of the arms of a run, the one that is judged and shipped. `quantized` is the one arm of a recipe without a teacher or a verdict."""
    return min(names, key=JUDGED.index)


def judge_arms(
    means: dict[str, float],
    resampled: dict[str, np.ndarray],
    asked: Verdict,
    *,
    chance: np.ndarray | None,
    speedup: float,
    compression: float,
) -> dict[str, Any]:
    """report.json's verdict, from each arm's mean metric and its resampled values (higher is better).

    The student is kept when the paired bootstrap rejects, at 5 %, that it drops by more than `max_drop`, and it is as much faster as asked; and when
    teacher and student are better than the best constant answer, whose resampled metric is `chance`, for a teacher that knows nothing loses nothing.
    """
    final = judged_arm(means)
    drops = resampled["teacher"] - resampled[final]
    p_noninferior = float((1 + (drops > asked.max_drop).sum()) / (1 + len(drops)))
    reasons = []
    if chance is not None:
        poor = [arm for arm in ("teacher", final) if (resampled[arm] <= chance).mean() > ALPHA]
        reasons += [f"`{arm}` {AT_CHANCE.format(abs(chance.mean()))}" for arm in poor]
    if p_noninferior > ALPHA:
        reasons.append(
            f"a drop of more than {asked.max_drop:g} is not ruled out (p = {p_noninferior:.3f})"
        )
    if speedup < asked.min_speedup:
        reasons.append(f"{speedup:.1f} times as fast as the teacher, {asked.min_speedup:g} asked")
    found = {
        "kept": not reasons,
        "reasons": reasons,
        "drop": means["teacher"] - means[final],
        "drop_ci95": interval(drops),
        "max_drop": asked.max_drop,
        "min_speedup": asked.min_speedup,
        "test": "paired bootstrap",
        "p_noninferior": p_noninferior,
        "speedup": speedup,
        "compression": compression,
    }
    return (
        found
        | gain("kd", "kd", "plain", means, resampled)
        | gain("joint", "joint", "kd+ptq", means, resampled)
    )


def gain(
    name: str, arm: str, control: str, means: dict[str, float], resampled: dict[str, np.ndarray]
) -> dict[str, Any]:
    """`<name>_gain` of an arm over its control with its interval; null where one of the two was not run."""
    if arm not in means or control not in means:
        return {f"{name}_gain": None, f"{name}_gain_ci95": None}
    return {
        f"{name}_gain": means[arm] - means[control],
        f"{name}_gain_ci95": interval(resampled[arm] - resampled[control]),
    }
