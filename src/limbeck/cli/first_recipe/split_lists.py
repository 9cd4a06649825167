"""Lists beside images that say which ones are train and which test, as many sets are published with
them: figures on another split cannot be compared with those of others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from limbeck.cli.first_recipe.refused.listed_images import command_of, tables_of
from limbeck.core.terminal.shell import command, script
from limbeck.sources._files import Lines
from limbeck.sources._split_files import split_of
from limbeck.sources.image_folder import TABLE

SPLITS = ("train", "validation", "test")
IsImage = Callable[[str], bool]

LONGEST_NAME = 200  # characters of a path in a list
LINES = 200  # looked at, of a list
MOST_LISTS = 200
# Of train and validation together the latter is drawn anew.
TOGETHER = ("trainval", "train_val", "train-val")
TOLD = (
    "the split as published stands in {shown}, and is not read, so that figures cannot be compared "
    "with those of others. To take it, in that folder: {cure} && {init}"
)
# In Python: the image of each way to write it, from the end of its path on, with its suffix or
# without; the class of each; and a writer of split.csv.
BEGIN = (
    "import csv, glob, os; from limbeck.sources._image_layout import placed; "
    'files = sorted(f.replace(os.sep, "/") for f in glob.glob("**/*.*", recursive=True) '
    "if os.path.splitext(f)[1].lower() in {suffixes}); "
    "of = {{p.name: p.label for p in placed(files)}}; at = {{}}; "
    '[at.setdefault(k, f) for f in files for p in [f.split("/")] for i in range(len(p)) '
    'for k in ["/".join(p[i:]), os.path.splitext("/".join(p[i:]))[0]]]; '
    'out = csv.writer(open("{table}", "w", newline="", encoding="utf-8")); '
    'out.writerow(["file", "label", "split"]); '
)
OF_LISTS = (
    "[out.writerow([at[w], of[at[w]], s]) for t, s in {lists} "
    'for line in open(t, encoding="utf-8") '
    "for w in [v for v in [line.strip(), *line.split()[:1]] if v in at][:1]]"
)
# A number for each image, and 1 for those of train: CUB-200, NABirds.
OF_NUMBERS = (
    'read = lambda t: dict(line.split(None, 1) for line in open(t, encoding="utf-8")); '
    "names, splits = read({images}), read({splits}); "
    '[out.writerow([at[w], of[at[w]], ["test", "train"][int(splits[n])]]) '
    "for n, name in names.items() for w in [name.strip()] if w in at and n in splits]"
)


def told_lists(folder: Path, names: Sequence[str]) -> list[str]:
    """What to say of lists that part the images `names` of a folder, with the command that makes
    split.csv of them; nothing where there are none."""
    lists = sorted(
        (path for path in islice(folder.rglob("*.txt"), MOST_LISTS) if path.is_file()),
        # train1 before train10.
        key=lambda path: (len(path.name), str(path)),
    )
    suffixes = sorted({Path(name).suffix.lower() for name in names})
    begin = BEGIN.format(suffixes=json.dumps(suffixes), table=TABLE)
    is_image = _is_image(folder, names[0], suffixes)
    of_split = _by_split(lists, is_image)
    numbered = _numbered(lists, is_image)
    if "train" in of_split and len(of_split) > 1:
        found = {path.relative_to(folder).as_posix(): split for split, path in of_split.items()}
        code = begin + OF_LISTS.format(lists=json.dumps([*found.items()]))
        shown = ", ".join(found)
    elif numbered:
        images, splits = (path.relative_to(folder).as_posix() for path in numbered)
        code = begin + OF_NUMBERS.format(images=json.dumps(images), splits=json.dumps(splits))
        shown = splits
    else:
        return _told_tables(folder, names)
    return [TOLD.format(shown=shown, cure=script(code), init=command("init", "."))]


def _told_tables(folder: Path, names: Sequence[str]) -> list[str]:
    """What to say of tables that list the images of a split each, with their classes (EuroSAT)."""
    tables = [one for one in tables_of(folder, names) if one.split]
    splits = {one.split for one in tables}
    if "train" not in splits or not splits & {"validation", "test"}:
        return []
    shown = ", ".join(one.table for one in tables)
    return [TOLD.format(shown=shown, cure=command_of(tables), init=command("init", "."))]


def _is_image(folder: Path, first: str, suffixes: Sequence[str]) -> IsImage:
    """Whether a word of a list is an image's path, or the end of it, with its suffix or without:
    from one of the folders on that the `first` image lies in."""
    bases = [folder, *(folder / parent for parent in PurePosixPath(first).parents)]

    def is_image(word: str) -> bool:
        # A line of prose is no name of a file, and may be too long for one.
        if len(word) > LONGEST_NAME or "\0" in word:
            return False
        return any((base / f"{word}{end}").is_file() for base in bases for end in ("", *suffixes))

    return is_image


def _by_split(lists: Sequence[Path], is_image: IsImage) -> Mapping[str, Path]:
    """The first list of each split that names images."""
    found: dict[str, Path] = {}
    for path in lists:
        stem = path.stem.lower()
        split = "train" if any(word in stem for word in TOGETHER) else split_of(stem)
        if split in SPLITS and split not in found and _names(path, is_image):
            found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _names(path: Path, is_image: IsImage) -> bool:
    """Whether most lines of a list begin with an image."""
    lines = [line.strip() for line in islice(Lines(path), LINES) if line.strip()]
    num_known = sum(is_image(line) or is_image(line.split()[0]) for line in lines)
    return 2 * num_known > len(lines)


def _numbered(lists: Sequence[Path], is_image: IsImage) -> tuple[Path, Path] | None:
    """(a list of numbers and images, a list of the same numbers and 0 or 1 for their split)."""
    rows = {path: _pairs(path) for path in lists}
    for images, of_images in rows.items():
        if 2 * sum(map(is_image, of_images.values())) <= len(of_images):
            continue
        for splits, of_splits in rows.items():
            is_split = "split" in splits.stem.lower() and set(of_splits.values()) == {"0", "1"}
            if splits.parent == images.parent and is_split and set(of_splits) & set(of_images):
                return images, splits
    return None


def _pairs(path: Path) -> dict[str, str]:
    """The first lines of a list as a number and what stands behind it; none of another file."""
    lines = [line.split(None, 1) for line in islice(Lines(path), LINES) if line.strip()]
    if not all(len(pair) == 2 for pair in lines):
        return {}
    return {number: rest.strip() for number, rest in lines}
