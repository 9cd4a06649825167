"""What a search found, for the terminal, and as a block for the recipe."""

from typing import TYPE_CHECKING, Any

import yaml

from limbeck.analysis.assign import within
from limbeck.core.terminal.tables import table
from limbeck.core.yaml12 import Yaml12Dumper
from limbeck.studies.budget import UNITS

if TYPE_CHECKING:
    from rich.console import RenderableType

# No line is broken: each module's scheme stands on one.
WIDEST = 1000


def as_yaml(found: dict[str, Any]) -> str:
    """The block to paste as text; `found` is what `search` gives."""
    return yaml.dump(
        found["recipe"],
        Dumper=Yaml12Dumper,
        default_flow_style=None,
        sort_keys=False,
        width=WIDEST,
    )


def lines(found: dict[str, Any]) -> list["RenderableType"]:
    """The modules, the plans and the block, for the terminal; `found` is what `search` gives."""
    method = f"{found['sensitivity']} on {found['rows']} training rows, {found['seconds']} s"
    return [
        modules_table(found),
        plans_table(found),
        f"{method}; in place of the recipe's quantize.modules:\n",
        as_yaml(found),
    ]


def modules_table(found: dict[str, Any]) -> "RenderableType":
    """A row for each module."""
    rows = []
    for module in found["modules"]:
        row = (
            module["name"],
            module["kind"],
            module["weights"],
            f"{module['parameters']:,}",
            f"{module['bytes']:,}",
            f"{module['sensitivity']:.2e}",
        )
        rows.append(row)
    return table(("module", "kind", "weights", "parameters", "bytes", "nats lost"), rows)


def plans_table(found: dict[str, Any]) -> "RenderableType":
    """A row for the plan, and one for each plan of one format."""
    unit = found["budget"]["unit"]
    limit = found["budget"]["limit"]
    is_timed = unit == "milliseconds"
    # The last column has no head: it says whether a plan keeps the budget.
    head = ["", UNITS["bits"], "bytes", "nats lost a unit"]
    if is_timed:
        head.append("milliseconds")
    head.append("")
    rows = [plan_row("this plan", found["plan"], unit, limit)]
    for form, figures in found["uniform"].items():
        rows.append(plan_row(f"all {form}", figures, unit, limit))
    return table(tuple(head), rows)


def plan_row(
    name: str,
    figures: dict[str, float],
    unit: str,
    limit: float,
) -> tuple[str, ...]:
    """What a plan costs and loses, and whether it is beyond the budget."""
    cells = [
        name,
        f"{figures['bits']:.2f}",
        f"{figures['bytes']:,.0f}",
        f"{figures['loss']:.4g}",
    ]
    # Only a budget of milliseconds has them measured.
    if unit == "milliseconds":
        cells.append(f"{figures['milliseconds']:.3f}")
    cells.append("" if within(figures[unit], limit) else "beyond the budget")
    return tuple(cells)
