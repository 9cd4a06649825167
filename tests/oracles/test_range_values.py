"""Each range against slow float64 code: what the extremes, the percentile and the search should have found."""

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.affine import fit_interval, quantize
from limbeck.quantization.ranges import SAMPLE, entropy
from limbeck.quantization.ranges.mse import STEPS
from limbeck.quantization.ranges.percentile import OUTSIDE

NIBBLE = Grid(-7, 7, True)  # four bits, where clipping pays
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))


def fit(name: str, grid: Grid, values: np.ndarray) -> tuple[float, float]:
    found = registry.load("ranges", name)(grid)
    found.observe(torch.tensor(values, dtype=torch.float32).unsqueeze(0))
    scale, zero_point = found.fit()
    return scale.item(), zero_point.item()


def interval(low: float, high: float, grid: Grid) -> tuple[float, float]:
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.symmetric:
        return max(low / grid.low, high / grid.high), 0.0
    scale = (high - low) / (grid.high - grid.low)
    return scale, float(np.clip(grid.low - np.round(low / scale), grid.low, grid.high))


def error(values: np.ndarray, scale: float, zero_point: float, grid: Grid) -> float:
    steps = np.clip(values / scale, grid.low - zero_point, grid.high - zero_point)
    if grid.is_floating:
        steps = steps.astype(getattr(ml_dtypes, grid.storage)).astype(float)
    else:
        steps = np.round(steps) if grid.step == 1 else np.where(values >= 0, 1, -1)
    codes = np.clip(steps + zero_point, grid.low, grid.high)
    return float(np.mean(((codes - zero_point) * scale - values) ** 2))


def draw(seed: int, count: int = 60, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, count).astype(np.float32).astype(
        float
    ) + np.float32(shift)


@grids
@pytest.mark.parametrize("shift", [0.0, 4.0, -40.0])
def test_minmax_covers_the_extremes(grid: Grid, shift: float) -> None:
    values = draw(0, 3 * SAMPLE, shift)
    scale, zero_point = fit("minmax", grid, values)
    expected, expected_zero = interval(values.min(), values.max(), grid)
    assert scale == pytest.approx(expected, rel=1e-6)
    assert zero_point == expected_zero


@grids
def test_the_percentile_cuts_the_outermost_values_only(grid: Grid) -> None:
    values = np.linspace(-1, 0.9, SAMPLE)  # off the middle, where the zero point of uint8 is a tie
    cut = int(OUTSIDE * SAMPLE)
    assert cut == 1
    spiked = values.copy()
    spiked[0], spiked[-1] = -1000, 1000
    inner = np.sort(spiked)[cut : SAMPLE - cut]
    scale, zero_point = fit("percentile", grid, np.random.default_rng(0).permutation(spiked))
    expected, expected_zero = interval(inner.min(), inner.max(), grid)
    assert scale == pytest.approx(expected, rel=1e-5)
    assert zero_point == expected_zero


@grids
def test_the_percentile_of_few_values_is_their_extremes(grid: Grid) -> None:
    values = draw(1, int(1 / OUTSIDE) - 1)
    assert fit("percentile", grid, values) == fit("minmax", grid, values)


@settings(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.sampled_from([*GRIDS.values(), NIBBLE]),
    st.sampled_from([0.0, 3.0, -3.0]),
)
@pytest.mark.parametrize("name", ["mse", "lsq", "pact"])
def test_mse_finds_the_best_of_its_steps_and_is_never_worse_than_minmax(
    name: str, seed: int, grid: Grid, shift: float
) -> None:
    """An exhaustive float64 search over the same shrunk intervals; `lsq` starts there too."""
    values = draw(seed, shift=shift)
    tried = [
        interval(values.min() * (1 - step / STEPS), values.max() * (1 - step / STEPS), grid)
        for step in range(STEPS)
    ]
    if grid.step > 1:
        tried += [(float(np.abs(values).mean()), 0.0)]
    best = min(error(values, *each, grid) for each in tried)
    found = error(values, *fit(name, grid, values), grid)
    assert found == pytest.approx(best, rel=1e-3)
    assert found <= error(values, *tried[0], grid) * (1 + 1e-5)


def test_clipping_pays_on_four_bits() -> None:
    values = np.random.default_rng(0).laplace(0, 1, 4000)
    assert error(values, *fit("mse", NIBBLE, values), NIBBLE) < 0.7 * error(
        values, *fit("minmax", NIBBLE, values), NIBBLE
    )


@pytest.mark.parametrize("name", ["mse", "lsq", "pact"])
def test_the_scale_of_signs_is_the_least_squares_one(name: str) -> None:
    """No scale near it or far from it does better."""
    values = draw(3, 900)
    scale, _ = fit(name, GRIDS["binary"], values)
    found = error(values, scale, 0.0, GRIDS["binary"])
    assert all(
        found < error(values, scale * factor, 0.0, GRIDS["binary"])
        for factor in (0.1, 0.9, 0.99, 1.01, 1.1, 2.0)
    )


def test_a_rectified_input_uses_the_whole_grid() -> None:
    values = np.abs(draw(2, 500))
    scale, zero_point = fit("minmax", GRIDS["uint8"], values)
    assert zero_point == 0
    assert scale == pytest.approx(values.max() / 255, rel=1e-6)


def test_the_mean_of_the_extremes_is_taken() -> None:
    found = registry.load("ranges", "moving_average")(GRIDS["int8"])
    for low, high in ((-1.0, 2.0), (-3.0, 4.0), (-2.0, 30.0)):
        found.observe(torch.tensor([[low, high]]))
    assert found.fit()[0].item() == pytest.approx(12 / 127)


def slow_divergence(
    counts: list[float], centres: list[float], low: float, high: float, codes: list[int]
) -> float:
    """KL by lists: outliers to the outermost bins inside, each code's values spread over its bins that held any."""
    inside = [index for index, centre in enumerate(centres) if low <= centre <= high]
    p = dict.fromkeys(inside, 0.0)
    for index, count in enumerate(counts):
        p[min(max(index, inside[0]), inside[-1])] += count
    q = {}
    for index in inside:
        members = [other for other in inside if codes[other] == codes[index] and counts[other]]
        q[index] = sum(counts[other] for other in members) / len(members) if counts[index] else 0.0
    whole, kept = sum(p.values()), sum(q.values())
    return sum(
        p[i] / whole * math.log((p[i] / whole) / max(q[i] / max(kept, 1), entropy.SMALLEST_SHARE))
        for i in inside
        if p[i]
    )


@pytest.mark.parametrize("share", [1.0, 0.7, 0.4])
@pytest.mark.parametrize("name", ["int8", "uint8", "int3"])
def test_the_divergence_is_that_of_a_slow_loop(name: str, share: float) -> None:
    values = torch.tensor(
        np.repeat(np.random.default_rng(3).normal(0, 1, 4000), 8), dtype=torch.float32
    )[None]
    low, high, grid = values.amin(1), values.amax(1), GRIDS[name]
    counts, centres = entropy.histogram(values, low, high)
    assert counts.sum() == 32000
    scale, zero = fit_interval(low * share, high * share, grid)
    codes = quantize(centres, scale, zero, grid) - grid.low
    found = entropy.divergence(
        counts, centres, (low * share, high * share), codes, grid.high - grid.low
    )
    expected = slow_divergence(
        counts[0].tolist(),
        centres[0].tolist(),
        (low * share).item(),
        (high * share).item(),
        codes[0].tolist(),
    )
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_entropy_leaves_an_outlier_out() -> None:
    batches = [
        torch.tensor(np.random.default_rng(seed).normal(0, 1, (1, 16000)), dtype=torch.float32)
        for seed in range(5)
    ]
    batches[2][0, 7] = 80.0
    found = registry.load("ranges", "entropy")(GRIDS["int8"])
    for batch in batches:
        found.observe(batch)
    assert found.fit()[0] < 0.2 * 80 / 127
