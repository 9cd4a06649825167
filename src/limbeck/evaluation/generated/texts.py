"""Figures of generated answers, one number an answer, so that intervals go by documents.

Words are runs of letters and digits in small letters, of any script; of scripts that put no spaces
between words (Chinese, Japanese, Thai) each character is one.

Shapes: N answers.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from limbeck.tasks.types import Array

# Of the n-grams of `repetition`, as Welleck et al. have them.
REPEATED = 4
# The first characters of names in Unicode of scripts that are written without spaces.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def words_of(text: str) -> list[str]:
    """The words of a text.

    >>> words_of("It's 5 o'clock: 你好!")
    ['it', 's', '5', 'o', 'clock', '你', '好']
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    spaced = [with_spaces(letter) for letter in folded]
    return "".join(spaced).split()


def with_spaces(letter: str) -> str:
    """A character of a word as it is, one that is a word by itself between spaces, a space for any
    other."""
    # A vowel sign or an accent belongs to the letter before it.
    is_mark = unicodedata.category(letter).startswith("M")
    if not (letter.isalnum() or is_mark):
        return " "
    name = unicodedata.name(letter, "")
    return f" {letter} " if name.startswith(UNSPACED) else letter


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> Array:
    """(N) the F-measure of each answer's longest common subsequence of words with its reference, in
    [0, 1] (ROUGE-L: Lin, 2004, aclanthology W04-1013, section 3.1, beta 1); 1 where both are empty.
    """
    found = []
    for answer, reference in zip(answers, references, strict=True):
        words = words_of(answer)
        expected = words_of(reference)
        common = longest_common(words, expected)
        total = len(words) + len(expected)
        # 2 P R / (P + R) with P = common / words and R = common / expected.
        found.append(2 * common / total if total else 1.0)
    return np.array(found, np.float64)


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    By bits: a whole row of the usual table in a few operations on one integer (Hyyrö, 2004, Bit-
    parallel LCS-length computation revisited).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    all_ones = (1 << len(first)) - 1
    row = all_ones
    for word in second:
        matching = row & places.get(word, 0)
        row = (row + matching | row - matching) & all_ones
    # A 0 stands where the common subsequence grows.
    return len(first) - row.bit_count()


def exact_match(answers: Sequence[str], references: Sequence[str]) -> Array:
    """(N) 1 where the words of answer and reference are the same, else 0."""
    found = []
    for answer, reference in zip(answers, references, strict=True):
        is_same = words_of(answer) == words_of(reference)
        found.append(is_same)
    return np.array(found, np.float64)


def distinct(answers: Sequence[str], length: int) -> float:
    """The share of n-grams of `length` words, of all answers together, that are different ones
    (distinct-n: Li et al., 2015, arXiv 1510.03055); NaN where there is none. Low where a model
    says the same to everybody."""
    grams: list[tuple[str, ...]] = []
    for answer in answers:
        # An n-gram ends where its answer does.
        words = words_of(answer)
        grams += grams_of(words, length)
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition(answers: Sequence[str], length: int = REPEATED) -> Array:
    """(N) the share of each answer's n-grams of `length` words that stood in it before (seq-rep-n:
    Welleck et al., 2019, arXiv 1908.04319, equation 10); 0 of one that is shorter."""
    found = []
    for answer in answers:
        words = words_of(answer)
        grams = grams_of(words, length)
        share_new = len(set(grams)) / len(grams) if grams else 1.0
        found.append(1 - share_new)
    return np.array(found, np.float64)


def grams_of(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """The stretches of `length` words."""
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
