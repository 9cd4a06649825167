"""Where the folder lies that recipes call ../shared/data: the variable LIMBECK_DATA says it."""

import os
from pathlib import Path
from typing import Any

SHARED = "../shared/data/"


def relocate(path: str) -> str:
    """A path below ../shared/data, moved to the folder of LIMBECK_DATA; any other as it is."""
    base = os.environ.get("LIMBECK_DATA")
    if not base or not path.startswith(SHARED):
        return path
    return str(Path(base) / path.removeprefix(SHARED))


def relocated(options: dict[str, Any]) -> dict[str, Any]:
    """A source's keys, each text among them through `relocate`."""
    found = {}
    for key, value in options.items():
        found[key] = relocate(value) if isinstance(value, str) else value
    return found
