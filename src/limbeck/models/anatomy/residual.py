"""Where the residual stream of a decoder runs: the sum that every layer reads and adds to, by the
axes of the tensors that touch it. Shapes: T tokens, V vocabulary, D its width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import tensors_in
from limbeck.models.anatomy.decoder import TAKE, DecoderLayer, call_of, few_tokens
from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.linear import axes_of, num_inputs


def residual_axes(
    model: Any,
    layer: DecoderLayer,
) -> dict[str, int]:
    """By the name of a tensor in the state dict, its axis along the residual stream (D).

    Raises ValueError where a tensor's place in it cannot be told.
    """
    width = model.config.hidden_size
    kind = type(model).__name__
    if width == layer.heads.size:
        raise ValueError(f"prune_width: hidden: a head of {kind} is as wide as the model. {TAKE}")
    check_embedding(model)
    places = {}
    for name in blocks(model):
        for part in (layer.heads, layer.units):
            places[f"{name}.{part.reader}"] = True
            places |= {f"{name}.{maker}": False for maker in part.makers}
    axes: dict[str, int] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        linear = axes_of(module)
        if linear is not None:
            # Outside of the layers: of the output (V, D), or of a step between two widths.
            is_written = places.get(name, num_inputs(module) != width)
            axes[f"{name}.weight"] = linear.outputs if is_written else linear.inputs
            if is_written and module.bias is not None:
                axes[f"{name}.bias"] = 0
        elif isinstance(module, nn.Embedding):
            if module.embedding_dim == width:
                axes[f"{name}.weight"] = 1
        else:
            axes |= of_norm(name, module, width, kind)
    return axes


def of_norm(
    name: str,
    module: nn.Module,
    width: int,
    kind: str,
) -> dict[str, int]:
    """The axes of the tensors that a module holds itself, which is neither linear nor a table."""
    axes = {}
    for key, parameter in module.named_parameters(recurse=False):
        if parameter.shape == (width,):
            axes[f"{name}.{key}"] = 0
        elif width in parameter.shape:
            raise ValueError(
                f"prune_width: hidden: `{name}.{key}` of {kind} is no norm, linear layer or table "
                f"of embeddings. {TAKE}"
            )
    return axes


def check_embedding(model: Any) -> None:
    """Raise ValueError where the first layer does not read a token's row of the table as it is.

    Gemma multiplies it by the width's root, and fewer channels would be scaled otherwise.
    """
    table = model.get_input_embeddings().weight
    # A smaller table goes through a linear layer, which is cut like any other.
    if table.shape[1] != model.config.hidden_size:
        return
    tokens = few_tokens(model)
    ids = tokens["input_ids"]
    # Positions may be added to it; they are the same for other tokens.
    others = ids.flip(1)
    read = hidden_of(model, tokens)
    read_of_others = hidden_of(model, tokens | {"input_ids": others})
    rows = table[ids] - table[others]
    # Of float32, in which the positions were added.
    if not torch.allclose(read - read_of_others, rows, rtol=1e-3, atol=1e-5):
        raise ValueError(
            f"prune_width: hidden: {type(model).__name__} scales its embeddings, perhaps by their "
            "width. Cut `heads`, `intermediate` or `layers`"
        )


def hidden_of(
    model: Any,
    tokens: dict[str, Tensor],
) -> Tensor:
    """(1, T, D) what the first layer reads of some tokens."""
    positional, named = call_of(model, blocks(model)[0], tokens)
    return next(tensors_in([*positional, *named.values()]))
