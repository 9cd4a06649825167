"""The exceptions that rooms raise to one another; a mistake of the user is a `ValueError`."""


class Interrupted(Exception):
    """The run was asked to stop and has written its checkpoint; the same command goes on from there."""


class Diverged(ValueError):
    """A loss term is not finite."""
