"""`limbeck predict`: an artifact's answers, a line for every row."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    reading_of_server,
)
from limbeck.cli.generating import (
    GenerateKeys,
    asked_by,
    generated_lines,
    is_watched,
    to_nowhere,
    to_terminal,
)
from limbeck.cli.options import Runtime, Threads, artifact_of, writable
from limbeck.core.files import naming

if TYPE_CHECKING:
    from limbeck.artifact.rows.inputs import Item, Reading

ArtifactOrSource = Annotated[
    Path | None,
    typer.Argument(
        metavar="ARTIFACT",
        help="The folder of an artifact, or of its run; left out with --url.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="A server's model in the place of an artifact: http://HOST:PORT/predict/NAME. Its "
        "token is read from LIMBECK_TOKEN.",
    ),
]
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
    artifact: ArtifactOrSource = None
    source: Source = None
    url: Url = None
    out: AnswerFile = None
    batch: Batch = 1
    threads: Threads = 1
    runtime: Runtime = None
    form: Form = None
    columns: NamesOfColumns = None
    text: TextColumn = None
    text_b: SecondColumn = None
    image: ImageColumn = None
    generate: GenerateKeys = None

    def __post_init__(self) -> None:
        """Answer. Raises ValueError for what cannot be opened at all."""
        suffix = checked_suffix(self.out)
        asked = ReadingOptions(self.form, self.columns, self.text, self.text_b, self.image)
        answering = self.by_server(asked) if self.url else self.by_artifact(asked)
        errors = Errors(may_abstain=answering.may_abstain)
        lines = errors.watched(answering.lines)
        texts = texts_of(lines, suffix, answering.keys)
        if answering.is_shown:
            # Each was shown while it grew.
            for _ in texts:
                pass
        else:
            write(texts, self.out)
        errors.tell()

    def by_artifact(self, asked: ReadingOptions) -> "Answering":
        """The answers of an artifact of this machine. Raises ValueError."""
        from limbeck.artifact.answers import answer_keys, answer_lines
        from limbeck.artifact.generation.text_model import ANSWER_KEYS, text_model_of

        predictor = opened(self.folder(), self.runtime, self.threads, self.batch)
        items = items_of(self.source, reading_for(predictor, asked))
        writer = text_model_of(predictor, self.threads)
        if writer is not None:
            to_generate = asked_by(self.generate or (), writer.end_ids)
            is_shown = self.out is None and is_watched()
            show = to_terminal if is_shown else to_nowhere
            lines = generated_lines(writer, items, to_generate, show)
            return Answering(lines, list(ANSWER_KEYS), False, is_shown)
        if self.generate:
            raise ValueError(
                f"--generate: {predictor.task_name} answers with labels and numbers; this is for "
                "artifacts of text-generation. Leave it out"
            )
        one_by_one = is_standard_input(self.source)
        return Answering(
            answer_lines(predictor, items, self.batch, one_by_one=one_by_one),
            answer_keys(predictor),
            predictor.decision.threshold is not None,
        )

    def by_server(self, asked: ReadingOptions) -> "Answering":
        """The answers of a server's model. Raises ValueError."""
        from limbeck.server.client import Remote

        assert self.url is not None
        if self.generate:
            raise ValueError(
                "--generate: a server's /predict answers by the defaults of the model. Ask its "
                "/v1/chat/completions, which reads these keys, or leave it out"
            )
        if self.runtime:
            raise ValueError("--runtime: the server has chosen its own. Leave it out")
        source = self.source_of_url()
        remote = Remote(self.url)
        items = items_of(source, reading_of_server(remote, asked))
        return Answering(remote.answer_lines(items), remote.keys, "abstain" in remote.keys)

    def folder(self) -> Path:
        """The artifact's folder. Raises ValueError where none is named."""
        if self.artifact is None:
            raise ValueError("no artifact is named: `limbeck predict ARTIFACT`, or --url URL")
        return artifact_of(self.artifact)

    def source_of_url(self) -> str | None:
        """What is read where a server answers: the only argument. Raises ValueError for two."""
        if self.artifact is not None and self.source is not None:
            raise ValueError(
                f"--url: the server has the artifact, so `{self.source}` is one argument too "
                f"many: `limbeck predict --url {self.url} {self.artifact}`"
            )
        return None if self.artifact is None else str(self.artifact)


@dataclass(frozen=True)
class Answering:
    """Lines of answers as they come, the keys that one may have, and whether it may abstain."""

    lines: Iterator[dict[str, Any]]
    keys: list[str]
    may_abstain: bool
    # Whether the answers are on the terminal by the time that their lines are there.
    is_shown: bool = False


def is_standard_input(source: str | None) -> bool:
    """Whether what is to be answered comes from there."""
    return source in (None, "-")


def items_of(source: str | None, reading: "Reading") -> "Iterator[Item]":
    """The rows to answer. Raises ValueError where there is no such file."""
    from limbeck.artifact.rows.inputs import read_items

    return read_items(source, sys.stdin.buffer if is_standard_input(source) else None, reading)


def texts_of(lines: Iterable[dict[str, Any]], suffix: str, keys: list[str]) -> Iterator[str]:
    """Lines of answers as those of a file of a suffix."""
    from limbeck.artifact import answers

    return answers.csv_lines(lines, keys) if suffix == ".csv" else answers.json_lines(lines)


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
