"""Rows of words and tags from texts whose spans are given by their characters.

Tools of annotation write them as lists, `[0, 3, "PER"]` (spaCy, doccano), or as objects with
`start`, `end` and `label` (Prodigy, Label Studio, doccano). The end is the character behind the
last. A list of characters, `[0, 1, 2]`, has a span for each run of them, all of one label (toxic
spans: Pavlopoulos et al., 2021, SemEval task 5). Words are those of a raw text that is to be tagged
(`core.scripts`), cut where a span begins or ends inside one.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from limbeck.core import wording
from limbeck.core.scripts import word_pattern
from limbeck.sources import Row
from limbeck.sources._cells.labels import LabelParser, written_list
from limbeck.sources._cells.record import NOTHING, Beside, cell_text
from limbeck.sources._cells.tags import OUTSIDE, check_length

# What tools call the parts of a span.
STARTS = ("start", "start_offset", "begin", "start_char", "start_index")
ENDS = ("end", "end_offset", "stop", "end_char", "end_index")
NAMES = ("label", "labels", "tag", "type", "entity_group", "entity", "class", "name", "category")
# The keys of an object around a row's spans: spaCy's training data.
AROUND = ("entities", "spans")

RUN = "span"  # the label of characters that have none

Span = tuple[int, int, Any]
# A word has one tag: of spans that share words a row is refused, or the longest is kept.
REFUSE = "refuse"
LONGEST = "longest"
OVERLAPS = (REFUSE, LONGEST)
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class SpanCells:
    """Rows of words and tags. `spans`: the column of a text's spans; None where nobody knows.
    `overlaps`: what becomes of spans inside others (OVERLAPS)."""

    text: str
    spans: str | None
    labels: LabelParser
    beside: Beside = NOTHING
    overlaps: str = REFUSE

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [self.text, *([self.spans] if self.spans else []), *self.beside.columns]

    def row(self, record: Mapping[str, Any], *, is_labelled: bool) -> Row:
        """The row of a record. Raises ValueError for a cell that cannot be used."""
        text = cell_text(record[self.text], self.text)
        # Before its words are looked for.
        check_length([text])
        spans: list[Span] = []
        if is_labelled and self.spans:
            try:
                spans = spans_of(record[self.spans])
                spans = placed_in(text, longest(spans) if self.overlaps == LONGEST else spans)
            except ValueError as error:
                raise ValueError(f"{self.spans}: {error}") from None
            spans = [
                (start, end, self.labels.parse_one(name, self.spans)) for start, end, name in spans
            ]
        words, tags = words_and_tags(text, spans)
        check_length(words)
        unknown: list[str | None] = [None] * len(words)
        is_known = is_labelled and self.spans
        return self.beside.added({"words": words, "tags": tags if is_known else unknown}, record)


def spans_of(cell: Any) -> list[Span]:
    """The spans of a cell, in order of their first character.

    Raises ValueError for what is no list of spans.
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = written_list(cell.strip())
    if isinstance(cell, dict):
        cell = next((cell[key] for key in AROUND if key in cell), cell)
    if cell is None:
        cell = []
    if not isinstance(cell, list):
        raise ValueError(f"{str(cell)[:SHOWN_CHARACTERS]!r} is no list of spans")
    if are_characters(cell):
        return runs_of(cell)
    return sorted((_span(part) for part in cell), key=lambda span: span[:2])


def are_characters(cell: Sequence[Any]) -> bool:
    """Whether a list holds the numbers of characters, in order."""
    are_numbers = bool(cell) and all(type(part) is int for part in cell)
    return are_numbers and all(first < second for first, second in pairwise(cell))


def runs_of(characters: Sequence[int]) -> list[Span]:
    """A span for each run of characters beside one another.

    >>> runs_of([0, 1, 2, 7, 8])
    [(0, 3, 'span'), (7, 9, 'span')]
    """
    starts = [n for n in range(len(characters)) if n == 0 or characters[n] - characters[n - 1] > 1]
    ends = [*starts[1:], len(characters)]
    edges = zip(starts, ends, strict=True)
    return [(characters[start], characters[end - 1] + 1, RUN) for start, end in edges]


def is_span(part: Any) -> bool:
    """Whether a value is a span: a list of three, or an object of start, end and label."""
    try:
        _span(part)
    except ValueError:
        return False
    return True


def _span(part: Any) -> Span:
    if isinstance(part, dict):
        start, end, name = (_first(part, keys) for keys in (STARTS, ENDS, NAMES))
    elif isinstance(part, list | tuple) and len(part) == 3:
        start, end, name = part
    else:
        start = None
    # Label Studio has a list of labels for each span.
    if start is not None and isinstance(name, list) and len(name) == 1:
        (name,) = name
    are_numbers = start is not None and type(start) is type(end) is int
    if not are_numbers or not isinstance(name, str | int):
        raise ValueError(
            f"{str(part)[:SHOWN_CHARACTERS]!r} is no span. Write [START, END, LABEL], the "
            "characters counted from 0"
        )
    return start, end, name


def _first(part: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((part[key] for key in keys if key in part), None)


def check_overlaps(overlaps: str) -> None:
    """Raise ValueError for what is no way to treat spans inside others."""
    if overlaps not in OVERLAPS:
        hint = wording.suggest(overlaps, OVERLAPS)
        raise ValueError(f"data.overlaps: `{overlaps}` is none of {', '.join(OVERLAPS)}. {hint}")


def longest(spans: Sequence[Span]) -> list[Span]:
    """Of spans that share characters the longest, of equally long ones the first, in order.

    >>> longest([(0, 3, "A"), (0, 8, "B"), (5, 9, "C"), (10, 12, "D")])
    [(0, 8, 'B'), (10, 12, 'D')]
    """
    kept: list[Span] = []
    for start, end, name in sorted(spans, key=lambda span: span[0] - span[1]):
        if all(end <= first or last <= start for first, last, _ in kept):
            kept.append((start, end, name))
    return sorted(kept, key=lambda span: span[:2])


def placed_in(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans without blanks at their ends. Raises ValueError for one that is not in the text, is
    of blanks alone, or begins inside another."""
    placed: list[Span] = []
    for start, end, name in spans:
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"[{start}, {end}] is no part of a text of {len(text)} characters. The end is the "
                "character behind the last one"
            )
        part = text[start:end]
        first = start + len(part) - len(part.lstrip())
        last = end - len(part) + len(part.rstrip())
        if first >= last:
            raise ValueError(f"[{start}, {end}] holds no word")
        if placed and placed[-1] == (first, last, name):
            continue
        if placed and first < placed[-1][1]:
            raise ValueError(
                f"[{start}, {end}, {name}] begins inside the span before it, and a word has one "
                f"tag. Keep one of the two, or the longest of such spans: data.overlaps: {LONGEST}"
            )
        placed.append((first, last, name))
    return placed


def words_and_tags(text: str, spans: Sequence[Span]) -> tuple[list[str], list[str]]:
    """The words of a text and their tags in IOB2.

    >>> words_and_tags("Ada Love sings.", [(0, 8, "PER")])
    (['Ada', 'Love', 'sings', '.'], ['B-PER', 'I-PER', 'O', 'O'])
    """
    edges = sorted({edge for start, end, _ in spans for edge in (start, end)})
    words: list[str] = []
    tags: list[str] = []
    waiting = deque(spans)
    for match in word_pattern().finditer(text):
        first, last = match.span()
        inside = edges[bisect_right(edges, first) : bisect_left(edges, last)]
        for start, end in pairwise([first, *inside, last]):
            while waiting and waiting[0][1] <= start:
                waiting.popleft()
            words.append(text[start:end])
            if not waiting or end <= waiting[0][0]:
                tags.append(OUTSIDE)
                continue
            span_start, _, name = waiting[0]
            tags.append(f"B-{name}" if _is_first(text, span_start, start) else f"I-{name}")
    return words, tags


def _is_first(text: str, span_start: int, start: int) -> bool:
    """Whether no word stands between a span's first character and `start`."""
    return word_pattern().search(text, span_start, start) is None
