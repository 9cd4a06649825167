"""Words in columns, one a line, as an artifact's recipe had them in training."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.artifact.rows.columns import COLUMNS
from limbeck.artifact.rows.records import encoding_for
from limbeck.sources import BadRow
from limbeck.sources._column_names import plain
from limbeck.sources._files import Lines
from limbeck.sources._unpacked import bare_name
from limbeck.sources.conll import SUFFIXES, Conll, split_columns

# A .txt may as well hold a text a line.
LINES = 40  # by which a .txt is told to be words, one a line
OF_WORDS = {".tsv", *SUFFIXES} - {".txt", ""}


def are_word_columns(path: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether a file holds words in columns, by its suffix and by what was trained on."""
    suffix = Path(bare_name(path)).suffix.lower()
    if recipe.get("source") != "conll" or suffix not in (".txt", *OF_WORDS):
        return False
    if suffix == ".txt":
        return _is_in_columns(path)
    if suffix != ".tsv":
        return True
    # A table has its columns' names in the first line.
    first = next(iter(Lines(path)), "")
    return not {plain(field) for field in first.split("\t")} & set(COLUMNS["words"])


def _is_in_columns(path: Path) -> bool:
    """Whether the first lines of a file that are not blank have as many columns each, two or more;
    texts have not."""
    lines = islice(Lines(path), LINES)
    # Two lines may agree by chance; a blank line between sentences has no columns.
    rows = [columns for line in lines if (columns := split_columns(line))]
    return len(rows) > 2 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1


def column_reader(source: str, recipe: Mapping[str, Any], scheme: str | None = None) -> Conll:
    """The reader of words in columns, as the recipe set it. `scheme`: of the tags, where they are
    written in another one."""
    is_conll = recipe.get("source") == "conll"
    # Another source's recipe has keys of the same names with another meaning.
    keys = recipe if is_conll else {}
    return Conll(
        source,
        scheme=scheme or keys.get("scheme") or "iob2",
        word_column=keys.get("word_column") or 1,
        tag_column=keys.get("tag_column"),
        comments=keys.get("comments"),
        encoding=encoding_for(Path(source), keys.get("encoding")),
    )


@contextlib.contextmanager
def spooled(stdin: Any) -> Iterator[Path]:
    """Standard input as a file, for readers that look at a file more than once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "standard input")
        with open(file, "wb") as copy:
            shutil.copyfileobj(stdin, copy)
        yield file


def sentences(path: Path, recipe: Mapping[str, Any]) -> Iterator[tuple[int, list[str], str | None]]:
    """(the line of its first word, the words, what is wrong with them or None) of each sentence of
    a file, in order."""
    for line, row in column_reader(str(path), recipe).numbered(path, tagged=False):
        if isinstance(row, BadRow):
            yield line, row.content["words"], str(row)
        else:
            yield line, row["words"], None
