"""The exceptions that rooms raise to one another; a mistake of the user is a `ValueError`."""


class Interrupted(Exception):
    """The run was asked to stop and has written its checkpoint; the same command resumes it."""


class Diverged(ValueError):
    """A loss term is not finite.

    `progress`: the share of the training, 0 to 1, that was done at the first such step; None where
    the one who raises it does not know.
    """

    def __init__(self, message: str, progress: float | None = None) -> None:
        super().__init__(message)
        self.progress = progress
