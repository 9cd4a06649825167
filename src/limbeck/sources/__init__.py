"""Where rows come from: files, or Python objects, become rows by split.

A source has one method, `read(on_bad_row) -> {split: rows}`. A split is `train`, `validation`,
`test` or `unlabelled`. A row is a dict, and its keys depend on the kind of data:

- `words` and `tags`, two lists of the same length, for token classification;
- `text`, `label`, and `text_b` where rows are pairs, for tasks on texts. The label is a string;
  text regression reads a number from it, and where a row has several labels it is a list;
- `text` alone for masked language modelling;
- `messages`, each a dict of `role` and `content`, for text generation. `place` says where the row
  stands, `file:line`, for what is found out later: only a model's chat template knows whether it
  takes them. It is no part of what the row holds;
- `image` (H, W) or (H, W, 3) uint8, and `label`, for image classification. `file` says where the
  image lies, as (folder or archive, name in it); it is no part of what the row holds.

A label or tag of None is unknown: such a row is learned from the teacher alone.

A row that cannot be used is named by its file, line, column, value and cure, and handed to
`on_bad_row`, which raises it (`fail`, the default) or returns, so that the source goes on with the
next row. A file that cannot be read at all is a ValueError.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from limbeck.core import registry
from limbeck.core.contract import described, wrong_return

Row = dict[str, Any]

SPLITS = ("train", "validation", "test", "unlabelled")


MOST_BAD = 10_000  # rows, until a file is looked at no further
MOST_PROBLEM = 600  # characters of what is wrong with a row
MOST_CURE = 200  # of them at its end


def text_of(row: Row) -> str:
    """The text of a row, of a pair both, of words and of messages all of them."""
    if "messages" in row:
        return " ".join(message["content"] for message in row["messages"])
    texts = row["words"] if "words" in row else [row["text"], row.get("text_b", "")]
    return " ".join(map(str, texts)).strip()


def place_of(row: Row, number: int) -> str:
    """Where a row stands, for a message: its file and line where its source tells them, else which
    of the rows it is, counted from 1."""
    return str(row.get("place", f"row {number}"))


class BadRow(ValueError):
    """A row that cannot be used.

    `place`: `file:line`, or more precisely where that is known. `problem`: what is wrong and how to
    mend it. `content`: the row as it was found, as far as JSON can hold it.
    """

    def __init__(self, place: str, problem: str, content: Any = None) -> None:
        if len(problem) > MOST_PROBLEM:
            # It may name what a cell holds, and that may be a book; its end is the cure.
            problem = f"{problem[: MOST_PROBLEM - MOST_CURE]} ... {problem[-MOST_CURE:]}"
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem
        self.content = content


class WrongColumn(ValueError):
    """A column that a table does not have.

    `key`: of the recipe's `data`, which names it. `given`: its name there; None where it was looked
    for by its usual names. `choices`: the columns that there are.
    """

    def __init__(self, told: str, key: str, given: str | None, choices: Sequence[str]) -> None:
        super().__init__(told)
        self.key = key
        self.given = given
        self.choices = choices


# Raises the row, or notes it and returns: then the source goes on with the next one.
OnBadRow = Callable[[BadRow], None]


def fail(row: BadRow) -> None:
    """Stop at the first bad row. Raises it."""
    raise row


@dataclass
class Patience:
    """Called with every bad row of a file that is looked at before it is read, when they are told.

    Raises the first of them once there were so many that there is nothing to see.
    """

    count: int = 0
    first: BadRow | None = None

    def __call__(self, row: BadRow) -> None:
        self.count += 1
        self.first = self.first or row
        if self.count > MOST_BAD:
            raise self.first


class Source(Protocol):
    """One way to read rows; its constructor's arguments are the keys of a recipe's `data`.

    An outside source of files, whose key is `path`, may have `samples`: file name -> its text or
    bytes, a little that it reads, with a row in train and one that is unlabelled. The tests of this
    contract write them into the folder `path`; for ours they have some.
    """

    def read(self, on_bad_row: OnBadRow) -> dict[str, list[Row]]:
        """The rows of each split that there is. Raises ValueError for what cannot be read."""
        ...


@runtime_checkable
class TellsOfRows(Protocol):
    """What a source adds that has something to tell of the rows which it has read: `notes`."""

    notes: list[str]


@runtime_checkable
class DecodesImages(TellsOfRows, Protocol):
    """What a source adds that makes pixels of image files.

    `reading()`: how a file becomes pixels (`size`, `background`), which the artifact does to a
    user's file too.
    """

    def reading(self) -> dict[str, Any]: ...


def check_read(name: str, splits: Any) -> None:
    """Raise ValueError where a source, perhaps somebody else's, did not return rows by split."""
    source = f"the source `{name}`"
    if not isinstance(splits, dict):
        expected = "a dict of the list of rows of each split"
        called = registry.method_of("sources", name, "read")
        raise wrong_return(source, "read", splits, expected, called)
    unknown = set(splits).difference(SPLITS)
    if unknown or "train" not in splits:
        raise ValueError(
            f"{source} returned the splits {', '.join(map(str, splits)) or 'none'} from `read`; "
            f"it is to return train, and of {', '.join(SPLITS[1:])} those that there are"
        )
    for split, rows in splits.items():
        # Ours may lie on disk, where there are many.
        if not isinstance(rows, Sequence) or isinstance(rows, str | tuple):
            raise ValueError(f"{source} returned {described(rows)} as {split}, not a list of rows")
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise ValueError(
                    f"{source} returned {described(row)} as row {number} of {split}, not a dict"
                )
