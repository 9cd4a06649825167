"""What `pip install limbeck` runs: without torch, on systems that lack `fcntl` and `resource`, in any locale."""

import ast
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.artifact.inputs import read_inputs
from limbeck.core import files, machine, memory, windows

ROOMS = ("core", "sources", "tasks", "recipe", "evaluation", "artifact", "reports")
PACKAGE = Path(limbeck.__file__).parent
MODULES = [
    ".".join(["limbeck", *path.relative_to(PACKAGE).with_suffix("").parts])
    for room in ROOMS
    for path in sorted((PACKAGE / room).rglob("*.py"))
]

# What tests the ground floor alone. A file whose import fails for want of torch is left out where
# there is none, without an error: what came to need it by mistake must be told here.
TESTS = Path(__file__).parent
GROUND_TESTS = [
    "contracts/test_sources.py",
    "contracts/test_tasks.py",
    "oracles/test_collapse.py",
    "oracles/test_likelihood.py",
    "oracles/test_task_masked_lm.py",
    "oracles/test_task_multi_label_classification.py",
    "oracles/test_task_ranking.py",
    "oracles/test_task_sentence_embedding.py",
    "oracles/test_task_text_regression.py",
    "oracles/test_verdict.py",
    "task_examples.py",
    "test_artifact.py",
    "test_ground_floor.py",
    "test_packed.py",
    "test_progress.py",
    "test_recipe.py",
    "test_registry.py",
    "test_report.py",
    "test_speed.py",
    "test_store.py",
]
OF_THE_EXTRA_TRAIN = {"accelerate", "onnx", "scipy", "seqeval", "sklearn", "torch", "transformers"}

# Lines end as Windows ends them, and a word is no ASCII.
RECIPE = (
    "\ufefftask: text-classification\r\n"
    "data: {source: csv, path: übung}  # größer\r\n"
    "student: {model: small}\r\n"
)

SCRIPT = """
import importlib, locale, sys
from pathlib import Path

for blocked in ("fcntl", "resource", "torch"):
    sys.modules[blocked] = None
for module in sys.argv[2:]:
    importlib.import_module(module)

from limbeck.core.files import read_json, write_json
from limbeck.core.store import Store
from limbeck.recipe.reading import read

folder = Path(sys.argv[1])
store = Store(folder / "cache")
for _ in range(2):
    entry = store.stage("words", {"w": 1}, lambda partial: write_json(partial / "x.json", "gr\\u00f6\\u00dfer"))
recipe = read(folder / "recipe.yaml", ["train.epochs=2"])
print(ascii([
    locale.getpreferredencoding(False) != "UTF-8",
    read_json(entry / "x.json"),
    [record["reused"] for record in store.records],
    recipe.data.options["path"],
    recipe.train.epochs,
    "torch" in [name for name, module in sys.modules.items() if module],
]))
"""


def test_it_runs_without_torch_and_without_what_only_linux_has(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(RECIPE.encode())
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path, *MODULES],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [True, "größer", [False, True], "übung", 2, False]
    assert done.stdout.strip() == ascii(expected)


def test_memory_is_that_of_this_process_and_machine() -> None:
    held = bytearray(64 * memory.MB)
    held[::4096] = b"1" * (len(held) // 4096)  # every page is touched
    assert 64 < memory.resident_mb() < memory.total_mb()
    assert memory.peak_mb() >= 64
    free = memory.available_mb()
    assert free is None or 0 < free <= memory.total_mb()
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)


class Kernel32:
    """Windows's library, as far as memory is asked."""

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.GetCurrentProcess = self.Function(lambda: -1)
        self.K32GetProcessMemoryInfo = self.Function(self.process)

    class Function:
        """A function of a ctypes library: types may be set on it."""

        def __init__(self, call: Any) -> None:
            self.call = call

        def __call__(self, *arguments: Any) -> Any:
            return self.call(*arguments)

    def process(self, handle: int, counters: Any, size: int) -> bool:
        assert (handle, size) == (-1, 72)  # sizeof(PROCESS_MEMORY_COUNTERS) on 64 bits
        counters._obj.PeakWorkingSetSize, counters._obj.WorkingSetSize = (
            5 * memory.MB,
            3 * memory.MB,
        )
        return self.works

    def GlobalMemoryStatusEx(self, status: Any) -> bool:
        assert status._obj.dwLength == ctypes.sizeof(status._obj) == 64
        status._obj.ullTotalPhys, status._obj.ullAvailPhys = 16 * 2**30, 7 * 2**30
        return self.works


def test_memory_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(windows, "kernel32", Kernel32)
    assert (memory.resident_mb(), memory.peak_mb()) == (3, 5)
    assert (memory.total_mb(), memory.available_mb()) == (16 * 1024, 7 * 1024)
    monkeypatch.setattr(windows, "kernel32", lambda: Kernel32(works=False))
    for ask in (memory.resident_mb, memory.total_mb):
        with pytest.raises(OSError, match="Windows does not tell"):
            ask()


def test_windows_has_no_library_elsewhere() -> None:
    with pytest.raises(OSError, match="a library of Windows"):
        windows.kernel32()


def test_files_are_written_where_folders_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError("a folder cannot be opened")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "open", refuse)
    files.write_bytes(tmp_path / "x", b"1")
    files.sync(tmp_path / "x")
    files.sync(tmp_path)
    assert (tmp_path / "x").read_bytes() == b"1"


def test_room_is_looked_for_where_it_cannot_be_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / "small").write_bytes(bytes(10))
    files.reserve(tmp_path / "small")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**42)  # sparse: 4 TB that no disk here has
    with pytest.raises(OSError, match="No space left") as caught:
        files.reserve(tmp_path / "large")
    assert caught.value.filename == str(tmp_path / "large")


def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffIt rains.\r\nIt pours.\r\n".encode())
    assert list(read_inputs(str(path), [], images=False)) == ["It rains.", "It pours."]


def imported(path: Path) -> list[str]:
    """The modules, and what is taken from them, that a file imports at any depth."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("name", GROUND_TESTS)
def test_a_test_of_the_ground_floor_needs_no_room_above_it(name: str) -> None:
    rooms_above = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - set(ROOMS)
    for module in imported(TESTS / name):
        first, _, rest = module.partition(".")
        assert first not in OF_THE_EXTRA_TRAIN, module
        assert first != "limbeck" or rest.split(".")[0] not in rooms_above, module
