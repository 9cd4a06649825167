"""Distillation by correlation, not by equality (DIST, Huang et al., 2022, arXiv 2205.10536):

    inter * mean over units of (1 - r(q_u, p_u))  +  intra * mean over labels of (1 - r(q_v, p_v))

r is Pearson's correlation, p = softmax(teacher / T), q = softmax(student / T); q_u is what a unit gives its labels, q_v what a label gets from the
counted units of the batch, over which `intra` correlates. 0 at identity, and wherever q is linear in p with a positive slope.

Deviations: 1e-8 stands beside covariance and product of norms (the authors' code has it beside the latter only), so that what does not vary in either
model, as over one unit, counts as agreed. No factor T^2, which the authors' code has: a correlation is blind to scale, so its gradient does not
fall with T. The paper's two weights are 2, so is a `weight` of 2 here.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.linalg import vector_norm

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import masked_mean, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

NO_VARIATION = 1e-8
Share = Annotated[float, Field(ge=0)]


class Dist(torch.nn.Module):
    """`inter`: the weight of the correlation over a unit's labels. `intra`: over a label's units. `temperature`: T > 0, a number or a schedule."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self, inter: Share = 1.0, intra: Share = 1.0, temperature: ScheduledAbove0 = 1.0
    ) -> None:
        super().__init__()
        self.inter, self.intra = inter, intra
        self.temperatures = schedule(temperature)
        self.temperature = self.temperatures(0.0)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Between 0 and 2 (inter + intra)."""
        mask = student.mask & teacher.mask
        q, p = (log.exp() for log in softened(student, teacher, self.temperature))
        of_units = 1 - correlation(q - q.mean(-1, keepdim=True), p - p.mean(-1, keepdim=True), -1)
        of_labels = 1 - correlation(centred_over_units(q, mask), centred_over_units(p, mask), 0)
        return self.inter * masked_mean(of_units, mask) + self.intra * of_labels.mean()


def centred_over_units(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B * W, V) less each label's mean over the counted units; 0 where a unit does not count."""
    counts = mask.unsqueeze(-1)
    mean = torch.where(counts, values, 0).sum((0, 1)) / mask.sum().clamp_min(1)
    return torch.where(counts, values - mean, 0).flatten(0, 1)


def correlation(student: torch.Tensor, teacher: torch.Tensor, dim: int) -> torch.Tensor:
    """Pearson's, of centred values along `dim`; 1 where neither varies."""
    norms = vector_norm(student, dim=dim) * vector_norm(teacher, dim=dim)
    return ((student * teacher).sum(dim) + NO_VARIATION) / (norms + NO_VARIATION)
