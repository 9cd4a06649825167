"""What encoding files have that are not UTF-8: a wrong one reads as text, of letters that nobody
wrote, and a model would be trained on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.cli.first_recipe.recipe_text import Guess
from limbeck.core.terminal.shell import quoted
from limbeck.sources import BadRow
from limbeck.sources._encodings import SAMPLE_BYTES, Judgement, judge
from limbeck.sources._files import MARKS, Lines
from limbeck.sources._unpacked import open_bytes

MOST_LOOKED_AT = 16 << 20  # characters of a file
WINDOWS = "cp1252"  # what spreadsheets of the West save a table in
LATIN = "latin-1"  # the same but for curved quotes and dashes, and every byte is some letter in it
HEAD_BYTES = 4096
BLOCK_BYTES = 1 << 20
WIDE_SHARE = 0.3  # of NUL bytes, every other one in a text of ASCII letters in UTF-16


@dataclass(frozen=True)
class Encoding:
    """How a file is read. `name`: None where it is UTF-8, or says itself what it is. `reason`:
    what is to be told. `is_ascii`: whether every encoding reads it alike. `is_broken`: whether some
    of its lines are not UTF-8, as most are."""

    name: str | None
    reason: str = ""
    is_ascii: bool = False
    is_broken: bool = False


def encoding_of(path: Path) -> Encoding:
    """How a file is to be read. Raises ValueError where that cannot be told, with the choices."""
    with open_bytes(path) as file:
        head = file.read(HEAD_BYTES)
    if any(head.startswith(mark) for mark in MARKS):
        return Encoding(None)
    if head.count(b"\0") > WIDE_SHARE * len(head):
        # The half of a letter that is nothing comes last where the file is little-endian.
        name = "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
        return Encoding(name, f"{path}: UTF-16 without its mark")
    if _is_ascii(path):
        return Encoding(None, is_ascii=True)
    seen = _Seen()
    for line in Lines(path, LATIN):
        seen.add(line)
        if seen.num_bytes > MOST_LOOKED_AT:
            break
    if not seen.num_others:
        return Encoding(None, is_ascii=not seen.num_utf8)
    first = bad_encoding(path)
    place = first.place if first else str(path)
    # Letters of another encoding are UTF-8 by chance alone, and seldom.
    if seen.num_utf8 > seen.num_others:
        told = f"{place}: {seen.num_others:,} lines are not UTF-8, as the others are: left out"
        return Encoding(None, told, is_broken=True)
    judgement = judge(seen.sample, seen.num_bytes)
    if not judgement.is_sure:
        raise ValueError(f"{place}: {choices(judgement, path)}")
    best = judgement.readings[0]
    # Some bytes are no letters of an encoding, and of another line than those that were judged.
    if bad_encoding(path, best.encoding):
        raise first or ValueError(f"{place}: {choices(judgement, path)}")
    name = "Windows-1252" if best.encoding == WINDOWS else best.encoding
    return Encoding(best.encoding, f"{place}: not UTF-8, read as {name}: {best.shown!r}")


def _is_ascii(path: Path) -> bool:
    """Whether as much of a file as is looked at is ASCII: by blocks, a tenth of the time that lines
    take."""
    with open_bytes(path) as file:
        for _ in range(0, MOST_LOOKED_AT, BLOCK_BYTES):
            if not file.read(BLOCK_BYTES).isascii():
                return False
    return True


@dataclass
class _Seen:
    """Lines of a file that were looked at; `num_others` are not UTF-8, of which `sample` has the
    first."""

    num_bytes: int = 0
    num_utf8: int = 0
    num_others: int = 0
    num_sampled: int = 0
    sample: list[bytes] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Look at a line, each byte of which is a letter of `LATIN`."""
        self.num_bytes += len(line)
        if line.isascii():
            return
        raw = line.encode(LATIN)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            self.num_others += 1
            if self.num_sampled < SAMPLE_BYTES:
                self.sample.append(raw)
                self.num_sampled += len(raw)
        else:
            self.num_utf8 += 1


def choices(judgement: Judgement, path: Path) -> str:
    """What to do where the likeliest encoding is not far ahead of another."""
    name = judgement.readings[0].encoding if judgement.readings else "ENCODING"
    return (
        f"not UTF-8, and it cannot be told what it is: {judgement.choices}. Write it as UTF-8 by "
        f"the one that reads right: {_as_utf8(path, name)}"
    )


def _as_utf8(path: Path, name: str) -> str:
    """The command that writes a file as UTF-8, and keeps the old one as one that is not read."""
    old = quoted(path.with_name(f"{path.name}.old"))
    file = quoted(path)
    return f"mv {file} {old} && iconv -f {name} -t UTF-8 {old} > {file}"


def bad_encoding(path: Path, encoding: str | None = None) -> BadRow | None:
    """The first line that is not of the encoding; None where all are that are looked at."""
    lines = Lines(path, encoding)
    num_characters = 0
    for line in lines:
        num_characters += len(line)
        if num_characters > MOST_LOOKED_AT:
            return None
        if lines.problem and " is not " in lines.problem.problem:
            return lines.problem
    return None


def add_encoding(guess: Guess, splits: Mapping[str, Path]) -> None:
    """Tell how the files of a guess are read. Raises ValueError where they are of several
    encodings."""
    encodings = {file: encoding_of(file) for file in splits.values()}
    _check_alike(encodings)
    guess.reasons += [each.reason for each in encodings.values() if each.reason]
    named = [each.name for each in encodings.values() if each.name]
    if named:
        guess.options["encoding"] = named[0]
    if any(each.is_broken for each in encodings.values()):
        guess.options["on_bad_row"] = "skip"


def _check_alike(encodings: Mapping[Path, Encoding]) -> None:
    """Raise ValueError where files that one recipe reads are of several encodings."""
    named = {file: each for file, each in encodings.items() if not each.is_ascii}
    names = {file: each.name or "UTF-8" for file, each in named.items()}
    if len(set(names.values())) < 2:
        return
    file, name = next((file, name) for file, name in names.items() if name != "UTF-8")
    told = ", ".join(f"{file.name} is {name}" for file, name in names.items())
    raise ValueError(
        f"{file.parent}: {told}, and a recipe reads all its files in one encoding. Write those "
        f"that are not as UTF-8: {_as_utf8(file, name)}"
    )
