"""What files of words in columns look like: which column is what, and the scheme of the tags."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.cli.starter_recipe import Guess
from limbeck.cli.starter_tables import files_read, split_files
from limbeck.core.wording import some
from limbeck.sources._files import Lines
from limbeck.sources._tags import OUTSIDE, scheme_of
from limbeck.sources.conll import SUFFIXES, split_columns

LINES = 1000  # looked at
SHOWN_TAGS = 6
COMMENT = "#"
# A table has a line a row; words in columns have blank lines between the sentences.
LONGEST_SENTENCE = 400


def look_at_words(path: Path, files: Sequence[Path]) -> Guess | None:
    """Words with tags in columns; None where no file of train, or no lone file, is of these.

    `path`: the file, or the folder or archive that they lie in.
    """
    options: dict[str, Any] = {}
    splits = split_files(path, files, SUFFIXES, options)
    train = splits.get("train") or (files[0] if len(files) == 1 else None)
    if train is None:
        return None
    found = layout_of(train)
    if found is None:
        return None
    keys, column, tags = found
    guess = Guess("token-classification", "conll", path if splits else train, options | keys)
    guess.reasons.append(
        f"one word a line, its tag in column {column} ({some(sorted(tags), SHOWN_TAGS)})"
    )
    if "scheme" in keys:
        guess.reasons.append(f"its spans are written in {keys['scheme'].upper()}")
    guess.files = files_read(guess, SUFFIXES)
    return guess


def layout_of(path: Path) -> tuple[dict[str, Any], int, set[str]] | None:
    """(keys of the source, the column of the tags, the first tags), or None for another file.

    Raises ValueError for a file that cannot be read.
    """
    keys: dict[str, Any] = {}
    lines = Lines(path)
    first = list(islice(lines, LINES))
    if lines.problem and "is not UTF-8" in lines.problem.problem:
        keys["encoding"] = "latin-1"
        first = list(islice(Lines(path, "latin-1"), LINES))
    rows = [split_columns(line) for line in first]
    # 1. Lines that are no words: `# id 17`, where the words have other numbers of columns.
    widths = Counter(len(row) for row in rows if row and not row[0].startswith("-DOCSTART-"))
    if not widths:
        return None
    width = widths.most_common(1)[0][0]
    if _has_comments(rows, width):
        keys["comments"] = COMMENT
        kept = zip(rows, first, strict=True)
        rows = [row for row, line in kept if not line.startswith(COMMENT)]
    # 2. Sentences, and the last column that holds tags.
    sentences: list[list[list[str]]] = [[]]
    for row in rows:
        if not row or row[0].startswith("-DOCSTART-"):
            sentences.append([])
        elif len(row) == width:
            sentences[-1].append(row)
    # The last one may be cut off, which hurts nothing.
    sentences = [sentence for sentence in sentences if sentence]
    if width < 2 or not sentences or max(map(len, sentences)) > LONGEST_SENTENCE:
        return None
    found: dict[int, tuple[str, set[str]]] = {}
    for column in range(width, 1, -1):
        tags = [[row[column - 1] for row in sentence] for sentence in sentences]
        scheme = scheme_of(tags)
        if scheme:
            found[column] = (scheme, {tag for sentence in tags for tag in sentence})
    if not found:
        return None
    # A column of nested spans may hold none in the first lines.
    with_spans = [column for column, (_, seen) in found.items() if seen != {OUTSIDE}]
    column = (with_spans or list(found))[0]
    scheme, seen = found[column]
    if column < width:
        keys["tag_column"] = column
    if scheme != "iob2":
        keys["scheme"] = scheme
    if column > 2 and all(row[0].isdecimal() for sentence in sentences for row in sentence):
        keys["word_column"] = 2
    return keys, column, seen


def _has_comments(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether lines that begin with a mark are no words: they have other numbers of columns than
    `width`, or begin most sentences."""
    num_begun = 0
    num_sentences = 0
    before: Sequence[str] = ()
    for row in rows:
        if row and not before:
            num_sentences += 1
            num_begun += row[0].startswith(COMMENT)
        if row and row[0].startswith(COMMENT) and len(row) != width:
            return True
        before = row
    return num_begun > 1 and 2 * num_begun > num_sentences
