"""`limbeck cache`: what the cache holds, whether it is as it was written, and what may go."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from limbeck.core.cache.cache_folder import Found

ACTIONS = ("list", "verify", "prune")

Action = Annotated[str, typer.Argument(help="list, verify or prune.")]
OlderThan = Annotated[
    str | None,
    typer.Option(help="prune: what was not used for so long, such as 30d, 12h or 2w."),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        help="prune: those not used for longest, until the rest is so small: 20GB, 500MB."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="prune: say what would go, and stop.")]

# Seconds; a number alone is days.
AGES = {"h": 3600, "d": 86_400, "w": 604_800, "": 86_400}
# Bytes, as disks are sold; a number alone is bytes.
SIZES = {"tb": 10**12, "gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1, "": 1}

# The exit status of a cache in which something is wrong.
BROKEN = 1


def cache(
    action: Action = "list",
    older_than: OlderThan = None,
    max_size: MaxSize = None,
    dry_run: DryRun = False,
) -> None:
    """List, verify or prune the cache (LIMBECK_CACHE): stages that runs find again.

    `verify` reads every file, and exits with 1 where one is not as it was written; a run makes such
    a stage anew. `prune` never touches what a run is using.
    """
    from limbeck.core import wording
    from limbeck.core.cache.store import default_folder

    if action not in ACTIONS:
        raise ValueError(f"cache: there is no `{action}`. {wording.suggest(action, ACTIONS)}")
    if action != "prune" and (older_than or max_size or dry_run):
        raise ValueError(f"cache: --older-than, --max-size and --dry-run belong to prune: {action}")
    folder = default_folder()
    if action == "list":
        show(folder)
    elif action == "verify":
        verify(folder)
    else:
        prune(folder, older_than, max_size, is_rehearsal=dry_run)


def show(folder: Path) -> None:
    """Print each entry, the last used first, and the sum of each stage."""
    from limbeck.core.cache.cache_folder import WHOLE, found_in

    found = found_in(folder)
    for entry in reversed(found):
        state = "" if entry.state == WHOLE else f"  ({entry.state})"
        size = size_words(entry.num_bytes)
        typer.echo(f"{size:>9}  {age_words(entry.last_used):>8}  {entry.name}{state}")
    for stage in sorted({entry.stage for entry in found}):
        typer.echo(f"{stage}: {sum_words(entry for entry in found if entry.stage == stage)}")
    typer.echo(f"{folder}: {sum_words(found)}")


def verify(folder: Path) -> None:
    """Print what is wrong. Raises typer.Exit where something is."""
    from limbeck.core.cache.cache_folder import EARLIER, UNFINISHED, faults, found_in

    found = found_in(folder)
    num_checked = 0
    num_broken = 0
    for entry, problem in faults(folder):
        num_checked += 1
        if problem is not None:
            num_broken += 1
            typer.echo(f"{entry.name}: {problem}")
    others: list[str] = []
    for state in (UNFINISHED, EARLIER):
        count = sum(entry.state == state for entry in found)
        if count:
            others.append(f"; {count} {state}, not checked")
    typer.echo(f"{folder}: {num_checked} checked, {num_broken} broken{''.join(others)}")
    if num_broken:
        typer.echo("A run that needs a broken one makes it anew.")
        raise typer.Exit(BROKEN)


def prune(
    folder: Path,
    older_than: str | None,
    max_size: str | None,
    *,
    is_rehearsal: bool,
) -> None:
    """Remove what is old or too much. Raises ValueError where nothing says what that is."""
    from limbeck.core.cache import cache_folder

    if older_than is None and max_size is None:
        raise ValueError(
            "cache prune: say what may go: --older-than 30d (not used for so long), "
            "--max-size 20GB (what is left), or both"
        )
    age = None if older_than is None else measure(older_than, AGES, "--older-than 30d")
    size = None if max_size is None else int(measure(max_size, SIZES, "--max-size 20GB"))
    found = cache_folder.found_in(folder)
    going = cache_folder.doomed(found, older_than_seconds=age, most_bytes=size)
    if is_rehearsal:
        for entry in going:
            typer.echo(f"would go: {entry.name} ({size_words(entry.num_bytes)})")
        typer.echo(f"{folder}: {sum_words(going)} of {sum_words(found)} would go")
        return
    removed = cache_folder.remove(folder, going)
    typer.echo(f"{folder}: removed {sum_words(removed)} of {sum_words(found)}")
    if len(removed) < len(going):
        typer.echo(f"{len(going) - len(removed)} are kept: a run is using them")


def measure(text: str, units: dict[str, int], example: str) -> float:
    """A number with its unit, in seconds or bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)", text.strip().lower())
    unit = match[2] if match else None
    # `20G` is what others write.
    if unit in ("t", "g", "m", "k") and f"{unit}b" in units:
        unit = f"{unit}b"
    if match is None or unit not in units:
        words = ", ".join(word for word in units if word)
        raise ValueError(f"cache prune: `{text}` is no number with one of {words}. Say {example}")
    return float(match[1]) * units[unit]


def size_words(num_bytes: int) -> str:
    """Bytes in words."""
    for unit in ("GB", "MB", "kB"):
        size = SIZES[unit.lower()]
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"


def age_words(since: float) -> str:
    """How long ago, in words."""
    hours = (time.time() - since) / 3600
    if hours < 1:
        return "now"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"


def sum_words(found: "Iterable[Found]") -> str:
    """How many entries, and how large they are together."""
    sizes = [entry.num_bytes for entry in found]
    return f"{len(sizes)} entries, {size_words(sum(sizes))}"
