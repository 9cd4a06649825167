"""The words of a text in any script, as places in it.

letters and digits          a word, with what joins its parts (`New-York`, `3.14`, `O'Hara`)
a sign                      a word of its own, as CoNLL-2003 has punctuation; an emoji is one
                            sign with its skin tone, its joined parts, or its two flag letters
Chinese characters          a word each, as tokenizers and data sets of tags have them
kana, Thai, Lao, Khmer,     stretches without a space between words: see `pieces`
Burmese
combining marks, joiners    belong to the character before them: Hindi's vowels, Arabic's and
                            Hebrew's points, accents that stand apart
marks of direction and      no word, as a space is none
of invisible space
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

Span = tuple[int, int]

CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WITHOUT_SPACES = (
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0edf"  # Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3\u17d7-\u17dd"  # Khmer
    "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
)
INVISIBLE = "\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
# They join: the two of Arabic and Indian scripts, and the hyphen that shows at a line's end only.
JOINERS = "\u00ad\u200c\u200d"
# Skin tones, and the letters of the flags of regions.
MODIFIERS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
FIRST_MARK = 0x300


@cache
def marks() -> str:
    """Every combining mark of Unicode, and the joiners, as ranges of a class of `re`."""
    # Above the two planes of scripts there are variation selectors alone, of plane 14.
    scripts = range(FIRST_MARK, 0x20000)
    found = [point for point in scripts if unicodedata.category(chr(point))[0] == "M"]
    ranges: list[list[int]] = []
    for point in found:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    text = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    return text + "\U000e0100-\U000e01ef" + JOINERS


@cache
def word_pattern() -> re.Pattern[str]:
    """One word, or one stretch of a script without spaces."""
    follow = f"[{marks()}]*"
    letter = f"(?:[^\\W{CHINESE}{WITHOUT_SPACES}]{follow})"
    word = f"{letter}+(?:[-'./,:]{letter}+)*"
    chinese = f"[{CHINESE}]{follow}"
    stretch = f"(?:[{WITHOUT_SPACES}]{follow})+"
    picture = f"[^\\w\\s{INVISIBLE}][{marks()}{MODIFIERS}]*"
    # A joiner after a picture belongs to `marks`; the picture that it joins comes next.
    sign = f"{picture}(?:(?<=\u200d){picture})*"
    return re.compile(f"{chinese}|{stretch}|{word}|{FLAG}|{sign}")


@cache
def stretch_pattern() -> re.Pattern[str]:
    """What `word_pattern` finds and `pieces` cuts."""
    return re.compile(f"[{WITHOUT_SPACES}]")


def pieces(stretch: str, starts: Sequence[int]) -> list[Span]:
    """A stretch without spaces, cut where the tokenizer's pieces begin (`starts`), which are the
    nearest to words that is known of it; never between a character and its mark."""
    begins = {0}
    for start in starts:
        is_inside = 0 < start < len(stretch)
        if is_inside and not unicodedata.category(stretch[start]).startswith("M"):
            begins.add(start)
    ordered = [*sorted(begins), len(stretch)]
    return list(pairwise(ordered))
