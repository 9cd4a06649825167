"""`@limbeck.loss`: a function or a class of the user's own as a loss, under its name in a recipe.

A function takes what every loss is called with (`limbeck.losses`), and may have further keyword
arguments, which are its recipe keys:

    @limbeck.loss
    def power_error(student, teacher, batch, progress, *, power: float = 2.0):
        difference = (student.logits - teacher.logits.detach()).abs() ** power
        return masked_mean(difference.mean(-1), student.mask & teacher.mask)

It is a soft loss on logits, of whatever task. A class is one like those of this folder.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from limbeck.core import registered, registry
from limbeck.losses import PlainLoss
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch
from limbeck.tasks.likelihood import LIKELIHOODS

FAMILY = "losses"
ARGUMENTS = ("student", "teacher", "batch", "progress")

Written = TypeVar("Written", bound=Callable[..., Any])


class FunctionLoss(PlainLoss):
    """A loss that a function computes; `keys`: its further arguments, from the recipe."""

    reads: ClassVar[tuple[str, ...]] = ("logits",)
    # Only who wrote the function knows what its logits are to mean.
    likelihoods: ClassVar[tuple[str, ...]] = tuple(LIKELIHOODS)
    zero_at_identity: ClassVar[bool] = False
    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, **keys: Any) -> None:
        self.keys = keys

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """What the function gives: a scalar."""
        return type(self).function(student, teacher, batch, progress, **self.keys)


def loss(written: Written) -> Written:
    """Register a loss of your own for this process: `distill: {losses: {NAME: {}}}` finds it.

    Args:
        written: a function `(student, teacher, batch, progress, *, KEYS)` that gives a scalar, or a
            class as `limbeck.losses.PlainLoss` describes. Its name is the recipe's; a class
            `MyLoss` is `my_loss`.

    Returns:
        What was given, unchanged. Of two with one name the later one counts.

    Raises:
        TypeError: it is neither, or the function takes other arguments.
        ValueError: limbeck, or an installed plug-in, has a loss of this name.
    """
    # As a file of this folder and its class are called.
    if inspect.isclass(written):
        component: type = written
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", written.__name__).lower()
    elif inspect.isfunction(written):
        component = class_of(written)
        name = written.__name__
    else:
        raise TypeError(f"limbeck.loss: a function or a class is expected, not {written!r}")
    # Only what is registered may be registered again, as by running a notebook's cell twice.
    if registered.find(FAMILY, name) is None and name in registry.names(FAMILY):
        raise ValueError(
            f"limbeck.loss: there is a loss `{name}` already (`limbeck list losses`). Call yours "
            "otherwise"
        )
    registered.register(FAMILY, name, component, written)
    return written


def class_of(function: Callable[..., Any]) -> type:
    """The class that a recipe makes of a function. Raises TypeError for other arguments."""
    parameters = list(inspect.signature(function).parameters.values())
    keys = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    given = [each.name for each in parameters if each not in keys]
    if given != list(ARGUMENTS):
        raise TypeError(
            f"limbeck.loss: `{function.__name__}` takes {', '.join(given) or 'nothing'}; write "
            f"def {function.__name__}({', '.join(ARGUMENTS)}, *, KEYS)"
        )
    # A class of its own for each, since the registry tells components apart by their classes.
    content = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        # The registry reads the recipe's keys, with their types, from the constructor.
        "__signature__": inspect.Signature(keys),
        "function": staticmethod(function),
    }
    return type(function.__name__, (FunctionLoss,), content)
