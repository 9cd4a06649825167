"""Fisher information times squared rounding error, a weight at a time:

    1/2 sum_w F_w (Q(w) - w)^2,    F_w = E[(d log p / d w)^2]

(FIT, Zandonati et al., 2022, arXiv 2210.08502, section 3). To second order KL(p_w || p_(w + e)) is
1/2 e^T F e (Martens, 2014, arXiv 1412.1193, section 5); the errors of rounding are close to
independent, which leaves the diagonal of F. One forward and one backward pass over the rows serve
all modules and formats.

Deviations:

- FIT multiplies the trace of a layer's F by its mean squared error. Here each weight's own error
  meets its own F_w: both are at hand, and a layer's large errors need not meet its large F_w.
- FIT takes F from the labels, the empirical Fisher. Here it is that of the model's own answers,
  which needs no label (Kunstner et al., 2019, arXiv 1905.12558, on why it is the better one).
- The answers are not drawn, since those that count most are rarely drawn. Random signs z stand in
  for them: with h = `fisher_root(logits, z)` of the likelihood, the squared gradient of the sum
  of h times the logits is F in expectation.
  A row's signs hang on its number alone, so that batches may be cut in any way.
- The squared gradient is that of a whole batch's sum: signs of different units are independent, so
  that products between two units vanish in expectation, and a pass a unit is saved.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.analysis.sensitivities import JudgedModel, Scores, differentiable
from limbeck.core.events import Reporter, silent, track
from limbeck.models.likelihood import LIKELIHOODS
from limbeck.models.running import run_model
from limbeck.quantization.modules.swap import Quantized
from limbeck.tasks import Batch


class Gradient:
    """Estimates all modules and formats from one backward pass over the rows."""

    def __call__(self, judged: JudgedModel) -> Scores:
        """Nats a unit, 0 or more."""
        curvature = fisher(
            judged.model,
            judged.layers,
            judged.batches,
            judged.tell,
            likelihood=judged.likelihood,
        )
        return judged.second_order(curvature)


def fisher(
    model: nn.Module,
    layers: Mapping[str, Quantized],
    batches: Sequence[Batch],
    tell: Reporter = silent,
    *,
    likelihood: str = "categorical",
) -> dict[str, Tensor]:
    """F_w a unit, of the shape of each layer's weight; 0 for one that no output depends on."""
    sums = {}
    for name, layer in layers.items():
        sums[name] = torch.zeros_like(layer.weight)
    with differentiable(model, layers) as weights:
        for batch in track(batches, cost, tell):
            logits = run_model(model, batch).logits
            root = counted_root(likelihood, logits.detach(), batch)
            # Its gradient in a weight, squared, is in expectation F of that weight.
            drawn = (root * logits).sum()
            # A module that does not run has no gradient at all.
            gradients = torch.autograd.grad(drawn, weights, allow_unused=True)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient)
    units = sum(int(batch.mask.sum()) for batch in batches)
    # Formats are compared by nats a unit, whatever the number of rows.
    return {name: total.div_(units) for name, total in sums.items()}


def counted_root(
    likelihood: str,
    logits: Tensor,
    batch: Batch,
) -> Tensor:
    """(B, W, V) h of every unit that counts, 0 of any other."""
    drawn = signs(batch.rows, *logits.shape[1:])
    drawn = drawn.to(logits.device)
    root = LIKELIHOODS[likelihood].fisher_root(logits, drawn)
    return torch.where(batch.mask.unsqueeze(-1), root, 0)


def signs(rows: np.ndarray, *shape: int) -> Tensor:
    """(B, *shape) of -1 and 1, on the CPU; a shorter row's are the first of a longer one's.

    `rows`: the numbers of the rows, which seed them.
    """
    drawn = []
    for row in rows:
        # A generator a row: neither the other rows of its batch nor padding change its signs.
        generator = np.random.default_rng(int(row))
        drawn.append(generator.integers(0, 2, shape, np.int8))
    zero_or_one = np.stack(drawn)
    return torch.from_numpy(2.0 * zero_or_one - 1).float()


def cost(batch: Batch) -> float:
    """What a pass over a batch takes, relative to others."""
    # Tokens or pixels, padding among them: what a forward pass takes time for.
    first_input = next(iter(batch.inputs.values()))
    return float(first_input.numel())
