"""Intervals that hold at any size, against scipy's bootstrap, Wilson's and Tango's closed forms, slow loops and exact t quantiles."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from limbeck.evaluation import influence, paired
from limbeck.evaluation.compare import Answers, Judged, difference, level_interval, wilson
from limbeck.evaluation.holm import adjusted
from limbeck.evaluation.influence import Influence, influences
from limbeck.evaluation.score_interval import Estimate
from limbeck.evaluation.scores import quality
from limbeck.evaluation.student_t import probability_above, quantile
from limbeck.tasks import Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TEXT: Any = TokenClassification(TAGS, "")
IMAGE: Any = ImageClassification(["a", "b", "c"], "{}")
NUMBER: Any = TextRegression(["0 to 1"], "")


def images(seed: int, accuracy: float, rows: int = 400) -> Scored:
    """Labels are alike for every seed; each row is right with probability `accuracy`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    logits = generator.normal(size=(rows, 3))
    is_right = generator.random(rows) < accuracy
    logits[np.arange(rows), np.where(is_right, labels, (labels + 1) % 3)] += 4
    return Scored(logits, labels, np.arange(rows + 1))


def texts(seed: int, rows: int = 30) -> Scored:
    generator = np.random.default_rng(seed)
    lengths = np.random.default_rng(0).integers(1, 9, rows)
    labels = np.random.default_rng(1).integers(0, 5, lengths.sum())
    decided = np.where(
        generator.random(len(labels)) < 0.7, labels, generator.integers(0, 5, len(labels))
    )
    return Scored(np.eye(5)[decided], labels, np.concatenate([[0], np.cumsum(lengths)]))


def numbers(seed: int, rows: int = 200) -> Scored:
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(9).random(rows).astype(np.float32)
    answers = labels + generator.normal(0, 0.2, rows)
    return Scored(answers[:, None], labels, np.arange(rows + 1))


def joined(scored: Scored, rows: list[int]) -> Scored:
    """The rows of these indices, as a data set."""
    units = [np.arange(scored.offsets[i], scored.offsets[i + 1]) for i in rows]
    flat = np.concatenate(units)
    return Scored(scored.logits[flat], scored.labels[flat], np.cumsum([0, *map(len, units)]))


@pytest.mark.parametrize("degrees", [1, 2, 5, 29, 999])
def test_student_s_t_is_scipy_s(degrees: int) -> None:
    for above in (0.5, 0.05, 0.025, 1e-4, 1e-9):
        value = scipy.stats.t.isf(above, degrees)
        assert quantile(above, degrees) == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert probability_above(value, degrees) == pytest.approx(above, rel=1e-6)


@pytest.mark.parametrize(
    ("task", "scored"),
    [(TEXT, texts(2)), (IMAGE, images(2, 0.8, 40)), (NUMBER, numbers(3, 30))],
    ids=["tags", "images", "numbers"],
)
def test_influences_are_those_of_data_without_a_row_and_with_one_more(
    task: Any, scored: Scored
) -> None:
    """Every metric, each data set scored afresh. Rows are whole sentences."""
    count = len(scored.offsets) - 1
    found = influences(scored, task)
    every = list(range(count))
    # Rows are left out, and drawn once more, in this order.
    order = np.random.default_rng(0).permutation(count)
    for name, own in found.items():
        without = [quality(joined(scored, every[:i] + every[i + 1 :]), task)[name] for i in every]
        expected = (count - 1) * (quality(scored, task)[name] - np.array(without))
        assert own.rows == pytest.approx((expected - expected.mean())[order], abs=1e-6)
        again = [quality(joined(scored, [*every, i]), task)[name] for i in order]
        assert own.again == pytest.approx(
            (count + 1) * (np.array(again) - quality(scored, task)[name]), abs=1e-6
        )


def test_many_rows_are_left_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth as many evaluations, and the same error within what chance explains; labels that lie in order hide nothing."""
    scored = images(1, 0.8, 3000)
    in_order = joined(scored, [int(i) for i in np.argsort(scored.labels, kind="stable")])
    errors = {}
    for most in (300, 3000):
        monkeypatch.setattr(influence, "MOST_BLOCKS", most)
        monkeypatch.setattr(influence, "MOST_NUMBERS", 10_000)
        for name, own in influences(in_order, IMAGE).items():
            errors[name, most] = np.sqrt(np.mean(own.rows**2) / len(own.rows))
    for name in ("accuracy", "macro_f1", "auc"):
        assert errors[name, 300] == pytest.approx(errors[name, 3000], rel=0.15)


@pytest.mark.parametrize(("hits", "rows"), [(0, 30), (30, 30), (7, 30), (1, 1), (150, 200)])
def test_a_share_has_wilson_s_interval(hits: int, rows: int) -> None:
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx([expected.low, expected.high], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(6, 400))
def test_of_shares_the_score_interval_is_tango_s(lost: int, won: int, same: int) -> None:
    """With Student's quantile in place of the normal one, which is a little wider."""
    rows = lost + won + same
    outcomes = np.array([1.0] * lost + [-1.0] * won + [0.0] * same)
    value = float(outcomes.mean())
    estimate = Estimate(value, outcomes - value, 1 - value, 1 + value, rows)
    level = 1 - 2 * scipy.stats.norm.sf(quantile(0.025, max(1, rows - 1)))
    expected = paired.interval(paired.Changes(lost, won, rows), level)
    assert estimate.interval() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auc"])
def test_the_interval_of_a_level_is_about_that_of_scipy_s_bca_bootstrap(metric: str) -> None:
    scored = images(0, 0.85, 300)
    rows = list(range(300))

    def of_rows(drawn: Any) -> float:
        return quality(joined(scored, [int(i) for i in drawn]), IMAGE)[metric]

    expected = scipy.stats.bootstrap(
        (rows,),
        of_rows,
        n_resamples=800,
        method="BCa",
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = level_interval(Judged([scored], IMAGE).by(metric), metric)
    assert found == pytest.approx([expected.low, expected.high], abs=0.008)


@pytest.mark.parametrize("metric", ["macro_f1", "spearman", "root_mean_square_error", "f1"])
def test_the_interval_of_a_difference_is_paired_as_scipy_s_bca_bootstrap_is(metric: str) -> None:
    """Of an error the sign is turned: more is in favour of the first."""
    task, make = {
        "macro_f1": (IMAGE, lambda seed: images(seed, 0.85 if seed else 0.8, 300)),
        "f1": (TEXT, lambda seed: texts(seed, 150)),
    }.get(metric, (NUMBER, numbers))
    first, second = make(0), make(1)

    def of_rows(drawn: Any) -> float:
        rows = [int(i) for i in drawn]
        return (
            quality(joined(first, rows), task)[metric] - quality(joined(second, rows), task)[metric]
        )

    expected = scipy.stats.bootstrap(
        (list(range(len(first.offsets) - 1)),),
        of_rows,
        n_resamples=600,
        method="BCa",
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ends = [expected.low, expected.high]
    if metric == "root_mean_square_error":
        ends = [-expected.high, -expected.low]
    found = difference(Judged([first], task).by(metric), Judged([second], task).by(metric))
    width = expected.high - expected.low
    assert found.interval() == pytest.approx(ends, abs=0.1 * width)


def test_no_change_in_n_rows_is_not_no_drop() -> None:
    """By resamples it was [0, 0], whatever the metric."""
    for task, scored, metric in (
        (IMAGE, images(0, 0.8, 60), "macro_f1"),
        (TEXT, texts(0, 60), "f1"),
        (NUMBER, numbers(0, 60), "spearman"),
    ):
        own = Judged([scored], task).by(metric)
        found = difference(own, own)
        low, high = found.interval()
        assert low < -0.02 < 0.02 < high
        assert found.p_at_least(0.01) > 0.05
        assert found.rows_to_prove(0.01) > 60


def test_what_is_all_right_is_not_certain() -> None:
    low, high = Judged([images(0, 1.1, 60)], IMAGE).intervals()["macro_f1"] or (0, 0)
    assert 0.9 < low < 0.96
    assert high == 1


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("make", [(IMAGE, images), (TEXT, texts), (NUMBER, numbers)])
def test_few_rows_have_finite_intervals_in_order(rows: int, make: Any) -> None:
    task, source = make
    scored = joined(
        source(5, rows=9) if source is not images else images(5, 0.8, 9), list(range(rows))
    )
    for name, ends in Judged([scored], task).intervals().items():
        if ends is not None:
            assert math.isfinite(ends[0]), name
            assert ends[0] <= (quality(scored, task)[name]) + 1e-9
            assert ends[1] >= (quality(scored, task)[name]) - 1e-9


def estimates() -> st.SearchStrategy[Estimate]:
    rows = st.lists(st.floats(-5, 5), min_size=2, max_size=40)
    jumps = st.floats(0, 5)
    seeds = st.lists(st.floats(-1, 1), min_size=0, max_size=4)

    def made(value: float, rows: list[float], rise: float, fall: float, seeds: list[float]) -> Any:
        about = np.array(rows) - np.mean(rows)
        return Estimate(value, about, rise, fall, len(rows), seeds)

    return st.builds(made, st.floats(-1, 1), rows, jumps, jumps, seeds)


@settings(max_examples=60, deadline=None)
@given(estimates(), st.floats(0.01, 0.5))
def test_the_p_value_and_the_interval_say_the_same(estimate: Estimate, above: float) -> None:
    """At the end of the interval p is its level; wider levels hold narrower ones; signs mirror."""
    low, high = estimate.interval(1 - 2 * above)
    assert low <= estimate.value + 1e-12
    assert high >= estimate.value - 1e-12
    if high > estimate.value + 1e-6 and above < 0.45:
        assert estimate.p_at_least(high) == pytest.approx(above, abs=1e-4)
    mirrored = estimate.mirrored.interval(1 - 2 * above)
    assert mirrored == pytest.approx([-high, -low])
    wide = estimate.interval(1 - above)
    assert wide[0] <= low + 1e-9
    assert wide[1] >= high - 1e-9


def test_p_is_one_half_at_what_was_seen_and_falls() -> None:
    estimate = Estimate(0.01, np.linspace(-1, 1, 101), 1.0, 1.0, 101)
    p = [estimate.p_at_least(value) for value in (-1.0, -0.1, 0.01, 0.05, 0.15, 0.9)]
    assert p == sorted(p, reverse=True)
    assert p[2] == pytest.approx(0.5, abs=1e-6)
    assert p[1] == pytest.approx(1 - estimate.mirrored.p_at_least(0.1))
    assert 0 <= p[-1] < 1e-6


def test_the_rows_of_a_power_are_enough() -> None:
    """Simulated: of normal influences, four fifths of the splits of this size rule the margin out."""
    generator = np.random.default_rng(0)
    seen = generator.normal(0, 0.5, 200)
    needed = Estimate(0.0, seen - seen.mean(), 1.0, 1.0, 200).rows_to_prove(0.05)
    assert needed == pytest.approx(((1.645 + 0.842) * seen.std() / 0.05) ** 2, abs=2)
    proved = []
    for _ in range(300):
        rows = generator.normal(0, seen.std(), needed)
        split = Estimate(rows.mean(), rows - rows.mean(), 1.0, 1.0, needed)
        proved.append(split.upper_end(0.05) < 0.05)
    assert np.mean(proved) == pytest.approx(0.8, abs=0.08)


def test_seeds_add_to_the_rows() -> None:
    """Half-widths add as roots of squares; three seeds have Student's t with two degrees."""
    rows = np.linspace(-1, 1, 201)
    alone = Estimate(0.1, rows, 1.0, 1.0, 201).interval()
    found = Estimate(0.1, rows, 1.0, 1.0, 201, seeds=[0.0, 0.1, 0.2]).interval()
    of_seeds = scipy.stats.t.isf(0.025, 2) * 0.1 / 3**0.5
    assert found[1] - 0.1 == pytest.approx(math.hypot(alone[1] - 0.1, of_seeds))


def test_arms_are_compared_seed_by_seed() -> None:
    """Both arms gain from the same seed: their difference is the same in each."""

    def arm(values: list[float]) -> Answers:
        nothing = np.zeros(5)
        return Answers([Influence(value, nothing, nothing, nothing, 5) for value in values])

    gain = difference(arm([0.5, 0.7, 0.9]), arm([0.4, 0.6, 0.8]))
    assert gain.value == pytest.approx(0.1)
    assert gain.interval() == pytest.approx([0.1, 0.1])
    # A teacher of one seed stands beside each of the student's.
    low, high = difference(arm([0.9]), arm([0.7, 0.8, 0.9])).interval()
    assert high - low == pytest.approx(2 * scipy.stats.t.isf(0.025, 2) * 0.1 / 3**0.5)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_values_are_holm_s_by_hand(p_values: list[float]) -> None:
    """The closed test of every subset: the largest Bonferroni value among those that hold it."""
    found = adjusted(p_values)
    for index, own in enumerate(p_values):
        as_small = sorted(value for value in p_values if value <= own)
        total = len(p_values)
        expected = max(min(1.0, p * (total - place)) for place, p in enumerate(as_small))
        assert found[index] == pytest.approx(expected)


def test_what_is_no_probability_is_refused() -> None:
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"p values lie in \[0, 1\]"):
            adjusted([0.5, wrong])


@pytest.mark.parametrize(
    ("task", "scored"),
    [
        (TEXT, [texts(2), texts(3)]),
        (IMAGE, [images(2, 0.8, 40), images(3, 0.7, 40)]),
        (IMAGE, [images(2, 1.0, 12), images(5, 1.0, 12)]),
        (NUMBER, [numbers(3, 30), numbers(4, 30)]),
    ],
    ids=["tags", "images", "twelve right", "numbers"],
)
@pytest.mark.parametrize("copies", [2, 7])
def test_copies_of_rows_prove_no_more_than_the_rows(
    task: Any, scored: list[Scored], copies: int
) -> None:
    """Levels and differences, mixed as a shuffled file has them; of shares those of Wilson and Tango with Student's t."""
    rows = np.random.default_rng(0).permutation(
        np.repeat(np.arange(len(scored[0].offsets) - 1), copies)
    )
    once = [Judged([each], task) for each in scored]
    often = [Judged([joined(each, rows.tolist())], task, rows) for each in scored]
    for metric, interval in once[0].intervals().items():
        own, copied = [[each.by(metric) for each in arms] for arms in (once, often)]
        tolerance = 0.05 if metric == "accuracy" else 1e-6
        assert often[0].intervals()[metric] == pytest.approx(interval, abs=tolerance)
        assert difference(*copied).interval() == pytest.approx(
            difference(*own).interval(), abs=tolerance
        )
        assert copied[0].num_rows == own[0].num_rows


@pytest.mark.parametrize("copies", [30, 60, 200])
def test_one_text_that_stands_often_proves_nothing(copies: int) -> None:
    """Copies of one text, right by one model alone, had turned NOT KEPT into KEPT: the hypothesis
    took the weight off them, and their variance with it. By hand, z = 1."""
    rows = 265
    labels = np.zeros(rows + copies - 1, int)
    clusters = np.minimum(np.arange(len(labels)), rows - 1)
    answers = [np.where(np.arange(len(labels)) % 7, 0, 1) for _ in range(2)]
    answers[0][clusters == rows - 1], answers[1][clusters == rows - 1] = 0, 1
    offsets = np.arange(len(labels) + 1)
    one, other = (
        Judged([Scored(np.eye(3)[each], labels, offsets)], IMAGE, clusters).by("accuracy")
        for each in answers
    )
    lead = difference(one, other)
    assert lead.value == pytest.approx(copies / len(labels))
    # About one standard error from 0: no proof of anything, on either side.
    assert 0.1 < lead.p_at_most(0.0) < 0.2
    assert difference(other, one).p_at_least(0.0) == pytest.approx(lead.p_at_most(0.0), rel=1e-6)
    low, high = lead.interval()
    assert low < 0 < lead.value < high


def test_rows_of_one_patient_are_left_out_together() -> None:
    """Of unequal groups: each influence is that of a data set without the whole group."""
    scored = images(4, 0.7, 40)
    groups = np.random.default_rng(3).integers(0, 8, 40)
    found = influences(scored, IMAGE, groups)["macro_f1"]
    whole = quality(scored, IMAGE)["macro_f1"]
    without = [
        quality(joined(scored, np.flatnonzero(groups != g).tolist()), IMAGE)["macro_f1"]
        for g in np.random.default_rng(0).permutation(8)
    ]
    expected = 7 * (whole - np.array(without))
    assert found.rows == pytest.approx(expected - expected.mean())


def few_of_one(hits: int, count: int, rows: int = 600) -> Scored:
    """Two labels of many rows, all right, and a third of `count`, of which `hits` are."""
    labels = np.array([0, 1] * ((rows - count) // 2) + [2] * count)
    answers = labels.copy()
    answers[len(labels) - count + hits :] = 0
    return Scored(5.0 * np.eye(3)[answers], labels, np.arange(len(labels) + 1))


def macro_f1_with(hits: float, missed: float, false: float, rows: int = 299) -> float:
    """By hand: of the third label so many rows; what is missed is answered as the first label."""
    first = 2 * rows / (2 * rows + missed)
    return (first + 1 + 2 * hits / (2 * hits + missed + false)) / 3


def test_of_two_right_rows_of_a_label_more_may_be_missed() -> None:
    """Wilson's bound of 2 of 2 is a recall of .34: as much as 3.84 missed rows beside them."""
    level = Judged([few_of_one(2, 2)], IMAGE).by("macro_f1")
    low, high = level_interval(level, "macro_f1")
    t2 = quantile(0.025, 599) ** 2
    assert high == 1
    assert low == pytest.approx(macro_f1_with(2, t2, 0), abs=0.005)
    assert wilson(2, 2)[0] == pytest.approx(2 / (2 + t2), abs=0.005)


def test_of_two_wrong_rows_of_a_label_more_may_be_right() -> None:
    level = Judged([few_of_one(0, 2)], IMAGE).by("macro_f1")
    low, high = level_interval(level, "macro_f1")
    t2 = quantile(0.025, 599) ** 2
    assert high >= macro_f1_with(t2, 2, 0) - 0.005
    assert low > 0.65


@pytest.mark.parametrize(("hits", "count"), [(0, 2), (2, 2), (0, 4)])
def test_no_change_in_two_rows_of_a_label_is_no_proof(hits: int, count: int) -> None:
    """Of macro F1 a third stands on them: a drop of .03 is not ruled out, as it was."""
    answers = Judged([few_of_one(hits, count)], IMAGE).by("macro_f1")
    found = difference(answers, answers)
    low, high = found.interval()
    assert low < -0.1 and high > 0.1
    assert found.p_at_least(0.03) > 0.05
    # Accuracy does not hang on them.
    right = Judged([few_of_one(hits, count)], IMAGE).by("accuracy")
    assert difference(right, right).p_at_least(0.03) < 1e-4


def test_labels_of_many_rows_add_nothing() -> None:
    """Where all labels are alike, one row of any moves the metric as one of another."""
    labels = np.arange(300) % 3
    scored = Scored(5.0 * np.eye(3)[labels], labels, np.arange(301))
    level = Judged([scored], IMAGE).by("macro_f1")
    low, _ = level_interval(level, "macro_f1")
    assert low == pytest.approx(wilson(300, 300)[0], abs=0.001)


def test_hits_that_were_not_lost_could_have_been() -> None:
    """Of nine rows both models find four: that the second loses three hits in ten is not ruled out, which no row
    shows. The interval covered the true drop in .92 of the splits."""
    labels = np.array([0] * 145 + [1] * 146 + [2] * 9)
    decided = labels.copy()
    decided[-5:] = 0
    scored = Scored(np.eye(3)[decided], labels, np.arange(301))
    found = Judged([scored], IMAGE).by("macro_f1")
    low, high = difference(found, found).interval()
    # Three in ten of its hits: F1 of 8 / 14 becomes 5.6 / 12.8 of one label in three.
    lost = (8 / 14 - 5.6 / 12.8) / 3
    assert high > lost and low < -lost


def test_of_several_labels_a_seldom_one_counts_too() -> None:
    task: Any = MultiLabelClassification(["a", "b"], "{}")
    labels = np.zeros((400, 2), np.float32)
    labels[::2, 0] = 1
    labels[:3, 1] = 1
    scored = Scored(np.where(labels > 0, 2.0, -2.0), labels, np.arange(401))
    low, _ = level_interval(Judged([scored], task).by("macro_f1"), "macro_f1")
    t2 = quantile(0.025, 399) ** 2
    assert 0.7 < low <= (1 + 6 / (6 + t2)) / 2 + 0.005
