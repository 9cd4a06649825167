"""The training loop, number by number: rates, decay, clipping, what a schedule sees, the order of rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.distillation.objective import Objective, hard_terms
from limbeck.models.taps import Outputs
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded
from limbeck.training import loop
from limbeck.training.job import Job, TrainingRows

ROWS = 40


class Network(nn.Module):
    """Two classes from three numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.layer(pixel_values)


def job(model: nn.Module, objective: nn.Module | None = None, **settings: Any) -> Job:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, 3)).astype(np.float32)
    encoded = [
        Encoded({"pixel_values": row}, None, np.array([number % 2]))
        for number, row in enumerate(inputs)
    ]
    return Job(
        model=model,
        objective=objective or Objective(hard_terms("cross_entropy")),
        rows=TrainingRows(encoded=encoded, padding={}),
        settings=Train(
            **{"epochs": 2, "batch_rows": 10, "learning_rate": 1e-3, **settings},
        ),
    )


@pytest.mark.parametrize(
    ("progress", "warmup", "factor"),
    [
        (0.0, 0.1, 0.01),  # 1e-3 of the training, of a tenth
        (0.05, 0.1, 0.51),
        (0.1, 0.1, 1.0),
        (0.55, 0.1, 0.5),
        (0.91, 0.1, 0.1),
        (0.25, 0.0, 0.75),
        (0.5, 1.0, 0.501),
    ],
)
def test_the_rate_rises_over_the_warm_up_and_falls_to_nothing(
    progress: float, warmup: float, factor: float
) -> None:
    assert loop.warmup_then_linear(progress, warmup) == pytest.approx(factor)


class Drawing(Network):
    """Keeps what chance gives it in each step, as dropout would."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.drawn.append(float(torch.rand(())))
        return super().forward(pixel_values)


def test_chance_is_new_in_every_step_and_the_same_in_every_training(tmp_path: Path) -> None:
    """So that a training which goes on from step 4 drops what an unbroken one does."""
    whole, resumed = Drawing(), Drawing()
    training = loop.Training(job(whole), tmp_path)
    for step in range(8):
        training.step(step, 8)
    training = loop.Training(job(resumed), tmp_path)
    for step in range(4, 8):
        training.step(step, 8)
    assert len(set(whole.drawn)) == 8
    assert resumed.drawn == whole.drawn[4:]
    other = Drawing()
    loop.Training(job(other, seed=1), tmp_path).step(0, 8)
    assert other.drawn[0] not in whole.drawn


def test_every_step_has_the_rate_of_its_progress(tmp_path: Path) -> None:
    training = loop.Training(job(Network(), learning_rate=0.5, warmup=0.25), tmp_path)
    rates = []
    for step in range(8):
        training.step(step, 8)
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    expected = [0.5 * loop.warmup_then_linear(step / 8, 0.25) for step in range(8)]
    assert rates == [[rate, rate] for rate in expected]


def test_matrices_decay_and_vectors_do_not() -> None:
    model = Network()
    optimizer = loop.make_optimizer(model, nn.Module(), Train(learning_rate=0.1, weight_decay=0.3))
    weight, bias = model.layer.weight.detach().clone(), model.layer.bias.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101, algorithm 2): w <- w - lr * decay * w.
    torch.testing.assert_close(model.layer.weight.detach(), weight * (1 - 0.1 * 0.3))
    assert torch.equal(model.layer.bias.detach(), bias)


class Steep(nn.Module):
    """A loss whose gradient has a known length."""

    def __init__(self, slope: float, model: Network) -> None:
        super().__init__()
        self.slope, self.layer = slope, [model.layer]

    def forward(
        self, student: Outputs, teacher: Outputs, batch: Batch, progress: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = self.slope * self.layer[0].bias[0]
        return loss, {"task": loss}

    def raise_if_diverged(self) -> None:
        """It never does."""


@pytest.mark.parametrize(("slope", "clip", "length"), [(30.0, 2.0, 2.0), (0.5, 2.0, 0.5)])
def test_a_gradient_longer_than_the_bound_is_cut_to_it(
    slope: float, clip: float, length: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Network()
    training = loop.Training(job(model, Steep(slope, model), gradient_clip=clip), tmp_path)
    lengths: list[float] = []
    monkeypatch.setattr(
        training.optimizer,
        "step",
        lambda: lengths.append(float(model.layer.bias.grad.norm())),  # type: ignore[union-attr]
    )
    training.step(0, 8)
    assert lengths == pytest.approx([length], rel=1e-4)


def test_the_objective_is_told_the_share_of_the_steps_that_is_done(tmp_path: Path) -> None:
    shares: list[float] = []

    class Listening(Steep):
        def forward(self, *given: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            shares.append(given[-1])
            return super().forward(*given)

    model = Network()
    loop.Training(job(model, Listening(1.0, model)), tmp_path).run()
    assert shares == [step / 8 for step in range(8)]


def test_rows_are_shuffled_anew_in_every_epoch_and_alike_for_a_seed(tmp_path: Path) -> None:
    def orders(seed: int) -> list[list[int]]:
        training = loop.Training(job(Network(), epochs=3, seed=seed), tmp_path)
        epochs: dict[int, list[int]] = {}
        for epoch, rows in training.batches:
            epochs.setdefault(epoch, []).extend(rows.tolist())
        return list(epochs.values())

    first = orders(0)
    assert all(sorted(order) == list(range(ROWS)) for order in first)
    assert list(range(ROWS)) not in first
    assert len({tuple(order) for order in first}) == 3
    assert orders(0) == first != orders(1)
    # Data are often sorted by label: a batch of one label teaches nothing of the other.
    assert all({row % 2 for row in order[:10]} == {0, 1} for order in first)


def test_a_step_draws_the_same_chances_whatever_ran_before(tmp_path: Path) -> None:
    weights = []
    for before in (0, 5):
        torch.rand(before)
        model = Network()

        def shake(module: Any, given: object) -> None:
            module.layer.weight.data.add_(torch.rand(2, 3))

        model.register_forward_pre_hook(shake)
        loop.Training(job(model), tmp_path).step(3, 8)
        weights.append(model.layer.weight.detach().clone())
    assert torch.equal(*weights)
