"""The second device type of `probe_device`, for tests of what must run on any device."""

from collections.abc import Iterator

import pytest
from probe_device import Probe, probe_device

# torch counts its devices at the first pass backward of a process, so the probe is set up when
# tests are collected, before any of them runs.
with probe_device():
    pass


@pytest.fixture
def probe() -> Iterator[Probe]:
    """The probe device while a test runs; `probe.syncs` counts from the test's start."""
    with probe_device() as device:
        yield device
