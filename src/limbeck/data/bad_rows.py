"""What becomes of the rows that a source cannot use: the recipe's `data.on_bad_row`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.recipe.problems import Mistake
from limbeck.sources import BadRow

# Bad rows that are shown: enough to see a pattern, few enough for a line.
EXAMPLES = 3
# Kinds of bad rows that are told: each has another cure.
MOST_KINDS = 10
# By then the file is another one than was meant: a quote that is never closed makes each line one.
MOST_COUNTED = 100_000
# What two problems of one kind differ by: what a cell holds, and numbers.
HELD = re.compile(r"b?'[^']*'|\"[^\"]*\"|`[^`]*`|\d[\d,.]*")


class WrongData(ValueError):
    """Everything that is wrong with the data, as `mistakes` of the recipe's stage `data`.

    The message of a mistake at `data` itself begins with its place in the data.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistake.message for mistake in mistakes))


@dataclass
class Kind:
    """Bad rows with one problem: the `first` of them, and how many there are."""

    first: BadRow
    count: int = 0

    def __str__(self) -> str:
        # A suggestion ends with its own question mark.
        told = str(self.first)
        told = told if told.endswith(("?", ".")) else f"{told}."
        if self.count > 1:
            told += f" This is the first of {self.count:,} such rows."
        return f"{told} Or leave such rows out: data.on_bad_row: skip"


@dataclass
class BadRows:
    """Called with every bad row.

    `policy`: `fail` once all are read, `skip` them, or `quarantine` (skip, and keep their content).
    `count`: how many there were. `places`: the first of them in words. `kinds`: by what is wrong
    with them. `kept`: place, problem and content of each, for `quarantine`.
    """

    policy: str = "fail"
    count: int = 0
    places: list[str] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, row: BadRow) -> None:
        """Leave the row out. Raises WrongData where there were so many that all may be bad."""
        # Counted in any case; held in memory only where they are asked for.
        self.count += 1
        if self.count <= EXAMPLES:
            self.places.append(str(row))
        if self.policy == "fail":
            kind = self.kinds.setdefault(HELD.sub("", row.problem), Kind(row))
            kind.count += 1
            if self.count == MOST_COUNTED:
                last = f"Nothing was read after {row.place}"
                raise WrongData([*self.mistakes, Mistake(["data"], last)])
        if self.policy == "quarantine":
            self.kept.append(
                {
                    "place": row.place,
                    "problem": row.problem,
                    "row": row.content,
                }
            )

    @property
    def mistakes(self) -> list[Mistake]:
        """A mistake for each kind of row that is refused; none where they are left out."""
        kinds = list(self.kinds.values())
        told = [str(kind) for kind in kinds[:MOST_KINDS]]
        if len(kinds) > MOST_KINDS:
            num_rows = sum(kind.count for kind in kinds[MOST_KINDS:])
            first = kinds[MOST_KINDS].first.place
            num_kinds = len(kinds) - MOST_KINDS
            told.append(f"{first}: the first of {num_rows:,} rows of {num_kinds:,} further kinds")
        return [Mistake(["data"], each) for each in told]

    def refuse(self) -> None:
        """Raise WrongData where there were bad rows and the policy is `fail`."""
        if self.mistakes:
            raise WrongData(self.mistakes)

    @property
    def notes(self) -> list[str]:
        """How many rows were left out, and the first of them; nothing where there were none."""
        if self.policy == "fail" or not self.count:
            return []
        where = " (quarantine.jsonl)" if self.policy == "quarantine" else ""
        examples = "; ".join(self.places)
        return [f"{self.count} bad rows left out{where}, for example {examples}"]
