"""Fisher information times squared rounding error: 1/2 sum_w F_w (Q(w) - w)^2 with F_w = E[(d log p / d w)^2] (FIT, Zandonati et al., 2022,
arXiv 2210.08502, section 3). To second order KL(p_w || p_(w + e)) is 1/2 e^T F e (Martens, 2014, arXiv 1412.1193, section 5); the errors of
rounding are close to independent, which leaves the diagonal. A forward and a backward pass over the rows serve all modules and formats.

Deviations. FIT multiplies the trace of a layer's F by its mean error; here each weight's own error meets its own F_w. FIT takes F from the labels;
here it is that of the model's own answers (Kunstner et al., 2019, arXiv 1905.12558, on why), by random signs instead of drawn labels, which are
rarely the unlikely ones that count: with h of `likelihood.square_root`, the squared gradient of sum h z is F in expectation. A row's signs hang on
its number alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from limbeck.analysis.sensitivities import Probe, Scores, differentiable
from limbeck.core.events import Tell, silent, track
from limbeck.models.likelihood import square_root
from limbeck.models.taps import run_model
from limbeck.quantization.swap import Quantized
from limbeck.tasks import Batch


class Gradient:
    """No keys."""

    def __call__(self, probe: Probe) -> Scores:
        """Nats a unit."""
        return probe.second_order(
            fisher(
                probe.model, probe.layers, probe.batches, probe.tell, likelihood=probe.likelihood
            )
        )


def fisher(
    model: nn.Module,
    layers: Mapping[str, Quantized],
    batches: Sequence[Batch],
    tell: Tell = silent,
    *,
    likelihood: str = "categorical",
) -> dict[str, torch.Tensor]:
    """F_w a unit, of the shape of each layer's weight; 0 for one that no output depends on."""
    found = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    with differentiable(model, layers) as weights:
        for batch in track(batches, cost, tell):
            logits = run_model(model, batch).logits
            gradients = torch.autograd.grad(
                (counted_root(likelihood, logits.detach(), batch) * logits).sum(),
                weights,
                allow_unused=True,
            )
            for total, gradient in zip(found.values(), gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient)
    units = sum(int(batch.mask.sum()) for batch in batches)
    return {name: total.div_(units) for name, total in found.items()}


def counted_root(likelihood: str, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B, W, V) h of every counted unit, else 0."""
    return torch.where(
        batch.mask.unsqueeze(-1),
        square_root(likelihood, logits, signs(batch.rows, *logits.shape[1:])),
        0,
    )


def signs(rows: np.ndarray, *shape: int) -> torch.Tensor:
    """(B, *shape) of -1 and 1; a shorter row's are the first of a longer one's."""
    drawn = np.stack(
        [np.random.default_rng(int(row)).integers(0, 2, shape, np.int8) for row in rows]
    )
    return torch.from_numpy(2.0 * drawn - 1).float()


def cost(batch: Batch) -> float:
    """What a pass over a batch takes, relative to others."""
    return float(next(iter(batch.inputs.values())).numel())
