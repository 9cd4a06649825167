"""The warnings of a training, kept beside its weights: reports of a reused one tell them too.

They are written when they are told, so that a killed training that goes on has those of before.
What it then tells a second time, with other figures, is kept once.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from limbeck.core.cache.store import Store
from limbeck.core.events import Event, Note
from limbeck.core.files import read_json, write_json
from limbeck.models.processes import process_index

WARNINGS = "warnings.json"  # in the folder of a training that told any
PREFIX = "warning: "
FIGURE = re.compile(r"\d[\d.e+-]*")


@contextlib.contextmanager
def keeping_warnings(store: Store, folder: Path) -> Iterator[None]:
    """Write what the `with` block tells of warnings into `folder`.

    The job of the training must be made within, since its watchers take the store's `tell`.
    """
    tell = store.tell

    def tell_and_keep(event: Event) -> None:
        tell(event)
        # All processes meet the same warnings; one writes.
        if isinstance(event, Note) and event.text.startswith(PREFIX) and process_index() == 0:
            _keep(event.text, folder)

    store.tell = tell_and_keep
    try:
        yield
    finally:
        store.tell = tell


def _keep(text: str, folder: Path) -> None:
    """Add a warning to those of a folder, unless it has it with other figures."""
    kept = warnings_of(folder)
    if FIGURE.sub("", text) not in [FIGURE.sub("", each) for each in kept]:
        write_json(folder / WARNINGS, [*kept, text])


def warnings_of(folder: Path) -> list[str]:
    """What the training told that left this folder."""
    path = folder / WARNINGS
    return read_json(path) if path.is_file() else []
