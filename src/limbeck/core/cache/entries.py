"""A finished entry of the store: the digest of each of its files, and whether they are still so.

`files.json` in the entry names every file with its size and SHA-256, and the entry itself: what was
changed, cut, added, taken away or put in another's place is seen when the entry is opened. There is
no secret in it: whoever writes new digests too is not seen.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from limbeck.core.files import file_digest, read_json, write_json

# In every finished entry.
FILES = "files.json"

# Of a stage that was under way; removed once the entry is there, in which a kill may come between.
CHECKPOINT = "checkpoint"

# What the name of an entry ends in that is on its way out.
BROKEN = ".broken"

# Digests are computed beside one another: the interpreter is free meanwhile.
THREADS = 4

# A list of files is a hundred bytes a file; a longer one is none of ours.
MOST_BYTES = 64 * 2**20

# What tells that a file is another one: where it lies, its size, when it was written.
Signature = tuple[tuple[str, int, int, int], ...]


def seal(folder: Path, entry_name: str) -> None:
    """Write the digests of all files of an entry that is about to be finished.

    Args:
        folder: where it lies now.
        entry_name: what it will be called.
    """
    names = [name for name, _ in files_of(folder)]
    sizes = [(folder / name).stat().st_size for name in names]
    digests = _digests(folder, names)
    files = {name: list(pair) for name, *pair in zip(names, sizes, digests, strict=True)}
    write_json(folder / FILES, {"entry": entry_name, "files": files})


def keep(file: Path) -> None:
    """Note the digest of a part of an entry under way, by which whoever goes on knows it again."""
    write_json(_note(file), file_digest(file))


def is_kept(file: Path) -> bool:
    """Whether a part of an entry under way is there, and as it was when it was noted."""
    try:
        return file.is_file() and bool(read_json(_note(file)) == file_digest(file))
    except (FileNotFoundError, ValueError):  # of a kill in between, or of an earlier version
        return False


def _note(file: Path) -> Path:
    notes = file.parent / CHECKPOINT
    notes.mkdir(exist_ok=True)
    return notes / f"{file.name}.sha256"


def fault(entry: Path) -> str | None:
    """What is wrong with a finished entry, in words; None where all is as it was written."""
    try:
        listed = _listed(entry)
        _check_files(entry, listed)
        for name, digest in zip(listed, _digests(entry, list(listed)), strict=True):
            _refuse(digest != listed[name][1], f"`{name}` is not as it was written")
    except (ValueError, OSError) as error:
        # An OSError of a disk that cannot read back what was written counts as well.
        return str(error)
    return None


def _refuse(is_wrong: bool, problem: str) -> None:
    if is_wrong:
        raise ValueError(problem)


def _listed(entry: Path) -> dict[str, list[Any]]:
    """Size and digest of each file, by its name. Raises ValueError for a list that is none."""
    path = entry / FILES
    _refuse(not path.is_file() or path.is_symlink(), f"it has no {FILES}")
    _refuse(path.stat().st_size > MOST_BYTES, f"{FILES} is too large")
    try:
        written = read_json(path)
    except ValueError:
        raise ValueError(f"{FILES} is no JSON") from None
    is_list = isinstance(written, dict) and isinstance(written.get("files"), dict)
    _refuse(not is_list, f"{FILES} holds no list of files")
    _refuse(
        written.get("entry") != entry.name,
        f"it holds what was made as {written.get('entry')!s:.80}",
    )
    files: dict[str, list[Any]] = written["files"]
    for name, pair in files.items():
        is_pair = isinstance(pair, list) and len(pair) == 2
        _refuse(not is_pair, f"{FILES} says nothing of `{name}`")
    return files


def _check_files(entry: Path, listed: dict[str, list[Any]]) -> None:
    """Raise ValueError unless the listed files are there, of their sizes, and no others."""
    present = dict(files_of(entry))
    for name, (size, _) in listed.items():
        _refuse(name not in present, f"`{name}` is missing")
        # Neither a link nor a pipe, which may have no end.
        _refuse(not stat.S_ISREG(present[name].st_mode), f"`{name}` is no file")
        found = present[name].st_size
        _refuse(found != size, f"`{name}` has {found:,} bytes in place of {size:,}")
    for name in present:
        _refuse(name not in listed, f"`{name}` was put beside its files")


def files_of(folder: Path) -> list[tuple[str, os.stat_result]]:
    """(name with slashes, what the system says of it) of all but folders, sorted by name.

    Hidden files, the list itself and a leftover checkpoint are left out; links are not followed.
    """
    return sorted(_walk(folder, ""), key=lambda pair: pair[0])


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    for item in os.scandir(folder):
        name = prefix + item.name
        if item.name.startswith(".") or name in (FILES, CHECKPOINT):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _walk(Path(item.path), f"{name}/")
        else:
            yield name, item.stat(follow_symlinks=False)


def _digests(folder: Path, names: list[str]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda name: file_digest(folder / name), names))


def signature(entry: Path) -> Signature:
    """What changes when a file of an entry does, as far as can be told without reading it."""
    found = files_of(entry)
    return tuple((name, told.st_ino, told.st_size, told.st_mtime_ns) for name, told in found)


def copy_part(part: Path, target: Path) -> None:
    """Copy a folder of an entry to a folder that is not there, and check what was copied.

    Raises ValueError where the copy is not what the entry held when it was finished.
    """
    listed = _listed(part.parent)
    shutil.copytree(part, target)
    prefix = f"{part.name}/"
    of_part: dict[str, str] = {}
    for name, (_, digest) in listed.items():
        if name.startswith(prefix):
            of_part[name.removeprefix(prefix)] = digest
    names = [name for name, _ in files_of(target)]
    if dict(zip(names, _digests(target, names), strict=True)) != of_part:
        raise ValueError(
            f"{part}: the cache was changed while this run went on, and its artifact is not handed "
            "out. Give the same command again: what is broken is made anew"
        )


def touch(entry: Path) -> None:
    """Note that an entry is used, for who prunes by age. It is no mistake where that cannot be."""
    try:
        os.utime(entry / FILES)
    except OSError:
        # A read-only cache, or somebody else's; or an entry without its list.
        return


def last_used(entry: Path) -> float:
    """When an entry, finished or not, was last written or used, in seconds since 1970."""
    times = [told.st_mtime for _, told in files_of(entry)]
    for name in (FILES, CHECKPOINT):
        if (entry / name).exists():
            times.append((entry / name).stat().st_mtime)
    return max(times, default=entry.stat().st_mtime)


def discard(entry: Path) -> None:
    """Remove an entry; a kill leaves it under a name that nobody takes for an entry."""
    if not entry.exists():
        return
    if entry.suffix == BROKEN:
        shutil.rmtree(entry)
        return
    doomed = entry.with_name(entry.name + BROKEN)
    # Of an earlier kill; the rename needs its place.
    if doomed.exists():
        shutil.rmtree(doomed)
    os.rename(entry, doomed)
    shutil.rmtree(doomed)
