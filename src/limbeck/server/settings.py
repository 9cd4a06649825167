"""What a server is told: the models, where it listens, and what it lets others do to it.

From the command line and, for what is set once and kept, a YAML file of the same names
(`limbeck serve --config FILE`).
"""

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

# Of a host, by name or by address, without scheme and port.
HOST = r"^[A-Za-z0-9._-]+$"
# Of an address to which spans are sent.
COLLECTOR = r"^https?://[^/\s]"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PERCENT = re.compile(r"[0-9]{1,2}(\.[0-9]{1,9})?%")
# Of a time, thirty years: clocks of the system end some way beyond. Of a token's rate, one in three
# hours, and at once: the moment at which the last is due is counted in 64 bits, in nanoseconds.
MOST_SECONDS = 1e9
LEAST_RATE = 1e-4
MOST_BURST = 100_000
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]


def beside_the_file(value: Any, info: ValidationInfo) -> Any:
    """A path of a file of settings, counted from the folder of that file (`info.context`)."""
    # What is typed is a Path by then, and counts from where it is typed.
    return info.context / value if isinstance(value, str) and info.context else value


FilePath = Annotated[Path, Field(strict=False), BeforeValidator(beside_the_file)]


class Strict(BaseModel):
    """A part of the settings: a key that it does not know is a mistake."""

    # Infinity, too: what waits for ever is no bound, and JSON, in which workers are told, has none.
    # Strict: `port: true` is not the port 1, and who writes `workers: "2"` may mean something else.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Limits(Strict):
    """The most that is taken from others. Counts are of the whole server, not of a worker.

    - `queue`: requests that wait for an answer; one more is told 429.
    - `connections`: that are open at once; one more waits until another is closed.
    - `body_bytes`: of one request. `body_seconds`: until it has come whole, and a second more for
      each `body_rate` bytes. `bodies_bytes`: of all bodies together that are coming, or whose
      requests wait; where they are more, the one that has been coming for longest is given up.
    - `header_seconds`: until a request's headers have come.
    - `timeout_seconds`: from its whole body until a request that names no `X-Request-Timeout` is
      answered (one that does counts from its headers);
      `longest_timeout_seconds`: the most that one may name.
    - `rows`: of one request. `text_characters`: of one text.
    - `image_pixels`: of one image. To unpack it takes up to 28 bytes for each.
    - `rate`: requests a second of one token, and `burst`: how many may come at once; no bound where
      `rate` is left out.
    """

    queue: Annotated[int, Field(ge=1)] = 128
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 4_096
    body_bytes: Annotated[int, Field(ge=1)] = 2_000_000
    body_seconds: Seconds = 10.0
    body_rate: Annotated[float, Field(gt=0)] = 16_384.0
    bodies_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    header_seconds: Seconds = 10.0
    timeout_seconds: Seconds = 10.0
    longest_timeout_seconds: Seconds = 60.0
    rows: Annotated[int, Field(ge=1)] = 256
    text_characters: Annotated[int, Field(ge=1)] = 1_000_000
    image_pixels: Annotated[int, Field(ge=1)] = 16_000_000
    rate: Annotated[float, Field(ge=LEAST_RATE)] | None = None
    burst: Annotated[int, Field(ge=1, le=MOST_BURST)] = 10


class Bounds(Strict):
    """When a candidate takes the live model's place, or goes, by itself; looked at once `rows` were
    answered by both.

    - `agreement`: the share of rows to which both answer the same.
    - `slowdown`: the candidate's seconds a row over the live model's.
    - `promote`: it takes the place where both are kept; else it only stays.

    Where one is broken, or the candidate fails on a row that the live model answers, it goes.
    """

    rows: Annotated[int, Field(ge=1)] = 1000
    agreement: Annotated[float, Field(gt=0, le=1)] = 0.98
    slowdown: Annotated[float, Field(gt=0)] = 1.5
    promote: bool = False


class Candidate(Strict):
    """A model beside the one that answers: `shadow` scores it, a share in (0, 1) answers by it."""

    folder: FilePath
    share: float | Literal["shadow"] = "shadow"
    bounds: Bounds | None = None

    @field_validator("share", mode="before")
    @classmethod
    def check_share(cls, value: Any) -> Any:
        """`shadow`, or a share, of which `5%` is written as on the command line. Raises ValueError
        for any other."""
        number = value
        if isinstance(value, str) and PERCENT.fullmatch(value):
            number = float(value[:-1]) / 100
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if value != "shadow" and not (is_number and 0 < number < 1):
            share = "a share above 0 and below 1, such as 0.05 or 5%,"
            raise ValueError(
                f"`shadow` is expected, or {share} not {json.dumps(value, default=str)}"
            )
        return number


class Hosted(Strict):
    """A model of the server, by its name: the folder of its artifact, and a candidate beside it."""

    folder: FilePath
    candidate: Candidate | None = None


class Logs(Strict):
    """What is logged, as lines of JSON on standard error: `requests`, each of them, and else only
    those that fail; `inputs`, the texts themselves."""

    requests: bool = False
    inputs: bool = False


class Settings(Strict):
    """All that a server is told.

    - `models`: by name. `runtime`: in which their graphs run; the artifact's first where None.
    - `host`, `port`: where it listens; port 0 is one that is free.
    - `workers`: processes, each of which computes one answer at a time. `threads`: of the CPU, for
      one answer.
    - `tokens`: the file of those that may ask (`access`). Any address but loopback needs one.
    - `hosts`: names by which a server without tokens is called, beside those of this machine (a
      proxy's in front of it): a request by another name is refused (`requests.hosts`).
    - `tracing`: the address of a collector of OpenTelemetry (OTLP over HTTP), which gets a span for
      each request.
    - `verify_seconds`: the most that a new artifact may take until it is open and has replayed its
      golden inputs.
    - `drain_seconds`: the most that requests under way may take once the server is to stop.
    """

    models: dict[str, Hosted]
    runtime: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    tokens: FilePath | None = None
    hosts: list[Annotated[str, Field(pattern=HOST)]] = []
    tracing: Annotated[str, Field(pattern=COLLECTOR)] | None = None
    verify_seconds: Seconds = 120.0
    drain_seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)] = 30.0
    limits: Limits = Limits()
    logs: Logs = Logs()

    @field_validator("host")
    @classmethod
    def bare_host(cls, value: str) -> str:
        """An address of IPv6 without the brackets that it has in front of a port."""
        return value[1:-1] if value.startswith("[") and value.endswith("]") else value

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def text_of(path: Path) -> str:
    """What a file of settings holds. Raises ValueError where that is no UTF-8."""
    try:
        # Editors of Windows begin it with a mark, which is none of its characters.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 ({error.reason} at byte {error.start:,}). Save it as UTF-8"
        raise ValueError(f"{path}: {why}") from None
