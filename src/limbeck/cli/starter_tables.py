"""What a file with columns looks like: its delimiter, its header, which column is what.

Guesses are made from the names of the columns and from the first rows alone.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.cli.starter_recipe import Guess
from limbeck.core.wording import some
from limbeck.sources._table import LABEL, TEXT

ROWS = 200  # looked at, of each file
SHOWN = 5  # columns or labels that a reason names
SEPARATOR = ";"  # between the labels of a row that has several
DELIMITERS = ",;\t|"
DELIMITER_LINES = 20  # by which the delimiter is chosen
LONGEST_NAME = 4  # words; a first line with more in a cell is a sentence, so it names no columns

# The names that a source takes by itself, and those that people use beside them. `tokens` is left
# out: a column of that name more often holds words to be tagged than a text.
TEXT_NAMES = (
    *(name for name in TEXT if name != "tokens"),
    "tweet",
    "message",
    "comment",
    "body",
    "query",
)
LABEL_NAMES = (*LABEL, "topic", "tag")

Record = Mapping[str, Any]
# (the first records, keys of the source that reads them)
Records = tuple[list[Record], dict[str, Any]]


def look_at_table(path: Path, files: Sequence[Path]) -> Guess:
    """What files with columns, all of one kind, hold.

    `path`: the file, or the folder that they lie in. Raises ValueError where no column can be the
    text or the label, or a file cannot be read.
    """
    # 1. Which file is looked at.
    train = next((file for file in files if file.stem.lower().startswith("train")), None)
    chosen = train or max(files, key=lambda file: file.stat().st_size)
    guess = Guess("text-classification", SOURCE_OF_SUFFIX[chosen.suffix.lower()], path)
    if path.is_dir() and train is None:
        guess.path = chosen
        guess.reasons.append(
            f"no train{chosen.suffix} here, so only the largest file is read: {chosen.name}"
        )

    # 2. Which column is what, and what its values say of the task.
    records, options = READERS[guess.source](chosen)
    text, label = choose_columns(records, str(chosen))
    labels = sorted({str(record[label]) for record in records})
    if has_several_labels(records, label):
        guess.task = "multi-label-classification"
        options["label_separator"] = SEPARATOR
        guess.reasons.append(f"a row of `{label}` holds several labels")
    elif are_scores(labels):
        guess.task = "text-regression"
        guess.reasons.append(
            f"the values of `{label}` are numbers with fractions: scores, not classes"
        )
    guess.options = {**options, "text": text, "label": label}
    second_text = text.replace("1", "2")  # sentence1 and sentence2, question1 and question2
    if second_text != text and second_text in records[0]:
        guess.options["text_b"] = second_text

    # 3. Why.
    guess.reasons.append(
        f"columns {some(list(records[0]), SHOWN)}: `{text}` is the text, `{label}` the label "
        f"(first rows: {some([each for each in labels if each], SHOWN)})"
    )
    if len(files) == 1 or train is None:
        guess.reasons.append("one file: validation and test rows are drawn from it")
    return guess


def has_several_labels(records: Sequence[Record], label: str) -> bool:
    """Whether a row has several labels: a list, or words with a semicolon between them."""
    cells = [record[label] for record in records]
    return any(isinstance(cell, list) or SEPARATOR in str(cell) for cell in cells)


def are_scores(labels: Sequence[str]) -> bool:
    """Whether labels are numbers, and not all of them whole."""
    try:
        return not all(float(label).is_integer() for label in labels)
    except ValueError:  # a word
        return False


def choose_columns(records: Sequence[Record], place: str) -> tuple[str, str]:
    """(the column of the text, that of the label).

    They are found by their names; else the text is the column of most words, and the label that of
    the fewest values. `place`: the file, for messages. Raises ValueError.
    """
    if not records:
        raise ValueError(f"{place}: no row here")
    columns = list(records[0])
    column_of = {column.lower().strip(): column for column in columns}
    texts = [column_of[name] for name in TEXT_NAMES if name in column_of]
    text = texts[0] if texts else max(columns, key=lambda column: num_words(records, column))
    labels = [column_of[name] for name in LABEL_NAMES if name in column_of]
    for label in labels:
        if label != text:
            return text, label
    num_values = {}
    for column in columns:
        values = {str(record.get(column, "")) for record in records}
        # A column of one value says nothing, and one of nearly as many values as rows is an id.
        if column != text and 2 <= len(values) <= max(2, len(records) // 2):
            num_values[column] = len(values)
    if not num_values:
        raise ValueError(
            f"{place}: none of the columns {', '.join(columns)} looks like a label "
            "(two values or more, each in several rows)"
        )
    return text, min(num_values, key=lambda column: num_values[column])


def num_words(records: Sequence[Record], column: str) -> int:
    """How many words a column holds."""
    return sum(len(str(record.get(column, "")).split()) for record in records)


def read_csv(path: Path) -> Records:
    """The first records; the delimiter is found, and whether the first line names the columns."""
    lines = first_lines(path)

    def fewest(mark: str) -> int:
        """How often a mark stands in the line that has fewest of it."""
        return min((line.count(mark) for line in lines[:DELIMITER_LINES]), default=0)

    # The delimiter stands in every line, a comma of a text only in some.
    delimiter = max(DELIMITERS, key=fewest)
    fields = list(csv.reader(io.StringIO("".join(lines)), delimiter=delimiter))
    records, options = with_header(fields)
    if delimiter != ",":  # which the source takes by itself
        options = {"delimiter": delimiter, **options}
    return records, options


def read_tsv(path: Path) -> Records:
    """The first records of lines that are split at tabs, without quoting."""
    return with_header([line.rstrip("\r\n").split("\t") for line in first_lines(path)])


def with_header(rows: Sequence[Sequence[str]]) -> Records:
    """Records of rows of cells; the key `columns` where the first line does not name them."""
    if not rows:
        return [], {}
    first = rows[0]
    if any(is_value(cell) for cell in first):
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        options: dict[str, Any] = {"columns": names}
    else:
        names = list(first)
        options = {}
        rows = rows[1:]
    # A row of another length is for `limbeck check` to tell.
    records = [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]
    return [*records], options


def is_value(cell: str) -> bool:
    """Whether a cell of the first line is no name of a column: a sentence, a number, nothing."""
    is_number = cell.strip().lstrip("-").replace(".", "", 1).isdigit()
    return len(cell.split()) > LONGEST_NAME or not cell.strip() or is_number


def read_jsonl(path: Path) -> Records:
    """The first records of one object a line. Raises ValueError for a line that is none."""
    records: list[Record] = []
    for number, line in enumerate(first_lines(path), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}:{number}:{error.colno}: not JSON: {error.msg}. Write one object a line"
            ) from None
        if not isinstance(content, dict):
            raise ValueError(
                f"{path}:{number}: not an object. Write {{...}} with the columns as keys"
            )
        records.append(content)
    return records, {}


def read_parquet(path: Path) -> Records:
    """The first records. Raises ValueError where pyarrow is not installed or refuses the file."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            f"{path}: pyarrow, which reads parquet files, is not installed. pip install pyarrow"
        ) from None
    try:
        batch = next(parquet.ParquetFile(path).iter_batches(ROWS))
    except (pyarrow.ArrowException, OSError, StopIteration) as error:
        raise ValueError(f"{path}: not a readable parquet file: {error}") from None
    return batch.to_pylist(), {}


def first_lines(path: Path) -> list[str]:
    """At most ROWS lines, with their ends. Raises ValueError for bytes that are not UTF-8."""
    try:
        # Line ends as they are: a field in quotes may hold some.
        with open(path, encoding="utf-8-sig", newline="") as file:
            return list(islice(file, ROWS))
    except UnicodeDecodeError as error:
        value = error.object[error.start : error.end]
        number = bad_line(path)
        raise ValueError(
            f"{path}:{number}: {value!r} is not UTF-8. Save the file as UTF-8"
        ) from None


def bad_line(path: Path) -> int:
    """The number, from 1, of a file's first line that is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            # Only bytes that are no UTF-8 are lost on the way to text and back.
            if line.decode("utf-8", "ignore").encode() != line:
                return number
    return 1


SOURCE_OF_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
READERS: dict[str, Callable[[Path], Records]] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}
