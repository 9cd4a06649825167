"""Numbers with a comma before their fraction, as spreadsheets write them in most of Europe."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.cli.first_recipe.table_columns.columns import choose
from limbeck.cli.first_recipe.table_columns.labels import values_of
from limbeck.core.terminal.shell import command, script
from limbeck.core.wording import some
from limbeck.sources._split_files import split_of
from limbeck.sources._unpacked import bare_name
from limbeck.sources.csv import MOST_FIELD_CHARACTERS

Record = Mapping[str, Any]

MADE = "rows"  # the folder that a command makes, below that of the data
NUMBER = re.compile(r"\s*([-+]?[0-9]+)(?:,([0-9]+))?\s*")
SHOWN = 3


def refuse_decimal_commas(
    files: Sequence[Path], records: Sequence[Record], options: Mapping[str, Any]
) -> None:
    """Raise ValueError where a label or a share is such a number: each would be a class of its
    own. With the command that writes points.

    `files`: the one of train first, of which `records` are the first rows and `options` the keys.
    """
    delimiter = options.get("delimiter", ",")
    columns = [name for name in (records[0] if records else {}) if _has_commas(records, name)]
    # Between commas `1,2` may as well be two labels.
    if not columns or delimiter == ",":
        return
    pointed = [{k: _pointed(v) if k in columns else v for k, v in r.items()} for r in records]
    try:
        found = choose(pointed, str(files[0])).options
    except ValueError:
        return
    learned = [name for name in columns if name in _labels(found)]
    if not learned:
        return
    train = files[0]
    of_splits = [file.name for file in files if split_of(Path(bare_name(file)).stem)]
    given = list(dict.fromkeys([train.name, *of_splits]))
    encoding = options.get("encoding", "utf-8-sig")
    numbers = [list(records[0]).index(name) for name in columns]
    code = (
        f"import csv, os; csv.field_size_limit({MOST_FIELD_CHARACTERS}); "
        f'os.makedirs("{MADE}", exist_ok=True); '
        f'[csv.writer(open("{MADE}/" + f, "w", newline="", encoding="utf-8")).writerows('
        f'[c.replace(",", ".") if n in {json.dumps(numbers)} else c for n, c in enumerate(r)] '
        f'for r in csv.reader(open(f, newline="", encoding={json.dumps(encoding)}), '
        f"delimiter={json.dumps(delimiter)})) for f in {json.dumps(given)}]"
    )
    shown = some([f"`{name}`" for name in learned], SHOWN)
    first = values_of(records, learned[0])[0]
    raise ValueError(
        f"{train}: numbers with a comma in {shown} ({first}), which would be read as words. "
        "Write them with a point, in that folder: "
        f"{script(code)} && {command('init', MADE)}"
    )


def _has_commas(records: Sequence[Record], name: str) -> bool:
    """Whether a column holds numbers, most of them with a comma."""
    matches = [NUMBER.fullmatch(str(value)) for value in values_of(records, name)]
    num_commas = sum(bool(match and match[2]) for match in matches)
    return all(matches) and 2 * num_commas > len(matches) > 0


def _pointed(cell: Any) -> Any:
    return str(cell).replace(",", ".") if cell is not None else None


def _labels(options: Mapping[str, Any]) -> set[str]:
    """The columns that a recipe learns from."""
    return {str(options.get("label")), *options.get("label_columns", ())}
