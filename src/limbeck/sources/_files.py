"""What readers of text files share: their lines, their header, their records."""

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from limbeck.sources import BadRow, OnBadRow
from limbeck.sources._encodings import checked_codec, judge
from limbeck.sources._unpacked import open_bytes

# What the first bytes of a file say of its encoding. The marks of UTF-32 begin as those of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
SHOWN_CHARACTERS = 200  # of a line that is not read
HEAD_BYTES = 1 << 16  # by which the ends of lines are told


# Of one line, 32 MiB: a book is a twentieth of it. A file without line ends, of a terabyte perhaps,
# would else be one line in memory.
MOST_LINE_BYTES = 32 << 20
TOO_LONG = (
    f"a line of more than {MOST_LINE_BYTES:,} bytes. "
    "A row is a line: put line ends between the rows"
)
LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")
# Of one line, delimiters: Python takes sixty bytes for a cell, however short it is.
MOST_CELLS = 1_000_000


def ended_at_returns(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a csv, where a carriage return alone ends one too: files are joined from
    systems of both kinds, and `csv.reader` raises at it outside of quotes."""
    for line in lines:
        yield from filter(None, LONE_RETURN.split(line))


@dataclass
class Lines:
    """The lines of a text file, each with its line end; `number` is that of the last one read.

    `skip_lines`: at the beginning, that are left out, such as a title and where a table comes from.
    `encoding`: left out, UTF-8, or what a byte order mark says. A line ends at a line feed, or
    where the file has none at a carriage return, as old spreadsheets write it.

    A line that cannot be used (bytes that are not of the encoding, a NUL character) is passed on
    all the same, with U+FFFD for what cannot be decoded, and `check` then raises what is wrong with
    it. An iterator that raised would be at its end, and `csv.reader`, which pulls the lines itself,
    could not go on with the next one.
    """

    path: Path
    encoding: str | None = None
    skip_lines: int = 0
    number: int = 0
    problem: BadRow | None = None
    cure: str = ""

    def __iter__(self) -> Iterator[str]:
        if self.skip_lines < 0:
            raise ValueError(f"data.skip_lines: {self.skip_lines} is no number of lines. Take 0")
        for line in self._all_lines():
            if self.number > self.skip_lines:
                yield line
            else:
                self.problem = None

    def _all_lines(self) -> Iterator[str]:
        if self.encoding:
            checked_codec("data.encoding", self.encoding)
        with open_bytes(self.path) as file:
            head = file.peek(HEAD_BYTES)[:HEAD_BYTES]  # type: ignore[attr-defined]
            encoding = self.encoding or _encoding_of(head)
            # A character of two or four bytes holds line feeds that end no line.
            if encoding.replace("_", "-").lower().startswith(("utf-16", "utf-32")):
                yield from self._wide_lines(file, encoding)
                return
            # Bytes, so that a line that cannot be decoded does not end the file, and so that a line
            # ends at a line feed alone: text mode would end it at a lone carriage return too.
            end = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
            for raw in _ended_by(end, file, str(self.path)):
                self.number += 1
                yield self._decoded(raw, encoding)

    def _wide_lines(self, file: BinaryIO, encoding: str) -> Iterator[str]:
        """The lines of a file in UTF-16 or UTF-32."""
        with io.TextIOWrapper(file, encoding, errors="replace", newline="\n") as text:
            # A character is two bytes or more.
            most = MOST_LINE_BYTES // 2
            while line := text.readline(most + 1):
                self.number += 1
                if len(line) > most:
                    raise ValueError(f"{self.path}:{self.number}: {TOO_LONG}")
                if "\ufffd" in line or "\0" in line:
                    self._keep(0, f"not {encoding}. Save the file as UTF-8", line)
                yield line

    def narrow(self, delimiter: str) -> Iterator[str]:
        """The lines, but an empty one in place of each that parts into too many cells."""
        for line in self:
            num_cells = line.count(delimiter)
            if num_cells > MOST_CELLS:
                problem = (
                    f"{num_cells:,} cells, parted by {delimiter!r}, and at most {MOST_CELLS:,} are "
                    "read. Is this a table, and is that what parts its cells?"
                )
                self._keep(0, problem, line[:SHOWN_CHARACTERS])
                yield "\n"
            else:
                yield line

    def check(self) -> None:
        """Raise BadRow for the first bad line since the last call."""
        problem = self.problem
        self.problem = None
        if problem:
            raise problem

    def _decoded(self, raw: bytes, encoding: str) -> str:
        # The mark stands before the first line alone.
        if encoding == "utf-8-sig" and self.number > 1:
            encoding = "utf-8"
        try:
            line = raw.decode(encoding)
        except UnicodeDecodeError as error:
            # A few bytes after the wrong one help to find the word in an editor.
            value = raw[error.start : error.start + 4]
            line = raw.decode(encoding, "replace")
            name = "UTF-8" if encoding.startswith("utf-8") else encoding
            # Once a file: to judge a line takes a thousand times as long as to read it.
            self.cure = self.cure or encoding_cure([raw])
            self._keep(error.start, f"{value!r} is not {name}. {self.cure}", line)
            return line
        if "\0" in line:
            self._keep(line.index("\0"), "a NUL character. Remove it", line)
        return line

    def _keep(self, index: int, problem: str, line: str) -> None:
        """Keep what is wrong with this line, unless something was wrong before it."""
        place = f"{self.path}:{self.number}:{index + 1}"
        self.problem = self.problem or BadRow(place, problem, line)


def filled_lines(lines: Lines, on_bad_row: OnBadRow) -> Iterator[str]:
    """The lines that are not blank, without the blanks around them; bad ones go to `on_bad_row`."""
    for line in lines:
        try:
            lines.check()
        except BadRow as row:
            on_bad_row(row)
            continue
        if line.strip():
            yield line.strip()


def folder_with(expected: str, path: str) -> Path:
    """The folder of `data.path`. Raises ValueError where it is none; `expected`: what it holds."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"data.path: `{path}` is no folder. It should hold {expected}")
    return folder


def encoding_cure(lines: Sequence[bytes]) -> str:
    """What to do about lines that are not of the encoding that they are read in."""
    judgement = judge(lines)
    cure = "Save the file as UTF-8, or name its encoding with data.encoding"
    return f"{cure}: {judgement.readings[0].told}" if judgement.is_sure else cure


def _encoding_of(head: bytes) -> str:
    """UTF-8, with or without its mark, or what another mark says."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    return "utf-8"


def _ended_by(end: bytes, file: BinaryIO, place: str) -> Iterator[bytes]:
    """The lines of a file, each with its `end`. Raises ValueError for one that is too long."""
    number = 0
    if end == b"\n":
        while raw := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            if len(raw) > MOST_LINE_BYTES:
                raise ValueError(f"{place}:{number}: {TOO_LONG}")
            yield raw
        return
    rest = b""
    while block := file.read(HEAD_BYTES):
        *lines, rest = (rest + block).split(end)
        for line in lines:
            number += 1
            yield line + end
        if len(rest) > MOST_LINE_BYTES:
            raise ValueError(f"{place}:{number + 1}: {TOO_LONG}")
    if rest:
        yield rest


def record(header: Sequence[str], cells: Sequence[str], cure: str) -> dict[str, str]:
    """Cells by column.

    Raises ValueError with the cure where there are more or fewer cells than columns.
    """
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} columns, but the header has {len(header)} ({', '.join(header)}). {cure}"
        )
    return dict(zip(header, cells, strict=True))


def checked_header(header: Sequence[str], path: Path) -> list[str]:
    """The names of the columns, without blanks around them.

    Raises ValueError where two are equal or all of them are empty.
    """
    names = [name.strip() for name in header]
    # A column of a row is found by its name, so a second one could not be reached. Columns without
    # a name, which spreadsheets leave behind, are reached by none.
    for name, count in Counter(names).items():
        if count > 1 and name:
            raise ValueError(
                f"{path}:1: the column `{name}` is here {count} times. Rename all but one"
            )
    if not any(names):
        raise ValueError(
            f"{path}:1: no header here. The first line names the columns, or data.columns does"
        )
    return names
