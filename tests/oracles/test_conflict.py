"""What the probe measures, against gradients taken one by one; that it leaves a training as it was; what it balances and tells."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical

from limbeck.core import registry
from limbeck.core.events import Event, Note
from limbeck.core.schedules import schedule
from limbeck.distillation.conflict import IN_A_ROW, ConflictProbe, disagreement, first_layer
from limbeck.distillation.objective import Objective, Term
from limbeck.models.taps import Outputs
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded
from limbeck.training import loop
from limbeck.training.job import Job, TrainingRows, Watchers

V = 4
MASK = torch.ones(6, 1, dtype=torch.bool)


class Two(nn.Module):
    """A list of two layers."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, V)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.dropout(self.blocks[0](pixel_values).tanh()))


def objective(**weights: float) -> Objective:
    return Objective(
        [
            Term(name, schedule(weights[name]), registry.create("losses", loss))
            for name, loss in NAMES.items()
        ]
    )


NAMES = {"task": "cross_entropy", "kl": "kl"}


def given(model: nn.Module) -> tuple[Outputs, Outputs, Batch]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(6, 3, generator=generator)
    batch = Batch(
        {"pixel_values": pixels}, None, torch.arange(6).view(6, 1) % V, MASK, np.arange(6)
    )
    teacher = Outputs(3 * torch.randn(6, 1, V, generator=generator), MASK)
    return Outputs(model(pixels).unsqueeze(1), MASK), teacher, batch


def test_pulls_and_cosines_are_those_of_the_weighted_gradients_on_the_first_layer() -> None:
    model, weighed = Two(), objective(task=2.0, kl=0.5)
    student, teacher, batch = given(model)
    _, parts = weighed(student, teacher, batch, 0.0)
    found = ConflictProbe(weighed, first_layer(model), lambda event: None)(
        student, teacher, parts, 0.0
    )
    own = {}
    for name, weight in (("task", 2.0), ("kl", 0.5)):
        again = Outputs(model(batch.inputs["pixel_values"]).unsqueeze(1), MASK)
        (weight * registry.create("losses", NAMES[name])(again, teacher, batch, 0.0)).backward()
        own[name] = model.blocks[0].weight.grad.flatten().clone()
        model.zero_grad()
    norms = {name: gradient.norm().item() for name, gradient in own.items()}
    assert found["pull.task"] == pytest.approx(
        norms["task"] / (norms["task"] + norms["kl"]), rel=1e-5
    )
    assert found["pull.task"] + found["pull.kl"] == pytest.approx(1)
    assert found["cosine.task.kl"] == pytest.approx(
        torch.cosine_similarity(own["task"], own["kl"], dim=0).item(), abs=1e-5
    )


def figures(student: Outputs, teacher: Outputs, likelihood: str) -> dict[str, float]:
    return {key: value.item() for key, value in disagreement(student, teacher, likelihood).items()}


def test_agreement_and_entropies_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]], [[0.2, 0.8]]]))
    other = torch.log(torch.tensor([[[0.6, 0.4]], [[0.3, 0.7]], [[0.5, 0.5]]]))
    mask = torch.tensor([[True], [True], [False]])
    everywhere = torch.ones(3, 1, dtype=torch.bool)
    found = figures(Outputs(logits, everywhere), Outputs(other, mask), "categorical")
    assert found["num_units"] == 2
    assert found["agreement"] == 0.5
    assert found["student_entropy"] == pytest.approx(
        (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2, rel=1e-5
    )
    assert found["teacher_entropy"] == pytest.approx(
        sum(-p * math.log(p) for p in (0.6, 0.4, 0.3, 0.7)) / 2, rel=1e-5
    )


def test_labels_by_themselves_agree_one_by_one() -> None:
    p, q = torch.tensor([[[0.9, 0.4]], [[0.2, 0.5]]]), torch.tensor([[[0.6, 0.7]], [[0.9, 0.9]]])
    mask = torch.tensor([[True], [False]])
    found = figures(Outputs(p.logit(), mask), Outputs(q.logit(), mask), "bernoulli")
    assert found["agreement"] == 0.5
    for side, shares in (("student", (0.9, 0.4)), ("teacher", (0.6, 0.7))):
        assert found[f"{side}_entropy"] == pytest.approx(
            sum(-a * math.log(a) - (1 - a) * math.log(1 - a) for a in shares) / 2, rel=1e-5
        )
    assert figures(Outputs(p, mask), Outputs(q, mask), "gaussian") == {}


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_entropies_are_those_of_torch(likelihood: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(5, 3, V, generator=generator)
    by_torch = Categorical if likelihood == "categorical" else Bernoulli
    outputs = Outputs(logits, torch.ones(5, 3, dtype=torch.bool))
    found = figures(outputs, outputs, likelihood)
    expected = by_torch(logits=logits).entropy().mean().item()
    assert found["student_entropy"] == pytest.approx(expected, rel=1e-5)
    assert found["agreement"] == 1


def test_where_no_unit_counts_on_both_sides_there_is_no_agreement() -> None:
    model, weighed = Two(), objective(task=1.0, kl=1.0)
    student, teacher, batch = given(model)
    _, parts = weighed(student, teacher, batch, 0.0)
    nowhere = Outputs(teacher.logits, torch.zeros_like(MASK))
    found = ConflictProbe(weighed, first_layer(model), lambda event: None)(
        student, nowhere, parts, 0.0
    )
    assert "agreement" not in found
    assert "pull.kl" in found


def test_balanced_terms_pull_alike() -> None:
    model, weighed = Two(), objective(task=1.0, kl=40.0)
    student, teacher, batch = given(model)
    probe = ConflictProbe(weighed, first_layer(model), lambda event: None, balanced=True)
    probe(student, teacher, weighed(student, teacher, batch, 0.0)[1], 0.0)
    after = probe(student, teacher, weighed(student, teacher, batch, 0.1)[1], 0.1)
    assert after["pull.kl"] == pytest.approx(0.5, abs=1e-4)
    assert weighed.factors[0] == 1
    assert weighed.weights(0.1)["kl"] == pytest.approx(40 * weighed.factors[1].item())


def test_a_term_that_drowns_the_others_is_told_once_with_a_weight_that_does_not() -> None:
    model, weighed = Two(), objective(task=1.0, kl=4000.0)
    student, teacher, batch = given(model)
    events: list[Event] = []
    keys = {"kl": "distill.losses.kl.weight"}
    probe = ConflictProbe(weighed, first_layer(model), events.append, keys=keys)
    for step in range(IN_A_ROW + 3):
        shares = probe(student, teacher, weighed(student, teacher, batch, step / 10)[1], step / 10)
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert "`kl` drowns the others" in note
    assert "Lower distill.losses.kl.weight, its weight, to about" in note
    fair = float(note.rsplit(" ", 1)[1])
    assert fair == pytest.approx(4000 * shares["pull.task"] / shares["pull.kl"], rel=0.05)


def test_a_term_without_a_weight_of_its_own_is_told_with_the_others_weights() -> None:
    """The labels', where no teacher teaches."""
    model, weighed = Two(), objective(task=4000.0, kl=1.0)
    student, teacher, batch = given(model)
    events: list[Event] = []
    probe = ConflictProbe(weighed, first_layer(model), events.append)
    for step in range(IN_A_ROW):
        shares = probe(student, teacher, weighed(student, teacher, batch, step / 10)[1], step / 10)
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert "Multiply the weights of the others by about" in note
    factor = float(note.rsplit(" ", 1)[1])
    assert factor == pytest.approx(shares["pull.task"] / shares["pull.kl"], rel=0.05)


def test_measuring_changes_nothing_of_a_training(tmp_path: Path) -> None:
    """Bit for bit, dropout included."""
    encoded = [
        Encoded({"pixel_values": row}, None, np.array([i % V]))
        for i, row in enumerate(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    ]
    weights = []
    for measured in (True, False):
        model = Two(dropout=0.3)
        weighed = objective(task=1.0, kl=1.0)
        measure = ConflictProbe(weighed, first_layer(model), lambda event: None)
        job = Job(
            model=model,
            objective=weighed,
            rows=TrainingRows(encoded=encoded, padding={}),
            settings=Train(epochs=4, batch_rows=10, learning_rate=1e-3),
            teacher=lambda batch: Outputs(torch.ones(len(batch.rows), 1, V), batch.mask),
            watchers=Watchers(measure=measure) if measured else Watchers(),
        )
        folder = tmp_path / str(measured)
        folder.mkdir()
        history = loop.Training(job, folder).run()
        assert any("measures" in point for point in history) is measured
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)
