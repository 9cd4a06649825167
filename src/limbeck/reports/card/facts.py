"""What the card tells of a run: tables and sentences, of report.json."""

from typing import Any

from limbeck.core.wording import some
from limbeck.reports import outcome
from limbeck.reports import speed as speeds
from limbeck.reports.arms import metric_title, shipped_arm
from limbeck.reports.labels import AVERAGES
from limbeck.reports.numbers import INTERVAL, UNKNOWN, count, decimal, interval, plain, size

Json = dict[str, Any]

NOT_TOLD = "not told"
MOST_LABELS = 20  # in the table by label
# Of test rows of a label: below, a precision or recall is off by a tenth or more by chance alone.
FEW_ROWS = 30
MOST_NAMED = 10


def verdict(report: Json) -> str:
    """The report's sentence, which is about this artifact's own answers, behind the verdict."""
    found = report["verdict"]
    word = "" if found is None else f"**{'Kept' if found['kept'] else 'Not kept'}.** "
    return f"{word}{outcome.sentence(report)}"


def reasons(report: Json) -> list[str]:
    """What stands against it and beside it, and what helped; a blank line behind."""
    found = report["verdict"]
    if found is None:
        return []
    lines = [f"- because {reason}" for reason in found["reasons"]]
    lines += [f"- although {note}" for note in found.get("notes", [])]
    lines += [f"- {outcome.gain_line(row)}" for row in found["gains"]]
    return [*lines, ""] if lines else []


def metric_rows(report: Json, arms: list[str]) -> list[list[str]]:
    """Every metric of the shipped model's own answers on the test split, and of the teacher's.

    Over several seeds the interval is of their mean, and this folder is the first seed's.
    """
    shipped = report["arms"][shipped_arm(report["arms"])]
    seeds = shipped["seeds"]
    head = ["on the test split", "this artifact"]
    if len(seeds) > 1:
        head.append(f"mean of {len(seeds)} seeds")
    # Shown once: of one seed the mean is that seed's.
    rows = [[*head, INTERVAL, *arms[1:]]]
    for name, value in seeds[0]["metrics"].items():
        row = [metric_title(name), decimal(value)]
        if len(seeds) > 1:
            row.append(decimal(shipped["mean"].get(name)))
        row.append(interval(shipped["ci95"].get(name)) or UNKNOWN)
        rows.append(row + [decimal(report["arms"][arm]["mean"].get(name)) for arm in arms[1:]])
    return rows


def label_rows(report: Json) -> list[list[str]]:
    """Precision, recall and F1 of each label, of this artifact; nothing of more than 20."""
    rows = [row for row in _per_label(report) if row["label"] not in AVERAGES]
    if not rows or len(rows) > MOST_LABELS:
        return []
    # Of the seed that is handed out: a mean over seeds is no model's.
    head = ["label", "precision", "recall", "F1", "test rows"]
    table = [head]
    for row in rows:
        scores = [decimal(row.get(key)) for key in ("precision", "recall", "f1")]
        table.append([row["label"], *scores, count(row.get("support"))])
    return table


def _per_label(report: Json) -> list[Json]:
    seed = report["arms"][shipped_arm(report["arms"])]["seeds"][0]
    rows: list[Json] = seed.get("per_label") or []
    return rows


def origins(report: Json) -> list[str]:
    """Models and data by name, size and licence, as far as their folders tell."""
    found = report.get("origins")
    if not found:
        return ["A report of an earlier version: `recipe.yaml` names the models and the data."]
    arms = report["arms"]
    lines = []
    for role, arm in (("teacher", "teacher"), ("student", shipped_arm(arms))):
        model = found["models"].get(role)
        if model and arm in arms:
            row = arms[arm]
            lines.append(
                f"- {role}: {model['name']}, {count(row['parameters'])} parameters, "
                f"{size(row['bytes'])}; its licence: {model['licence'] or NOT_TOLD}"
                f"{coarse(model.get('coarse_grid'))}"
            )
    data = found["data"]
    splits = ", ".join(f"{split} {count(rows)}" for split, rows in data["rows"].items())
    lines.append(
        f"- data: {data['name']} (read as `{data['source']}`), rows: {splits}; "
        f"its licence: {data['licence'] or NOT_TOLD}"
    )
    formats = [f"{what} {how}" for what, how in found["formats"].items()]
    # What was asked for is not always what was done: a weight may be read past its layer.
    floats = (report.get("layers") or {}).get("float_products") or {}
    if floats:
        formats.append(f"in float all the same {some([f'`{name}`' for name in floats])}")
    return [*lines, f"- numbers: {', '.join(formats)}"]


def coarse(grid: Json | None) -> str:
    """What to know of a model whose weights were of a few bits before; nothing where it is none."""
    if not grid:
        return ""
    return (
        f"; {grid['share']:.0%} of its weights lay on a grid of {grid['bits']} bits already, so "
        f"what {grid['bits']} bits lose of it says little"
    )


def limits(report: Json) -> list[str]:
    """What was not tested, and what is known to be weak."""
    lines = [
        "- It was tested on the test split of the data above, and on nothing else: other sources, "
        "other times and other groups of people may be answered worse."
    ]
    found = report.get("origins") or {}
    max_tokens = found.get("max_tokens")
    if max_tokens:
        lines += [
            "- Other languages than those of the data were not tested.",
            f"- Of a text, at most {max_tokens} tokens are read at once; longer ones than the test "
            "split has were not tested.",
            *(f"- {note}" for note in found["token_notes"]),
        ]
    words = ((report.get("calibration") or {}).get("shift") or {}).get("words")
    if words:
        lines.append(f"- The test split is not drawn as validation is: {words}.")
    few = [
        row["label"]
        for row in _per_label(report)
        if row["label"] not in AVERAGES and (row.get("support") or 0) < FEW_ROWS
    ]
    if few:
        named = ", ".join(f"`{label}`" for label in few[:MOST_NAMED])
        more = f" and {len(few) - MOST_NAMED} more" if len(few) > MOST_NAMED else ""
        lines.append(
            f"- Labels with fewer than {FEW_ROWS} test rows, whose figures are uncertain: "
            f"{named}{more}."
        )
    # Not the report's notes: some show rows, and an artifact is handed out without the data.
    return lines


def speed(report: Json) -> list[str]:
    """Milliseconds and bytes, and the machine and versions that they are of."""
    row = report["arms"][shipped_arm(report["arms"])]
    latency = row["latency_ms"]
    lines = [f"- {size(row['bytes'])} on disk, {count(row['parameters'])} parameters"]
    # A report of a run that was not timed has none.
    if latency:
        lines.append(
            f"- from a raw input to its answer {latency['p50']:.3f} ms (median; of 100 answers 99 "
            f"within {latency['p99']:.3f} ms), {speeds.threads_of(latency)}, {latency['runtime']}"
        )
    lines += [f"- {line.strip()}" for line in speeds.sentences(report.get("speed"))]
    return [
        *lines,
        f"- machine: {_told(report['machine'])}",
        f"- versions: {_told(report['versions'])}",
    ]


def _told(values: Json) -> str:
    return "; ".join(f"{name} {plain(value)}" for name, value in values.items())


def again(report: Json) -> list[str]:
    """The command that makes it anew."""
    # The recipe's file does not hold what Python gave.
    given = report.get("from_python") or {"models": [], "rows": False}
    if given["models"] or given["rows"]:
        return [
            f"It was made from Python, of {' and '.join(_given(given))}: call `limbeck.run` with "
            "those and `recipe.yaml`."
        ]
    return [
        "With this folder's recipe: `limbeck run FOLDER/recipe.yaml --out runs/again`, where the "
        "first run was started.",
        "Elsewhere, say where data and teacher lie: `data.path=FOLDER` and `teacher.model=FOLDER`, "
        "behind the recipe. Relative paths are taken from where you stand; of an absolute one the "
        "recipe holds the last part alone. "
        "The same versions on the same kind of machine give the same bytes.",
    ]


def _given(given: Json) -> list[str]:
    named = [f"the model `{name}`" for name in given["models"]]
    return [*named, *(["rows that were handed over"] if given["rows"] else [])]
