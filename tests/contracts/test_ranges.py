"""What every range keeps, on both grids. A new file in ranges/ is tested here without a line of this file changing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.affine import dequantize, fit_interval, quantize, squared_error
from limbeck.quantization.ranges import SAMPLE

pytestmark = [
    pytest.mark.parametrize("name", registry.names("ranges")),
    pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS)),
]

Fit = tuple[torch.Tensor, torch.Tensor]


def fit(name: str, grid: Grid, *batches: torch.Tensor) -> Fit:
    found = registry.load("ranges", name)(grid)
    for batch in batches:
        found.observe(batch)
    return found.fit()


def normal(groups: int = 3, count: int = 500, seed: int = 0) -> torch.Tensor:
    return torch.randn(groups, count, generator=torch.Generator().manual_seed(seed))


def check(scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid, groups: int) -> None:
    """Finite positive scales and integer zero points on the grid, one of each for a group; zero exact, but for `binary`, which has no zero."""
    assert scale.shape == zero_point.shape == (groups,)
    assert scale.dtype == torch.float32
    assert torch.isfinite(scale).all()
    assert (scale > 0).all()
    assert torch.isfinite(scale.log()).all()
    assert torch.equal(zero_point, zero_point.round())
    assert ((zero_point >= grid.low) & (zero_point <= grid.high)).all()
    if grid.symmetric:
        assert (zero_point == 0).all()
    zero = dequantize(quantize(torch.zeros(groups), scale, zero_point, grid), scale, zero_point)
    assert torch.equal(zero, scale if grid == GRIDS["binary"] else torch.zeros(groups))


HARD_INPUTS = {
    "zeros": torch.zeros(2, 64),
    "a constant": torch.full((2, 64), 3.7),
    "a negative constant": torch.full((2, 64), -0.02),
    "one value": torch.tensor([[5.0], [-5.0]]),
    "tiny": 1e-30 * normal(2),
    "denormal": torch.full((2, 64), 1e-42),
    "large": 1e30 * normal(2),
    "an outlier": torch.cat([normal(2), torch.tensor([[1e6], [-1e6]])], 1),
    "all positive": normal(2).abs() + 1,
    "all negative": -normal(2).abs() - 1,
    "many zeros, few spikes": torch.nn.functional.one_hot(torch.tensor([7, 9]), 1000).float(),
    "one dead group": torch.stack([torch.zeros(64), normal(1, 64)[0]]),
}


def test_hard_inputs_give_a_finite_positive_scale_and_an_exact_zero(name: str, grid: Grid) -> None:
    # One test for all: a thousand tests of 2 ms each cost 8 ms each beside it.
    for kind, values in HARD_INPUTS.items():
        try:
            check(*fit(name, grid, values), grid, 2)
        except (AssertionError, ValueError) as error:
            error.add_note(f"values: {kind}")
            raise


def test_the_largest_float32_values_give_a_finite_scale(name: str, grid: Grid) -> None:
    check(*fit(name, grid, torch.tensor([[3e38, -3e38, 1.0]])), grid, 1)


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), min_size=1, max_size=4
    )
)
def test_any_finite_values_give_a_valid_range(
    name: str, grid: Grid, batches: list[list[float]]
) -> None:
    check(*fit(name, grid, *(torch.tensor(batch).view(2, 2) for batch in batches)), grid, 2)


def test_the_order_of_batches_does_not_matter(name: str, grid: Grid) -> None:
    batches = [normal(3, count, seed) * (1 + seed) for seed, count in enumerate((100, 7, 300, 1))]
    for first, second in zip(
        fit(name, grid, *batches), fit(name, grid, *batches[::-1]), strict=True
    ):
        assert torch.equal(first, second)


def test_how_values_are_cut_into_batches_does_not_matter(name: str, grid: Grid) -> None:
    values = normal(3, 600)
    same = [
        torch.equal(*pair)
        for pair in zip(
            fit(name, grid, values), fit(name, grid, *values.split(150, 1)), strict=True
        )
    ]
    assert all(same) != registry.load("ranges", name).by_batch


def test_groups_do_not_see_each_other(name: str, grid: Grid) -> None:
    values = normal(3) * torch.tensor([[1.0], [100.0], [0.01]])
    together = fit(name, grid, values)
    for index in range(3):
        for whole, alone in zip(together, fit(name, grid, values[index : index + 1]), strict=True):
            assert torch.equal(whole[index : index + 1], alone)


def test_observed_values_may_change_afterwards(name: str, grid: Grid) -> None:
    """The range keeps its own copy: activations are overwritten in place."""
    values = normal()
    found = registry.load("ranges", name)(grid)
    found.observe(values)
    expected = fit(name, grid, values.clone())
    values.mul_(1000)
    for first, second in zip(found.fit(), expected, strict=True):
        assert torch.equal(first, second)


def test_a_larger_input_gives_a_proportional_scale(name: str, grid: Grid) -> None:
    (small, zero), (large, same_zero) = fit(name, grid, normal()), fit(name, grid, normal() * 1024)
    torch.testing.assert_close(large, small * 1024)
    assert torch.equal(zero, same_zero)


def test_values_that_are_not_finite_are_refused(name: str, grid: Grid) -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="not finite"):
            fit(name, grid, normal(), torch.tensor([[1.0], [value], [2.0]]))


def test_a_value_that_the_sample_skips_is_still_seen(name: str, grid: Grid) -> None:
    values = normal(1, 3 * SAMPLE)
    values[0, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        fit(name, grid, values)


def test_fit_before_observe_is_refused(name: str, grid: Grid) -> None:
    with pytest.raises(ValueError, match="before it observed"):
        registry.load("ranges", name)(grid).fit()


def test_the_error_on_plain_values_is_within_that_of_the_extremes(name: str, grid: Grid) -> None:
    """On normal values no way does worse than twice the extremes' squared error."""
    values = normal(3, 2000)
    scale, zero_point = fit(name, grid, values)
    own = squared_error(values, scale, zero_point, grid)
    extremes = squared_error(values, *fit_interval(values.amin(1), values.amax(1), grid), grid)
    assert (own <= 2 * extremes).all()
