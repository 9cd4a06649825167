"""What `predict` and `evaluate` have in common: their options, and how they begin.

An artifact is opened, and the options and its recipe say how the rows of a file become its inputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from limbeck.artifact.inputs import Reading
    from limbeck.artifact.predictor import Predictor

Batch = Annotated[
    int, typer.Option(min=1, help="How many rows are run at once; the answers stay the same.")
]
Form = Annotated[
    str | None,
    typer.Option("--format", help="lines, csv, tsv, jsonl, json or parquet, whatever the suffix."),
]
TextColumn = Annotated[str | None, typer.Option("--text", help="The column of the text.")]
SecondColumn = Annotated[
    str | None, typer.Option("--text-b", help="The column of a pair's second text.")
]
ImageColumn = Annotated[
    str | None, typer.Option("--image", help="The column of an image's path, or of its bytes.")
]


def opened(artifact: Path, runtime: str | None, threads: int, batch: int) -> "Predictor":
    """An artifact that is to run `batch` rows at once; where it cannot, that is said on stderr.

    Raises ValueError for an artifact that cannot be opened.
    """
    from limbeck.artifact.load import load

    predictor = load(artifact, runtime=runtime, threads=threads)
    if batch > 1 and predictor.why_one_by_one:
        typer.echo(f"limbeck: {predictor.why_one_by_one}", err=True)
    return predictor


def reading_for(
    predictor: "Predictor", columns: Mapping[str, str | None], form: str | None
) -> "Reading":
    """How rows become inputs of an artifact.

    `columns`: the options `text`, `text_b` and `image`. `form`: the option `--format`. Raises
    ValueError for a format of another name.
    """
    from limbeck.artifact.inputs import Reading, recipe_data
    from limbeck.artifact.records import FORMATS
    from limbeck.core import wording

    if form is not None and form not in FORMATS:
        raise ValueError(f"--format {form}: no such format. {wording.suggest(form, FORMATS)}")
    given = {name: column for name, column in columns.items() if column}
    return Reading(predictor.kind, given, recipe_data(predictor.folder), form)
