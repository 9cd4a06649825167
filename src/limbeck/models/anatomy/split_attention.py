"""torch's attention layer as four linear layers and the products between them:

    q = W_q x + b_q    k = W_k y + b_k    v = W_v z + b_v
    P = softmax(q k^T / sqrt(D) + mask)    output = W_o (P v) + b_o

with one q, k and v a head (Vaswani et al., 2017, arXiv 1706.03762, section 3.2).

`torch.nn.MultiheadAttention` holds its weights as parameters and multiplies by them itself, its
output projection too, so that nothing of it could be quantized. Here the same weights stand in
`nn.Linear` modules, which are.

Shapes: B rows, H heads, L tokens that ask, S tokens that are asked, D width of a head, E = H D.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# What torch's layer takes beside its three inputs, in its order.
OPTIONS: dict[str, Any] = {
    "key_padding_mask": None,
    "need_weights": True,
    "attn_mask": None,
    "average_attn_weights": True,
    "is_causal": False,
}


class SplitAttention(nn.Module):
    """Answers as the layer does whose weights it takes, on the same arguments."""

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim = whole.embed_dim
        self.num_heads = whole.num_heads
        self.head_dim = whole.head_dim
        self.dropout = whole.dropout
        # torch's encoder asks its first layer for it.
        self.batch_first = whole.batch_first
        # One matrix above another where all three inputs are as wide.
        packed, biases = whole.in_proj_weight, whole.in_proj_bias
        weights: list[Any] = [whole.q_proj_weight, whole.k_proj_weight, whole.v_proj_weight]
        if packed is not None:
            weights = list(packed.chunk(3))
        parts: list[Any] = [None] * 3 if biases is None else list(biases.chunk(3))
        is_trained = (weights[0] if packed is None else packed).requires_grad
        self.q_proj, self.k_proj, self.v_proj = [
            linear_of(weight, bias, is_trained=is_trained)
            for weight, bias in zip(weights, parts, strict=True)
        ]
        out = whole.out_proj
        self.out_proj = linear_of(out.weight, out.bias, is_trained=out.weight.requires_grad)
        self.train(whole.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *positional: Any,
        **named: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and P where it is asked for; shapes and masks as torch's layer has them.

        `positional`, `named`: the arguments of `OPTIONS`, in this order or by name. `is_causal`
        says of `attn_mask` that it is causal, and changes nothing here.
        """
        options = {**OPTIONS, **dict(zip(OPTIONS, positional, strict=False)), **named}
        if len(options) > len(OPTIONS):
            raise TypeError(f"attention takes {', '.join(OPTIONS)}, not {', '.join(named)}")
        is_batched = query.ndim == 3
        # 1. Rows first, whatever order the layer is called in: (B, L, E).
        axis = 0 if self.batch_first or not is_batched else 1
        q = self.by_head(self.q_proj(query), is_batched, axis)
        k = self.by_head(self.k_proj(key), is_batched, axis)
        v = self.by_head(self.v_proj(value), is_batched, axis)
        # 2. P, with what the masks hide at minus infinity.
        scores = (q * self.head_dim**-0.5) @ k.transpose(-1, -2)
        of_heads = self.of_heads(options["attn_mask"])
        for mask in (of_heads, of_keys(options["key_padding_mask"], is_batched)):
            if mask is not None:
                scores = hidden_by(mask, scores)
        probabilities = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        # 3. The heads side by side again.
        context = (probabilities @ v).transpose(1, 2).flatten(2)
        output = self.out_proj(context.transpose(0, axis) if axis else context)
        if not is_batched:
            output, probabilities = output.squeeze(0), probabilities.squeeze(0)
        if not options["need_weights"]:
            return output, None
        if options["average_attn_weights"]:
            probabilities = probabilities.mean(-3)
        return output, probabilities

    def by_head(self, values: Tensor, is_batched: bool, axis: int) -> Tensor:
        """(B, H, L, D) of (B, L, E), (L, B, E) where `axis` is 1, or (L, E) of one row."""
        rows = values if is_batched else values.unsqueeze(0)
        if axis:
            rows = rows.transpose(0, 1)
        return rows.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def of_heads(self, mask: Tensor | None) -> Tensor | None:
        """A mask beside the scores (B, H, L, S): (L, S) for all, or (B H, L, S)."""
        if mask is None or mask.ndim == 2:
            return mask
        return mask.unflatten(0, (-1, self.num_heads))


def of_keys(mask: Tensor | None, is_batched: bool) -> Tensor | None:
    """A mask of keys, (B, S) or (S), beside the scores (B, H, L, S)."""
    if mask is None:
        return None
    rows = mask if is_batched else mask.unsqueeze(0)
    return rows[:, None, None, :]


def hidden_by(mask: Tensor, scores: Tensor) -> Tensor:
    """The scores with a mask added; one of booleans hides where it is True."""
    if mask.dtype == torch.bool:
        return scores.masked_fill(mask, float("-inf"))
    return scores + mask


def linear_of(weight: Tensor, bias: Tensor | None, *, is_trained: bool) -> nn.Linear:
    """A linear layer with a copy of a weight (O, D) and a bias (O)."""
    width_out, width_in = weight.shape
    # Without weights of its own: none are drawn, so that torch's random numbers stay where they
    # are.
    linear = nn.Linear(width_in, width_out, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=is_trained)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=is_trained)
    return linear


def split_attention(model: nn.Module) -> nn.Module:
    """`model`, in place, with every attention layer of torch's in its split form.

    One stays as it is that is a class derived from torch's, adds tokens of its own to the keys, or
    shares a weight with another module.
    """
    # A layer that stands in two places stays one; `named_children` would name one of them alone.
    split: dict[nn.Module, nn.Module] = {}
    holders = Counter(id(each) for part in model.modules() for each in part.parameters(False))
    for part in list(model.modules()):
        for name, child in list(part._modules.items()):
            if child is not None and is_plain(child, holders):
                assert isinstance(child, nn.MultiheadAttention)
                split.setdefault(child, SplitAttention(child))
                setattr(part, name, split[child])
    return model


def is_plain(module: nn.Module, holders: Counter[int]) -> bool:
    """Whether a module is an attention layer of torch's that the split form can stand for.

    `holders`: how many modules hold a parameter, by its id.
    """
    # A derived class may compute something else.
    if type(module) is not nn.MultiheadAttention:
        return False
    is_shared = any(holders[id(each)] > 1 for each in module.parameters())
    return not (is_shared or module.add_zero_attn or module.bias_k is not None)
