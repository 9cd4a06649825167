"""What a message says, in a row of a file or in a request: a text, or parts that are texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.core.wording import json_kind, suggest
from limbeck.sources._encodings import checked_unicode

PART_KEYS = ("type", "text")
# Of a conversation, and parts of a message: more are more tokens than any open model reads.
MOST_MESSAGES = 4096
# Of a role or a key, in a message of ours.
MOST_SHOWN = 60


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
