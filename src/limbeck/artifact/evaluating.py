"""`limbeck.evaluate`: an artifact and labelled rows, or their file, to the figures of a verdict."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.artifact.evaluate import evaluate as figures_on
from limbeck.artifact.evaluate_texts import evaluate_texts, rows_from_dicts, rows_of_texts
from limbeck.artifact.load import load
from limbeck.artifact.predictions import data_frame
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import recipe_data
from limbeck.artifact.rows.labelled import Labels, labelled_rows, rows_from_python
from limbeck.artifact.rows.reading import reading_of
from limbeck.core.contract import require_argument
from limbeck.core.terminal.notebook import html_table
from limbeck.core.wording import figure, suggest
from limbeck.sources import BadRow, fail
from limbeck.tasks.text_generation import TextGeneration

# What `columns` may name.
COLUMNS = (
    "text",
    "text_b",
    "words",
    "image",
    "label",
    "tags",
)


class Evaluation(dict[str, Any]):
    """What an artifact scores on labelled rows: a dict, ready for JSON, whose main figures are
    attributes. It holds what `limbeck evaluate --json` prints."""

    @property
    def metric(self) -> str:
        """The task's first metric, such as `accuracy`."""
        return str(self["metric"])

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every metric, 0 to 1 but for errors; None where these rows leave it undefined."""
        return dict(self["metrics"])

    @property
    def ci95(self) -> dict[str, list[float] | None]:
        """The 95 % interval of each metric, lower and upper end."""
        return dict(self["ci95"])

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return int(self["rows"])

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Labels that the artifact does not have, which count as errors, and how often each is."""
        return dict(self["unknown_labels"])

    @property
    def per_label(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support of each label; empty for tasks without labels."""
        return list(self.get("per_label", []))

    def to_dataframe(self) -> Any:
        """The metrics as a pandas DataFrame: `metric`, `value`, `low`, `high`.

        Raises ModuleNotFoundError where pandas is not installed.
        """
        rows = []
        for name, value in self.metrics.items():
            low, high = self.bounds(name)
            row = {
                "metric": name,
                "value": value,
                "low": low,
                "high": high,
            }
            rows.append(row)
        return data_frame(rows, "Evaluation.to_dataframe")

    def bounds(self, metric: str) -> Sequence[float | None]:
        """The lower and upper end of a metric's interval; two times None where it has none."""
        return self.ci95[metric] or (None, None)

    def __repr__(self) -> str:
        value = figure(self.metrics[self.metric])
        low, high = self.bounds(self.metric)
        interval = f"[{figure(low)}, {figure(high)}]"
        return f"<limbeck evaluation: {self.metric} {value} {interval} on {self.rows:,} rows>"

    def _repr_html_(self) -> str:
        """What a notebook shows: every metric with its interval."""
        rows = []
        for name, value in self.metrics.items():
            low, high = self.bounds(name)
            rows.append((name, figure(value), f"{figure(low)} to {figure(high)}"))
        table = html_table(("metric", "value", "95 % interval"), rows)
        return f"<p>{self.rows:,} rows, {self['runtime']}</p>{table}"


def labels_of(predictor: Predictor, column: str | None) -> Labels:
    """What labels of rows are to an artifact; `column`: where they stand, if that was said."""
    # Its recipe knows how training wrote them, as numbers or with a separator.
    return Labels(
        predictor.labels,
        predictor.kind,
        predictor.task.likelihood,
        recipe_data(predictor.folder),
        column,
    )


def of_texts(predictor: Predictor, source: Any, on_bad_row: str) -> Evaluation:
    """`evaluate` of a model that writes texts: a path, or dicts of `messages`, of `prompt` and
    `response`, or of `text`."""
    bad: list[BadRow] = []
    is_path = isinstance(source, str | Path)
    if is_path:
        tell_bad = bad.append if on_bad_row == "skip" else fail
        rows = rows_of_texts(predictor, str(source), tell_bad)
    else:
        rows = rows_from_dicts(source)
    return Evaluation(
        artifact=str(predictor.folder),
        source=str(source) if is_path else "rows",
        runtime=predictor.runtime,
        **evaluate_texts(predictor, rows),
        bad_rows=len(bad),
    )


def evaluate(
    artifact: Predictor | str | Path,
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    form: str | None = None,
    batch_size: int = 1,
    on_bad_row: str = "fail",
) -> Evaluation:
    """Score an artifact on labelled rows, as `limbeck evaluate` does.

    Args:
        artifact: its folder, or what `limbeck.load` gave (with a runtime and threads of choice).
        source: the path of a file or folder that the command reads; or rows as `limbeck.run` takes
            them: dicts, a dict of columns, a data frame of pandas, a `datasets.Dataset`.
        columns: which column holds `text`, `text_b`, `words`, `image`, `label` or `tags`; left out,
            those of the artifact's recipe, or what stands out by its name.
        form: `csv`, `tsv`, `jsonl`, ..., of a file whose suffix does not say it.
        batch_size: how many rows are run at once; it changes no answer.
        on_bad_row: `fail`, or `skip`: leave bad rows out, and count them.

    Raises:
        ValueError: a row that cannot be used, with its place; no column of that name; no labels.

    ```
    limbeck.evaluate("runs/digits/artifact", [{"text": "Lovely.", "label": "good"}]).metrics
    ```
    """
    require_argument("artifact", artifact, (Predictor, str, Path), "an artifact or its folder")
    if on_bad_row not in ("fail", "skip"):
        raise ValueError(f"on_bad_row: write fail or skip, not {on_bad_row!r}")
    # 1. What was asked for.
    named = dict(columns or {})
    for name in named:
        if name not in COLUMNS:
            raise ValueError(f"columns: there is none for `{name}`. {suggest(name, COLUMNS)}")
    # A sentence has a tag for each word in place of a label.
    label = named.get("label") or named.get("tags")
    # 2. The artifact, which says what its labels are.
    predictor = artifact if isinstance(artifact, Predictor) else load(artifact)
    if isinstance(predictor.task, TextGeneration):
        return of_texts(predictor, source, on_bad_row)
    labels = labels_of(predictor, label)
    # 3. The rows, which are read while they are scored.
    bad: list[BadRow] = []
    tell_bad = bad.append if on_bad_row == "skip" else fail
    rows: Iterable[Any]
    if isinstance(source, str | Path):
        told = str(source)
        inputs = {name: column for name, column in named.items() if column != label}
        reading = reading_of(predictor, inputs, form)
        rows = labelled_rows(
            told,
            reading,
            labels,
            predictor.row,
            tell_bad,
        )
    else:
        told = "rows"
        rows = rows_from_python(
            source,
            named,
            labels,
            predictor.row,
            tell_bad,
        )
    # Unknown labels are counted while the rows are read, so that they come by reference.
    found = figures_on(
        predictor,
        rows,
        labels.unknown,
        batch_size=batch_size,
    )
    return Evaluation(
        artifact=str(predictor.folder),
        source=told,
        runtime=predictor.runtime,
        **found,
        bad_rows=len(bad),
    )
