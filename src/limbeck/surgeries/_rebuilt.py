"""A smaller model of the same class, from the tensors that were cut and a config that tells their
shapes: so what is saved opens in plain `transformers`."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.linear import axes_of
from limbeck.models.torch_batches import device_of

# By the name of a tensor in the state dict, then by axis: the indices that stay, in order.
Kept = dict[str, dict[int, Tensor]]

# What a config calls the width of a head, where it is not the model's width over the heads.
HEAD_WIDTH = "head_dim"


def keep(
    kept: Kept,
    name: str,
    axis: int,
    numbers: Tensor,
) -> None:
    """Note what stays of a tensor along one axis."""
    kept.setdefault(name, {})[axis] = numbers


def keep_outputs(
    kept: Kept,
    model: nn.Module,
    name: str,
    numbers: Tensor,
) -> None:
    """Note what stays of the outputs of a linear layer, and of its bias."""
    module: Any = model.get_submodule(name)
    axes = axes_of(module)
    assert axes is not None
    keep(kept, f"{name}.weight", axes.outputs, numbers)
    if module.bias is not None:
        keep(kept, f"{name}.bias", 0, numbers)


def keep_inputs(
    kept: Kept,
    model: nn.Module,
    name: str,
    numbers: Tensor,
) -> None:
    """Note what stays of the inputs of a linear layer."""
    axes = axes_of(model.get_submodule(name))
    assert axes is not None
    keep(kept, f"{name}.weight", axes.inputs, numbers)


def rebuilt(
    teacher: Any,
    kept: Kept,
    sizes: Mapping[str, Any],
    surgery: str,
    *,
    head_size: int | None = None,
) -> nn.Module:
    """A model of `teacher`'s class with its tensors, less what is not in `kept`.

    sizes: keys of its config and their new values. head_size: of what width its heads are, which
    some configs do not say where it is their width over their heads. surgery: what messages begin
    with.

    Raises ValueError where the config cannot tell of such shapes, or is refused by transformers.
    """
    state = cut_tensors(teacher.state_dict(), kept)
    # 1. The config with what must change; then with what it may not know.
    tries: list[dict[str, Any]] = [{}]
    of_class = getattr(type(teacher.config), HEAD_WIDTH, None)
    # Falcon's config computes it, and takes no other.
    is_computed = isinstance(of_class, property)
    if head_size is not None and not is_computed:
        tries.append({HEAD_WIDTH: head_size})
    # 2. The first of them that tells the shapes of these tensors.
    wrong = ""
    for more in tries:
        config = config_with(teacher.config, {**sizes, **more}, surgery)
        wrong = misfit(type(teacher), config, state)
        if not wrong:
            return filled(teacher, config, state)
    told = ", ".join(f"{key}: {value}" for key, value in sizes.items())
    raise ValueError(
        f"{surgery}: the config of {type(teacher).__name__} cannot tell of such a student "
        f"({told}): {wrong}. Where it takes a head to be as wide as the model divided by "
        "its heads, cut `hidden` and `heads` by the same share"
    )


def cut_tensors(
    state: Mapping[str, Tensor],
    kept: Kept,
) -> dict[str, Tensor]:
    """Copies of tensors, less what does not stay of them."""
    found = {}
    for name, tensor in state.items():
        smaller = tensor.detach()
        for axis, numbers in kept.get(name, {}).items():
            smaller = smaller.index_select(axis, numbers.to(tensor.device))
        found[name] = smaller
    return found


def config_with(
    config: Any,
    sizes: Mapping[str, Any],
    surgery: str,
) -> Any:
    """A config with other sizes, as it is read back from its file.

    Raises ValueError where transformers refuses it: Llama's width must be a multiple of its heads,
    say.
    """
    from huggingface_hub.errors import StrictDataclassError

    changed = copy.deepcopy(config)
    try:
        for key, value in sizes.items():
            setattr(changed, key, value)
        return type(config).from_dict(changed.to_dict())
    except (ValueError, TypeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{surgery}: transformers refuses such a config: {reason}") from None


def misfit(
    kind: Any,
    config: Any,
    state: Mapping[str, Tensor],
) -> str:
    """The first tensor that has another shape in a new model of a config; empty where all fit."""
    # On the meta device a model costs no memory; only its shapes are compared.
    with torch.device("meta"):
        blank = kind(config).state_dict()
    for name, tensor in state.items():
        found = tuple(tensor.shape)
        # A buffer that was given from outside has no place in a new model.
        expected = tuple(blank[name].shape) if name in blank else "nothing"
        if expected != found:
            return f"`{name}` is {found}, and by the config {expected}"
    return ""


def filled(
    teacher: Any,
    config: Any,
    state: Mapping[str, Tensor],
) -> nn.Module:
    """A model of a config with these tensors, on the teacher's device, in its mode."""
    # Its first weights are drawn and thrown away; the run's own random numbers must not move.
    with torch.random.fork_rng(devices=[]):
        student = type(teacher)(config)
    student.set_attn_implementation(teacher.config._attn_implementation)
    student.load_state_dict(state)
    student.generation_config = copy.deepcopy(teacher.generation_config)
    student.train(teacher.training)
    return student.to(device_of(teacher))
