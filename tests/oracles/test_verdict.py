"""The verdict: when a student is kept, what it beats, and what is said of it."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from limbeck.evaluation.compare import Answers
from limbeck.evaluation.influence import Influence
from limbeck.evaluation.verdict import BASELINE, CONSTANT, Bar, Evidence, judge_arms
from limbeck.recipe.model import Verdict


def chance_above(errors: float) -> float:
    """Of a normal value, by so many standard errors."""
    return 1 - NormalDist().cdf(errors)


def answered(value: float, noise: np.ndarray | None = None, sign: int = 1) -> Answers:
    """Answers that score `value`; in resamples of the rows they would be off by `noise` (999)."""
    off = np.zeros(999) if noise is None else noise - noise.mean()
    nothing = np.zeros(1)
    rows = off * np.sqrt(len(off))
    return Answers([Influence(sign * value, rows, nothing, nothing, len(rows))], sign=sign)


def shares(right: list[bool]) -> Answers:
    """Answers of which each is right or wrong."""
    nothing = np.zeros(1)
    rows = np.array(right)
    return Answers(
        [Influence(rows.mean(), rows - rows.mean(), nothing, nothing, len(rows))], [rows]
    )


def judged(
    drops: np.ndarray,
    *,
    max_drop: float = 0.02,
    speedup: float = 5.0,
    chance: np.ndarray | None = None,
    level: float | None = None,
    name: str = CONSTANT,
    undertrained: dict[str, list[str]] | None = None,
    min_metric: float | None = None,
    **arms: float,
) -> dict[str, Any]:
    """A teacher at 0.9 and a joint student that drops by `drops` in each resample."""
    answers = {"teacher": answered(0.9), "joint": answered(0.9 - float(np.mean(drops)), -drops)}
    answers |= {name: answered(value) for name, value in arms.items()}
    found = Evidence(
        answers=answers,
        speedup=speedup,
        bars=[] if chance is None else [bar(chance, name=name, level=level)],
        undertrained=undertrained or {},
    )
    return judge_arms(found, Verdict(max_drop=max_drop, min_speedup=4.0, min_metric=min_metric))


def bar(values: np.ndarray, *, name: str = CONSTANT, level: float | None = None) -> Bar:
    own = answered(float(values.mean()) if level is None else level, values)
    return Bar(name, "one answer for every row", own)


def test_a_student_is_kept_when_a_larger_drop_is_ruled_out() -> None:
    found = judged(np.linspace(0, 0.0199, 999))
    assert found["kept"]
    assert found["reasons"] == []
    assert found["p_noninferior"] == pytest.approx(
        chance_above((0.02 - 0.0199 / 2) / 0.0199 * 12**0.5), abs=0.002
    )
    assert found["drop"] == pytest.approx(0.0199 / 2)
    half = 1.96 * 0.0199 / 12**0.5
    assert found["drop_ci95"] == pytest.approx([0.0199 / 2 - half, 0.0199 / 2 + half], abs=5e-5)
    assert (found["speedup"], found["max_drop"], found["min_speedup"]) == (5.0, 0.02, 4.0)
    assert found["test"] == "score test of influences"


@pytest.mark.parametrize(("errors", "kept"), [(1.6, False), (1.7, True), (5.0, True)])
def test_the_test_rejects_at_five_percent(errors: float, kept: bool) -> None:
    """A drop of .01 that is so many standard errors below the margin, .03."""
    drops = 0.01 + np.linspace(-1, 1, 999) * 3**0.5 * 0.02 / errors
    found = judged(drops, max_drop=0.03)
    assert found["p_noninferior"] == pytest.approx(chance_above(errors), abs=0.001)
    assert found["kept"] is kept
    assert bool(found["reasons"]) is not kept


def test_a_small_mean_drop_is_not_enough_where_the_interval_is_wide() -> None:
    found = judged(np.random.default_rng(0).normal(0.01, 0.03, 999))
    assert found["drop"] < found["max_drop"]
    assert not found["kept"]
    assert "is not ruled out" in found["reasons"][0]
    assert f"ends at {found['drop_ci95'][1]:.4f})" in found["reasons"][0]


def test_a_student_that_gains_is_kept() -> None:
    found = judged(np.full(999, -0.01))
    assert found["kept"]
    assert found["drop"] == pytest.approx(-0.01)


def test_a_slow_student_is_not_kept_and_both_reasons_are_given() -> None:
    assert judged(np.full(999, 0.001), speedup=3.99)["reasons"] == [
        "3.99 [3.99, 3.99] times as fast as the teacher, 4 asked"
    ]
    assert len(judged(np.full(999, 0.1), speedup=1.0)["reasons"]) == 2
    assert judged(np.full(999, 0.001), speedup=4.0)["kept"]


@pytest.mark.parametrize(
    ("level", "at_chance"), [(0.5, []), (0.895, ["joint"]), (0.9, ["teacher", "joint"])]
)
def test_what_is_no_better_than_a_constant_answer_is_not_kept(
    level: float, at_chance: list[str]
) -> None:
    found = judged(np.full(999, 0.005), chance=np.full(999, level))
    assert [reason.split("`")[1] for reason in found["reasons"]] == at_chance
    assert all(f"({level:.4f})" in reason for reason in found["reasons"])
    assert found["kept"] is not bool(at_chance)


def test_the_constant_answer_is_told_by_its_score_on_the_test_split() -> None:
    """As the arms are: the mean of its resamples is another number by chance."""
    found = judged(np.full(999, 0.5), chance=np.full(999, 0.4015), level=0.4)
    assert found["reasons"][0].startswith(
        "`joint` is not shown to be better than one answer for every row (0.4000): it has 0.4000. It has learned nothing"
    )
    assert found["drop"] == pytest.approx(0.5)


@pytest.mark.parametrize(("errors", "is_shown"), [(1.6, False), (1.7, True)])
def test_better_than_a_constant_answer_must_be_shown(errors: float, is_shown: bool) -> None:
    """A lead of so many standard errors, at a level of 5 %."""
    chance = 0.8 + np.linspace(-1, 1, 999) * 3**0.5 * 0.1 / errors
    assert bool(judged(np.full(999, 0.0), chance=chance)["reasons"]) is not is_shown


def test_gains_are_over_their_controls() -> None:
    found = judged(np.linspace(0, 0.01, 999), plain=0.80, cut=0.84, kd=0.86, **{"kd+ptq": 0.87})
    teacher, answers, joint = found["gains"]
    assert (teacher["name"], teacher["arm"], teacher["control"]) == ("teacher", "kd", "plain")
    assert teacher["gain"] == pytest.approx(0.06)
    assert teacher["ci95"] == pytest.approx([0.06, 0.06])
    assert (answers["name"], answers["control"]) == ("answers", "cut")
    assert answers["gain"] == pytest.approx(0.02)
    assert joint["gain"] == pytest.approx(0.895 - 0.87)
    half = 1.96 * 0.01 / 12**0.5
    assert joint["ci95"] == pytest.approx([0.025 - half, 0.025 + half], abs=5e-5)
    assert joint["seeds"] == 1


def test_a_gain_without_its_control_is_not_told() -> None:
    assert judged(np.full(999, 0.0), kd=0.8)["gains"] == []


@pytest.mark.parametrize(("plain", "at_chance"), [(0.40, True), (0.60, False)])
def test_no_gain_is_claimed_among_arms_at_chance(plain: float, at_chance: bool) -> None:
    found = judged(np.full(999, 0.0), chance=np.full(999, 0.5), plain=plain, kd=0.45)
    assert [row["at_chance"] for row in found["gains"]] == [at_chance]


@pytest.mark.parametrize(
    ("present", "final"),
    [
        (["plain", "kd", "kd+ptq", "joint"], "joint"),
        (["plain", "kd", "kd+ptq"], "kd+ptq"),
        (["plain"], "plain"),
    ],
)
def test_the_last_arm_of_the_flow_is_judged(present: list[str], final: str) -> None:
    means = {"teacher": 0.9} | {arm: 0.5 + 0.1 * index for index, arm in enumerate(present)}
    answers = {arm: answered(value) for arm, value in means.items()}
    found = judge_arms(Evidence(answers=answers, speedup=2.0), Verdict())
    assert found["drop"] == pytest.approx(0.9 - means[final])


def test_a_share_of_right_rows_has_its_own_test() -> None:
    """Nothing changed in 60 rows: the bootstrap was sure of [0, 0]."""
    asked = Verdict(max_drop=0.03, min_speedup=0)

    def judge(lost: int, won: int, rows: int) -> dict[str, Any]:
        same = [True] * (rows - lost - won)
        teacher = shares([True] * lost + [False] * won + same)
        student = shares([False] * lost + [True] * won + same)
        evidence = Evidence(answers={"teacher": teacher, "joint": student}, speedup=2.0)
        return judge_arms(evidence, asked)

    found = judge(0, 0, 60)
    assert found["test"] == "Tango's score test"
    assert found["drop_ci95"] == pytest.approx([-0.0602, 0.0602], abs=1e-4)
    (reason,) = found["reasons"]
    assert "60 test rows cannot prove it, with 0 answered otherwise; about 88 would" in reason
    assert judge(2, 2, 2000)["kept"]
    # Where the drop itself is too large, more rows are no cure.
    assert "cannot prove" not in judge(9, 1, 60)["reasons"][0]


def test_a_good_student_is_not_refused_for_a_bad_teacher() -> None:
    """A teacher below a linear model that the student beats is told, and no reason."""
    found = judged(np.full(999, -0.05), chance=np.full(999, 0.92), name=BASELINE)
    assert found["kept"]
    (note,) = found["notes"]
    assert note.startswith("`teacher` is not shown to be better than")
    assert "it has 0.9000" in note
    assert found["bars"] == [
        {
            "name": "baseline",
            "words": "one answer for every row",
            "level": pytest.approx(0.92),
            "lead": pytest.approx(0.03),
            "lead_ci95": pytest.approx([0.03, 0.03]),
            "is_beaten": True,
        }
    ]


def test_a_student_below_a_linear_model_is_not_kept() -> None:
    found = judged(np.full(999, 0.0), chance=np.full(999, 0.99), name=BASELINE)
    assert [reason.split("`")[1] for reason in found["reasons"]] == ["teacher", "joint"]
    assert all("Train it longer" in reason for reason in found["reasons"])
    assert not found["kept"]
    assert not found["notes"]


def test_an_error_below_a_bar_is_told_as_it_is() -> None:
    """Signed so that more is better, an error is negative; a reader sees no sign."""
    answers = {"teacher": answered(-0.3, sign=-1), "joint": answered(-0.5, sign=-1)}
    constant = Bar(CONSTANT, "one answer for every row", answered(-0.4, sign=-1))
    found = judge_arms(Evidence(answers=answers, speedup=1, bars=[constant]), Verdict(max_drop=1))
    (reason,) = found["reasons"]
    assert "`joint`" in reason
    assert "(0.4000): it has 0.5000" in reason


def test_a_correlation_below_0_keeps_its_sign() -> None:
    """A student at -.08 was told to have .08, above the bar at 0 that it failed."""
    answers = {name: answered(value) for name, value in (("teacher", 0.1), ("joint", -0.08))}
    constant = Bar(CONSTANT, "one answer for every row", answered(0.0))
    linear = Bar(BASELINE, "a linear model", answered(-0.03))
    asked = Verdict(max_drop=0.05, min_metric=0.5)
    found = judge_arms(Evidence(answers=answers, speedup=1, bars=[constant, linear]), asked)
    told = " ".join(found["reasons"])
    assert "(0.0000): it has -0.0800" in told
    assert "(-0.0300): it has -0.0800" in told
    assert "it scores -0.0800, 0.5 asked" in told
    assert [bar["level"] for bar in found["bars"]] == [0.0, -0.03]


@pytest.mark.parametrize(("max_drop", "is_told"), [(0.05, True), (0.02, False)])
def test_a_drop_that_allows_to_lose_everything_is_told(max_drop: float, is_told: bool) -> None:
    """.05 was allowed of a teacher at .552 where one answer has .514."""
    level = np.full(999, 0.86)
    found = judged(np.zeros(999), max_drop=max_drop, chance=level)
    assert found["kept"]
    told = [note for note in found["notes"] if "allows to lose all" in note]
    assert len(told) == is_told
    assert not told or ("(0.0400)" in told[0] and "at most 0.02" in told[0])


@pytest.mark.parametrize(("asked", "kept"), [(None, True), (0.9, True), (0.91, False)])
def test_a_metric_can_be_asked_for(asked: float | None, kept: bool) -> None:
    found = judged(np.zeros(999), min_metric=asked)
    assert found["kept"] is kept
    assert found["reasons"] == ([] if kept else ["it scores 0.9000, 0.91 asked"])


@pytest.mark.parametrize(("asked", "kept"), [(0.4, True), (0.2, False)])
def test_an_error_must_be_at_most_what_is_asked(asked: float, kept: bool) -> None:
    answers = {name: answered(-0.3, sign=-1) for name in ("teacher", "joint")}
    found = judge_arms(Evidence(answers=answers, speedup=1), Verdict(min_metric=asked))
    assert found["kept"] is kept


def test_what_was_trained_too_little_is_not_kept() -> None:
    said = {"teacher": ["was trained for 9 steps"], "joint": []}
    found = judged(np.zeros(999), undertrained=said)
    assert found["reasons"] == ["`teacher` was trained for 9 steps"]
    # Beside a student that is shown to be better than its teacher, it is no reason.
    found = judged(np.full(999, -0.05), undertrained=said)
    assert (found["kept"], found["notes"]) == (True, ["`teacher` was trained for 9 steps"])
    found = judged(np.full(999, -0.05), undertrained={"joint": ["never answers `c`"]})
    assert found["reasons"] == ["`joint` never answers `c`"]
