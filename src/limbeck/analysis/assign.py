"""One format a module, the sum of their losses least, within a budget (HAWQ-V3, Yao et al., 2020,
arXiv 2011.10680, section 3.3): an integer programme, solved to the optimum.

    min sum_mf s_mf x_mf    subject to    sum_f x_mf = 1 for each module m
                                          sum_mf c_mf x_mf <= limit
                                          x_mf in {0, 1}

with s the losses and c the costs of module m in format f. The solver is HiGHS
(scipy.optimize.milp).

Losses spread over many orders of magnitude and HiGHS stops at absolute gaps. So they are divided by
the loss of a plan that is known to fit, and a choice that alone loses more than that whole plan is
ruled out beforehand. Where the best plan loses far less, it takes the known one's place, and the
programme is solved once more.
"""

from collections.abc import Mapping

import numpy as np

# A value for each module and format.
Table = Mapping[str, Mapping[str, float]]

# The format of each module.
Plan = dict[str, str]

# A share of the limit by which a plan may pass it: sums of floats err by about as much.
ALLOWANCE = 1e-9

# The limit is counted in as many parts: HiGHS lets a constraint go 1e-6 too far, here a millionth
# of a millionth of the limit.
PARTS = 1e6


def total(plan: Mapping[str, str], table: Table) -> float:
    """The sum of a plan's entries in a table."""
    return sum(table[name][form] for name, form in plan.items())


def smallest(costs: Table) -> Plan:
    """The plan that costs least."""
    plan = {}
    for name, row in costs.items():
        plan[name] = min(row, key=row.__getitem__)
    return plan


def within(cost: float, limit: float) -> bool:
    """Whether a plan that costs `cost` keeps the limit."""
    return cost <= limit * (1 + ALLOWANCE)


def assign(
    losses: Table,
    costs: Table,
    limit: float,
) -> Plan:
    """The plan of least loss within `limit`.

    Args:
        losses: by module and format, 0 or more.
        costs: of the same modules and formats, above 0.
        limit: of the summed costs; the smallest plan must keep it.

    Example:
        >>> losses = {"a": {"int8": 0.1, "int2": 9.0}, "b": {"int8": 0.2, "int2": 0.3}}
        >>> costs = {"a": {"int8": 8, "int2": 2}, "b": {"int8": 8, "int2": 2}}
        >>> assign(losses, costs, 10)
        {'a': 'int8', 'b': 'int2'}
    """
    best = best_known(losses, costs, limit)
    while ceiling := total(best, losses):
        best = solve(losses, costs, limit, ceiling)
        # A plan far below the ceiling lies within the gap at which the solver stopped: the next
        # round measures gaps by that plan's own loss.
        if total(best, losses) > ceiling / 2:
            break
    return best


def best_known(
    losses: Table,
    costs: Table,
    limit: float,
) -> Plan:
    """The plan of least loss among the smallest one and those of one format for all modules."""
    formats = next(iter(losses.values()))
    known = [smallest(costs)]
    known += [dict.fromkeys(losses, form) for form in formats]
    best: Plan = {}
    least_loss = np.inf
    for plan in known:
        loss = total(plan, losses)
        if loss < least_loss and within(total(plan, costs), limit):
            best = plan
            least_loss = loss
    assert best, "the smallest plan keeps the limit"
    return best


def solve(
    losses: Table,
    costs: Table,
    limit: float,
    ceiling: float,
) -> Plan:
    """The best plan, to a millionth of `ceiling`: the loss of some plan within the limit."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    # 1. The choices that the best plan can have: each alone loses no more than the ceiling.
    choices = []
    modules = []
    loss_of_choice = []
    cost_of_choice = []
    for number, (name, row) in enumerate(losses.items()):
        for form, nats in row.items():
            if nats <= ceiling:
                choices.append((name, form))
                modules.append(number)
                loss_of_choice.append(nats)
                cost_of_choice.append(costs[name][form])
    loss = np.array(loss_of_choice) / ceiling
    cost = np.array(cost_of_choice) / limit * PARTS

    # 2. Row m of the matrix has a one for each choice of module m.
    ones = np.ones(len(choices))
    columns = range(len(choices))
    one_each = csr_array((ones, (modules, columns)))
    constraints = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(cost[None], -np.inf, PARTS),
    ]
    result = milp(
        loss,
        integrality=ones,
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0},
    )
    # 3. The solver's ones and zeros are floats near them.
    is_taken = result.x > 0.5
    return dict(choice for choice, taken in zip(choices, is_taken, strict=True) if taken)
