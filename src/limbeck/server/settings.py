"""What a server is told: the models, where it listens, and what it lets others do to it.

From the command line and, for what is set once and kept, a YAML file of the same names
(`limbeck serve --config FILE`).
"""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from limbeck.core import wording, yaml12

# Of a host, by name or by address, without scheme and port.
HOST = r"^[A-Za-z0-9._-]+$"
# Of an address to which spans are sent.
COLLECTOR = r"^https?://[^/\s]"
PERCENT = re.compile(r"[0-9]{1,2}(\.[0-9]{1,9})?%")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def beside_the_file(value: Any, info: ValidationInfo) -> Any:
    """A path of a file of settings, counted from the folder of that file (`info.context`)."""
    # What is typed is a Path by then, and counts from where it is typed.
    return info.context / value if isinstance(value, str) and info.context else value


FilePath = Annotated[Path, BeforeValidator(beside_the_file)]


class Strict(BaseModel):
    """A part of the settings: a key that it does not know is a mistake."""

    # Infinity, too: what waits for ever is no bound, and JSON, in which workers are told, has none.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    body_seconds: Annotated[float, Field(gt=0)] = 10.0
    body_rate: Annotated[float, Field(gt=0)] = 16_384.0
    bodies_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    header_seconds: Annotated[float, Field(gt=0)] = 10.0
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    longest_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    rows: Annotated[int, Field(ge=1)] = 256
    text_characters: Annotated[int, Field(ge=1)] = 1_000_000
    image_pixels: Annotated[int, Field(ge=1)] = 16_000_000
    rate: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(ge=1)] = 10


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
            raise ValueError(f"`shadow` is expected, or a share such as 0.05 or 5%, not {value!r}")
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
    verify_seconds: Annotated[float, Field(gt=0)] = 120.0
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    limits: Limits = Limits()
    logs: Logs = Logs()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_settings(config: Path | None, models: Sequence[str], told: dict[str, Any]) -> Settings:
    """The settings of a file, with those of the command line over them.

    Args:
        config: a YAML file; None for none.
        models: as `parse_model` reads them.
        told: other settings by name; None is not told.

    Raises ValueError for settings that are none, with the place and a cure.
    """
    content: dict[str, Any] = {}
    if config is not None:
        _, read = yaml12.load(text_of(config), str(config))
        read = read or {}
        if not isinstance(read, dict):
            raise ValueError(f"{config}: keys and values are expected, such as `workers: 2`")
        content = read
        if not isinstance(content.get("models") or {}, dict):
            raise ValueError(f"{config}: models: names are expected, as in {OF_A_MODEL}")
    # What is typed counts more than what was written down.
    content |= {name: value for name, value in told.items() if value is not None}
    named: dict[str, Hosted] = {}
    for each in models:
        name, hosted = parse_model(each)
        # The one before would be served by nobody, and nobody would be told.
        if name in named:
            cure = f"give one another name, as in NAME={each.removeprefix(f'{name}=')}"
            raise ValueError(f"two models are called {name!r}: {cure}")
        named[name] = hosted
    content["models"] = dict(content.get("models") or {}) | named
    try:
        settings = Settings.model_validate(content, context=config and config.parent)
    except ValidationError as error:
        raise ValueError("\n".join(mistakes(error, str(config or "serve")))) from None
    if not settings.models:
        raise ValueError("no model is named: `limbeck serve ARTIFACT`")
    # Those of the file have not been looked at yet.
    for name in settings.models:
        check_name(name)
    if not settings.is_local and settings.tokens is None:
        raise ValueError(
            f"--host {settings.host}: others can reach this address, and no one needs a token. "
            'Write a file of tokens (`python -c \'import secrets; print("me", '
            "secrets.token_urlsafe(32))' > tokens`) and name it: --tokens tokens"
        )
    return settings


# The parts of settings by the key that they stand under.
PARTS: dict[str, type[Strict]] = {
    "limits": Limits,
    "logs": Logs,
    "candidate": Candidate,
    "bounds": Bounds,
}


def text_of(path: Path) -> str:
    """What a file of settings holds. Raises ValueError where that is no UTF-8."""
    try:
        # Editors of Windows begin it with a mark, which is none of its characters.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 ({error.reason} at byte {error.start:,}). Save it as UTF-8"
        raise ValueError(f"{path}: {why}") from None


# What a value of a kind that pydantic tells in its own words is expected to be, by the setting.
CURES = {
    "hosts": "a name or an address without scheme and port is expected, such as ml.internal",
    "tracing": "the address of a collector is expected, such as http://127.0.0.1:4318",
}
OF_A_MODEL = "models: {NAME: {folder: FOLDER}}"


def mistakes(error: ValidationError, origin: str, whole: type[Strict] = Settings) -> list[str]:
    """A line for each mistake of settings: where it stands, and what is expected there.

    origin: whence the settings are. whole: what they are.
    """
    lines = []
    for each in error.errors():
        place = ".".join(str(part) for part in each["loc"])
        cure = each["msg"]
        if each["type"] == "extra_forbidden":
            *_, above, key = ("", *map(str, each["loc"]))
            # Below `models` stand names, and what is above a model's keys is one of them.
            is_of_model = each["loc"][0] == "models"
            part = PARTS.get(above, Hosted if is_of_model else whole)
            cure = f"there is no such setting. {wording.suggest(key, part.model_fields)}"
        elif each["type"] == "value_error":
            cure = str(each["ctx"]["error"])
        elif each["type"] == "string_pattern_mismatch":
            cure = CURES[str(each["loc"][0])]
        elif each["type"] == "model_type" and each["loc"][0] == "models":
            cure = f"the folder of its artifact is expected, as in {OF_A_MODEL}"
        lines.append(f"{origin}: {place}: {cure}")
    return lines


def parse_model(text: str) -> tuple[str, Hosted]:
    """(name, what it is) of `ARTIFACT`, `NAME=ARTIFACT` or `NAME=ARTIFACT,CANDIDATE:shadow`.

    Without a name, a model is called as its run: the folder above an artifact that is named so.

    Raises ValueError for a name that is none, and a share that is none.

    >>> parse_model("spam=run/artifact,new/artifact:5%")[1].candidate.share
    0.05
    """
    name, mark, folders = text.partition("=")
    # A folder may hold the mark, too.
    is_named = bool(mark) and "/" not in name
    live, comma, beside = (folders if is_named else text).partition(",")
    if not is_named:
        name = name_of(Path(live))
    check_name(name)
    candidate = parse_candidate(beside) if comma else None
    return name, Hosted(folder=Path(live), candidate=candidate)


def parse_candidate(text: str) -> Candidate:
    """A candidate as `FOLDER:shadow`, `FOLDER:5%`. Raises ValueError for any other."""
    folder, mark, how = text.rpartition(":")
    if mark and how == "shadow":
        return Candidate(folder=Path(folder))
    # `:5` alone could be meant as five requests.
    number = how.removesuffix("%")
    is_share = mark and how.endswith("%") and number.replace(".", "", 1).isdigit()
    if not is_share or not 0 < float(number) < 100:
        raise ValueError(
            f"{text!r}: a candidate is `FOLDER:shadow`, which is scored beside the model that "
            "answers, or `FOLDER:5%`, which answers that share"
        )
    return Candidate(folder=Path(folder), share=float(number) / 100)


def check_name(name: str) -> None:
    """Raise ValueError for what cannot be a model's name."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r}: a model's name begins with a letter or a digit, and has letters, digits, "
            "dots, dashes and underscores, at most 64. Name it, as in `limbeck serve "
            "spam=run/artifact`"
        )


def name_of(folder: Path) -> str:
    """What the model of an artifact's folder is called."""
    # A relative path such as `.` has no name of its own.
    resolved = folder.resolve()
    is_of_run = resolved.name == "artifact"
    return resolved.parent.name if is_of_run else resolved.name
