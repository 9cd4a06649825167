"""`report_to`: where a run's figures are sent beside its folder, and what that takes.

Nothing is sent unless a recipe says so, and then to where it says: without a destination to files
on this machine.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from limbeck.core.wording import suggest
from limbeck.recipe.problems import Mistake

Tracker = Literal["tensorboard", "mlflow", "trackio"]
# Each is called as the package that brings it.
TRACKERS = ("tensorboard", "mlflow", "trackio")


def known_trackers(value: Any) -> Any:
    """Refuse other names in one sentence, where pydantic would try each way of writing them."""
    names = [value] if isinstance(value, str) else value
    for name in names if isinstance(names, list | dict) else ():
        if name not in TRACKERS:
            raise ValueError(f"there is no tracker `{name}`. {suggest(str(name), TRACKERS)}")
    if value is not None and not isinstance(value, str | list | dict):
        raise ValueError(
            "write the name of a tracker, a list of names, or {mlflow: DESTINATION}; there are "
            f"{', '.join(TRACKERS)}"
        )
    return value


ReportTo = Annotated[
    Tracker | list[Tracker] | dict[Tracker, str | None] | None,
    BeforeValidator(known_trackers),
]


def destinations(asked: str | list[Any] | Mapping[Any, str | None] | None) -> dict[str, str | None]:
    """Tracker -> its destination, None for the usual one; of `report_to` however it is written."""
    if isinstance(asked, Mapping):
        return dict(asked)
    # Most write one name, or nothing.
    names = [asked] if isinstance(asked, str) else asked or []
    return dict.fromkeys(names)


def missing_trackers(asked: Any) -> Iterator[Mistake]:
    """A mistake for each tracker whose package is not installed."""
    for name in destinations(asked):
        # Found and not imported: that takes seconds.
        if importlib.util.find_spec(name) is None:
            yield Mistake(
                ["report_to"],
                f"`{name}` is not installed. Run `pip install {name}`, or leave it out",
            )
