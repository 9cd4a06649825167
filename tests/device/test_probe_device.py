"""The probe device itself: what it refuses, and what it counts as a wait."""

from collections.abc import Callable

import pytest
import torch
from probe_device import Probe

READS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "a comparison in an if": lambda x: bool((x > 0).any()),
    "nonzero": lambda x: x.nonzero(),
    "the rows of a mask": lambda x: x[x[:, 0] > 0],
    "a mask of all elements": lambda x: x[x > 0],
    "a copy to the CPU": lambda x: x.cpu(),
}
FREE: dict[str, Callable[[torch.Tensor], object]] = {
    "arithmetic": lambda x: (x * 2 + 1).sum(),
    "a mask by where": lambda x: torch.where(x > 0, x, x.new_zeros(())),
    "rows by their numbers": lambda x: x[torch.arange(2, device=x.device)],
    "a slice": lambda x: x[1:, ::2],
}


def values(probe: Probe) -> torch.Tensor:
    return torch.arange(-3.0, 5.0).view(4, 2).to(probe.device)


@pytest.mark.parametrize("how", READS)
def test_what_the_host_waits_for_is_counted(how: str, probe: Probe) -> None:
    READS[how](values(probe))
    assert len(probe.syncs) == 1
    assert "test_probe_device.py" in probe.syncs[0]


@pytest.mark.parametrize("how", FREE)
def test_what_it_does_not_wait_for_is_not_counted(how: str, probe: Probe) -> None:
    FREE[how](values(probe))
    assert probe.syncs == []


def test_tensors_of_two_devices_do_not_meet(probe: Probe) -> None:
    with pytest.raises(RuntimeError, match=r"lies on cpu, another on probe:0"):
        values(probe) + torch.ones(4, 2)
