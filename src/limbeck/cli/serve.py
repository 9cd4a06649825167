"""`limbeck serve`: artifacts behind HTTP."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import Runtime, nameable

if TYPE_CHECKING:
    from limbeck.server.settings import Settings

Artifacts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARTIFACT...",
        help="Artifacts to serve: a folder each, or NAME=FOLDER (without a name a model is called "
        "as its run); NAME=FOLDER,CANDIDATE:shadow scores a candidate beside it, and "
        "NAME=FOLDER,CANDIDATE:5% has it answer that share.",
    ),
]
Host = Annotated[str | None, typer.Option(help="The address to listen at (127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="The port (8000); 0 takes a free one.")]
Workers = Annotated[int | None, typer.Option(help="Processes that answer (1).")]
Threads = Annotated[int | None, typer.Option(help="Threads of the CPU for one answer (1).")]
Tokens = Annotated[Path | None, typer.Option(help="A file of tokens, `NAME TOKEN [admin]` a line.")]
Config = Annotated[Path | None, typer.Option(help="A YAML file of settings, limits among them.")]

Deploy = Annotated[
    Path | None,
    typer.Option(
        help="Write a folder instead, for a container and Kubernetes, and do not serve.",
        callback=nameable,
    ),
]


@dataclass(frozen=True)
class Serve:
    """Serve artifacts over HTTP: predictions, the Open Inference Protocol, metrics.

    It answers this machine alone; with --host, others, who then need a token (--tokens).
    """

    # A class, whose fields are the verb's arguments: more of them than a function should take.
    artifacts: Artifacts = None
    host: Host = None
    port: Port = None
    workers: Workers = None
    threads: Threads = None
    tokens: Tokens = None
    runtime: Runtime = None
    config: Config = None
    deploy: Deploy = None

    def __post_init__(self) -> None:
        """Serve until told to stop. Raises ValueError for what cannot be served."""
        if self.deploy is not None:
            from limbeck.server.deploy import folder

            for path in folder.write(self.settings(), self.deploy):
                typer.echo(path)
            return
        from limbeck.server.processes import supervisor

        raise typer.Exit(supervisor.serve(self.settings(), self.settings))

    def settings(self) -> "Settings":
        """What the file and the command line say, as they are now. Raises ValueError."""
        from limbeck.server.reading import read_settings

        names = ("host", "port", "workers", "threads", "tokens", "runtime")
        told = {name: getattr(self, name) for name in names}
        return read_settings(self.config, self.artifacts or [], told)
