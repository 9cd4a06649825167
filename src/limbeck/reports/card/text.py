"""The card of an artifact, README.md in Markdown: what it is, how it is run, how good it is.

A pure function of report.json and of the artifact's files, without a date: the same run writes the
same bytes. What is measured in time (milliseconds) is that run's.
"""

import json
from pathlib import Path
from typing import Any

from limbeck.artifact.manifest import MANIFEST, plug_ins_of
from limbeck.core.files import read_json
from limbeck.reports.arms import shipped_arm
from limbeck.reports.card import facts
from limbeck.reports.card.program import program_of

Json = dict[str, Any]

FILE = "README.md"
FILES = {
    "labels.json": "the classes, in the order of the logits",
    "tokenizer.json": "how a text becomes tokens, and where it is cut",
    "preprocess.json": "how an image becomes a tensor",
    "decision.json": "temperature, thresholds and costs by which logits become answers",
    "reference.json": "how many validation rows had each label, confidence and length",
    "recipe.yaml": "the recipe of the training, every default written out",
    "golden.safetensors": "inputs and outputs that limbeck replays when it opens the folder",
    "manifest.json": "SHA-256 of every other file but this one, and the list of graphs",
}
PACKAGES = {"tokenizer.json": "tokenizers", "preprocess.json": "pillow"}
# Above this many the labels are in labels.json alone: a vocabulary has tens of thousands.
MOST_LABELS = 100


def card(report: Json, folder: Path) -> str:
    """The text of README.md.

    Args:
        report: report.json of the run that made the artifact.
        folder: the artifact's, which is taken for sound.
    """
    manifest = read_json(folder / MANIFEST)
    blocks = [
        _title(report, manifest),
        _without_limbeck(folder, manifest),
        _with_limbeck(),
        _quality(report),
        _block("What it was made of", [*facts.origins(report), *_labels(folder)]),
        _block("Limits", facts.limits(report)),
        _block("Speed and size", facts.speed(report)),
        _block("How to run it again", facts.again(report)),
        _block("Files", _table("file", "what it is", _files(folder, manifest))),
    ]
    return "\n\n".join(blocks) + "\n"


def _block(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", "", *lines])


def _title(report: Json, manifest: Json) -> str:
    """What it is, in a few words."""
    lines = [
        f"# {report['name']}",
        "",
        facts.verdict(report),
        "",
        f"A small model for {report['task'].replace('-', ' ')}, made by `limbeck`. This folder is "
        "complete, and answers without the code that made it.",
    ]
    packages = sorted(set(plug_ins_of(manifest["task"], manifest["graphs"]).values()))
    if packages:
        lines += ["", f"It is opened with {', '.join(packages)}, which must be installed beside."]
    return "\n".join(lines)


def _without_limbeck(folder: Path, manifest: Json) -> str:
    """A program that predicts with three packages, or why there is none."""
    program = program_of(folder)
    title = "Without limbeck"
    if not program.code:
        return _block(title, [*program.notes, "So there is no program here: take `limbeck`."])
    is_text = (folder / "tokenizer.json").is_file()
    package = PACKAGES["tokenizer.json" if is_text else "preprocess.json"]
    lines = [
        f"`pip install numpy onnxruntime {package}`, then in this folder:",
        *_fence("python", program.code),
        "",
        "It gives the answers of `limbeck predict`. "
        "It does not check what it is given, nor these files; limbeck refuses what is damaged, an "
        "empty text, a broken image.",
        *program.notes,
    ]
    return _block(title, lines)


def _with_limbeck() -> str:
    lines = [
        "Where limbeck is installed, `limbeck predict FOLDER FILE`, or in Python:",
        *_fence(
            "python",
            "import limbeck\n\n"
            'model = limbeck.load("path/to/this/folder")\n'
            "model.predict(...)  # a text, or the path or bytes of an image; or a list of these",
        ),
    ]
    return _block("With limbeck", lines)


def _quality(report: Json) -> str:
    """Reasons and figures: the artifact's own answers on the test split."""
    lines = facts.reasons(report)
    arms = report["arms"]
    # The teacher may itself be what is shipped.
    names = list(dict.fromkeys([shipped_arm(arms), "teacher"]))
    shown = [name for name in names if name in arms]
    lines += _rows(facts.metric_rows(report, shown))
    per_label = facts.label_rows(report)
    if per_label:
        lines += ["", *_rows(per_label)]
    return _block("How good it is", lines)


def _labels(folder: Path) -> list[str]:
    """The labels where there are few enough to read; an embedding has none."""
    labels = read_json(folder / "labels.json")
    if not 0 < len(labels) <= MOST_LABELS:
        return []
    text = json.dumps(labels, ensure_ascii=False)
    return ["", f"Labels ({len(labels)}), in the order of the logits:", *_fence("json", text)]


def _files(folder: Path, manifest: Json) -> dict[str, str]:
    """File -> what it is, of those that are there."""
    files = {
        f"`{graph['file']}`": f"the {graph['role']} graph for {graph['runtime']}"
        for graph in manifest["graphs"]
    }
    return files | {f"`{name}`": what for name, what in FILES.items() if (folder / name).exists()}


def _fence(language: str, text: str) -> list[str]:
    """A block of code, which a user's label with backquotes does not end."""
    mark = "```"
    while mark in text:
        mark += "`"
    return ["", f"{mark}{language}", text, mark]


def _table(left: str, right: str, rows: dict[str, str]) -> list[str]:
    return _rows([[left, right], *map(list, rows.items())])


def _rows(rows: list[list[str]]) -> list[str]:
    """The lines of a table, the first row its head."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    rule = "|---" * len(rows[0]) + "|"
    return [lines[0], rule, *lines[1:]]


def _cell(text: object) -> str:
    """Text that does not end its cell or line: a user's label may hold a bar."""
    return " ".join(str(text).replace("|", "\\|").splitlines())
