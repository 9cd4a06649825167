"""Universal logit distillation, between models of different tokenizers (Boizard et al., 2024,
arXiv 2402.12030, equation 6): what the two give to their first label each, to their second, and so
on, whichever labels these are:

    sum_i |p_(i) - q_(i)|,   p = softmax(teacher), q = softmax(student),  p_(1) >= p_(2) >= ...

which is the Wasserstein distance where all labels are equally far apart. The smaller vocabulary is
filled up with probabilities of 0. Between 0 and 2, and 0 at identity. The paper adds it to the
cross-entropy with a weight of 1.5.

Units meet by their order in the row's answer: its first token with the other model's first, and so
on; what the longer of the two has beyond the shorter does not count, as in the paper.

It says how sure the student is to be, not of what: the labels (`distill.task_weight`) teach that.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from limbeck.losses import UnitLoss, softened
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class UniversalLogit(UnitLoss):
    """Compares probabilities as they are, at temperature 1."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    other_vocabulary: ClassVar[bool] = True

    def of_units(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Between 0 and 2."""
        log_q, log_p = softened(student, teacher, 1.0)
        # Sorted as logarithms, whose order is that of the probabilities, but for those that
        # underflow to 0.
        q = log_q.sort(-1, descending=True).values.exp()
        p = log_p.sort(-1, descending=True).values.exp()
        most = max(q.shape[-1], p.shape[-1])
        differences = filled(q, most) - filled(p, most)
        return differences.abs().sum(-1)


def filled(
    p: Tensor,
    count: int,
) -> Tensor:
    """(B, W, V) probabilities with zeros behind them, `count` in all."""
    return functional.pad(p, (0, count - p.shape[-1]))
