"""Lists of choices, as an error message shows them."""

import difflib
from collections.abc import Sequence
from typing import Any

MOST = 24  # choices that a message lists


def suggest(word: str, choices: Any) -> str:
    """'Did you mean `kl`? Choices: ...' for an error message."""
    listed = [str(choice) for choice in choices]
    close = difflib.get_close_matches(word, listed, n=1)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    more = f", and {len(listed) - MOST} more" if len(listed) > MOST else ""
    return f"{hint}Choices: {', '.join(listed[:MOST]) or 'none'}{more}"


def some(words: Sequence[str], most: int = 12) -> str:
    """The first few of many words."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
