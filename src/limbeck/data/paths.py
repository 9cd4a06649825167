"""Where the files of a recipe's data lie.

A relative path is read from the folder that limbeck is started in. The folder that recipes call
../shared/data lies where the variable LIMBECK_DATA says.
"""

import os
from collections.abc import Mapping
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


def where_looked(options: Mapping[str, Any], error: str, beside: Path | None) -> str:
    """Where a path was looked for that an error says is missing, and the cure; empty for another.

    `options`: the keys of `data`. `error`: a message, in which `data.path: ` and the path stand.
    `beside`: the folder of the recipe, where a user may have expected it to be looked for.
    """
    for key, value in options.items():
        if not isinstance(value, str):
            continue
        path = relocate(value)
        looked_for = Path(path).expanduser()
        if f"data.{key}: `{path}`" not in error or looked_for.exists():
            continue
        told = [f"It was looked for at {os.path.abspath(looked_for)}."]
        if path != value:
            name = value.removeprefix(SHARED)
            told.append(
                f"LIMBECK_DATA names the folder that should hold {name}; for this recipe alone "
                f"write data.{key}=PATH behind it, the path of your own copy."
            )
        elif value.startswith(SHARED):
            # Whoever installed limbeck has the recipe, and not the folder beside its repository.
            name = value.removeprefix(SHARED)
            told.append(
                f"limbeck brings no data along. Where you have them, write data.{key}=PATH behind "
                f"the recipe, or set LIMBECK_DATA to the folder that holds {name}."
            )
        elif not looked_for.is_absolute():
            told.append(
                "A relative path is read from the folder that limbeck is started in, "
                "not from the recipe's."
            )
            found = beside / looked_for if beside else looked_for
            if found.exists():
                told.append(f"Beside the recipe it is there: data.{key}={os.path.relpath(found)}")
        return " ".join(told)
    return ""
