"""What last bits move: values at the edge of two levels, and nothing else."""

import pytest
import torch
from torch import nn

from limbeck.core.grids import GRIDS
from limbeck.quantization.last_bits import LAST_BIT, move_last_bits
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import QuantizedEmbedding, QuantizedLinear
from limbeck.quantization.ranges.minmax import Minmax


def calibrated(grid: str, values: torch.Tensor, groups: int = 1) -> FakeQuantizer:
    quantizer = FakeQuantizer(GRIDS[grid], Minmax, groups)
    quantizer.begin()
    quantizer(values)
    quantizer.finish()
    return quantizer


def test_a_value_between_two_levels_falls_to_either() -> None:
    quantizer = calibrated("uint8", torch.tensor([0.0, 255.0]))
    x = torch.full((1000,), 4.5)
    x[:500] = 4.4
    assert set(quantizer(x).tolist()) == {4.0}
    moved = move_last_bits(quantizer, seed=0)(x)
    assert set(moved[:500].tolist()) == {4.0}
    # To even at the edge itself, and up where the bit goes up: a fair coin of 500.
    assert 200 < int((moved[500:] == 5).sum()) < 300


@pytest.mark.parametrize("is_dynamic", [False, True])
def test_what_is_moved_is_what_is_rounded(is_dynamic: bool) -> None:
    """Of a linear layer what it reads, and never its weights; of an embedding nothing."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 3)
    layer = QuantizedLinear(linear, calibrated("int8", linear.weight.detach(), groups=3))
    layer.is_dynamic = is_dynamic
    if not is_dynamic:
        layer.input = calibrated("uint8", torch.tensor([-1.0, 1.0]))
    table = nn.Embedding(5, 4)
    words = QuantizedEmbedding(table, calibrated("int8", table.weight.detach(), groups=5))
    model = nn.Sequential(words, layer).eval()
    read = []
    reader = layer if layer.input is None else layer.input
    # A hook that stands before is called before.
    reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    move_last_bits(model, seed=1)
    reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    weight = layer.codes()
    model(torch.arange(5))
    before, after = read
    ratio = (after / before - 1).abs()
    assert bool((ratio <= 2 * LAST_BIT).all()) and bool((after != before).any())
    assert torch.equal(layer.codes(), weight)
