"""`limbeck evaluate`: what an artifact scores on a labelled file."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from limbeck.artifact.predictor import Predictor

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
from limbeck.cli.options import ArtifactFolder, AsJson, Runtime, Threads
from limbeck.core.wording import figure, nearest, some, suggest

MOST_UNKNOWN = 12  # labels that are told

Source = Annotated[
    str,
    typer.Argument(
        help="Labelled rows: csv, tsv, jsonl, json, parquet, CoNLL columns, or images in folders; "
        "of a folder with a test split, that; -, standard input."
    ),
]
LabelColumn = Annotated[str | None, typer.Option("--label", help="The column of the label.")]
SchemeOfTags = Annotated[
    str | None,
    typer.Option(
        "--scheme",
        help="How the file writes its tags: iob2, iob1, bioes (BILOU too), io or single; left "
        "out, as in training.",
    ),
]
OnBad = Annotated[
    str, typer.Option("--on-bad-row", help="fail, or skip: leave bad rows out, and count them.")
]


@dataclass(frozen=True)
class Evaluate:
    """Score an artifact on a labelled file: metrics with 95 % intervals, and a report by label.

    Labels that the artifact does not have count as errors, and are told.
    """

    # A class, whose fields are the verb's arguments: more of them than a function should take.
    artifact: ArtifactFolder
    source: Source
    batch: Batch = 1
    threads: Threads = 1
    runtime: Runtime = None
    form: Form = None
    columns: NamesOfColumns = None
    text: TextColumn = None
    text_b: SecondColumn = None
    image: ImageColumn = None
    label: LabelColumn = None
    scheme: SchemeOfTags = None
    on_bad_row: OnBad = "fail"
    as_json: AsJson = False

    def __post_init__(self) -> None:
        """Score, and tell. Raises ValueError for what cannot be read."""
        from limbeck.artifact.evaluate import evaluate
        from limbeck.artifact.rows import labelled
        from limbeck.sources import BadRow, fail
        from limbeck.sources._cells.tags import SCHEMES
        from limbeck.tasks.text_generation import TextGeneration

        if self.scheme not in (None, *SCHEMES):
            suggestion = suggest(self.scheme, SCHEMES)
            raise ValueError(f"--scheme {self.scheme}: no such scheme. {suggestion}")
        if self.on_bad_row not in ("fail", "skip"):
            raise ValueError(f"--on-bad-row {self.on_bad_row}: write fail or skip")
        predictor = opened(self.artifact, self.runtime, self.threads, self.batch)
        if isinstance(predictor.task, TextGeneration):
            self.tell_texts(predictor)
            return
        asked = ReadingOptions(self.form, self.columns, self.text, self.text_b, self.image)
        reading = reading_for(predictor, asked)
        labels = labelled.Labels(
            predictor.labels,
            predictor.kind,
            predictor.task.likelihood,
            reading.finder.recipe,
            self.label,
            self.scheme,
            reading.say,
        )
        bad: list[BadRow] = []
        on_bad_row = bad.append if self.on_bad_row == "skip" else fail
        rows = labelled.labelled_rows(
            self.source, reading, labels, predictor.row, on_bad_row, sys.stdin.buffer
        )
        try:
            found = evaluate(predictor, rows, labels.unknown, batch_size=self.batch)
        except BadRow as row:
            cure = "`--on-bad-row skip` leaves out such rows, and counts them"
            raise ValueError(f"{row}. Or {cure}") from None
        figures = {
            "artifact": str(self.artifact),
            "source": self.source,
            "runtime": predictor.runtime,
            **found,
            "bad_rows": len(bad),
        }
        self.tell(figures, [str(row) for row in bad], predictor.labels)

    def tell_texts(self, predictor: "Predictor") -> None:
        """Score a model that writes texts, and tell. Raises ValueError as above."""
        from limbeck.artifact.evaluate_texts import evaluate_texts, rows_of_texts
        from limbeck.sources import BadRow, fail

        unused = (self.form, self.columns, self.text, self.text_b, self.image, self.label)
        if any(unused) or self.scheme:
            raise ValueError(
                "dialogues and texts are read as in training, by the artifact's recipe: leave out "
                "--format, --columns, --text, --text-b, --image, --label and --scheme"
            )
        bad: list[BadRow] = []
        on_bad_row = bad.append if self.on_bad_row == "skip" else fail
        rows = rows_of_texts(predictor, self.source, on_bad_row)
        figures = {
            "artifact": str(self.artifact),
            "source": self.source,
            "runtime": predictor.runtime,
            **evaluate_texts(predictor, rows),
            "bad_rows": len(bad),
        }
        self.tell(figures, [str(row) for row in bad], [])

    def tell(self, figures: dict[str, Any], bad: list[str], labels: list[str]) -> None:
        """Show the figures."""
        import json

        from rich.console import Console

        if self.as_json:
            typer.echo(json.dumps(figures, ensure_ascii=False))
            return
        console = Console(highlight=False, soft_wrap=True)
        for line in lines(figures, bad, labels):
            console.print(line, markup=False)


def lines(figures: dict[str, Any], bad: list[str], labels: list[str]) -> Iterator[Any]:
    """What a terminal shows of the figures. `labels`: those that the artifact has."""
    from limbeck.core.terminal.tables import table

    words = f" ({figures['units']:,} labelled places)"
    has_units = figures["units"] != figures["rows"]
    yield f"{figures['source']}: {figures['rows']:,} rows{words * has_units}, {figures['runtime']}"
    rows = []
    for name, value in figures["metrics"].items():
        ends = figures["ci95"][name] or (None, None)
        low, high = (figure(end) for end in ends)
        rows.append((name, figure(value), f"{low} to {high}" if value is not None else "-"))
    yield table(("metric", "value", "95 % interval"), rows, numbers=1)
    if "chance" in figures:
        yield f"one answer for every row: {figures['metric']} {figure(figures['chance'])}"
    if figures.get("written"):
        yield from lines_of_written(figures["written"])
    answered = figures.get("answered")
    if answered:
        error = figure(answered["error"])
        yield (
            f"answers {answered['rows']:,} of {figures['rows']:,} rows, abstains from the others; "
            f"of the answered, {answered['errors']:,} are wrong ({error})"
        )
    undefined = [name for name, value in figures["metrics"].items() if value is None]
    if undefined:
        yield f"undefined on these rows (-): {', '.join(undefined)}"
    report = figures.get("per_label", [])
    if report:
        names = ("precision", "recall", "f1")
        rows = []
        for row in report:
            rows.append(
                (row["label"], *(figure(row[name], 3) for name in names), str(row["support"]))
            )
        yield table(("label", *names, "support"), rows, numbers=1)
    unknown = figures["unknown_labels"]
    if unknown:
        told = some([told_unknown(label, unknown, labels) for label in unknown], MOST_UNKNOWN)
        yield f"labels that the artifact does not have, which count as errors: {told}"
        yield (
            f"it has {some(labels, MOST_UNKNOWN)}: write these where another name is meant "
            "(data.label_names for numbers), or leave such rows out"
        )
    if bad:
        yield f"{len(bad):,} bad rows were left out; the first: {bad[0]}"


def lines_of_written(written: dict[str, Any]) -> Iterator[Any]:
    """What a terminal shows of greedy answers."""
    from limbeck.core.terminal.tables import table

    yield (
        f"greedy answers to {written['questions']:,} questions, each of at most "
        f"{written['most_tokens']} tokens:"
    )
    rows = []
    for name in ("rouge_l", "exact_match", "ended", "repetition"):
        low, high = written[f"{name}_ci95"]
        rows.append((name, figure(written[name]), f"{figure(low)} to {figure(high)}"))
    yield table(("metric", "value", "95 % interval"), rows, numbers=1)
    data = written["data"]
    names = ("distinct_1", "distinct_2", "repetition", "words")
    told = ", ".join(f"{name} {figure(written[name])} ({figure(data[name])})" for name in names)
    yield f"beside the data's own answers in brackets: {told}"


def told_unknown(label: str, unknown: dict[str, int], labels: list[str]) -> str:
    """A label that the artifact lacks, the number of its rows, and the nearest that it has."""
    near = nearest(label, labels)
    return f"{label} ({unknown[label]:,}{f'; near: {near}' if near else ''})"
