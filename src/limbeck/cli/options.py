"""The arguments that several verbs take, each with its help text.

A path that no system can have, or a file that cannot be written, is refused here in words: before
the work, and not by the number that the system has for it.
"""

import errno
from pathlib import Path
from typing import Annotated

import typer

from limbeck.artifact.manifest import MANIFEST


def nameable(path: Path | None) -> Path | None:
    """The path, whether something is there or not. Raises ValueError where its name is too long."""
    try:
        if path is not None:
            path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{path}: no file or folder has so long a name") from None
    return path


def writable(path: Path | None) -> Path | None:
    """A file's path, in a folder that is here. Raises ValueError."""
    path = nameable(path)
    if path is None:
        return None
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder. Name the file to write, {path / 'NAME.yaml'}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}. Make it, or choose another")
    return path


def artifact_of(path: Path) -> Path:
    """An artifact's folder, by its own path or that of the run that left it."""
    nameable(path)
    below = path / "artifact"
    is_run = (below / MANIFEST).is_file() and not (path / MANIFEST).exists()
    return below if is_run else path


RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Keys of the recipe with other values, such as train.epochs=2."),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.", callback=nameable)]
RunFolderToWrite = Annotated[
    Path | None,
    typer.Option("--out", help="The run folder to write, or to go on with.", callback=nameable),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Write over what the run folder holds of another recipe, or of others."
    ),
]
ArtifactFolder = Annotated[
    Path,
    typer.Argument(help="The folder of an artifact, or of its run.", callback=artifact_of),
]
Runtime = Annotated[
    str | None,
    typer.Option(help="One of the artifact's, such as onnxruntime; left out, its first."),
]


def told_threads(value: int) -> int:
    """A number of threads; more than cores are told, for they wait for one another."""
    from limbeck.core.system import machine

    cores = machine.usable_cores()
    if value > cores:
        typer.echo(
            f"limbeck: --threads {value}: this machine has {cores} cores for it; more threads "
            "wait for one another",
            err=True,
        )
    return value


Threads = Annotated[
    int,
    typer.Option(
        min=1, max=1024, help="How many threads the runtime may use.", callback=told_threads
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
