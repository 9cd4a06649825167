"""What a training may take, and what it has taken, over all its lives.

A training ends at the end of an epoch where another one would no longer fit, or within an epoch
that is longer than all that is left, in time for the validation that follows.
"""

import time
from collections.abc import Callable

from limbeck.core.events import COST, STEP, VALIDATION


class Clock:
    """Counts a training's seconds.

    Args:
        allowed: how many it may take; no bound where None.
        now: seconds that only rise.
    """

    def __init__(self, allowed: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self.allowed = allowed
        self.now = now
        self.start(0.0)

    def start(self, spent: float) -> None:
        """Begin, or go on, after `spent` seconds in earlier lives."""
        self.before = spent
        self.began = self.now()
        self.epoch_began = spent
        self.longest_epoch = 0.0
        self.steps_began = self.now()
        self.units = 0.0
        # Of the last validation; None before there was one.
        self.validation: float | None = None

    @property
    def spent(self) -> float:
        """Seconds of this life and the ones before."""
        return self.before + self.now() - self.began

    def end_epoch(self) -> None:
        """Note how long an epoch took, its validation included."""
        self.longest_epoch = max(self.longest_epoch, self.spent - self.epoch_began)
        self.epoch_began = self.spent

    def end_step(self, units: float) -> None:
        """Note that a step of so many `units` is done."""
        self.units += units

    def end_validation(self, began: float) -> None:
        """Note how long a validation took that `began` at that moment of `now`."""
        self.validation = self.now() - began
        # What follows is no part of it.
        self.steps_began += self.validation

    def reserve(self, units: float) -> float:
        """What the validation at the training's end will take: as long as the last one, or by the
        pace of steps so far; `units`: of its pass."""
        if self.validation is not None:
            return self.validation
        if not self.units:
            return 0.0
        pace = (self.now() - self.steps_began) / self.units
        return units * pace * COST[VALIDATION] / COST[STEP]

    def share(self, reserve: float) -> float:
        """How much of the time is used up, 1 for all of it; `reserve`: what the end takes yet."""
        if self.allowed is None:
            return 0.0
        left_for_steps = self.allowed - reserve
        return self.spent / left_for_steps if left_for_steps > 0 else 1.0

    def is_over(self, *, at_end_of_epoch: bool, reserve: float = 0.0) -> bool:
        """Whether the time is used up, or would be before the next epoch ends.

        `reserve`: what ending within an epoch takes yet.
        """
        if self.allowed is None:
            return False
        needed = self.longest_epoch if at_end_of_epoch else reserve
        # The first epoch may be longer than all that is allowed: it ends within.
        if at_end_of_epoch and needed > self.allowed / 2:
            needed = reserve
        return self.spent + needed > self.allowed
