"""Tables of surveys whose header is several rows: what stands below the first of them is no answer,
and would be learned as one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.core.terminal.shell import command, script
from limbeck.sources.csv import MOST_FIELD_CHARACTERS

MOST_ROWS = 2  # below the header, that go on with it
IMPORT_ID = '{"ImportId"'  # Qualtrics writes its own name of a column into the third row
# What SurveyMonkey writes below a question, of which some have several columns.
KINDS = {"Response", "Open-Ended Response"}
MADE = "answers.csv"


def refuse_second_headers(table: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for rows that go on with the header, with the command that leaves them out.

    `records`: the first rows of a csv.
    """
    count = _num_rows(records)
    if not count:
        return
    code = (
        f"import csv; csv.field_size_limit({MOST_FIELD_CHARACTERS}); "
        f'rows = [*csv.reader(open({json.dumps(table.name)}, newline="", encoding="utf-8-sig"))]; '
        f'csv.writer(open("{MADE}", "w", newline="", encoding="utf-8"))'
        f".writerows(rows[:1] + rows[{count + 1}:])"
    )
    raise ValueError(
        f"{table}: of the rows below the header the first {count} go on with it, as tools for "
        f"surveys write them, and hold no answers. Leave these out, in that folder: "
        f"{script(code)} && {command('init', MADE)}"
    )


def _num_rows(records: Sequence[Mapping[str, Any]]) -> int:
    """How many of the first rows go on with the header."""
    for number, record in enumerate(records[:MOST_ROWS], 1):
        cells = [str(cell).strip() for cell in record.values() if cell and str(cell).strip()]
        if cells and all(cell.startswith(IMPORT_ID) for cell in cells):
            return number
        # Of a table of answers alone `Response` could be one; beside it others stay empty.
        if number == 1 and len(cells) < len(record) and cells and set(cells) <= KINDS:
            return number
    return 0
