"""When a joint training quantizes, and to which bits: formats before the final one.

Weights reach few bits in steps that they can follow (progressive quantization, Zhuang et al.,
2018, arXiv 1711.00205). With `progressive: [int8, int4]` and `weights: int2` the quantized
training has three equal parts, or those that `switch_at` cuts, in shares of all steps. A module
takes a format before the last only where that has more levels than its own.

- At a switch the range is fitted anew to the weights as they stand. Carried over by ratio, an
  interval that suits 8 bits would cover values that 2 bits must clip (docs/log.md).
- The optimizer's moments are kept: no gain was seen from forgetting a scale's.
- Activations keep what they have learned, since their grid does not change.
- A range that takes its weights anew in each step (`every_step`) does so before the step.
- Where there are batch norms, all ranges are fitted anew a few times early on (`refits`): a learned
  step moves by a few thousandths a training step, and a zero point not at all.

All is a pure function of the step, so that a resumed training finds its grids.
"""

from collections.abc import Callable, Iterable

from torch import nn

from limbeck.core.events import Note, Reporter, silent
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.after_training import has_norms
from limbeck.quantization.modules.swap import Quantized
from limbeck.recipe.model import Quantize

# Shares of the quantized training. A network that has yet to learn changes most at first: digits,
# three seeds, quantized from step 0: .942 without the first moments of norms and without these,
# .975 with the moments, .980 with both (.981 after training).
REFITTED = (0.05, 0.1, 0.2, 0.4)


def beginnings(settings: Quantize, total: int) -> list[int]:
    """The step, of `total`, at which each format begins, the final one last.

    The first of them is where quantization begins.

    Example:
        >>> beginnings(Quantize(weights="int2", progressive=["int8"], start=0.5), 100)
        [50, 75]
    """
    first = int(settings.start * total)
    if settings.switch_at:
        switches = [int(share * total) for share in settings.switch_at]
        return [first, *switches]
    num_parts = len(settings.progressive) + 1
    steps = total - first
    return [first + steps * part // num_parts for part in range(num_parts)]


def refits(begin: int, total: int) -> list[int]:
    """The steps, after `begin` of `total`, at which all ranges are fitted anew.

    Example:
        >>> refits(0, 100)
        [5, 10, 20, 40]
    """
    return [begin + int(share * (total - begin)) for share in REFITTED]


class Progressive:
    """Puts weights on the grid of each step; a training calls it before the step.

    Args:
        settings: the recipe's section.
        model: prepared, on its final grids.
        calibrate: fits every range of the model; called where quantization begins, and at `refits`.
        tell: hears of every switch.
    """

    def __init__(
        self,
        settings: Quantize,
        model: nn.Module,
        calibrate: Callable[[], None],
        tell: Reporter = silent,
    ) -> None:
        self.settings = settings
        self.has_norms = has_norms(model)
        self.final_grids: dict[Quantized, Grid] = {}
        for module in model.modules():
            if isinstance(module, Quantized):
                self.final_grids[module] = module.quantizer.grid
        self.calibrate = calibrate
        self.tell = tell
        # No phase yet: a resumed training begins in the middle of one, and sets its grids too.
        self.phase = -1

    def __call__(self, step: int, total: int) -> None:
        """Put every module on the grid of `step`; fit what begins or changes there."""
        # 1. The grid of the step, which a resumed training has yet to find.
        begins = beginnings(self.settings, total)
        phase = phase_at(step, begins)
        if phase != self.phase:
            self.phase = phase
            for module, final in self.final_grids.items():
                module.quantizer.grid = self.grid(final, phase)
        # 2. The ranges, in the steps where the grid is new: a checkpoint holds those of all others.
        first = begins[0]
        is_refit = self.has_norms and step in refits(first, total)
        if step == first or is_refit:
            self.calibrate()
        elif step > first:
            cover_weights(self.final_grids)
        if step in begins[1:]:
            self.switch(phase_at(step - 1, begins), phase)
            formats = [*self.settings.progressive, self.settings.weights]
            text = f"  weights are {formats[phase]} from step {step} of {total} on"
            self.tell(Note(text))

    def switch(self, before: int, phase: int) -> None:
        """Fit the weights whose grid is another in `phase` than it was in the phase `before`."""
        for module, final in self.final_grids.items():
            if self.grid(final, before) != self.grid(final, phase):
                module.calibrate_weight()

    def grid(self, final: Grid, phase: int) -> Grid:
        """What a module whose final grid is `final` has in a phase."""
        formats = self.settings.progressive
        if phase >= len(formats):
            return final
        asked = GRIDS[formats[phase]]
        return asked if asked.num_levels > final.num_levels else final


def cover_weights(modules: Iterable[Quantized]) -> None:
    """Let grids cover their weights as these stand, where the range asks for it."""
    # Tied modules share a quantizer, and the weight.
    covering = {each.quantizer: each for each in modules if each.quantizer.range_class.each_step}
    for quantizer, module in covering.items():
        quantizer.cover(module.coded_weight())


def phase_at(step: int, begins: list[int]) -> int:
    """Which format a step has, as its place in the list; the first before quantization begins."""
    num_begun = sum(begin <= step for begin in begins)
    return max(0, num_begun - 1)
