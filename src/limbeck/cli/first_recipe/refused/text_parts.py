"""Texts in several folders that each hold the same classes, as Enron-Spam lies in enron1/ham,
enron1/spam, enron2/ham, ...: the parts would be taken for the classes.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources._image_layout import Placed

MADE = "classes"  # the folder that a command makes, below that of the data
SHOWN = 5


def refuse_parts_of_texts(folder: Path, texts: Sequence[Placed]) -> None:
    """Raise ValueError where every class holds folders of the same names, with the command that
    puts the folders of one name together."""
    below: dict[str, set[str]] = {}
    for text in texts:
        if text.label:
            below.setdefault(text.label, set()).add(text.group or "")
    shared = set.intersection(*below.values()) if below else set()
    # People and documents are numbered, and may have the same numbers in every class.
    are_named = len({re.sub(r"[0-9]+", "", name) for name in shared}) > 1
    if "" in shared or not are_named or any(inner != shared for inner in below.values()):
        return
    first = next(text for text in texts if text.label)
    parts = PurePosixPath(first.name).parts
    base = PurePosixPath(*parts[: parts.index(str(first.label))]).as_posix()
    code = (
        f"import os, shutil; b = {json.dumps(base)}; "
        f'[shutil.copytree(os.path.join(b, p, c), os.path.join("{MADE}", c, p)) '
        f"for p in {json.dumps(sorted(below))} for c in {json.dumps(sorted(shared))}]"
    )
    raise ValueError(
        f"{folder}: each of the folders {some(sorted(below), SHOWN)} holds "
        f"{some(sorted(shared), SHOWN)}, which look like the classes. Give one of these folders: "
        f"{command('init', folder / base / min(below))}. Or put the texts of a class together, in "
        f"that folder: {script(code)} && {command('init', MADE)}"
    )
