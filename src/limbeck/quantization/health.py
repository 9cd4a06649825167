"""What goes wrong with ranges while a model trains: told with the module's name, cause and cure.

Three things are looked for at each validation:

- A learned scale that is not finite, or has gone to zero, stops the training: nothing passes its
  tensor any more. (It cannot change its sign, since its logarithm is what is learned.)
- A tensor has collapsed where all its values have one code.
- A tensor saturates where more than MOST_CLIPPED of its values lie beyond the grid, and it loses
  more than MOST_LOST of its energy (the sum of squares) by that. A background that is clipped by
  one step loses next to nothing. Weights beyond the grid have no gradient either.

The last two are told once for each place. Figures are collected on the model's device and read
together, so that an examination waits for the device twice, however many quantizers there are.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from limbeck.core.errors import Diverged
from limbeck.core.events import Note, Reporter
from limbeck.quantization.affine import SMALLEST
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized, QuantizedOutput, activation_quantizers

# The least squared error of normal values on 2 bits leaves a share of 0.14 outside: a healthy range
# stays well below both.
MOST_CLIPPED = 0.3
MOST_LOST = 0.1
# Places that a message lists: it has to fit a terminal beside the progress line.
MOST_PLACES = 6


class Problem(NamedTuple):
    """What is wrong with a range, and its likely cause with the cure."""

    what: str
    cure: str


COLLAPSED = Problem(
    "all values of a tensor have the same code",
    "likely the scale has outgrown the values, or the layer has died. Lower train.learning_rate,\n"
    "  begin later (quantize.start), or leave the module out (quantize.keep_float)",
)
SATURATED = "many values lie beyond the grid and are clipped"


@dataclass
class CodeFigures:
    """The codes of one quantizer's values, as they add up over the tensors that it reads.

    `low`, `high`: the lowest and the highest code. `clipped` of `count` values lie beyond the
    grid. `lost`: the squares of what clipping takes off; `energy`: those of the values.
    """

    low: float = float("inf")
    high: float = float("-inf")
    clipped: float = 0
    count: int = 0
    lost: float = 0.0
    energy: float = 0.0

    def add(self, count: int, figures: list[float]) -> None:
        """One tensor of `count` values, of which `figures_of` found these."""
        low, high, clipped, lost_norm, norm = figures
        self.low = min(self.low, low)
        self.high = max(self.high, high)
        self.clipped += clipped
        self.count += count
        self.lost += lost_norm**2
        self.energy += norm**2

    @property
    def has_collapsed(self) -> bool:
        """Whether all values, of more than one, have the same code."""
        return self.count > 1 and self.low == self.high

    @property
    def share_clipped(self) -> float:
        """The share of all values that lie beyond the grid, 0 to 1."""
        return self.clipped / max(1, self.count)

    @property
    def is_saturated(self) -> bool:
        """Whether clipping takes off much."""
        return self.share_clipped > MOST_CLIPPED and self.lost > MOST_LOST * self.energy


def figures_of(quantizer: FakeQuantizer, x: torch.Tensor) -> torch.Tensor:
    """(5) lowest and highest code, clipped values, norm of what clipping takes off, norm of `x`."""
    unclamped = quantizer.unclamped(x)
    codes = unclamped.clamp(quantizer.grid.low, quantizer.grid.high)
    low, high = codes.aminmax()
    clipped = (unclamped != codes).sum()
    scale = quantizer.scale.view(quantizer.column)
    beyond = quantizer.rows(unclamped - codes) * scale
    # Norms, since a sum of squares overflows float32 where a scale has run away.
    return torch.stack([low, high, clipped.float(), beyond.norm(), x.float().norm()])


class Examination:
    """Looks at every range of a model; called at each validation.

    `forward(model)` runs one batch, so that activations are seen.

    Calling it raises Diverged where a learned scale lets nothing pass.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[nn.Module], Any],
        tell: Reporter,
    ) -> None:
        self.model = model
        self.forward = forward
        self.tell = tell
        self.told: set[tuple[str, Problem]] = set()

    def __call__(self) -> None:
        if broken := broken_scales(self.model):
            raise Diverged(broken)
        # One message for each problem, however many places have it.
        names = places(self.model)
        lines: dict[Problem, list[str]] = defaultdict(list)
        for quantizer, figures in observe(self.model, self.forward).items():
            place = names[quantizer]
            problem = problem_of(quantizer, figures)
            if problem is None or (place, problem) in self.told:
                continue
            self.told.add((place, problem))
            lines[problem].append(f"{place} ({figures.share_clipped:.0%} clipped)")
        for problem, where in lines.items():
            text = f"warning: {problem.what}:\n{listed(where)}\n  {problem.cure}"
            self.tell(Note(text))


def problem_of(quantizer: FakeQuantizer, figures: CodeFigures) -> Problem | None:
    """What is wrong with the codes of a quantizer; None where nothing is."""
    if figures.has_collapsed:
        return COLLAPSED
    if not figures.is_saturated:
        return None
    # What pulls a range inwards, or leaves it behind, depends on how it is found.
    if quantizer.clipped_only:
        cure = "likely its bound is pressed too hard. Lower quantize.clip_weight"
    elif quantizer.range_class.learned:
        cure = (
            "likely the values grow faster than the scale, which was fitted early. "
            "Begin later (quantize.start), or lower train.learning_rate"
        )
    else:
        cure = (
            "likely the values have grown since the range was fitted. "
            "Let it be learned (quantize.range: lsq), or begin later (quantize.start)"
        )
    return Problem(SATURATED, cure)


def broken_scales(model: nn.Module) -> str:
    """The places of learned scales that let nothing pass, with cause and cure.

    Empty where all is well.
    """
    names = places(model)
    learned = [
        quantizer
        for quantizer in names
        if quantizer.is_calibrated and quantizer.range_class.learned
    ]
    if not learned:
        return ""
    # All are asked at once: each question by itself would wait for the device.
    counts = [is_broken(quantizer.scale).sum() for quantizer in learned]
    where = []
    for quantizer, count in zip(learned, torch.stack(counts).cpu().tolist(), strict=True):
        if count:
            # The training ends here, so that reading an example costs nothing that matters.
            scale = quantizer.scale
            example = scale[is_broken(scale)][0].item()
            where.append(f"{names[quantizer]} ({count} of {len(scale)}: {example:g})")
    if not where:
        return ""
    return (
        f"a learned scale is not finite, or has gone to zero:\n{listed(where)}\n"
        "  likely a step was too large for it. "
        "Lower train.learning_rate or train.gradient_clip, or fix the ranges (quantize.range: mse)"
    )


def is_broken(scale: torch.Tensor) -> torch.Tensor:
    """(groups) whether each scale lets nothing pass."""
    # A dead channel starts at SMALLEST and is healthy, so the limit lies below it.
    # One of int4 in groups may be below 0 (`half_scales`).
    return ~torch.isfinite(scale) | (scale.abs() < SMALLEST / 2)


def listed(where: list[str]) -> str:
    """A line for each place, MOST_PLACES of them."""
    lines = where[:MOST_PLACES]
    if len(where) > MOST_PLACES:
        lines.append(f"and {len(where) - MOST_PLACES} more")
    return "\n".join(f"  {line}" for line in lines)


def places(model: nn.Module) -> dict[FakeQuantizer, str]:
    """What each quantizer quantizes, by the name that its module has in the float model."""
    wrapped = set()
    weight_quantizers = set()
    for name, module in model.named_modules():
        if isinstance(module, QuantizedOutput):
            wrapped.add(f"{name}.module")
        if isinstance(module, Quantized):
            weight_quantizers.add(module.quantizer)
    names = {}
    for name, module in model.named_modules():
        if not isinstance(module, FakeQuantizer):
            continue
        owner = name.rpartition(".")[0]
        # What stands in a wrapper had the wrapper's name before it was wrapped.
        if owner in wrapped:
            owner = owner.removesuffix(".module")
        what = "weights of" if module in weight_quantizers else "activations at"
        names[module] = f"{what} `{owner}`"
    return names


def observe(
    model: nn.Module, forward: Callable[[nn.Module], Any]
) -> dict[FakeQuantizer, CodeFigures]:
    """What every calibrated quantizer makes of its weight, or of the activations of one batch.

    The mode of the model is kept.
    """
    totals = {
        module: CodeFigures()
        for module in model.modules()
        if isinstance(module, FakeQuantizer) and module.is_calibrated
    }
    was_training = model.training
    # (quantizer, number of values, figures on the device) of every tensor.
    seen: list[tuple[FakeQuantizer, int, torch.Tensor]] = []

    def look(quantizer: FakeQuantizer, x: torch.Tensor) -> None:
        seen.append((quantizer, x.numel(), figures_of(quantizer, x)))

    def hook(quantizer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        look(quantizer, inputs[0])

    activations = [quantizer for quantizer in activation_quantizers(model) if quantizer in totals]
    handles = [quantizer.register_forward_pre_hook(hook) for quantizer in activations]
    try:
        with torch.no_grad():
            forward(model.eval())
            # Weights need no batch.
            for module in model.modules():
                if isinstance(module, Quantized) and module.quantizer in totals:
                    look(module.quantizer, module.coded_weight())
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    if seen:
        # The one place where the host waits: all figures at once.
        figures = torch.stack([tensor for _, _, tensor in seen]).cpu().tolist()
        for (quantizer, count, _), found in zip(seen, figures, strict=True):
            totals[quantizer].add(count, found)
    return totals
