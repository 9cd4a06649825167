"""Roundings against slow and obvious code, exhaustive search, and worked examples."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.preflight import compatibility
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.ranges.mse import Mse
from limbeck.quantization.roundings.adaround import Adaround
from limbeck.quantization.roundings.gptq import Gptq
from limbeck.quantization.roundings.stochastic import Stochastic
from limbeck.quantization.roundings.ternary import Ternary
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import parse


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(count: int, width: int, seed: int = 1) -> torch.Tensor:
    return normal(count, 3, seed=seed) @ normal(3, width, seed=seed + 1) + 0.5 * normal(
        count, width, seed=seed + 2
    )


def scales(weight: torch.Tensor, grid: Grid, group: int) -> torch.Tensor:
    found = Mse(grid)
    found.observe(weight.reshape(-1, group))
    return found.fit()[0].view(len(weight), -1)


def slow_gptq(
    weight: np.ndarray, columns: np.ndarray, grid: Grid, x: np.ndarray, *, act_order: bool
) -> np.ndarray:
    """Optimal brain quantization in a fixed order, equations 2 and 3: the inverse of what is left of H, found anew for every column."""
    hessian = 2 * x.T @ x
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    order = np.argsort(-np.diag(x.T @ x), kind="stable") if act_order else np.arange(len(hessian))
    left, weight, codes = list(order), weight.copy(), np.zeros_like(weight)
    while left:
        column, inverse = left[0], np.linalg.inv(hessian[np.ix_(left, left)])
        codes[:, column] = np.clip(
            np.round(weight[:, column] / columns[:, column]), grid.low, grid.high
        )
        error = (weight[:, column] - codes[:, column] * columns[:, column]) / inverse[0, 0]
        weight[:, left] -= np.outer(error, inverse[0])
        left.pop(0)
    return codes * columns


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("block", [1, 5, 128])
@pytest.mark.parametrize("group", [12, 4])
def test_gptq_is_the_slow_column_by_column_version(act_order: bool, block: int, group: int) -> None:
    """Whatever the blocks, and with the scales of a column's own group whatever the order; a row that it does not better is the nearest one."""
    grid, weight, x = GRIDS["int3"], normal(9, 12), inputs(60, 12)
    scale = scales(weight, grid, group)
    columns = scale.repeat_interleave(group, 1)
    slow = slow_gptq(
        weight.double().numpy(),
        columns.double().numpy(),
        grid,
        x.double().numpy(),
        act_order=act_order,
    )
    plain = (weight / columns).round().clamp(grid.low, grid.high) * columns
    worse = [
        ((x.double() @ (torch.tensor(row) - own).double()) ** 2).sum()
        for row, own in zip(slow, weight, strict=True)
    ]
    bound = ((x.double() @ (plain - weight).double().T) ** 2).sum(0)
    expected = torch.where((torch.stack(worse) < bound)[:, None], torch.tensor(slow).float(), plain)
    torch.testing.assert_close(Gptq(act_order, block=block).solve(weight, scale, grid, x), expected)
    assert not torch.equal(expected, plain)


def test_gptq_takes_the_most_read_column_first() -> None:
    """Two columns read alike but for their size: the larger one's error is made up for by the smaller one's level."""
    grid, weight, scale = GRIDS["int4"], torch.tensor([[0.4, 1.0]]), torch.ones(1, 1)
    x = torch.tensor([[4.0, 1.0], [4.0, 1.0], [4.0, 1.1]])
    assert Gptq(damping=1e-4).solve(weight, scale, grid, x).tolist() == [
        [0.0, 3.0]
    ]  # 1 + 4 x 0.4 is 2.6


@pytest.mark.parametrize("seed", range(5))
def test_adaround_comes_near_the_best_of_all_choices(seed: int) -> None:
    grid, weight, x = GRIDS["int4"], normal(8, 6, seed=seed), inputs(50, 6, seed + 1)
    scale = scales(weight, grid, 6)
    low = (weight / scale).floor().clamp(grid.low, grid.high)
    choices = [
        (low + torch.tensor(ups)).clamp(grid.low, grid.high) * scale
        for ups in itertools.product([0.0, 1.0], repeat=6)
    ]
    best = torch.stack([((x @ (choice - weight).T) ** 2).sum(0) for choice in choices]).amin(0)
    plain = (
        (x @ ((weight / scale).round().clamp(grid.low, grid.high) * scale - weight).T) ** 2
    ).sum(0)
    found = ((x @ (Adaround().solve(weight, scale, grid, x) - weight).T) ** 2).sum(0)
    assert (found >= best * (1 - 1e-4)).all()
    gained = ((plain - found) / (plain - best).clamp_min(1e-9))[plain > best * 1.01]
    assert len(gained) >= 2
    assert gained.mean() > 0.4  # a descent from one start, where columns are read almost alike


def test_stochastic_rounding_is_right_in_the_mean() -> None:
    torch.manual_seed(0)
    values = torch.tensor([-7.75, -0.5, -0.1, 0.0, 0.25, 3.0, 126.9])
    drawn = Stochastic().round(values.expand(40_000, -1), GRIDS["int8"], training=True)
    assert (drawn.mean(0) - values).abs().max() < 5 * 0.5 / 200  # five standard errors
    assert torch.equal(drawn[:, 5], torch.full((40_000,), 3.0))
    assert sorted(drawn[:, 0].unique().tolist()) == [-8, -7]


def test_ternary_weights_are_those_of_the_paper() -> None:
    """Mean |w| is 0.5, the threshold 0.35; of 1.2, 0.6 and 0.4 the mean is 2.2 / 3."""
    weight = torch.tensor([[1.2, -0.6, 0.2, -0.1, 0.4]])
    assert Ternary().scale(weight).item() == pytest.approx(2.2 / 3)
    assert Ternary().round(weight / 0.7333, GRIDS["int8"], training=True).clamp(-1, 1).tolist() == [
        [1, -1, 0, 0, 1]
    ]
    assert (
        Ternary().round(weight / 0.7333, GRIDS["int8"], training=True)[0, 0] == 2
    )  # clamped by the grid, so that the gradient knows


def test_a_calibrated_ternary_layer_has_the_scale_of_the_paper_and_the_least_error_for_its_codes() -> (
    None
):
    model, x = nn.Sequential(nn.Linear(30, 4)).eval(), normal(5, 30)
    settings = Quantize(weights="ternary", rounding="ternary", when="after")
    rounding = registry.create("roundings", "ternary")
    prepare_model(
        model, plan_schemes(model, settings, "float"), "lsq", lambda m: m(x), rounding=rounding
    )
    calibrate(model, [lambda m: m(x)])
    layer = model[0]
    assert isinstance(layer, Quantized)
    for row, codes, scale in zip(
        layer.weight, layer.quantizer.codes(layer.weight), layer.quantizer.scale, strict=True
    ):
        kept = row.abs() > 0.7 * row.abs().mean()
        torch.testing.assert_close(scale, row[kept].abs().mean())
        torch.testing.assert_close(scale, (row @ codes) / (codes @ codes))
        assert torch.equal(codes, row.sign() * kept)


TEXT = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn}
student: {model: small_cnn}
distill: {losses: {kl: {}}}
"""


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (
            "quantize: {rounding: ternary}",
            r"quantize\.weights: `ternary` rounds weights to ternary alone, not to int8\. Say `weights: ternary`",
        ),
        (
            "quantize: {weights: ternary, rounding: ternary, modules: {head: {weights: int4}}}",
            r":7:\d+: quantize\.modules\.head\.weights: `ternary` .* int4",
        ),
        (
            "quantize: {rounding: gptq}",
            r"quantize\.rounding: `gptq` rounds whole layers after their training",
        ),
        ("quantize: {when: after, rounding: gptq, damping: 0}", r"`damping` is 0"),
        (
            "quantize: {when: after, rounding: adaround, stepz: 3}",
            r"no key `stepz`\. Did you mean `steps`",
        ),
    ],
)
def test_a_rounding_that_cannot_act_is_told_before_anything_is_trained(
    stage: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        compatibility.resolved(parse(TEXT + stage))


def test_the_keys_of_a_rounding_are_written_out_and_left_out_of_the_joint_arm() -> None:
    found = compatibility.resolved(
        parse(
            TEXT + "quantize: {when: after, rounding: gptq, weights: int4, block: 64}\nverdict: {}"
        )
    )
    assert found.quantize is not None
    assert found.quantize.options == {"act_order": True, "damping": 0.01, "block": 64}
    arms = derive_arms(found, 0)
    after, joint = arms["kd+ptq"].quantize, arms["joint"].quantize
    assert after is not None
    assert joint is not None
    assert (after.when, after.rounding, after.options) == ("after", "gptq", found.quantize.options)
    assert (joint.when, joint.rounding, joint.options, joint.weights) == (
        "train",
        "nearest",
        {},
        "int4",
    )
    compatibility.check_components(arms["joint"])
