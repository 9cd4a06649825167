"""Each process's share of a batch, and what does not depend on how rows are shared out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import augment
from limbeck.data.batches import batch_plan, shard
from limbeck.tasks import Batch

LEVELS = (torch.full((1, 1, 1), -1.3), torch.full((1, 1, 1), 2.1))


@given(
    num_rows=st.integers(1, 40),
    world_size=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_the_shares_in_order_of_the_ranks_are_the_batch(
    num_rows: int, world_size: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).permutation(num_rows)
    shares = [shard(rows, rank, world_size) for rank in range(world_size)]
    assert np.concatenate(shares).tolist() == rows.tolist()
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_a_worked_example() -> None:
    shares = [shard(np.array([4, 7, 1, 0, 9]), rank, 3).tolist() for rank in range(3)]
    assert shares == [[4, 7], [1, 0], [9]]


def test_all_processes_go_through_the_same_number_of_batches() -> None:
    plan = batch_plan([3, 1, 4, 1, 5, 9, 2], budget=9, seed=2, epoch=5)
    by_rank = [[shard(rows, rank, 4) for rows in plan] for rank in range(4)]
    assert {len(batches) for batches in by_rank} == {len(plan)}


def images(rows: np.ndarray) -> Batch:
    """The same image for the same row, whatever stands beside it."""
    pixels = [
        torch.randn(1, 9, 7, generator=torch.Generator().manual_seed(int(row))) for row in rows
    ]
    labels = torch.from_numpy(rows[:, None] % 3)
    mask = torch.ones(len(rows), 1, dtype=torch.bool)
    return Batch({"pixel_values": torch.stack(pixels)}, None, labels, mask, rows)


def pixels_of(names: list[str], rows: np.ndarray) -> torch.Tensor:
    views = augment.Views(names, 3, LEVELS)
    pixels: torch.Tensor = views(images(rows), epoch=2, step=11).inputs["pixel_values"]
    return pixels


ONE_BY_ONE = list(augment.changes_by_name(LEVELS))


@pytest.mark.parametrize("names", [ONE_BY_ONE, ["randaugment"]], ids="+".join)
def test_a_view_does_not_depend_on_how_rows_are_shared_out(names: list[str]) -> None:
    rows = np.random.default_rng(0).permutation(17)
    shares = [pixels_of(names, shard(rows, rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat(shares), pixels_of(names, rows))


def test_a_mixture_depends_on_the_whole_batch_and_its_order() -> None:
    """So a process mixes the whole batch before it takes its share."""
    rows = np.arange(17)
    whole = pixels_of(["mixup"], rows)
    assert not torch.equal(pixels_of(["mixup"], shard(rows, 0, 2)), whole[:9])
    assert not torch.equal(pixels_of(["mixup"], rows[::-1].copy()), whole.flip(0))


def test_a_view_depends_on_the_row_and_not_on_its_place() -> None:
    rows = np.arange(6)
    moved = replace(images(rows), rows=rows + 1)
    views = augment.Views(ONE_BY_ONE, 3, LEVELS)
    assert not torch.equal(
        views(moved, 2, 0).inputs["pixel_values"], views(images(rows), 2, 0).inputs["pixel_values"]
    )
