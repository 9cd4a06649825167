"""What becomes of the rows that a source cannot use: the recipe's `data.on_bad_row`."""

from dataclasses import dataclass, field
from typing import Any

from limbeck.sources import BadRow

# Bad rows that are shown: enough to see a pattern, few enough for a line.
EXAMPLES = 3
# By then the file is another one than was meant: a quote that is never closed makes each line one.
MOST_COUNTED = 100_000


@dataclass
class BadRows:
    """Called with every bad row.

    `policy`: `fail` once all are read, `skip` them, or `quarantine` (skip, and keep their content).
    `count`: how many there were. `places`: the first of them in words. `kept`: place, problem
    and content of each, for `quarantine`.
    """

    policy: str = "fail"
    count: int = 0
    places: list[str] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, row: BadRow) -> None:
        """Leave the row out. Raises ValueError where there were so many that all may be bad."""
        # Counted in any case; held in memory only where they are asked for.
        self.count += 1
        if self.count <= EXAMPLES:
            self.places.append(str(row))
        if self.policy == "fail" and self.count == MOST_COUNTED:
            raise ValueError(f"{self.refusal}. Nothing was read after {row.place}")
        if self.policy == "quarantine":
            self.kept.append({"place": row.place, "problem": row.problem, "row": row.content})

    @property
    def refusal(self) -> str:
        """Why the rows are refused, and the cure; nothing where none is, or none is to be."""
        if self.policy != "fail" or not self.count:
            return ""
        # A suggestion ends with its own question mark.
        lines = [place if place.endswith(("?", ".")) else f"{place}." for place in self.places]
        num_hidden = self.count - len(self.places)
        rows = "row" if num_hidden == 1 else "rows"
        more = f"And {num_hidden:,} more {rows}. " if num_hidden else ""
        cure = (
            "To leave such rows out: data.on_bad_row: skip, "
            "or quarantine to keep them in a file beside the report"
        )
        return "\n".join([*lines, f"  {more}{cure}"])

    def refuse(self) -> None:
        """Raise ValueError where there were bad rows and the policy is `fail`."""
        if self.refusal:
            raise ValueError(self.refusal)

    @property
    def notes(self) -> list[str]:
        """How many rows were left out, and the first of them; nothing where there were none."""
        if self.policy == "fail" or not self.count:
            return []
        where = " (quarantine.jsonl)" if self.policy == "quarantine" else ""
        examples = "; ".join(self.places)
        return [f"{self.count} bad rows left out{where}, for example {examples}"]
