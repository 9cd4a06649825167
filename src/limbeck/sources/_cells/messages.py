"""Dialogues from the cells of a record: a list of messages, or a prompt and its response."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.sources import Row
from limbeck.sources._cells.contents import content_of
from limbeck.sources._cells.labels import written_list
from limbeck.sources._cells.record import NOTHING, Beside

# Where a recipe names no column. Every name is of a column that holds nothing else.
MESSAGES = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog")
PROMPTS = ("prompt", "instruction", "question", "input", "query")
RESPONSES = ("response", "completion", "answer", "output", "chosen")
# Beside a prompt, what it is about (Alpaca's `input`, Dolly's `context`): a part of the question.
MATERIALS = ("input", "context")
# Before all messages; and the turns before a prompt, as pairs of a question and its answer.
SYSTEM, HISTORY = "system", "history"
MORE = (*MATERIALS, SYSTEM, HISTORY)
# What who speaks, and what is said, are called in a message: OpenAI's way, ShareGPT's, and others'.
SPEAKERS = ("role", "from", "speaker", "author")
CONTENTS = ("content", "value", "text", "message", "utterance")
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "customer", "client", "prompter", "usr"), "user"),
    **dict.fromkeys(("assistant", "gpt", "agent", "bot", "model", "support", "sys"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
# Keys of a message that would be left unread, and what they are.
UNREAD = {
    "name": "which of several speakers this is",
    "tool_calls": "calls of tools",
    "function_call": "a call of a function",
    "refusal": "what is said instead of the content",
    "audio": "sound",
    "reasoning_content": "reasoning before the answer",
}
MOST_MESSAGES = 10_000


@dataclass(frozen=True)
class MessageCells:
    """Rows of messages.

    `messages`: the column of lists; or `prompt` and `response`: one column each. `more`: those of
    MORE that a file has, which are read with them; one that the recipe reads as a group or a slice
    is not among them.
    """

    messages: str | None = None
    prompt: str | None = None
    response: str | None = None
    beside: Beside = NOTHING
    more: tuple[str, ...] = ()

    def with_beside(self, header: Sequence[str], beside: Beside) -> "MessageCells":
        """The same, with what else a file of these columns has."""
        bare = replace(self, beside=beside, more=())
        return replace(bare, more=tuple(bare.more_of(header)))

    def more_of(self, names: Iterable[str]) -> list[str]:
        """Those of the columns `names` that are read beside the messages, in the order of MORE."""
        known = (SYSTEM,) if self.messages else MORE
        taken = (self.messages, self.prompt, self.response, *self.beside.columns)
        there = set(names).difference(taken)
        return [name for name in known if name in there]

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        given = (self.messages, self.prompt, self.response)
        return [*(column for column in given if column), *self.more, *self.beside.columns]

    def row(self, record: Mapping[str, Any], *, is_labelled: bool) -> Row:
        """The row of a record; it has an answer where `is_labelled`. Raises ValueError."""
        # Of this record: the first one of a file need not have all columns.
        more = {name: record[name] for name in self.more_of(record) if not is_nothing(record[name])}
        if self.messages:
            found = messages_of(record[self.messages], self.messages)
            where = self.messages
        else:
            where = str(self.response)
            prompt = str(self.prompt)
            found = question_of(record[prompt], prompt, more)
            if is_labelled:
                found += answer_of(record[where], where)
        if SYSTEM in more:
            found.insert(0, message("system", more[SYSTEM], SYSTEM))
        if is_labelled and not any(each["role"] == "assistant" for each in found):
            raise ValueError(
                f"{where}: no message of the assistant, so there is no answer to learn from. "
                "Remove the row, or put it into the split `unlabelled`"
            )
        return self.beside.added({"messages": found}, record)


def question_of(cell: Any, prompt: str, more: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages before an answer, of a prompt that is a text or, as in TRL, a list of messages.

    `more`: the cells beside it, by their columns. Raises ValueError.
    """
    materials = {name: more[name] for name in MATERIALS if name in more}
    earlier = turns_of(more[HISTORY]) if HISTORY in more else []
    if not isinstance(cell, list | tuple):
        parts = {prompt: cell} | materials
        texts = [message("user", part, name)["content"] for name, part in parts.items()]
        return [*earlier, {"role": "user", "content": "\n\n".join(texts)}]
    if materials or earlier:
        name = next(iter(materials), HISTORY)
        raise ValueError(f"{name}: where it stands is unknown beside a list of messages, {prompt}")
    found = messages_of(cell, prompt)
    if any(each["role"] == "assistant" for each in found):
        raise ValueError(
            f"{prompt}: an answer stands in it, which would be learned too. Write the whole "
            "dialogue as `messages`, where every answer is learned"
        )
    return found


def answer_of(cell: Any, response: str) -> list[dict[str, str]]:
    """The answer, of a response that is a text or a list of messages. Raises ValueError."""
    if not isinstance(cell, list | tuple):
        return [message("assistant", cell, response)]
    found = messages_of(cell, response)
    if found[0]["role"] != "assistant":
        raise ValueError(
            f"{response}: its first message is of the role {found[0]['role']}, and an answer is "
            "expected. Write the whole dialogue as `messages`"
        )
    return found


def turns_of(cell: Any) -> list[dict[str, str]]:
    """The messages of a history: pairs of a question and its answer. Raises ValueError."""
    pairs = listed(cell, HISTORY) if isinstance(cell, str) else cell
    if not isinstance(pairs, list | tuple) or not all(is_pair(pair) for pair in pairs):
        raise ValueError(
            f"{HISTORY}: pairs of a question and its answer are needed. Write the whole dialogue "
            "as `messages`"
        )
    found = []
    for number, (question, answer) in enumerate(pairs, 1):
        where = f"{HISTORY}: pair {number}"
        found += [message("user", question, where), message("assistant", answer, where)]
    return found


def is_pair(given: Any) -> bool:
    """Whether it is a list of two."""
    return isinstance(given, list | tuple) and len(given) == 2


def is_nothing(cell: Any) -> bool:
    """Whether a cell says nothing: none, NaN, blanks, or an empty list."""
    if isinstance(cell, str):
        return not cell.strip()
    # NaN is what pandas reads from an empty cell.
    return cell is None or cell != cell or (isinstance(cell, list | tuple) and not cell)


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
        check_read(each, where)
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
        # OpenAI's key of an answer that is read and not learned.
        if role == "assistant" and each.get("weight") not in (None, 1):
            raise ValueError(
                f"{where}: `weight: {each['weight']}`: every answer is learned, and as much as "
                "any other. Remove this answer with its question, or the key"
            )
        found.append(message(role, each[content], where))
    return found


def check_read(given: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a key of a message that says something and would be left unread."""
    for key, what in UNREAD.items():
        if key in given and not is_nothing(given[key]):
            raise ValueError(
                f"{where}: `{key}` ({what}) is not read. Write what is to be learned into the "
                "content and remove the key, or remove the row"
            )


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
    """A message. Raises ValueError for a content that is empty, or neither text nor parts."""
    if is_nothing(content):
        raise ValueError(f"{where} is empty. Fill it in, or remove the row")
    if not isinstance(content, str | list | tuple):
        raise ValueError(f"{where}: a text is needed, not {type(content).__name__}")
    text = content_of(content, where)
    if not text.strip():
        raise ValueError(f"{where} is empty. Fill it in, or remove the row")
    return {"role": role, "content": text}


def message_columns(header: Sequence[str], labels: Sequence[str]) -> MessageCells | None:
    """The columns of dialogues where no recipe names any; None where a header has none, or one that
    may be a label (`labels`): such rows are texts to classify."""
    if any(name in header for name in labels):
        return None
    messages = next((name for name in MESSAGES if name in header), None)
    if messages:
        return MessageCells(messages=messages).with_beside(header, NOTHING)
    prompt = next((name for name in PROMPTS if name in header), None)
    response = next((name for name in RESPONSES if name in header), None)
    if not (prompt and response):
        return None
    return MessageCells(prompt=prompt, response=response).with_beside(header, NOTHING)
