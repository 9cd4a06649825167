"""Dialogues from the cells of a record: a list of messages, or a prompt and its response."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.sources import Row
from limbeck.sources._cells.labels import written_list
from limbeck.sources._cells.record import NOTHING, Beside
from limbeck.sources._encodings import checked_unicode

# Where a recipe names no column. Every name is of a column that holds nothing else.
MESSAGES = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog")
PROMPTS = ("prompt", "instruction", "question", "input", "query")
RESPONSES = ("response", "completion", "answer", "output", "chosen")
# What who speaks, and what is said, are called in a message: OpenAI's way, ShareGPT's, and others'.
SPEAKERS = ("role", "from", "speaker", "author")
CONTENTS = ("content", "value", "text", "message", "utterance")
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "customer", "client", "prompter", "usr"), "user"),
    **dict.fromkeys(("assistant", "gpt", "agent", "bot", "model", "support", "sys"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
MOST_MESSAGES = 10_000


@dataclass(frozen=True)
class MessageCells:
    """Rows of messages.

    `messages`: the column of lists; or `prompt` and `response`: one column each.
    """

    messages: str | None = None
    prompt: str | None = None
    response: str | None = None
    beside: Beside = NOTHING

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        given = (self.messages, self.prompt, self.response)
        return [*(column for column in given if column), *self.beside.columns]

    def row(self, record: Mapping[str, Any], *, is_labelled: bool) -> Row:
        """The row of a record; it has an answer where `is_labelled`. Raises ValueError."""
        if self.messages:
            found = messages_of(record[self.messages], self.messages)
            where = self.messages
        else:
            where = str(self.response)
            prompt = str(self.prompt)
            found = [message("user", record[prompt], prompt)]
            if is_labelled:
                found.append(message("assistant", record[where], where))
        if is_labelled and not any(each["role"] == "assistant" for each in found):
            raise ValueError(
                f"{where}: no message of the assistant, so there is no answer to learn from. "
                "Remove the row, or put it into the split `unlabelled`"
            )
        return self.beside.added({"messages": found}, record)


def messages_of(cell: Any, column: str) -> list[dict[str, str]]:
    """The messages of a list, as `role` and `content`. Raises ValueError, naming the message."""
    given = listed(cell, column) if isinstance(cell, str) else cell
    if not isinstance(given, list | tuple):
        raise ValueError(
            f"{column}: a list of messages is needed, each an object of role and content"
        )
    if not given:
        raise ValueError(f"{column}: no message. Remove the row")
    if len(given) > MOST_MESSAGES:
        raise ValueError(
            f"{column}: {len(given):,} messages, and at most {MOST_MESSAGES:,} are read"
        )
    found = []
    for number, each in enumerate(given, 1):
        where = f"{column}: message {number}"
        if not isinstance(each, Mapping):
            raise ValueError(f"{where} is no object of role and content")
        speaker, content = first_of(each, SPEAKERS), first_of(each, CONTENTS)
        if speaker is None or content is None:
            raise ValueError(
                f"{where} has no {'role' if speaker is None else 'content'} (it has "
                f"{', '.join(map(str, each)) or 'nothing'})"
            )
        role = ROLES.get(str(each[speaker]).strip().lower())
        if role is None:
            raise ValueError(
                f"{where}: `{str(each[speaker])[:40]}` is no role that is known. "
                "Write system, user or assistant"
            )
        found.append(message(role, each[content], where))
    return found


def listed(text: str, column: str) -> list[Any]:
    """A list that a cell holds as a text, in JSON or as Python prints it. Raises ValueError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return written_list(text)
    except ValueError:
        raise ValueError(
            f"{column}: no list of messages. Write it as JSON: "
            '[{"role": "user", "content": "..."}, ...]'
        ) from None


def first_of(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the names that a record has."""
    return next((name for name in names if name in record), None)


def message(role: str, content: Any, where: str) -> dict[str, str]:
    """A message. Raises ValueError for a content that is empty or no text."""
    # NaN is what pandas reads from an empty cell.
    if content is None or content != content:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f"{where}: a text is needed, not {type(content).__name__}")
    if not content.strip():
        raise ValueError(f"{where} is empty. Fill it in, or remove the row")
    return {"role": role, "content": checked_unicode(where, content)}


def message_columns(header: Sequence[str], labels: Sequence[str]) -> MessageCells | None:
    """The columns of dialogues where no recipe names any; None where a header has none, or one that
    may be a label (`labels`): such rows are texts to classify."""
    if any(name in header for name in labels):
        return None
    messages = next((name for name in MESSAGES if name in header), None)
    if messages:
        return MessageCells(messages=messages)
    prompt = next((name for name in PROMPTS if name in header), None)
    response = next((name for name in RESPONSES if name in header), None)
    return MessageCells(prompt=prompt, response=response) if prompt and response else None
