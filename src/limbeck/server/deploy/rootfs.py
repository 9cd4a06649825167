"""A root file system of the server, for machines without a container engine.

    python rootfs.py TARGET

Run in the folder that `limbeck serve --deploy` wrote: it makes in TARGET what the Containerfile
makes in an image, of the Python that runs this file and of nothing else of this machine but the
shared libraries that are needed. It needs pip and Linux, and no limbeck. The command that starts
the server in it, as a user without rights, is printed at the end.

    TARGET/app/            serve.yaml, models/, limbeck/ and, in site/, the packages
    TARGET/PREFIX/         Python, where it lies on this machine
    TARGET/lib*, usr/lib*  shared libraries
    TARGET/run/secrets/    where the tokens are read
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

# Of nobody on this machine, as in the container.
USER = 10001
TOKENS = "run/secrets/limbeck"
# Parts of Python's own library that no server imports, a third of it. `site-packages` are those of
# this machine.
LEFT_OUT = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__", "config-*", "*.a", "*.pyc"),
)
# `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)`, and the loader's line without an arrow.
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
ELF = b"\x7fELF"


def build(source: Path, root: Path) -> None:
    """Make the file system. Raises ValueError for a target that holds something."""
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: something is there already. Name another folder")
    app = root / "app"
    app.mkdir(parents=True)
    # 1. What is served, and the packages in the versions that it was tried with.
    for name in ("limbeck", "models"):
        shutil.copytree(source / name, app / name)
    shutil.copy(source / "serve.yaml", app)
    site = app / "site"
    pip = [
        sys.executable,
        *("-m", "pip", "install"),
        "--quiet",
        "--no-compile",
        "--no-cache-dir",
        f"--target={site}",
        f"--requirement={source / 'requirements.txt'}",
    ]
    subprocess.run(pip, check=True)
    # Console scripts name a Python that is not there.
    scripts = site / "bin"
    shutil.rmtree(scripts, ignore_errors=True)
    # 2. Python, at the path by which it finds its own library.
    copy_python(root)
    # 3. What these need of the system.
    copy_libraries(root)
    # 4. What a process expects to find. Others' files in /tmp are theirs, as everywhere.
    for name in (TOKENS, "proc", "tmp", "etc"):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
    temporary = root / "tmp"
    temporary.chmod(0o1777)
    users = root / "etc" / "passwd"
    users.write_text(f"limbeck:x:{USER}:{USER}::/tmp:/nonexistent\n")


def copy_python(root: Path) -> None:
    """Copy the interpreter that runs this, and its library."""
    for path in {interpreter(), interpreter().resolve()}:
        copy_into(root, path)
    library = Path(sysconfig.get_path("stdlib"))
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(library, below(root, library), ignore=ignored, symlinks=True)


def interpreter() -> Path:
    """The Python that this one is, without the virtual environment that it may be in."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(sys.base_prefix) / "bin" / version


def copy_libraries(root: Path) -> None:
    """Copy every shared library of the system that a program or a library in there needs."""
    files = [path for path in root.rglob("*") if path.is_file()]
    waiting = list(filter(is_elf, files))
    inside = root.resolve()
    known: set[Path] = set()
    while waiting:
        needed = libraries_of(waiting)
        new = needed - known
        known |= new
        waiting = []
        for path in new:
            # What lies in there already is a package's own.
            if not path.is_relative_to(inside):
                copy_into(root, path)
                waiting.append(path)


def libraries_of(paths: Iterable[Path]) -> set[Path]:
    """The libraries that the loader of this machine finds for these files."""
    words = ["ldd", *map(str, paths)]
    # A file without any is told of by an exit status, which is no mistake.
    told = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
    )
    names = LIBRARY.findall(told.stdout)
    return set(map(Path, names))


def is_elf(path: Path) -> bool:
    """Whether a file is a program or a shared library of Linux."""
    with open(path, "rb") as file:
        return file.read(4) == ELF


def below(root: Path, path: Path) -> Path:
    """Where a path of this machine lies in the file system."""
    return root / path.relative_to("/")


def copy_into(root: Path, path: Path) -> None:
    """Copy a file to the place that it has here, under the name by which it is asked for."""
    target = below(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def megabytes(folder: Path) -> float:
    """The size of all files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        # A link takes no room of its own.
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total / 1e6


def command(root: Path) -> list[str]:
    """What starts the server in there, in name spaces of its own: any user may do so."""
    return [
        # Nothing of this machine's environment, and before the root changes: in there is no `env`.
        *("env", "-i"),
        "PYTHONPATH=/app:/app/site",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/tmp",
        "unshare",
        # ONNX Runtime reads of /proc what the processor can do; others' processes are not there.
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        f"--map-user={USER}",
        f"--map-group={USER}",
        f"--root={root}",
        "--wd=/app",
        str(interpreter()),
        *("-m", "limbeck", "serve"),
        "--config=/app/serve.yaml",
    ]


def main(words: list[str]) -> int:
    """Build it; the exit status."""
    if len(words) != 1 or sys.platform != "linux":
        print("python rootfs.py TARGET, on Linux", file=sys.stderr)
        return 2
    root = Path(words[0])
    source = Path(__file__).resolve().parent
    try:
        build(source, root)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"rootfs: {error}", file=sys.stderr)
        return 2
    print(
        f"{root}: {megabytes(root):.0f} MB. Put the tokens into {root / TOKENS / 'tokens'}, then:"
    )
    print(" ".join(command(root.resolve())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
