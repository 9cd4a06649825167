"""The section "What was lost" of the page, and its line in the terminal, from `lost` of report.json
(`pipeline.judging.lost`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from limbeck.evaluation.bootstrap import ALPHA
from limbeck.reports.numbers import INTERVAL, decimal, interval

Json = dict[str, Any]

ANSWERS = ("given", "teacher", "student")
# What is answered where no label of several is.
NONE = "none"
# Who is right of a row that is answered otherwise, as it is counted; and of numbers, who is nearer.
WHO_IS_RIGHT = {
    "teacher": "that the teacher alone has right",
    "student": "that the student alone has right",
    "neither": "that neither has right",
}
NEARER = {
    "teacher": "that the teacher is nearer to",
    "student": "that the student is nearer to",
}


def view(lost: Json | None) -> Json | None:
    """`lost` with what the template lays out; None where the report has none."""
    if not lost:
        return None
    return {
        **lost,
        "summary": summary(lost),
        "changed": changed(lost),
        "content": content_title(lost["changed"] or lost["label_errors"]["first"]),
        "doubted": [shown(row) for row in lost["label_errors"]["first"]],
        "slices": [
            {**row, "interval": interval(row["ci95"]), "is_lost": row["p_holm"] <= ALPHA}
            for row in lost["slices"]
        ],
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
    are = "is" if lost["slices_lost"] == 1 else "are"
    return (
        f"{text} Of {looked:,} kinds of rows {lost['slices_lost']:,} {are} shown to have lost: "
        f"most surely {first['by']} = {first['value']}, by {decimal(first['drop'])} of its "
        f"{first['rows']:,} rows ({INTERVAL} {interval(first['ci95'])})."
    )


def shown(row: Json) -> Json:
    """A row with the `lines` and the `thumbnail` by which a reader knows it."""
    lines = [row[key] for key in ("text", "text_b") if row.get(key)]
    # A file's name, where nothing else is to be read.
    if not lines and row.get("file"):
        lines = [row["file"]]
    picture = row.get("thumbnail")
    return {
        **row,
        "lines": lines,
        "thumbnail": f"data:image/{image_format(picture)};base64,{picture}" if picture else None,
        "word": row.get("word"),
    }


def content_title(rows: Sequence[Json]) -> str:
    """What stands in the column by which a reader knows a row."""
    return "Image" if any(row.get("thumbnail") for row in rows) else "What it says"


def image_format(thumbnail: str) -> str:
    """`png` or `jpeg`, by the first bytes of a file in base64."""
    # The signature of PNG begins with 0x89 and `PNG`.
    return "png" if thumbnail.startswith("iVBORw") else "jpeg"


def changed(lost: Json) -> Json | None:
    """The table of the rows that are answered otherwise, and the names that it is filtered by; None
    where no row is."""
    rows = lost["changed"]
    if not rows:
        return None
    are_numbers = lost["won"] is None
    names: dict[str, list[str]] = {}
    # Every number is another one: nobody looks for one of them by name.
    if not are_numbers:
        names = {key: names_at(rows, key) for key in ANSWERS}
    table = []
    for row in rows:
        units = [unit_of(answer, names) for answer in row["answers"]]
        line = {
            **shown(row),
            "units": " ".join(units),
            "answers": spoken(row["answers"]),
        }
        table.append(line)
    # Of what no row has there is nothing to choose.
    found = {row["right"] for row in rows}
    return {
        "rows": table,
        "names": names,
        "right": [who for who in WHO_IS_RIGHT if who in found],
        "title": "Nearer" if are_numbers else "Right",
        "counts": counts(lost),
        # Reports of before neither was counted are of runs that wrote no file of all.
        "has_file": are_numbers or lost["neither"] is not None,
    }


def counts(lost: Json) -> str:
    """How many rows of each kind are shown, of how many."""
    totals = {
        "teacher": lost["lost"],
        "student": lost["won"],
        "neither": lost["neither"],
    }
    kinds = NEARER if lost["won"] is None else WHO_IS_RIGHT
    told = []
    for who, words in kinds.items():
        num_shown = sum(row["right"] == who for row in lost["changed"])
        total = totals[who]
        # Of numbers those that are met better are not counted.
        of = f" of {total:,}" if total is not None else ""
        if num_shown:
            told.append(f"{num_shown:,}{of} {words}")
    return "; ".join(told)


def names_at(rows: Iterable[Json], key: str) -> list[str]:
    """Every name that an answer has at a key, in order, numbers by their value."""
    names: set[str] = set()
    for row in rows:
        for answer in row["answers"]:
            names.update(as_list(answer[key]))
    return sorted(names, key=by_value)


def by_value(name: str) -> tuple[int, int, str]:
    """What names are sorted by: 9 before 10, and numbers before words."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def unit_of(answer: Json, names: Mapping[str, Sequence[str]]) -> str:
    """Label, teacher's and student's answer of a unit as the script of the page reads them:
    `2:2:0,5`, each a number of `names`."""
    parts = []
    for key in names:
        # Numbers hold no space or colon, which a name may.
        places = [names[key].index(name) for name in as_list(answer[key])]
        parts.append(",".join(map(str, places)))
    return ":".join(parts)


def as_list(answer: str | Sequence[str]) -> Sequence[str]:
    """The labels of an answer, which is one name, or a list of several; `none` of an empty one, so
    that a reader can ask for it."""
    return [answer] if isinstance(answer, str) else answer or [NONE]


def joined(answer: str | Sequence[str]) -> str:
    """The labels of an answer as one cell of a table."""
    return ", ".join(as_list(answer))


def spoken(answers: list[Json]) -> list[Json]:
    """The answers of a row; of a sentence each with the word that it is of."""
    told = []
    for answer in answers:
        word = f"{answer['word']}: " if "word" in answer else ""
        names = {key: joined(answer[key]) for key in ANSWERS}
        told.append({key: word + each for key, each in names.items()})
    return told
