"""float64 on a device that has none: computed on the host, and brought back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_device import Probe, ProbeTensor

import limbeck
from limbeck.analysis.signals import Signal
from limbeck.distillation.conflict import dot, on_host
from limbeck.models.likelihood import wide_logits
from limbeck.models.precision import back_like, in_float64, widest_dtype
from limbeck.tasks import Batch


def test_a_sum_has_float64_s_digits_wherever_it_is_taken(probe_of_any_width: Probe) -> None:
    # In float32 the ones would be lost beside 2^25.
    values = torch.tensor([2.0**25, 1.0, 1.0, -(2.0**25)]).to(probe_of_any_width.device)
    total = in_float64(values).sum()
    assert total.dtype == torch.float64
    back = back_like(total, values)
    assert isinstance(back, ProbeTensor)
    assert back.raw.tolist() == 2.0


def test_the_probe_refuses_float64_as_apple_s_devices_do(probe_of_any_width: Probe) -> None:
    values = torch.ones(2).to(probe_of_any_width.device)
    if widest_dtype(values.device) == torch.float64:
        assert values.double().dtype == torch.float64
        return
    for refused in (values.double, lambda: values.sum(dtype=torch.float64)):
        with pytest.raises(TypeError, match="no float64"):
            refused()


def test_figures_of_an_analysis_are_a_cpu_s(probe_of_any_width: Probe) -> None:
    device = probe_of_any_width.device
    exact = torch.tensor([3.0, 4.0]).to(device)
    signal = Signal()
    signal.add(exact, exact + 0.5)
    assert (signal.power, signal.noise) == (25.0, 0.5)
    assert on_host([dot([exact], [exact + 1])]) == [32.0]
    batch = Batch({"input": exact.view(1, 2)}, None, exact, torch.ones(1, 1).bool(), np.arange(1))
    (logits,) = wide_logits(torch.nn.Identity(), [batch])
    assert logits.dtype == torch.float64
    assert logits.flatten().cpu().tolist() == [3.0, 4.0]


def test_nothing_else_widens_a_tensor() -> None:
    """`in_float64` knows which devices have no float64, and `.double()` does not."""
    package = Path(limbeck.__file__).parent
    widening = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for forbidden in (".double()", ".to(torch.float64)", "sum(dtype=torch.float64")
        if forbidden in path.read_text(encoding="utf-8")
    }
    assert widening == {"models/precision.py"}
