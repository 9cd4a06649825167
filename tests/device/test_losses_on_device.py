"""Losses on another device: a CPU's values and gradients, and no step that waits for the device."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_cases import NAMES, PROGRESS, Case, case, leaves, make, watched
from probe_device import Probe, ProbeTensor
from torch import nn

from limbeck.core import registry
from limbeck.core.errors import Diverged
from limbeck.core.schedules import schedule
from limbeck.distillation.conflict import ConflictProbe, first_layer
from limbeck.distillation.ensemble import Ensemble
from limbeck.distillation.objective import Objective, Term
from limbeck.distillation.teacher import LiveTeacher
from limbeck.losses.mutual import Mutual
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs, Tap
from limbeck.models.torch_batches import to_device
from limbeck.tasks import Batch

CPU = torch.device("cpu")


def bare(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers, on the CPU."""
    tensor = tensor.detach()
    return tensor.raw if isinstance(tensor, ProbeTensor) else tensor


def on(device: torch.device, given: Case) -> Case:
    student, teacher, batch = given
    return (
        watched(to_device(student, device)),
        to_device(teacher, device),
        to_device(batch, device),
    )


def trained_on(
    name: str, device: torch.device, probe: Probe, *, remembers: bool
) -> Iterator[list[torch.Tensor]]:
    """Of two steps: the value, every gradient and every buffer, brought to the CPU."""
    loss = make(name, torch.float32).to(device).train(remembers)
    for _ in range(2):
        student, teacher, batch = on(device, case(name, torch.float32))
        before = len(probe.syncs)
        value = loss(student, teacher, batch, PROGRESS)
        value.backward()
        assert probe.syncs[before:] == []
        assert value.device.type == device.type
        gradients = [leaf.grad for leaf in leaves(student) if leaf.grad is not None]
        gradients += [each.grad for each in loss.parameters() if each.grad is not None]
        assert gradients
        yield [bare(each) for each in (value, *gradients, *loss.buffers())]


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_what_it_is_on_a_cpu_and_waits_for_nothing(
    name: str, remembers: bool, probe: Probe
) -> None:
    wanted = trained_on(name, CPU, probe, remembers=remembers)
    found = trained_on(name, probe.device, probe, remembers=remembers)
    for step, expected in zip(found, wanted, strict=True):
        for tensor, other in zip(step, expected, strict=True):
            torch.testing.assert_close(tensor, other, atol=1e-6, rtol=1e-5)


class Classifier(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 4)])

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.blocks[0](pixel_values).tanh())


def images() -> Batch:
    pixels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(6, 1, dtype=torch.bool)
    labels = torch.arange(6).view(6, 1) % 4
    return Batch({"pixel_values": pixels}, None, labels, mask, np.arange(6))


def mutual(device: torch.device) -> list[torch.Tensor]:
    """The value of a step, and the gradients of both who learn."""
    loss, student = Mutual(), Classifier(1).to(device)
    loss.bind_peer(Classifier(2), registry.create("losses", "cross_entropy"))
    loss.to(device)
    batch = to_device(images(), device)
    outputs = run_model(student, batch)
    value = loss(outputs, outputs, batch, PROGRESS)
    value.backward()
    trained = [*student.parameters(), *loss.parameters()]
    return [bare(each) for each in (value, *(each.grad for each in trained))]


def test_two_learn_together_as_on_a_cpu(probe: Probe) -> None:
    found = mutual(probe.device)
    assert probe.syncs == []
    for tensor, other in zip(found, mutual(CPU), strict=True):
        torch.testing.assert_close(tensor, other)


def objective() -> Objective:
    terms = [
        Term(name, schedule(weight), registry.create("losses", name))
        for name, weight in (("cross_entropy", 1.0), ("kl", "linear(1, 0)"))
    ]
    terms[0] = replace(terms[0], name="task")
    return Objective(terms)


def probed(device: torch.device, probe: Probe) -> tuple[dict[str, float], list[int], torch.Tensor]:
    """The figures of a balanced probe; how often a step, a look whether it diverged, and a probe waited; the factors."""
    minimised, student = objective().to(device), Classifier(1).to(device)
    batch = to_device(images(), device)
    teacher = LiveTeacher(Classifier(2).to(device), [], torch.float32)
    measure = ConflictProbe(minimised, first_layer(student), lambda event: None, balanced=True)
    waits = [len(probe.syncs)]
    outputs = run_model(student, batch)
    answers = teacher(batch)
    total, parts = minimised(outputs, answers, batch, PROGRESS)
    waits.append(len(probe.syncs))
    minimised.raise_if_diverged()
    waits.append(len(probe.syncs))
    figures = measure(outputs, answers, parts, PROGRESS)
    waits.append(len(probe.syncs))
    total.backward()
    waits.append(len(probe.syncs))
    return figures, np.diff(waits).tolist(), bare(minimised.factors)


def test_a_step_waits_for_nothing_and_a_look_at_it_once_or_twice(probe: Probe) -> None:
    figures, waits, factors = probed(probe.device, probe)
    assert waits == [0, 1, 2, 0]  # a probe reads the factors, then all its figures
    expected, _, cpu_factors = probed(CPU, probe)
    assert figures == pytest.approx(expected, rel=1e-5)
    assert {"agreement", "pull.kl", "cosine.task.kl"} <= figures.keys()
    torch.testing.assert_close(factors, cpu_factors)


def test_what_diverged_on_the_device_is_told_when_asked(probe: Probe) -> None:
    minimised = objective().to(probe.device)
    outputs = to_device(Outputs(torch.zeros(6, 1, 4), torch.ones(6, 1) > 0), probe.device)
    batch = to_device(images(), probe.device)
    for step, logits in enumerate((0.0, torch.nan, 0.0)):
        answers = replace(outputs, logits=outputs.logits + logits)
        minimised(outputs, answers, batch, step / 4)
    assert probe.syncs == []
    with pytest.raises(Diverged, match="`kl` is not finite") as caught:
        minimised.raise_if_diverged()
    assert caught.value.progress == 0.25
    assert len(probe.syncs) == 1


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_cached_answers_of_several_teachers_meet_on_the_batch_s_device(
    combine: str, probe: Probe
) -> None:
    batch = images()
    cached = [
        Outputs(torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(seed)), batch.mask)
        for seed in range(2)
    ]
    together = Ensemble([lambda asked, each=each: each for each in cached], [1.0, 3.0], combine)
    found = together(to_device(batch, probe.device))
    assert probe.syncs == []
    torch.testing.assert_close(bare(found.logits), together(batch).logits)
    assert bool(bare(found.mask).all())


def test_a_cached_answer_s_inner_tensors_stay_where_they_were(probe: Probe) -> None:
    """The loop moves them with the rest; an ensemble only needs what it combines."""
    batch = images()
    inner = {Tap("hidden", "a"): torch.ones(6, 1, 2)}
    cached = Outputs(torch.zeros(6, 1, 4), batch.mask, inner)
    found = Ensemble([lambda asked: cached], [1.0], "mean")(to_device(batch, probe.device))
    assert found.inner is inner
