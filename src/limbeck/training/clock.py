"""What a training may take, and what it has taken, over all its lives.

A training ends at the end of an epoch where another one would no longer fit, or within an epoch
that is longer than all that is left.
"""

import time
from collections.abc import Callable


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

    @property
    def spent(self) -> float:
        """Seconds of this life and the ones before."""
        return self.before + self.now() - self.began

    def end_epoch(self) -> None:
        """Note how long an epoch took, its validation included."""
        self.longest_epoch = max(self.longest_epoch, self.spent - self.epoch_began)
        self.epoch_began = self.spent

    def is_over(self, *, at_end_of_epoch: bool) -> bool:
        """Whether the time is used up, or would be before the next epoch ends."""
        if self.allowed is None:
            return False
        needed = self.longest_epoch if at_end_of_epoch else 0.0
        # The first epoch may be longer than all that is allowed: it ends within.
        if needed > self.allowed / 2:
            needed = 0.0
        return self.spent + needed > self.allowed
