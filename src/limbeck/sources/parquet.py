"""Texts and labels in Apache Parquet files, read by pyarrow (pip install 'limbeck[parquet]').

Where the library `datasets` wrote a file, the numbers of a `ClassLabel` are read by their names.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.core.files import require_file
from limbeck.sources import OnBadRow
from limbeck.sources._files import checked_header
from limbeck.sources._table import Table

# Rows that are held as Python objects at a time: large enough that a batch's overhead does not
# show, and a few megabytes of text.
BATCH_ROWS = 10_000
HUB = b"huggingface"  # the key of the schema's metadata under which `datasets` describes columns


@dataclass(frozen=True)
class Parquet(Table):
    """The keys of every table, and no other."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def header(self, path: Path) -> list[str]:
        """The columns of a file. Raises ValueError."""
        with _opened(path) as file:
            return checked_header(file.schema_arrow.names, path)

    def records(
        self, path: Path, columns: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(its number from 1, its cells of `columns`) of each row."""
        # Two keys of a recipe may name one column, and pyarrow would give it twice. None asked for
        # are all.
        wanted = list(dict.fromkeys(columns))
        number = 0
        with _opened(path) as file:
            names_of = {} if self.label_names else class_names(file.schema_arrow.metadata)
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted or None):
                for record in batch.to_pylist():
                    number += 1
                    for column, names in names_of.items():
                        if column in record:
                            record[column] = named(record[column], names)
                    yield f"row {number}", record


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """What the numbers of a column stand for, where the library `datasets` wrote it into a file."""
    try:
        written = json.loads((metadata or {}).get(HUB, b"{}"))
        features = written.get("info", {}).get("features", {})
        found = {column: _names_in(feature) for column, feature in features.items()}
    except (ValueError, AttributeError, RecursionError):  # another program's, or broken
        return {}
    return {column: names for column, names in found.items() if names}


def _names_in(feature: Any) -> list[str]:
    """The names of a column's feature; none where it is no `ClassLabel`, nor a list of these."""
    # Older versions write a list of one feature, newer ones a feature of a feature.
    while isinstance(feature, list) and feature:
        feature = feature[0]
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") == "ClassLabel":
        return [str(name) for name in feature.get("names", [])]
    return _names_in(feature.get("feature"))


def named(cell: Any, names: Sequence[str]) -> Any:
    """A cell with names in place of its numbers; None for -1, which is a label kept secret."""
    if isinstance(cell, list):
        return [named(part, names) for part in cell]
    if not isinstance(cell, int) or cell >= len(names):
        return cell
    return names[cell] if cell >= 0 else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, open. Raises ValueError where it cannot be read, or pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            "data.source: parquet files need pyarrow. pip install 'limbeck[parquet]'"
        ) from None
    require_file(path)
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # pyarrow's messages go on for lines with what its C++ was doing.
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not a Parquet file that can be read: {reason}. Write it again"
        ) from None
