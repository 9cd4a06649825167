"""Draw rows from a split by a fixed seed, so that every run has the same ones."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from limbeck.sources import Row


def drawn_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` of the rows, any of them as likely as any other, in their order."""
    # The first of a permutation, so that more rows are always these and others.
    shuffled = np.random.default_rng(0).permutation(len(rows))
    return [rows[index] for index in np.sort(shuffled[:count])]


def stratified_split(
    rows: Sequence[Row],
    share: float,
    stratum: Callable[[Row], str],
) -> tuple[list[Row], list[Row]]:
    """The rows that stay, and those that are drawn; both keep the order of `rows`.

    `share`, in [0, 1], of all rows is drawn, rounded, and of every stratum up to one row more or
    less.
    """
    by_stratum: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_stratum[stratum(row)].append(index)
    generator = np.random.default_rng(0)
    order: list[int] = []
    for _, members in sorted(by_stratum.items()):
        order.extend(generator.permutation(members).tolist())
    # Rows now stand by stratum, shuffled within each. Every (1 / share)-th is drawn (systematic
    # sampling), not a rounded share of each stratum: of a stratum of two rows, as most sets of
    # labels are, a tenth would be rounded to none.
    passed = np.floor(np.arange(len(order) + 1) * share + 0.5)
    is_drawn = np.diff(passed) > 0
    drawn = {index for index, chosen in zip(order, is_drawn, strict=True) if chosen}
    staying: list[Row] = []
    leaving: list[Row] = []
    for index, row in enumerate(rows):
        part = leaving if index in drawn else staying
        part.append(row)
    return staying, leaving
