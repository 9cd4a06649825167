"""Why a request of the protocol is not answered."""

from http import HTTPStatus
from typing import Any

from limbeck.core.wording import json_kind

# Characters of a value that a message repeats: a name may have a megabyte.
MOST_SHOWN = 40


class InvalidRequest(ValueError):
    """A request that cannot be answered as it was sent.

    Args:
        why: a sentence for who sent it: what is wrong, where, and what to send instead.
        status: of HTTP: 400, or 413 where more was sent than is read.
    """

    def __init__(self, why: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(why)
        self.status = int(status)


def too_large(why: str) -> InvalidRequest:
    """413: more was sent, or asked for, than is taken at once."""
    return InvalidRequest(why, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def shown(value: Any) -> str:
    """A value of JSON for a message: a number or a short text as it is, of another its kind.

    >>> shown("text"), shown([1]), shown(-1), shown(None)
    ("'text'", 'a list', '-1', 'null')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}...")
    # To Python `true` is an int; its integers may have thousands of digits.
    is_number = type(value) in (int, float)
    return repr(value) if is_number else json_kind(value)
