"""Distillation by correlation, not by equality (DIST, Huang et al., 2022, arXiv 2205.10536):

    inter * mean over units of (1 - r(q_u, p_u))  +  intra * mean over labels of (1 - r(q_v, p_v))

r is Pearson's correlation, p = softmax(teacher / T), q = softmax(student / T). q_u is what a unit
gives its labels, q_v what a label gets from the counted units of the batch, over which `intra`
correlates. 0 at identity, and wherever q is linear in p with a positive slope.

Deviations:
- 1e-8 stands beside covariance and product of norms (the authors' code has it beside the latter
  only), so that what does not vary in either model, as over one unit, counts as agreed.
- No factor T^2, which the authors' code has: a correlation is blind to scale, so its gradient does
  not fall with T.
- The paper's two weights are 2, so is a `weight` of 2 here.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.linalg import vector_norm

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import PlainLoss, masked_mean, softened, zero_where_not
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

# The authors' code has it. Products of norms of probabilities that vary at all are far above it.
NO_VARIATION = 1e-8
NotNegative = Annotated[float, Field(ge=0)]


class Dist(PlainLoss, nn.Module):
    """`inter`: the weight of the correlation over a unit's labels. `intra`: of that over a label's
    units. `temperature`: T > 0, a number or a schedule over the training."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self,
        inter: NotNegative = 1.0,
        intra: NotNegative = 1.0,
        temperature: ScheduledAbove0 = 1.0,
    ) -> None:
        super().__init__()
        self.inter = inter
        self.intra = intra
        self.temperature = schedule(temperature)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Between 0 and 2 (inter + intra)."""
        mask = student.mask & teacher.mask
        log_q, log_p = softened(student, teacher, self.temperature(progress))
        # Probabilities, whose correlation is blind to what a softmax is blind to.
        q = log_q.exp()
        p = log_p.exp()
        of_units = correlation(
            centred_over_labels(q),
            centred_over_labels(p),
            dim=-1,
        )
        of_labels = correlation(
            centred_over_units(q, mask),
            centred_over_units(p, mask),
            dim=0,
        )
        # Every label has a correlation, whichever units count, so its mean needs no mask.
        inter = masked_mean(1 - of_units, mask)
        intra = (1 - of_labels).mean()
        return self.inter * inter + self.intra * intra


def centred_over_labels(values: Tensor) -> Tensor:
    """(B, W, V) less each unit's mean over its labels."""
    return values - values.mean(-1, keepdim=True)


def centred_over_units(values: Tensor, mask: Tensor) -> Tensor:
    """(B * W, V) of (B, W, V): less each label's mean over the counted units, and 0 where a unit
    does not count."""
    is_counted = mask.unsqueeze(-1)
    total = zero_where_not(is_counted, values).sum((0, 1))
    mean = total / mask.sum().clamp_min(1)
    # Zeros after centring add nothing to covariance and norms.
    centred = zero_where_not(is_counted, values - mean)
    return centred.flatten(0, 1)


def correlation(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Pearson's correlation of centred values along `dim`; 1 where neither varies."""
    covariance = (student * teacher).sum(dim)
    student_norm = vector_norm(student, dim=dim)
    teacher_norm = vector_norm(teacher, dim=dim)
    norms = student_norm * teacher_norm
    return (covariance + NO_VARIATION) / (norms + NO_VARIATION)
