"""Under which licence a model's or a data set's folder is published, as far as a file there tells.

`license` in the YAML head of README.md, as the Hub has it, or in dataset_info.json; else the first
line of LICENSE, LICENCE or COPYING, which names the licence. Nothing is guessed: where no file
tells, it is not told.
"""

import json
from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
INFO = "dataset_info.json"
TEXTS = ("LICENSE", "LICENCE", "COPYING")
SUFFIXES = ("", ".txt", ".md")
# What is read of a file, in characters: heads are short, and a folder may hold anything.
MOST_READ = 100_000
MOST_SHOWN = 80


def licence_of(place: Path) -> str | None:
    """The licence that a file in a folder, or beside a file, tells; None where none does."""
    # A file has the licence of the folder that it lies in.
    folder = place if place.is_dir() else place.parent
    found = _told(_head(folder / CARD)) or _told(_json(folder / INFO))
    if found:
        return found
    for name in (f"{text}{suffix}" for text in TEXTS for suffix in SUFFIXES):
        lines = _read(folder / name).strip().splitlines()
        if lines:
            return f"{lines[0].strip('# ')[:MOST_SHOWN]} (`{name}`)"
    return None


def _told(content: Any) -> str | None:
    """What `license` says: a name, or several."""
    value = content.get("license") if isinstance(content, dict) else None
    # The Hub allows one name or a list of them.
    names = value if isinstance(value, list) else [value]
    told = [name.strip() for name in names if isinstance(name, str) and name.strip()]
    return ", ".join(told)[:MOST_SHOWN] or None


def _head(path: Path) -> Any:
    """The YAML between the first two lines `---` of a card."""
    # A rule further down the page is no head.
    begin, _, rest = _read(path).partition("---\n")
    head, end, _ = rest.partition("\n---")
    if begin.strip() or not end:
        return None
    try:
        # Safe: data alone, in which nothing can be run.
        return yaml.safe_load(head)
    except (yaml.YAMLError, ValueError):
        # A head that somebody wrote wrong tells nothing; it is no fault of the run's.
        return None


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path) or "null")
    except (ValueError, RecursionError):
        return None


def _read(path: Path) -> str:
    """The beginning of a text; nothing of what is no file, or cannot be read."""
    if not path.is_file():
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_READ)
    except OSError:
        return ""
