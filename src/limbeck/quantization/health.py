"""What goes wrong with ranges while a model trains, told by the module's name, its likely cause and the cure. Looked at once an epoch.

A learned scale that is not finite, or has gone to zero, stops the training: nothing passes its tensor any more. Two others are told once a place. A
tensor has collapsed where all its values have one code. It saturates where more than CLIPPED of them lie beyond the grid and lose more than CUT of
its energy by that (a background that is clipped by a step loses nothing); weights out there have no gradient either.

A scale cannot change its sign: its logarithm is what is learned (`ranges.lsq`).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from limbeck.core.errors import Diverged
from limbeck.core.events import Note, Tell
from limbeck.quantization.affine import SMALLEST
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.swap import Quantized, Then, activation_quantizers

CLIPPED, CUT = (
    0.3,
    0.1,
)  # shares; the least squared error of normal values on 2 bits leaves 0.14 of them outside
MOST = 6  # places that a message lists


@dataclass
class Seen:
    """The codes of one quantizer's values, as they add up."""

    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    clipped: int = 0
    count: int = 0
    cut: float = 0.0
    energy: float = 0.0

    def add(self, quantizer: FakeQuantizer, x: torch.Tensor) -> None:
        """Values as the quantizer reads them."""
        free = quantizer.unclamped(x)
        codes = free.clamp(quantizer.grid.low, quantizer.grid.high)
        low, high = codes.aminmax()
        self.lows.append(low.item())
        self.highs.append(high.item())
        self.clipped += int((free != codes).sum())
        self.count += x.numel()
        beyond = quantizer.rows(free - codes) * quantizer.scale.view(quantizer.column)
        self.cut += beyond.norm().item() ** 2
        self.energy += x.float().norm().item() ** 2

    @property
    def has_collapsed(self) -> bool:
        """Whether there is one code."""
        return self.count > 1 and min(self.lows) == max(self.highs)

    @property
    def share_clipped(self) -> float:
        """Of all values."""
        return self.clipped / max(1, self.count)

    @property
    def is_saturated(self) -> bool:
        """Whether clipping takes off much."""
        return self.share_clipped > CLIPPED and self.cut > CUT * self.energy


class Examination:
    """Called once an epoch. `forward(model)` runs one batch, so that activations are seen. Raises Diverged."""

    def __init__(self, model: nn.Module, forward: Callable[[nn.Module], Any], tell: Tell) -> None:
        self.model, self.forward, self.tell = model, forward, tell
        self.told: set[tuple[str, tuple[str, str]]] = set()

    def __call__(self) -> None:
        if broken := broken_scales(self.model):
            raise Diverged(broken)
        named, found = places(self.model), defaultdict(list)
        for quantizer, seen in observe(self.model, self.forward).items():
            if (problem := problem_of(quantizer, seen)) and (
                named[quantizer],
                problem,
            ) not in self.told:
                self.told.add((named[quantizer], problem))
                found[problem].append(f"{named[quantizer]} ({seen.share_clipped:.0%} clipped)")
        for problem, where in found.items():
            self.tell(Note(f"warning: {problem[0]}:\n{listed(where)}\n  {problem[1]}"))


def problem_of(quantizer: FakeQuantizer, seen: Seen) -> tuple[str, str] | None:
    """What is wrong, and the likely cause with its cure; None where nothing is."""
    if seen.has_collapsed:
        return "all values of a tensor have the same code", (
            "likely the scale has outgrown the values, or the layer has died. Lower train.learning_rate, begin later (quantize.start), or leave\n"
            "  the module out (quantize.keep_float)"
        )
    if not seen.is_saturated:
        return None
    if quantizer.clipped_only:
        cure = "likely its bound is pressed too hard. Lower quantize.clip_weight"
    elif quantizer.range_class.learned:
        cure = "likely the values grow faster than the scale, which was fitted early. Begin later (quantize.start), or lower train.learning_rate"
    else:
        cure = "likely the values have grown since the range was fitted. Let it be learned (quantize.range: lsq), or begin later (quantize.start)"
    return "many values lie beyond the grid and are clipped", cure


def broken_scales(model: nn.Module) -> str:
    """The places of learned scales that nothing passes, with cause and cure; empty where all is well."""
    named, found = places(model), []
    for module, place in named.items():
        scale = module.scale if module.calibrated and module.range_class.learned else torch.ones(1)
        wrong = ~torch.isfinite(scale) | (
            scale < SMALLEST / 2
        )  # a dead channel's starts at SMALLEST
        if wrong.any():
            found.append(
                f"{place} ({int(wrong.sum())} of {len(scale)}: {scale[wrong][0].item():g})"
            )
    if not found:
        return ""
    cure = "  likely a step was too large for it. Lower train.learning_rate or train.gradient_clip, or fix the ranges (quantize.range: mse)"
    return f"a learned scale is not finite, or has gone to zero:\n{listed(found)}\n{cure}"


def listed(where: list[str]) -> str:
    """A line each, MOST of them."""
    more = [f"  and {len(where) - MOST} more"] if len(where) > MOST else []
    return "\n".join([f"  {each}" for each in where[:MOST]] + more)


def places(model: nn.Module) -> dict[FakeQuantizer, str]:
    """What each quantizer quantizes, by the name that its module has in the float model."""
    wrapped = {
        f"{name}.module" for name, module in model.named_modules() if isinstance(module, Then)
    }
    weights = {module.quantizer for module in model.modules() if isinstance(module, Quantized)}
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantizer):
            owner = name.rpartition(".")[0]
            owner = owner.removesuffix(".module") if owner in wrapped else owner
            found[module] = (
                f"weights of `{owner}`" if module in weights else f"activations at `{owner}`"
            )
    return found


def observe(model: nn.Module, forward: Callable[[nn.Module], Any]) -> dict[FakeQuantizer, Seen]:
    """What every calibrated quantizer makes of its weight, or of the activations of one batch. The mode is kept."""
    seen = {
        module: Seen()
        for module in model.modules()
        if isinstance(module, FakeQuantizer) and module.calibrated
    }
    was_training = model.training
    read = [module for module in activation_quantizers(model) if module in seen]
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: seen[module].add(module, inputs[0]))
        for module in read
    ]
    try:
        with torch.no_grad():
            forward(model.eval())
            for module in model.modules():
                if isinstance(module, Quantized) and module.quantizer in seen:
                    seen[module.quantizer].add(module.quantizer, module.float_weight())
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    return seen
