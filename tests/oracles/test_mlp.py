"""The multilayer perceptron on pixels: its grid against torch's own pooling, its sizes by hand."""

import pytest
import torch
from torch.nn import functional

from limbeck.models.networks.mlp import Mlp, shares


@pytest.mark.parametrize(("side", "grid"), [(28, 7), (32, 8), (8, 4), (6, 1)])
def test_where_cells_hold_whole_pixels_the_grid_is_torch_s_pooling(side: int, grid: int) -> None:
    images = torch.rand(2, 3, side, 2 * side)
    found = shares(side, grid) @ images @ shares(2 * side, grid).T
    assert torch.allclose(found, functional.adaptive_avg_pool2d(images, grid), atol=1e-6)


@pytest.mark.parametrize(("side", "grid"), [(9, 8), (3, 2), (5, 7), (2, 3)])
def test_where_they_do_not_each_pixel_counts_by_its_part_of_the_cell(side: int, grid: int) -> None:
    """By a finer grid that both divide: each pixel repeated, then averaged over whole cells."""
    images = torch.rand(2, 1, side, side)
    finer = images.repeat_interleave(grid, 2).repeat_interleave(grid, 3)
    expected = functional.avg_pool2d(finer, side)
    found = shares(side, grid) @ images @ shares(side, grid).T
    assert torch.allclose(found, expected, atol=1e-6)


def test_images_of_the_grid_s_size_are_read_as_they_are() -> None:
    assert torch.equal(shares(8, 8), torch.eye(8))
    model = Mlp(width=5, grid=8).build(3, 1)
    images = torch.rand(2, 1, 8, 8)
    assert model.averaged(images) is images


def test_its_parameters_are_counted_by_hand() -> None:
    model = Mlp(width=5, depth=2, grid=4).build(3, 2)
    counted = (2 * 16 * 5 + 5) + (5 * 5 + 5) + (5 * 3 + 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == counted
    # Each layer is a block, which losses on hidden maps find.
    assert len(model.blocks) == 2
