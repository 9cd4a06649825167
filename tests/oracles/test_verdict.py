"""The verdict against slow loops: resampled metrics, paired differences, seeds, and when a student is kept."""

from typing import Any

import numpy as np
import pytest

from limbeck.evaluation.bootstrap import interval, resample, resampled_metrics
from limbeck.evaluation.paired import Changes
from limbeck.evaluation.scores import quality
from limbeck.evaluation.verdict import BASELINE, CONSTANT, Bar, Evidence, judge_arms
from limbeck.recipe.model import Verdict
from limbeck.tasks import Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.token_classification import TokenClassification

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TEXT = TokenClassification(TAGS, "")
IMAGE = ImageClassification(["a", "b", "c"], "{}")


def images(seed: int, accuracy: float, rows: int = 400) -> Scored:
    """Labels are alike for every seed; each row is right with probability `accuracy`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    decided = np.where(generator.random(rows) < accuracy, labels, (labels + 1) % 3)
    return Scored(np.eye(3)[decided], labels, np.arange(rows + 1))


def texts(seed: int, rows: int = 30) -> Scored:
    generator = np.random.default_rng(seed)
    lengths = np.random.default_rng(0).integers(1, 9, rows)
    labels = np.random.default_rng(1).integers(0, 5, lengths.sum())
    decided = np.where(
        generator.random(len(labels)) < 0.7, labels, generator.integers(0, 5, len(labels))
    )
    return Scored(np.eye(5)[decided], labels, np.concatenate([[0], np.cumsum(lengths)]))


def drawn_again(scored: Scored, counts: np.ndarray) -> Scored:
    """A data set in which row i stands counts[i] times."""
    rows = [i for i, count in enumerate(counts.astype(int)) for _ in range(count)]
    units = [np.arange(scored.offsets[i], scored.offsets[i + 1]) for i in rows]
    flat = np.concatenate(units)
    return Scored(scored.logits[flat], scored.labels[flat], np.cumsum([0, *map(len, units)]))


def test_a_resample_draws_as_many_rows_as_there_are_and_the_same_ones_each_time() -> None:
    weights = resample(50, 200)
    assert weights.shape == (200, 50)
    assert (weights.sum(1) == 50).all()
    assert (weights >= 0).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.35)
    assert np.array_equal(weights, resample(50, 200))


@pytest.mark.parametrize(
    ("task", "seeds"),
    [
        (TEXT, [texts(2), texts(3)]),
        (IMAGE, [images(2, 0.8, 40), images(3, 0.7, 40), images(4, 0.9, 40)]),
    ],
)
def test_resampled_metrics_are_those_of_resampled_data(task: Any, seeds: list[Scored]) -> None:
    """Each row of weights spelled out as a data set and scored afresh; seeds are averaged within a resample. Rows are whole sentences."""
    weights = resample(len(seeds[0].offsets) - 1, 25)
    found = resampled_metrics(seeds, weights, task)
    for draw, counts in enumerate(weights):
        expected = [quality(drawn_again(scored, counts), task) for scored in seeds]
        for name, values in found.items():
            assert values.shape == (25,)
            assert values[draw] == pytest.approx(np.mean([figures[name] for figures in expected]))


def test_the_interval_holds_the_central_95_percent() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx([25.0, 975.0])


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
    means = {"teacher": 0.9, "joint": 0.9 - float(np.mean(drops))} | arms
    resampled = {name: np.full(len(drops), value) for name, value in means.items()} | {
        "joint": 0.9 - drops
    }
    found = Evidence(
        means=means,
        resampled=resampled,
        speedup=speedup,
        bars=[] if chance is None else [bar(chance, name=name, level=level)],
        undertrained=undertrained or {},
    )
    return judge_arms(found, Verdict(max_drop=max_drop, min_speedup=4.0, min_metric=min_metric))


def bar(values: np.ndarray, *, name: str = CONSTANT, level: float | None = None) -> Bar:
    return Bar(name, "one answer for every row", values.mean() if level is None else level, values)


def test_a_student_is_kept_when_a_larger_drop_is_ruled_out() -> None:
    found = judged(np.linspace(0, 0.0199, 999))
    assert found["kept"]
    assert found["reasons"] == []
    assert found["p_noninferior"] == pytest.approx(1 / 1000)
    assert found["drop"] == pytest.approx(0.0199 / 2)
    assert found["drop_ci95"] == pytest.approx([0.0199 * 0.025, 0.0199 * 0.975])
    assert (found["speedup"], found["max_drop"], found["min_speedup"]) == (5.0, 0.02, 4.0)
    assert found["test"] == "paired bootstrap"


@pytest.mark.parametrize(
    ("beyond", "kept"), [(0, True), (48, True), (49, True), (50, False), (999, False)]
)
def test_the_test_rejects_at_five_percent(beyond: int, kept: bool) -> None:
    """p = (1 + resamples beyond the margin) / (1 + resamples), never 0."""
    drops = np.where(np.arange(999) < beyond, 0.03, 0.01)
    found = judged(drops)
    assert found["p_noninferior"] == pytest.approx((1 + beyond) / 1000)
    assert found["kept"] is kept
    assert bool(found["reasons"]) is not kept


def test_a_small_mean_drop_is_not_enough_where_the_interval_is_wide() -> None:
    found = judged(np.random.default_rng(0).normal(0.01, 0.03, 999))
    assert found["drop"] < found["max_drop"]
    assert not found["kept"]
    assert "is not ruled out" in found["reasons"][0]


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


def test_better_than_a_constant_answer_must_be_shown() -> None:
    """At more than 5 % of the resamples where the constant wins, it is not."""
    assert judged(np.full(999, 0.0), chance=np.where(np.arange(999) < 60, 0.95, 0.5))["reasons"]
    assert not judged(np.full(999, 0.0), chance=np.where(np.arange(999) < 40, 0.95, 0.5))["reasons"]


def test_gains_are_over_their_controls() -> None:
    found = judged(np.linspace(0, 0.01, 999), plain=0.80, cut=0.84, kd=0.86, **{"kd+ptq": 0.87})
    teacher, answers, joint = found["gains"]
    assert (teacher["name"], teacher["arm"], teacher["control"]) == ("teacher", "kd", "plain")
    assert teacher["gain"] == pytest.approx(0.06)
    assert teacher["ci95"] == pytest.approx([0.06, 0.06])
    assert (answers["name"], answers["control"]) == ("answers", "cut")
    assert answers["gain"] == pytest.approx(0.02)
    assert joint["gain"] == pytest.approx(0.895 - 0.87)
    assert joint["ci95"] == pytest.approx([0.9 - 0.01 * 0.975 - 0.87, 0.9 - 0.01 * 0.025 - 0.87])


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
    resampled = {arm: np.full(100, value) for arm, value in means.items()}
    found = judge_arms(Evidence(means=means, resampled=resampled, speedup=2.0), Verdict())
    assert found["drop"] == pytest.approx(0.9 - means[final])


def test_a_share_of_right_rows_has_its_own_test() -> None:
    """Nothing changed in 60 rows: the bootstrap was sure of [0, 0]."""
    nothing = np.zeros(100)
    means = {"teacher": 0.9, "joint": 0.9}
    resampled = {"teacher": nothing, "joint": nothing}
    asked = Verdict(max_drop=0.03, min_speedup=0)

    def judge(changed: Changes) -> dict[str, Any]:
        return judge_arms(
            Evidence(means=means, resampled=resampled, speedup=2.0, changed=changed), asked
        )

    found = judge(Changes(0, 0, 60))
    assert found["test"] == "Tango's score test"
    assert found["drop_ci95"] == pytest.approx([-0.0602, 0.0602], abs=1e-4)
    (reason,) = found["reasons"]
    assert "60 test rows cannot prove it, with 0 answered otherwise; about 88 would" in reason
    assert judge(Changes(2, 2, 2000))["kept"]
    # Where the drop itself is too large, more rows are no cure.
    assert "cannot prove" not in judge(Changes(9, 1, 60))["reasons"][0]


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
    means = {"teacher": -0.3, "joint": -0.5}
    resampled = {name: np.full(99, value) for name, value in means.items()}
    found = judge_arms(
        Evidence(means=means, resampled=resampled, speedup=1, bars=[bar(np.full(99, -0.4))]),
        Verdict(max_drop=1),
    )
    (reason,) = found["reasons"]
    assert "`joint`" in reason
    assert "(0.4000): it has 0.5000" in reason


@pytest.mark.parametrize(("asked", "kept"), [(None, True), (0.9, True), (0.91, False)])
def test_a_metric_can_be_asked_for(asked: float | None, kept: bool) -> None:
    found = judged(np.zeros(999), min_metric=asked)
    assert found["kept"] is kept
    assert found["reasons"] == ([] if kept else ["it scores 0.9000, 0.91 asked"])


@pytest.mark.parametrize(("asked", "kept"), [(0.4, True), (0.2, False)])
def test_an_error_must_be_at_most_what_is_asked(asked: float, kept: bool) -> None:
    means = {"teacher": -0.3, "joint": -0.3}
    resampled = {name: np.full(99, value) for name, value in means.items()}
    found = judge_arms(
        Evidence(means=means, resampled=resampled, sign=-1, speedup=1), Verdict(min_metric=asked)
    )
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
