"""The settings of a server as they are read: of a file, with what is typed over them, and each
mistake at its place."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from limbeck.core import wording, yaml12
from limbeck.recipe.origin import Origin
from limbeck.server.requests.expected import EXPECTED, expected, shown
from limbeck.server.settings import (
    NAME,
    Bounds,
    Candidate,
    Hosted,
    Limits,
    Logs,
    Settings,
    Strict,
    text_of,
)


def read_settings(config: Path | None, models: Sequence[str], told: dict[str, Any]) -> Settings:
    """The settings of a file, with those of the command line over them.

    Args:
        config: a YAML file; None for none.
        models: as `parse_model` reads them.
        told: other settings by name; None is not told.

    Raises ValueError for settings that are none, with the place and a cure.
    """
    root, content = read_file(config)
    # What is typed counts more than what was written down.
    typed = {name: value for name, value in told.items() if value is not None}
    named = named_models(models)
    content = content | typed | {"models": dict(content.get("models") or {}) | named}
    wrong: list[Mistake]
    try:
        settings = Settings.model_validate(content, context=config and config.parent)
        wrong = list(contradictions(settings))
    except ValidationError as error:
        wrong = mistakes(error)
    if wrong:
        origin = Origin(root)
        # Of what is typed there is no line.
        lines = [
            f"--{path[0]}: {why}" if path[0] in typed else origin.locate(path, why)
            for path, why in wrong
        ]
        raise ValueError("\n".join(lines))
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


def read_file(config: Path | None) -> tuple[yaml.Node | None, dict[str, Any]]:
    """What a file of settings holds, with its places. Raises ValueError where that is no YAML of
    keys and values."""
    if config is None:
        return None, {}
    root, content = yaml12.load(text_of(config), str(config))
    content = content or {}
    if not isinstance(content, dict):
        raise ValueError(f"{config}: keys and values are expected, such as `workers: 2`")
    if not isinstance(content.get("models") or {}, dict):
        why = f"names are expected, as in {OF_A_MODEL}"
        raise ValueError(Origin(root).locate(["models"], why))
    return root, content


def named_models(models: Sequence[str]) -> dict[str, Hosted]:
    """The models of a command line, by name. Raises ValueError."""
    named: dict[str, Hosted] = {}
    for each in models:
        name, hosted = parse_model(each)
        # The one before would be served by nobody, and nobody would be told.
        if name in named:
            cure = f"give one another name, as in NAME={each.removeprefix(f'{name}=')}"
            raise ValueError(f"two models are called {name!r}: {cure}")
        named[name] = hosted
    return named


# Where a mistake is, and what is expected there.
Mistake = tuple[list[str], str]


def contradictions(settings: Settings) -> Iterator[Mistake]:
    """Settings that are right by themselves, and have no sense beside others."""
    limits = settings.limits

    def at(*names: str) -> list[str]:
        # The one that was written down: the other is as it always is.
        given = (name for name in names if name in limits.model_fields_set)
        return ["limits", next(given, names[0])]

    if limits.rate is None and "burst" in limits.model_fields_set:
        why = "it is how many requests of `rate` may come at once, and no `rate` is given"
        yield at("burst"), f"{why}. Add one, such as rate: 50, or leave this out"
    if limits.rate is not None and settings.tokens is None:
        why = "requests are counted by their token, and none is needed here"
        yield at("rate"), f"{why}. Name a file of tokens (`tokens`), or leave this out"
    if limits.timeout_seconds > limits.longest_timeout_seconds:
        why = f"timeout_seconds ({limits.timeout_seconds:g}) is what a request may take that names "
        why += "no time, and more than any may name (longest_timeout_seconds: "
        why += f"{limits.longest_timeout_seconds:g}). Lower the one, or raise the other"
        yield at("timeout_seconds", "longest_timeout_seconds"), why
    if limits.body_bytes > limits.bodies_bytes:
        why = f"body_bytes ({limits.body_bytes:,}) is of one body, and more than all together may "
        why += f"have (bodies_bytes: {limits.bodies_bytes:,}). Lower the one, or raise the other"
        yield at("body_bytes", "bodies_bytes"), why


# The parts of settings by the key that they stand under.
PARTS: dict[str, type[Strict]] = {
    "limits": Limits,
    "logs": Logs,
    "candidate": Candidate,
    "bounds": Bounds,
}


# What a value of a kind that pydantic tells in its own words is expected to be, by the setting.
CURES = {
    "hosts": "a name or an address without scheme and port is expected, such as ml.internal",
    "tracing": "the address of a collector is expected, such as http://127.0.0.1:4318",
}
OF_A_MODEL = "models: {NAME: {folder: FOLDER}}"
# What is expected in place of a value, by pydantic's kinds of mistakes and their bounds.
OF_SETTINGS = {
    **EXPECTED,
    "list_type": "a list, such as [ml.internal],",
    "path_type": "a path",
}
A_PART = "a part with keys, such as {%s},"
EXAMPLES = {
    "limits": "queue: 64",
    "logs": "requests: true",
    "candidate": "folder: FOLDER",
    "bounds": "rows: 1000",
}


def mistakes(error: ValidationError, whole: type[Strict] = Settings) -> list[Mistake]:
    """Each mistake of settings: where it stands, and what is expected there; whole: what they
    are."""
    found = []
    for each in error.errors():
        path = [str(part) for part in each["loc"]]
        *_, above, key = ("", *path)
        # Below `models` stand names, and what is above a model's keys is one of them.
        is_of_model = path[0] == "models"
        if each["type"] == "extra_forbidden":
            part = PARTS.get(above, Hosted if is_of_model else whole)
            why = f"there is no such setting. {wording.suggest(key, part.model_fields)}"
        elif each["type"] == "value_error":
            why = str(each["ctx"]["error"])
        elif each["type"] == "string_pattern_mismatch":
            why = CURES[path[0]]
        elif each["type"] == "missing":
            why = f"it is missing, as in {OF_A_MODEL}" if is_of_model else "it is missing"
        elif each["type"] == "model_type" and is_of_model and key not in PARTS:
            why = f"the folder of its artifact is expected, as in {OF_A_MODEL}"
        elif each["type"] in OF_SETTINGS:
            what = expected(each, OF_SETTINGS)
            if each["type"] == "model_type":
                what = A_PART % EXAMPLES.get(key, "KEY: VALUE")
            why = f"{what} is expected, not {shown(each['input'])}"
        else:
            why = each["msg"]
        found.append((path, why))
    return found


def parse_model(text: str) -> tuple[str, Hosted]:
    """(name, what it is) of `ARTIFACT`, `NAME=ARTIFACT` or `NAME=ARTIFACT,CANDIDATE:shadow`.

    Without a name, a model is called as its run: the folder above an artifact that is named so.

    Raises ValueError for a name that is none, and a share that is none.

    >>> parse_model("spam=run/artifact,new/artifact:5%")[1].candidate.share
    0.05
    """
    name, mark, folders = text.partition("=")
    # A folder may hold the mark, too; one that is there is meant.
    is_named = bool(mark) and "/" not in name and not Path(text.partition(",")[0]).is_dir()
    live, comma, beside = (folders if is_named else text).partition(",")
    if not is_named:
        name = name_of(Path(live))
        check_name(name, f"NAME={text}")
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
            "answers, or `FOLDER:5%`, which answers that share: above 0% and below 100%"
        )
    return Candidate(folder=Path(folder), share=float(number) / 100)


def check_name(name: str, cure: str = "spam=run/artifact") -> None:
    """Raise ValueError for what cannot be a model's name; cure: an argument that names one."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r}: a model's name begins with a letter or a digit, and has letters, digits, "
            f"dots, dashes and underscores, at most 64. Name it, as in `limbeck serve {cure}`"
        )


def name_of(folder: Path) -> str:
    """What the model of an artifact's folder is called."""
    # A relative path such as `.` has no name of its own.
    resolved = folder.resolve()
    is_of_run = resolved.name == "artifact"
    return resolved.parent.name if is_of_run else resolved.name
