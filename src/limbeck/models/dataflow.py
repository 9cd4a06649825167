"""Which module reads and which makes which tensor, seen in one forward: nothing is traced."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@dataclass
class Flow:
    """Who reads and who makes which tensor, from one forward: `reads` (leaves) and `makes` (the innermost module) map a name to a tensor's number.

    `uses`: how many operations, of modules or not, take a tensor that a module reads or makes; `calls`: how often a module ran; `ranks`: the
    number of axes of a tensor.
    """

    reads: dict[str, int] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    ranks: dict[int, int] = field(default_factory=dict)

    def reader(self, model: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> str | None:
        """The module of one of `kinds` that reads what the module `name` makes, where it is the only reader that is a module."""
        readers = [other for other, tensor in self.reads.items() if tensor == self.makes.get(name)]
        fits = len(readers) == 1 and isinstance(model.get_submodule(readers[0]), kinds)
        return readers[0] if fits else None


class _Operations(TorchFunctionMode):
    """Calls `used` with every tensor, as it was, of which an operation makes another; one that hands it on, or asks its shape, does not use it."""

    def __init__(self, used: Callable[[tuple[int, int]], None]) -> None:
        super().__init__()
        self.used = used

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = {
            id(value): value._version for value in tensors_in([*args, *(kwargs or {}).values()])
        }
        result = function(*args, **(kwargs or {}))
        made = {id(value): value._version for value in tensors_in([result])}
        for key in given.items() if made else ():
            if key not in made.items():
                self.used(key)
        return result


def tensors_in(values: Sequence[Any]) -> Iterator[torch.Tensor]:
    """The tensors among values and within sequences of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def watch(model: nn.Module, forward: Callable[[nn.Module], Any]) -> Flow:
    """Run one batch in eval mode and note which tensor every leaf reads, and which module makes it; one that hands on what it reads makes nothing.

    Nor does one that is called with named inputs, which `QuantizedOutput` does not take.
    """
    flow = Flow()
    tensors: list[torch.Tensor] = []  # kept alive, so that no two share an id
    numbers: dict[tuple[int, int], int] = {}
    leaves = {name for name, module in model.named_modules() if not any(module.children())}

    def number(value: torch.Tensor) -> int:
        tensors.append(value)
        found = numbers.setdefault(
            (id(value), value._version), len(tensors)
        )  # written in place: other values from here on
        flow.ranks[found] = value.ndim
        return found

    def used(key: tuple[int, int]) -> None:
        if key in numbers:
            flow.uses[numbers[key]] += 1

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            flow.calls[name] += 1
            if inputs and isinstance(inputs[0], torch.Tensor):
                flow.reads[name] = number(inputs[0])

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
        ) -> None:
            if (
                isinstance(output, torch.Tensor)
                and not named
                and number(output) not in {flow.reads.get(name), *flow.makes.values()}
            ):
                flow.makes[name] = number(output)
            if name not in leaves or name not in flow.makes:
                flow.reads.pop(name, None)

        return hook

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_pre_hook(before(name)) for name, module in named]
    handles += [
        module.register_forward_hook(after(name), with_kwargs=True) for name, module in named
    ]
    was_training = model.training
    try:
        with torch.no_grad(), _Operations(used):
            forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return flow
