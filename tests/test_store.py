"""The store: canonical digests, atomic writes, one builder at a time, reuse, and what a kill leaves behind."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.core import files
from limbeck.core.cache import spent, store
from limbeck.core.cache.store import Store, lock
from limbeck.core.errors import Interrupted
from limbeck.core.events import Event
from limbeck.core.files import (
    digest,
    file_digest,
    folder_digest,
    read_json,
    write_bytes,
    write_json,
)
from limbeck.core.system.signals import deferred_interrupt

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


def fill(folder: Path) -> None:
    (folder / "result").write_bytes(b"done")


def forbidden(folder: Path) -> None:
    raise AssertionError("this stage was computed before")


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python on a script with arguments; whatever is left of it is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a child prints."""
    stream: IO[str] | None = process.stdout
    assert stream is not None
    return stream.readline().strip()


# Digests.


def test_digest_is_the_sha_256_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,true,null],"é":"x"}'.encode()).hexdigest()
    assert digest({"é": "x", "a": (1, 2.5, True, None)}) == expected


@given(plain)
def test_digest_depends_on_the_value_alone(value: Any) -> None:
    assert digest(json.loads(json.dumps(value))) == digest(value)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), plain, min_size=2, max_size=5))
def test_digest_ignores_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(plain, plain)
def test_digest_tells_values_apart(a: Any, b: Any) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (digest(a) == digest(b)) == same


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_digest_refuses_what_json_cannot_say(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest(value)


def test_file_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_digest(path) == hashlib.sha256(b"abc").hexdigest()


def test_folder_digest_covers_names_and_bytes_of_every_file(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, bytes]) -> Path:
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
        return tmp_path / name

    first = folder_digest(folder("first", {"a": b"1", "sub/b": b"2"}))
    assert folder_digest(folder("same", {"sub/b": b"2", "a": b"1"})) == first
    others = [
        {"a": b"1", "sub/b": b"3"},
        {"a": b"1", "sub/c": b"2"},
        {"a": b"1", "b": b"2"},
        {"a": b"1"},
        {"a": b"2", "sub/b": b"1"},
    ]
    found = [folder_digest(folder(f"other{i}", files)) for i, files in enumerate(others)]
    assert len({first, *found}) == len(others) + 1


# Atomic writes.


def test_write_and_read_json(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert list(read_json(tmp_path / "x.json")) == ["b", "a"]
    assert (tmp_path / "x.json").read_text(encoding="utf-8").endswith("}\n")
    assert os.listdir(tmp_path) == ["x.json"]


@given(plain)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"old")

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights"]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["weights"]


def test_the_bytes_are_durable_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("replace"), replace(*names)))
    write_bytes(tmp_path / "x", b"1")
    assert events == ["fsync", "replace", "fsync"]


def test_refused_json_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert read_json(tmp_path / "x.json") == 1
    assert os.listdir(tmp_path) == ["x.json"]


WRITER = """
import sys
from pathlib import Path
from limbeck.core.files import write_bytes
path = Path(sys.argv[1])
write_bytes(path, b"0" * 200_000)
print("ready", flush=True)
while True:
    for digit in b"0123456789":
        write_bytes(path, bytes([digit]) * 200_000)
"""


def test_a_reader_never_sees_a_part_and_a_kill_leaves_none(
    tmp_path: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    process = child(WRITER, tmp_path / "weights")
    assert said(process) == "ready"
    seen = [(tmp_path / "weights").read_bytes() for _ in range(200)]
    process.kill()
    process.wait()
    seen.append((tmp_path / "weights").read_bytes())
    assert all(content == content[:1] * 200_000 for content in seen)


# The lock.

HOLDER = """
import sys
from pathlib import Path
from limbeck.core.cache.store import lock
with lock(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_held_by_another_process_is_told(
    tmp_path: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "run" / "lock"
    process = child(HOLDER, path)
    assert said(process) == "held"
    with (
        pytest.raises(
            ValueError,
            match=r"run: another run is writing to this folder\. Wait for it, or choose another --out",
        ),
        lock(path, wait=False),
    ):
        pass
    process.communicate("\n")
    with lock(path, wait=False):
        pass


def test_the_kernel_frees_the_lock_of_a_killed_process(
    tmp_path: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    process = child(HOLDER, tmp_path / "lock")
    assert said(process) == "held"
    process.kill()
    process.wait()
    with lock(tmp_path / "lock", wait=False):
        pass


def test_a_failure_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path / "lock", wait=False):
        raise KeyError
    with lock(tmp_path / "lock", wait=False):
        pass


# Stages.


def test_the_cache_is_where_the_environment_says(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Store().folder == cache_folder
    monkeypatch.setenv("LIMBECK_CACHE", "")
    assert Store().folder == Path("~/.cache/limbeck").expanduser()
    monkeypatch.setenv("LIMBECK_CACHE", "~/mine")
    assert Store().folder == Path("~/mine").expanduser()


def test_a_stage_is_built_once(cache_folder: Path) -> None:
    told: list[Event] = []
    first = Store(tell=told.append)
    entry = first.stage("teacher", {"seed": 0}, fill)
    assert entry == cache_folder / f"teacher-{digest({'seed': 0})[:24]}"
    assert (entry / "result").read_bytes() == b"done"
    assert read_json(entry / "stage.json") == {"seed": 0}
    second = Store(tell=told.append)
    assert second.stage("teacher", {"seed": 0}, forbidden) == entry
    assert [record["reused"] for record in first.records + second.records] == [False, True]
    lines = [str(event) for event in told]
    assert lines[0] == "teacher: running"
    assert lines[1].startswith("teacher: done in ")
    assert lines[2:] == ["teacher: reused"]


def test_a_stage_whose_code_leaves_the_folder_comes_back(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def build(partial: Path) -> None:
        fill(partial)
        os.chdir(partial)

    Store().stage("teacher", {"seed": 0}, build)
    assert Path.cwd() == tmp_path


def test_other_inputs_or_another_name_are_another_stage(cache_folder: Path) -> None:
    entries = {
        Store().stage(name, {"seed": seed}, fill)
        for name in ("teacher", "student")
        for seed in (0, 1)
    }
    assert len(entries) == 4


def test_a_record_says_what_was_done(cache_folder: Path) -> None:
    found = Store()
    entry = found.stage("train", {}, lambda folder: time.sleep(0.01), label="joint, seed 0")
    record = found.records[0]
    assert set(record) == {"name", "seconds", "peak_rss_mb", "reused", "entry"}
    assert (record["name"], record["reused"], record["entry"]) == (
        "joint, seed 0",
        False,
        entry.name,
    )
    assert 0.01 <= record["seconds"] < 10
    assert 1 < record["peak_rss_mb"] < 100_000


def test_the_seconds_of_a_resumed_stage_are_the_whole_s(cache_folder: Path) -> None:
    """Two kills: what a process did before its last checkpoint counts, and its lost work does not."""
    partial = cache_folder / f"train-{digest({})[:24]}.partial"
    for kept in (70.0, 30.0):

        def killed(folder: Path, kept: float = kept) -> None:
            (folder / "checkpoint").mkdir(exist_ok=True)
            file = folder / "checkpoint" / "step"
            file.write_text("9")
            began = (folder / spent.MARK).stat().st_mtime
            os.utime(file, (began + kept, began + kept))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Store().stage("train", {}, killed)
    found = Store()
    entry = found.stage("train", {}, fill)
    assert 100 <= found.records[0]["seconds"] < 101
    # Neither in the entry nor beside it, and what is found again took no time.
    assert not (entry / spent.MARK).exists()
    assert not partial.exists()
    found.stage("train", {}, fill)
    assert found.records[1]["seconds"] < 1


@pytest.mark.parametrize("left", ["", "no number", "-7", "1e"])
def test_a_mark_that_says_nothing_counts_nothing(left: str, tmp_path: Path) -> None:
    (tmp_path / spent.MARK).write_text(left)
    # Of a clock that was set back, the newest file is older than the start.
    (tmp_path / "file").write_text("x")
    os.utime(tmp_path / "file", (1, 1))
    assert spent.go_on(tmp_path) == 0


def test_a_finished_stage_holds_no_checkpoint_and_no_leftovers(cache_folder: Path) -> None:
    partial = cache_folder / f"train-{digest({})[:24]}.partial"
    (partial / "sub").mkdir(parents=True)
    (partial / "sub" / "weights.123.tmp").write_bytes(b"half")
    # As an export leaves one that is killed: taken for a part of the artifact, it ended every later run.
    (partial / "sub" / "exporting-1.tmp" / "graphs").mkdir(parents=True)
    (partial / "sub" / "exporting-1.tmp" / "graphs" / "model.onnx.2.tmp").write_bytes(b"half")

    def build(folder: Path) -> None:
        assert not list(folder.rglob("*.tmp"))
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "step").write_text("9")
        fill(folder)

    entry = Store().stage("train", {}, build)
    assert sorted(path.name for path in entry.rglob("*")) == [
        "files.json",
        "result",
        "stage.json",
        "sub",
    ]
    assert not partial.exists()


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, OSError])
def test_a_failed_build_keeps_its_folder_for_the_next(
    cache_folder: Path, error: type[BaseException]
) -> None:
    found = Store()

    def fail(folder: Path) -> None:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "step").write_text("3")
        raise error

    def resume(folder: Path) -> None:
        assert (folder / "checkpoint" / "step").read_text() == "3"
        fill(folder)

    with pytest.raises(error):
        found.stage("train", {}, fail)
    assert found.records == []
    entry = found.stage("train", {}, resume)
    assert sorted(path.name for path in entry.iterdir()) == ["files.json", "result", "stage.json"]


def test_a_stage_can_use_another(cache_folder: Path) -> None:
    found = Store()
    found.stage("outer", {}, lambda folder: fill(found.stage("inner", {}, fill)))
    assert [record["name"] for record in found.records] == ["inner", "outer"]


def test_a_kill_while_the_checkpoint_is_deleted_leaves_no_part_of_it(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(folder: Path) -> None:
        checkpoint = folder / "checkpoint"
        assert not checkpoint.exists() or len(os.listdir(checkpoint)) == 2
        checkpoint.mkdir(exist_ok=True)
        for name in ("model", "optimizer"):
            (checkpoint / name).write_text("state")

    def killed(folder: Path, **options: object) -> None:
        (folder / "model").unlink(missing_ok=True)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            Store().stage("train", {}, build)
    entry = Store().stage("train", {}, forbidden)
    assert sorted(os.listdir(entry)) == ["files.json", "stage.json"]


def test_a_stage_is_durable_before_its_name(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync, rename = files.sync, os.rename
    monkeypatch.setattr(store, "sync", lambda path: (synced.append(path.name), sync(path)))
    monkeypatch.setattr(os, "rename", lambda *names: (synced.append("rename"), rename(*names)))

    def build(folder: Path) -> None:
        (folder / "sub").mkdir()
        fill(folder / "sub")

    entry = Store().stage("train", {}, build)
    before = synced[: synced.index("rename")]
    assert {f"{entry.name}.partial", "sub", "result", "stage.json"} <= set(before)
    assert synced[len(before) :] == ["rename", cache_folder.name]


STEPS = """
import sys, time
from pathlib import Path
from limbeck.core.errors import Interrupted
from limbeck.core.files import read_json, write_bytes, write_json
from limbeck.core.system.signals import deferred_interrupt
from limbeck.core.cache.store import Store

def build(folder):
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    state = read_json(checkpoint / "state.json") if (checkpoint / "state.json").exists() else {"step": 0, "sum": 1}
    print("from", state["step"], flush=True)
    with deferred_interrupt() as stop:
        while state["step"] < 40:
            state = {"step": state["step"] + 1, "sum": state["sum"] * 31 % 1_000_003}
            write_json(checkpoint / "state.json", state)
            print(state["step"], flush=True)
            if stop.requested:
                raise Interrupted
            time.sleep(float(sys.argv[1]))
    write_bytes(folder / "weights", str(state["sum"]).encode())

try:
    print("entry", Store().stage("train", {}, build))
except Interrupted:
    sys.exit(3)
"""


def uninterrupted() -> bytes:
    """What STEPS computes."""
    return str(pow(31, 40, 1_000_003)).encode()


def stop_after(process: subprocess.Popen[str], step: int, signum: signal.Signals) -> int:
    """Send a signal once the child has done a step; its exit status."""
    while said(process) != str(step):
        assert process.poll() is None
    process.send_signal(signum)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 3), (signal.SIGINT, 3)]
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    cache_folder: Path,
    child: Callable[..., subprocess.Popen[str]],
    signum: signal.Signals,
    status: int,
) -> None:
    name = f"train-{digest({})[:24]}"
    assert stop_after(child(STEPS, 0.05), 5, signum) == status
    assert not (cache_folder / name).exists()
    reached = read_json(cache_folder / f"{name}.partial" / "checkpoint" / "state.json")["step"]
    assert 5 <= reached < 40
    output, _ = child(STEPS, 0).communicate()
    assert output.startswith(f"from {reached}\n{reached + 1}\n")
    assert output.endswith(f"entry {cache_folder / name}\n")
    assert (cache_folder / name / "weights").read_bytes() == uninterrupted()
    assert sorted(os.listdir(cache_folder)) == ["locks", name]
    assert child(STEPS, 0).communicate()[0] == f"entry {cache_folder / name}\n"


def test_two_processes_build_a_stage_once(
    cache_folder: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    first = child(STEPS, 0.005)
    assert said(first) == "from 0"
    second = child(STEPS, 0.005)
    outputs = [first.communicate()[0], second.communicate()[0]]
    assert "40\n" in outputs[0]
    assert outputs[1] == f"entry {cache_folder / ('train-' + digest({})[:24])}\n"


# Signals.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_old_handler_comes_back(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted), deferred_interrupt() as stop:  # noqa: PT012
        assert not stop.requested
        signal.raise_signal(signum)
        assert stop.requested
        assert signal.getsignal(signum) is not before
        raise Interrupted
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_last_look_is_not_lost(signum: signal.Signals) -> None:
    before, done = signal.getsignal(signum), False
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():  # noqa: PT012
        signal.raise_signal(signum)
        done = True
    assert done
    assert signal.getsignal(signum) is before


def test_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted), deferred_interrupt():
        raise Interrupted
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_thread_that_is_not_the_main_one_handles_no_signals() -> None:
    """As of a web server or a notebook: Python lets it install none."""
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def train() -> None:
        with deferred_interrupt() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_only_the_inner_of_two_contexts_is_asked() -> None:
    with deferred_interrupt() as outer:
        with pytest.raises(KeyboardInterrupt), deferred_interrupt():
            signal.raise_signal(signal.SIGTERM)
        assert not outer.requested


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("8 requested and 0 written"),  # numpy's words
    ],
)
def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, error: OSError) -> None:
    def build(folder: Path) -> None:
        raise error

    with pytest.raises(OSError, match="stage-") as caught:
        Store(tmp_path).stage("stage", {"a": 1}, build)
    assert Path(caught.value.filename).parent == tmp_path
    assert caught.value.errno == (error.errno or errno.ENOSPC)
    named = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/file")
    with pytest.raises(OSError, match="/elsewhere/file"), files.disk_named(tmp_path):
        raise named
    unread = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input") as caught, files.disk_named(tmp_path):
        raise unread
    assert caught.value.filename is None
    with pytest.raises(OSError, match=r"^other$"), files.disk_named(tmp_path):
        raise OSError("other")
