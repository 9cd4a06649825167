"""The second device type of `probe_device`, for tests of what must run on any device."""

from collections.abc import Iterator

import pytest
from probe_device import Probe, probe_device


@pytest.fixture
def probe() -> Iterator[Probe]:
    """The probe device while a test runs; `probe.syncs` counts from the test's start."""
    with probe_device() as device:
        yield device
