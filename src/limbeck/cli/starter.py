"""What `limbeck init DATA` does: look at data, and write a first recipe for them.

What the data are is guessed from names and from the first rows (`starter_tables`); `limbeck check`
then reads every row. What was seen stands in the recipe as comments (`starter_recipe`).
"""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from limbeck.cli.starter_recipe import Guess, render
from limbeck.cli.starter_tables import SOURCE_OF_SUFFIX, look_at_table
from limbeck.core import registry
from limbeck.core.shell import command
from limbeck.core.wording import some
from limbeck.recipe.reading import parse
from limbeck.sources._images import SUFFIXES

LINES = 200  # of a file with words in columns that are looked at
MOST_FILES = 20_000  # of a folder that are looked at: a listing of millions takes minutes
SHOWN = 5  # classes that a reason names
SHOWN_TAGS = 6
SHOWN_FILES = 8

# Pixels a side. Images larger than the first are to be read as squares of the second: a first run
# should take minutes.
LARGE_IMAGE = 96
IMAGE_SIZE = 64

TAG = re.compile("O|[BI]-.+")  # IOB2
EXPECTED = (
    "Expected: a .csv, .tsv, .jsonl or .parquet file, or a folder with train, valid and test files "
    "of one of these; a folder with train.txt and test.txt in CoNLL columns; a folder of images in "
    "folders named by their class; train-images-idx3-ubyte files; or an .npz file with "
    "train_images and train_labels"
)


def write(data: Path, out: Path, model: str | None) -> list[str]:
    """Write a recipe for `data` to `out`; what was seen and what to do next, as lines.

    `model`: the teacher, for texts. Raises ValueError where `out` is there already, and where the
    data are nothing that can be read.
    """
    if out.exists():
        raise ValueError(f"{out}: this file is here already. Remove it, or choose another --out")
    guess = look(data)
    sources = registry.names("sources")
    if guess.source not in sources:
        raise ValueError(
            f"{data}: this looks like `{guess.source}`, which this version cannot read. "
            f"It reads {', '.join(sources)}"
        )
    tasks = registry.names("tasks")
    if guess.task not in tasks:
        raise ValueError(
            f"{data}: this is for {guess.task}, a task that this version lacks. "
            f"It has {', '.join(tasks)}"
        )
    text = render(guess, model)
    parse(text, origin=str(out))  # before it is written: a file that cannot be read helps no one
    out.write_text(text, encoding="utf-8")
    reasons = [f"  {reason}" for reason in guess.reasons]
    return [
        f"{data}: {guess.task}, source {guess.source}",
        *reasons,
        f"wrote {out}",
        "",
        "Next:",
        f"  {command('check', out)}",
        f"  {command('run', out)}",
    ]


def look(data: Path) -> Guess:
    """What a file or folder holds. Raises ValueError where it is nothing that can be read."""
    if not data.exists():
        raise ValueError(f"{data}: no such file or folder. {EXPECTED}")
    guess = look_at_file(data) if data.is_file() else look_at_folder(data)
    if guess is not None:
        return guess
    names = [data.name]
    if data.is_dir():
        names = sorted(path.name for path in data.iterdir())[:SHOWN_FILES]
    raise ValueError(
        f"{data}: nothing here that can be read ({', '.join(names) or 'an empty folder'}). "
        f"{EXPECTED}"
    )


def look_at_file(path: Path) -> Guess | None:
    """A table, an archive of arrays, or an archive of images; None for anything else."""
    suffix = path.suffix.lower()
    if suffix in SOURCE_OF_SUFFIX:
        return look_at_table(path, [path])
    if suffix == ".npz":
        return image_guess("npz", path, "an archive of arrays: train_images, train_labels")
    if suffix == ".zip":
        return image_guess("image_folder", path, "an archive of images")
    return None


def image_guess(source: str, path: Path, reason: str) -> Guess:
    """Images that `source` reads."""
    return Guess("image-classification", source, path, reasons=[reason])


def look_at_folder(folder: Path) -> Guess | None:
    """IDX, CoNLL columns, images, tables, or the one archive that is there, in this order."""
    here = sorted(path for path in folder.iterdir() if path.is_file())
    if any(path.name.startswith("train-images-idx3-ubyte") for path in here):
        return image_guess("idx", folder, "IDX files, as MNIST has them")
    if (folder / "train.txt").is_file():
        return look_at_conll(folder)
    some_files = islice(folder.rglob("*"), MOST_FILES)
    images = [path for path in some_files if path.suffix.lower() in SUFFIXES]
    if images or (folder / "images.zip").is_file():
        return look_at_images(folder, images)
    tables = [path for path in here if path.suffix.lower() in SOURCE_OF_SUFFIX]
    if tables:
        # Of several kinds, the one of most files.
        suffixes = [path.suffix.lower() for path in tables]
        kind = max(dict.fromkeys(suffixes), key=suffixes.count)
        return look_at_table(folder, [path for path in tables if path.suffix.lower() == kind])
    archives = [path for path in here if path.suffix.lower() == ".npz"]
    return look_at_file(archives[0]) if len(archives) == 1 else None


def look_at_conll(folder: Path) -> Guess:
    """Words in columns. Raises ValueError for a train.txt whose lines do not end with a tag."""
    path = folder / "train.txt"
    rows = []
    # A guess needs no clean file: `limbeck check` names the bytes that are not UTF-8.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line in islice(file, LINES):
            if line.strip() and not line.startswith("-DOCSTART-"):
                rows.append(line.split())
    if not rows or not all(len(row) > 1 and TAG.fullmatch(row[-1]) for row in rows):
        raise ValueError(
            f"{path}: these lines are not words with tags (O, B-TYPE, I-TYPE) in columns. "
            f"{EXPECTED}"
        )
    tags = sorted({row[-1] for row in rows})
    reason = f"one word a line, its tag in column {len(rows[0])} ({', '.join(tags[:SHOWN_TAGS])})"
    return Guess("token-classification", "conll", folder, reasons=[reason])


def look_at_images(folder: Path, images: Sequence[Path]) -> Guess:
    """Images in folders named by their class; large ones are to be read smaller.

    `images`: those that were found; none where they are in an archive.
    """
    if not images:
        return image_guess("image_folder", folder, "images.zip")
    classes = sorted({path.parent.name for path in images})
    guess = image_guess(
        "image_folder",
        folder,
        f"{len(images):,} images in {len(classes)} folders ({some(classes, SHOWN)})",
    )
    side = max(image_size(images[0]))
    if side > LARGE_IMAGE:
        guess.options["size"] = IMAGE_SIZE
        guess.reasons.append(
            f"the first image has {side} pixels a side: read as {IMAGE_SIZE} x {IMAGE_SIZE}, "
            "which is quick; raise data.size later"
        )
    return guess


def image_size(path: Path) -> tuple[int, int]:
    """Pixels across and down. Raises ValueError for what is no image."""
    from PIL import Image, UnidentifiedImageError

    try:
        # Only the head of the file is read.
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from None
