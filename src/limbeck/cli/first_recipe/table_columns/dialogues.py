"""Whether rows are dialogues, which a model learns to go on: lists of messages, or prompts and
their responses."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.sources._cells.messages import CONTENTS, SPEAKERS, MessageCells, message_columns
from limbeck.sources._column_names import LABEL_NAMES, pairs_in, plain
from limbeck.sources._table import LABEL

Record = Mapping[str, Any]

# Of the first rows, how many must be read without a mistake.
MOST_BAD = 0.5
# Words of a response, on average: fewer are a label, or a fact to be looked up.
FEWEST_WORDS = 4
# Of responses that are free texts at least so many differ.
FEWEST_DIFFERENT = 0.5
# Words of a column beside prompt and response: more are a text of which a response says something.
MOST_WORDS_BESIDE = 4
# What a message has beside who speaks and what is said; anything else may be a label of it.
BESIDE = ("name", "weight", "id", "timestamp", "time", "date")


def dialogue_columns(records: Sequence[Record]) -> dict[str, str] | None:
    """The keys of a source that reads rows as dialogues; None where they are something else."""
    header = list(records[0]) if records else []
    cells = message_columns(header, LABEL)
    if cells is None:
        return None
    others = [name for name in header if name not in cells.columns]
    if any(plain(name) in LABEL_NAMES for name in others):
        return None
    rows = [row for record in records if (row := _messages(cells, record))]
    if len(rows) < MOST_BAD * len(records):
        return None
    if cells.messages:
        if not _have_bare_turns(records, cells.messages):
            return None
        return {"messages": cells.messages}
    assert cells.prompt is not None and cells.response is not None
    # Rows of questions and answers are read as a search: one finds the other.
    if pairs_in([cells.prompt, cells.response]):
        return None
    beside = [[record.get(name) for record in records] for name in others]
    responses = [row[-1]["content"] for row in rows]
    are_free = len(set(responses)) >= FEWEST_DIFFERENT * len(responses)
    are_long = _mean_words(responses) >= FEWEST_WORDS
    has_context = any(_mean_words(column) > MOST_WORDS_BESIDE for column in beside)
    if not (are_free and are_long) or has_context:
        return None
    return {"prompt": cells.prompt, "response": cells.response}


def _messages(cells: MessageCells, record: Record) -> list[dict[str, str]]:
    """The messages of a record; none where it cannot be read."""
    try:
        messages: list[dict[str, str]] = cells.row(record, is_labelled=True)["messages"]
    except (ValueError, KeyError):
        return []
    return messages


def _have_bare_turns(records: Sequence[Record], column: str) -> bool:
    """Whether messages say who speaks and what, and nothing that may be a label."""
    known = {*SPEAKERS, *CONTENTS, *BESIDE}
    for record in records:
        turns = record.get(column)
        for turn in turns if isinstance(turns, list) else ():
            if not isinstance(turn, dict) or not set(turn) <= known:
                return False
    return True


def _mean_words(cells: Sequence[Any]) -> float:
    """How many words cells have on average; 0 of those that are no texts."""
    counts = [len(cell.split()) if isinstance(cell, str) else 0 for cell in cells]
    return sum(counts) / max(1, len(counts))


def told(keys: Mapping[str, str]) -> str:
    """What was seen, in a line of the recipe."""
    if "messages" in keys:
        return f"`{keys['messages']}` holds dialogues: what the assistant says is learned"
    return f"`{keys['prompt']}` is answered by `{keys['response']}`, which is learned"
