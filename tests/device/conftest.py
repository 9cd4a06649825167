"""The second device type of `probe_device`, for tests of what must run on any device."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from probe_device import Probe, ProbeTensor, probe_device
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from limbeck.models import precision

# torch counts its devices at the first pass backward of a process, so the probe is set up when
# tests are collected, before any of them runs.
with probe_device():
    pass


class WithoutFloat64(TorchDispatchMode):
    """Refuses what would be float64 on the probe, as PyTorch does on Apple's GPUs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, ProbeTensor) and leaf.dtype == torch.float64:
                raise TypeError(f"{func}: the device has no float64")
        return result


@pytest.fixture
def probe() -> Iterator[Probe]:
    """The probe device while a test runs; `probe.syncs` counts from the test's start."""
    with probe_device() as device:
        yield device


# Without float64 by default: there a step more may go wrong.
@pytest.fixture(
    params=[
        pytest.param(True, marks=pytest.mark.slow, id="float64"),
        pytest.param(False, id="float32"),
    ]
)
def probe_of_any_width(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Probe]:
    """The probe device as it is, and with float32 as its widest float."""
    with probe_device() as device:
        if request.param:
            yield device
            return
        monkeypatch.setattr(precision, "WITHOUT_FLOAT64", {device.device.type})
        with WithoutFloat64():
            yield device
