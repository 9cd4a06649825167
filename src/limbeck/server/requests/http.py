"""One request of HTTP: its headers, its body within bounds, and its answer.

Granian's RSGI interface stands below: it parses HTTP, closes sockets that are slow with their
headers, and hands over a scope and a protocol.
"""

import asyncio
import contextlib
import importlib
import math
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from limbeck.artifact.answers import to_json
from limbeck.server.requests.access import Token
from limbeck.server.requests.refusals import Refused, bad_request, too_large
from limbeck.server.settings import Limits

JSON = "application/json"
# A body of so many bytes is taken in one piece: it is in a few packets.
SMALL_BODY = 65_536
# One that is too large is read to its end, up to so many bytes, before it is refused.
DROPPED_BODY = 32 << 20
Header = tuple[str, str]
# version-trace-parent-flags
TRACE = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = JSON
    headers: Sequence[Header] = ()
    # What comes piece by piece, in place of a body.
    pieces: AsyncGenerator[bytes] | None = None


def json_answer(value: Any, status: int = HTTPStatus.OK, headers: Sequence[Header] = ()) -> Answer:
    """Plain data as JSON; numbers that are not finite become null."""
    return Answer(encoded(value), status, JSON, headers)


def encoded(value: Any) -> bytes:
    """Plain data as JSON."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # Half of a character pair, such as a label may have, is no text for orjson.
        return to_json(value).encode()


def refusal(error: Refused) -> Answer:
    """A refusal as JSON, as the Open Inference Protocol has it: `{"error": ...}`."""
    return json_answer({"error": error.why}, error.status, error.headers)


class Request:
    """What was asked.

    Args:
        scope, protocol: granian's.
        limits: of the server.
        number: an id for a request that brings none.
    """

    def __init__(self, scope: Any, protocol: Any, limits: Limits, number: str) -> None:
        self.scope = scope
        self.protocol = protocol
        self.limits = limits
        self.method: str = scope.method
        self.path: str = scope.path
        self.headers = scope.headers
        # Ids go into logs and metrics' exemplars: nobody may fill them with one.
        self.id = self.header("x-request-id")[:128] or number
        # What is found out on the way: who asks, the names in the address, and what answers.
        self.token: Token | None = None
        self.names: dict[str, str] = {}
        self.model = self.version = ""

    def header(self, name: str) -> str:
        """A header's value; nothing where it is not there."""
        value: str = self.headers.get(name) or ""
        return value

    @property
    def content_type(self) -> str:
        """What the body is said to be, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def trace(self) -> str:
        """The trace that it is a part of (W3C Trace Context); nothing where it is of none."""
        # What is none is not passed on into logs.
        match = TRACE.fullmatch(self.header("traceparent"))
        return match[1] if match else ""

    def seconds(self) -> float:
        """How long it may take, from `X-Request-Timeout` in seconds, up to the server's most.

        Raises Refused where that is no number above 0.
        """
        asked: str | None = self.headers.get("x-request-timeout")
        # One that is there and empty was meant to say something.
        if asked is None:
            return self.limits.timeout_seconds
        # NaN, which compares as nothing does, is refused below.
        try:
            seconds = float(asked)
        except ValueError:
            seconds = math.nan
        if not seconds > 0:
            raise bad_request(f"X-Request-Timeout: seconds above 0 are expected, not {asked[:40]}")
        return min(seconds, self.limits.longest_timeout_seconds)

    async def body(self) -> bytes:
        """The whole body.

        Raises Refused for one that is too large (413), too slow (408) or compressed (415).
        """
        # A few kB of a compressed body can be gigabytes.
        encoding = self.header("content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding {encoding[:40]}: bodies are read as they are. Send it plain",
            )
        # Refused without being kept, where the length is told; the parser holds it to that.
        told = self.header("content-length")
        length = int(told) if told.isdecimal() else None
        most = self.limits.body_bytes
        if length is not None and length > most:
            if length <= DROPPED_BODY:
                await self.drop_body()
            raise too_large(f"a body of {length:,} bytes: at most {most:,} are read")
        try:
            if length is not None and length <= SMALL_BODY:
                return await self.small_body()
            async with asyncio.timeout(self.limits.body_seconds) as patience:
                return await self.large_body(patience)
        except TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body came too slowly: {self.limits.body_seconds:g} s, and a second more for "
                f"each {self.limits.body_rate:,.0f} bytes, are waited for it",
            ) from None

    async def small_body(self) -> bytes:
        """A body that is taken in one piece. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        coming = self.protocol()
        # By a timer alone: `asyncio.timeout` takes five times as long, and most bodies are there.
        late = loop.call_later(self.limits.body_seconds, coming.cancel)
        try:
            whole: bytes = await coming
            return whole
        except asyncio.CancelledError:
            # By the timer: nothing else gives a request up, until the loop itself ends.
            raise TimeoutError from None
        finally:
            late.cancel()

    async def drop_body(self) -> None:
        """Read a body and keep nothing of it: who is still sending when the connection is closed
        does not see why he was refused."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.body_seconds):
                async for _ in self.protocol:
                    pass

    async def large_body(self, patience: asyncio.Timeout) -> bytes:
        """A body of many pieces: each that comes gives it more time. Raises Refused."""
        most = self.limits.body_bytes
        until = patience.when() or 0.0
        pieces = []
        size = 0
        async for piece in self.protocol:
            size += len(piece)
            if size > most:
                raise too_large(f"a body of more than {most:,} bytes: at most so many are read")
            pieces.append(piece)
            # As much time more as a sender of the least speed needs for what has come.
            patience.reschedule(until + size / self.limits.body_rate)
        return b"".join(pieces)

    async def answer(self, answer: Answer, *, is_last: bool) -> None:
        """Send the answer; `is_last`: and close the connection."""
        headers = [("content-type", answer.content_type), ("x-request-id", self.id)]
        headers += answer.headers
        if is_last:
            # The next request comes by a connection of whoever listens then.
            headers.append(("connection", "close"))
        if answer.pieces is None:
            self.protocol.response_bytes(int(answer.status), headers, answer.body)
            return
        await self.send_pieces(answer.pieces, int(answer.status), headers)

    async def send_pieces(
        self, pieces: AsyncGenerator[bytes], status: int, headers: list[Header]
    ) -> None:
        """Send an answer as it comes, until it ends or nobody reads it."""
        # Its type stubs are behind its code.
        closed: Any = importlib.import_module("granian.rsgi").ProtocolClosed
        transport = self.protocol.response_stream(status, headers)
        # Who leaves closes the connection: then no further piece is made.
        async with contextlib.aclosing(pieces):
            with contextlib.suppress(closed):
                async for piece in pieces:
                    await transport.send_bytes(piece)
