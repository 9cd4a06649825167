"""How long a first recipe trains, from how many rows there are: steps, not epochs.

Three epochs of 250 short texts in batches of a thousand tokens are nine steps, after which nothing
is learned. Few rows take smaller batches and more epochs; of many the usual ones are enough.

A student takes half as many steps again as its teacher: it is cheaper, and the second half of them
is quantized.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from limbeck.cli.first_recipe.recipe_text import (
    IMAGES,
    MOST_PIECES,
    TEXT_GENERATION,
    Guess,
    Length,
    usual_length,
)
from limbeck.cli.first_recipe.tokens import TokenCount, choose_reader, counted
from limbeck.core import registry
from limbeck.core.files import paths_below
from limbeck.data.splits import DRAWN_SHARES
from limbeck.evaluation.undertrained import ENOUGH_OF_EPOCH, ENOUGH_STEPS
from limbeck.recipe.model import Data, Quantize
from limbeck.sources import BadRow, Row, text_of

# Larger data have steps enough, and would take a while to count.
MOST_BYTES = 20_000_000
MOST_FILES = 20_000
MOST_EPOCHS = 60
# Steps of a student for each of its teacher's.
STUDENT_STEPS = 1.5
# A network from random weights needs more of them than an encoder that was trained before.
NEW_STEPS = 1.5
# Tokens that a quantization looks at: many times what a mean of each channel takes, and of long
# texts the usual number of rows would take minutes.
CALIBRATION_TOKENS = 16_384
# Rows without labels for each with one: more would take most of the time, and teach less each.
MOST_UNLABELLED = 2
# Below this share of the rows a label is seldom the more probable answer.
RARE = 0.1
# Rows of a batch below which batch norms and comparisons between rows have too little to go by.
FEWEST_IMAGES = 8
FEWEST_ITEMS = 16


@dataclass(frozen=True)
class TrainRows:
    """What is trained on: `rows`, where they were read; `count` of them, without those that will be
    drawn for splits that lack, in share `staying`; `num_unlabelled` rows beside them."""

    count: int = 0
    rows: Sequence[Row] = field(default=(), repr=False)
    staying: float = 1.0
    num_unlabelled: int = 0


def length_for(guess: Guess, model: str | None) -> tuple[Length, list[str]]:
    """How long to train on the data of a guess, and what is to be said of it.

    `model`: the teacher that is asked for. Nothing is said where these are the usual lengths. Of
    rows without labels the guess takes no more than are worth their time.
    """
    found = rows_of(guess)
    # Texts without labels are cut into rows of one length, as many as there are.
    if not found.count or guess.task == "masked-lm":
        return usual_length(guess), []
    told = [*limit_unlabelled(guess, found), *weigh_labels(guess, found.rows)]
    needed = ENOUGH_STEPS
    calibration = None
    if usual_length(guess) is IMAGES:
        fewest, total = FEWEST_IMAGES, found.count
        needed = ENOUGH_STEPS if model else round(NEW_STEPS * ENOUGH_STEPS)
    else:
        # What a model of dialogues knows `limbeck check` asks its own tokenizer.
        is_generated = guess.task == TEXT_GENERATION
        count, why = (TokenCount(), None) if is_generated else counted(found.rows, model)
        if why:
            told.append(choose_reader(guess, why, model))
        if guess.reads_pieces:
            sizes = [min(MOST_PIECES, len(text_of(row))) for row in found.rows]
            needed = round(NEW_STEPS * ENOUGH_STEPS)
        else:
            sizes = [count.of(row) for row in found.rows]
            calibration = calibration_rows(sizes)
        # Padding is left out: it makes steps more, not fewer.
        fewest, total = max(sizes), round(found.staying * sum(sizes))
        # A query is told from the items of its batch, of which a few teach nothing.
        if guess.task == "ranking":
            fewest = max(fewest, FEWEST_ITEMS * sum(sizes) // len(sizes))
    usual = usual_length(guess)
    budget = min(usual.budget, max(fewest, total // ENOUGH_OF_EPOCH))
    of_epoch = math.ceil(total / budget)
    epochs = min(MOST_EPOCHS, max(usual.teacher, math.ceil(needed / of_epoch)))
    students = max(usual.student, math.ceil(STUDENT_STEPS * epochs))
    length = Length(budget, epochs, students, calibration)
    if (budget, epochs) != (usual.budget, usual.teacher):
        told.append(
            f"{found.count:,} rows to train on: smaller batches and more epochs than usual, for "
            f"about {of_epoch * length.teacher:,} steps"
        )
    return length, told


def calibration_rows(sizes: Sequence[int]) -> int | None:
    """How many rows of these numbers of tokens a quantization looks at; None for the usual ones."""
    count = math.ceil(CALIBRATION_TOKENS * len(sizes) / sum(sizes))
    return count if count < Quantize().calibration_rows else None


def limit_unlabelled(guess: Guess, found: TrainRows) -> list[str]:
    """Have a recipe take no more rows without labels than are worth their time, and say so."""
    most = MOST_UNLABELLED * found.count
    if found.num_unlabelled <= most:
        return []
    guess.options["unlabelled_rows"] = most
    return [
        f"of {found.num_unlabelled:,} rows without labels {most:,} are taken, to keep the training "
        "short; raise data.unlabelled_rows later"
    ]


def weigh_labels(guess: Guess, rows: Sequence[Row]) -> list[str]:
    """Have a recipe weigh the labels of which a row has several where some are rare, and say so."""
    if guess.task != "multi-label-classification":
        return []
    counts = Counter(label for row in rows for label in row.get("label", ()))
    if not counts:
        return []
    rarest = min(counts, key=lambda label: (counts[label], label))
    if counts[rarest] >= RARE * len(rows):
        return []
    guess.options["class_weights"] = "balanced"
    return [
        f"`{rarest}` stands at {counts[rarest]:,} of {len(rows):,} rows: rare labels are weighed "
        "more, or they would hardly ever be answered"
    ]


def rows_of(guess: Guess) -> TrainRows:
    """The rows that will be trained on; none where the data are large, or cannot be read as they
    are, which `limbeck check` says with the reason."""
    if guess.counts:
        return TrainRows(_kept(guess.counts.get("train", 0), guess.counts))
    if weight(guess.path) > MOST_BYTES:
        return TrainRows()
    asked = Data.model_validate({"source": guess.source, "path": str(guess.path), **guess.options})

    def leave_out(row: BadRow) -> None:
        """A row that cannot be used is counted by nobody here."""

    try:
        source = registry.create("sources", asked.source, asked.options)
        splits = source.read(leave_out)
    except (OSError, ValueError):
        return TrainRows()
    counts = {name: len(rows) for name, rows in splits.items()}
    train = splits.get("train", [])
    kept = _kept(len(train), counts)
    staying = kept / max(1, len(train))
    return TrainRows(kept, train, staying, counts.get("unlabelled", 0))


def _kept(count: int, counts: Mapping[str, int]) -> int:
    """Of so many rows of train, those that no lacking split will be drawn from."""
    share = 1.0
    for name, drawn in DRAWN_SHARES.items():
        if not counts.get(name):
            share *= 1 - drawn
    return round(share * count)


def weight(path: Path) -> int:
    """Bytes of a file, or of the files below a folder, as far as it matters."""
    if not path.is_dir():
        return path.stat().st_size
    files = list(islice((file for file in paths_below(path) if file.is_file()), MOST_FILES))
    # So many may be millions, which take long to look at.
    if len(files) == MOST_FILES:
        return MOST_BYTES + 1
    return sum(file.stat().st_size for file in files)
