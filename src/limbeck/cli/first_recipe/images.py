"""What folders and archives of images look like: which folders are classes, what lies beside."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from limbeck.cli.first_recipe.names import without_notes
from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.cli.first_recipe.table_columns.beside import told_label
from limbeck.cli.first_recipe.table_columns.labels import label_column
from limbeck.cli.first_recipe.texts import told_below
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources import Patience
from limbeck.sources._image_layout import placed, without_classes
from limbeck.sources._images import SUFFIXES, size_of
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import is_archive
from limbeck.sources.csv import Csv
from limbeck.sources.image_folder import TABLE, from_table

MOST_ASIDE = 0.1  # of the images of the main folder, that may lie beside it
MOST_PICTURES = 5  # that lie beside something else, such as a table
ROWS = 200  # of a table that may list images
MOST_FILES = 20_000  # of a folder that are looked at: a listing of millions takes minutes
SHOWN = 5  # classes that a reason names

# Pixels a side. Images larger than the first are to be read as squares of the second: a first run
# should take minutes.
LARGE_IMAGE = 96
IMAGE_SIZE = 64

BOXES = (
    "{folder}: images with a file of boxes each (labels/NAME.txt, as YOLO has them). Finding "
    "things in an image is no task here; cut the boxes out, and put each into a folder named by "
    "its class"
)
LISTED = (
    "{folder}: images that lie in no folders of classes, and a table that lists them. Write "
    "split.csv of it, with the columns file (an image's path below the folder) and label: in that "
    "folder, {cure}"
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


MASKS = {"mask", "masks", "segmentation", "segmentations"}
# What lies beside one another of the same thing, and is no class.
FORMS = {"image", "images", "img", "imgs", "label", "labels", "annotations", *MASKS}


def image_guess(source: str, path: Path, reason: str) -> Guess:
    """Images that `source` reads."""
    return Guess("image-classification", source, path, reasons=[reason])


def images_in(folder: Path, here: Sequence[Path]) -> list[str]:
    """The names of images below a folder or in an archive, whose files are `here`."""
    files = here if is_archive(folder) else list(islice(folder.rglob("*"), MOST_FILES))
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
    main = _main_folder(names)
    if main and folder.is_dir():
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
    told = f"{len(names):,} images in {len(classes)} folders ({some(classes, SHOWN)})"
    guess = image_guess("image_folder", folder, told)
    split_of_image = {image.name: image.split for image in images}
    if folder.is_dir():
        guess.reasons += told_below(folder, split_of_image, "images")
    else:
        counts = Counter(split_of_image.values())
        read = [f"{count:,} images ({split})" for split, count in counts.items()]
        guess.reasons.append(f"read: {', '.join(read)}")
    if any(image.group for image in images):
        guess.reasons.append("a folder below a class is a group: drawn splits keep it together")
    if not is_archive(folder):
        _make_small(guess, folder / names[0])
    return guess


def _make_small(guess: Guess, first: Path) -> None:
    """Have large images read smaller, by the size of the first."""
    side = max(size_of(first))
    if side > LARGE_IMAGE:
        guess.options["size"] = IMAGE_SIZE
        guess.reasons.append(
            f"the first image has {side} pixels a side: read as {IMAGE_SIZE} x {IMAGE_SIZE}, "
            "which is quick; raise data.size later"
        )


def _main_folder(names: Sequence[str]) -> str | None:
    """The one folder that holds folders of classes, where others beside it hold a few images and
    no folders: `Dataset/0/x.png` beside `Examples/x.png`."""
    below: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    for name in names:
        top, *inner = PurePosixPath(name).parts[:-1] or ("",)
        counts[top] += 1
        below.setdefault(top, set()).update(inner[:1])
    nested = [top for top, folders in below.items() if len(folders) > 1]
    if len(nested) != 1 or len(below) < 2 or any(split_of(top) for top in below):
        return None
    main = nested[0]
    others = [top for top in below if top != main]
    # Of a class with folders beside one without, both are large.
    are_flat = not any(below[top] for top in others)
    are_few = sum(counts[top] for top in others) < MOST_ASIDE * counts[main]
    return main if are_flat and are_few and main else None


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
    are_named = len({re.sub(r"[0-9]+", "", name) for name in shared}) > 1
    is_again = are_named and len(sets) == len(classes) and 2 * len(shared) > max(map(len, sets))
    if again or (is_again and not shared <= FORMS):
        told = f"hold the same folders ({some(sorted(shared), SHOWN)})"
        if again:
            told = f"lie again in {again[0]}/"
        first = again[0] if again else classes[0]
        raise ValueError(
            f"{folder}: the folders {some(list(classes), SHOWN)} {told}: the same images in "
            f"several forms, or copies. Give the folder of one: {command('init', folder / first)}"
        )
    masks = [name for name in names if _is_mask(name, names)]
    if masks or {name.lower() for name in classes} <= FORMS:
        raise ValueError(
            f"{folder}: images beside their masks ({masks[0] if masks else some(list(classes))}), "
            "which are no class and no images to learn from. Finding regions is no task here; to "
            "tell whole images apart, move the masks out of the folder"
        )


def _is_mask(name: str, names: Collection[str]) -> bool:
    """Whether an image is called as the mask of another: by its folder, or by `_mask`."""
    path = PurePosixPath(name)
    in_folder = path.parent.name.lower() in MASKS and len(path.parts) > 2
    stem, mark, _ = path.stem.rpartition("_")
    of_another = mark and path.stem.lower().endswith(("_mask", "_segmentation"))
    return in_folder or bool(of_another and any(stem in other for other in names if other != name))


def _refuse_parts(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise ValueError where folders are the numbered parts of images that a table lists with their
    classes (HAM10000_images_part_1)."""
    stems = {name.rstrip("0123456789") for name in classes}
    if len(stems) != 1 or stems == {""} or not folder.is_dir():
        return
    listed = _tables(folder, names)
    # Of folders that are classes, a table may say the same once more.
    labels = {label for one in listed for label in one.labels}
    if listed and not labels & set(classes):
        raise ValueError(LISTED.format(folder=folder, cure=_command(listed[:1])))


def _refuse_flat(folder: Path, names: Sequence[str]) -> None:
    """Raise ValueError for images that lie in no folders of classes, unless they are few."""
    if any(file.parent.name == "labels" for file in islice(folder.rglob("*.txt"), 9)):
        raise ValueError(BOXES.format(folder=folder))
    cure = _listing(folder, names) if folder.is_dir() else None
    if cure:
        raise ValueError(LISTED.format(folder=folder, cure=cure))
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


def _listing(folder: Path, names: Sequence[str]) -> str | None:
    """The command that makes split.csv of the tables that list images with their classes; None
    where there is no such table."""
    listed = _tables(folder, names)
    # Of several tables each is of the split that its name speaks of.
    named = [one for one in listed if one.split]
    return _command(named if len(named) > 1 else listed[:1]) if listed else None


def _tables(folder: Path, names: Sequence[str]) -> list["_Listed"]:
    """The tables of a folder that list its images, with a label."""
    of_name = {name: name for name in names}
    of_stem = {PurePosixPath(name).stem: name for name in names}
    of_stem |= {PurePosixPath(name).name: name for name in names}
    listed = []
    for table in without_notes(sorted(folder.glob("*.csv"))):
        records = [record for _, record in islice(_rows(table), ROWS)]
        for column in records[0] if records else []:
            cells = [str(record[column]).strip() for record in records]
            found = [of_name.get(cell) or of_stem.get(cell) for cell in cells]
            # A list may name images of test too, which lie elsewhere.
            if 2 * sum(map(bool, found)) > len(cells):
                image = next(name for name in found if name)
                cell = cells[found.index(image)]
                folders = {PurePosixPath(name).parent for name in found if name}
                parts = image.partition(cell) if len(folders) == 1 else None
                one = _listed(table, records, column, parts)
                listed += [one] if one else []
                break
    return listed


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The records of a csv; none of one that cannot be read as a table with a header."""
    source = Csv(str(table))
    try:
        yield from source.records(table, source.header(table), Patience())
    except ValueError:
        return


@dataclass(frozen=True)
class _Listed:
    """A table of images: `before` and `behind` a cell of column number `name` make an image's path,
    or None where they lie in several folders; `label` is the number of the label's column, whose
    first values are `labels`; `split` what the table's own name says. `doubt`: what to tell of the
    label."""

    table: str
    name: int
    around: tuple[str, str] | None
    label: int
    labels: frozenset[str]
    split: str | None
    doubt: str


def _listed(
    table: Path,
    records: Sequence[Mapping[str, str]],
    column: str,
    parts: tuple[str, str, str] | None,
) -> _Listed | None:
    """A table that lists images; None where it has no label. `parts`: what stands before a cell in
    its image's path, the cell, and what stands behind it; None for images of several folders."""
    columns = list(records[0])
    try:
        label = label_column(records, [column], str(table))
    except ValueError:
        return None
    number = columns.index(label)
    doubt = told_label(records, [column], label)
    # What else could be the label, since the command leaves all other columns out.
    told = f" (`{label}` is the label here, column {number + 1}; {doubt})" if doubt else ""
    split = split_of(table.stem)
    around = (parts[0], parts[2]) if parts else None
    labels = frozenset(record[label] for record in records)
    return _Listed(table.name, columns.index(column), around, number, labels, split, told)


def _command(listed: Sequence[_Listed]) -> str:
    """Python, which writes the paths of images, their labels and, of several tables, their splits:
    a shell's tools know no quotes in a csv, and would run what a file's name holds."""
    several = len(listed) > 1
    path = "b + r[n].strip() + e"
    places = ""
    is_there = ""
    if not all(one.around for one in listed):
        # By its name, with its suffix or without.
        path = "at[r[n].strip()]"
        places = (
            'at = {k: f.replace(os.sep, "/") for f in glob.glob("**/*.*", recursive=True) '
            "for g in [os.path.basename(f)] for k in (os.path.splitext(g)[0], g)}; "
        )
        is_there = " and r[n].strip() in at"
    tables = [
        [one.table, one.name, *(one.around or ("", "")), one.label, *([one.split] * several)]
        for one in listed
    ]
    cells = f"[{path}, r[c]" + (", s]" if several else "]")
    columns = ["file", "label", *(["split"] * several)]
    code = (
        f"import csv, glob, os; {places}"
        f'out = csv.writer(open("{TABLE}", "w", newline="", encoding="utf-8")); '
        f"out.writerow({json.dumps(columns)}); [out.writerow({cells}) "
        f"for t, n, b, e, c{', s' if several else ''} in {json.dumps(tables)} "
        'for r in [*csv.reader(open(t, newline="", encoding="utf-8-sig"))][1:] '
        f"if r{is_there}]"
    )
    return script(code) + "".join(one.doubt for one in listed)


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
    if entries:
        _make_small(guess, folder / entries[0].name)
    return guess
