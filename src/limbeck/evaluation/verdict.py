"""Was it worth it, and is the model still good? What the figures of a run's arms mean.

The arms, by what each starts from and learns from:

- `teacher`: what is to be kept.
- `plain`: the student from the weights that were there before the teacher was tuned; labels alone.
- `cut`: the student from the tuned teacher's layers; labels alone.
- `kd`: the student as the recipe says, from labels and the teacher's answers.
- `ptq`: the teacher itself, quantized afterwards. `qat`: `plain`, quantized in its training.
- `kd+ptq`: `kd`, quantized afterwards. `joint`: `kd`, quantized in its training.

A gain is what one arm has over another that differs from it in one thing (`GAINS`). Which
differences are more than chance, `bootstrap.py` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.evaluation import paired
from limbeck.evaluation.bootstrap import ALPHA, interval, is_shown_better, p_of_larger_drop
from limbeck.recipe.model import Verdict

# The first of these that was run is judged and shipped: the later in the flow, the earlier here.
JUDGED = ("joint", "kd+ptq", "qat", "ptq", "kd", "cut", "plain", "teacher")
# What helped -> the arm that had it, and the one that lacked nothing else. `plain` had nothing of
# the teacher, neither answers nor weights; `cut` its weights.
GAINS = {
    "teacher": ("kd", "plain"),
    "answers": ("kd", "cut"),
    "joint": ("joint", "kd+ptq"),
}

# What needs no network: the arm of a linear model, and one answer for every row (`chance.py`).
BASELINE = "baseline"
CONSTANT = "constant"


@dataclass(frozen=True)
class Bar:
    """What a model must be shown to beat: who does not has learned too little.

    `name`: BASELINE or CONSTANT. `words`: what it is. `level`: its metric on the test split, and
    `values`: (R) of the resamples, both signed so that higher is better.
    """

    name: str
    words: str
    level: float
    values: np.ndarray


def judged_arm(names: Iterable[str]) -> str:
    """Of the arms of a run, the one that is judged and shipped."""
    return min((name for name in names if name in JUDGED), key=JUDGED.index)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict is made from; every metric signed so that higher is better.

    `means`: the metric of each arm. `resampled`: its (R) values in the resamples.
    `speedup`, `speedup_ci95`: how many times as fast as the teacher, and the interval of that.
    `sign`: -1 for a metric of which less is better.
    `bars`: what student and teacher must beat.
    `changed`: the rows that both answer otherwise, where the metric is the share of right rows.
    `undertrained`: of teacher and student, what says that it was trained too little.
    """

    means: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]
    speedup: float
    speedup_ci95: Sequence[float] | None = None
    sign: int = 1
    bars: Sequence[Bar] = ()
    changed: paired.Changes | None = None
    undertrained: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def judged(self) -> str:
        """The arm that is judged."""
        return judged_arm(self.means)

    @property
    def drops(self) -> np.ndarray:
        """(R) by how much the judged arm is worse than the teacher: in each resample both are
        scored on the same rows, so that what is hard for both cancels."""
        return self.resampled["teacher"] - self.resampled[self.judged]


def judge_arms(found: Evidence, asked: Verdict) -> dict[str, Any]:
    """report.json's verdict.

    The student is kept when a test rejects, at 5 %, that it drops by more than `asked.max_drop`
    (`paired` for shares of right rows, else the bootstrap), when it is as fast and as good as
    asked, when it is better than every bar (what knows nothing has nothing to lose), and when
    neither was trained too little. What is wrong with a teacher that the student is shown to beat
    in that (a bar, or its own score) is told, and is no reason against the student.
    """
    judged, means, resampled = found.judged, found.means, found.resampled
    # 1. Has either learned anything? What knows nothing loses nothing.
    reasons, notes = learned_too_little(found)
    # 2. How much was lost: of shares of right rows by an interval that holds at any size.
    test, p_noninferior, drop_ci95 = (
        "paired bootstrap",
        p_of_larger_drop(found.drops, asked.max_drop),
        interval(found.drops),
    )
    more_rows = ""
    if found.changed:
        test = "Tango's score test"
        p_noninferior = paired.p_of_larger_drop(found.changed, asked.max_drop)
        drop_ci95 = paired.interval(found.changed)
        more_rows = told_rows(found.changed, asked.max_drop)
    if p_noninferior > ALPHA:
        reasons.append(
            f"a drop of more than {asked.max_drop:g} is not ruled out (p = {p_noninferior:.3f})"
            f"{more_rows}"
        )
    # 3. What was asked for beside.
    if asked.min_metric is not None and means[judged] < found.sign * asked.min_metric:
        reasons.append(f"it scores {abs(means[judged]):.4f}, {asked.min_metric:g} asked")
    reasons += too_slow(found, asked.min_speedup)
    verdict = {
        "kept": not reasons,
        "reasons": reasons,
        "notes": notes,
        "bars": [beaten(bar, means[judged], resampled[judged]) for bar in found.bars],
        "drop": means["teacher"] - means[judged],
        "drop_ci95": drop_ci95,
        "max_drop": asked.max_drop,
        "min_speedup": asked.min_speedup,
        "test": test,
        "p_noninferior": p_noninferior,
        "speedup": found.speedup,
        "speedup_ci95": found.speedup_ci95,
    }
    verdict["gains"] = gains(found)
    return verdict


def too_slow(found: Evidence, asked: float) -> list[str]:
    """That the speed asked for was not shown: the low end of the interval counts, so that nothing
    passes by noise."""
    low, high = found.speedup_ci95 or (found.speedup, found.speedup)
    if low >= asked:
        return []
    faster = f"{found.speedup:.3g} [{low:.3g}, {high:.3g}] times as fast as the teacher"
    if found.speedup < asked:
        return [f"{faster}, {asked:g} asked"]
    return [f"{faster}, and {asked:g} asked is not shown: measure more rows (verdict.latency_rows)"]


def learned_too_little(found: Evidence) -> tuple[list[str], list[str]]:
    """What teacher and student have not learned: as reasons against the student, and as notes,
    where it concerns the teacher alone and the student does better."""
    judged, resampled = found.judged, found.resampled
    reasons: list[str] = []
    notes: list[str] = []
    for bar in found.bars:
        # The teacher may itself be what is judged.
        compared = dict.fromkeys(("teacher", judged))
        poor = [arm for arm in compared if not is_shown_better(resampled[arm], bar.values)]
        told = [below(arm, found.means[arm], bar) for arm in poor]
        (reasons if judged in poor else notes).extend(told)
    is_better = is_shown_better(resampled[judged], resampled["teacher"])
    for arm, words in found.undertrained.items():
        told = [f"`{arm}` {each}" for each in words]
        (notes if arm == "teacher" and is_better else reasons).extend(told)
    return reasons, notes


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


def below(arm: str, mean: float, bar: Bar) -> str:
    """That an arm is not shown to be better than a bar, and what follows."""
    # A level is negative for a metric of which less is better.
    level = abs(bar.level)
    own = f"{abs(mean):.4f}"
    lead = f"it has {own}" if mean <= bar.level else f"its lead, at {own}, may be chance"
    follows = {
        CONSTANT: "It has learned nothing that this test set can show",
        BASELINE: "Train it longer, on more rows, or start from a model that was trained before; "
        "where nothing helps, the linear model is smaller and faster",
    }
    return (
        f"`{arm}` is not shown to be better than {bar.words} ({level:.4f}): {lead}. "
        f"{follows[bar.name]}"
    )


def beaten(bar: Bar, mean: float, values: np.ndarray) -> dict[str, Any]:
    """A bar as report.json has it, with the lead of the judged arm."""
    return {
        "name": bar.name,
        "words": bar.words,
        "level": abs(bar.level),
        "lead": mean - bar.level,
        "lead_ci95": interval(values - bar.values),
        "is_beaten": is_shown_better(values, bar.values),
    }


def gains(found: Evidence) -> list[dict[str, Any]]:
    """What helped, of the arms that were run: each gain with its interval.

    `at_chance`: neither arm is shown to be better than one answer for every row, so that their
    difference says nothing.
    """
    means, resampled = found.means, found.resampled
    known: list[dict[str, Any]] = []
    for name, (arm, control) in GAINS.items():
        if arm not in means or control not in means:
            continue
        chance = [bar.values for bar in found.bars if bar.name == CONSTANT]
        has_learned = [
            is_shown_better(resampled[each], values) for each in (arm, control) for values in chance
        ]
        row = {
            "name": name,
            "arm": arm,
            "control": control,
            "gain": means[arm] - means[control],
            "ci95": interval(resampled[arm] - resampled[control]),
            "at_chance": bool(chance) and not any(has_learned),
        }
        known.append(row)
    return known
