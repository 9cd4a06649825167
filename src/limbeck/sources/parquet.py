"""Texts and labels in Apache Parquet files, read by pyarrow (pip install 'limbeck[parquet]')."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import OnBadRow
from limbeck.sources._files import checked_header
from limbeck.sources._table import Table

# Rows that are held as Python objects at a time: large enough that a batch's overhead does not
# show, and a few megabytes of text.
BATCH_ROWS = 10_000


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
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted or None):
                for record in batch.to_pylist():
                    number += 1
                    yield f"row {number}", record


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
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # pyarrow's messages go on for lines with what its C++ was doing.
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not a Parquet file that can be read: {reason}. Write it again"
        ) from None
