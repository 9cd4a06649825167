"""What encoding the bytes of a text most likely have, where they are not UTF-8.

The library chardet weighs the readings. Two that are alike likely and give other texts are no
answer: a model would be trained on the wrong one.
"""

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SAMPLE_BYTES = 1 << 14  # of lines that are not ASCII, by which the encoding is told
FEW = 0.01  # of all bytes
SHOWN_CHARACTERS = 40
SHOWN_BEFORE = 10  # characters, of what is shown, before the first that is not ASCII
MOST_LIKELY = 3
# Of one confidence over the next: of 260 texts of one to forty sentences in 22 encodings all that
# are further ahead are right (benchmarks/encodings.py).
AHEAD = 1.015
LEAST = 0.03  # confidence; of what is no text in any encoding chardet makes something, too
FEWEST = 4  # bytes beyond ASCII, of which another encoding is told
# As Python calls them: what tables and texts are saved in, of all those that chardet knows.
WESTERN = "cp1252"
KNOWN = (
    *(WESTERN, "mac_roman", "cp850", "cp1250", "iso8859-2", "cp1254", "cp1257"),
    *("cp1251", "koi8-u", "koi8-r", "cp866", "iso8859-5", "mac_cyrillic"),
    *("cp1253", "iso8859-7", "cp1255", "cp1256", "iso8859-6", "cp874", "cp1258"),
    *("gb18030", "big5", "big5hkscs", "cp932", "euc-jp", "iso-2022-jp", "cp949"),
)


@dataclass(frozen=True)
class Reading:
    """What bytes would be in an encoding. `confidence`: chardet's, of which the order alone means
    something. `shown`: a part of the text, about its first character beyond ASCII."""

    encoding: str
    confidence: float
    text: str

    @property
    def shown(self) -> str:
        lines = (line.strip() for line in self.text.splitlines())
        line = next((line for line in lines if not line.isascii()), "")
        first = next((number for number, letter in enumerate(line) if ord(letter) > 127), 0)
        start = max(0, first - SHOWN_BEFORE)
        return line[start : start + SHOWN_CHARACTERS]

    @property
    def told(self) -> str:
        """The encoding and what it reads, for a message."""
        return f"{self.encoding} ({self.shown!r})"


@dataclass(frozen=True)
class Judgement:
    """The likeliest readings, the best first; `is_sure`: whether that one is far enough ahead."""

    readings: list[Reading]
    is_sure: bool

    @property
    def choices(self) -> str:
        """The readings, for a message."""
        shown = [each.told for each in self.readings[:MOST_LIKELY]]
        return " or ".join(shown) or "none that is known here"


def checked_codec(key: str, name: str) -> str:
    """The name of an encoding. Raises ValueError where Python has none of it for texts."""
    try:
        codecs.lookup(name)
        # `base64` and `rot13` are codecs too, and make no text of bytes.
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        raise ValueError(
            f"{key}: there is no `{name}` for texts. Take utf-8, utf-16, cp1252, cp1251, gb18030, "
            "cp932, cp949, big5 or another of Python's"
        ) from None
    return name


def checked_unicode(key: str, text: str) -> str:
    """The text. Raises ValueError where it holds half a character, which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{key}: {error.object[error.start]!r} is half of a character (a lone surrogate). "
            "Remove it, or decode the text with errors='replace'"
        ) from None
    return text


def judge(lines: Iterable[bytes], num_bytes: int = 0) -> Judgement:
    """What lines that are not UTF-8 most likely are: as many of them as are enough. `num_bytes`:
    of all lines of the text, where these are some."""
    sample: list[bytes] = []
    num_sampled = 0
    for line in lines:
        if not line.isascii():
            sample.append(line.rstrip(b"\r\n")[: SAMPLE_BYTES - num_sampled])
            num_sampled += len(sample[-1])
        if num_sampled >= SAMPLE_BYTES:
            break
    num_high = sum(byte > 127 for line in sample for byte in line)
    if not num_high:
        return Judgement([], False)
    readings = _readings(b"\n".join(sample))
    is_sure = _is_sure(readings, num_high)
    # What nobody saves a table in is no choice, though it may leave a doubt.
    readings = [reading for reading in readings if _rank(reading.encoding) < len(KNOWN)]
    # Of a few letters nothing can be told, and they spoil little: texts of ASCII with a foreign
    # name or a curved quote are what spreadsheets save in Windows-1252.
    western = [reading for reading in readings if reading.encoding == WESTERN]
    are_few = num_high < FEW * num_bytes or (num_high < FEWEST and western == readings[:1])
    if western and not is_sure and are_few:
        return Judgement(western, True)
    return Judgement(readings, is_sure)


def doubt_of(encoding: str, texts: Iterable[str]) -> str:
    """What to tell of texts that were read in an encoding, where another one reads them as a
    language far more likely; empty where nothing is."""
    known = {codecs.lookup(name).name for name in KNOWN}
    # Of an encoding that is not among the readings nothing can be told.
    if codecs.lookup(encoding).name not in {*known, "iso8859-1"}:
        return ""
    lines = [text.encode(encoding, "replace") for text in texts]
    judgement = judge(lines, sum(map(len, lines)))
    if not judgement.is_sure:
        return ""
    best = judgement.readings[0]
    read = b"\n".join(lines)
    if read.decode(encoding) == read.decode(best.encoding, "replace"):
        return ""
    shown = Reading(encoding, 0.0, read.decode(encoding)).told
    return f"data.encoding: {shown} reads as no language, and {best.told} as one. Name that"


def _readings(content: bytes) -> list[Reading]:
    """Every text that the bytes may be, the likeliest first; of encodings that give one text the
    usual one."""
    import chardet

    found: dict[str, Reading] = {}
    for each in chardet.detect_all(content, ignore_threshold=True):
        if each["encoding"] is None:
            continue
        encoding = codecs.lookup(each["encoding"]).name
        text = content.decode(encoding, "replace")
        # The last line may be cut off within a character.
        if "\ufffd" in text[:-1]:
            continue
        before = found.get(text)
        if before is None or _rank(encoding) < _rank(before.encoding):
            confidence = max(each["confidence"], before.confidence if before else 0.0)
            found[text] = Reading(encoding, confidence, text)
    return sorted(found.values(), key=lambda reading: -reading.confidence)


def _rank(encoding: str) -> int:
    """The place of an encoding among the known ones, behind all of them where it is none."""
    names = [codecs.lookup(name).name for name in KNOWN]
    return names.index(encoding) if encoding in names else len(names)


def _is_sure(readings: Sequence[Reading], num_high: int) -> bool:
    best = readings[0] if readings else None
    if best is None or num_high < FEWEST or best.confidence < LEAST:
        return False
    if _rank(best.encoding) == len(KNOWN):
        return False
    return len(readings) < 2 or readings[0].confidence > AHEAD * readings[1].confidence
