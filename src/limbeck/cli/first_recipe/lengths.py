"""How long a first recipe trains, from how many rows there are: steps, not epochs.

Three epochs of 250 short texts in batches of a thousand tokens are nine steps, after which nothing
is learned. Few rows take smaller batches and more epochs; of many the usual ones are enough.
"""

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.recipe_text import IMAGES, Guess, Length, usual_length
from limbeck.core import registry
from limbeck.data.splits import DRAWN_SHARES
from limbeck.evaluation.undertrained import ENOUGH_OF_EPOCH, ENOUGH_STEPS
from limbeck.recipe.model import Data
from limbeck.sources import BadRow, Row

# Larger data have steps enough, and would take a while to count.
MOST_BYTES = 20_000_000
MOST_FILES = 20_000
MOST_EPOCHS = 60
# By a rule of thumb for subword tokenizers: characters of a token, and special tokens of a row.
CHARACTERS_A_TOKEN = 4
SPECIAL_TOKENS = 2
# Rows of a batch below which batch norms and comparisons between rows have too little to go by.
FEWEST_IMAGES = 8


def length_for(guess: Guess) -> tuple[Length, str]:
    """How long to train on the data of a guess, and why, in words; no words where these are the
    usual lengths."""
    usual = usual_length(guess)
    rows, share = rows_of(guess)
    # Texts without labels are cut into rows of one length, as many as there are.
    if not rows or guess.task == "masked-lm":
        return usual, ""
    sizes = [1] * len(rows) if usual is IMAGES else [tokens_of(row) for row in rows]
    fewest = FEWEST_IMAGES if usual is IMAGES else max(sizes)
    # Padding is left out: it makes steps more, not fewer.
    total = round(share * sum(sizes))
    budget = min(usual.budget, max(fewest, total // ENOUGH_OF_EPOCH))
    of_epoch = math.ceil(total / budget)
    needed = min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS / of_epoch))
    length = Length(budget, max(usual.teacher, needed), max(usual.student, needed))
    if length == usual:
        return usual, ""
    return length, (
        f"{round(share * len(rows)):,} rows to train on: smaller batches and more epochs than "
        f"usual, for about {of_epoch * length.teacher:,} steps"
    )


def rows_of(guess: Guess) -> tuple[Sequence[Row], float]:
    """The rows of train, and the share of them that no other split will be drawn from.

    No rows where the data are large, or cannot be read as they are, which `limbeck check` says with
    the reason.
    """
    if weight(guess.path) > MOST_BYTES:
        return [], 1.0
    asked = Data.model_validate({"source": guess.source, "path": str(guess.path), **guess.options})

    def leave_out(row: BadRow) -> None:
        """A row that cannot be used is counted by nobody here."""

    try:
        source = registry.create("sources", asked.source, asked.options)
        splits = source.read(leave_out)
    except (OSError, ValueError):
        return [], 1.0
    share = 1.0
    for name, drawn in DRAWN_SHARES.items():
        if not splits.get(name):
            share *= 1 - drawn
    return splits.get("train", []), share


def weight(path: Path) -> int:
    """Bytes of a file, or of the files below a folder, as far as it matters."""
    if not path.is_dir():
        return path.stat().st_size
    files = list(islice((file for file in path.rglob("*") if file.is_file()), MOST_FILES))
    # So many may be millions, which take long to look at.
    if len(files) == MOST_FILES:
        return MOST_BYTES + 1
    return sum(file.stat().st_size for file in files)


def tokens_of(row: Row) -> int:
    """About how many tokens a row of texts or words has."""
    texts = row["words"] if "words" in row else [row["text"], row.get("text_b", "")]
    return SPECIAL_TOKENS + math.ceil(sum(map(len, texts)) / CHARACTERS_A_TOKEN)
