"""What leaves the quantization room for runtimes of text generation: codes, and fp16 scales.

    W[o, i] = codes[o, i] * scales[o, i // group]        to the bit, in float32

The names are those of the weights in the state dict of the transformers model, so that a file of
any format is written from the integers that were trained. Of GPT-2's Conv1D, whose weight lies
(in, out) there, codes are (out, in) too. A table that the output projection shares
is one entry, under the name of the first of the two: the one that a file of the model holds.
"""

from typing import Any

import torch
from torch import Tensor, nn

from limbeck.artifact.group_codes import GroupCodes
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import Integer, IntegerEmbedding, IntegerLinear
from limbeck.quantization.modules.swap import Quantized, QuantizedEmbedding, QuantizedLinear

# What reads a weight in groups, while it is trained and once it is converted.
READERS = (QuantizedLinear, QuantizedEmbedding, IntegerLinear, IntegerEmbedding)


def group_codes(model: nn.Module) -> dict[str, GroupCodes]:
    """Every quantized weight of a trained or converted model, by its name in the state dict.

    Raises:
        ValueError: a weight is not quantized so, or a product stands before it that the model of
            transformers has no place for.
    """
    found: dict[str, GroupCodes] = {}
    holders: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, (Quantized, Integer)):
            continue
        # Tied modules share one tensor of scales, in training and afterwards.
        holder = id(scale_holder(module))
        if holder in holders:
            continue
        holders.add(holder)
        check_reader(name, module)
        found[f"{name}.weight"] = codes_of(name, module)
    if not found:
        raise ValueError(
            "no weight of the model is quantized, so there are no codes to write. Say "
            "`quantize: {weights: int4, group: 32, scale: float16, activations: float}`"
        )
    return found


def scale_holder(module: Quantized | Integer) -> FakeQuantizer | Tensor:
    """What modules that share a weight have in common."""
    return module.quantizer if isinstance(module, Quantized) else module.scale


def check_reader(name: str, module: Any) -> None:
    """Refuse what no file of groups holds. Raises ValueError with the name and the cure."""
    if not isinstance(module, READERS):
        raise ValueError(
            f"`{name}` is a {type(module).__name__}: only linear layers and tables are written in "
            "groups. Name it in `quantize.keep_float`"
        )
    # Parts of a basis that was never asked for are an identity.
    if isinstance(module.basis, nn.Sequential):
        parts = ", ".join(key for key, _ in module.basis.named_children())
        raise ValueError(
            f"`{name}` reads what `{parts}` of `quantize.equalize` has multiplied, and a model of "
            "transformers has no place for that. Leave it out of the recipe"
        )


def codes_of(name: str, module: Any) -> GroupCodes:
    """The integers of one linear layer or table. Raises ValueError for scales that are no fp16."""
    is_trained = isinstance(module, Quantized)
    codes = module.codes() if is_trained else module.codes
    scale = module.scale() if is_trained else module.scale
    grid = module.quantizer.grid if is_trained else module.grid
    if isinstance(module, IntegerLinear) and not module.by_row:
        codes = codes.t()
    half = scale.detach().half()
    if grid.is_floating or grid.step != 1 or not torch.equal(half.float(), scale.detach()):
        raise ValueError(
            f"`{name}`: files of text generation hold integers and fp16 scales, and this weight "
            "has others. Write `scale: float16` beside its `weights`, of int8, int4, int3 or int2"
        )
    return GroupCodes(
        codes=codes.detach().to(torch.int8).cpu().contiguous().numpy(),
        scales=half.view(len(codes), -1).cpu().numpy(),
        bits=(grid.high - grid.low).bit_length(),
    )
