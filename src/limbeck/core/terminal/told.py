"""A message in few lines of a terminal: what is wrong first, its cure last, lists shortened."""

import re
import shutil
import textwrap

MOST_LINES = 3
INDENT = "  "
NARROWEST = 40  # columns: below, three lines hold no message
# A list of choices, which a hint before it makes less needed.
CHOICES = re.compile(r"(Did you mean [^?]*\?) Choices: .*", re.DOTALL)
CUT = "..."


def in_lines(message: str, width: int | None = None) -> str:
    """A message wrapped to the terminal, in three lines at most.

    What does not fit loses its list of choices where it has a hint, then its middle: the end is the
    cure. `width`: columns; left out, those of the terminal.
    """
    columns = max(NARROWEST, width or shutil.get_terminal_size().columns)
    words = " ".join(message.split())
    lines = _wrapped(words, columns)
    if len(lines) > MOST_LINES:
        words = CHOICES.sub(r"\1", words)
        lines = _wrapped(words, columns)
    # Two thirds of what is kept say what is wrong, and one third how to mend it.
    pieces = words.split(" ")
    kept = len(pieces)
    while len(lines) > MOST_LINES and kept > 3:
        kept -= 1
        begin, end = pieces[: 2 * kept // 3], pieces[-(kept // 3) :]
        lines = _wrapped(" ".join([*begin, CUT, *end]), columns)
    # A word that takes more than three lines by itself, such as a path.
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[-1]]
    return "\n".join(lines)


def _wrapped(words: str, columns: int) -> list[str]:
    """Lines of so many columns; a path or a key is not broken unless it must be."""
    return textwrap.wrap(
        words,
        columns,
        subsequent_indent=INDENT,
        break_on_hyphens=False,
        break_long_words=True,
    )
