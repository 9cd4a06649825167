"""`limbeck export`: the artifact of a finished run once more, for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.options import RunFolder, nameable

Exporters = Annotated[
    list[str],
    typer.Option("--to", help="onnx or openvino; again for several, the default runtime first."),
]
FolderToWrite = Annotated[
    Path, typer.Option("--out", help="The folder to write, a new one.", callback=nameable)
]


def export(folder: RunFolder, to: Exporters, out: FolderToWrite) -> None:
    """Write a finished run's artifact again, for other runtimes.

    Nothing is trained: the run's stages are found in the cache, and every graph is proven against
    the trained model as in a run.
    """
    from limbeck.core.terminal.shell import command
    from limbeck.studies import exporting

    written = exporting.export(folder, to, out)
    for row in written.parity:
        differ = f"{row.flips:,} of {row.units:,} decisions differ"
        typer.echo(f"parity holds: {row.arm}, seed {row.seed}, {row.runtime}: {differ}")
    typer.echo(f"{written.folder}: answers by `{command('predict', written.folder, 'FILE')}`")
