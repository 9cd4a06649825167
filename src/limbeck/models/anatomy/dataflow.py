"""Which module reads and which makes which tensor, seen in one forward: nothing is traced.

Quantization asks it where one tensor is read by several layers, and which layer's output another
layer reads with nothing in between.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# A tensor as it was between two writes into it: its id and its version.
Key = tuple[int, int]


@dataclass
class Flow:
    """Who reads and who makes which tensor; tensors are numbers, in the order of the forward.

    `reads`: by leaf module, its first input. `makes`: by module, its output; of modules inside one
    another the innermost makes it.
    `uses`: by tensor, how many operations, of modules or not, take it.
    `calls`: by module, how often it ran.
    `ranks`: by tensor, its number of axes.
    `factors`: by tensor, the two of the same shape whose product it is, value by value.
    """

    reads: dict[str, int] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    ranks: dict[int, int] = field(default_factory=dict)
    factors: dict[int, tuple[int, int]] = field(default_factory=dict)

    def reader(
        self,
        model: nn.Module,
        name: str,
        kinds: tuple[type[nn.Module], ...],
    ) -> str | None:
        """The module of one of `kinds` that reads what the module `name` makes.

        None where it is of another kind (`is_usual`), or where several modules read it.
        """
        # None for a module that makes nothing; no tensor has this number.
        made = self.makes.get(name)
        readers = [other for other, tensor in self.reads.items() if tensor == made]
        if len(readers) != 1:
            return None
        is_of_kind = is_usual(model.get_submodule(readers[0]), kinds)
        return readers[0] if is_of_kind else None


def is_usual(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of `kinds`, and computes what that does.

    A subclass with a forward of its own may do more: normalise and rectify in one, say.
    """
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


PRODUCTS = (torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__)


class _Operations(TorchFunctionMode):
    """Calls `used` with every tensor of which an operation makes another.

    An operation that hands a tensor on, or asks for its shape, does not use it. `multiplied` hears
    of the two tensors of one shape that are multiplied, and of their product.
    """

    def __init__(
        self,
        used: Callable[[Key], None],
        multiplied: Callable[[list[Tensor], Tensor], None],
    ) -> None:
        super().__init__()
        self.used = used
        self.multiplied = multiplied

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        # Before the call: an operation in place raises the version of what it takes.
        given = [key_of(value) for value in tensors_in([*args, *named.values()])]
        result = function(*args, **named)
        made = {key_of(value) for value in tensors_in([result])}
        if made:
            for key in dict.fromkeys(given):
                if key not in made:
                    self.used(key)
        if function in PRODUCTS:
            factors = list(tensors_in(args))
            if [factor.shape for factor in factors] == [result.shape] * 2:
                self.multiplied(factors, result)
        return result


def key_of(tensor: Tensor) -> Key:
    """What tells a tensor, as it is now, from all others that are alive."""
    return id(tensor), tensor._version


def tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among values and within sequences of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


class _Watcher:
    """Hooks that fill a `Flow` while a model runs."""

    def __init__(self, model: nn.Module) -> None:
        self.flow = Flow()
        self.numbers: dict[Key, int] = {}
        # All that were seen, kept alive so that no two share an id.
        self.tensors: list[Tensor] = []
        self.leaves = set()
        for name, module in model.named_modules():
            if not any(module.children()):
                self.leaves.add(name)

    def number(self, tensor: Tensor) -> int:
        """A tensor's number; written in place, it has another from then on."""
        self.tensors.append(tensor)
        number = self.numbers.setdefault(key_of(tensor), len(self.tensors))
        self.flow.ranks[number] = tensor.ndim
        return number

    def used(self, key: Key) -> None:
        """An operation takes this tensor."""
        if key in self.numbers:
            self.flow.uses[self.numbers[key]] += 1

    def multiplied(self, factors: list[Tensor], product: Tensor) -> None:
        """Two tensors are multiplied, value by value."""
        left, right = map(self.number, factors)
        self.flow.factors[self.number(product)] = (left, right)

    def before(self, name: str) -> Callable[..., None]:
        """The hook before a module runs."""

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.flow.calls[name] += 1
            if inputs and isinstance(inputs[0], Tensor):
                self.flow.reads[name] = self.number(inputs[0])

        return hook

    def after(self, name: str) -> Callable[..., None]:
        """The hook after a module ran."""

        def hook(
            module: nn.Module,
            inputs: tuple[Any, ...],
            named: dict[str, Any],
            output: Any,
        ) -> None:
            flow = self.flow
            # `QuantizedOutput`, which stands around a module that makes something, takes no named
            # inputs.
            if isinstance(output, Tensor) and not named:
                number = self.number(output)
                is_handed_on = number == flow.reads.get(name)
                if not is_handed_on and number not in flow.makes.values():
                    flow.makes[name] = number
            # What holds other modules does not read itself; they do.
            if name not in self.leaves or name not in flow.makes:
                flow.reads.pop(name, None)

        return hook


def watch(model: nn.Module, forward: Callable[[nn.Module], Any]) -> Flow:
    """Run one batch in eval mode and note which tensor every module reads and makes.

    `forward(model)` runs the batch. A module that hands on what it reads makes nothing, and neither
    does one that is called with named inputs.
    """
    watcher = _Watcher(model)
    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(watcher.before(name)))
            handles.append(module.register_forward_hook(watcher.after(name), with_kwargs=True))
    was_training = model.training
    try:
        with torch.no_grad(), _Operations(watcher.used, watcher.multiplied):
            forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return watcher.flow
