"""Losses on outputs against slow float64 code written from the paper's formula, one unit after the other, and against scipy.

The teacher answers with a different spread and offset from the student, so that scale, offset and direction all show. Shapes: B rows, W units, V labels.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, log_expit, rel_entr, softmax
from scipy.stats import pearsonr, zscore

from limbeck.core import registry
from limbeck.models.taps import Outputs
from limbeck.tasks import UNKNOWN, Batch

B, W, V = 3, 4, 5
GENERATOR = np.random.default_rng(0)
OWN, THEIRS = GENERATOR.normal(0, 2, (B, W, V)), GENERATOR.normal(1, 3, (B, W, V))
STUDENT, TEACHER = (
    Outputs(torch.tensor(logits), torch.tensor(GENERATOR.random((B, W)) < 0.8))
    for logits in (OWN, THEIRS)
)
CLASSES = np.where(GENERATOR.random((B, W)) < 0.4, UNKNOWN, GENERATOR.integers(0, V, (B, W)))
COUNTED = [(b, w) for b in range(B) for w in range(W) if STUDENT.mask[b, w] and TEACHER.mask[b, w]]

Vector = np.ndarray


def batch(labels: np.ndarray = CLASSES) -> Batch:
    return Batch({}, None, torch.tensor(labels), STUDENT.mask, np.arange(B))


def value(
    name: str,
    student: Outputs = STUDENT,
    teacher: Outputs = TEACHER,
    labels: np.ndarray = CLASSES,
    **keys: float | str,
) -> float:
    return float(registry.create("losses", name, keys)(student, teacher, batch(labels), 0.5))


def mean(of_unit: Callable[[Vector, Vector], float]) -> float:
    """Over the counted units, of (the student's logits, the teacher's)."""
    return float(np.mean([of_unit(OWN[unit], THEIRS[unit]) for unit in COUNTED]))


def kl(p: Vector, q: Vector) -> float:
    return float(rel_entr(p, q).sum())


def test_the_example_shows_what_it_should() -> None:
    """Units that do not count, and counted ones with and without a label, also where the label is not the teacher's decision."""
    assert 4 < len(COUNTED) < B * W
    labels = [(CLASSES[unit], THEIRS[unit].argmax()) for unit in COUNTED]
    assert any(label == UNKNOWN for label, _ in labels)
    assert any(label not in (UNKNOWN, decided) for label, decided in labels)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_reverse_kl(temperature: float) -> None:
    expected = temperature**2 * mean(
        lambda z, t: kl(softmax(z / temperature), softmax(t / temperature))
    )
    assert value("reverse_kl", temperature=temperature) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.7])
def test_jensen_shannon(temperature: float, beta: float) -> None:
    def generalised(z: Vector, t: Vector) -> float:
        q, p = softmax(z / temperature), softmax(t / temperature)
        m = beta * p + (1 - beta) * q
        return beta * kl(p, m) + (1 - beta) * kl(q, m)

    assert value("jensen_shannon", beta=beta, temperature=temperature) == pytest.approx(
        temperature**2 * mean(generalised), rel=1e-10
    )


def test_jensen_shannon_of_a_half_is_scipy_s() -> None:
    expected = mean(lambda z, t: float(jensenshannon(softmax(z), softmax(t))) ** 2)
    assert value("jensen_shannon", temperature=1.0) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("end", "near", "limit"), [(0.0, 1e-6, "kl"), (1.0, 1 - 1e-6, "reverse_kl")]
)
def test_at_both_ends_jensen_shannon_is_the_scaled_limit(
    end: float, near: float, limit: str
) -> None:
    """JSD / beta goes to kl, JSD / (1 - beta) to reverse_kl, and that is what the ends are."""
    expected = value(limit, temperature=3.0)
    assert value("jensen_shannon", beta=end, temperature=3.0) == expected
    assert value("jensen_shannon", beta=near, temperature=3.0) / 1e-6 == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_share_outside_0_and_1_is_refused(beta: float) -> None:
    with pytest.raises(registry.WrongKey, match="`beta` of `jensen_shannon`"):
        value("jensen_shannon", beta=beta)


def test_total_variation_is_the_most_that_a_set_of_labels_differs_by() -> None:
    """Over all 2^V sets."""
    sets = [[bool(code >> v & 1) for v in range(V)] for code in range(2**V)]
    expected = mean(
        lambda z, t: max(softmax(t)[chosen].sum() - softmax(z)[chosen].sum() for chosen in sets)
    )
    assert value("total_variation") == pytest.approx(expected, rel=1e-10)


def test_logit_mse() -> None:
    assert value("logit_mse") == pytest.approx(
        mean(lambda z, t: sum((a - b) ** 2 for a, b in zip(z, t, strict=True)) / V), rel=1e-12
    )


def test_kl_goes_to_half_the_centred_logit_mse_and_logit_mse_adds_the_offset() -> None:
    """What the docstring says of the two."""
    centred = mean(lambda z, t: float(np.mean(((z - z.mean()) - (t - t.mean())) ** 2)))
    offset = mean(lambda z, t: (z.mean() - t.mean()) ** 2)
    assert value("kl", temperature=1e4) == pytest.approx(centred / 2, rel=1e-3)
    assert value("logit_mse") == pytest.approx(centred + offset, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_logit_standardised(temperature: float) -> None:
    expected = temperature**2 * mean(
        lambda z, t: kl(softmax(zscore(t) / temperature), softmax(zscore(z) / temperature))
    )
    assert value("logit_standardised", temperature=temperature) == pytest.approx(expected, rel=1e-9)


def test_logit_standardised_leaves_scale_and_offset_to_the_student() -> None:
    student = Outputs(0.1 * TEACHER.logits + 7, STUDENT.mask)
    assert value("logit_standardised", student) == pytest.approx(0, abs=1e-12)
    assert value("kl", student) > 0.1


def test_a_head_that_starts_at_zero_gets_a_finite_gradient_from_logit_standardised() -> None:
    logits = torch.zeros(B, W, V, requires_grad=True)
    registry.create("losses", "logit_standardised")(
        Outputs(logits, STUDENT.mask), TEACHER, batch(), 0.5
    ).backward()
    assert 0 < logits.grad.abs().max() < 1e3


def target(unit: tuple[int, int]) -> int:
    return int(THEIRS[unit].argmax()) if CLASSES[unit] == UNKNOWN else int(CLASSES[unit])


def decoupled(unit: tuple[int, int], temperature: float) -> tuple[float, float, float]:
    """(the target's part, the others' part, the teacher's probability of the target)."""
    t, (q, p) = target(unit), (softmax(logits[unit] / temperature) for logits in (OWN, THEIRS))
    others = [v for v in range(V) if v != t]
    of_target = kl(np.array([p[t], 1 - p[t]]), np.array([q[t], 1 - q[t]]))
    return of_target, kl(p[others] / p[others].sum(), q[others] / q[others].sum()), p[t]


@pytest.mark.parametrize(
    ("alpha", "beta", "temperature"),
    [(1.0, 8.0, 4.0), (0.3, 0.5, 1.0), (1.0, 0.0, 2.0), (0.0, 1.0, 2.0)],
)
def test_dkd(alpha: float, beta: float, temperature: float) -> None:
    """The target is the row's label, and the teacher's decision where there is none."""
    parts = [decoupled(unit, temperature) for unit in COUNTED]
    expected = temperature**2 * np.mean(
        [alpha * of_target + beta * of_others for of_target, of_others, _ in parts]
    )
    assert value("dkd", alpha=alpha, beta=beta, temperature=temperature) == pytest.approx(
        expected, rel=1e-9
    )


def test_dkd_is_kl_where_beta_is_the_teacher_s_doubt() -> None:
    """The paper's reformulation, unit by unit: KL = TCKD + (1 - p_t) NCKD."""
    for unit in COUNTED:
        only = torch.zeros(B, W, dtype=torch.bool)
        only[unit] = True
        own, theirs = (Outputs(outputs.logits, only) for outputs in (STUDENT, TEACHER))
        doubt = 1 - decoupled(unit, 2.0)[2]
        assert value("dkd", own, theirs, alpha=1.0, beta=doubt, temperature=2.0) == pytest.approx(
            value("kl", own, theirs, temperature=2.0), rel=1e-9
        )


def test_dkd_of_a_teacher_that_is_certain_still_teaches_the_others() -> None:
    """In float32 1 - p_t is 0 here, and its logarithm would not be finite."""
    logits = torch.tensor([[[60.0, 2.0, 1.0]]])
    own, theirs, labels = (
        Outputs(torch.zeros(1, 1, 3), logits[..., 0] > 0),
        Outputs(logits, logits[..., 0] > 0),
        torch.tensor([[0]]),
    )
    found = registry.create("losses", "dkd", {"alpha": 0.0, "beta": 1.0, "temperature": 1.0})(
        own, theirs, Batch({}, None, labels, own.mask, np.arange(1)), 0.5
    )
    assert float(found) == pytest.approx(kl(softmax([2.0, 1.0]), np.array([0.5, 0.5])), rel=1e-4)


@pytest.mark.parametrize("labels", [np.zeros((B, W, V), np.float32), np.zeros((B, W), np.float32)])
def test_dkd_refuses_labels_that_are_no_classes(labels: np.ndarray) -> None:
    with pytest.raises(
        ValueError,
        match=r"dkd: it needs one class a unit, and this task's labels are none\. Take bernoulli_kl",
    ):
        value("dkd", labels=labels)


@pytest.mark.parametrize(
    ("inter", "intra", "temperature"), [(1.0, 1.0, 1.0), (1.0, 0.0, 4.0), (0.0, 2.0, 0.5)]
)
def test_dist(inter: float, intra: float, temperature: float) -> None:
    """scipy's correlations: of each unit over its labels, of each label over the counted units."""
    q, p = (
        np.array([softmax(logits[unit] / temperature) for unit in COUNTED])
        for logits in (OWN, THEIRS)
    )
    of_units = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q, p, strict=True)])
    of_labels = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q.T, p.T, strict=True)])
    expected = inter * of_units + intra * of_labels
    assert value("dist", inter=inter, intra=intra, temperature=temperature) == pytest.approx(
        expected, rel=1e-5
    )  # its 1e-8 beside small norms


def test_dist_of_one_unit_has_no_relation_between_units() -> None:
    only = torch.zeros(B, W, dtype=torch.bool)
    only[COUNTED[0]] = True
    own, theirs = (Outputs(outputs.logits, only) for outputs in (STUDENT, TEACHER))
    assert value("dist", own, theirs, inter=0.0) == 0
    assert value("dist", own, theirs, intra=0.0) > 0.01


@pytest.mark.parametrize(("margin", "top"), [(1.0, 10), (0.2, 2), (5.0, 1), (2.0, 3)])
def test_rank_hinge(margin: float, top: int) -> None:
    def hinge(z: Vector, t: Vector) -> float:
        first = sorted(range(V), key=lambda v: -t[v])[:top]
        pairs = [(i, j) for i in first for j in range(V) if t[i] > t[j]]
        return sum(max(0.0, min(margin, t[i] - t[j]) - (z[i] - z[j])) for i, j in pairs) / len(
            pairs
        )

    assert value("rank_hinge", margin=margin, top=top) == pytest.approx(mean(hinge), rel=1e-10)


def test_rank_hinge_asks_for_the_order_and_the_margin_alone() -> None:
    """Any rising function of the teacher's logits that keeps each gap above the margin will do; labels that the teacher ties make no pair."""
    steps = torch.arange(V).expand(B, W, V).double()
    teacher, mask = Outputs(steps, TEACHER.mask), STUDENT.mask
    assert value("rank_hinge", Outputs(10 * steps**2 + steps, mask), teacher) == 0
    assert value("rank_hinge", Outputs(0.5 * steps, mask), teacher) > 0
    assert value("rank_hinge", STUDENT, Outputs(torch.zeros(B, W, V), TEACHER.mask)) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_bernoulli_kl(temperature: float) -> None:
    def independent(z: Vector, t: Vector) -> float:
        q, p = expit(z / temperature), expit(t / temperature)
        return sum(
            kl(np.array([a, 1 - a]), np.array([b, 1 - b])) for a, b in zip(p, q, strict=True)
        )

    assert value("bernoulli_kl", temperature=temperature) == pytest.approx(
        temperature**2 * mean(independent), rel=1e-9
    )


def test_bernoulli_kl_of_one_label_is_kl_of_two_classes() -> None:
    """sigmoid(z) is softmax((z, 0))."""
    one = [Outputs(outputs.logits[..., :1], outputs.mask) for outputs in (STUDENT, TEACHER)]
    two = [
        Outputs(torch.cat([outputs.logits, torch.zeros(B, W, 1)], -1), outputs.mask)
        for outputs in one
    ]
    assert value("bernoulli_kl", *one, temperature=3.0) == pytest.approx(
        value("kl", *two, temperature=3.0), rel=1e-9
    )


def test_bernoulli_kl_holds_where_a_sigmoid_is_1_in_float32() -> None:
    """Certain of opposite answers: the nats are the student's logit, where log (1 - sigmoid) would be that of 0."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    own, theirs = torch.tensor([[[40.0], [-200.0]]]), torch.tensor([[[-40.0], [200.0]]])
    found = registry.create("losses", "bernoulli_kl", {"temperature": 1.0})(
        Outputs(own, mask), Outputs(theirs, mask), batch(), 0.5
    )
    assert float(found) == pytest.approx((40 + 200) / 2, rel=1e-6)


SETS = np.where(
    GENERATOR.random((B, W, V)) < 0.3, UNKNOWN, GENERATOR.integers(0, 2, (B, W, V))
).astype(np.float32)
SETS[COUNTED[0]] = UNKNOWN
NUMBERS = GENERATOR.normal(0, 5, (B, W)).astype(np.float32)
NUMBERS[0, 1], NUMBERS[1, 1], NUMBERS[2, 0] = math.nan, math.nan, UNKNOWN


def test_binary_cross_entropy() -> None:
    """The mean over units with a known label of the sum over the known labels."""
    sums = []
    for unit in [(b, w) for b in range(B) for w in range(W) if STUDENT.mask[b, w]]:
        known = [(z, y) for z, y in zip(OWN[unit], SETS[unit], strict=True) if y != UNKNOWN]
        if known:
            sums.append(-sum(y * log_expit(z) + (1 - y) * log_expit(-z) for z, y in known))
    assert 0 < len(sums) < STUDENT.mask.sum()
    assert value("binary_cross_entropy", labels=SETS) == pytest.approx(np.mean(sums), rel=1e-10)


def test_unknown_labels_of_a_set_get_no_gradient_and_the_known_ones_q_less_y() -> None:
    logits = STUDENT.logits.clone().requires_grad_()
    registry.create("losses", "binary_cross_entropy")(
        Outputs(logits, STUDENT.mask), TEACHER, batch(SETS), 0.5
    ).backward()
    counts = (STUDENT.mask.numpy()[..., None] & (SETS != UNKNOWN)).astype(float)
    expected = counts * (expit(OWN) - SETS) / counts.any(-1).sum()
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-10, atol=0)


def test_mean_squared_error() -> None:
    """-100 is a number here; NaN is none."""
    mask = torch.ones(B, W, dtype=torch.bool)
    mask[0, 0] = False
    student = Outputs(STUDENT.logits[..., :1].clone().requires_grad_(), mask)
    loss = registry.create("losses", "mean_squared_error")(student, TEACHER, batch(NUMBERS), 0.5)
    errors = [
        (OWN[b, w, 0] - NUMBERS[b, w]) ** 2
        for b in range(B)
        for w in range(W)
        if mask[b, w] and not math.isnan(NUMBERS[b, w])
    ]
    assert len(errors) == B * W - 3
    assert float(loss.detach()) == pytest.approx(np.mean(errors), rel=1e-10)
    loss.backward()
    assert torch.isfinite(student.logits.grad).all()
    assert (student.logits.grad[0, :2] == 0).all()
