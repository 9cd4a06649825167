"""Which epoch's weights a training ends with, and when no better ones are waited for.

After each epoch the model is judged on validation, and the weights of the best epoch are kept: the
oldest regularisation of neural networks, and the cheapest (Prechelt, 1998, "Early Stopping - But
When?", LNCS 1524). With `patience` a training ends after so many epochs without a better one.

All is a pure function of the settings and of what was logged: a training that goes on from a
checkpoint shows its history to a new `Choice`, and stands where it stood.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.recipe.model import Train
from limbeck.training.job import Judge

# Why a training ended, as its history has it.
ALL_EPOCHS = "epochs"
NO_BETTER = "patience"
NO_TIME = "minutes"


@dataclass(frozen=True)
class Epoch:
    """An epoch whose weights may be kept.

    number: from 0. step: how many steps were done at its end. worth: what it is compared by.
    """

    number: int
    step: int
    worth: tuple[float, ...]


class Choice:
    """Is shown every validation of a training, and remembers the best epoch.

    Args:
        settings: the recipe's `train`.
        judge: what figures are worth; None where epochs cannot be compared.
        first: the first step, from 0, after which weights may be kept: before it a joint training
            has not the format that it ends with.
        rising: the number of steps in which the learning rate rises, in which nobody is impatient.
    """

    def __init__(self, settings: Train, judge: Judge | None, first: int, rising: float) -> None:
        self.patience = settings.patience
        self.judge = judge if settings.keep == "best" else None
        self.first = first
        self.rising = rising
        self.best: Epoch | None = None
        self.waited = 0

    @property
    def is_over(self) -> bool:
        """Whether no better epoch came for as long as the settings wait."""
        return self.patience is not None and self.waited >= self.patience

    def see(self, point: Mapping[str, Any]) -> bool:
        """Look at one point of a history; whether it is the best epoch so far.

        A later epoch that is worth as much takes its place: it has seen more. But it is no reason
        to wait longer.
        """
        if self.judge is None or "validation" not in point or point["step"] <= self.first:
            return False
        worth = self.judge(point["validation"])
        # A figure that is not finite compares as nothing does.
        if not all(map(math.isfinite, worth)):
            return False
        is_better = self.best is None or worth > self.best.worth
        if is_better or point["step"] <= self.rising:
            self.waited = 0
        else:
            self.waited += 1
        if self.best is not None and worth < self.best.worth:
            return False
        self.best = Epoch(point["epoch"], point["step"], worth)
        return True

    def see_all(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Look at what a training had logged before it was stopped."""
        for point in history:
            self.see(point)
