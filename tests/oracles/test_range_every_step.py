"""Grids that cover their weights before every step: scales follow, and no weight is left outside."""

import pytest
import torch
from torch import nn

from limbeck.core.grids import GRIDS
from limbeck.pipeline.arms import after_training, in_training
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import QuantizedLinear
from limbeck.quantization.progressive import Progressive
from limbeck.quantization.ranges.every_step import EveryStep
from limbeck.quantization.ranges.lsq import Lsq
from limbeck.quantization.roundings.nearest import Nearest
from limbeck.recipe.model import Quantize, Recipe


def layer(range_class: type, groups: int = 4, half: bool = True) -> QuantizedLinear:
    torch.manual_seed(0)
    quantizer = FakeQuantizer(GRIDS["int4"], range_class, groups, rounding=Nearest())
    if half:
        quantizer.keep_half()
    return QuantizedLinear(nn.Linear(32, groups), quantizer)


def progressive(module: nn.Module, **keys: object) -> Progressive:
    settings = Quantize.model_validate({"weights": "int4", "range": "every_step", **keys})

    def calibrate() -> None:
        for each in module.modules():
            if isinstance(each, QuantizedLinear):
                each.calibrate_weight()

    return Progressive(settings, module, calibrate)


@pytest.mark.parametrize("half", [True, False])
def test_before_every_step_the_largest_weight_of_a_group_is_on_the_grid(half: bool) -> None:
    module = layer(EveryStep, half=half)
    before_step = progressive(nn.Sequential(module))
    generator = torch.Generator().manual_seed(1)
    for step in range(3):
        before_step(step, 3)
        scale = module.scale()
        rows = module.weight.detach()
        if half:
            # The farther end, at 8 steps, lies on the side of the largest weight.
            largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))[:, 0]
            at_end = largest / -8
            others = (rows * -largest.sign()[:, None]).amax(1) / 7
            expected = torch.where(others > at_end.abs(), others, at_end.abs()) * -largest.sign()
            assert torch.equal(scale, expected.half().float())
        else:
            low, high = rows.aminmax(dim=1)
            assert torch.allclose(scale, torch.maximum(low / -8, high / 7), rtol=1e-6)
        # Rounding alone: no weight is farther from its level than half a step and fp16's last bit.
        error = (module.rounded_weight() - rows).abs().amax(1)
        assert (error <= 0.502 * scale.abs()).all()
        with torch.no_grad():
            module.weight.add_(torch.randn(rows.shape, generator=generator))


def test_other_ranges_keep_the_scale_that_they_learn() -> None:
    module = layer(Lsq)
    before_step = progressive(nn.Sequential(module), range="lsq")
    before_step(0, 3)
    first = module.scale().clone()
    with torch.no_grad():
        module.weight.mul_(3)
    before_step(1, 3)
    assert torch.equal(module.scale(), first)


def test_before_quantization_begins_nothing_is_fitted() -> None:
    module = layer(EveryStep)
    before_step = progressive(nn.Sequential(module), start=0.5)
    before_step(1, 4)
    assert not module.quantizer.is_calibrated and not module.quantizer.log_scale.any()
    before_step(2, 4)
    assert module.quantizer.is_calibrated


def test_it_learns_nothing_by_gradient() -> None:
    module = layer(EveryStep)
    assert not module.quantizer.log_scale.requires_grad
    # And what a weight on the grid is told passes through.
    progressive(nn.Sequential(module))(0, 1)
    module.rounded_weight().sum().backward()
    assert torch.equal(module.weight.grad, torch.ones_like(module.weight))


GENERATION = {
    "task": "text-generation",
    "data": {"source": "jsonl", "path": "x"},
    "student": {"model": "y"},
}


def test_they_are_quantized_late() -> None:
    def start_of(**quantize: object) -> float:
        recipe = Recipe.model_validate(GENERATION | {"quantize": {"weights": "int4", **quantize}})
        assert recipe.quantize
        return recipe.quantize.start

    assert start_of() == 0.8
    assert start_of(start=0) == 0
    assert start_of(start=0.25) == 0.25
    assert start_of(progressive=["int8"], switch_at=[0.5]) == 0
    other = Recipe.model_validate(
        GENERATION | {"task": "text-classification", "quantize": {"weights": "int4"}}
    )
    assert other.quantize and other.quantize.start == 0


def range_of(task: dict[str, object], **quantize: object) -> str | None:
    recipe = Recipe.model_validate(task | {"quantize": {"weights": "int4", **quantize}})
    assert recipe.quantize
    return recipe.quantize.range


def test_it_is_what_models_that_generate_text_train_with() -> None:
    assert range_of(GENERATION) == "every_step"
    assert range_of(GENERATION, range="lsq") == "lsq"
    # Afterwards it is chosen by trial, and other tasks learn their scales.
    assert range_of(GENERATION, when="after") is None
    assert range_of(GENERATION | {"task": "text-classification"}) == "lsq"


def test_arms_of_a_recipe_that_quantizes_afterwards_train_with_it_too() -> None:
    keys = GENERATION | {"quantize": {"weights": "int4", "when": "after"}}
    recipe = Recipe.model_validate(keys)
    assert recipe.quantize
    within = in_training(recipe.quantize, recipe.task)
    assert (within.range, within.start) == ("every_step", 0.8)
    # Afterwards a joint recipe's range is tried like any that trains along.
    assert after_training(within).range is None
    assert after_training(within.model_copy(update={"range": "mse"})).range == "mse"
