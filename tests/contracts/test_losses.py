"""What every loss keeps, whatever it measures. A new file in losses/ is tested here without a line of this file changing.

What is drawn for each stands in `loss_cases.py`; what is asked of it, its class says.
"""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from loss_cases import (
    BLIND_TO_LABELS,
    CLASSES,
    DIVERGENCES,
    HARD,
    NAMES,
    PADDED,
    PROGRESS,
    READERS,
    WITH_TEMPERATURE,
    B,
    Case,
    P,
    V,
    W,
    case,
    kinds_read,
    leaves,
    make,
    mapped,
    unlabelled,
    watched,
)

from limbeck.core import registry
from limbeck.core.schedules import schedule
from limbeck.distillation.objective import Objective, Term
from limbeck.losses import LabelKind
from limbeck.models.anatomy.attention import PROBABILITIES
from limbeck.models.running import run_model
from limbeck.models.taps import HIDDEN, MAPS, PLACES, Outputs, Tap
from limbeck.tasks import UNKNOWN, Batch
from limbeck.tasks.likelihood import LIKELIHOODS


def away(kind: str, outputs: Outputs) -> torch.Tensor:
    """Where a tensor of this kind does not count, in a shape that it broadcasts with."""
    if kind == MAPS:
        return ~outputs.mask.any(1)[:, None, None, None]
    if kind in (HIDDEN, "logits"):
        return ~outputs.mask[..., None]
    places = ~outputs.place_mask
    if kind == PLACES:
        return places[..., None]
    return (
        places[:, None, :, None] | places[:, None, None, :]
        if kind == PROBABILITIES
        else places[:, None, :, None]
    )


def aways(outputs: Outputs) -> list[torch.Tensor]:
    """One for each of the leaves, in its shape."""
    kinds = ["logits", *(tap.kind for tap in outputs.inner)]
    return [
        away(kind, outputs).expand_as(leaf)
        for kind, leaf in zip(kinds, leaves(outputs), strict=True)
    ]


def gradients(name: str, given: Case) -> tuple[torch.Tensor, Outputs, Outputs]:
    """The loss after backward, with the watched student and teacher."""
    student, teacher, batch = watched(given[0]), watched(given[1]), given[2]
    value = make(name)(student, teacher, batch, PROGRESS)
    value.backward()
    return value.detach(), student, teacher


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_says_what_it_reads_and_what_it_is_for(name: str) -> None:
    """As `limbeck.losses.Loss` asks; `PlainLoss` has what is usual."""
    loss = CLASSES[name]
    assert loss.labels in get_args(LabelKind)
    assert loss.reads or loss.labels != "none"
    assert loss.likelihoods
    assert set(loss.likelihoods) <= LIKELIHOODS.keys()
    assert isinstance(loss.zero_at_identity, bool)


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_a_finite_scalar_with_a_finite_gradient(name: str) -> None:
    value, student, _ = gradients(name, case(name))
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value > 0
    found = [leaf.grad for leaf in leaves(student) if leaf.grad is not None]
    assert found
    assert all(torch.isfinite(gradient).all() for gradient in found)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name: str) -> None:
    student, teacher, batch = case(name)
    value, student, _ = gradients(
        name,
        (
            replace(student, logits=student.logits * 1e4),
            replace(teacher, logits=teacher.logits * 1e4),
            batch,
        ),
    )
    assert torch.isfinite(value)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves(student) if leaf.grad is not None)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_is_zero_at_identity_and_positive_elsewhere(name: str) -> None:
    student, teacher, batch = case(name)
    same = replace(
        teacher,
        logits=student.logits,
        inner={
            Tap(t.kind, t.module.replace("own", "theirs")): value
            for t, value in student.inner.items()
        },
    )
    value, watched_student, _ = gradients(name, (student, same, batch))
    torch.testing.assert_close(value, torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)
    for leaf in leaves(watched_student):
        if leaf.grad is not None:
            torch.testing.assert_close(leaf.grad, torch.zeros_like(leaf), atol=1e-12, rtol=0)
    assert make(name)(student, teacher, batch, PROGRESS) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    _, _, teacher = gradients(name, case(name))
    assert all(leaf.grad is None for leaf in leaves(teacher))


@pytest.mark.parametrize(
    ("name", "side"),
    [(name, "student") for name in NAMES] + [(name, "teacher") for name in READERS],
)
def test_masked_units_are_inert(name: str, side: str) -> None:
    """Where a mask is False, finite garbage in logits, hidden maps and labels changes neither the value nor any other unit's gradient."""
    student, teacher, batch = case(name)
    outside = student if side == "student" else teacher
    before, clean, _ = gradients(name, (student, teacher, batch))

    def garbage(outputs: Outputs) -> Outputs:
        def spoilt(kind: str, value: torch.Tensor) -> torch.Tensor:
            return torch.where(away(kind, outside), torch.tensor(1e6, dtype=value.dtype), value)

        return replace(
            outputs,
            logits=spoilt("logits", outputs.logits),
            inner={tap: spoilt(tap.kind, value) for tap, value in outputs.inner.items()},
        )

    labels = batch.labels.clone()
    if side == "student":
        labels[~outside.mask] = batch.labels.roll(1, 1)[~outside.mask]
        assert (labels != batch.labels).any()
    after, dirty, _ = gradients(
        name, (garbage(student), garbage(teacher), replace(batch, labels=labels))
    )
    torch.testing.assert_close(after, before, atol=0, rtol=1e-12)
    for old, new, spoilt in zip(leaves(clean), leaves(dirty), aways(outside), strict=True):
        if new.grad is not None:
            torch.testing.assert_close(new.grad, old.grad, atol=1e-12, rtol=1e-9)
            assert (new.grad[spoilt] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_where_no_unit_counts_the_loss_is_zero_with_a_finite_gradient(name: str) -> None:
    student, teacher, batch = case(name)
    nothing, nowhere = torch.zeros(B, W, dtype=torch.bool), torch.zeros(B, P, dtype=torch.bool)
    outputs = (replace(each, mask=nothing, places=nowhere) for each in (student, teacher))
    value, student, _ = gradients(name, (*outputs, replace(batch, mask=nothing)))
    assert value == 0
    for leaf in leaves(student):
        assert leaf.grad is None or (leaf.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    student, teacher, batch = case(name)
    order = torch.tensor([2, 0, 4, 1, 3])

    def turned(outputs: Outputs) -> Outputs:
        return replace(
            mapped(outputs, lambda value: value[order]),
            mask=outputs.mask[order],
            places=outputs.place_mask[order],
        )

    turned_batch = replace(
        batch, labels=batch.labels[order], mask=batch.mask[order], rows=batch.rows[order.numpy()]
    )
    loss = make(name)
    torch.testing.assert_close(
        loss(turned(student), turned(teacher), turned_batch, PROGRESS),
        loss(student, teacher, batch, PROGRESS),
        atol=0,
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_matter(name: str) -> None:
    """Three padded units and places more in every row leave the loss as it was."""
    student, teacher, batch = case(name)

    def longer(value: torch.Tensor, axes: tuple[int, ...], filling: float) -> torch.Tensor:
        for axis in axes:
            more = list(value.shape)
            more[axis] = 3
            value = torch.cat([value, torch.full(more, filling, dtype=value.dtype)], axis)
        return value

    def padded(outputs: Outputs) -> Outputs:
        inner = {tap: longer(value, PADDED[tap.kind], 7.0) for tap, value in outputs.inner.items()}
        masks = (longer(mask, (1,), 0) for mask in (outputs.mask, outputs.place_mask))
        return Outputs(longer(outputs.logits, (1,), 7.0), next(masks), inner, next(masks))

    padding = torch.full(
        (B, 3, *batch.labels.shape[2:]), UNKNOWN
    )  # also where labels are numbers: the mask alone tells
    labels = torch.cat([batch.labels, padding.to(batch.labels.dtype)], 1)
    padded_student = padded(student)
    loss = make(name)
    value = loss(
        padded_student,
        padded(teacher),
        replace(batch, labels=labels, mask=padded_student.mask),
        PROGRESS,
    )
    expected = loss(student, teacher, batch, PROGRESS)
    torch.testing.assert_close(value, expected, atol=0, rtol=1e-12)


@pytest.mark.parametrize("name", HARD)
def test_unlabelled_rows_are_inert_for_hard_losses(name: str) -> None:
    student, teacher, batch = case(name)
    loss = make(name)
    labels = batch.labels.clone()
    labels[0] = unlabelled(name, labels[0])
    value, watched_student, _ = gradients(name, (student, teacher, replace(batch, labels=labels)))
    rest = replace(mapped(student, lambda value: value[1:]), mask=student.mask[1:])
    rest_batch = replace(batch, labels=batch.labels[1:], mask=batch.mask[1:])
    expected = loss(rest, teacher, rest_batch, PROGRESS)
    torch.testing.assert_close(value, expected.detach(), atol=0, rtol=1e-12)
    assert (watched_student.logits.grad[0] == 0).all()
    nothing_known = replace(batch, labels=unlabelled(name, labels))
    assert loss(student, teacher, nothing_known, PROGRESS) == 0


@pytest.mark.parametrize("name", BLIND_TO_LABELS)
def test_labels_do_not_matter_to_a_loss_that_reads_the_teacher(name: str) -> None:
    """Unlabelled rows teach in full."""
    student, teacher, batch = case(name)
    loss = make(name)
    nothing_known = replace(batch, labels=unlabelled(name, batch.labels))
    value = loss(student, teacher, nothing_known, PROGRESS)
    assert value == loss(student, teacher, batch, PROGRESS)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str) -> None:
    """Against finite differences, for logits, what it reads inside and its own parameters."""
    student, teacher, batch = case(name)
    loss = make(name)
    own = list(loss.named_parameters())
    generator = torch.Generator().manual_seed(1)
    started = [
        parameter.detach()
        + 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        for _, parameter in own
    ]

    kinds = kinds_read(name)
    read = [tap for tap in student.inner if tap.kind in kinds]

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        logits, *rest = tensors
        inner = student.inner | dict(zip(read, rest[: len(read)], strict=True))
        parameters = {key: tensor for (key, _), tensor in zip(own, rest[len(read) :], strict=True)}
        return torch.func.functional_call(
            loss,
            parameters,
            (replace(student, logits=logits, inner=inner), teacher, batch, PROGRESS),
        )

    inputs = [
        tensor.clone().requires_grad_()
        for tensor in (student.logits, *(student.inner[tap] for tap in read), *started)
    ]
    # Each number by itself takes seconds where there are hundreds; else in a random direction.
    are_many = sum(tensor.numel() for tensor in inputs) > 100
    assert torch.autograd.gradcheck(value, inputs, fast_mode=are_many)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_logits_and_maps_are_accumulated_in_float32(name: str) -> None:
    """The same bfloat16 values, in float64 and as they are, give one value: what differs is the arithmetic, not the inputs."""
    student, teacher, batch = case(name, torch.bfloat16)
    expected = make(name)(
        mapped(student, torch.Tensor.double), mapped(teacher, torch.Tensor.double), batch, PROGRESS
    )
    found = make(name, torch.float32)(student, teacher, batch, PROGRESS)
    torch.testing.assert_close(found.double(), expected, atol=0, rtol=1e-3)


def test_hidden_takes_the_maps_of_a_network_under_autocast() -> None:
    """As the training loop runs it: the forward inside autocast, the loss outside."""
    network = registry.create("networks", "small_cnn", {"width": 2}).build(V, 1)
    pixels = torch.randn(B, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch(
        {"pixel_values": pixels},
        None,
        torch.zeros(B, 1, dtype=torch.long),
        torch.ones(B, 1, dtype=torch.bool),
        np.arange(B),
    )
    with torch.autocast("cpu", torch.bfloat16):
        student = run_model(network, batch, [Tap(HIDDEN, "blocks.2")])
    loss, teacher = (
        registry.create("losses", "hidden"),
        Outputs(student.logits, batch.mask, {Tap(HIDDEN, "theirs"): torch.ones(B, 1, 4)}),
    )
    loss.bind([("blocks.2", "theirs")], student, teacher)
    loss(student, teacher, batch, PROGRESS).backward()


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_close_to_float64(name: str) -> None:
    student, teacher, batch = case(name, torch.float32)
    expected = make(name)(
        mapped(student, torch.Tensor.double), mapped(teacher, torch.Tensor.double), batch, PROGRESS
    )
    torch.testing.assert_close(
        make(name, torch.float32)(student, teacher, batch, PROGRESS).double(),
        expected,
        atol=0,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_a_temperature_s_schedule_is_read_at_the_progress(name: str) -> None:
    """One object, asked in any order: no call leaves a temperature behind."""
    loss = make(name, temperature="linear(4, 1)")
    found = [loss(*case(name), progress).detach() for progress in (0.0, 1.0, 0.5, 0.0)]
    assert found == [
        make(name, temperature=temperature)(*case(name), PROGRESS)
        for temperature in (4.0, 1.0, 2.5, 4.0)
    ]
    assert len(set(map(float, found))) == 3


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_the_objective_hands_its_progress_on(name: str) -> None:
    loss = make(name, temperature="linear(4, 1)")
    objective = Objective([Term(name, schedule(1.0), loss)])
    for progress in (0.0, 0.7):
        total, parts = objective(*case(name), progress)
        assert parts[name] == loss(*case(name), progress) == total


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
@pytest.mark.parametrize(
    "temperature",
    [0.0, -1, "linear(2, 0)", "step(1@0, -1@0.5)", "ramp(0@0, 1@0.1)", "cosine(4, -4)"],
)
def test_a_temperature_that_is_not_above_0_throughout_is_refused(
    name: str, temperature: float | str
) -> None:
    with pytest.raises(
        registry.WrongKey,
        match=rf"`temperature` of `{name}` \(losses\) is .*: Input should be above 0 throughout",
    ):
        make(name, temperature=temperature)


@pytest.mark.parametrize(
    "temperature", ["warm", "linear(4)", float("nan"), float("inf"), True, None]
)
def test_a_temperature_that_is_no_schedule_is_refused(temperature: object) -> None:
    with pytest.raises(registry.WrongKey, match=r"Input should be a number, linear\(from, to\), "):
        registry.create("losses", "kl", {"temperature": temperature})
