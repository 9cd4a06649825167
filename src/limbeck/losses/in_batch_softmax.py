"""The hard loss of queries and their items, with the other items of a batch as negatives:

    L = (1 / 2N) sum_i [ log sum_j exp(s_ij) - s_ii + log sum_j exp(s_ji) - s_ii ],  nats a pair
    s_ij = q_i . t_j / tau, q_i and t_i the vectors of pair i at length 1, over N pairs

(InfoNCE, van den Oord et al., 2018, arXiv 1807.03748, equation 4; the batch's items as negatives:
Henderson et al., 2017, arXiv 1705.00652). Both directions are taken, an item among the queries too
(Radford et al., 2021, arXiv 2103.00020, figure 3). j runs over i and the pairs of other items: what
equals its own item is no negative. The label (B, W) of a pair, at its first unit, is the number of
its item; a pair without one is not there.

Deviation: tau is no parameter but a number or a schedule; .05 is SimCSE's (Gao et al., 2021,
arXiv 2104.08821).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import LabelKind, PlainLoss, flat_units, masked_mean, paired_units
from limbeck.models.taps import Outputs
from limbeck.tasks import UNKNOWN, Batch


class InBatchSoftmax(PlainLoss, nn.Module):
    """Hard labels; reads no teacher. `temperature`: tau > 0, a number or a schedule over the
    training."""

    reads: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[LabelKind] = "index"

    def __init__(self, temperature: ScheduledAbove0 = 0.05) -> None:
        super().__init__()
        self.temperature = schedule(temperature)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a pair, the mean of both directions."""
        pairs = paired_units(student, batch)
        is_labelled = pairs.mask & (pairs.labels != UNKNOWN)
        queries = flat_units(pairs.first, is_labelled)
        items = flat_units(pairs.second, is_labelled)
        # At length 1 a score is a cosine, which the temperature then spreads.
        queries = functional.normalize(queries, dim=-1)
        items = functional.normalize(items, dim=-1)
        cosines = queries @ items.T
        scores = cosines / self.temperature(progress)

        known = is_labelled.flatten()
        numbers = pairs.labels.flatten()
        is_other = numbers[:, None] != numbers
        is_negative = known[:, None] & known & is_other
        # A pair always meets itself, counted or not: a row of -inf alone has no finite gradient.
        is_itself = torch.eye(
            len(known),
            dtype=torch.bool,
            device=known.device,
        )
        is_kept = is_negative | is_itself
        kept = scores.masked_fill(~is_kept, -torch.inf)
        # Rows: a query among the items. Columns: an item among the queries.
        of_queries = kept.logsumexp(1)
        of_items = kept.logsumexp(0)
        both_directions = (of_queries + of_items) / 2
        nats = both_directions - scores.diagonal()
        return masked_mean(nats, known)
