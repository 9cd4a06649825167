"""Whether a run may write to a folder: what somebody else left there is not written over.

A run goes on in its own folder, and reports a finished run of the same recipe again. A folder that
holds the finished run of another recipe, an artifact, or files that no run wrote is refused, before
any work.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.core import wording
from limbeck.core.files import read_json
from limbeck.pipeline.preflight.compatibility import resolved
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import parse, write

# Of every run folder: it is written first and stays, so that it is there after a kill too. Windows
# removes it at the end, when there is a report.
LOCK = "run.lock"
RECIPE = "recipe.yaml"
REPORT = "report.json"

# What else a run writes over or removes.
WRITTEN = (
    RECIPE,
    REPORT,
    "report.html",
    "stages.json",
    "metrics.jsonl",
    "quarantine.jsonl",
    "artifact",
    "model",
)
MOST_SHOWN = 3  # keys in which two recipes differ
CURE = "Name another folder with --out, or say --overwrite to lose what is there"


def refuse_to_lose(recipe: Recipe, folder: Path) -> None:
    """Raise ValueError where a run of the recipe would write over what is not its own."""
    if (folder / "manifest.json").is_file():
        raise ValueError(
            f"{folder}: this is an artifact, and a run would write over some of its files. {CURE}"
        )
    asked = resolved(recipe)
    earlier = finished_recipe(folder)
    if earlier is not None:
        # Whoever watches a run changes nothing of it.
        watched = {"report_to": None}
        found = list(differences(earlier | watched, asked.dump() | watched))
        if found:
            raise ValueError(
                f"{folder}: holds the finished run of another recipe "
                f"({wording.some(found, MOST_SHOWN)}), whose report and artifact would be lost. "
                f"{CURE}"
            )
        return
    # A run that was interrupted: the same command goes on with it, and another has nothing to lose.
    if (folder / LOCK).is_file():
        return
    foreign = [name for name in WRITTEN if (folder / name).exists()]
    if foreign == [RECIPE] and (folder / RECIPE).read_bytes() == write(asked).encode():
        return
    if foreign:
        raise ValueError(
            f"{folder}: holds {wording.some(foreign)}, which no run of limbeck has written, and "
            f"this one would write over it. {CURE}"
        )


def refuse_cache(folder: Path, cache: Path) -> None:
    """Raise ValueError where a run would write among the stages of the cache."""
    here, stages = folder.resolve(), cache.resolve()
    if here == stages or stages in here.parents:
        where = "is" if here == stages else "lies in"
        raise ValueError(
            f"{folder}: {where} the cache ({cache}), where stages are pruned. Name another folder "
            "with --out, or another cache with LIMBECK_CACHE"
        )


def clear_leftovers(folder: Path) -> None:
    """Remove the half-written files of a run that was killed; whoever holds the lock may."""
    for name in WRITTEN:
        for leftover in folder.glob(f"{name}.*.tmp"):
            leftover.unlink(missing_ok=True)


def finished_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe, as plain data, of the finished run that the folder holds; None for none."""
    try:
        report = read_json(folder / REPORT)
        text = report["recipe"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    try:
        # Resolved anew: a key that is new in this version has its default there.
        return resolved(parse(text)).dump()
    except ValueError:
        # Of another version, or with plug-ins that are gone: no recipe of today is the same.
        return {}


def differences(earlier: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    """`train.epochs: 2 there, 3 here` for each key in which two recipes differ.

    >>> list(differences({"train": {"epochs": 2}}, {"train": {"epochs": 3}}))
    ['train.epochs: 2 there, 3 here']
    """
    there, here = dict(leaves(earlier)), dict(leaves(asked))
    for key in dict.fromkeys([*here, *there]):
        if there.get(key) != here.get(key):
            yield f"{key}: {there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here"


def leaves(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """(`train.epochs`, its value as text) of each key that holds no further keys."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", json.dumps(value, ensure_ascii=False)
