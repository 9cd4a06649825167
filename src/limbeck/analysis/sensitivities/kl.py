"""Measure how far the model's answers move when one module is rounded and all others stay float:

    KL(p || q) = sum_v p_v (log p_v - log q_v)    a unit

with p the float model's answers and q those with one module rounded (Kullback and Leibler, 1951).
ZeroQ chooses bits by it (Cai et al., 2020, arXiv 2001.00281, equation 5). It is what the other
sensitivities estimate; nothing errs in it but the choice of rows. It takes a pass over the rows for
every module and format.

ZeroQ measures it on inputs that it distils out of the network; here rows of the data are given.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from limbeck.analysis.sensitivities import JudgedModel, Scores, fitted
from limbeck.core.events import track
from limbeck.models.likelihood import LIKELIHOODS, wide_logits
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized


class Kl:
    """Measures every module in every format."""

    def __call__(self, judged: JudgedModel) -> Scores:
        """Nats a unit, 0 or more."""
        pairs = [(name, form) for name in judged.layers for form in judged.formats]
        scores: Scores = {name: {} for name in judged.layers}
        with torch.no_grad():
            exact = wide_logits(judged.model, judged.batches)
            # Nothing but the one module is rounded while it is judged.
            for name, form in track(pairs, _one_pass, judged.tell):
                layer = judged.layers[name]
                rounder = fitted(layer, form)
                with rounded_by(judged.model, layer.quantizer, rounder):
                    nats = summed_divergence(judged, exact)
                # Rounding of sums makes a divergence of almost 0 a little negative.
                scores[name][form] = max(0.0, nats / judged.units)
        return scores


def _one_pass(pair: tuple[str, str]) -> float:
    """Every module and format takes as long as any other."""
    return 1.0


def summed_divergence(judged: JudgedModel, exact: list[Tensor]) -> float:
    """Nats by which the model's answers leave the float logits `exact`, over units that count."""
    rounded = wide_logits(judged.model, judged.batches)
    likelihood = LIKELIHOODS[judged.likelihood]
    total = 0.0
    for float_logits, logits, batch in zip(exact, rounded, judged.batches, strict=True):
        nats = likelihood.divergence(float_logits, logits)
        # Where float64 is, which need not be the batch's device.
        mask = batch.mask.to(nats.device)
        total += float((nats * mask).sum())
    return total


@contextlib.contextmanager
def rounded_by(
    model: nn.Module,
    own: FakeQuantizer,
    other: FakeQuantizer,
) -> Iterator[None]:
    """Inside, the weight of the quantizer `own` is rounded by `other`, in each layer that holds it.

    Layers with tied weights share their quantizer, so that more than one may change.
    """
    layers = []
    for layer in model.modules():
        if isinstance(layer, Quantized) and layer.quantizer is own:
            layers.append(layer)
            layer.quantizer = other
    try:
        yield
    finally:
        for layer in layers:
            layer.quantizer = own
