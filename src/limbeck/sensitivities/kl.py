"""Leave one in: KL(float || this module alone rounded), sum_v p_v (log p_v - log q_v) a unit, measured. What the others estimate; no other error is
in it but that of the rows (Kullback and Leibler, 1951; used to choose bits by Cai et al., ZeroQ, 2020, arXiv 2001.00281, equation 5).

It takes a pass over the rows for every module and format.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from limbeck import features
from limbeck.progress import track
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.swap import Quantized
from limbeck.sensitivities import Probe, Scores, fitted
from limbeck.tasks import Batch


class Kl:
    """No keys."""

    def __call__(self, probe: Probe) -> Scores:
        """Nats a unit, 0 or more."""
        pairs = [(name, form) for name in probe.layers for form in probe.formats]
        found: Scores = {name: {} for name in probe.layers}
        with torch.no_grad():
            wanted = log_probabilities(probe)
            for name, form in track(pairs, lambda pair: 1.0, probe.tell):
                layer = probe.layers[name]
                with rounded_by(probe.model, layer.quantizer, fitted(layer, form)):
                    nats = sum(map(divergence, wanted, log_probabilities(probe), probe.batches))
                found[name][form] = max(0.0, nats / probe.units)
        return found


def log_probabilities(probe: Probe) -> list[torch.Tensor]:
    """(B, W, V) of each batch, in float64: an int8 weight's divergence is of the size of float32's own rounding."""
    return [features.run(probe.model, batch).logits.double().log_softmax(-1) for batch in probe.batches]


def divergence(log_p: torch.Tensor, log_q: torch.Tensor, batch: Batch) -> float:
    """The sum over the units that count."""
    return float(((log_p.exp() * (log_p - log_q)).sum(-1) * batch.mask).sum())


@contextlib.contextmanager
def rounded_by(model: nn.Module, own: FakeQuantizer, other: FakeQuantizer) -> Iterator[None]:
    """Inside, the weight that `own` rounds is rounded by `other`, in every layer that holds it."""
    layers = [layer for layer in model.modules() if isinstance(layer, Quantized) and layer.quantizer is own]
    for layer in layers:
        layer.quantizer = other
    try:
        yield
    finally:
        for layer in layers:
            layer.quantizer = own
