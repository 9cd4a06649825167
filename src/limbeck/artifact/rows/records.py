"""Rows of a file or of standard input, one at a time, each with its number: csv, tsv, JSON lines,
JSON, Parquet, and plain lines.

A row that cannot be read is handed on as what is wrong with it, in its place, so that whoever
answers rows answers every one. Memory does not grow with the file, a JSON array aside. The readers
of training data (`limbeck.sources`) differ in that: they check all rows before the first is used.
"""

import csv
import gzip
import io
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from limbeck.core import wording
from limbeck.core.files import naming, require_file_or_stream
from limbeck.sources._files import Lines
from limbeck.sources._json_documents import named_row
from limbeck.sources.jsonl import document_of

# What a file's suffix says of its rows; any other file holds one text a line.
FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "lines",
}
WORD_COLUMNS = "conll"
FORMATS = (*dict.fromkeys(FORMAT_OF_SUFFIX.values()), WORD_COLUMNS)
OF_ZIP = b"PK\3\4"  # with which an archive begins, whatever it is called
# Of one line, so that a file without a line's end cannot fill the memory.
MOST_CHARACTERS = 1 << 25
# Of a longer line, what is passed over to find its end: a terabyte of zeros has none.
MOST_LEFT_OUT = 1 << 26
SHOWN_CHARACTERS = 200
# Lines that a quoted field may go on for: behind a quote that is never closed, a file's rows are
# read again from the next line on.
MOST_LINES_OF_A_RECORD = 1000
DELIMITERS = ",;\t|"
SURROGATE = re.compile("[\ud800-\udfff]")
SHOWN_KEYS = 24  # columns that a message lists


@dataclass(frozen=True)
class Record:
    """A row as it was found. `line`: of its file, from 1 (of Parquet and JSON arrays, the row).
    `content`: a text, or a dict of its cells by column. `problem`: what is wrong with it, with the
    cure."""

    line: int
    content: Any
    problem: str | None = None


def format_of(path: Path) -> str:
    """What the suffix of a file says of its rows; `.gz` behind it is looked through."""
    name = path.with_suffix("") if path.suffix == ".gz" else path
    return FORMAT_OF_SUFFIX.get(name.suffix.lower(), "lines")


def _never(line: str) -> bool:
    return False


def _first_line(fields: list[str]) -> list[str] | None:
    return None


@dataclass(frozen=True)
class Dialect:
    """How the files of an artifact's user are written, as far as they do not say it themselves.

    `delimiter`: of a csv, where its first line holds one; else the first of comma, semicolon, tab
    and bar that it holds. `encoding`: of lines that are not UTF-8. `names_for`: the first line's
    fields to the names of the columns, where that line is a row; None where it is the header.
    `has_quotes`: whether a quote in a csv begins a field that may hold its delimiter.
    `skip_lines`: how many lines may stand above a table; `begins`: whether a line is its first.
    """

    delimiter: str | None = None
    encoding: str | None = None
    names_for: Callable[[list[str]], list[str] | None] = _first_line
    has_quotes: bool = True
    skip_lines: int = 0
    begins: Callable[[str], bool] = _never


AS_IT_SAYS = Dialect()


def read_records(path: Path, form: str, dialect: Dialect = AS_IT_SAYS) -> Iterator[Record]:
    """The rows of a file of the format `form`.

    Raises ValueError for a file that cannot be read at all.
    """
    if form == "parquet":
        if path.suffix == ".gz":
            raise ValueError(f"{path}: Parquet in gzip, which is packed twice. gunzip it")
        yield from _parquet_records(path)
        return
    require_file_or_stream(path)
    # A pipe has no beginning to look at.
    if path.is_file():
        with naming(path), open(path, "rb") as opened:
            if opened.read(len(OF_ZIP)) == OF_ZIP:
                raise ValueError(f"{path}: an archive. Unpack it, and name a file or folder of it")
    rows = None
    if form == "json" and path.is_file():
        rows = document_of(path, encoding_for(path, dialect.encoding))
    if rows is not None:
        yield from _row_records(rows)
        return
    with (
        naming(path),
        gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file,
    ):
        try:
            yield from stream_records(file, form, dialect)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: not a whole gzip file: {error}. Copy it again") from None


def encoding_for(path: Path, encoding: str | None) -> str | None:
    """The encoding of a recipe, where a file is not UTF-8; None where it is, as who wrote a table
    in Windows-1252 for a training may send UTF-8 later."""
    if not encoding:
        return None
    lines = Lines(path)
    return encoding if any(lines.problem for _ in lines) else None


def _row_records(rows: Sequence[Any]) -> Iterator[Record]:
    """The rows of a JSON document, as training reads them."""
    for number, row in enumerate(rows, 1):
        yield Record(number, named_row(row))


def stream_records(file: Any, form: str, dialect: Dialect = AS_IT_SAYS) -> Iterator[Record]:
    """The rows of bytes that come one after the other, such as those of standard input."""
    if form == "parquet":
        raise ValueError("Parquet is read from a file, not from standard input. Name the file")
    # A line of a csv may end in a carriage return alone; in a text that is a character.
    lines = numbered_lines(file, newline="" if form == "csv" else "\n")
    if dialect.encoding:
        lines = _decoded(lines, dialect.encoding)
    if form in ("csv", "tsv"):
        yield from _table_records(_below_title(lines, dialect), dialect, is_quoted=form == "csv")
    elif form == "json":
        yield from _json_records(lines)
    else:
        yield from _line_records(lines, form == "jsonl")


def _below_title(lines: Iterator[tuple[int, str]], dialect: Dialect) -> Iterator[tuple[int, str]]:
    """The lines of a table, without those above it: a file that is sent later may have none."""
    if not dialect.skip_lines:
        return lines
    first = list(islice(lines, dialect.skip_lines + 1))
    begins = (number for number, (_, line) in enumerate(first) if dialect.begins(line))
    return chain(first[next(begins, 0) :], lines)


def numbered_lines(file: BinaryIO, newline: str) -> Iterator[tuple[int, str]]:
    """(number, line with its end) of UTF-8 or, where it begins with that mark, of UTF-16.

    A byte that is not UTF-8 becomes U+DC80 to U+DCFF (`surrogateescape`), which `unreadable` finds.
    A line of more than `MOST_CHARACTERS` is cut there.
    """
    # Standard input cannot go back, so that what was looked at is put before the rest.
    head = file.read1(2) if isinstance(file, io.BufferedReader) else file.read(2)
    is_utf16 = head in (b"\xff\xfe", b"\xfe\xff")
    text = io.TextIOWrapper(
        io.BufferedReader(_Joined(head, file)),
        encoding="utf-16" if is_utf16 else "utf-8-sig",
        errors="replace" if is_utf16 else "surrogateescape",
        newline=newline,
    )
    number = 0
    while line := text.readline(MOST_CHARACTERS + 1):
        number += 1
        yield number, line
        # The rest of a line that is too long is passed over: the next row is answered.
        left_out = 0
        while len(line) > MOST_CHARACTERS and not line.endswith("\n"):
            line = text.readline(MOST_CHARACTERS + 1)
            left_out += len(line)
            if left_out > MOST_LEFT_OUT:
                raise ValueError(
                    f"line {number}: {left_out:,} characters and no end of the line. Is this text?"
                )


def _decoded(lines: Iterable[tuple[int, str]], encoding: str) -> Iterator[tuple[int, str]]:
    """The lines, of which those that are not UTF-8 are read in another encoding.

    A line at a time: who wrote a table in Windows-1252 for a training may send UTF-8 later.
    """
    for number, line in lines:
        if not SURROGATE.search(line):
            yield number, line
            continue
        try:
            yield number, line.encode("utf-8", "surrogateescape").decode(encoding)
        except (UnicodeError, LookupError):  # as before, and told as what is not UTF-8
            yield number, line


class _Joined(io.RawIOBase):
    """Bytes that were read already, and the file that they were read from."""

    def __init__(self, head: bytes, file: Any) -> None:
        self.head = head
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.head:
            part, self.head = self.head[: len(buffer)], self.head[len(buffer) :]
        elif isinstance(self.file, io.BufferedReader):
            # What is there: who writes a line into a pipe waits for its answer.
            part = self.file.read1(len(buffer))
        else:
            part = self.file.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def unreadable(line: str) -> str | None:
    """What is wrong with a line as text, with the cure; None where nothing is."""
    if len(line) > MOST_CHARACTERS:
        return f"a line of more than {MOST_CHARACTERS:,} characters. Break it into several"
    wrong = SURROGATE.search(line)
    if wrong is None:
        return None
    byte = ord(wrong.group()) - 0xDC00
    return (
        f"character {wrong.start() + 1}: the byte 0x{byte:02x} is not UTF-8. Save the text as UTF-8"
    )


def shown(line: str) -> str:
    """A line that cannot be read, for its answer: of one that is too long the beginning."""
    return line[:SHOWN_CHARACTERS] if len(line) > MOST_CHARACTERS else line


def _line_records(lines: Iterable[tuple[int, str]], is_json: bool) -> Iterator[Record]:
    """Texts, or JSON objects, one a line. Where the first is an object, all must be."""
    is_first = True
    for number, line in lines:
        text = line.rstrip("\r\n")
        problem = unreadable(text)
        if problem:
            yield Record(number, shown(text), problem)
            continue
        # Plain lines may be JSON lines: nobody says so on standard input.
        record = Record(number, text)
        if is_json or text.lstrip().startswith("{"):
            record = _json_record(number, text)
            # A text may begin with a brace; a broken line among objects is a mistake.
            if record.problem and not is_json:
                record = Record(number, text)
            is_json = is_json or (is_first and isinstance(record.content, dict))
        is_first = is_first and not text.strip()
        yield record


def _json_record(number: int, line: str) -> Record:
    """One object, or text in quotes, of JSON lines."""
    if not line.strip():
        return Record(number, line)
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"character {error.colno}: not JSON: {error.msg}. Write one object a line"
        return Record(number, line, problem)
    except (ValueError, RecursionError):
        problem = "a number too long, or brackets too deep, to read. Write one flat object a line"
        return Record(number, line, problem)
    if not isinstance(content, dict | str):
        kind = wording.json_kind(content)
        return Record(number, line, f"{kind}, not an object. Write {{...}} with columns as keys")
    return Record(number, content)


def _json_records(lines: Iterator[tuple[int, str]]) -> Iterator[Record]:
    """The objects or texts of one array, or of JSON lines under the suffix of JSON."""
    number, first = next(lines, (1, ""))
    if not first.lstrip().startswith("["):
        yield from _line_records(_again([(number, first)], lines), True)
        return
    # An array is one text, and is held whole.
    text = first + "".join(line for _, line in lines)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON array: {error}. Write an array of objects") from None
    for number, row in enumerate(rows, 1):
        problem = None
        if not isinstance(row, dict | str):
            kind = wording.json_kind(row)
            problem = f"{kind}, not an object. Write {{...}} with columns as keys"
        yield Record(number, row, problem)


def _again(
    before: Iterable[tuple[int, str]], lines: Iterable[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    yield from before
    yield from lines


def _parquet_records(path: Path) -> Iterator[Record]:
    from limbeck.sources import fail
    from limbeck.sources.parquet import Parquet

    table = Parquet(str(path))
    columns = table.header(path)
    for number, (_, cells) in enumerate(table.records(path, columns, fail), 1):
        yield Record(number, cells)


def _table_records(
    lines: Iterator[tuple[int, str]], dialect: Dialect, *, is_quoted: bool
) -> Iterator[Record]:
    """The records of a table whose first line that is not blank names the columns, unless the
    dialect does."""
    # The library's limit of 131,072 is for a whole process; lines are limited above.
    csv.field_size_limit(sys.maxsize)
    waiting: deque[tuple[int, str]] = deque()
    header: list[str] | None = None
    delimiter = "\t"
    while taken := _next_line(waiting, lines):
        number, line = taken
        if header is None:
            if not line.strip():
                continue
            delimiter = _delimiter_of(line, dialect) if is_quoted else delimiter
        # A quoted field may go on over several lines, which then are one record.
        has_quotes = is_quoted and dialect.has_quotes
        fields, problem = _fields(taken, waiting, lines, delimiter, has_quotes)
        if header is None:
            # Without a header no row has a meaning.
            if problem:
                raise ValueError(f"line {number}: {problem}")
            names = dialect.names_for(fields)
            header = [name.strip() for name in names or fields]
            check_header(header, number)
            if names is None:
                continue
        is_blank = fields in ([], [""])
        if not problem and not is_blank and len(fields) != len(header):
            cure = f"Put a field that holds {delimiter!r} into double quotes"
            if not has_quotes:
                cure = f"Replace {delimiter!r} in a field by a space: quotes are letters here"
            told = f"{len(fields)} columns, but the header has {len(header)} ({listed(header)})"
            problem = f"{told}. {cure}"
        if problem:
            yield Record(number, shown(line.rstrip("\r\n")), problem)
        # A blank line is a row too, or the answers would no longer stand beside their lines.
        elif is_blank:
            yield Record(number, dict.fromkeys(header, ""))
        else:
            yield Record(number, dict(zip(header, fields, strict=True)))


def _delimiter_of(line: str, dialect: Dialect) -> str:
    """The delimiter of a csv by its first line."""
    marks = (dialect.delimiter or "", *DELIMITERS)
    return next((mark for mark in marks if mark and mark in line), ",")


def _fields(
    taken: tuple[int, str],
    waiting: deque[tuple[int, str]],
    lines: Iterator[tuple[int, str]],
    delimiter: str,
    is_quoted: bool,
) -> tuple[list[str], str | None]:
    """The fields of the record that begins with the line `taken`, and what is wrong with it.

    Of a broken record, the lines after its first are put back: they may be rows of their own.
    """
    used = [taken]
    if not is_quoted:
        return taken[1].rstrip("\r\n").split(delimiter), unreadable(taken[1])

    def following() -> Iterator[str]:
        yield taken[1]
        while len(used) < MOST_LINES_OF_A_RECORD and (more := _next_line(waiting, lines)):
            used.append(more)
            yield more[1]

    try:
        fields = next(csv.reader(following(), delimiter=delimiter, strict=True), [])
        problem = unreadable("".join(line for _, line in used))
    except csv.Error as error:
        fields = []
        problem = f"broken quoting: {error}. "
        problem += 'Close the quotes of a field, and write "" for a quote inside it'
        if "end of data" in str(error):
            problem = "a quote that begins here is never closed. "
            problem += 'Close it, or write "" for a quote inside a quoted field'
    # `extendleft` turns the order round.
    if problem:
        waiting.extendleft(reversed(used[1:]))
    return fields, problem


def _next_line(
    waiting: deque[tuple[int, str]], lines: Iterator[tuple[int, str]]
) -> tuple[int, str] | None:
    return waiting.popleft() if waiting else next(lines, None)


def check_header(header: Sequence[str], number: int) -> None:
    """Raise ValueError for two columns of one name; spreadsheets leave some without any."""
    seen = set()
    for name in header:
        if name and name in seen:
            raise ValueError(f"line {number}: the column `{name}` is here twice. Rename one")
        seen.add(name)


def listed(columns: Sequence[str]) -> str:
    """The first columns of many, for a message."""
    return ", ".join(map(str, columns[:SHOWN_KEYS])) or "none"
