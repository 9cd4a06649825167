"""The section "What was lost" of the page, and its line in the terminal, from `lost` of report.json
(`pipeline.judging.lost`)."""

from typing import Any

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.reports.numbers import INTERVAL, decimal, interval

Json = dict[str, Any]


def view(lost: Json | None) -> Json | None:
    """`lost` with what the template lays out; None where the report has none."""
    if not lost:
        return None
    return {
        **lost,
        "summary": summary(lost),
        "worst": [{**shown(row), "answers": spoken(row["answers"])} for row in lost["worst"]],
        "doubted": [shown(row) for row in lost["label_errors"]["first"]],
        "slices": [
            {**row, "interval": interval(row["ci95"]), "is_lost": row["p_holm"] <= ALPHA}
            for row in lost["slices"]
        ],
        "shown": f"{len(lost['worst']):,} of {lost['lost']:,}",
    }


def summary(lost: Json) -> str:
    """How many rows changed, and whether some kind of rows lost more than chance explains."""
    # Numbers are met more or less well, and nothing is right of them.
    if lost["won"] is None:
        return (
            f"Of {lost['rows']:,} test rows {lost['lost']:,} are met worse than by the teacher, by "
            "more than its own mean error."
        )
    text = (
        f"Of {lost['rows']:,} test rows the teacher alone has {lost['lost']:,} right, "
        f"and the student alone {lost['won']:,}."
    )
    looked = lost["slices_looked_at"]
    if not looked:
        return text
    worst = [row for row in lost["slices"] if row["p_holm"] <= ALPHA]
    if not worst:
        return f"{text} Of {looked:,} kinds of rows none is shown to have lost anything."
    # They stand in the order of their p values.
    first = worst[0]
    return (
        f"{text} Of {looked:,} kinds of rows {lost['slices_lost']:,} are shown to have lost: most "
        f"surely {first['by']} = {first['value']}, by {decimal(first['drop'])} of its "
        f"{first['rows']:,} rows ({INTERVAL} {interval(first['ci95'])})."
    )


def shown(row: Json) -> Json:
    """A row with the `lines` and the `thumbnail` by which a reader knows it."""
    lines = [row[key] for key in ("text", "text_b") if row.get(key)]
    # A file's name, where nothing else is to be read.
    if not lines and row.get("file"):
        lines = [row["file"]]
    return {**row, "lines": lines, "thumbnail": row.get("thumbnail"), "word": row.get("word")}


def spoken(answers: list[Json]) -> list[Json]:
    """The answers of a row; of a sentence each with the word that it is of."""
    told = []
    for answer in answers:
        word = f"{answer['word']}: " if "word" in answer else ""
        told.append({key: word + answer[key] for key in ("given", "teacher", "student")})
    return told
