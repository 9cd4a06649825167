"""What every test stands on: a cache of its own, no network, and property tests that do not depend on this machine's speed."""

import os
from collections.abc import Iterator
from pathlib import Path

# Libraries read these once, when they are imported: a fixture would come too late.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_WAIT_POLICY"] = (
    "passive"  # runs of two threads beside other tests on two cores: a thread that waits must not spin
)

import pytest
from hypothesis import settings

settings.register_profile("limbeck", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("limbeck")


LONGEST = ("test_docs.py", "test_kill.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LIMBECK_CACHE, empty for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LIMBECK_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On toy sizes a second thread costs more than it brings, and the more so beside another program."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
