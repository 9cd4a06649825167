"""What every test stands on: a cache of its own, no network, and property tests that do not depend on this machine's speed.

Where torch is not installed, the test files of the rooms that need it are left out and those of the
ground floor run. `LIMBECK_TEST_BLOCK=fcntl,resource` takes modules away that other systems lack.
"""

import contextlib
import functools
import importlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Before anything is imported that would import them: None makes an import fail. Only filelock keeps
# its `fcntl`: where there is none it has the system's own lock, and this system has no other.
if "LIMBECK_TEST_BLOCK" in os.environ:
    importlib.import_module("filelock")
    sys.modules.update(dict.fromkeys(os.environ["LIMBECK_TEST_BLOCK"].split(",")))  # type: ignore[arg-type]

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


# What only the extras `train` and `dev` bring, by the names that Python imports. The ground floor
# needs none of them: a test file that imports one is a test of the upper floor.
UPPER_FLOOR = {
    "accelerate",
    "datasets",
    "ml_dtypes",
    "nbformat",
    "onnx",
    "onnxscript",
    "scipy",
    "seqeval",
    "sklearn",
    "threadpoolctl",
    "torch",
    "transformers",
}
WITH_TORCH = importlib.util.find_spec("torch") is not None

# Its conftest makes a device of torch's, and a conftest's import is no test file's.
collect_ignore = [] if WITH_TORCH else ["device"]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Leave out a test file whose import ends at a package of the upper floor, and no other."""
    report = yield
    if WITH_TORCH or not report.failed:
        return report
    error = report.call.excinfo.value.__cause__
    if isinstance(error, ModuleNotFoundError) and error.name in UPPER_FLOOR:
        where = str(collector.path)
        report.outcome = "skipped"
        report.longrepr = (where, None, f"Skipped: {error.name} is not installed")
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is skipped where OpenVINO is not installed: the parameters of its tests name it."""
    for item in items:
        if "openvino" in item.nodeid.lower():
            item.add_marker("openvino")


@pytest.fixture(scope="session")
def cache_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of caches that no test has had. Most tests write none, so none is made."""
    parent = tmp_path_factory.mktemp("caches")
    return (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def cache_folder(cache_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """LIMBECK_CACHE, empty for each test."""
    folder = next(cache_folders)
    monkeypatch.setenv("LIMBECK_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def written_reports_have_their_shape() -> Iterator[None]:
    """Every report that a run of the suite writes is held against `limbeck schema report`."""
    from limbeck.reports import page, shape

    write = page.write

    def checked(report: dict[str, Any], *others: Any) -> None:
        # Those of tests of the page are made by hand, of what they need.
        if "from_python" in report:
            shape.check(report)
        write(report, *others)

    page.write = checked
    yield
    page.write = write


@pytest.fixture(autouse=True, scope="session")
def no_process_is_ended() -> Iterator[None]:
    """`main` has its process end seconds later, where a thread still runs: in a test that is the one
    in which all other tests run."""
    from limbeck.cli import exits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exits, "end_in_time", lambda status: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On toy sizes a second thread costs more than it brings, and the more so beside another program."""
    if not WITH_TORCH:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def cheap_exports() -> Iterator[None]:
    """What torch.onnx.export does anew at each call and to the same end, once a process.

    It parses the source of all its 500 translations (0.7 s; each export still gets a registry of
    its own, to which it adds what it translates itself), and names every operator that the C++
    side knows (0.06 s).
    """
    if not WITH_TORCH:
        yield
        return
    import torch._export.utils as export_utils
    from torch.onnx._internal.exporter import _registration

    registry = _registration.ONNXRegistry
    parsed = functools.cache(registry.from_torchlib)

    def from_torchlib(
        opset_version: int = _registration._constants.TORCHLIB_OPSET,
    ) -> _registration.ONNXRegistry:
        fresh = registry()
        fresh._opset_version = opset_version
        fresh.functions = {
            target: list(metas) for target, metas in parsed(opset_version).functions.items()
        }
        return fresh

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "from_torchlib", staticmethod(from_torchlib))
        once = functools.cache(export_utils._materialize_cpp_cia_ops)
        patch.setattr(export_utils, "_materialize_cpp_cia_ops", once)
        yield


# What `timed_in_small` takes the place of.
STARTED: dict[str, Any] = {}


@contextlib.contextmanager
def timed_here(subject: Any) -> Iterator[Any]:
    """A subject of a measurement, open in this process: a new one imports PyTorch for seconds."""
    from limbeck.artifact.speed import worker
    from limbeck.artifact.speed.in_process import InProcess
    from limbeck.artifact.speed.inputs import read_inputs
    from limbeck.artifact.speed.workers import GROUND_FLOOR
    from limbeck.pipeline.speed import pytorch_worker

    is_graph = subject.module == GROUND_FLOOR
    open_answer = worker.open_subject if is_graph else pytorch_worker.open_model
    answer = open_answer(subject.spec, 1)
    yield InProcess(answer, read_inputs(Path(subject.spec["inputs"])), lambda _: None)


@pytest.fixture(autouse=True, scope="session")
def timed_in_small() -> Iterator[None]:
    """What a run times in a process for each subject, twelve rounds on one thread and as many on all, is timed in six rounds of a few rows here.

    A graph is written once for each structure. `bench`, runs in processes of their own and tests of the processes (`in_processes`) time as users do.
    """
    if importlib.util.find_spec("torch") is None:
        yield
        return
    from limbeck.artifact.speed import rounds
    from limbeck.core.files import digest
    from limbeck.pipeline.speed import graphs, measuring

    STARTED.update(started=measuring.started, measured_on_all=measuring.measured_on_all)
    written: dict[str, dict[str, bytes]] = {}
    write = graphs.write_untrained

    def write_once(untrained: Any, example: Any, exporters: Any, folder: Path) -> None:
        shapes = {name: list(value.shape) for name, value in example.inputs.items()}
        structure = graphs.structure_key(untrained.model)
        schemes = {name: scheme.model_dump() for name, scheme in untrained.schemes.items()}
        key = digest([structure, schemes, untrained.range_name, list(exporters), shapes])
        if key not in written:
            write(untrained, example, exporters, folder)
            written[key] = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name, content in written[key].items():
            (folder / name).write_bytes(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "ROUNDS", 6)
        patch.setattr(rounds, "LEAST_MS", 0.0)
        patch.setattr(measuring, "started", timed_here)
        patch.setattr(measuring, "measured_on_all", lambda *_: None)
        patch.setattr(graphs, "write_untrained", write_once)
        yield


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is timed as a user's is, in processes of their own and on all cores too."""
    from limbeck.artifact.speed import rounds
    from limbeck.pipeline.speed import measuring

    monkeypatch.setattr(measuring, "started", STARTED["started"])
    monkeypatch.setattr(measuring, "measured_on_all", STARTED["measured_on_all"])
    monkeypatch.setattr(rounds, "ROUNDS", 12)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without the float graphs that its artifact is timed beside: an encoder's takes 3 s to trace."""
    from limbeck.pipeline.speed import subjects

    monkeypatch.setattr(subjects, "add_references", lambda *_: None)
