"""The list of a model's layers by name, and how some of them are chosen evenly."""

from torch import nn


def blocks(model: nn.Module) -> list[str]:
    """The names of the model's layers. Raises ValueError where there is no list of them."""
    found = layer_names(model)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no ModuleList of layers, so none can be left out"
        )
    return found


def layer_names(model: nn.Module) -> list[str]:
    """The members of the model's longest ModuleList, first to last; none where it has no such list."""
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    name, longest = max(lists, key=lambda pair: len(pair[1]), default=("", ()))
    return [f"{name}.{index}" for index in range(len(longest))]


def evenly(count: int, of: int) -> list[int]:
    """`count` indices out of range(of), evenly spaced, the last kept: evenly(3, 6) = [1, 3, 5]."""
    if not 1 <= count <= of:
        raise ValueError(f"cannot keep {count} of {of} layers")
    return [round((i + 1) * of / count) - 1 for i in range(count)]
