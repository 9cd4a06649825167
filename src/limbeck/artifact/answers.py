"""Answers that leave: a line for every row, in its order, written as JSON lines or as csv.

A line holds `line` (the row's number), `input`, the row's other columns, and what the task decodes,
or `error`. A column of the row that is called as one of these comes back as `given_NAME`.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from limbeck.artifact.predictor import SORTED_BATCHES, Predictor
from limbeck.artifact.rows.inputs import Item
from limbeck.artifact.rows.records import SURROGATE
from limbeck.sources import Row
from limbeck.tasks import Encoded

Json = dict[str, Any]

# Beside the answer's own keys.
NAMES = ("file", "line", "input", "error")
# What a program reads as a decision of the artifact, whether this one makes any or not.
OF_DECISIONS = ("abstain", "set", "confidence")
# The last column of a csv: the columns of a row that its first row did not have, as JSON.
OTHERS = "others"


def answer_lines(
    predictor: Predictor, items: Iterable[Item], batch_size: int, *, one_by_one: bool
) -> Iterator[Json]:
    """An answer line for every item.

    one_by_one: answer after each batch, for who waits for it. Else as many rows are read ahead as
    are sorted by length (16 batches), which makes batches faster.
    """
    taken = names_taken(answer_keys(predictor))
    remaining = iter(items)
    ahead = batch_size if one_by_one or batch_size == 1 else batch_size * SORTED_BATCHES
    while part := list(islice(remaining, ahead)):
        answers = _answered(predictor, part, batch_size)
        for item, answer in zip(part, answers, strict=True):
            yield line_of(item, answer, taken)


def names_taken(keys: Iterable[str]) -> set[str]:
    """What no other column of a line may be called. keys: of the answers."""
    return {*NAMES, *OF_DECISIONS, *keys}


def answer_keys(predictor: Predictor) -> list[str]:
    """The keys that this artifact's answers may have, in their order."""
    examples: list[Any] = [np.zeros((8, 8), np.uint8)]
    if not predictor.reads_images:
        examples = ["a", ("a", "a")]
    keys: list[str] = []
    for example in examples:
        try:
            keys += predictor.predict(example)
        except ValueError:  # such as a pair, for a task that reads one text
            continue
    return list(dict.fromkeys(keys))


def _answered(predictor: Predictor, items: Sequence[Item], batch_size: int) -> list[Json]:
    """The answer, or the error, of each item."""
    answers: list[Json] = [{"error": item.problem} for item in items]
    rows: dict[int, Row] = {}
    encoded: list[Encoded] = []
    for place, item in enumerate(items):
        if item.problem:
            continue
        try:
            row = predictor.row(item.raw)
            encoded.append(predictor.encoded(row))
            rows[place] = row
        except ValueError as error:
            answers[place] = {"error": str(error)}
    try:
        logits = predictor.batch_logits(encoded, batch_size)
        for (place, row), of_row in zip(rows.items(), logits, strict=True):
            answers[place] = predictor.answer(row, of_row)
    except ValueError as error:
        # One row ended its batch: which one, each alone says.
        if len(items) == 1 and batch_size == 1:
            return [{"error": str(error)}]
        return [answer for item in items for answer in _answered(predictor, [item], 1)]
    return answers


def line_of(item: Item, answer: Json, taken: set[str]) -> Json:
    """An answer with its row's number, input and other columns; one that is called as one of
    `taken` becomes `given_NAME`."""
    line: Json = {"file": item.file} if item.file else {}
    line |= {"line": item.line, "input": item.shown}
    for name, value in item.others.items():
        key = str(name)
        while key in taken or key in line:
            key = f"given_{key}"
        line[key] = value
    return line | answer


def to_json(value: Any) -> str:
    """A value as JSON of one line, readable by every program.

    NaN and infinity, for which JSON has no word, become null, half of a character pair U+FFFD, and
    what is no plain data (a date, bytes) a text.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, default=str)
    return SURROGATE.sub("\ufffd", text)


def _finite(value: Any) -> Any:
    """A value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    is_number = isinstance(value, float)
    return None if is_number and not math.isfinite(value) else value


def json_lines(lines: Iterable[Json]) -> Iterator[str]:
    """The lines of a JSON Lines file."""
    for line in lines:
        yield to_json(line) + "\n"


def csv_lines(lines: Iterable[Json], keys: Sequence[str]) -> Iterator[str]:
    """The lines of a csv with a header (RFC 4180). What is no text or number stands as JSON.

    keys: of the artifact's answers. The other columns are those of the first row.
    """
    columns: list[str] = []
    for line in lines:
        if not columns:
            columns = list(dict.fromkeys([*line, *keys, "error", OTHERS]))
            columns.sort(key=lambda name: name in (*keys, "error", OTHERS))
            yield _csv_line(columns)
        others = {name: value for name, value in line.items() if name not in columns}
        cells = [line.get(name) for name in columns[:-1]]
        yield _csv_line([*cells, others or None])


def _csv_line(cells: Sequence[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return SURROGATE.sub("\ufffd", file.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        return to_json(value)
    return value
