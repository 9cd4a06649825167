"""One request of HTTP: its headers, its body within bounds, and its answer.

Granian's RSGI interface stands below: it parses HTTP, closes sockets that are slow with their
headers, and hands over a scope and a protocol.
"""

import asyncio
import contextlib
import importlib
import math
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from limbeck.artifact.answers import to_json
from limbeck.server.requests.access import Token
from limbeck.server.requests.bodies import Bodies, Body
from limbeck.server.requests.refusals import Refused, bad_request, too_large
from limbeck.server.settings import Limits

JSON = "application/json"
# A body of so many bytes is taken in one piece: it is in a few packets. Nothing but the number of
# connections bounds how many of these wait at once.
SMALL_BODY = 16_384
# Of one that was refused so many bytes are read behind the answer.
DROPPED_BODY = 32 << 20
EARLY_SECONDS = 0.01
Header = tuple[str, str]
# version-trace-parent-flags
# of which ids of zeros alone, and the version ff, are none.
TRACE = re.compile("(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Python's `float` takes `1_0`, `inf` and the digits of every script, too. As many decimals as any
# language writes of a double.
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?")


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = JSON
    headers: Sequence[Header] = ()
    # What comes piece by piece, in place of a body.
    pieces: AsyncGenerator[bytes] | None = None


def is_json(content_type: str) -> bool:
    """Whether a body of this type is JSON; one of no type is taken for it."""
    return content_type in ("", JSON) or content_type.endswith("+json")


def is_long(body: bytes) -> bool:
    """Whether what a body holds may take so long that no work over it belongs into the event loop:
    a text of a megabyte takes seconds, whatever the model."""
    return len(body) > SMALL_BODY


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
        bodies: what the worker holds of all requests' bodies.
    """

    def __init__(
        self, scope: Any, protocol: Any, limits: Limits, number: str, bodies: Bodies
    ) -> None:
        self.scope = scope
        self.protocol = protocol
        self.limits = limits
        self.bodies = bodies
        self.held: Body | None = None
        # Whether some of its body has not been read, and whether that was waited for in vain.
        self.is_body_left = (
            "transfer-encoding" in scope.headers
            or (scope.headers.get("content-length") or "0") != "0"
        )
        self.is_given_up = False
        self.is_begun = False
        self.method: str = scope.method
        self.path: str = scope.path
        self.headers = scope.headers
        # Ids go into logs and metrics' exemplars: nobody may fill them with one.
        self.id = self.header("x-request-id")[:128] or number
        # What is found out on the way: who asks, the names in the address, and what answers.
        self.token: Token | None = None
        self.names: dict[str, str] = {}
        # Of a stream: the status that it would have, had the first byte waited for the last.
        self.ended: int | None = None
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

    def own_seconds(self) -> float | None:
        """How long it may take by its own word, `X-Request-Timeout` in seconds, up to the server's
        most; None where it says nothing.

        Raises Refused where that is no number above 0.
        """
        if "x-request-timeout" not in self.headers:
            return None
        # One that is there and empty was meant to say something.
        asked = self.header("x-request-timeout")
        seconds = float(asked) if SECONDS.fullmatch(asked) else 0.0
        if not seconds:
            raise bad_request(
                "X-Request-Timeout: seconds above 0 are expected, in digits such as 2.5 or 30, "
                f"not {asked[:40]!r}"
            )
        return min(seconds, self.limits.longest_timeout_seconds)

    async def read(self) -> tuple[bytes, float]:
        """(the whole body, the moment, by `time.monotonic`, until which its answer is of use).

        Raises Refused as `own_seconds` and `body`.
        """
        seconds = self.own_seconds()
        if seconds is None:
            # Who names no time is not charged for a slow connection, which has its own bound.
            content = await self.body()
            return content, time.monotonic() + self.limits.timeout_seconds
        until = time.monotonic() + seconds
        return await self.body(until), until

    async def body(self, until: float | None = None) -> bytes:
        """The whole body.

        until: the moment (`time.monotonic`) at which its sender gives it up; None where he has not
        said.

        Raises Refused for one that is too large (413), too slow (408), compressed (415), or that
        was cut short (400): nothing is answered to half a question.
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
            raise too_large(f"a body of {length:,} bytes: at most {most:,} are read")
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            if length is not None and length <= SMALL_BODY:
                content = await self.small_body(left)
            else:
                content = await self.large_body(length, left)
        except TimeoutError:
            # More time was given to it than it had.
            self.is_given_up = True
            raise self.too_slow(until) from None
        self.is_body_left = False
        return content

    def too_slow(self, until: float | None) -> Refused:
        """408: the body was not there in time."""
        why = (
            f"the body came too slowly: {self.limits.body_seconds:g} s are waited for it, and a "
            f"second more for each {self.limits.body_rate:,.0f} bytes; less where others need the "
            "room"
        )
        # The loop's clock has whole milliseconds: its timers are a little early.
        if until is not None and time.monotonic() >= until - EARLY_SECONDS:
            why = "the time of X-Request-Timeout was up before the body was there. Give it more"
        return Refused(HTTPStatus.REQUEST_TIMEOUT, why)

    async def small_body(self, left: float | None) -> bytes:
        """A body that is taken in one piece. left: seconds, by its sender. Raises TimeoutError, and
        Refused for one that breaks off."""
        from granian._granian import RSGIProtocolClosed, RSGIProtocolError

        loop = asyncio.get_running_loop()
        coming = self.protocol()
        seconds = self.limits.body_seconds
        # By a timer alone: `asyncio.timeout` takes five times as long, and most bodies are there.
        late = loop.call_later(seconds if left is None else min(seconds, left), coming.cancel)
        try:
            whole: bytes = await coming
            return whole
        except asyncio.CancelledError:
            # By the timer: nothing else gives a request up, until the loop itself ends.
            raise TimeoutError from None
        except (RSGIProtocolClosed, RSGIProtocolError):
            raise self.cut_short() from None
        finally:
            late.cancel()

    @property
    def is_closing(self) -> bool:
        """Whether its connection is closed with the answer: what is left of the body will not be
        read (`read_rest`)."""
        if not self.is_body_left:
            return False
        told = self.header("content-length")
        is_too_long = told.isdecimal() and int(told) > DROPPED_BODY
        # Who asks first whether to send it has sent nothing yet, and need not.
        is_unsent = not self.is_begun and bool(self.header("expect"))
        return self.is_given_up or is_too_long or is_unsent

    async def read_rest(self) -> None:
        """Read what is left of its body, behind the answer, and keep nothing of it.

        Who is still sending when his connection is closed does not see why he was refused, and who
        keeps it for the next request finds it closed. For so long, and of so many bytes.
        """
        if not self.is_body_left or self.is_closing:
            return
        left = DROPPED_BODY
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.body_seconds) as patience:
                # Nothing of it is held, and a server that stops does not wait for it.
                self.held = self.bodies.begin(patience)
                async for piece in self.coming():
                    left -= len(piece)
                    if left < 0:
                        break
        self.release()

    async def coming(self) -> AsyncIterator[bytes]:
        """The pieces of its body that have not been read."""
        # Granian's protocol is its own iterator, which can be begun once.
        if not self.is_begun:
            self.is_begun = True
            aiter(self.protocol)
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield await anext(self.protocol)

    async def large_body(self, length: int | None, left: float | None) -> bytes:
        """A body of many pieces: each that comes gives it more time.

        length: as its headers have it; None of one in chunks. left: seconds, by its sender. Raises
        Refused and TimeoutError.
        """
        most = self.limits.body_bytes
        began = asyncio.get_running_loop().time()
        last = math.inf if left is None else began + left
        until = began + self.limits.body_seconds
        # Not a list of pieces: a chunk may be one byte, and an object of Python takes 40.
        content = bytearray()
        empty = 0
        async with asyncio.timeout_at(min(until, last)) as patience:
            self.held = self.bodies.begin(patience)
            async for piece in self.coming():
                empty += not piece
                if len(content) + len(piece) > most:
                    raise too_large(f"a body of more than {most:,} bytes: at most so many are read")
                self.bodies.hold(self.held, len(piece))
                content += piece
                # As much time more as a sender of the least speed needs for what has come.
                patience.reschedule(min(until + len(content) / self.limits.body_rate, last))
        self.bodies.is_whole(self.held)
        # Granian ends every body by an empty piece, and gives one more for what breaks off (a
        # connection that is closed, a chunk that is none) and for trailers alike.
        is_odd = empty > 1 and not self.may_have_trailers
        if is_odd or (length is not None and len(content) != length):
            raise self.cut_short()
        return bytes(content)

    def cut_short(self) -> Refused:
        """400: the connection, or the encoding of the body, ended before the body did; or trailers
        came, which granian does not tell from that. What follows on the connection is no request.
        """
        self.is_given_up = True
        return bad_request(
            "the body was cut short: it ended before its headers or chunks say, or a chunk is "
            "none. Trailers are taken after JSON alone, and where a header `Trailer` names them"
        )

    @property
    def may_have_trailers(self) -> bool:
        """Whether fields may follow the last chunk of the body, which are not read (RFC 9112,
        7.1.2)."""
        # Of half an object of JSON its reader sees that it is half; of a text nobody does.
        return "trailer" in self.headers and is_json(self.content_type)

    def release(self) -> None:
        """Let go of its body: it was answered."""
        if self.held:
            self.bodies.release(self.held)

    async def answer(self, answer: Answer, *, is_last: bool) -> None:
        """Send the answer; `is_last`: and close the connection."""
        headers = [
            ("content-type", answer.content_type),
            # A browser takes it for what it is called, and for nothing else.
            ("x-content-type-options", "nosniff"),
            ("x-request-id", self.id),
        ]
        headers += answer.headers
        if is_last or self.is_closing:
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
