"""A conversation as it is sent: by OpenAI's clients, in a row of a file, or from Python.

What is no text is refused here, for a chat template would write it as Python prints it, and the
model would answer to `True` or `{'a': 1}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core.wording import json_kind, suggest
from limbeck.sources._encodings import checked_unicode

# OpenAI's, in the order of their weight.
ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = ("role", "content")
PART_KEYS = ("type", "text")
# Of a conversation, and parts of a message: more are more tokens than any open model reads.
MOST_MESSAGES = 4096
# Of a role or a key, in a message of ours.
MOST_SHOWN = 60


def conversation(given: Any) -> list[dict[str, str]]:
    """The messages as chat templates read them: each a role, and a content that is one text.

    Raises ValueError for what is none, with the number and the role of the message.

    >>> conversation([{"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": None}])
    [{'role': 'user', 'content': 'Hi'}]
    """
    expected = f"`messages`: a list of 1 to {MOST_MESSAGES:,} objects with `role` and `content`"
    if not isinstance(given, list | tuple):
        raise ValueError(f"{expected} is expected, not {json_kind(given)}")
    if not 0 < len(given) <= MOST_MESSAGES:
        raise ValueError(f"{expected} is expected, and this one has {len(given):,}")
    return [message(each, f"message {number}") for number, each in enumerate(given, 1)]


def message(given: Any, where: str) -> dict[str, str]:
    """One message; `where`: what messages of ours call it. Raises ValueError."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: an object with `role` and `content`, not {json_kind(given)}")
    role = given.get("role")
    if role not in ROLES:
        shown = f"`{role[:MOST_SHOWN]}`" if isinstance(role, str) else json_kind(role)
        raise ValueError(f"{where}: its role is {shown}. {suggest(str(role)[:MOST_SHOWN], ROLES)}")
    where = f"{where} ({role})"
    check_keys(given, KEYS, where)
    return {"role": role, "content": content_of(given.get("content"), f"{where}: content")}


def content_of(given: Any, where: str) -> str:
    """A content as one text, whose parts are lines, as vLLM and llama.cpp join them. Raises
    ValueError."""
    if isinstance(given, str):
        return checked_unicode(where, given)
    if not isinstance(given, list | tuple):
        kind = json_kind(given)
        raise ValueError(f'{where}: a text, or a list of {{"type": "text"}} parts, not {kind}')
    if not 0 < len(given) <= MOST_MESSAGES:
        raise ValueError(f"{where}: 1 to {MOST_MESSAGES:,} parts, and there are {len(given):,}")
    return "\n".join(part_of(part, f"{where}[{place}]") for place, part in enumerate(given))


def part_of(given: Any, where: str) -> str:
    """The text of a part. Raises ValueError for another, such as an image."""
    is_text = isinstance(given, Mapping) and given.get("type") == "text"
    if not is_text or not isinstance(given.get("text"), str):
        kind = given.get("type") if isinstance(given, Mapping) else None
        shown = f"a part of type `{kind[:MOST_SHOWN]}`" if isinstance(kind, str) else "this"
        raise ValueError(
            f'{where}: {shown} is no text: {{"type": "text", "text": "..."}} is expected'
        )
    check_keys(given, PART_KEYS, where)
    return checked_unicode(where, given["text"])


def check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise ValueError for a key that would be left unread. What says nothing may be there: an
    answer of OpenAI's comes back with `tool_calls`, `refusal` and others that are empty."""
    says = (key for key, value in given.items() if key not in known and value not in (None, []))
    unread = next(says, None)
    if unread is not None:
        shown = str(unread)[:MOST_SHOWN]
        raise ValueError(f"{where}: `{shown}` is not done here. {suggest(shown, known)}")
