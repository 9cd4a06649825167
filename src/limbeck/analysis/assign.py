"""One format a module, the sum of their losses least, within a budget: an integer programme, solved to the optimum by HiGHS (scipy.optimize.milp).

min sum_mf s_mf x_mf   subject to   sum_f x_mf = 1 for each module m,   sum_mf c_mf x_mf <= limit,   x_mf in {0, 1}

as HAWQ-V3 has it (Yao et al., 2020, arXiv 2011.10680, section 3.3). Losses spread over many orders of magnitude and HiGHS stops at absolute gaps, so
they are divided by the loss of a plan that is known to fit, and a choice that loses more than that whole plan is ruled out beforehand; where the best
plan loses far less, it takes the known one's place, once more.
"""

from collections.abc import Mapping

import numpy as np

Table = Mapping[str, Mapping[str, float]]  # module, format: value
ALLOWANCE = 1e-9  # of the limit, for the rounding of sums
PARTS = 1e6  # that the limit is counted in: HiGHS lets a constraint go 1e-6 too far


def total(plan: Mapping[str, str], table: Table) -> float:
    """The sum of a plan's entries."""
    return sum(table[name][form] for name, form in plan.items())


def smallest(costs: Table) -> dict[str, str]:
    """The plan that costs least."""
    return {name: min(row, key=lambda form: row[form]) for name, row in costs.items()}


def within(cost: float, limit: float) -> bool:
    """Whether a plan of that cost keeps the budget."""
    return cost <= limit * (1 + ALLOWANCE)


def assign(losses: Table, costs: Table, limit: float) -> dict[str, str]:
    """The best plan within `limit`, which the smallest plan must not exceed."""
    known = [
        smallest(costs),
        *(dict.fromkeys(losses, form) for form in next(iter(losses.values()))),
    ]
    best = min(
        (plan for plan in known if within(total(plan, costs), limit)),
        key=lambda plan: total(plan, losses),
    )
    while ceiling := total(best, losses):
        best = solve(losses, costs, limit, ceiling)
        if total(best, losses) > ceiling / 2:  # else the gap was wide beside what it found
            break
    return best


def solve(losses: Table, costs: Table, limit: float, ceiling: float) -> dict[str, str]:
    """The best plan, to a millionth of `ceiling`, which some plan within the limit does not exceed."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    choices = [(name, form) for name, row in losses.items() for form in row if row[form] <= ceiling]
    loss = np.array([losses[name][form] for name, form in choices]) / ceiling
    cost = np.array([costs[name][form] for name, form in choices]) / limit * PARTS
    owners = {name: index for index, name in enumerate(losses)}
    one_each = csr_array(
        (np.ones(len(choices)), ([owners[name] for name, _ in choices], range(len(choices))))
    )
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(cost[None], -np.inf, PARTS)]
    found = milp(
        loss,
        integrality=np.ones(len(choices)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0},
    )
    return {name: form for (name, form), taken in zip(choices, found.x, strict=True) if taken > 0.5}
