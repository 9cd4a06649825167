"""A label from what a cell holds: a word, a number, a list, several in one text."""

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any

from limbeck.core.wording import some
from limbeck.sources._encodings import checked_unicode

# A whole number as people and pandas write it. `01` is none: it may be a code, another than `1`.
WHOLE = re.compile(r"(-?(?:0|[1-9]\d{0,17}))(?:\.0+)?", re.ASCII)
BETWEEN_QUOTES = re.compile(r"""(['"])\s+(['"])""")
BARE_NUMBERS = re.compile(r"\[\s*\d+(\s+\d+)+\s*\]")
# Of a list that is written as a text: Python takes a thousand bytes for each of its numbers.
MOST_LIST_CHARACTERS = 1 << 20
MOST_NUMBER = 1e300
SHOWN_CHARACTERS = 200
ANGLES = "><"  # between labels that stand in angles
# What may stand between the labels of a cell, and how many more labels than words that makes.
JOINING = (";", "|", ",", "_", "+", "/", "&", "-", " ")
LABELS_A_WORD = 2
MANY_LABELS_A_WORD = 4
FEWEST_JOINS = 4
# What pandas reads as a missing value, and programs write for one; each may be a class all the
# same, and the last four of NULL_WORDS often are.
MISSING_WORDS = (
    *("nan", "NaN", "-nan", "-NaN", "<NA>", "#N/A", "#NA", "#N/A N/A", "NaT", "null", "NULL"),
)
NULL_WORDS = (*MISSING_WORDS, "None", "NA", "N/A", "n/a")
NO_LABEL = "no label. Give it one, or put the row into the split `unlabelled`"


class LabelParser:
    """Reads labels.

    `names`: what the numbers 0, 1, ... stand for; where they are given, no other label is allowed.
    `no_label`: what a cell holds in place of a label that nobody knows.
    `separator`: a row has any number of labels, with this text between them in a cell.
    """

    def __init__(
        self,
        names: Sequence[str] | None,
        separator: str | None = None,
        no_label: str | None = None,
    ) -> None:
        self.separator = separator
        self.no_label = no_label
        self.names = list(names or [])
        # What a cell may hold -> its label. Labels that are met are added, so that equal labels
        # are one object and a million rows do not hold a million strings.
        self.known: dict[str, str] = {name: name for name in self.names}
        # A number is an index, even where another class has it for a name.
        self.known |= {str(index): name for index, name in enumerate(self.names)}
        # The value of a whole number -> the label that was met first with it: where one row of a
        # column has no label, pandas writes the others' 1 as 1.0, in that file alone.
        self.of_value: dict[int, str] = {}
        # What was written otherwise than its label, and is the same number.
        self.same_numbers: dict[str, str] = {}

    def parse(self, value: Any, column: str) -> str | list[str]:
        """The label of a cell, or the list of its labels, each once, where rows have several.

        `column`: how the message names the cell. Raises ValueError.
        """
        if self.separator is None:
            return self.parse_one(value, column)
        if isinstance(value, str):
            parts = parts_of(value.strip(), self.separator)
        elif isinstance(value, list):
            parts = value
        else:
            raise ValueError(
                f"{column}: {value!r} is no list of labels. Write them as a list, or as a text "
                f"with {self.separator!r} between them"
            )
        labels = [self.parse_one(part, column) for part in parts]
        return list(dict.fromkeys(labels))

    def parse_one(self, value: Any, column: str) -> str:
        """The one label of a cell, or of a list of one. Raises ValueError."""
        if isinstance(value, list) and len(value) == 1:
            (value,) = value
        text = value if isinstance(value, str) else _number_as_text(value, column)
        # Most cells hold a label that was met before, and need no further look.
        known = self.known.get(text)
        return self._new_label(text.strip(), column) if known is None else known

    def _new_label(self, label: str, column: str) -> str:
        if not label or label == self.no_label:
            raise ValueError(f"{column}: {NO_LABEL}")
        checked_unicode(column, label)
        if label in self.known:  # met before, without the blanks around it
            return self.known[label]
        whole = WHOLE.fullmatch(label)
        if self.names:
            if whole and whole[1] in self.known:  # an index that pandas wrote as 1.0
                return self.known[whole[1]]
            raise ValueError(
                f"{column}: `{label}` is none of data.label_names ({', '.join(self.names[:12])}), "
                "nor an index into them"
            )
        if whole:
            first = self.of_value.setdefault(int(whole[1]), label)
            self.known[label] = first
            if first != label:
                self.same_numbers[label] = first
        else:
            self.known[label] = label
        return self.known[label]

    def notes(self) -> list[str]:
        """That labels were read as one, where they may have been meant as two."""
        if not self.same_numbers:
            return []
        read = [f"`{label}` as `{first}`" for label, first in self.same_numbers.items()]
        return [
            f"labels: {some(read)} was read, which is the same number. Where they are two classes, "
            "write words"
        ]


def parts_of(text: str, separator: str) -> list[Any]:
    """The labels of a cell: parted by the separator, or a list as a csv has it. An empty cell is a
    row that has none."""
    # `<python><pandas>`, as Stack Overflow has tags: the first and the last angle are no labels'.
    if separator == ANGLES and text.startswith("<") and text.endswith(">"):
        return text[1:-1].split(ANGLES)
    if not text.startswith("[") or not text.endswith("]"):
        return text.split(separator) if text else []
    try:
        return written_list(text)
    except ValueError:  # words without quotes
        inner = text[1:-1]
        parts = inner.split(separator if separator in inner else ",")
        return [part.strip() for part in parts]


def written_list(text: str) -> list[Any]:
    """A list as Python, JSON or numpy write it into a cell. Raises ValueError for any other text.

    >>> written_list("['joy' 'anger']")
    ['joy', 'anger']
    """
    if len(text) > MOST_LIST_CHARACTERS:
        raise ValueError("a longer list than is read")
    # numpy writes no commas, and Python would join texts that stand side by side.
    text = BETWEEN_QUOTES.sub(r"\1, \2", text)
    if BARE_NUMBERS.fullmatch(text):
        text = f"[{', '.join(text[1:-1].split())}]"
    try:
        content = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("no list") from None
    if not isinstance(content, list):
        raise ValueError("no list")
    return content


def _number_as_text(value: Any, column: str) -> str:
    """A number, or true and false, as a label. Raises ValueError for any other value."""
    if value is None or value != value:  # NaN alone is not equal to itself: a missing number
        raise ValueError(f"{column}: {NO_LABEL}")
    if isinstance(value, bool):
        return str(value)
    # A whole number of hundreds of digits is one that JSON can write, and no float can hold.
    if isinstance(value, int | float) and abs(value) <= MOST_NUMBER:
        # pandas writes class 1 as 1.0 where a row of the column has no label.
        return str(int(value) if float(value).is_integer() else value)
    shown = repr(value)[:SHOWN_CHARACTERS]
    raise ValueError(f"{column}: {shown} is no label. A label is a word or a number")


def joined_by(labels: Iterable[str]) -> tuple[str, list[str]] | None:
    """(the mark, the words) by which labels are several in one, such as `hateful_offensive`; None
    where they are not.

    So they are where there are many more labels than words in them, and half of the words stand
    alone too, or they are joined in twos and in threes. `card_arrival` beside `card_linking` is no
    join: most of its words stand once; nor is `small_red` in a list of all sizes and colours.

    >>> joined_by(["abusive", "hateful", "normal", "abusive_hateful", "abusive_hateful_normal",
    ...            "abusive_normal", "hateful_normal"])
    ('_', ['abusive', 'hateful', 'normal'])
    """
    given = {label for label in labels if label}
    for mark in JOINING:
        joined = [label for label in given if mark in label]
        parts = {part.strip() for label in given for part in label.split(mark)}
        alone = parts & given
        are_words = all(part and not part.isdecimal() for part in parts)
        if not are_words or len(joined) < FEWEST_JOINS:
            continue
        stand_alone = len(given) >= LABELS_A_WORD * len(parts) and 2 * len(alone) >= len(parts)
        sizes = {label.count(mark) for label in joined}
        if stand_alone or (len(given) >= MANY_LABELS_A_WORD * len(parts) and len(sizes) > 1):
            return mark, sorted(parts)
    return None
