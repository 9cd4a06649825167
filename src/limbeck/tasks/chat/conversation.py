"""A conversation as it is sent: by OpenAI's clients, in a row of a file, or from Python.

What is no text is refused here, for a chat template would write it as Python prints it, and the
model would answer to `True` or `{'a': 1}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core.wording import json_kind, suggest
from limbeck.sources._cells.contents import MOST_MESSAGES, MOST_SHOWN, check_keys, content_of

# OpenAI's, in the order of their weight.
ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = ("role", "content")


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


def refuse_special_tokens(messages: Sequence[Mapping[str, str]], tokens: Sequence[str]) -> None:
    """Raise ValueError for a message that brings one of a tokenizer's special tokens: with it,
    whoever writes a message could end it and write the next in another's name."""
    # Some tokenizers have hundreds, and hardly a message has what they begin with.
    beginnings = {token[0] for token in tokens}
    for number, each in enumerate(messages, 1):
        content = each["content"]
        if not any(sign in content for sign in beginnings):
            continue
        for token in tokens:
            if token in content:
                raise ValueError(f"message {number} holds the special token {token}: remove it")
