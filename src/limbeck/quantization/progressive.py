"""When a joint training quantizes, and to which bits: formats before the final one, so that weights reach few bits in steps they can follow
(progressive quantization, Zhuang et al., 2018, arXiv 1711.00205).

With `progressive: [int8, int4]` and `weights: int2` the quantized training has three equal parts, or those that `switch_at` cuts, in shares of all
steps. A module takes a format before the last only where that has more levels than its own. At a switch the range is fitted anew to the weights as
they stand: carried over by ratio, an interval that suits 8 bits would cover values that 2 bits must clip (docs/log.md). The optimizer's moments are
kept: that forgetting a scale's helped was not to be seen. Activations keep what they have learned: their grid does not change.

All is a pure function of the step, so that a resumed training finds its grids.
"""

from collections.abc import Callable

from torch import nn

from limbeck.core.events import Note, Reporter, silent
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.swap import Quantized
from limbeck.recipe.model import Quantize


def beginnings(settings: Quantize, total: int) -> list[int]:
    """The step at which each format begins, the final one last; the first is where quantization begins."""
    first, parts = int(settings.start * total), len(settings.progressive) + 1
    if settings.switch_at:
        return [first, *(int(share * total) for share in settings.switch_at)]
    return [first + (total - first) * part // parts for part in range(parts)]


class Progressive:
    """Listens to a training's steps: `calibrate()` fits every range where quantization begins, a switch those of the weights that it changes."""

    def __init__(
        self,
        settings: Quantize,
        model: nn.Module,
        calibrate: Callable[[], None],
        tell: Reporter = silent,
    ) -> None:
        self.settings = settings
        self.own = [
            (module, module.quantizer.grid)
            for module in model.modules()
            if isinstance(module, Quantized)
        ]
        self.calibrate, self.tell = calibrate, tell
        self.phase = -1

    def __call__(self, step: int, total: int) -> None:
        """Put every module on the grid of `step`; fit what begins or changes there."""
        begins = beginnings(self.settings, total)
        phase = max(0, sum(begin <= step for begin in begins) - 1)
        if phase != self.phase:
            self.phase = phase
            for module, own in self.own:
                module.quantizer.grid = self.grid(own, phase)
        if step == begins[0]:
            self.calibrate()
        if step == begins[0] or step not in begins:
            return
        before = max(0, sum(begin < step for begin in begins) - 1)
        for module, own in self.own:
            if self.grid(own, before) != self.grid(own, phase):
                module.calibrate_weight()
        self.tell(
            Note(
                f"  weights are {[*self.settings.progressive, self.settings.weights][phase]} from step {step} of {total} on"
            )
        )

    def grid(self, own: Grid, phase: int) -> Grid:
        """What a module whose final grid is `own` has in a phase."""
        formats = self.settings.progressive
        asked = GRIDS[formats[phase]] if phase < len(formats) else own
        return asked if asked.num_levels > own.num_levels else own
