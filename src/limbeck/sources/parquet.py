"""Texts and labels in Apache Parquet files, read in batches by pyarrow (pip install 'limbeck[parquet]')."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from limbeck.sources import OnBadRow
from limbeck.sources._files import checked_header
from limbeck.sources._table import Table

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Parquet(Table):
    """The keys of a table."""

    suffix: ClassVar[str] = ".parquet"
    mark: ClassVar[str] = ": row "

    def header(self, path: Path) -> list[str]:
        with _opened(path) as file:
            return checked_header(file.schema_arrow.names, path)

    def records(
        self, path: Path, columns: Sequence[str], bad: OnBadRow
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        with _opened(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(columns))):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file. Raises ValueError where it is none that can be read, or pyarrow is not installed."""
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
        raise ValueError(
            f"{path}: not a Parquet file that can be read: {str(error).splitlines()[0]}. Write it again"
        ) from None
