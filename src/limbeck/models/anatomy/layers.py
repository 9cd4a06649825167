"""The list of a model's layers by name, and how some of them are chosen evenly."""

from torch import nn


def layer_names(model: nn.Module) -> list[str]:
    """The names of the model's layers, first to last; none where it has no list of them.

    They are the members of its longest ModuleList: encoders keep their layers in one, and may have
    shorter ones inside or beside it.
    """
    name = ""
    length = 0
    for other, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) > length:
            name = other
            length = len(module)
    return [f"{name}.{index}" for index in range(length)]


def blocks(model: nn.Module) -> list[str]:
    """The names of the model's layers. Raises ValueError where there is no list of them."""
    names = layer_names(model)
    if not names:
        raise ValueError(
            f"{type(model).__name__} has no ModuleList of layers, so none can be left out"
        )
    return names


def evenly(count: int, of: int) -> list[int]:
    """`count` indices out of range(of), evenly spaced, the last kept.

    Raises ValueError where there are not so many.

    Example:
        >>> evenly(3, 6)
        [1, 3, 5]
    """
    if not 1 <= count <= of:
        raise ValueError(f"cannot keep {count} of {of} layers")
    # The ends of `count` equal stretches of layers, so that the last one is always kept: a head was
    # trained on what it makes.
    return [round((index + 1) * of / count) - 1 for index in range(count)]
