"""The loss of queries and their items among the items of a batch (InfoNCE, van den Oord et al., 2018, arXiv 1807.03748, equation 4; the other items
of the batch as negatives: Henderson et al., 2017, arXiv 1705.00652). With q_i, t_i the vectors of pair i at length 1, s_ij = q_i . t_j / tau, over N
pairs

    L = (1 / 2N) sum_i [ log sum_j exp(s_ij) - s_ii + log sum_j exp(s_ji) - s_ii ]        nats a pair

both directions, an item among the queries too (Radford et al., 2021, arXiv 2103.00020, figure 3). j runs over i and the pairs of other items: what
equals its own item is no negative. The label (B, W) of a pair, at its first unit, is the number of its item; a pair without one is not there.

Deviation: tau is no parameter but a number or a schedule; .05 is SimCSE's (Gao et al., 2021, arXiv 2104.08821).
"""

from typing import ClassVar

import torch
from torch.nn import functional

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import pairs
from limbeck.models.taps import Outputs
from limbeck.tasks import UNKNOWN, Batch


class InBatchSoftmax(torch.nn.Module):
    """Hard labels; reads no teacher. `temperature`: tau > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, temperature: ScheduledAbove0 = 0.05) -> None:
        super().__init__()
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a pair, the mean of both directions."""
        queries, items, both, labels = pairs(student, batch)
        known = both & (labels != UNKNOWN)
        numbers = labels[known]
        scores = (
            functional.normalize(queries[known], dim=-1)
            @ functional.normalize(items[known], dim=-1).T
            / self.temperature
        )
        alike = (numbers[:, None] == numbers).fill_diagonal_(False)
        kept = scores.masked_fill(alike, -torch.inf)
        nats = (kept.logsumexp(1) + kept.logsumexp(0)) / 2 - scores.diagonal()
        return nats.sum() / known.sum().clamp_min(1)
