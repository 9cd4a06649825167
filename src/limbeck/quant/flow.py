"""Which module reads and which makes which tensor, seen in one forward: nothing is traced."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass
class Flow:
    """Who reads and who makes which tensor, from one forward: `reads` (leaves) and `makes` (the innermost module) map a name to a tensor's number."""

    reads: dict[str, int] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)

    def reader(self, model: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> str | None:
        """The module of one of `kinds` that reads what the module `name` makes, where it is the only reader that is a module."""
        readers = [other for other, tensor in self.reads.items() if tensor == self.makes.get(name)]
        fits = len(readers) == 1 and isinstance(model.get_submodule(readers[0]), kinds)
        return readers[0] if fits else None


def watch(model: nn.Module, forward: Callable[[nn.Module], Any]) -> Flow:
    """Run one batch in eval mode and note which tensor every leaf reads, and which module makes it; one that hands on what it reads makes nothing.

    Nor does one that is called with named inputs, which `Then` does not take.
    """
    flow = Flow()
    tensors: list[torch.Tensor] = []  # kept alive, so that no two share an id
    numbers: dict[tuple[int, int], int] = {}
    leaves = {name for name, module in model.named_modules() if not any(module.children())}

    def number(value: torch.Tensor) -> int:
        tensors.append(value)
        return numbers.setdefault((id(value), value._version), len(tensors))  # written in place: other values from here on

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], torch.Tensor):
                flow.reads[name] = number(inputs[0])

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if isinstance(output, torch.Tensor) and not named and number(output) not in {flow.reads.get(name), *flow.makes.values()}:
                flow.makes[name] = number(output)
            if name not in leaves or name not in flow.makes:
                flow.reads.pop(name, None)

        return hook

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_pre_hook(before(name)) for name, module in named]
    handles += [module.register_forward_hook(after(name), with_kwargs=True) for name, module in named]
    was_training = model.training
    try:
        with torch.no_grad():
            forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return flow
