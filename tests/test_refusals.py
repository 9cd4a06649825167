"""What the system refuses is told in a sentence: of which file, and with a cure that fits the command."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import call, mistake

from limbeck.cli import predict, refusals
from limbeck.cli.main import VERBS
from limbeck.core.files import file_digest, read_json, write_json
from limbeck.sources._files import Lines
from limbeck.sources.idx import load_idx

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files of Linux")

SAID = {
    "ENOSPC": "no space left on this disk",
    "EDQUOT": "no space left of what this user may take",
    "EFBIG": "no space left for a file of this size",
    "EIO": "the disk failed",
    "ESTALE": "Mount it anew",
    "EMFILE": "this process has too many files open",
    "ENFILE": "this machine has too many files open",
    "ENAMETOOLONG": "so long a name. Choose a shorter one",
    "ELOOP": "a link that leads back to itself",
    "EBUSY": "another program uses it",
    "ETXTBSY": "another program uses it",
    "ENOENT": "none can be made here",
    "EROFS": "may not be written or read (Read-only file system)",
    "EISDIR": "a folder stands where a file should be",
    "ENOTDIR": "stands where a folder should be",
    "ENOMEM": "no memory left",
    "ENOLCK": "Choose a folder on another",
}


def refused(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), "data/it")


@pytest.mark.parametrize("name", SAID)
def test_each_has_its_file_and_its_cure(name: str) -> None:
    told = refusals.refusal(refused(name), "bench")
    assert SAID[name] in told
    assert told.startswith("data/it: ")
    assert "Errno" not in told
    assert "{" not in told
    assert "cache" not in told.lower()


def test_every_sentence_is_of_an_error_that_there_is() -> None:
    for name in refusals.SENTENCES:
        assert name in errno.errorcode.values() or name in ("ENOTSUP", "EOPNOTSUPP")


@pytest.mark.parametrize("verb", VERBS)
def test_the_cache_is_told_by_commands_that_use_it(verb: str) -> None:
    told = refusals.refusal(refused("ENOSPC"), verb)
    assert ("LIMBECK_CACHE" in told) == (verb in refusals.WITH_CACHE)
    assert ("--out" in told) == (verb in ("run", "demo"))
    assert ("goes on from what is stored" in told) == (verb in refusals.GOING_ON)


@linux
@pytest.mark.parametrize("arguments", [["list"], ["list", "losses"], ["--help"]])
def test_standard_output_is_named(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        told = mistake(capsys, *arguments)
        monkeypatch.undo()
    assert told.startswith("limbeck: standard output: no space left on this disk. Free some")
    assert "cache" not in told


def test_what_is_printed_is_the_same_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(tmp_path / "told", "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert call("list") == 0
        monkeypatch.undo()
    assert call("list") == 0
    assert (tmp_path / "told").read_text("utf-8") == capsys.readouterr().out


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be larger than a kilobyte."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("lines", [1, 1000])
def test_a_file_that_may_not_grow_is_named(tmp_path: Path, lines: int) -> None:
    out = tmp_path / "answers.jsonl"
    for write in (
        lambda: predict.write(["x" * 2000] * lines, out),
        lambda: write_json(out, ["x" * 2000] * lines),
    ):
        with pytest.raises(OSError, match="File too large") as caught:
            write()
        assert caught.value.filename == str(out)
        assert os.listdir(tmp_path) == []


@linux
def test_a_file_that_cannot_be_read_on_is_named() -> None:
    # Its first bytes belong to nobody: reading them is an error of the disk to who reads.
    path = Path("/proc/self/mem")
    for read in (
        file_digest,
        read_json,
        lambda path: list(Lines(path)),
        lambda path: load_idx(path, 1),
    ):
        with pytest.raises(OSError, match="Input/output error") as caught:
            read(path)
        assert caught.value.filename == str(path)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    lines = [f"{number} " + "x" * number for number in range(400)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    assert [line.rstrip("\n") for line in Lines(tmp_path / "train.txt")] == lines
