"""Draw rows from a split by a fixed seed, so that every run has the same ones."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from limbeck.sources import Row
from limbeck.sources._on_disk import picked


def drawn_rows(rows: Sequence[Row], count: int) -> Sequence[Row]:
    """`count` of the rows, any of them as likely as any other, in their order."""
    # The first of a permutation, so that more rows are always these and others.
    shuffled = np.random.default_rng(0).permutation(len(rows))
    return picked(rows, np.sort(shuffled[:count]))


def stratified_split(
    rows: Sequence[Row],
    share: float,
    stratum: Callable[[Row], str],
    units: Sequence[Sequence[int]] | None = None,
) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows that stay, and those that are drawn; both keep the order of `rows`.

    `share`, in [0, 1], of all rows is drawn, rounded, and of every stratum up to one row more or
    less. `units`: the indices of rows that are drawn together, a list each; a row that is in none
    stays. Left out, every row is drawn by itself. A unit is of its first row's stratum, and shares
    are kept as far as units of several rows let them.
    """
    if units is None:
        units = [[index] for index in range(len(rows))]
    by_stratum: dict[str, list[int]] = defaultdict(list)
    for number, unit in enumerate(units):
        by_stratum[stratum(rows[unit[0]])].append(number)
    generator = np.random.default_rng(0)
    order: list[int] = []
    for _, members in sorted(by_stratum.items()):
        order.extend(generator.permutation(members).tolist())
    drawn = _drawn_in_order([units[number] for number in order], share)
    is_drawn = np.zeros(len(rows), bool)
    is_drawn[list(drawn)] = True
    return picked(rows, np.flatnonzero(~is_drawn)), picked(rows, np.flatnonzero(is_drawn))


def _drawn_in_order(units: Sequence[Sequence[int]], share: float) -> set[int]:
    """The rows of the units that are drawn."""
    # Units stand by stratum, shuffled within each. Every (1 / share)-th row is drawn (systematic
    # sampling), not a rounded share of each stratum: of a stratum of two rows, as most sets of
    # labels are, a tenth would be rounded to none.
    drawn: set[int] = set()
    num_passed = 0
    for unit in units:
        num_passed += len(unit)
        num_due = int(num_passed * share + 0.5) - len(drawn)
        # A unit of many rows is drawn once half of them are due, so that too many and too few
        # even out.
        if 2 * num_due >= len(unit):
            drawn.update(unit)
    return drawn
