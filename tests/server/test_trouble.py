"""What goes wrong around a server: full disks, cleaners of /tmp, files of tokens, and artifacts that
never open."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import TEXT, Reply, Served, install_runtime, serving, write_artifact

pytest.importorskip("fcntl")
pytest.importorskip("orjson")
import fcntl

from limbeck.artifact import manifest
from limbeck.core import files
from limbeck.server import logs, plans
from limbeck.server.client import Remote
from limbeck.server.plans import Plan, Shelf, Standing
from limbeck.server.processes import folder as folders
from limbeck.server.processes.board import Board

KEYS = {name: {"authorization": f"Bearer {name * 24}"} for name in "ab"}


@pytest.fixture(autouse=True)
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Each test has a folder of temporary files, where its servers' own folders lie.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    install_runtime(tmp_path / "site", monkeypatch)
    return write_artifact(tmp_path / "model")


def wait_for(what: Callable[[], Any], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def tokens_of(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "tokens"
    path.write_text("".join(f"{name} {name * 24} admin\n" for name in names))
    return path


@pytest.mark.services
def test_a_token_is_revoked_whatever_the_artifacts_are(tmp_path: Path, artifact: Path) -> None:
    tokens = str(tokens_of(tmp_path, "a", "b"))
    with serving(tmp_path / "served", str(artifact), "--tokens", tokens) as served:

        def ask(name: str) -> Reply:
            return served.ask("POST", "/predict", {"text": TEXT}, **KEYS[name])

        assert ask("a").status == ask("b").status == 200
        (artifact / "model.npy").unlink()
        tokens_of(tmp_path, "b")
        served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: ask("a").status == 401)
        assert ask("b").status == 200
        assert "model.npy" in served.event("reload refused")["why"]
        # A file that is none lets in who was let in before.
        (tmp_path / "tokens").write_text("short x\n")
        served.process.send_signal(signal.SIGHUP)
        assert "characters" in served.event("tokens refused: those of before are let in")["why"]
        assert (ask("a").status, ask("b").status) == (401, 200)


@pytest.mark.services
def test_without_its_folder_a_server_answers_from_memory(tmp_path: Path, artifact: Path) -> None:
    tokens = str(tokens_of(tmp_path, "a"))
    with serving(tmp_path / "served", f"towns={artifact}", "--tokens", tokens) as served:
        own = own_folder(tmp_path)
        shutil.rmtree(own)
        assert served.event("goes on as it is")["why"]
        for _ in range(5):
            assert served.ask("POST", "/predict", {"text": TEXT}, **KEYS["a"]).status == 200
        assert served.ask("GET", "/v2/health/ready").status == 200
        assert served.ask("GET", "/metrics", **KEYS["a"]).status == 200
        told = served.ask("PUT", "/admin/models/towns", {"artifact": str(artifact)}, **KEYS["a"])
        assert told.status == 507 and "gone" in told.json["error"]
        # Nobody could take the place of the last worker: connections would never be answered.
        os.kill(served.workers()[0], signal.SIGKILL)
        assert served.process.wait(20) == 3


def own_folder(tmp_path: Path) -> Path:
    (own,) = (tmp_path / "tmp").glob("limbeck-server-*")
    return own


@pytest.mark.services
def test_a_cleaner_sees_that_its_folder_is_used_and_a_killed_servers_goes(
    tmp_path: Path, artifact: Path
) -> None:
    with serving(tmp_path / "served", str(artifact)) as served:
        own = own_folder(tmp_path)
        os.utime(own, (0, 0))
        # As systemd-tmpfiles asks.
        descriptor = os.open(own, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        folders.remove_abandoned(own.parent)
        assert own.is_dir()
        workers = served.workers()
        served.process.kill()
        served.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in workers))
    assert own.is_dir()
    # A link, which anybody may lay there, is not followed.
    (own.parent / "limbeck-server-link").symlink_to(artifact)
    folders.remove_abandoned(own.parent)
    assert not own.exists() and (artifact / "model.npy").is_file()


@pytest.mark.services
def test_one_worker_needs_no_locks_and_several_say_that_they_do(
    tmp_path: Path, artifact: Path
) -> None:
    # As on a system without these modules, in every process of the server.
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    blocked = 'import sys\nsys.modules.update({"fcntl": None, "resource": None})\n'
    (lacking / "sitecustomize.py").write_text(blocked)
    environment = {"PYTHONPATH": os.pathsep.join([str(lacking), os.environ["PYTHONPATH"]])}
    with serving(tmp_path / "served", str(artifact), environment=environment) as served:
        assert served.predict(text=TEXT).json["label"] == "place"
        own = own_folder(tmp_path)
        assert served.stop() == 0
    assert not own.exists()
    command = [sys.executable, "-m", "limbeck", "serve", str(artifact), "--workers", "2"]
    refused = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert refused.returncode == 2 and "--workers 1" in refused.stderr
    assert "Traceback" not in refused.stderr


ENDLESS = """
import sys, time
from limbeck.server.processes import verify
verify.load = lambda *given, **named: time.sleep(1000)
sys.exit(verify.main_in_time(*sys.argv[1:]))
"""


def verifying(tmp_path: Path, artifact: Path, seconds: str) -> list[str]:
    own = tmp_path / "own"
    own.mkdir()
    Shelf(own).write(Plan(generation=1, models={"m": Standing(live="none")}))
    return [sys.executable, "-c", ENDLESS, str(artifact), str(own), seconds]


def test_verification_ends_when_its_time_is_up(tmp_path: Path, artifact: Path) -> None:
    command = verifying(tmp_path, artifact, "0.5")
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert found.returncode == 2 and "within 0.5 s" in found.stderr


def test_verification_dies_with_its_server(tmp_path: Path, artifact: Path) -> None:
    command = verifying(tmp_path, artifact, "600")
    start = f"import subprocess, time; print(subprocess.Popen({command!r}).pid, flush=True); time.sleep(99)"
    server = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    process = int(server.stdout.readline())
    wait_for(lambda: any((tmp_path / "own" / "artifacts").iterdir()))
    server.kill()
    server.wait()
    wait_for(lambda: not is_running(process))
    server.stdout.close()


def is_running(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    # One that nobody has waited for is there until somebody does.
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_full_disk_leaves_nothing_of_a_copy(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = manifest.copy_artifact

    def full(source: Path, target: Path) -> None:
        copied(source, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(plans, "copy_artifact", full)
    shelf = Shelf(tmp_path)
    with pytest.raises(OSError, match="space") as error:
        shelf.take_up(artifact)
    assert files.is_disk_full(error.value)
    assert not list((tmp_path / "artifacts").iterdir())


def test_a_copy_has_what_the_manifest_lists_and_no_links(tmp_path: Path, artifact: Path) -> None:
    (artifact / "unlisted.bin").write_bytes(b"x" * 1000)
    (artifact / "secret").symlink_to("/etc/passwd")
    (artifact / "endless").symlink_to("/dev/zero")
    # As a download of the hub lays it out.
    (artifact / "model.npy").rename(tmp_path / "blob")
    (artifact / "model.npy").symlink_to(tmp_path / "blob")
    shelf = Shelf(tmp_path)
    version = shelf.path(shelf.take_up(artifact))
    names = {path.name for path in version.iterdir()}
    assert names == {
        "manifest.json", "labels.json", "tokenizer.json", "model.npy", "golden.safetensors"
    }  # fmt: skip
    assert not any(path.is_symlink() for path in version.iterdir())


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(logs.os, "write", full)
    logs.log("request")


@pytest.mark.services
def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path, artifact: Path) -> None:
    if os.getuid() or subprocess.run(["mount", "--version"], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "tmp"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], check=False)
    if made.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        served_on_full_disk(tmp_path, artifact, disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def served_on_full_disk(tmp_path: Path, artifact: Path, disk: Path) -> None:
    large = write_artifact(tmp_path / "large", 2.0)
    (large / "README.md").write_bytes(b" " * 4_000_000)
    manifest.write_again(large)
    tokens = str(tokens_of(tmp_path, "a"))
    arguments = (f"towns={artifact}", "--tokens", tokens, "--workers", "2")
    with serving(tmp_path / "served", *arguments) as served:
        before = sorted(disk.rglob("*"))
        told = served.ask("PUT", "/admin/models/towns", {"artifact": str(large)}, **KEYS["a"])
        assert told.status == 507 and "full" in told.json["error"]
        assert sorted(disk.rglob("*")) == before
        # To the last byte, as somebody else's files may fill it.
        with pytest.raises(OSError, match="space"):
            fill(disk / "others")
        check_serves(served)
        served.process.send_signal(signal.SIGHUP)
        assert "No space" in served.event("reload refused")["why"]
        told = served.ask("PUT", "/admin/models/towns", {"artifact": str(artifact)}, **KEYS["a"])
        assert told.status == 507
        check_serves(served)
        (disk / "others").unlink()
        small = {"artifact": str(artifact)}
        assert served.ask("PUT", "/admin/models/towns", small, **KEYS["a"]).status == 200
        assert not [each for each in served.events() if each["event"] == "worker died"]
        assert "Traceback" not in served.log.read_text()


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def check_serves(served: Served) -> None:
    for _ in range(6):
        assert served.ask("POST", "/predict", {"text": TEXT}, **KEYS["a"]).status == 200
        assert served.ask("GET", "/v2/health/ready").status == 200
    assert served.ask("GET", "/metrics", **KEYS["a"]).status == 200


@pytest.mark.services
def test_a_model_keeps_its_task_and_labels_without_a_word(tmp_path: Path, artifact: Path) -> None:
    other = write_artifact(tmp_path / "other", 2.0)
    (other / "labels.json").write_text('["person", "place"]')
    manifest.write_again(other)
    path = "/admin/models/towns"
    tokens = str(tokens_of(tmp_path, "a"))
    with serving(tmp_path / "served", f"towns={artifact}", "--tokens", tokens) as served:
        for asked in ({"artifact": str(other)}, {"candidate": str(other), "share": 0.5}):
            told = served.ask("PUT", path, asked, **KEYS["a"])
            assert told.status == 409 and "labels" in told.json["error"]
        for wrong in ({"artifact": f"{artifact}\0x"}, {"artifact": str(artifact), "share": 0.5}):
            assert served.ask("PUT", path, wrong, **KEYS["a"]).status == 400
        asked = {"artifact": str(other), "other": True}
        assert served.ask("PUT", path, asked, **KEYS["a"]).status == 200
        form = "--x\r\nrubbish"
        kind = {"content_type": "multipart/form-data; boundary=y"} | KEYS["a"]
        assert served.ask("POST", "/predict", form, **kind).status == 400
        lines = served.log.read_text().splitlines()
        assert all(line.startswith(("{", "limbeck: listening")) for line in lines), lines


def test_tasks_and_labels_are_compared(tmp_path: Path, artifact: Path) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.take_up(artifact)
    same = shelf.take_up(write_artifact(tmp_path / "same", 3.0))
    assert shelf.why_unlike(first, same) is None
    content = files.read_json(shelf.path(same) / "manifest.json") | {"task": "text-regression"}
    files.write_json(shelf.path(same) / "manifest.json", content)
    assert "text-regression" in (shelf.why_unlike(first, same) or "")


@pytest.mark.services
def test_a_candidate_of_other_answers_is_refused_at_the_start_and_at_a_reload(
    tmp_path: Path, artifact: Path
) -> None:
    """A share of the requests was answered by a model of another task, with 200."""
    other = write_artifact(tmp_path / "other", 2.0)
    (other / "labels.json").write_text('["person", "place"]')
    manifest.write_again(other)
    named = f"towns={artifact},{other}:50%"
    command = [sys.executable, "-m", "limbeck", "serve", "--port", "0", named]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2 and "its labels, or their order, are others" in found.stderr
    config = tmp_path / "serve.yaml"
    config.write_text(f"models: {{towns: {{folder: {artifact}}}}}\n")
    with serving(tmp_path / "served", "--config", str(config)) as served:
        config.write_text(
            f"models: {{towns: {{folder: {artifact}, candidate: {{folder: {other}}}}}}}\n"
        )
        served.process.send_signal(signal.SIGHUP)
        assert "cannot be a candidate" in served.event("reload refused")["why"]
        assert served.predict(text=TEXT).status == 200


@pytest.mark.services
def test_who_has_no_token_is_told_where_it_goes(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMBECK_TOKEN", raising=False)
    tokens = str(tokens_of(tmp_path, "a"))
    with (
        serving(tmp_path / "served", f"towns={artifact}", "--tokens", tokens) as served,
        pytest.raises(ValueError, match="LIMBECK_TOKEN"),
    ):
        Remote(f"http://127.0.0.1:{served.port}/predict")


def test_a_warning_is_written_once(capfd: pytest.CaptureFixture[str]) -> None:
    logs.log_once.cache_clear()
    for _ in range(3):
        logs.log_warning(UserWarning("pixels of 16 bits"), UserWarning, "image.py", 1)
    logs.log_warning(UserWarning("another"), UserWarning, "image.py", 1)
    assert capfd.readouterr().err.count('"warning"') == 2 * 2


def test_a_clock_that_is_set_back_makes_no_server_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Board.create(tmp_path / "board", 2)
    board = Board(tmp_path / "board", 1)
    assert 0 <= time.time_ns() - board.began < 60e9
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 <= board.uptime_seconds < 60
