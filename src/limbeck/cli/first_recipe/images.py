"""What folders and archives of images look like: which folders are classes, what lies beside."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.refused.listed_images import listing, tables_of, told_listed
from limbeck.cli.first_recipe.refused.masks import FORMS, refuse_masks
from limbeck.cli.first_recipe.sets.image_roots import are_named, image_root
from limbeck.cli.first_recipe.split_lists import told_lists
from limbeck.cli.first_recipe.texts import told_below
from limbeck.core.files import paths_below
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources import Patience
from limbeck.sources._image_layout import placed, without_classes
from limbeck.sources._images import IMAGE_SIZE, LARGE_IMAGE, SUFFIXES, size_of
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import is_archive
from limbeck.sources.image_folder import TABLE, from_table

MOST_ASIDE = 0.1  # of the images of the main folder, that may lie beside it
MOST_PICTURES = 5  # that lie beside something else, such as a table
MOST_FILES = 20_000  # of a folder that are looked at: a listing of millions takes minutes
SHOWN = 5  # classes that a reason names

# Images of several sizes, of which half have at most so many, are read as squares of the second.
MOST_SMALL = 48
SMALL_IMAGE = 32
MOST_SIZES = 50  # images whose sizes are looked at

BOXES = (
    "{folder}: images with a file of boxes each (labels/NAME.txt, as YOLO has them). Finding "
    "things in an image is no task here; cut the boxes out, and put each into a folder named by "
    "its class"
)
NO_CLASSES = (
    "{folder}: images that lie in no folder of two classes or more ({first}, ...). Move each into "
    "a folder named by its class; or write split.csv beside them, with the columns file (its path "
    "below the folder), label and, where it is known, split"
)


BY_NAME = (
    "{folder}: images that lie in no folder of two classes or more ({first}, ...). Where the names "
    "begin with the classes ({classes}), write split.csv beside them: in that folder, {cure}"
)
# A class and a number: `cat.0.jpg`, `Abyssinian_12.jpg`.
CLASS_BEFORE = re.compile(r"(.*?[^\W\d_])[._ -]*[0-9][0-9._ -]*[.][A-Za-z0-9]+")
NAMED = (
    "import csv, glob, os, re; "
    'out = csv.writer(open("%(table)s", "w", newline="", encoding="utf-8")); '
    'out.writerow(["file", "label"]); [out.writerow([f.replace(os.sep, "/"), m[1]]) '
    'for f in sorted(glob.glob("**/*.*", recursive=True)) '
    'for m in [re.fullmatch(r"%(pattern)s", os.path.basename(f))] '
    "if m and f.lower().endswith(%(of)r)]"
)


def image_guess(source: str, path: Path, reason: str) -> Guess:
    """Images that `source` reads."""
    return Guess("image-classification", source, path, reasons=[reason])


def images_in(folder: Path, here: Sequence[Path]) -> list[str]:
    """The names of images below a folder or in an archive, whose files are `here`."""
    files = here if is_archive(folder) else list(islice(paths_below(folder), MOST_FILES))
    names = [path.relative_to(folder).as_posix() for path in files]
    return [
        name
        for name in sorted(names)
        if Path(name).suffix.lower() in SUFFIXES and "/." not in f"/{name}"
    ]


def look_at_images(folder: Path, names: Sequence[str]) -> Guess | None:
    """Images in folders named by their class; large ones are to be read smaller. None for a few
    pictures beside something else, as a repository has them.

    `names`: of the images that were found; none where they are in an archive beside others. Raises
    ValueError for images whose classes are not told by folders, with the cure.
    """
    if not names:
        return image_guess("image_folder", folder, "images.zip")
    # The table has the last word, as the source gives it.
    if (folder / TABLE).is_file():
        return _of_table(folder, names)
    # A root of two folders is no set of two classes where one holds all classes.
    main = (image_root(folder, names) or _main_folder(names)) if folder.is_dir() else None
    if main:
        return _below(folder, main, names)
    images = placed(names)
    unknown = without_classes(images)
    images = [image for image in images if image.split not in unknown]
    classes = sorted({image.label for image in images if image.label is not None})
    _refuse_splits(folder, classes)
    if len(classes) < 2:
        _refuse_flat(folder, names)
        return None
    _refuse_parts(folder, names, classes)
    _refuse_variants(folder, names, classes)
    told = f"{len(images):,} images in {len(classes)} folders ({some(classes, SHOWN)})"
    guess = image_guess("image_folder", folder, told)
    split_of_image = {image.name: image.split for image in images}
    guess.counts = dict(Counter(split_of_image.values()))
    if folder.is_dir():
        if set(split_of_image.values()) <= {"train", "unlabelled"}:
            guess.reasons += told_lists(folder, names)
        guess.reasons += told_below(folder, split_of_image, "images")
    else:
        counts = Counter(split_of_image.values())
        read = [f"{count:,} images ({split})" for split, count in counts.items()]
        guess.reasons.append(f"read: {', '.join(read)}")
    if any(image.group for image in images):
        guess.reasons.append("a folder below a class is a group: drawn splits keep it together")
    _choose_size(guess, [image.name for image in images])
    return guess


def _choose_size(guess: Guess, names: Sequence[str]) -> None:
    """Have large images read smaller, and those of several sizes in one, by the sizes of some; left
    open, all would be read in the size of whichever comes first.

    Where a file is no image, `limbeck check` says so.
    """
    sizes = sizes_of(guess.path, names[:: max(1, len(names) // MOST_SIZES)])
    if not sizes:
        return
    sides = sorted(max(size) for size in sizes)
    guess.side = side = sides[len(sides) // 2]
    if side <= LARGE_IMAGE and len(set(sizes)) == 1:
        return
    # No larger than most of them are: what is made up of fewer pixels costs as much as pixels do.
    sides_told = f"{side}"
    if len(set(sizes)) > 1:
        # Across and down, as what is stretched to a square has two.
        both = [side for size in sizes for side in size]
        sides_told = f"{min(both)} to {max(both)}"
    _read_as(guess, SMALL_IMAGE if side <= MOST_SMALL else IMAGE_SIZE, sides_told)


def choose_size_of_archive(guess: Guess, side: int) -> None:
    """Have the images of an archive read smaller where their longer `side` is large; all of them
    have one size."""
    if side > LARGE_IMAGE:
        _read_as(guess, IMAGE_SIZE, f"{side}")


def _read_as(guess: Guess, size: int, sides: str) -> None:
    """Have images of `sides` pixels a side, in words, read as squares, and say so."""
    guess.side = guess.options["size"] = size
    guess.reasons.append(
        f"the images have {sides} pixels a side: read as {size} x {size}, which is quick; raise "
        "data.size later"
    )


def sizes_of(folder: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Pixels across and down of images below a folder or in an archive; without those that cannot
    be read."""
    sizes = []
    for name in names:
        try:
            sizes.append(size_of(folder / name))
        except ValueError:
            continue
    return sizes


def _main_folder(names: Sequence[str]) -> str | None:
    """The one folder that holds folders of classes, where others beside it hold a few images and
    no folders (`Dataset/0/x.png` beside `Examples/x.png`), or next to nothing."""
    below: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    for name in names:
        top, *inner = PurePosixPath(name).parts[:-1] or ("",)
        counts[top] += 1
        below.setdefault(top, set()).update(inner[:1])
    if len(below) < 2 or any(split_of(top) for top in below):
        return None
    (main, count), *others = counts.most_common()
    num_others = sum(number for _, number in others)
    # Of a class with folders beside one without, both are large.
    are_flat = not any(below[top] for top, _ in others)
    # A project's pages have pictures of their own, wherever they lie.
    are_pages = num_others <= MOST_PICTURES and are_named(below[main])
    is_main = len(below[main]) > 1 and num_others < MOST_ASIDE * count
    return main if is_main and (are_flat or are_pages) and main else None


def _below(folder: Path, main: str, names: Sequence[str]) -> Guess | None:
    """What the folder `main` holds, and what is left out beside it."""
    inside = [name.removeprefix(f"{main}/") for name in names if name.startswith(f"{main}/")]
    guess = look_at_images(folder / main, inside)
    tops = Counter(name.partition("/")[0] for name in names if not name.startswith(f"{main}/"))
    left = [f"{top} ({count:,} images in no folder of a class)" for top, count in tops.items()]
    if guess:
        guess.reasons.append(f"beside {main}/, not read: {some(left, SHOWN)}")
    return guess


def _refuse_splits(folder: Path, classes: Sequence[str]) -> None:
    """Raise ValueError where folders that look like classes are splits, and none of them train."""
    if classes and all(split_of(name) for name in classes):
        raise ValueError(
            f"{folder}: the folders {some(classes, SHOWN)} are splits, and none of them is train. "
            "Put the images of train into a folder train beside them; or, to draw validation and "
            f"test rows from one of these, give that alone: {command('init', folder / classes[0])}"
        )


def _refuse_variants(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise ValueError where the folders that look like classes hold the same things in another
    form: the same classes once more (PlantVillage's color and grayscale), or masks beside images.
    """
    tops = {name.partition("/")[0] for name in names if "/" in name}
    inner: dict[str, set[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts[:-1]
        if parts and parts[0] in classes:
            inner.setdefault(parts[0], set()).update(parts[1:2])
    sets = [below for below in inner.values() if len(below) > 1]
    again = [top for top, below in inner.items() if len(below & (tops - {top})) > 1]
    shared = set.intersection(*sets) if len(sets) > 1 else set()
    # Patients are numbered, and may have the same numbers in every class.
    is_again = (
        are_named(shared) and len(sets) == len(classes) and 2 * len(shared) > max(map(len, sets))
    )
    # Every class may hold its own train and test.
    are_parts = shared <= FORMS or all(map(split_of, shared))
    if again or (is_again and not are_parts):
        told = f"hold the same folders ({some(sorted(shared), SHOWN)})"
        if again:
            told = f"lie again in {again[0]}/"
        first = again[0] if again else classes[0]
        raise ValueError(
            f"{folder}: the folders {some(list(classes), SHOWN)} {told}: the same images in "
            f"several forms, or copies. Give the folder of one: {command('init', folder / first)}"
        )
    refuse_masks(folder, names, classes)


def _refuse_parts(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise ValueError where folders are the numbered parts of images that a table lists with their
    classes (HAM10000_images_part_1)."""
    stems = {name.rstrip("0123456789") for name in classes}
    if len(stems) != 1 or stems == {""} or not folder.is_dir():
        return
    listed = tables_of(folder, names)
    # Of folders that are classes, a table may say the same once more.
    labels = {label for one in listed for label in one.labels}
    if listed and not labels & set(classes):
        raise ValueError(told_listed(folder, listed[:1]))


def _refuse_flat(folder: Path, names: Sequence[str]) -> None:
    """Raise ValueError for images that lie in no folders of classes, unless they are few."""
    if any(file.parent.name == "labels" for file in islice(folder.rglob("*.txt"), 9)):
        raise ValueError(BOXES.format(folder=folder))
    message = listing(folder, names) if folder.is_dir() else None
    if message:
        raise ValueError(message)
    # A repository has a few pictures of its own.
    if len(names) > MOST_PICTURES:
        raise ValueError(no_classes(folder, names))


def no_classes(folder: Path, names: Sequence[str]) -> str:
    """What to say of images whose classes no folder tells; their names may (`cat.0.jpg`)."""
    matches = [CLASS_BEFORE.fullmatch(PurePosixPath(name).name) for name in names]
    counts = Counter(match[1] for match in matches if match)
    several = [name for name, count in counts.items() if count > 1]
    if len(several) > 1 and len(several) == len(counts) and folder.is_dir():
        suffixes = tuple(sorted({PurePosixPath(name).suffix.lower() for name in names}))
        cure = script(NAMED % {"table": TABLE, "pattern": CLASS_BEFORE.pattern, "of": suffixes})
        told = some(several, SHOWN)
        return BY_NAME.format(folder=folder, classes=told, first=names[0], cure=cure)
    return NO_CLASSES.format(folder=folder, first=names[0])


def _of_table(folder: Path, names: Sequence[str]) -> Guess:
    """Images that a table lists. Raises ValueError for a table without the column `file`."""
    entries = list(from_table(folder / TABLE, names, Patience()))
    classes = sorted({entry.label for entry in entries if entry.label is not None})
    if len(classes) < 2:
        raise ValueError(
            f"{folder / TABLE}: it lists {len(classes)} classes of images: two at least"
        )
    told = f"{TABLE} lists {len(entries):,} images in {len(classes)} classes"
    guess = image_guess("image_folder", folder, f"{told} ({some(classes, SHOWN)})")
    known = {entry.name: entry.split for entry in entries}
    guess.reasons += told_below(folder, known, "images", [TABLE])
    guess.counts = dict(Counter(entry.split for entry in entries))
    _choose_size(guess, [entry.name for entry in entries])
    return guess
