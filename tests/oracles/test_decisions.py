"""What decision.json holds, beside scipy, enumeration and simulation: temperature, promise, sets, thresholds, calibration."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from limbeck.evaluation.decisions import conformal, fitting
from limbeck.evaluation.decisions.coverage import cascade_curve, coverage_curve
from limbeck.evaluation.decisions.decision import Decision
from limbeck.evaluation.decisions.distinct import input_of_row
from limbeck.evaluation.decisions.promise import (
    Judged,
    binomial_cdf,
    lower_bound,
    promise,
    rows_needed,
    upper_bound,
)
from limbeck.evaluation.decisions.reliability import Pairs, calibration, pairs_of, perfect
from limbeck.evaluation.decisions.thresholds import best_f1, cheapest
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import UNKNOWN, log_softmax, sigmoid, softmax
from limbeck.tasks.text_classification import TextClassification


def sharpened(num: int, labels: int = 3, temperature: float = 2.5, seed: int = 0):
    """Logits that are surer than their labels deserve, by the factor `temperature`, and these labels."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=(num, labels)) * 1.5
    cumulative = softmax(true).cumsum(1)
    drawn = (generator.random((num, 1)) > cumulative).sum(1).clip(0, labels - 1)
    return (true * temperature).astype(np.float32), drawn.astype(np.int64)


def scored(logits: np.ndarray, labels: np.ndarray) -> Scored:
    return Scored(logits, labels, np.arange(len(logits) + 1))


def test_the_temperature_is_that_of_scipy_and_near_the_true_one() -> None:
    logits, labels = sharpened(2000)
    found = fitting.fit(logits, labels, np.arange(2000), "categorical")
    smoothing = 1 / 2002
    target = np.full((2000, 3), smoothing / 2)
    target[np.arange(2000), labels] = 1 - smoothing
    best = optimize.minimize_scalar(
        lambda t: -(target * log_softmax(logits / t)).sum(1).mean(),
        bounds=(0.1, 10),
        method="bounded",
    )
    assert found.temperature == pytest.approx(best.x, rel=1e-4)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    # The labels are drawn without a bias, so none is worth its parameters.
    assert found.bias is None


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_temperature_and_bias_are_those_of_scipy_where_a_bias_helps(likelihood: str) -> None:
    generator = np.random.default_rng(1)
    logits, labels = sharpened(1500, seed=1)
    moved = logits + np.array([2.0, 0.0, -1.0], np.float32)
    if likelihood == "bernoulli":
        labels = (generator.random(logits.shape) < sigmoid(logits / 2.5)).astype(np.float32)
        labels[:40, 1] = UNKNOWN
    found = fitting.fit(moved, labels, np.arange(1500), likelihood)
    assert found.bias is not None

    def loss(at: np.ndarray) -> float:
        z = at[0] * moved.astype(float) + at[1:]
        prior = (at[1:] ** 2).sum() / 2 / 1500
        if likelihood == "categorical":
            target = np.full((1500, 3), 1 / 1502 / 2)
            target[np.arange(1500), labels] = 1 - 1 / 1502
            return -(target * log_softmax(z)).sum(1).mean() + prior
        known = labels != UNKNOWN
        smoothing = 1 / (known.sum(0) + 2)
        target = np.where(labels > 0, 1 - smoothing, smoothing)
        return np.where(known, np.logaddexp(0, z) - target * z, 0).sum() / 1500 + prior

    best = optimize.minimize(loss, np.array([1.0, 0, 0, 0]), method="BFGS", options={"gtol": 1e-8})
    assert 1 / found.temperature == pytest.approx(best.x[0], abs=1e-4)
    assert found.bias == pytest.approx(best.x[1:], abs=1e-4)


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_what_is_perfect_constant_absent_or_hopeless_stays_bounded(likelihood: str) -> None:
    labels = np.arange(60) % 3
    one_hot = np.eye(3, dtype=np.float32)[labels]
    given_labels = labels if likelihood == "categorical" else one_hot
    rows = np.arange(60)
    right = fitting.fit(one_hot * 8 - 4, given_labels, rows, likelihood)
    assert 0.01 <= right.temperature < 100
    decision = Decision(likelihood=likelihood, temperature=right.temperature)
    # Sixty right rows say no more than about one error in 62.
    assert decision.probabilities(one_hot * 8 - 4).max() == pytest.approx(1 - 1 / 62, abs=0.02)
    constant = np.zeros((60, 3), np.float32) + np.array([1, 1, 1], np.float32)
    assert np.isfinite(fitting.fit(constant, given_labels, rows, likelihood).temperature)
    hopeless = fitting.fit(one_hot * -8 + 4, given_labels, rows, likelihood)
    assert hopeless.temperature == 100
    unknown = np.full_like(given_labels, UNKNOWN)
    assert fitting.fit(one_hot, unknown, rows, likelihood) == fitting.Fitted()
    only = np.zeros(60, np.int64) if likelihood == "categorical" else np.zeros((60, 3), np.float32)
    assert np.isfinite(fitting.fit(one_hot, only, rows, likelihood).temperature)


def test_logits_that_are_no_numbers_are_refused_with_their_row() -> None:
    logits, labels = sharpened(30)
    logits[4, 1] = np.nan
    with pytest.raises(
        ValueError, match=r"answers 1 inputs of validation with logits that are no finite"
    ):
        fitting.fit(logits, labels, np.arange(30), "categorical")


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_the_binomial_and_its_bounds_are_those_of_scipy(
    errors: int, more: int, share: float
) -> None:
    rows = errors + more
    assert binomial_cdf(errors, rows, share) == pytest.approx(
        stats.binom.cdf(errors, rows, share), abs=1e-12
    )
    upper = stats.beta.ppf(0.95, errors + 1, more) if more else 1.0
    lower = stats.beta.ppf(0.05, errors, more + 1) if errors else 0.0
    assert upper_bound(errors, rows, 0.95) == pytest.approx(upper, abs=1e-9)
    assert lower_bound(errors, rows, 0.95) == pytest.approx(lower, abs=1e-9)


def test_a_large_binomial_does_not_underflow() -> None:
    found = binomial_cdf(20_100, 1_000_000, 0.02)
    assert found == pytest.approx(stats.binom.cdf(20_100, 1_000_000, 0.02), rel=1e-6)


def test_the_rows_that_a_promise_needs() -> None:
    assert rows_needed(0.02, 0.95) == 149
    assert rows_needed(0.05, 0.95) == 59
    assert rows_needed(0.5, 0.5) == 1
    right = Judged(np.full(148, 0.9), np.zeros(148, bool))
    enough = Judged(np.full(149, 0.9), np.zeros(149, bool))
    assert promise(right, right, 0.02, 0.95).threshold is None
    found = promise(right, enough, 0.02, 0.95)
    assert (found.threshold, found.answered, found.errors, found.needed) == (0.0, 149, 0, 149)
    assert found.upper <= 0.02
    nothing = Judged(np.zeros(0), np.zeros(0, bool))
    assert promise(right, nothing, 0.02, 0.95).threshold is None
    assert promise(nothing, enough, 0.02, 0.95).threshold == 0.0


def drawn(generator: np.random.Generator, rows: int, share: float) -> Judged:
    """Rows of a confidence drawn evenly from [0, 1]; one of confidence c is wrong with probability `2 share (1 - c)`."""
    confidence = generator.random(rows)
    return Judged(confidence, generator.random(rows) < 2 * share * (1 - confidence))


def error_above(threshold: float, share: float) -> float:
    """The true share of errors of what is answered at a threshold: the mean of 2 share (1 - c) over c above it."""
    return share * (1 - threshold)


def broken(draws: int, rows: int, share: float, max_error: float) -> tuple[int, int]:
    """Of so many draws, how often a promise was made, and how often a broken one."""
    generator = np.random.default_rng(rows)
    made = wrong = 0
    for _ in range(draws):
        found = promise(
            drawn(generator, rows, share), drawn(generator, rows, share), max_error, 0.95
        )
        made += found.threshold is not None
        wrong += found.threshold is not None and error_above(found.threshold, share) > max_error
    return made, wrong


@pytest.mark.parametrize(
    ("rows", "share"), [(300, 0.3), pytest.param(600, 0.06, marks=pytest.mark.slow)]
)
def test_a_promise_is_broken_as_seldom_as_it_says(rows: int, share: float) -> None:
    made, wrong = broken(2000, rows, share, 0.05)
    # At most 5 %, and three standard errors of 2,000 draws.
    assert wrong / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    # And it is no empty one: where it can be kept, it is mostly made.
    assert made > 1000 or share > 0.1


@pytest.mark.nightly
@pytest.mark.parametrize("rows", [100, 300, 1000, 3000])
@pytest.mark.parametrize("share", [0.05, 0.06, 0.2, 0.5])
def test_a_promise_is_broken_as_seldom_as_it_says_in_many_draws(rows: int, share: float) -> None:
    _, wrong = broken(20_000, rows, share, 0.05)
    assert wrong / 20_000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)


def test_sets_hold_the_true_label_as_often_as_they_say() -> None:
    held = []
    for seed in range(300):
        logits, labels = sharpened(100 + 200, seed=seed)
        p = softmax(logits.astype(float))
        least = conformal.least_probability(p[:100], labels[:100], 0.9)
        assert least is not None
        chosen = conformal.sets(p[100:], least)
        held.append(chosen[np.arange(200), labels[100:]].mean())
    # The mean over draws is (k / 101) for k = ceil(101 * .9), up to the simulation's error.
    assert np.mean(held) == pytest.approx(91 / 101, abs=0.01)


def test_the_rank_of_a_set_by_enumeration() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 0])
    # k = ceil(5 * .6) = 3: the third smallest of 1 - p = .1, .2, .4, .7.
    assert conformal.least_probability(p, labels, 0.6) == 0.6
    assert conformal.least_probability(p, labels, 0.95) is None
    assert conformal.rows_needed(0.95) == 19
    assert conformal.rows_needed(0.6) == 2


def test_misses_of_right_sets_are_beta_binomial() -> None:
    # 91 of 101 ranks hold, so that the share that holds is Beta(91, 10).
    for missed, num_test in ((363, 3000), (0, 5), (12, 60), (60, 60)):
        expected = stats.betabinom.sf(missed - 1, num_test, 10, 91)
        found = conformal.p_of_misses(missed, num_test, 100, 0.9)
        assert found == pytest.approx(expected, rel=1e-9)
    # 87.9 % of 3,000 rows is no break, though the test rows alone would say so.
    assert conformal.p_of_misses(363, 3000, 100, 0.9) > 0.2
    assert lower_bound(363, 3000, 0.95) > 0.1
    # Sets of all labels.
    assert conformal.p_of_misses(0, 10, 5, 0.9) == 1


def test_right_sets_are_called_broken_in_one_draw_of_twenty() -> None:
    generator = np.random.default_rng(3)
    covered = generator.beta(91, 10, 2000)
    missed = generator.binomial(500, 1 - covered)
    broken = [conformal.p_of_misses(int(each), 500, 100, 0.9) < 0.05 for each in missed]
    assert np.mean(broken) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert np.mean(broken) > 0.02


def test_sets_are_those_of_mapie() -> None:
    classification = pytest.importorskip("mapie.classification")
    from sklearn.linear_model import LogisticRegression

    logits, labels = sharpened(600, seed=3)
    model = LogisticRegression().fit(logits[:200], labels[:200])
    theirs = classification.SplitConformalClassifier(
        model, confidence_level=0.9, conformity_score="lac", prefit=True
    ).conformalize(logits[200:400], labels[200:400])
    _, expected = theirs.predict_set(logits[400:])
    p = model.predict_proba(logits[200:400])
    least = conformal.least_probability(p, labels[200:400], 0.9)
    assert least is not None
    found = conformal.sets(model.predict_proba(logits[400:]), least)
    assert (found == expected[:, :, 0]).all()


def test_the_cheapest_label_by_enumeration() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(3), 50)
    costs = np.array([[0, 1, 4], [2, 0, 1], [9, 3, 0.5]])
    for row, chosen in zip(p, cheapest(p, costs), strict=True):
        expected = [sum(row[i] * costs[i, j] for i in range(3)) for j in range(3)]
        assert chosen == int(np.argmin(expected))
    assert (cheapest(p, 1 - np.eye(3)) == p.argmax(1)).all()


def test_the_best_threshold_by_enumeration() -> None:
    generator = np.random.default_rng(0)
    p = np.round(generator.random((80, 2)) ** 3, 2)
    labels = (generator.random((80, 2)) < p * 0.9).astype(np.float32)
    labels[:5] = UNKNOWN
    labels[:, 1] = np.where(np.arange(80) < 4, 1, 0)

    def f1(threshold: float) -> float:
        known = labels[:, 0] != UNKNOWN
        given_label = p[known, 0] > threshold
        true = labels[known, 0] > 0
        return 2 * (given_label & true).sum() / max(1, given_label.sum() + true.sum())

    first, second = best_f1(p, labels)
    assert f1(first) == max(f1(t) for t in np.linspace(-0.005, 0.995, 101))
    # Four rows have the second label, which is too few to say more than one half does.
    assert second == 0.5


def test_the_calibration_error_by_hand() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(307)
    hit = generator.random(307) < p**2
    pairs = Pairs(p, hit, np.arange(307), 307)
    order = np.argsort(p)
    edges = [number * 307 // 15 for number in range(16)]
    expected = sum(
        abs(p[order[low:high]].sum() - hit[order[low:high]].sum()) for low, high in pairwise(edges)
    )
    assert pairs.ece == pytest.approx(expected / 307)


def test_a_calibrated_model_is_within_what_one_may_have_by_chance() -> None:
    within = []
    for seed in range(60):
        logits, labels = sharpened(400, temperature=1, seed=seed)
        pairs = pairs_of(scored(logits, labels), Decision(likelihood="categorical"))
        within.append(pairs.ece <= perfect(pairs))
    assert 0.85 <= np.mean(within) <= 1


@pytest.mark.parametrize("rows", [30, 200, 2000])
def test_the_interval_of_an_ece_holds_it(rows: int) -> None:
    """Resamples alone lie above it: noise makes an ECE larger."""
    logits, labels = sharpened(rows, temperature=1, seed=rows)
    found = calibration(scored(logits, labels), Decision(likelihood="categorical"))
    assert found is not None
    low, high = found["ece_ci95"]
    assert 0 <= low <= found["ece"] <= high


def test_fitting_makes_probabilities_true_on_other_rows() -> None:
    logits, labels = sharpened(4000)
    found = fitting.fit(logits[:1000], labels[:1000], np.arange(1000), "categorical")
    test = scored(logits[1000:], labels[1000:])
    raw = calibration(test, Decision(likelihood="categorical"))
    fitted = calibration(
        test, Decision(likelihood="categorical", temperature=found.temperature, bias=found.bias)
    )
    assert raw is not None and fitted is not None
    assert raw["ece"] > raw["perfect_p95"]
    assert fitted["ece"] < raw["ece"] / 3 and fitted["nll_nats"] < raw["nll_nats"]
    low, high = fitted["ece_ci95"]
    assert 0 <= low < high < raw["ece"]
    assert sum(each["count"] for each in fitted["bins"]) == 3000
    nothing = scored(logits[:3], np.full(3, UNKNOWN))
    assert calibration(nothing, Decision(likelihood="categorical")) is None


def test_coverage_and_cascade_at_both_ends() -> None:
    logits, labels = sharpened(400)
    task = TextClassification(["a", "b", "c"], "")
    student = scored(logits, labels)
    teacher = scored(np.eye(3, dtype=np.float32)[labels] * 100, labels)
    decision = Decision(likelihood="categorical", temperature=2.5)
    curve = coverage_curve(student, decision)
    assert curve[-1]["coverage"] == 1
    assert curve[-1]["error"] == pytest.approx((logits.argmax(1) != labels).mean())
    assert curve[0]["error"] <= curve[-1]["error"]
    assert len(curve) == 20
    cascade = cascade_curve(student, decision, teacher, task, (2.0, 30.0))
    assert cascade[0]["ms"] == 2.0 and cascade[-1]["ms"] == 32.0
    assert cascade[0]["metrics"]["accuracy"] == pytest.approx(1 - curve[-1]["error"])
    # The teacher is always right here, however large its logits.
    assert cascade[-1]["metrics"]["accuracy"] == 1
    middle = cascade[len(cascade) // 2]
    answered = decision.confidence(logits, student.offsets) >= middle["threshold"]
    right = np.where(answered, logits.argmax(1) == labels, True)
    assert middle["metrics"]["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_copies_of_an_input_prove_nothing(likelihood: str) -> None:
    # Eighteen times one text, answered wrongly: nothing is fitted, where a bias for each label was.
    logits = np.tile(np.array([[-2.0, 3.0, 1.0]], np.float32), (18, 1))
    labels = (
        np.zeros(18, np.int64) if likelihood == "categorical" else np.tile([1.0, 0, 0], (18, 1))
    )
    inputs = input_of_row(logits, np.arange(19))
    assert inputs.tolist() == [0] * 18
    assert fitting.fit(logits, labels.astype(labels.dtype), inputs, likelihood) == fitting.Fitted()
    decision = Decision(likelihood=likelihood)
    of_rows = Scored(logits, labels, np.arange(19))
    once = decision.judged(of_rows, once=True)
    assert once.wrong.tolist() == [True] and len(decision.judged(of_rows).wrong) == 18


def test_a_label_that_few_inputs_have_gets_no_bias() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (400, 3)).astype(np.float32)
    labels = (generator.random((400, 3)) < sigmoid(logits - 3)).astype(np.float32)
    labels[:, 2] = np.arange(400) < 4
    found = fitting.fit(logits, labels, np.arange(400), "bernoulli")
    assert found.bias is not None and found.bias[2] == 0 and found.bias[0] < -1
    # A hundred copies of one input are one input.
    inputs = np.where(np.arange(400) < 100, 0, np.arange(400))
    labels[:, 2] = np.arange(400) < 100
    enough = fitting.known_enough(labels, inputs, 3)
    assert enough.tolist() == [True, True, False]
