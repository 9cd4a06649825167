"""What `pip install limbeck` runs: without torch, on systems that lack `fcntl` and `resource`, in any locale."""

import ast
import ctypes
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.artifact.rows.inputs import read_inputs
from limbeck.core import files
from limbeck.core.system import machine, memory, windows
from limbeck.sources._images import decode
from limbeck.tasks.inputs.image import ImageInput

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
    "test_answers.py",
    "test_api.py",
    "test_artifact.py",
    "test_evaluate.py",
    "test_ground_floor.py",
    "test_packed.py",
    "test_predict.py",
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
from limbeck.core.cache.store import Store
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
    assert list(read_inputs(str(path), None, images=False)) == ["It rains.", "It pours."]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("images", [False, True])
def test_lines_may_end_as_windows_ends_them(ends: str, images: bool) -> None:
    """Standard input is not translated on Linux, and a program of Windows may begin it with a mark."""
    lines = "".join([f"\ufeffa.png{ends}", ends, f"b c.png{ends}", "d.png"])
    assert list(read_inputs(None, io.BytesIO(lines.encode()), images=images)) == [
        "a.png",
        "b c.png",
        "d.png",
    ]


def test_text_that_is_not_utf_8_is_told_with_its_cure(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("Es regnet in München.\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"texts.txt:1: character 15: the byte 0xfc is not UTF-8. Save the text as"
    ):
        list(read_inputs(str(path), None, images=False))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.png", "a.png: there is no such file. Mend its path"),
        ("a.png\r", "there is no such file"),
        ("file/a.png", "there is no such file"),
        ("a" * 5000, "there is no such file"),
        (".", "this is a folder"),
        ("file", "not a readable image: it is of no known format. Replace it with a whole PNG"),
    ],
)
def test_an_image_that_is_missing_is_not_called_broken(
    name: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no image")
    task = ImageInput('{"height": 8, "width": 8, "channels": 1, "mean": [0], "std": [1]}')
    with pytest.raises(ValueError, match=r"\S") as caught:
        task.row(str(tmp_path / name))
    assert told in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_bytes_of_no_image_are_told_without_an_address_of_memory() -> None:
    with pytest.raises(ValueError, match=r"^not a readable image: it is of no known format\. Repl"):
        decode(b"no image")


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import limbeck
for name in ("run", "run_arm"):
    try:
        getattr(limbeck, name)
    except ModuleNotFoundError as error:
        print(error, error.name, error.__cause__, error.__suppress_context__)
from limbeck.cli import main
sys.exit(main.exit_status(sys.argv[1:]))
"""


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`limbeck ARGUMENTS`, after what Python says of the verbs that train."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def checked_recipe(tmp_path: Path) -> str:
    """A recipe on texts, with its data."""
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(map(csv_line, range(40))))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"task: text-classification\ndata: {{source: csv, path: '{tmp_path}'}}\n"
        "teacher: {model: any/model}\nstudent: {from: teacher, surgery: drop_layers, layers: 3}\n"
        "distill: {losses: {kl: {}}}\n"
    )
    return str(path)


def csv_line(number: int) -> str:
    return f"text {number},{'ab'[number % 2]}\n"


def test_data_are_checked_without_torch(checked_recipe: str) -> None:
    done = without_torch("check", "--data-only", checked_recipe)
    assert done.returncode == 0, done.stderr
    python, *said = done.stdout.splitlines()[1:]
    assert python == (
        "limbeck.run_arm needs the package torch, which is not installed. "
        'pip install "limbeck[train]" torch None True'
    )
    unasked = "without torch the keys of these were not checked: kl, drop_layers"
    assert any(line.startswith(unasked) for line in said)
    assert said[-1] == "ok"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.txt=words", "data.txt: `csv` (sources) has no key `txt`. Did you mean `text`?"),
        ("distill.losses={kll: {}}", "losses has no component `kll`. Did you mean `kl`?"),
        ("data.path=/nowhere", "/nowhere"),
        ("verdict={arms: [plain, kd], metric: f2}", "has no metric `f2`"),
    ],
)
def test_mistakes_in_data_and_names_are_told_without_torch(
    override: str, told: str, checked_recipe: str
) -> None:
    done = without_torch("check", "--data-only", checked_recipe, override)
    assert done.returncode == 2
    assert told in done.stderr


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
