"""A cache that cannot lie: what was changed is seen and made anew, and `limbeck cache` tells and removes."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from limbeck.cli.main import exit_status
from limbeck.cli.refusals import refusal
from limbeck.core.cache import entries, store
from limbeck.core.cache.store import Store
from limbeck.core.events import Event, Note
from limbeck.core.files import read_json, write_json

INPUTS = {"seed": 0}


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"0123456789")
    (folder / "artifact").mkdir(exist_ok=True)
    (folder / "artifact" / "graph").write_bytes(b"graph of " + folder.name[:5].encode())


def forbidden(folder: Path) -> None:
    raise AssertionError("this stage was computed before")


def made(name: str = "train") -> Path:
    return Store().stage(name, INPUTS, fill)


def flip(path: Path, content: bytes) -> None:
    """Write as many bytes, and keep the time."""
    told = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def swapped(entry: Path) -> None:
    """An artifact of another entry in its place."""
    other = made("export")
    shutil.rmtree(entry / "artifact")
    shutil.copytree(other / "artifact", entry / "artifact")


def swapped_whole(entry: Path) -> None:
    other = made("export")
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def linked(entry: Path) -> None:
    (entry / "weights").unlink()
    (entry / "weights").symlink_to("/dev/zero")


def piped(entry: Path) -> None:
    (entry / "weights").unlink()
    os.mkfifo(entry / "weights")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (
        lambda entry: flip(entry / "weights", b"0123456780"),
        "`weights` is not as it was written",
    ),
    "cut": (lambda entry: (entry / "weights").write_bytes(b"0123"), "has 4 bytes in place of 10"),
    "missing": (lambda entry: (entry / "weights").unlink(), "`weights` is missing"),
    "added": (
        lambda entry: (entry / "structure.json").write_text("{}"),
        "`structure.json` was put beside its files",
    ),
    "swapped": (swapped, "`artifact/graph` is not as it was written"),
    "swapped whole": (swapped_whole, "it holds what was made as export-"),
    "linked": (linked, "`weights` is no file"),
    "piped": (piped, "`weights` is no file"),
    "inputs": (
        lambda entry: flip(entry / "stage.json", b'{\n "seed": 1\n}\n'),
        "`stage.json` is not as it was written",
    ),
    "no list": (lambda entry: (entry / "files.json").unlink(), "it has no files.json"),
    "broken list": (lambda entry: (entry / "files.json").write_bytes(b"\xff{"), "is no JSON"),
    "deep list": (lambda entry: (entry / "files.json").write_text("[" * 100_000), "is no JSON"),
    "other list": (lambda entry: write_json(entry / "files.json", [1]), "holds no list of files"),
    "half a list": (
        lambda entry: write_json(
            entry / "files.json", {"entry": entry.name, "files": {"weights": 1}}
        ),
        "says nothing of `weights`",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_was_changed_is_told_and_made_anew(cache_folder: Path, wrong: str) -> None:
    entry = made()
    before = {path: path.read_bytes() for path in entry.rglob("*") if path.is_file()}
    break_it, problem = WRONG[wrong]
    break_it(entry)
    told: list[Event] = []
    later = Store(tell=told.append)
    assert later.stage("train", INPUTS, fill) == entry
    notes = [event.text for event in told if isinstance(event, Note)]
    assert len(notes) == 1
    assert problem in notes[0]
    assert "made anew" in notes[0]
    assert later.records[0]["reused"] is False
    assert {path: path.read_bytes() for path in entry.rglob("*") if path.is_file()} == before
    assert Store().stage("train", INPUTS, forbidden) == entry
    assert not list(cache_folder.glob("*.broken"))


def test_a_hidden_file_of_the_system_is_no_change(cache_folder: Path) -> None:
    (made() / ".DS_Store").write_bytes(b"x")
    Store().stage("train", INPUTS, forbidden)


def test_an_entry_is_read_once_until_it_changes(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = made()
    found = Store()
    looks: list[Path] = []
    fault = entries.fault
    monkeypatch.setattr(entries, "fault", lambda path: (looks.append(path), fault(path))[1])
    for _ in range(3):
        found.stage("train", INPUTS, forbidden)
    assert looks == [entry]
    (entry / "weights").write_bytes(b"9876543210")
    found.stage("train", INPUTS, fill)
    assert len(looks) == 2


def test_a_part_is_handed_out_only_as_it_was_written(cache_folder: Path, tmp_path: Path) -> None:
    entry = made()
    entries.copy_part(entry / "artifact", tmp_path / "first")
    assert os.listdir(tmp_path / "first") == ["graph"]
    # Within a run: after the entry was opened.
    flip(entry / "artifact" / "graph", b"graph of TRAIN")
    with pytest.raises(ValueError, match="the cache was changed while this run went on"):
        entries.copy_part(entry / "artifact", tmp_path / "second")


# A cache that cannot be written.


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_cache_that_may_not_be_written_is_read(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    entry = made()

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(cache_folder))

    monkeypatch.setattr(store.filelock, "FileLock", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    assert Store().stage("train", INPUTS, forbidden) == entry
    with pytest.raises(OSError, match=os.strerror(code)):
        Store().stage("other", INPUTS, forbidden)
    # A broken one is never used, even where it cannot be made anew.
    (entry / "weights").write_bytes(b"9876543210")
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match=os.strerror(code)):
        Store().stage("train", INPUTS, forbidden)


def as_somebody_else(work: Callable[[], object]) -> int:
    """Run `work` in a process that is not root's, and give its status."""
    with warnings.catch_warnings():
        # Of a process with threads, which the child does not use.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            status = 0
        except BaseException:
            os.write(1, traceback.format_exc().encode())
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="users and modes of Linux")
def test_a_folder_that_may_only_be_read_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in the test's own folder, which is root's alone.
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        monkeypatch.setenv(store.CACHE, str(cache))
        entry = made()
        other = made("other")
        (other / "weights").write_bytes(b"9876543210")
        Path(folder).chmod(0o755)
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        # What the commands import late is imported here: the package may lie where only its
        # user reads (an environment in a folder of mktemp).
        assert exit_status(["cache", "verify"]) == 1
        assert exit_status(["cache", "list"]) == 0

        def work() -> None:
            assert Store().stage("train", INPUTS, forbidden) == entry
            assert Store().has("train", INPUTS)
            assert not Store().has("other", INPUTS)
            # What is not there, or is broken, cannot be made here.
            for name in ("new", "other"):
                with pytest.raises(PermissionError) as caught:
                    Store().stage(name, INPUTS, fill)
                assert "may not be written" in refusal(caught.value)
            assert exit_status(["cache", "verify"]) == 1
            assert exit_status(["cache", "list"]) == 0

        assert as_somebody_else(work) == 0
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o755)


def test_a_disk_that_fails_is_no_full_one(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = made()

    def failing(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(entries, "file_digest", failing)
    # What cannot be read back is not used, and what cannot be written again is told as that.
    with pytest.raises(OSError, match="Input/output error") as caught:
        Store().stage("train", INPUTS, fill)
    assert caught.value.filename.startswith(str(entry.parent))
    told = refusal(caught.value)
    assert "the disk failed" in told
    assert "it is not full" in told
    assert "no space" not in told


# An entry that is under way.


def test_a_part_that_was_altered_while_a_run_was_stopped_is_seen(cache_folder: Path) -> None:
    calls: list[str] = []

    def build(folder: Path) -> None:
        for name in ("first", "second"):
            if entries.is_kept(folder / name):
                continue
            calls.append(name)
            if calls == ["first", "second"]:
                raise KeyboardInterrupt
            (folder / name).write_bytes(name.encode())
            entries.keep(folder / name)

    with pytest.raises(KeyboardInterrupt):
        Store().stage("augment", INPUTS, build)
    (partial,) = cache_folder.glob("augment-*.partial")
    flip(partial / "first", b"tsrif")
    entry = Store().stage("augment", INPUTS, build)
    assert calls == ["first", "second", "first", "second"]
    assert (entry / "first").read_bytes() == b"first"
    assert not (entry / "checkpoint").exists()
    # One that nobody altered is not made again.
    assert Store().stage("augment", INPUTS, forbidden) == entry


def test_a_disk_that_is_full_leaves_no_entry(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(entries, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            made()
    assert [path.suffix for path in cache_folder.glob("train-*")] == [".partial"]
    assert Store().has("train", INPUTS) is False
    assert entries.fault(made()) is None


# `limbeck cache`.


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = exit_status(["cache", *arguments])
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def age(entry: Path, days: float) -> None:
    """As if an entry had not been used for so long."""
    for path in [entry, *entry.rglob("*")]:
        then = path.stat().st_mtime - days * 86_400
        os.utime(path, (then, then))


def test_list_says_what_there_is(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == (0, f"{cache_folder}: 0 entries, 0 B\n")
    age(made("teacher"), 3)
    old = made("label")
    (old / "files.json").unlink()
    (cache_folder / f"{made().name}.partial").mkdir()
    (cache_folder / "notes.txt").write_text("mine")
    status, lines = said(capsys, "list")
    assert status == 0
    assert "3 d  teacher-" in lines
    assert f"{old.name}  (of an earlier version)" in lines
    assert ".partial  (unfinished)" in lines
    assert "teacher: 1 entries" in lines
    assert f"{cache_folder}: 4 entries" in lines


def test_verify_names_what_is_broken(
    cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("teacher")
    entry = made()
    assert said(capsys, "verify") == (0, f"{cache_folder}: 2 checked, 0 broken\n")
    flip(entry / "weights", b"0123456780")
    status, lines = said(capsys, "verify")
    assert status == 1
    assert f"{entry.name}: `weights` is not as it was written" in lines
    assert "2 checked, 1 broken" in lines
    made()
    assert said(capsys, "verify")[0] == 0


def test_prune_by_age_and_by_size(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("teacher", "student", "label", "train")
    for days, name in zip((40, 20, 10, 1), names, strict=True):
        age(made(name), days)
    (cache_folder / "notes.txt").write_text("mine")
    size = sum(told.st_size for _, told in entries.files_of(made()))
    age(made(), 1)
    assert said(capsys, "prune", "--older-than", "30d", "--dry-run")[1].startswith("would go: teac")
    assert len(list(cache_folder.glob("*-*"))) == 4
    assert "removed 1 entries" in said(capsys, "prune", "--older-than", "30d")[1]
    # Two and a half fit; an entry that was used since is kept before an older one.
    label = Store().stage("label", INPUTS, forbidden)
    age(label, 0.5)
    assert "removed 1 entries" in said(capsys, "prune", "--max-size", f"{2.5 * size:.0f}")[1]
    assert {path.name.partition("-")[0] for path in cache_folder.glob("*-*")} == {"label", "train"}
    assert "removed 2 entries" in said(capsys, "prune", "--max-size", "0")[1]
    assert sorted(os.listdir(cache_folder)) == ["locks", "notes.txt"]


USING = """
import sys
from limbeck.core.cache.store import Store
found = Store()
found.stage("train", {"seed": 0}, None)
print("using", flush=True)
sys.stdin.readline()
"""


def test_what_a_run_has_opened_is_kept(
    cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    age(made("teacher"), 1)
    age(made(), 1)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", USING], text=True, **pipes) as run:  # type: ignore[call-overload]
        try:
            assert run.stdout.readline() == "using\n"
            status, lines = said(capsys, "prune", "--max-size", "0")
            assert status == 0
            assert "removed 1 entries" in lines
            assert "1 are kept: a run is using them" in lines
        finally:
            run.kill()
    # Its lock went with it.
    assert "removed 1 entries" in said(capsys, "prune", "--max-size", "0")[1]
    assert not list(cache_folder.glob("locks/users/*"))


def test_what_is_under_way_is_kept(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def build(folder: Path) -> None:
        fill(folder)
        age(folder, 99)
        assert "1 are kept" in said(capsys, "prune", "--max-size", "0")[1]

    assert entries.fault(Store().stage("train", INPUTS, build)) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prun"], "there is no `prun`. Did you mean `prune`?"),
        (["prune"], "say what may go: --older-than 30d"),
        (["prune", "--older-than", "soon"], "`soon` is no number with one of h, d, w"),
        (["prune", "--max-size", "20 parsec"], "is no number with one of tb, gb, mb, kb, b"),
        (["verify", "--max-size", "1GB"], "belong to prune: verify"),
    ],
)
def test_mistakes_are_told(
    cache_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status, lines = said(capsys, *arguments)
    assert status == 2
    assert words in lines


def test_an_age_and_a_size_have_units() -> None:
    from limbeck.cli.cache import AGES, SIZES, age_words, measure, size_words

    assert measure("1.5w", AGES, "") == 1.5 * 7 * 86_400
    assert measure("30", AGES, "") == 30 * 86_400
    assert measure("20G", SIZES, "") == measure("20 gb", SIZES, "") == 20e9
    assert size_words(1_234_567) == "1.2 MB"
    assert age_words(0).endswith(" d")


def test_the_list_of_files_names_each(cache_folder: Path) -> None:
    entry = made()
    listed = read_json(entry / "files.json")
    assert listed["entry"] == entry.name
    assert sorted(listed["files"]) == ["artifact/graph", "stage.json", "weights"]
    assert listed["files"]["weights"][0] == 10
