"""Leave one in: KL(float || this module alone rounded), sum_v p_v (log p_v - log q_v) a unit, measured. What the others estimate; no other error is
in it but that of the rows (Kullback and Leibler, 1951; used to choose bits by Cai et al., ZeroQ, 2020, arXiv 2001.00281, equation 5).

It takes a pass over the rows for every module and format.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from limbeck.analysis.sensitivities import Probe, Scores, fitted
from limbeck.core.events import track
from limbeck.models.likelihood import nats_between, wide_logits
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.swap import Quantized


class Kl:
    """No keys."""

    def __call__(self, probe: Probe) -> Scores:
        """Nats a unit, 0 or more."""
        pairs = [(name, form) for name in probe.layers for form in probe.formats]
        found: Scores = {name: {} for name in probe.layers}
        with torch.no_grad():
            wanted = wide_logits(probe.model, probe.batches)
            for name, form in track(pairs, lambda pair: 1.0, probe.tell):
                layer = probe.layers[name]
                with rounded_by(probe.model, layer.quantizer, fitted(layer, form)):
                    nats = away(probe, wanted)
                found[name][form] = max(0.0, nats / probe.units)
        return found


def away(probe: Probe, wanted: list[torch.Tensor]) -> float:
    """Nats by which the model's answers leave the `wanted` ones, over the units that count."""
    pairs = zip(wanted, wide_logits(probe.model, probe.batches), probe.batches, strict=True)
    return sum(
        float((nats_between(probe.likelihood, p, q) * batch.mask).sum()) for p, q, batch in pairs
    )


@contextlib.contextmanager
def rounded_by(model: nn.Module, own: FakeQuantizer, other: FakeQuantizer) -> Iterator[None]:
    """Inside, the weight that `own` rounds is rounded by `other`, in every layer that holds it."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, Quantized) and layer.quantizer is own
    ]
    for layer in layers:
        layer.quantizer = other
    try:
        yield
    finally:
        for layer in layers:
            layer.quantizer = own
