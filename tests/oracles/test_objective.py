"""The objective: schedules, the weighted sum, what a weight of 0 means, the term that diverged, and the quantization term's own gradient."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.core.errors import Diverged
from limbeck.core.schedules import lowest, schedule
from limbeck.distillation.objective import Objective, Term, hard_terms, terms
from limbeck.models.taps import Outputs, Tap
from limbeck.models.weights import model_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.modules.swap import Quantized, QuantizedEmbedding, squared_error
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Distill, Quantize
from limbeck.tasks import Batch

OUTPUTS = Outputs(
    torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)),
    torch.ones(2, 3, dtype=torch.bool),
)
BATCH = Batch({}, None, torch.zeros(2, 3, dtype=torch.long), OUTPUTS.mask, np.arange(2))


class Fixed(nn.Module):
    """A loss of a constant value that counts its calls."""

    reads = ()

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.calls = value, 0

    def forward(
        self, student: Outputs, teacher: Outputs, batch: Batch, progress: float
    ) -> torch.Tensor:
        self.calls += 1
        return self.value + 0 * student.logits.sum()


def term(name: str, value: float, weight: float | str = 1.0) -> Term:
    return Term(name, schedule(weight), Fixed(value))


def forward(
    objective: Objective, progress: float = 0.0
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return objective(OUTPUTS, OUTPUTS, BATCH, progress)


SCHEDULES: dict[str | float, Callable[[float], float]] = {
    0.3: lambda p: 0.3,
    2: lambda p: 2.0,
    "linear(1.0, 0.5)": lambda p: 1.0 - 0.5 * p,
    "linear(0,3)": lambda p: 3 * p,
    " linear( -1 , 1e-2 ) ": lambda p: -1 + 1.01 * p,
    "cosine(1, 0)": lambda p: math.cos(math.pi * p / 2) ** 2,
    "cosine(2.0, 5.0)": lambda p: 5 - 3 * math.cos(math.pi * p / 2) ** 2,
    "step(0@0, 1@0.3)": lambda p: 0.0 if p < 0.3 else 1.0,
    "step(2@0)": lambda p: 2.0,
    " step( -1 @ 0 ,.5@.2,1e-3@1 ) ": lambda p: -1.0 if p < 0.2 else 0.5 if p < 1 else 1e-3,
    "ramp(0@0, 1@0.5)": lambda p: min(2 * p, 1),
    "ramp(1@0, 1@0.4, 0@0.9)": lambda p: 1 if p < 0.4 else max(0, (0.9 - p) * 2),
    "ramp(3@0)": lambda p: 3.0,
}


@pytest.mark.parametrize(("weight", "expected"), SCHEDULES.items(), ids=list(map(str, SCHEDULES)))
def test_schedules(weight: str | float, expected: Callable[[float], float]) -> None:
    for progress in np.linspace(0, 1, 11):
        assert schedule(weight)(progress) == pytest.approx(expected(progress), abs=1e-12)


@pytest.mark.parametrize(
    "weight",
    [
        "linear(1)",
        "step(1, 2)",
        "linear(1, 2) + 1",
        "",
        "0.5x",
        "linear(e, 1)",
        "linear(1--2, 1)",
        "cosine(1.2.3, 0)",
        "step()",
        "step(1@0, 2)",
        "step(1@0,)",
        "step(1@0 2@1)",
        "ramp(1, 0)",
        "linear(1@0, 2@1)",
    ],
)
def test_a_schedule_that_is_none_is_refused_with_the_cure(weight: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"write a number, linear\(from, to\), cosine\(from, to\), step\(value@share, \.\.\.\) or ramp\(",
    ):
        schedule(weight)


@pytest.mark.parametrize("value", [0.3, 2, *SCHEDULES])
def test_the_lowest_value_of_a_schedule(value: str | float) -> None:
    """The least of a thousand looks, among them every share that SCHEDULES names."""
    looks = [schedule(value)(progress) for progress in np.linspace(0, 1, 1001)]
    assert lowest(value) == pytest.approx(min(looks), abs=1e-12)


@pytest.mark.parametrize(
    "points", ["1@0.1", "0@0, 1@0", "0@0, 1@0.5, 2@0.4", "0@0, 1@1.1", "0@-0.1, 1@1"]
)
@pytest.mark.parametrize("kind", ["step", "ramp"])
def test_shares_that_do_not_rise_from_zero_are_refused(kind: str, points: str) -> None:
    with pytest.raises(ValueError, match=r"must begin at 0 and rise, to 1 at most"):
        schedule(f"{kind}({points})")


def test_the_total_is_the_weighted_sum_and_parts_are_unweighted() -> None:
    objective = Objective(
        [term("task", 2.0, 0.5), term("kl", 3.0, "linear(1, 0)")],
        {"quantization": (schedule(10.0), lambda: torch.tensor(0.25))},
    )
    total, parts = forward(objective, 0.25)
    assert total.item() == pytest.approx(0.5 * 2 + 0.75 * 3 + 10 * 0.25)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"task": 2, "kl": 3, "quantization": 0.25}
    )


def test_a_term_of_weight_zero_is_not_computed() -> None:
    def forbidden() -> torch.Tensor:
        raise AssertionError("computed at weight 0")

    off, on = term("kl", math.nan, 0.0), term("task", 1.0)
    total, parts = forward(Objective([off, on], {"quantization": (schedule(0.0), forbidden)}))
    assert total == 1
    assert set(parts) == {"task"}
    assert off.loss.calls == 0


def test_a_schedule_that_reaches_zero_switches_its_term_off_there() -> None:
    fading = term("kl", 1.0, "linear(1, 0)")
    objective = Objective([fading, term("task", 1.0)])
    assert "kl" in forward(objective, 0.5)[1]
    assert "kl" not in forward(objective, 1.0)[1]
    assert fading.loss.calls == 1


def test_no_term_at_all_is_zero() -> None:
    total, parts = forward(Objective([term("task", 1.0, 0.0)]))
    assert total == 0
    assert set(parts) == set()


def diverged(objective: Objective, progress: float = 0.0) -> Diverged:
    """What a step at this progress leaves to be told."""
    forward(objective, progress)
    with pytest.raises(Diverged) as caught:
        objective.raise_if_diverged()
    return caught.value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_term_that_diverged_is_named(value: float) -> None:
    error = diverged(Objective([term("task", 1.0), term("kl", value), term("hidden", 1.0)]), 0.25)
    assert str(error) == (
        "the loss term `kl` is not finite. Lower train.learning_rate or this term's weight"
    )
    assert error.progress == 0.25


def test_a_quantization_term_that_diverged_is_named() -> None:
    penalty = (schedule(1.0), lambda: torch.tensor(math.nan))
    error = diverged(Objective([term("task", 1.0)], {"quantization": penalty}))
    assert "`quantization` is not finite" in str(error)


def test_a_sum_that_overflows_is_named_too() -> None:
    error = diverged(Objective([term("a", 3e38), term("b", 3e38)]))
    assert "`total` is not finite" in str(error)


def test_the_first_term_that_diverged_is_named_with_its_step_however_late_one_looks() -> None:
    """Of 40 steps `kl`, which begins at step 10, breaks at 13 and is finite again; `task` breaks at 20."""
    task, kl = term("task", 1.0), term("kl", 1.0, "step(0@0, 1@0.25)")
    objective = Objective([task, kl])
    for step in range(30):
        kl.loss.value = math.nan if step == 13 else 1.0
        task.loss.value = math.inf if step >= 20 else 1.0
        forward(objective, step / 40)
    with pytest.raises(Diverged, match="`kl` is not finite") as caught:
        objective.raise_if_diverged()
    assert round(40 * caught.value.progress) == 13


def test_as_long_as_all_is_finite_nothing_is_raised_and_nothing_is_kept() -> None:
    objective = Objective([term("task", 1.0), term("kl", 3e38)])
    objective.raise_if_diverged()
    before = model_state(objective)
    forward(objective, 0.5)
    objective.raise_if_diverged()
    after = model_state(objective)
    assert before.keys() == after.keys() == {"factors"}
    assert torch.equal(after["factors"], torch.ones(2))


def test_a_recipe_s_losses_become_terms_with_their_keys_and_weights() -> None:
    distill = Distill(
        task_weight=0.5, losses={"kl": {"temperature": 4.0, "weight": "linear(1, 0)"}, "hidden": {}}
    )
    found = {each.name: each for each in terms("cross_entropy", distill)}
    assert list(found) == ["task", "kl", "hidden"]
    assert [each.weight(0.5) for each in found.values()] == [0.5, 0.5, 1.0]
    assert found["kl"].loss.temperature(0.5) == 4.0
    assert (
        [each.name for each in terms("cross_entropy", None)]
        == [each.name for each in hard_terms("cross_entropy")]
        == ["task"]
    )


def test_an_objective_s_own_parameters_are_trained() -> None:
    hidden = terms("cross_entropy", Distill(losses={"hidden": {}}))
    own, theirs = (
        Outputs(
            torch.ones(1, 1, 2), torch.ones(1, 1) > 0, {Tap("hidden", name): torch.ones(1, 1, 3)}
        )
        for name in "ab"
    )
    hidden[1].loss.bind([("a", "b")], own, theirs)
    assert [parameter.shape for parameter in Objective(hidden).parameters()] == [(3, 3)]


class Net(nn.Module):
    """One of each: an embedding, a convolution with its norm, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 16)
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids).view(len(ids), 1, 4, 4)
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


IDS = torch.tensor([0, 3, 3, 6])


def prepared() -> Any:
    torch.manual_seed(0)
    model = Net().eval()
    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "lsq", lambda m: m(IDS))
    return model


def test_the_quantization_term_s_gradient_is_analytic() -> None:
    """d/dw mean (Q(w) - w)^2 = 2 (w - Q(w)) / N, Q(w) standing still; an embedding counts the rows that the batch gathered."""
    model = prepared()
    calibrate(model, [lambda m: m(IDS)])
    pairs = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedEmbedding):
            weight, scale = module.weight[IDS].double(), module.quantizer.scale[IDS].double()
        elif isinstance(module, Quantized):
            weight, scale = module.coded_weight().double(), module.quantizer.scale.double()
        else:
            continue
        scale = scale.view(-1, *[1] * (weight.ndim - 1))
        pairs[name] = (
            weight.detach(),
            (torch.round(weight / scale).clamp(-127, 127) * scale).detach(),
        )
    model.train()(IDS)
    total = squared_error(model)
    total.backward()
    count = sum(weight.numel() for weight, _ in pairs.values())
    assert count == 4 * 16 + 27 + 12
    assert total.item() == pytest.approx(
        sum((q - w).square().sum().item() for w, q in pairs.values()) / count, rel=1e-4
    )
    gradients = {name: 2 * (weight - rounded) / count for name, (weight, rounded) in pairs.items()}
    rows = torch.zeros(7, 16, dtype=torch.float64).index_add(0, IDS, gradients["table"])
    wanted = (
        (model.table, rows),
        (model.head, gradients["head"]),
        (model.conv, gradients["conv"]),
    )
    for module, expected in wanted:
        found = module.weight
        torch.testing.assert_close(found.grad.double(), expected, atol=1e-8, rtol=1e-3)
    for module in model.modules():
        if isinstance(module, Quantized):
            assert module.quantizer.log_scale.grad is None


def test_before_calibration_and_in_eval_mode_there_is_no_quantization_error() -> None:
    model = prepared()
    model.train()(IDS)
    assert squared_error(model) == 0
    calibrate(model, [lambda m: m(IDS)])
    model.eval()(IDS)
    assert squared_error(model) == 0
    model.train()(IDS)
    assert squared_error(model) > 0


def test_descent_on_the_quantization_term_alone_brings_weights_to_their_grid() -> None:
    model = prepared()
    calibrate(model, [lambda m: m(IDS)])
    model.train()
    optimizer = torch.optim.SGD([model.head.weight], lr=20.0)
    errors = []
    for _ in range(20):
        model(IDS)
        loss = squared_error(model)
        errors.append(
            (model.head.quantizer(model.head.weight) - model.head.weight).abs().max().item()
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert errors[-1] < 0.1 * errors[0]
