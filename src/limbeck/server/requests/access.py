"""Who may ask: tokens in a file, and how often each.

```
# name  token  [admin]
shop    Zx1v...
ops     q8Rf...  admin
```
A token is sent as `Authorization: Bearer TOKEN`. It is compared in constant time, by its SHA-256,
with all of the file. `admin` may change models. The file is read again at a reload (SIGHUP), which
is how a token is revoked.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from limbeck.server.processes.board import Board
from limbeck.server.requests.refusals import Refused
from limbeck.server.settings import Limits, text_of

FEWEST_CHARACTERS = 16  # of a token: shorter ones can be guessed
MOST_CHARACTERS = 1000  # no header of a request holds much more
MOST_TOKENS = 1000
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Token:
    """One that may ask."""

    name: str
    digest: bytes
    is_admin: bool


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file. Raises ValueError for a line that is none, by its number."""
    tokens: dict[bytes, Token] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        # What follows a `#` is a remark.
        words = line.split("#")[0].split()
        if not words:
            continue
        place = f"{path}, line {number}"
        if len(words) not in (2, 3) or words[2:] not in ([], ["admin"]):
            raise ValueError(f"{place}: `NAME TOKEN` is expected, or `NAME TOKEN admin`")
        if len(words[1]) < FEWEST_CHARACTERS:
            raise ValueError(f"{place}: a token has at least {FEWEST_CHARACTERS} characters")
        # No header holds others: nobody could ever send it.
        if not (words[1].isascii() and words[1].isprintable()):
            raise ValueError(f"{place}: a token has letters, digits and signs of ASCII alone")
        if len(words[1]) > MOST_CHARACTERS:
            raise ValueError(f"{place}: a token has at most {MOST_CHARACTERS:,} characters")
        token = Token(words[0], digest_of(words[1]), len(words) == 3)
        # Who it is, and whether it may change models, would hang on the order of lines.
        twin = tokens.setdefault(token.digest, token)
        if twin is not token:
            raise ValueError(
                f"{place}: {token.name!r} has the token of {twin.name!r}: make one for each"
            )
    if not tokens:
        raise ValueError(f"{path}: no token is in this file: nobody could ask")
    if len(tokens) > MOST_TOKENS:
        raise ValueError(f"{path}: {len(tokens):,} tokens, and at most {MOST_TOKENS:,} are read")
    return list(tokens.values())


def digest_of(token: str) -> bytes:
    """What tokens are compared by: of one length, whatever theirs is."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


class Access:
    """Lets requests in.

    Args:
        tokens: those that may ask; None where everybody may.
        limits: `rate` and `burst` of each token.
        board: where all workers note when a token may ask again.
    """

    def __init__(self, tokens: Sequence[Token] | None, limits: Limits, board: Board) -> None:
        self.tokens = tokens
        self.limits = limits
        self.board = board
        # Where the board holds when a token may ask again.
        self.places = {token: board.place_of_key(token.digest) for token in tokens or []}

    def token_of(self, authorization: str) -> Token | None:
        """Who asks, by the header; None where everybody may.

        Raises Refused (401) for no token, or one that is not in the file.
        """
        if self.tokens is None:
            return None
        kind, _, given = authorization.partition(" ")
        digest = digest_of(given.strip())
        found = None
        # All are compared, so that the time does not tell which one came near.
        for token in self.tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is None or kind.lower() != "bearer":
            why = "this token is not known here, or was revoked"
            if kind.lower() != "bearer":
                why = "a token is needed: send `Authorization: Bearer TOKEN`"
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                why,
                (("www-authenticate", "Bearer"),),
            )
        return found

    def count(self, token: Token | None) -> None:
        """Let one more request of a token in, by the generic cell rate algorithm (ITU-T I.371).

        Raises Refused (429) where it asks too often.
        """
        if token is None or self.limits.rate is None:
            return
        # Each request moves the moment on at which the next one is due.
        gap = round(NANOSECONDS / self.limits.rate)
        now = time.monotonic_ns()
        due = max(self.board.shared[self.places[token]], now)
        early = due - now - (self.limits.burst - 1) * gap
        if early > 0:
            seconds = max(1, -(-early // NANOSECONDS))
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.limits.rate:g} requests a second are let in with one token",
                (("retry-after", str(seconds)),),
            )
        self.board.shared[self.places[token]] = due + gap

    def require_admin(self, token: Token | None) -> None:
        """Raise Refused (403) for one that may not change models."""
        if token is None or not token.is_admin:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "models are changed with a token that the file of tokens calls `admin`",
            )
