"""Images that lie in no folders of classes, and tables that list them with their classes: the
command that makes split.csv of these.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from limbeck.cli.first_recipe.names import without_notes
from limbeck.cli.first_recipe.table_columns.beside import GROUP, told_label
from limbeck.cli.first_recipe.table_columns.labels import (
    Columns,
    label_column,
    of_label,
    of_shares,
    share_columns,
)
from limbeck.cli.first_recipe.table_columns.several import SEPARATORS
from limbeck.core.terminal.shell import script
from limbeck.sources import Patience
from limbeck.sources._column_names import plain
from limbeck.sources._split_files import split_of
from limbeck.sources.csv import Csv
from limbeck.sources.image_folder import TABLE

ROWS = 200  # of a table that may list images
MOST_TABLES = 20  # below a folder, that are looked at
SEVERAL = "multi-label-classification"
# What a box in an image is told by, and no class is: `Bbox [x`, `xmin`.
BOX = {*("x", "y", "w", "h", "w]", "h]", "width", "height", "xmin", "xmax", "ymin", "ymax"), "bbox"}
LISTED = (
    "{folder}: images that lie in no folders of classes, and a table that lists them. Write "
    "split.csv of it, with the columns file (an image's path below the folder) and label{doubt}: "
    "in that folder, {cure}"
)


@dataclass(frozen=True)
class Listed:
    """A table of images, of which `count` of the first rows name one that is here.

    `around`: what stands before and behind a cell of column number `name` in an image's path; None
    where they lie in several folders. `label`: the number of the label's column, or of the column
    of each label, of which a row has one. `labels`: the first of them. `group`: the number of a
    patient's or another group's column. `split`: what the table's own name says. `separator`: of
    several labels in a cell. `doubt`: what to tell of the label.
    """

    table: str
    count: int
    name: int
    around: tuple[str, str] | None
    label: int | dict[str, int]
    labels: frozenset[str]
    group: int | None
    split: str | None
    separator: str | None
    doubt: str


def listing(folder: Path, names: Sequence[str]) -> str | None:
    """What to say of a folder whose images tables list with their classes, with the command; None
    where there is no such table."""
    listed = tables_of(folder, names)
    # Of several tables each is of the split that its name speaks of.
    named = [one for one in listed if one.split]
    return told_listed(folder, named if len(named) > 1 else listed[:1]) if listed else None


def told_listed(folder: Path, listed: Sequence[Listed]) -> str:
    """What to say of images that tables list."""
    doubt = "".join(one.doubt for one in listed)
    return LISTED.format(folder=folder, doubt=doubt, cure=command_of(listed))


def tables_of(folder: Path, names: Sequence[str]) -> list[Listed]:
    """The tables of a folder that list its images, with a label; that of most images first."""
    image_of = {way: name for name in names for way in _ways(name)}
    tables = [*sorted(folder.glob("*.csv")), *sorted(folder.glob("*/*.csv"))]
    listed = []
    for table in without_notes([path for path in tables if path.is_file()])[:MOST_TABLES]:
        records = [record for _, record in islice(_rows(table), ROWS)]
        best: tuple[int, str, list[str | None]] = (0, "", [])
        for column in records[0] if records else []:
            found = [image_of.get(str(record[column]).strip()) for record in records]
            # The number of a class may be the name of an image too.
            best = max(best, (len({*found} - {None}), column, found), key=lambda one: one[0])
        # A list may name images of test too, which lie elsewhere.
        if 2 * sum(map(bool, best[2])) > len(records):
            one = _listed(table.relative_to(folder), records, best[1], best[2])
            listed += [one] if one else []
    return sorted(listed, key=lambda one: -one.count)


def _ways(name: str) -> Iterator[str]:
    """How a table may write an image: its path or the end of it, with its suffix or without."""
    parts = name.split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        yield end
        yield end.removesuffix(PurePosixPath(end).suffix)


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The records of a csv; none of one that cannot be read as a table with a header."""
    source = Csv(str(table))
    try:
        yield from source.records(table, source.header(table), Patience())
    except ValueError:
        return


def _listed(
    table: Path, records: Sequence[Mapping[str, str]], column: str, images: Sequence[str | None]
) -> Listed | None:
    """A table whose `column` lists images, which are here or None; None where it has no label."""
    columns = list(records[0])
    try:
        found, doubt = _label(records, column)
    except ValueError:
        return None
    label, labels = _numbers(columns, found, records)
    separator = found.options.get("label_separator")
    image = next(name for name in images if name)
    cell = str(records[images.index(image)][column]).strip()
    before, _, behind = image.partition(cell)
    folders = {PurePosixPath(name).parent for name in images if name}
    groups = [name for name in columns if GROUP.fullmatch(plain(name)) and name != column]
    return Listed(
        table=table.as_posix(),
        count=len({name for name in images if name}),
        name=columns.index(column),
        around=(before, behind) if len(folders) == 1 else None,
        label=label,
        labels=labels,
        group=columns.index(groups[0]) if groups else None,
        split=split_of(table.stem),
        separator=separator if found.task == SEVERAL and separator in SEPARATORS else None,
        doubt=doubt,
    )


def _label(records: Sequence[Mapping[str, str]], column: str) -> tuple[Columns, str]:
    """(the label of a table of images, what to tell of it). Raises ValueError where it has none."""
    boxes = [name for name in records[0] if set(plain(name).split(" [")) & BOX]
    kept = [{k: v for k, v in record.items() if k not in boxes} for record in records]
    shares = share_columns(kept, [column])
    if shares:
        found = of_shares(kept, shares, {})
        if found.task == SEVERAL:
            return found, " (an image has one class here: those of several or none are left out)"
        return found, f" ({found.reason})"
    label = label_column(kept, [column], "")
    found = of_label(kept, label, {})
    if found.task == SEVERAL and found.options["label_separator"] in SEPARATORS:
        told = f"`{label}` holds several labels; an image has one class here, so that others are "
        return found, f" ({told}left out)"
    doubt = told_label(kept, [column], label)
    number = list(records[0]).index(label) + 1
    # What else could be the label, since the command leaves all other columns out.
    return found, f" (`{label}` is the label here, column {number}; {doubt})" if doubt else ""


def _numbers(
    columns: Sequence[str], found: Columns, records: Sequence[Mapping[str, str]]
) -> tuple[int | dict[str, int], frozenset[str]]:
    """(the number of the label's column, or of that of each label; the first labels)."""
    names = found.options.get("label_columns")
    if names:
        return {name: columns.index(name) for name in names}, frozenset(names)
    label = found.options["label"]
    return columns.index(label), frozenset(record[label] for record in records)


def command_of(listed: Sequence[Listed]) -> str:
    """Python, which writes the paths of images, their labels and, of several tables, their splits:
    a shell's tools know no quotes in a csv, and would run what a file's name holds."""
    several = len(listed) > 1
    first = listed[0]
    path = "b + r[n].strip() + e"
    places = ""
    checks = ["r"]
    if not all(one.around for one in listed):
        # By its name, with its suffix or without.
        path = "at[r[n].strip()]"
        places = (
            'at = {k: f.replace(os.sep, "/") for f in glob.glob("**/*.*", recursive=True) '
            "for p in [f.split(os.sep)] for i in range(len(p)) "
            'for g in ["/".join(p[i:])] for k in (os.path.splitext(g)[0], g)}; '
        )
        checks.append("r[n].strip() in at")
    label = "r[c]"
    if isinstance(first.label, dict):
        label = "max(c, key=lambda k: float(r[c[k]] or 0))"
        checks.append("sum(float(r[k] or 0) >= 0.5 for k in c.values()) == 1")
    elif first.separator:
        checks.append(f"{json.dumps(first.separator)} not in r[c]")
    grouped = all(one.group is not None for one in listed)
    tables = [
        [one.table, one.name, *(one.around or ("", "")), one.label]
        + ([one.group] if grouped else [])
        + ([one.split] if several else [])
        for one in listed
        if isinstance(one.label, dict) == isinstance(first.label, dict)
    ]
    more = ["group"] * grouped + ["split"] * several
    letters = "".join(f", {name[0]}" for name in more)
    cells = f"[{path}, {label}" + ", r[g]" * grouped + ", s" * several + "]"
    code = (
        f"import csv, glob, os; {places}"
        f'out = csv.writer(open("{TABLE}", "w", newline="", encoding="utf-8")); '
        f"out.writerow({json.dumps(['file', 'label', *more])}); [out.writerow({cells}) "
        f"for t, n, b, e, c{letters} in {json.dumps(tables)} "
        'for r in [*csv.reader(open(t, newline="", encoding="utf-8-sig"))][1:] '
        f"if {' and '.join(checks)}]"
    )
    return script(code)
