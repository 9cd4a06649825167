"""Run a model on a batch and read its logits, and what taps name inside it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from limbeck.core.contract import described
from limbeck.core.wording import suggest
from limbeck.models.anatomy.attention import recorded
from limbeck.models.projection import (
    Waiting,
    can_wait,
    projecting_later,
    projection_of,
)
from limbeck.models.taps import OF_ATTENTION, Outputs, Tap
from limbeck.models.units import by_unit, holds_texts, places_of, shape_tap
from limbeck.tasks import Batch, apart

# Whether a model answers what its projection gives; looked at once for each model.
_ends_in_projection: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Inside, matrix products are computed in `dtype`; nothing changes where it is float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def run_model(
    model: nn.Module,
    batch: Batch,
    taps: Sequence[Tap] = (),
    *,
    project_later: bool = False,
) -> Outputs:
    """The outputs of `model` on a batch of torch tensors, with the tensors that `taps` name.

    Gradients flow where the caller has them on. Model and batch lie on one device; so do the
    outputs, as float32.

    With `project_later` a model whose labels are its vocabulary leaves out its output projection:
    the logits of its outputs are `models.projection.Projected`. Any other gives them as ever.

    Raises ValueError for a tap of a module that is not there, or that gives another kind of tensor.
    """
    attending = [tap.module for tap in taps if tap.kind in OF_ATTENTION]
    others = [tap.module for tap in taps if tap.kind not in OF_ATTENTION]
    waits = project_later and can_project_later(model, batch)
    answering = answering_later if waits else answering_at
    with (
        capture(model, others) as module_outputs,
        recorded(model, attending) as attention,
        answering(model, batch.positions) as answers,
    ):
        logits = logits_of(call(model, batch))
    # By tap: several may read one module, each in its own shape.
    inner = {}
    for tap in taps:
        is_attention = tap.kind in OF_ATTENTION
        values = attention[tap.module][tap.kind] if is_attention else module_outputs[tap.module]
        inner[tap] = shape_tap(tap, values, batch)
    places = places_of(batch, inner)
    if isinstance(answers, Waiting):
        assert answers.projected is not None
        return Outputs(answers.projected, batch.mask, inner, places)
    # A model of several texts a row answers once for each: they are its units already.
    if not answers and not holds_texts(batch):
        logits = by_unit(logits, batch.positions)
    if batch.windows:
        logits = logits.unflatten(0, batch.mask.shape)
    # Losses are computed in float32, whatever the model multiplied in.
    return Outputs(logits.float(), batch.mask, inner, places)


def can_project_later(model: nn.Module, batch: Batch) -> bool:
    """Whether `model` is one whose output projection can wait."""
    head = projection_of(model)
    if head is None or batch.positions is None or batch.windows or not can_wait(head):
        return False
    if model not in _ends_in_projection:
        _ends_in_projection[model] = ends_in_projection(model, batch)
    return _ends_in_projection[model]


@torch.no_grad()
def ends_in_projection(model: nn.Module, batch: Batch) -> bool:
    """Whether the model's logits are what its projection gives, as it gives them.

    Some are scaled or bounded afterwards (Gemma's `final_logit_softcapping`, Cohere's
    `logit_scale`, Granite's `logits_scaling`), which is seen by a forward of the first row.
    """
    modes = [(module, module.training) for module in model.modules()]
    # In evaluation mode nothing is drawn, and no moments move: a training is as without it.
    model.eval()
    first = replace(batch, inputs={name: value[:1] for name, value in batch.inputs.items()})
    with answering_later(model, batch.positions[:1]) as waiting:
        is_same = logits_of(call(model, first)) is waiting.stand_in
    for module, was_training in modes:
        module.training = was_training
    return is_same


def call(model: nn.Module, batch: Batch) -> Any:
    """What a model returns for the inputs of a batch; of windows, for all of them side by side."""
    # Models of one text a row know no axis of windows.
    return model(**(apart(batch.inputs) if batch.windows else batch.inputs))


def logits_of(result: Any) -> torch.Tensor:
    """The logits in what a model's call returns.

    That is the tensor itself, or what is called `logits` in a mapping, a dataclass, or an output
    object of transformers. Raises AttributeError for anything else, a tuple too: its order says
    nothing.
    """
    if isinstance(result, torch.Tensor):
        return result
    is_map = isinstance(result, Mapping)
    logits = result.get("logits") if is_map else getattr(result, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    keys = f" of {', '.join(map(str, result))}" if is_map else ""
    raise AttributeError(
        f"its forward returned {described(result)}{keys}; a tensor, or one that is called "
        "`logits`, is expected"
    )


@contextlib.contextmanager
def answering_at(model: nn.Module, positions: torch.Tensor | None) -> Iterator[bool]:
    """Inside, a model whose labels are its vocabulary gives logits at `positions` (B, W) alone.

    Gives True for such a model, False for any other, whose forward stays as it is. Logits of a
    vocabulary at every token would take more time and memory than the rest of a training step.
    """
    head = projection_of(model)
    if head is None or positions is None:
        yield False
        return

    def keep_positions(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (by_unit(inputs[0], positions), *inputs[1:])

    handle = head.register_forward_pre_hook(keep_positions)
    try:
        yield True
    finally:
        handle.remove()


@contextlib.contextmanager
def answering_later(model: nn.Module, positions: torch.Tensor | None) -> Iterator[Waiting]:
    """Inside, such a model gives no logits; what they are computed from is left in the result."""
    head = projection_of(model)
    assert head is not None
    assert positions is not None
    with projecting_later(head, positions) as waiting:
        yield waiting


@contextlib.contextmanager
def capture(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, a forward leaves the outputs of the named modules in the dict.

    Of a module that returns a tuple, the first member. Raises ValueError for a name that the model
    lacks.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module,
            inputs: Any,
            output: Any,
        ) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output

        return hook

    # Tied modules have several names, and a recipe may use any of them.
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    for name in names:
        if name not in modules:
            raise ValueError(
                f"{type(model).__name__} has no module `{name}`. {suggest(name, modules)}"
            )
    # Once a module, though several taps may name it.
    handles = [modules[name].register_forward_hook(keep(name)) for name in dict.fromkeys(names)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
