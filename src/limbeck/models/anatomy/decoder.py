"""What makes the heads and the feed-forward units of a decoder's layers, found by asking the first.

Families write the same layer in many ways: query, key and value in three matrices (Llama, Mistral,
Qwen, OPT), in one after the other (GPT-2, Phi-3) or head by head (GPT-NeoX), with fewer keys and
values than queries or not, with a gate or without. So nothing is taken from names. A copy of the
first layer with random weights runs on a few tokens, and gradients tell which outputs of which
linear layer a head reads: those in which its derivative is not 0.

    heads    what the first linear layer reads that reads what other linear layers made
    units    what the next such layer reads

Shapes: T tokens, H heads, P parts (heads or units), R outputs of a layer that make one part.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.linear import axes_of
from limbeck.models.precision import in_float64
from limbeck.models.torch_batches import device_of

# Tokens that the copy reads: the first attends to itself alone, and so says nothing of queries.
NUM_TOKENS = 8

# Units that are looked at; a layer has thousands, all made in the same way.
NUM_UNITS = 16

# What layers are given where attention hangs on a head's number.
BY_HEAD = ("alibi", "position_bias")

TAKE = "Take drop_layers"

# What a module is called with: by place, and by name.
Call = tuple[tuple[Any, ...], dict[str, Any]]


class Parts(NamedTuple):
    """Parts of a layer that can go, all made alike; names are those within a layer.

    reader: the linear layer that reads them, `size` neighbouring inputs each.
    makers: by linear layer, (P, R) the numbers of its outputs that make each part.
    """

    reader: str
    size: int
    makers: dict[str, Tensor]


class DecoderLayer(NamedTuple):
    """A decoder's layers are all built so.

    num_groups: groups of neighbouring heads that share keys and values; as many as heads where each
    has its own.
    """

    heads: Parts
    units: Parts
    num_groups: int


@dataclass
class _Run:
    """What the linear layers of a layer read and made, by name, in the order of their calls."""

    reads: dict[str, Tensor] = field(default_factory=dict)
    makes: dict[str, Tensor] = field(default_factory=dict)

    def sources(
        self,
        name: str,
    ) -> list[str]:
        """The linear layers that ran before this one, and on which what it reads depends."""
        order = list(self.reads)
        earlier = order[: order.index(name)]
        # An input that no weight had a part in has no gradient at all.
        if not (earlier and self.reads[name].requires_grad):
            return []
        found = torch.autograd.grad(
            self.reads[name].sum(),
            [self.makes[each] for each in earlier],
            retain_graph=True,
            allow_unused=True,
        )
        sources = []
        for each, slope in zip(earlier, found, strict=True):
            if slope is not None:
                sources.append(each)
        return sources

    def outputs_behind(
        self,
        values: Tensor,
        makers: list[str],
    ) -> dict[str, Tensor]:
        """By maker, whether values depend on each of its outputs (out)."""
        # Weighted at random: derivatives of a plain sum may cancel.
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(values.shape, generator=generator)
        weighted = values * noise.to(values.device)
        found = torch.autograd.grad(
            weighted.sum(),
            [self.makes[each] for each in makers],
            retain_graph=True,
        )
        behind = {}
        for name, slope in zip(makers, found, strict=True):
            # OPT's feed-forward part has rows and tokens in one axis.
            by_token = slope.flatten(0, -2)
            behind[name] = by_token.ne(0).any(0)
        return behind


def is_causal(model: Any) -> bool:
    """Whether a model of `transformers` predicts the next token, and has no encoder beside it."""
    # A method of transformers' models; ours and the user's have none.
    can_generate = getattr(model, "can_generate", lambda: False)()
    return bool(can_generate) and not model.config.is_encoder_decoder


def decoder_layer(model: Any) -> DecoderLayer:
    """How the layers of a causal language model are built.

    Raises ValueError where they differ from one another, and where they are built otherwise than
    from attention and a feed-forward part, such as a mixture of experts.
    """
    names = blocks(model)
    kind = type(model).__name__
    shapes = [_shapes(model.get_submodule(name)) for name in names]
    if any(each != shapes[0] for each in shapes):
        raise ValueError(f"prune_width: the layers of {kind} differ in shape. {TAKE}")
    run = _run_of_first(model, names[0])
    order = list(run.reads)
    # 1. The two linear layers that read what others made.
    readers: list[str] = []
    for name in order:
        after = order.index(readers[-1]) if readers else -1
        # Of what the first of them wrote everything later depends: new sources are needed.
        places = [order.index(each) for each in run.sources(name)]
        if max(places, default=-1) > after:
            readers.append(name)
    if len(readers) != 2:
        raise _unknown(model, names[0], f"its linear layers are {', '.join(order) or 'none'}")
    # 2. What they read, and who makes it.
    makers = run.sources(readers[0])
    start, end = map(order.index, readers)
    of_units = order[start + 1 : end]
    if set(order) != {*makers, *of_units, *readers}:
        raise _unknown(model, names[0], f"its linear layers are {', '.join(order)}")
    heads, num_groups = _heads(model, run, readers[0], makers)
    units = _units(model, run, readers[1], of_units)
    return DecoderLayer(heads, units, num_groups)


def _shapes(layer: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in layer.named_parameters()}


def _unknown(
    model: nn.Module,
    layer: str,
    why: str,
) -> ValueError:
    """The error for a layer that is built otherwise."""
    return ValueError(
        f"prune_width: the layer `{layer}` of {type(model).__name__} is not made of attention and "
        f"one feed-forward part, as those of Llama, Mistral, Qwen, GPT-2, GPT-NeoX and OPT are: "
        f"{why}. {TAKE}"
    )


def _run_of_first(
    model: Any,
    name: str,
) -> _Run:
    """What the linear layers of a copy of the first layer, with random weights, read and make."""
    positional, named = call_of(model, name, few_tokens(model))
    if any(named.get(key) is not None for key in BY_HEAD):
        raise _unknown(model, name, "its attention hangs on the number of a head (ALiBi)")
    layer = copy.deepcopy(model.get_submodule(name)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.requires_grad_(True)
        # Trained attention may look at one token alone, which leaves no slope for the others.
        values = torch.randn(parameter.shape, generator=generator)
        # Norms and biases stay near 1, and matrices keep the size of what they read.
        if parameter.ndim > 1:
            values = values * parameter.shape[-1] ** -0.5
        else:
            values = 1 + 0.1 * values
        parameter.data.copy_(values)
    run = _Run()
    for inner, module in layer.named_modules():
        if axes_of(module) is not None:
            module.register_forward_hook(_note(inner, run))
    with torch.enable_grad():
        layer(*positional, **named)
    return run


def _note(
    name: str,
    run: _Run,
) -> Callable[..., None]:
    """A hook that leaves what a linear layer reads and makes in `run`."""

    def hook(
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        run.reads[name] = inputs[0]
        run.makes[name] = output

    return hook


def call_of(
    model: Any,
    name: str,
    tokens: dict[str, Tensor],
) -> Call:
    """What a layer is called with where the model reads some tokens."""
    calls: list[Call] = []

    def hook(
        module: nn.Module,
        positional: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        calls.append((positional, named))

    handle = model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
    # Without dropout: what a token's embedding is shall not hang on chance.
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(**tokens, use_cache=False)
    finally:
        model.train(was_training)
        handle.remove()
    return calls[0]


def few_tokens(model: Any) -> dict[str, Tensor]:
    """One row of a few tokens, and its mask, on the model's device."""
    num_words = model.get_input_embeddings().num_embeddings
    numbers = torch.arange(NUM_TOKENS, device=device_of(model))
    # Tiny vocabularies of tests are read again from their beginning.
    ids = (numbers + 1).unsqueeze(0) % num_words
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _heads(
    model: Any,
    run: _Run,
    reader: str,
    makers: list[str],
) -> tuple[Parts, int]:
    """The heads of a layer, and how many groups of them share keys and values."""
    num_heads = model.config.num_attention_heads
    width = run.reads[reader].shape[-1]
    size = width // num_heads
    masks = []
    for head in range(num_heads):
        start = head * size
        values = run.reads[reader][..., start : start + size]
        masks.append(run.outputs_behind(values, makers))
    # 1. (H, H) how many outputs two heads share: their keys and values, or nothing.
    rows = [torch.cat(list(each.values())) for each in masks]
    together = in_float64(torch.stack(rows))
    shared = together @ together.T
    # 2. The first head that each shares with names its group.
    group_of = (shared > 0).int().argmax(1)
    num_groups = int(group_of.unique().numel())
    # 3. As it is where neighbours share, and each has a query, a key and a value.
    heads = torch.arange(num_heads, device=shared.device)
    group = heads // max(1, num_heads // num_groups)
    is_same = group.unsqueeze(0) == group.unsqueeze(1)
    expected = torch.where(is_same, 2 * size, 0)
    expected.fill_diagonal_(3 * size)
    # A norm over all heads at once, a latent that all share and the like: each head then depends on
    # what makes the others.
    is_even = width % num_heads == 0 and num_heads % num_groups == 0
    if not is_even or not shared.eq(expected).all():
        names = ", ".join(makers)
        raise ValueError(
            f"prune_width: what one head of {type(model).__name__} reads of {names} is not its own "
            f"query, and a key and a value. {TAKE}"
        )
    by_maker = {}
    for name in makers:
        numbers = [each[name].nonzero().flatten() for each in masks]
        by_maker[name] = torch.stack(numbers)
    return Parts(reader, size, by_maker), num_groups


def _units(
    model: Any,
    run: _Run,
    reader: str,
    makers: list[str],
) -> Parts:
    """The feed-forward units of a layer: of one output of each maker, or of two where a maker holds
    gate and values one after the other."""
    read = run.reads[reader]
    width = read.shape[-1]
    # 1. What is expected: of a maker of twice the width, gates come first and values after them.
    units = torch.arange(width, device=read.device)
    by_maker = {}
    for name in makers:
        num_outputs = run.makes[name].shape[-1]
        starts = torch.arange(0, num_outputs, width, device=read.device)
        by_maker[name] = units.unsqueeze(1) + starts
    # 2. Some of them are asked.
    step = max(1, width // NUM_UNITS)
    for unit in range(0, width, step):
        behind = run.outputs_behind(read[..., unit], makers)
        for name in makers:
            expected = by_maker[name][unit].tolist()
            found = behind[name].nonzero().flatten().tolist()
            # Fewer where a rectifier was shut for all tokens.
            if not set(found) <= set(expected):
                raise ValueError(
                    f"prune_width: a feed-forward unit of {type(model).__name__} reads several "
                    f"outputs of {name}. {TAKE}"
                )
    return Parts(reader, 1, by_maker)
