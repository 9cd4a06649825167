"""What `predict` and `evaluate` have in common: their options, and how they begin.

An artifact is opened, and the options and its recipe say how the rows of a file become its inputs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from limbeck.artifact.predictor import Predictor
    from limbeck.artifact.rows.inputs import Reading
    from limbeck.server.client import Remote

Batch = Annotated[
    int, typer.Option(min=1, help="How many rows are run at once; answers differ by rounding.")
]
Form = Annotated[
    str | None,
    typer.Option(
        "--format", help="lines, csv, tsv, jsonl, json, parquet or conll, whatever the suffix."
    ),
]
TextColumn = Annotated[str | None, typer.Option("--text", help="The column of the text.")]
SecondColumn = Annotated[
    str | None, typer.Option("--text-b", help="The column of a pair's second text.")
]
ImageColumn = Annotated[
    str | None, typer.Option("--image", help="The column of an image's path, or of its bytes.")
]
NamesOfColumns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="The names of a table's columns, commas between, where its first line is a row.",
    ),
]


@dataclass(frozen=True)
class ReadingOptions:
    """The options that say how a file is read."""

    form: str | None
    columns: str | None
    text: str | None
    text_b: str | None
    image: str | None

    @property
    def named(self) -> dict[str, str]:
        """The columns that were named, by what they hold."""
        given = {"text": self.text, "text_b": self.text_b, "image": self.image}
        return {name: column for name, column in given.items() if column}

    @property
    def names(self) -> list[str] | None:
        """The names of a table's columns; None where its first line has them."""
        if not self.columns:
            return None
        return [name.strip() for name in self.columns.split(",")]


def opened(artifact: Path, runtime: str | None, threads: int, batch: int) -> "Predictor":
    """An artifact that is to run `batch` rows at once; where it cannot, that is said on stderr.

    Raises ValueError for an artifact that cannot be opened.
    """
    from limbeck.artifact.load import load

    predictor = load(artifact, runtime=runtime, threads=threads)
    if batch > 1 and predictor.why_one_by_one:
        tell(predictor.why_one_by_one)
    return predictor


def reading_for(predictor: "Predictor", asked: ReadingOptions) -> "Reading":
    """How rows become inputs of an artifact. What is chosen on the way is told on stderr.

    Raises ValueError for a format of another name.
    """
    from limbeck.artifact.rows.reading import reading_of

    return reading_of(predictor, asked.named, asked.form, asked.names, tell)


def reading_of_server(remote: "Remote", asked: ReadingOptions) -> "Reading":
    """As `reading_for`, of a server's model. Raises ValueError for a format of another name."""
    from limbeck.artifact.rows.columns import ColumnFinder
    from limbeck.artifact.rows.reading import reading_with

    finder = ColumnFinder(
        remote.kind, asked.named, remote.columns, remote.needs_pair, remote.writes
    )
    return reading_with(finder, asked.form, asked.names, tell)


def tell(note: str) -> None:
    """Say something on stderr, beside the answers."""
    typer.echo(f"limbeck: {note}", err=True)
