"""`limbeck predict`: an artifact's answers, a line for every row."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.cli.answering import (
    Batch,
    Form,
    ImageColumn,
    NamesOfColumns,
    ReadingOptions,
    SecondColumn,
    TextColumn,
    opened,
    reading_for,
)
from limbeck.cli.options import ArtifactFolder, Runtime, Threads, writable
from limbeck.core.files import naming

Source = Annotated[
    str | None,
    typer.Argument(
        help="Texts or images: a file (csv, tsv, jsonl, json, parquet, or a text a line) or a "
        "folder; left out, or -, standard input is read."
    ),
]
AnswerFile = Annotated[
    Path | None,
    typer.Option("--out", help="A file for the answers, .jsonl or .csv.", callback=writable),
]


@dataclass(frozen=True)
class Predict:
    """Answer every row of texts or images with an artifact, in order, as JSON lines or csv.

    A row that cannot be answered gets a line with its number and an error. Without --out the
    answers go to standard output.
    """

    # A class, whose fields are the verb's arguments: more of them than a function should take.
    artifact: ArtifactFolder
    source: Source = None
    out: AnswerFile = None
    batch: Batch = 1
    threads: Threads = 1
    runtime: Runtime = None
    form: Form = None
    columns: NamesOfColumns = None
    text: TextColumn = None
    text_b: SecondColumn = None
    image: ImageColumn = None

    def __post_init__(self) -> None:
        """Answer. Raises ValueError for what cannot be opened at all."""
        from limbeck.artifact import answers
        from limbeck.artifact.rows.inputs import read_items

        suffix = checked_suffix(self.out)
        predictor = opened(self.artifact, self.runtime, self.threads, self.batch)
        asked = ReadingOptions(self.form, self.columns, self.text, self.text_b, self.image)
        reading = reading_for(predictor, asked)
        from_stdin = self.source in (None, "-")
        items = read_items(self.source, sys.stdin.buffer if from_stdin else None, reading)
        lines = answers.answer_lines(predictor, items, self.batch, one_by_one=from_stdin)
        errors = Errors(may_abstain=predictor.decision.threshold is not None)
        lines = errors.watched(lines)
        if suffix == ".csv":
            text = answers.csv_lines(lines, answers.answer_keys(predictor))
        else:
            text = answers.json_lines(lines)
        write(text, self.out)
        errors.tell()


@dataclass
class Errors:
    """How many rows there were, how many could not be answered, and from how many the artifact
    abstains."""

    may_abstain: bool = False
    rows: int = 0
    errors: int = 0
    abstained: int = 0
    first: str = ""

    def watched(self, lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The lines, which are counted on their way."""
        for line in lines:
            self.rows += 1
            # Of an artifact that never does, this is a column of the user's.
            self.abstained += self.may_abstain and line.get("abstain") is True
            if "error" in line:
                self.errors += 1
                self.first = self.first or f"line {line['line']}: {line['error']}"
            yield line

    def tell(self) -> None:
        """Say on stderr what could not be answered, and what is left to somebody else."""
        if not self.rows:
            typer.echo("limbeck: there is no row to answer", err=True)
        if self.abstained:
            told = f"{self.abstained:,} of {self.rows:,} rows are left to you (`abstain`)"
            typer.echo(f"limbeck: {told}", err=True)
        if self.errors:
            told = f"{self.errors:,} of {self.rows:,} rows could not be answered; {self.first}"
            typer.echo(f"limbeck: {told}", err=True)


def write(lines: Iterable[str], out: Path | None) -> None:
    """Write lines as UTF-8: to a file, which is whole or not there, or to standard output."""
    if out is None:
        # Bytes, because JSON is UTF-8 whatever the locale.
        for line in lines:
            sys.stdout.buffer.write(line.encode())
            # Whoever writes a line into a pipe waits for its answer.
            sys.stdout.buffer.flush()
        return
    # Beside it until it is whole; the source may be the file itself.
    unfinished = out.with_name(f"{out.name}.tmp")
    try:
        # What fails while the rows are read has the name of another file.
        with naming(out), open(unfinished, "wb") as file:
            for line in lines:
                file.write(line.encode())
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def checked_suffix(out: Path | None) -> str:
    """The format of the answers. Raises ValueError for a file of another."""
    suffix = out.suffix.lower() if out else ".jsonl"
    if suffix not in (".jsonl", ".ndjson", ".json", ".csv"):
        raise ValueError(f"--out {out}: answers are written as .jsonl or .csv. Name such a file")
    return suffix
