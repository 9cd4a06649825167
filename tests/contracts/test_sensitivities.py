"""What every sensitivity keeps. A new file in sensitivities/ is tested here without a line of this file changing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.analysis.sensitivities import JudgedModel
from limbeck.core import registry
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import QUANTIZABLE
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Scheme
from limbeck.tasks import Batch

pytestmark = pytest.mark.parametrize("name", registry.names("sensitivities"))

FORMATS = ("int8", "int4", "int3", "int2")  # the finest first


class Words(nn.Module):
    """Tokens to a class; one module reads nothing that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.inner = nn.Linear(8, 12)
        self.head = nn.Linear(12, 5)
        self.unused = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.inner(self.table(x).mean(1))))


class Pixels(nn.Sequential):
    """Images to a class, a norm behind the convolution."""

    def __init__(self) -> None:
        norm = nn.BatchNorm2d(6)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        super().__init__(
            nn.Conv2d(2, 6, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(54, 4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


def inputs(kind: type[nn.Module], count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind is Words:
        return torch.randint(0, 20, (count, 6), generator=generator)
    return torch.randn(count, 2, 5, 5, generator=generator)


def batch(x: torch.Tensor, rows: list[int]) -> Batch:
    units = torch.ones(len(rows), 1)
    return Batch({"x": x[rows]}, None, units.long(), units.bool(), np.array(rows))


def probe(
    kind: type[nn.Module], parts: list[list[int]] | None = None, formats: tuple[str, ...] = FORMATS
) -> JudgedModel:
    torch.manual_seed(0)
    x = inputs(kind, 24)
    model = kind().eval()
    schemes = {
        name: Scheme(weights="int8", activations="float")
        for name, module in model.named_modules()
        if isinstance(module, QUANTIZABLE)
    }
    prepare_model(model, schemes, "lsq", lambda model: model(x=x[:2]))
    return JudgedModel(
        model.eval(),
        [
            batch(x, part)
            for part in parts or [list(range(start, start + 4)) for start in range(0, 24, 4)]
        ],
        formats,
    )


def scores(name: str, given: JudgedModel) -> dict[str, dict[str, float]]:
    return registry.create("sensitivities", name)(given)


@pytest.mark.parametrize("kind", [Words, Pixels])
def test_every_module_has_a_finite_loss_of_0_or_more_in_every_format(
    name: str, kind: type[nn.Module]
) -> None:
    given = probe(kind)
    found = scores(name, given)
    assert list(found) == list(given.layers)
    for module, row in found.items():
        assert list(row) == list(FORMATS)
        assert all(math.isfinite(value) and value >= 0 for value in row.values())
        assert module == "unused" or row["int2"] > 0


def test_what_never_runs_is_not_judged(name: str) -> None:
    """It stays float: nothing says how it would be read."""
    assert "unused" not in scores(name, probe(Words))


@pytest.mark.parametrize("kind", [Words, Pixels])
def test_coarser_is_never_cheaper_over_all_modules(name: str, kind: type[nn.Module]) -> None:
    found = scores(name, probe(kind))
    sums = [sum(row[form] for row in found.values()) for form in FORMATS]
    assert sums == sorted(sums)
    assert sums[-1] > 100 * sums[0]


@pytest.mark.parametrize("kind", [Words, Pixels])
def test_the_order_of_batches_and_of_rows_within_one_does_not_matter(
    name: str, kind: type[nn.Module]
) -> None:
    parts = [[5, 2, 9], [0, 7], [11, 3, 4, 1]]
    one, other = (
        scores(name, probe(kind, parts)),
        scores(name, probe(kind, [part[::-1] for part in parts[::-1]])),
    )
    for module in one:
        assert one[module] == pytest.approx(other[module], rel=1e-3, abs=1e-12)


def test_units_that_do_not_count_are_inert(name: str) -> None:
    with_padding = probe(Words, [[0, 1, 2], [3, 4]])
    first = with_padding.batches[0]
    first.mask[2] = False
    masked = scores(name, replace(with_padding, batches=[replace(first), with_padding.batches[1]]))
    without = scores(name, probe(Words, [[0, 1], [3, 4]]))
    for module in without:
        assert masked[module] == pytest.approx(without[module], rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("kind", [Words, Pixels])
def test_the_model_is_left_as_it_was(name: str, kind: type[nn.Module]) -> None:
    given = probe(kind, formats=("int4",))
    parameters = dict(given.model.named_parameters())
    next(iter(parameters.values())).requires_grad_(False)
    state = {key: value.clone() for key, value in given.model.state_dict().items()}
    flags = {key: parameter.requires_grad for key, parameter in parameters.items()}
    quantizers = [
        module.quantizer for module in given.model.modules() if isinstance(module, Quantized)
    ]
    scores(name, given)
    assert dict(given.model.named_parameters()).keys() == parameters.keys()
    assert {
        key: parameter.requires_grad for key, parameter in given.model.named_parameters()
    } == flags
    assert all(parameter.grad is None for parameter in given.model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in given.model.state_dict().items())
    assert [
        module.quantizer for module in given.model.modules() if isinstance(module, Quantized)
    ] == quantizers
    assert not any(module.training for module in given.model.modules())
