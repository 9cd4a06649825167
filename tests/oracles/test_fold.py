"""A batch norm before a product becomes part of it: the same function, and one module less."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.fold import fold_before
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize


def stirred(*modules: nn.Module) -> nn.Module:
    """Norms off their starting values, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(*modules)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.copy_(
                    0.5
                    + torch.rand(tensor.shape, generator=generator)
                    + (0 if name.endswith("var") else tensor)
                )
    return model.eval()


def x(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def folded(model: nn.Module, given: torch.Tensor) -> nn.Module:
    model = copy.deepcopy(model)
    fold_before(model, [name for name, _ in model.named_modules()], lambda m: m(given))
    return model


class Rectified(nn.BatchNorm2d):
    """As inplace-abn and timm have it: the activation is part of the norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


class Wide(nn.BatchNorm2d):
    """Another start, and nothing more."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)


CASES: dict[str, tuple[list[nn.Module], torch.Tensor]] = {
    "linear": ([nn.BatchNorm1d(6), nn.Linear(6, 5)], x(4, 6)),
    "no bias": ([nn.BatchNorm1d(6), nn.Linear(6, 5, bias=False)], x(4, 6)),
    "convolution": ([nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)], x(2, 4, 5, 5)),
    "grouped": ([nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2, bias=False)], x(2, 4, 5, 5)),
    "of a subclass": ([Wide(4), nn.Conv2d(4, 6, 3)], x(2, 4, 5, 5)),
    "a row": ([nn.BatchNorm1d(4), nn.Conv1d(4, 8, 3, groups=4, stride=2)], x(2, 4, 9)),
    "after a ReLU": ([nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 5)], x(4, 6)),
}


@pytest.mark.parametrize(("modules", "given"), CASES.values(), ids=list(CASES))
def test_the_function_is_the_same_without_the_norm(
    modules: list[nn.Module], given: torch.Tensor
) -> None:
    model = stirred(*copy.deepcopy(modules))
    found = folded(model, given)
    assert not any(
        isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in found.modules()
    )
    torch.testing.assert_close(found(given), model(given), atol=1e-5, rtol=1e-5)
    prepare_model(found, plan_schemes(found, Quantize(), "uint8"), "minmax", lambda m: m(given))
    calibrate(found, [lambda m: m(given)])
    torch.testing.assert_close(found(given), model(given), atol=0.1, rtol=0.1)
    torch.testing.assert_close(convert_model(found)(given), found(given), atol=1e-5, rtol=1e-5)


class Twice(nn.Module):
    """What the norm makes is read by the product and by an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.product = nn.BatchNorm1d(6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return x + self.product(x)


LEFT: dict[str, tuple[Any, torch.Tensor]] = {
    "padded": (lambda: stirred(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)), x(2, 4, 5, 5)),
    "read twice": (lambda: Twice().eval(), x(4, 6)),
    "over positions": (lambda: stirred(nn.BatchNorm1d(6), nn.Linear(6, 5)), x(2, 6, 6)),
    "without statistics": (
        lambda: stirred(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 5)),
        x(4, 6),
    ),
    "with an activation": (lambda: stirred(Rectified(4), nn.Conv2d(4, 6, 3)), x(2, 4, 5, 5)),
    "behind another product": (
        lambda: stirred(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)),
        x(4, 6),
    ),
}


@pytest.mark.parametrize(("build", "given"), LEFT.values(), ids=list(LEFT))
def test_a_norm_that_cannot_be_folded_stays(build: Any, given: torch.Tensor) -> None:
    model = build()
    found = folded(model, given)
    assert [type(module) for module in found.modules()] == [
        type(module) for module in model.modules()
    ]
    assert torch.equal(found(given), model(given))


def test_a_norm_with_an_activation_is_not_folded_into_what_it_reads() -> None:
    model = stirred(nn.Conv2d(4, 6, 3), Rectified(6), nn.Conv2d(6, 2, 1))
    given = x(2, 4, 5, 5)
    found = copy.deepcopy(model)
    prepare_model(found, plan_schemes(found, Quantize(), "uint8"), "minmax", lambda m: m(given))
    calibrate(found, [lambda m: m(given)])
    torch.testing.assert_close(found(given), model(given), atol=0.05, rtol=0.05)
