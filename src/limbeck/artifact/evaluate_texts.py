"""What an artifact that writes texts scores on dialogues or plain texts: the likelihood of their
answers, and what its own greedy answers are worth.

Rows are read as those of training were: by the source of the artifact's recipe, or by the suffix of
the file. Of a folder with a test split that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.generation.greedy import greedy_answers
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import recipe_data
from limbeck.core import registry
from limbeck.evaluation.compare import Judged
from limbeck.evaluation.generated.figures import figures_of, variety_of
from limbeck.evaluation.scores import told_quality
from limbeck.sources import OnBadRow, Row
from limbeck.sources._cells.messages import message_columns
from limbeck.sources.text import SUFFIXES
from limbeck.tasks import Scored
from limbeck.tasks.inputs.questions import prompt_of, questions_of, tokens_of_answer
from limbeck.tasks.text_generation import TextGeneration

TEST = "test"
# Sources of files that may hold dialogues or texts, by which a suffix is looked up.
SOURCES = ("jsonl", "csv", "tsv", "parquet", "text")
# Of questions that are answered: half a width of .1 of an interval of a share.
MOST_QUESTIONS = 100
# Keys of a recipe's `data` that name what lies in its own folder.
OF_THE_FOLDER = ("path", "train", "validation", "test", "unlabelled", "split")


def evaluate_texts(predictor: Predictor, rows: Sequence[Row]) -> dict[str, Any]:
    """The figures of an artifact on rows with their answers, ready for JSON.

    Returns `rows`, `units` (tokens of answers), `metric`, `metrics` and `ci95`, as `evaluate` has
    them, intervals by documents; `written`: `questions`, `most_tokens`, the figures of greedy
    answers, and of the `data`'s own.

    Raises ValueError where there is no row, and for one that the model cannot read, with its
    number.
    """
    task = predictor.task
    assert isinstance(task, TextGeneration)
    if not rows:
        raise ValueError("no row to evaluate: every one is bad, or there is none")
    scored, documents = likelihoods(predictor, task, rows)
    return {
        "rows": len(rows),
        "units": len(scored.labels),
        "metric": task.metric,
        "metrics": told_quality(scored, task),
        "ci95": Judged([scored], task, documents).intervals(),
        "written": written_by(predictor, task, rows),
        "unknown_labels": {},
    }


def likelihoods(
    predictor: Predictor, task: TextGeneration, rows: Sequence[Row]
) -> tuple[Scored, np.ndarray]:
    """What the task keeps of the answers to each part of the rows, and the document of each."""
    kept: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    documents: list[int] = []
    for number, row in enumerate(rows):
        try:
            parts = task.encode([row])
        except ValueError as error:
            reason = str(error).removeprefix("row 1: ")
            raise ValueError(f"row {number + 1}: {reason}") from None
        # A document that is longer than the model reads comes in several parts.
        for part in parts:
            logits = predictor.computed(part)
            kept.append(task.reduce(logits, part.labels))
            labels.append(part.labels)
            documents.append(number)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in labels])])
    scored = Scored(np.concatenate(kept), np.concatenate(labels), offsets)
    return scored, np.array(documents)


def written_by(
    predictor: Predictor, task: TextGeneration, rows: Sequence[Row]
) -> dict[str, Any] | None:
    """What the artifact's greedy answers are worth; None where no row leaves room for one."""
    model = text_model_of(predictor)
    assert model is not None, "its task was looked at"
    positions = model.decoder.positions
    questions = questions_of(rows, task.input, positions, MOST_QUESTIONS)
    if not questions:
        return None
    most_tokens = tokens_of_answer(positions)
    prompts = [prompt_of(question, task.input).tolist() for question in questions]
    references = [question.reference for question in questions]
    answers = greedy_answers(model.decoder, model.tokenizer, prompts, model.end_ids, most_tokens)
    return {
        "questions": len(questions),
        "most_tokens": most_tokens,
        **figures_of(list(answers), references),
        "data": variety_of(references),
    }


def rows_of_texts(predictor: Predictor, source: str, on_bad_row: OnBadRow) -> list[Row]:
    """The rows of a file or a folder. Raises ValueError for a path that cannot be read."""
    path = Path(source)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    recipe = recipe_data(predictor.folder)
    name = source_of(path, recipe)
    allowed = {each.name for each in fields(registry.load("sources", name)) if each.init}
    named = allowed - set(OF_THE_FOLDER)
    # Columns are named for the recipe's own format; another one has others.
    keys = {key: value for key, value in recipe.items() if key in named}
    if name != recipe.get("source"):
        keys = {}
    splits = registry.create("sources", name, {"path": str(path), **keys}).read(on_bad_row)
    rows: list[Row] = splits.get(TEST) or splits["train"]
    return rows


def source_of(path: Path, recipe: Mapping[str, Any]) -> str:
    """The source that reads a path: the recipe's, or that of the file's suffix. Raises ValueError
    for a suffix that none reads."""
    usual = str(recipe.get("source") or "")
    known = usual if usual in SOURCES else "jsonl"
    if path.is_dir():
        return known
    for name in dict.fromkeys((known, *SOURCES)):
        if path.suffix.lower() in suffixes_of(name):
            return name
    raise ValueError(
        f"{path}: dialogues and texts are read from .jsonl, .csv, .tsv, .parquet and .txt"
    )


def suffixes_of(name: str) -> tuple[str, ...]:
    """The suffixes of a source's files."""
    if name == "text":
        return SUFFIXES
    suffixes: tuple[str, ...] = registry.load("sources", name).suffixes
    return suffixes


def rows_from_dicts(given: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of Python: dicts of `messages`, of `prompt` and `response`, or of `text`. Raises
    ValueError for one that is none of these, with its number."""
    rows: list[Row] = []
    for number, record in enumerate(given, 1):
        cells = message_columns(list(record), ())
        try:
            if cells is not None:
                rows.append(cells.row(record, is_labelled=True))
            elif isinstance(record.get("text"), str) and record["text"].strip():
                rows.append({"text": record["text"]})
            else:
                raise ValueError("messages, prompt and response, or a text are needed")
        except ValueError as error:
            raise ValueError(f"rows:{number}: {error}") from None
    return rows
