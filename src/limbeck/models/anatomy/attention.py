"""The attention inside a model of `transformers`, computed here, so that its tensors can be read:

    P = softmax(s q k^T + mask)        context = P v

with one q, k and v a head and s = 1 / sqrt(width of a head), unless the model says otherwise.

`transformers` lets a model look its attention function up by name (`AttentionInterface`). While
`recorded` is open, or once `adding_products` has run, that function is `attend`; none of the
model's own code is touched. `recorded` gives P, q, k and v of named modules to the losses that
compare them (`losses.attention`, `losses.relation`). `adding_products` gives every attention
module a child of its own, `Products`, in which `quantization.modules.attention` puts its
quantizers.

Shapes: B rows, H heads, T tokens that ask, S tokens that are asked, D width of a head.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from limbeck.core import wording

# The name under which `transformers` finds `attend`.
IMPLEMENTATION = "limbeck"

# The name of an attention module's child that holds its `Products`. Plans match it by this name.
CHILD = "products"

# Some models hand these to their attention function; the formula above has no place for them.
UNSUPPORTED = ("position_bias", "softcap", "s_aux", "sinks")

# The kinds of tensor that `recorded` gives: P, and the factors q, k and v as the module hands them
# over (q before it is scaled).
PROBABILITIES = "attention"
FACTORS = ("queries", "keys", "values")


class Products(nn.Module):
    """Both matrix products of attention.

    Each factor passes through a child of its own before it is multiplied: `query` (scaled), `key`
    (transposed), `value` and `probabilities`. They are identities until quantizers replace them.
    Before that, keys and values pass through `kept`, where there is one: what a cache makes of them
    (`quantization.modules.key_values`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.query: nn.Module = nn.Identity()
        self.key: nn.Module = nn.Identity()
        self.value: nn.Module = nn.Identity()
        self.probabilities: nn.Module = nn.Identity()
        self.kept: nn.Module | None = None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        *,
        scaling: float,
        dropout: float,
    ) -> tuple[Tensor, Tensor]:
        """The context (B, T, H, D), and P (B, H, T, S) before quantization and dropout.

        `query` is (B, H, T, D); `key` and `value` are (B, G, S, D), where G divides H: heads share
        keys and values in grouped-query attention. `mask` is added to the scores.
        """
        if self.kept is not None:
            # Before heads share them: a cache keeps them once.
            key = self.kept(key)
            value = self.kept(value)
        heads_per_key = query.shape[1] // key.shape[1]
        if heads_per_key > 1:
            key = key.repeat_interleave(heads_per_key, 1)
            value = value.repeat_interleave(heads_per_key, 1)
        scaled_query = self.query(query * scaling)
        scores = scaled_query @ self.key(key.transpose(-1, -2))
        masked_scores = scores if mask is None else scores + mask
        probabilities = masked_scores.softmax(-1)
        # Dropout comes after the quantizer: what it scales up leaves the quantizer's grid.
        kept = functional.dropout(self.probabilities(probabilities), dropout, self.training)
        context = (kept @ self.value(value)).transpose(1, 2).contiguous()
        return context, probabilities


# For modules without products of their own. It stays in training mode: `transformers` asks for a
# dropout of 0 when the model is evaluated.
FLOAT = Products()


@dataclass
class Record:
    """What the attention inside some modules computed.

    `names_of`: by the id of an attention module, the names under which its tensors are kept: its
    own, or that of a module around it. `tensors`: by such a name, then by kind.
    """

    names_of: dict[int, list[str]]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def keep(self, module: nn.Module, *tensors: Tensor) -> None:
        """Keep P, queries, keys and values of an attention module that ran.

        Raises ValueError where two attention modules run inside one named module.
        """
        for name in self.names_of.get(id(module), []):
            if name in self.tensors:
                raise ValueError(
                    f"`{name}` attends more than once. "
                    f"Name the attention module itself, such as `{name}.attention`"
                )
            kinds = (PROBABILITIES, *FACTORS)
            self.tensors[name] = dict(zip(kinds, tensors, strict=True))


# `transformers` calls `attend` with the tensors of one module and nothing else, so what is asked of
# it stands beside the call. Context variables, not globals: threads and nested blocks stay apart.
RECORD: ContextVar[Record | None] = ContextVar("RECORD", default=None)
MAKE_PRODUCTS: ContextVar[Callable[[], Products] | None] = ContextVar("MAKE_PRODUCTS", default=None)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """The attention function that `transformers` calls: context and P, as `Products` gives them.

    Raises ValueError for a module that computes something else, or that has no products where
    another module of its model has.
    """
    record = RECORD.get()
    check_supported(module, settings, "a loss on attention" if record else "quantize.attention")
    make_products = MAKE_PRODUCTS.get()
    # The first batch shows which modules attend; a module that runs twice keeps what it has.
    if make_products is not None and CHILD not in dict(module.named_children()):
        module.add_module(CHILD, make_products().to(query.device))
    products = dict(module.named_children()).get(CHILD, FLOAT if record else None)
    if not isinstance(products, Products):
        raise ValueError(
            f"quantize.attention: a `{type(module).__name__}` runs now "
            "that did not run on the first batch. Leave `attention` out"
        )
    # Some models say it, others leave it to the attention function.
    scaling = settings.get("scaling")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    dropout = settings.get("dropout", 0.0)
    context, probabilities = products(
        query, key, value, attention_mask, scaling=scaling, dropout=dropout
    )
    if record:
        record.keep(module, probabilities, query, key, value)
    return context, probabilities


def check_supported(
    module: nn.Module,
    settings: dict[str, Any],
    told: str,
) -> None:
    """Raise ValueError, beginning with `told`, where a module adds a term to the formula above."""
    for name in UNSUPPORTED:
        if settings.get(name) is not None:
            raise ValueError(
                f"{told}: `{type(module).__name__}` adds `{name}` to its products, "
                "which limbeck does not. Leave `attention` out"
            )


@contextlib.contextmanager
def recorded(model: nn.Module, modules: Sequence[str]) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Inside, a forward leaves what the attention in each of `modules` computes in the dict.

    By module name, then by kind: `attention` (B, H, T, S), and `queries`, `keys`, `values`
    (B, H, T, D). Quantized attention gives them as they were before they were quantized.

    Raises ValueError where the model has no such module; on leaving, where the attention inside
    one did not go through the interface of `transformers`.
    """
    if not modules:
        yield {}
        return
    record = Record(names_inside(model, modules))
    before = {part: part.config._attn_implementation for part in transformers_models(model)}
    token = RECORD.set(record)
    try:
        route_attention(model)
        yield record.tensors
    finally:
        # Back to what it was, which may be faster: nothing is recorded from here on.
        RECORD.reset(token)
        for part, implementation in before.items():
            part.set_attn_implementation(implementation)
    for name in modules:
        if name not in record.tensors:
            consequence = f"nothing inside `{name}` can be compared. Take the loss `hidden`"
            raise unreached(model, consequence, "a loss on attention")


def names_inside(model: nn.Module, modules: Sequence[str]) -> dict[int, list[str]]:
    """By the id of every module, those of `modules` that are it or lie around it."""
    named = dict(model.named_modules())
    for name in modules:
        if name not in named:
            raise ValueError(
                f"{type(model).__name__} has no module `{name}`. {wording.suggest(name, named)}"
            )
    names_of = {}
    # A layer's name stands for the one attention module inside it.
    for inner, module in named.items():
        around = [name for name in dict.fromkeys(modules) if f"{inner}.".startswith(f"{name}.")]
        names_of[id(module)] = around
    return names_of


@contextlib.contextmanager
def adding_products(make_products: Callable[[], Products]) -> Iterator[None]:
    """Inside, every attention module that runs gets a child `products`, unless it has one."""
    token = MAKE_PRODUCTS.set(make_products)
    try:
        yield
    finally:
        MAKE_PRODUCTS.reset(token)


def transformers_models(model: nn.Module) -> list[Any]:
    """Every model of `transformers` in a module: each has a config with an attention setting."""
    from transformers import PreTrainedModel

    return [module for module in model.modules() if isinstance(module, PreTrainedModel)]


def is_routed(model: nn.Module) -> bool:
    """Whether every model of `transformers` in `model` took `attend` as its attention."""
    parts = transformers_models(model)
    return all(part.config._attn_implementation == IMPLEMENTATION for part in parts)


def route_attention(model: nn.Module) -> None:
    """Let `attend` compute the attention of every model of `transformers` in `model` that can be
    told to; one that cannot keeps its own (`is_routed`)."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(IMPLEMENTATION, attend)
    # Masks as the eager implementation has them: floats to add, 0 or the lowest number.
    make_masks_without_waits()
    AttentionMaskInterface.register(IMPLEMENTATION, AttentionMaskInterface()["eager"])
    for part in transformers_models(model):
        if part.config._attn_implementation != IMPLEMENTATION:
            part.set_attn_implementation(IMPLEMENTATION)


def make_masks_without_waits() -> None:
    """Let `transformers` make the mask of a batch that lies on a GPU without looking at it.

    By default it asks whether any token is padding, and leaves the mask out where none is: the host
    then stands still in every forward pass. On a CPU, where asking is free, it goes on to ask.
    """
    from transformers import AttentionMaskInterface

    for name in ("eager", "sdpa"):
        make_mask = AttentionMaskInterface()[name]
        if not isinstance(make_mask, _MaskWithoutWait):
            AttentionMaskInterface.register(name, _MaskWithoutWait(make_mask))


@dataclass(frozen=True)
class _MaskWithoutWait:
    """See `make_masks_without_waits`."""

    make_mask: Callable[..., Any]

    def __call__(self, *positional: Any, **named: Any) -> Any:
        padding = named.get("attention_mask")
        choices = dict(named)
        if padding is not None and padding.device.type != "cpu":
            choices["allow_is_bidirectional_skip"] = False
        return self.make_mask(*positional, **choices)


def unreached(
    model: nn.Module,
    consequence: str,
    told: str,
) -> ValueError:
    """The error for a model whose attention is computed elsewhere."""
    return ValueError(
        f"{told}: the attention of `{type(model).__name__}` does not go through "
        f"the attention interface of transformers, so {consequence}"
    )
