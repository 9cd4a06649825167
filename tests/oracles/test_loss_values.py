"""Each loss against slow float64 code written from the paper's formula, one unit after the other."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.core import registry
from limbeck.losses.hidden import Hidden
from limbeck.models.taps import HIDDEN, Outputs, Tap
from limbeck.tasks import UNKNOWN, Batch

B, W, V = 3, 4, 5


def drawn(seed: int, width: int, key: str) -> Outputs:
    generator = np.random.default_rng(seed)
    mask = torch.tensor(generator.random((B, W)) < 0.8)
    return Outputs(
        torch.tensor(generator.normal(0, 2, (B, W, V))),
        mask,
        {Tap(HIDDEN, key): torch.tensor(generator.normal(0, 3, (B, W, width)))},
    )


STUDENT, TEACHER = drawn(0, 3, "own"), drawn(1, 6, "theirs")
LABELS = torch.tensor(
    np.where(
        np.random.default_rng(2).random((B, W)) < 0.3,
        UNKNOWN,
        np.random.default_rng(3).integers(0, V, (B, W)),
    )
)
BATCH = Batch({}, None, LABELS, STUDENT.mask, np.arange(B))


def probabilities(logits: torch.Tensor, temperature: float = 1.0) -> list[float]:
    powers = [math.exp(float(logit) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def counted(with_teacher: bool = True) -> list[tuple[int, int]]:
    return [
        (b, w)
        for b in range(B)
        for w in range(W)
        if STUDENT.mask[b, w] and (TEACHER.mask[b, w] or not with_teacher)
    ]


def test_some_units_are_masked_on_either_side() -> None:
    assert len(counted()) < len(counted(with_teacher=False)) < B * W


def test_cross_entropy() -> None:
    labelled = [(b, w) for b, w in counted(with_teacher=False) if LABELS[b, w] != UNKNOWN]
    nats = [-math.log(probabilities(STUDENT.logits[b, w])[int(LABELS[b, w])]) for b, w in labelled]
    assert registry.create("losses", "cross_entropy")(
        STUDENT, TEACHER, BATCH, 0.5
    ).item() == pytest.approx(np.mean(nats), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl(temperature: float) -> None:
    values = []
    for b, w in counted():
        q, p = (
            probabilities(STUDENT.logits[b, w], temperature),
            probabilities(TEACHER.logits[b, w], temperature),
        )
        values.append(sum(a * math.log(a / c) for a, c in zip(p, q, strict=True)))
    found = registry.create("losses", "kl", {"temperature": temperature})(
        STUDENT, TEACHER, BATCH, 0.5
    )
    assert found.item() == pytest.approx(temperature**2 * np.mean(values), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_cross_entropy(temperature: float) -> None:
    values = []
    for b, w in counted():
        q, p = (
            probabilities(STUDENT.logits[b, w], temperature),
            probabilities(TEACHER.logits[b, w], temperature),
        )
        values.append(-sum(a * math.log(c) for a, c in zip(p, q, strict=True)))
    found = registry.create("losses", "soft_cross_entropy", {"temperature": temperature})(
        STUDENT, TEACHER, BATCH, 0.5
    )
    assert found.item() == pytest.approx(temperature**2 * np.mean(values), rel=1e-10)


def test_the_size_of_kl_s_gradient_does_not_fall_with_the_square_of_the_temperature() -> None:
    """Hinton et al., section 2: as T grows, T^2 times the gradient tends to (student - teacher) / V on centred logits."""
    logits = STUDENT.logits.clone().requires_grad_()
    registry.create("losses", "kl", {"temperature": 1000.0})(
        Outputs(logits, STUDENT.mask), TEACHER, BATCH, 0.5
    ).backward()
    difference = (STUDENT.logits - STUDENT.logits.mean(-1, keepdim=True)) - (
        TEACHER.logits - TEACHER.logits.mean(-1, keepdim=True)
    )
    kept = (STUDENT.mask & TEACHER.mask).unsqueeze(-1)
    torch.testing.assert_close(
        logits.grad, torch.where(kept, difference / V / len(counted()), 0.0), atol=1e-4, rtol=1e-2
    )


def test_kl_and_soft_cross_entropy_have_one_gradient() -> None:
    found = []
    for name in ("kl", "soft_cross_entropy"):
        logits = STUDENT.logits.clone().requires_grad_()
        registry.create("losses", name)(
            Outputs(logits, STUDENT.mask), TEACHER, BATCH, 0.5
        ).backward()
        found.append(logits.grad)
    torch.testing.assert_close(*found)


def bound(measure: str = "mse") -> Hidden:
    loss = Hidden(measure=measure)  # type: ignore[arg-type]
    loss.bind([("own", "theirs")], STUDENT, TEACHER)
    return loss.double()


def projected_and_target(loss: Hidden, b: int, w: int) -> tuple[list[float], list[float]]:
    weight, own = loss.projectors[0].weight.tolist(), STUDENT.hidden["own"][b, w].tolist()
    return [sum(weight[o][d] * own[d] for d in range(3)) for o in range(6)], TEACHER.hidden[
        "theirs"
    ][b, w].tolist()


def test_hidden_with_a_projector_between_widths() -> None:
    loss = bound()
    errors, powers = [], []
    for b, w in counted():
        projected, target = projected_and_target(loss, b, w)
        errors.append(
            sum((own - their) ** 2 for own, their in zip(projected, target, strict=True)) / 6
        )
        powers.append(sum(their**2 for their in target) / 6)
    assert loss(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(
        np.mean(errors) / np.mean(powers), rel=1e-10
    )


def test_the_cosine_of_hidden_maps() -> None:
    loss, values = bound("cosine"), []
    for b, w in counted():
        projected, target = projected_and_target(loss, b, w)
        product = sum(own * their for own, their in zip(projected, target, strict=True))
        values.append(1 - product / math.hypot(*projected) / math.hypot(*target))
    assert loss(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(np.mean(values), rel=1e-10)


def scaled(outputs: Outputs) -> Outputs:
    return replace(outputs, inner={tap: 1000 * value for tap, value in outputs.inner.items()})


def test_hidden_is_blind_to_the_teacher_s_scale() -> None:
    loss = bound()
    assert loss(scaled(STUDENT), scaled(TEACHER), BATCH, 0.5).item() == pytest.approx(
        loss(STUDENT, TEACHER, BATCH, 0.5).item(), rel=1e-10
    )
