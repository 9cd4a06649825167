"""Numbers as spreadsheets write them for people: with a comma before their fraction, as in most of
Europe, or with a percent sign."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.table_columns.columns import choose
from limbeck.cli.first_recipe.table_columns.labels import values_of
from limbeck.cli.first_recipe.table_columns.several import are_several_numbers
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name
from limbeck.sources.csv import MOST_FIELD_CHARACTERS

Record = Mapping[str, Any]

MADE = "rows"  # the folder that a command makes, below that of the data
NUMBER = re.compile(r"\s*([-+]?[0-9]+)(?:,([0-9]+))?\s*")
PERCENT = re.compile(r"\s*[-+]?[0-9]+(?:[.,][0-9]+)?\s*%\s*")
FEWEST_SHARES = 10  # by which percentages measure; of fewer each may well be a class
SHOWN = 3


def refuse_decimal_commas(
    files: Sequence[Path], records: Sequence[Record], options: Mapping[str, Any]
) -> None:
    """Raise ValueError where a label or a share is such a number: each would be a class of its
    own. With the command that writes points.

    `files`: the one of train first, of which `records` are the first rows and `options` the keys.
    """
    columns = [name for name in (records[0] if records else {}) if _has_commas(records, name)]
    # Between commas `1,2` may as well be two labels.
    if not columns or _delimiter(files[0], options) == ",":
        return
    pointed = [{k: _pointed(v) if k in columns else v for k, v in r.items()} for r in records]
    learned = _learned(columns, pointed, files[0])
    if not learned:
        return
    shown = some([f"`{name}`" for name in learned], SHOWN)
    first = values_of(records, learned[0])[0]
    cure = _rewriting(files, records, columns, options, 'c.replace(",", ".")')
    raise ValueError(
        f"{files[0]}: numbers with a comma in {shown} ({first}), which would be read as words. "
        f"Write them with a point, in that folder: {cure} && {command('init', MADE)}"
    )


def refuse_percents(
    files: Sequence[Path], records: Sequence[Record], options: Mapping[str, Any]
) -> None:
    """Raise ValueError where the label is a number with a percent sign, with the command that
    writes it without; the arguments are those of `refuse_decimal_commas`."""
    columns = [name for name in (records[0] if records else {}) if _has_percents(records, name)]
    learned = _learned(columns, records, files[0])
    if not learned:
        return
    first = str(values_of(records, learned[0])[0])
    told = (
        f"{files[0]}: numbers with a percent sign in `{learned[0]}` ({first}), each of which would "
        "be a class"
    )
    if not Path(bare_name(files[0])).suffix.lower().endswith(("csv", "tsv", "tab")):
        raise ValueError(f"{told}. Write them as numbers: {first.strip().rstrip('% ')}")
    cure = _rewriting(files, records, columns, options, 'c.replace("%", "").strip()')
    raise ValueError(
        f"{told}. Write them without it, in that folder: {cure} && {command('init', MADE)}"
    )


def _learned(columns: Sequence[str], records: Sequence[Record], train: Path) -> list[str]:
    """Those of the columns that a recipe would learn from."""
    if not columns:
        return []
    try:
        found = choose(records, str(train)).options
    except ValueError:
        return []
    return [name for name in columns if name in _labels(found)]


def _delimiter(file: Path, options: Mapping[str, Any]) -> str:
    is_tabbed = Path(bare_name(file)).suffix.lower() in (".tsv", ".tab")
    return str(options.get("delimiter", "\t" if is_tabbed else ","))


def _rewriting(
    files: Sequence[Path],
    records: Sequence[Record],
    columns: Sequence[str],
    options: Mapping[str, Any],
    written: str,
) -> str:
    """The command that writes the tables once more, with `written` in place of a cell `c` of the
    columns."""
    of_splits = [file.name for file in files if split_of(Path(bare_name(file)).stem)]
    given = list(dict.fromkeys([files[0].name, *of_splits]))
    delimiter = _delimiter(files[0], options)
    encoding = options.get("encoding", "utf-8-sig")
    numbers = [list(records[0]).index(name) for name in columns]
    # A table that is called .tsv is read by its tabs, and quotes in it are letters.
    is_tabbed = _delimiter(files[0], {}) == "\t"
    bare = ", quoting=csv.QUOTE_NONE"
    quoting = bare if is_tabbed or options.get("quoting") == "none" else ""
    writer = f', delimiter="\\t", quotechar=None{bare}' if is_tabbed else ""
    code = (
        f"import csv, os; csv.field_size_limit({MOST_FIELD_CHARACTERS}); "
        f'os.makedirs("{MADE}", exist_ok=True); '
        f'[csv.writer(open("{MADE}/" + f, "w", newline="", encoding="utf-8"){writer}).writerows('
        f"[{written} if n in {json.dumps(numbers)} else c for n, c in enumerate(r)] "
        f'for r in csv.reader(open(f, newline="", encoding={json.dumps(encoding)}), '
        f"delimiter={json.dumps(delimiter)}{quoting})) for f in {json.dumps(given)}]"
    )
    return script(code)


def _has_percents(records: Sequence[Record], name: str) -> bool:
    """Whether a column holds numbers with a percent sign, more of them than classes would be."""
    values = [str(value) for value in values_of(records, name)]
    num_percents = sum(bool(PERCENT.fullmatch(value)) for value in values)
    are_numbers = all(PERCENT.fullmatch(value) or NUMBER.fullmatch(value) for value in values)
    return are_numbers and 2 * num_percents > len(values) and len(set(values)) >= FEWEST_SHARES


def _has_commas(records: Sequence[Record], name: str) -> bool:
    """Whether a column holds numbers, most of them with a comma."""
    cells = [str(value).strip() for value in values_of(records, name)]
    matches = [NUMBER.fullmatch(cell) for cell in cells]
    num_commas = sum(bool(match and match[2]) for match in matches)
    are_numbers = all(matches) and 2 * num_commas > len(matches) > 0
    return are_numbers and not are_several_numbers(cells)


def _pointed(cell: Any) -> Any:
    return str(cell).replace(",", ".") if cell is not None else None


def _labels(options: Mapping[str, Any]) -> set[str]:
    """The columns that a recipe learns from."""
    return {str(options.get("label")), *options.get("label_columns", ())}
