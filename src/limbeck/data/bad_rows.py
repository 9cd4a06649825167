"""What becomes of the rows that a source cannot use: the recipe's `data.on_bad_row`."""

from dataclasses import dataclass, field
from typing import Any

from limbeck.sources import BadRow

# Bad rows that a note shows: enough to see a pattern, few enough for a line.
EXAMPLES = 3


@dataclass
class BadRows:
    """Called with every bad row.

    `policy`: `fail` at the first, `skip` them, or `quarantine` (skip, and keep their content).
    `count`: how many were left out. `places`: the first of them in words. `kept`: place, problem
    and content of each, for `quarantine`.
    """

    policy: str = "fail"
    count: int = 0
    places: list[str] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, row: BadRow) -> None:
        """Leave the row out. Raises ValueError where the policy is `fail`."""
        if self.policy == "fail":
            raise ValueError(
                f"{row}.\n  To leave such rows out: data.on_bad_row: skip, "
                "or quarantine to keep them in a file beside the report"
            )
        # Counted in any case; held in memory only where they are asked for.
        self.count += 1
        if self.count <= EXAMPLES:
            self.places.append(str(row))
        if self.policy == "quarantine":
            self.kept.append({"place": row.place, "problem": row.problem, "row": row.content})

    @property
    def notes(self) -> list[str]:
        """How many rows were left out, and the first of them; nothing where there were none."""
        if not self.count:
            return []
        where = " (quarantine.jsonl)" if self.policy == "quarantine" else ""
        examples = "; ".join(self.places)
        return [f"{self.count} bad rows left out{where}, for example {examples}"]
