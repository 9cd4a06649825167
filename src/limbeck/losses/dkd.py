"""Match the teacher in two parts that are weighted apart: how probable the right class is (the
paper's TCKD), and how the other classes share the rest (its NCKD). `kl` ties the weight of the
second to how unsure the teacher is (decoupled knowledge distillation, Zhao et al., 2022,
arXiv 2203.08679).

    T^2 [ alpha KL(b(teacher) || b(student)) + beta KL(c(teacher) || c(student)) ]
    p = softmax(logits / T), t the target: b = (p_t, 1 - p_t), c_v = p_v / (1 - p_t) for v != t

`kl` is alpha = 1, beta = 1 - p_t(teacher): a teacher that is sure of the target hides what it
knows of the others, and a constant beta does not. 0 at identity. The defaults are the paper's for
CIFAR-100 (for ImageNet it has beta = 0.5, T = 1).

The target is the row's label. Of a unit without one it is the teacher's own decision, the largest
logit, which the paper has no need of. The authors raise the weight over their first 20 epochs of
240: here `weight: "ramp(0@0, 1@0.08)"`.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import LabelKind, UnitLoss, softened
from limbeck.models.likelihood import divergence
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

NotNegative = Annotated[float, Field(ge=0)]


class Dkd(UnitLoss):
    """Keys:

    - `alpha`: the weight of the first part, the right class against all others.
    - `beta`: the weight of the second part, the others among themselves.
    - `temperature`: T > 0, a number or a schedule over the training. The higher, the more the
      improbable classes count.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    labels: ClassVar[LabelKind] = "index"

    def __init__(
        self,
        alpha: NotNegative = 1.0,
        beta: NotNegative = 8.0,
        temperature: ScheduledAbove0 = 4.0,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.temperature = schedule(temperature)

    def of_units(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a unit, weighted, times T^2. Raises ValueError where labels are no classes."""
        if batch.labels.shape != student.mask.shape or batch.labels.is_floating_point():
            raise ValueError(
                "dkd: it needs one class a unit, and this task's labels are none. "
                "Take bernoulli_kl for sets, logit_mse for numbers"
            )
        # Of a unit without a label, what the teacher decides.
        decisions = teacher.logits.argmax(-1)
        is_labelled = batch.labels >= 0
        classes = torch.where(is_labelled, batch.labels, decisions)
        target = classes.unsqueeze(-1)
        temperature = self.temperature(progress)
        log_q, log_p = softened(student, teacher, temperature)
        student_target, student_others = decoupled(log_q, target)
        teacher_target, teacher_others = decoupled(log_p, target)
        # Target or not, and then which of the others: `kl` is their sum, the second weighted by
        # what the teacher leaves to the others.
        of_target = divergence(teacher_target, student_target)
        of_others = divergence(teacher_others, student_others)
        nats = self.alpha * of_target + self.beta * of_others
        return temperature**2 * nats


def decoupled(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(log b (B, W, 2), log c (B, W, V - 1)) of log-probabilities (B, W, V), targets (B, W, 1)."""
    others = torch.arange(log_p.shape[-1] - 1, device=log_p.device)
    # Numbers from the target on move up by one: the labels without the target.
    others = others + (others >= target)
    log_others = log_p.gather(-1, others)
    # log (1 - p_t) from the others, since 1 - p_t loses all digits where p_t is close to 1.
    log_rest = log_others.logsumexp(-1, keepdim=True)
    log_target = log_p.gather(-1, target)
    return torch.cat([log_target, log_rest], -1), log_others - log_rest
