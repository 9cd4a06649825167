"""Rewrites of a prepared model around its quantization, after training.

The function in float stays what it was, and less of it is lost on the grid. A rewrite acts in two
steps. `arrange` puts the modules that it needs into the model, where they do nothing yet, so that
saved weights find their place again. `apply` changes values, by what the calibration rows show. A
correction acts last, on what the ranges and the rounding have left.

Shapes: N rows and positions, D inputs of a layer, O outputs.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.core.contract import place
from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.running import logits_of
from limbeck.models.weights import model_state

# Runs some of the calibration rows.
Forward = Callable[[nn.Module], Any]
Forwards = Sequence[Forward]
# Of the length of the logits: what modules that do nothing yet may change answers by, in float32.
NOTHING = 1e-3


class Equalizer(Protocol):
    """One file, one rewrite."""

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Add modules that do nothing yet; the same ones every time.

        `flow`: which module reads and makes which tensor. Raises ValueError where the model has
        nothing to rewrite.
        """
        ...

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Change values in place."""
        ...


@runtime_checkable
class Correction(Equalizer, Protocol):
    """One file, one correction, applied after the rounding."""

    def observe(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Remember what the model answers while it is rewritten and still float."""
        ...


def told(equalizer: Equalizer, method: str) -> str:
    """What messages call an equalizer, and where its method is written."""
    name = registry.name_of("equalizers", type(equalizer))
    return f"the equalizer `{name}`{place(getattr(equalizer, method))}"


def arrange(equalizer: Equalizer, model: nn.Module, flow: Flow, forward: Forward) -> None:
    """Let an equalizer arrange what it needs.

    Raises ValueError where somebody else's changes more than the modules: a saved model is arranged
    anew each time it is loaded, and its weights come after that.
    """
    if registry.is_ours(equalizer):
        equalizer.arrange(model, flow)
        return
    # By the tensors: one that is wrapped has another name.
    tensors = [*model.named_parameters(), *model.named_buffers()]
    before = [(name, tensor, tensor.detach().clone()) for name, tensor in tensors]
    answered = answers(model, forward)
    equalizer.arrange(model, flow)
    for name, tensor, values in before:
        if tensor.dtype != values.dtype or not torch.equal(tensor, values):
            raise ValueError(
                f"{told(equalizer, 'arrange')} changed `{name}` in `arrange`, which only puts "
                "modules into the model that do nothing yet. Change values in `apply`"
            )
    change = relative_change(answers(model, forward), answered)
    if not change < NOTHING:
        raise ValueError(
            f"{told(equalizer, 'arrange')} changed what the model answers by {change:.1%} in "
            "`arrange`; what it puts there is to do nothing yet"
        )


@contextlib.contextmanager
def keeping_form(equalizer: Equalizer, method: str, model: nn.Module) -> Iterator[None]:
    """Raise ValueError where an equalizer leaves the tensors of a model in another type or shape
    than they had before the `with` block; the model's mode is put back."""
    before = _form(model)
    was_training = model.training
    yield
    model.train(was_training)
    for what, form in _form(model).items():
        if before.get(what, form) != form:
            raise ValueError(
                f"{told(equalizer, method)} left `{what}` as {form} in `{method}`; it was "
                f"{before[what]}, and is to stay so"
            )


@torch.no_grad()
def answers(model: nn.Module, forward: Forward) -> Tensor:
    """The logits of one batch of calibration rows, in evaluation mode; the model's mode is kept."""
    was_training = model.training
    output = forward(model.eval())
    model.train(was_training)
    return logits_of(output).float()


def relative_change(found: Tensor, before: Tensor) -> float:
    """Of the length of logits."""
    return float((found - before).norm() / before.norm())


def _form(model: nn.Module) -> dict[str, str]:
    """The type and the shape of each tensor."""
    return {
        name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in model_state(model).items()
    }
