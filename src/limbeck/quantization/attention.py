"""The two matrix products of attention on uint8 tensors, as in I-BERT (Kim et al., 2021, arXiv 2101.01321), but with the softmax in float:

    P = softmax(Q(s q) Q(k)^T + mask)        context = Q(P) Q(v)

q, k and v have ranges of their own; s is taken into q, of which there is less than of scores. P lies between 0 and 1, so its scale is 1/255 and its
zero point 0, neither fitted nor learned. The scores themselves stay float: after the mask they reach to the lowest float32, and no range holds both.
Dropout comes after Q(P), since what it scales up leaves the grid.

Models are reached through the attention interface of `transformers`; none of their code is touched. `recorded` reads the factors and P of any model
there, quantized or not: before they are quantized, as distillation compares them. Shapes: B rows, H heads, T and S tokens, D width of a head.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from limbeck.core import registry, wording
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.ranges import Range, Still

NAME = "limbeck"  # of the implementation
CHILD = "products"  # of the attention module
MORE = (
    "position_bias",
    "softcap",
    "s_aux",
    "sinks",
)  # what some models hand over, and the formula above has no place for
PROBABILITIES, FACTORS = "attention", ("queries", "keys", "values")  # what a record holds
ADDED: ContextVar[type[Range] | None] = ContextVar(
    "ADDED", default=None
)  # while a model's attention modules are looked for


@dataclass
class Record:
    """What the attention inside each of some modules computed: `names` of modules by the id of an attention module that may run in them."""

    names: dict[int, list[str]]
    found: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)

    def keep(self, module: nn.Module, *tensors: torch.Tensor) -> None:
        """P, queries, keys and values of an attention module that ran. Raises ValueError where a name holds more than one."""
        for name in self.names.get(id(module), []):
            if name in self.found:
                raise ValueError(
                    f"`{name}` attends more than once. Name the attention module itself, such as `{name}.attention`"
                )
            self.found[name] = dict(zip((PROBABILITIES, *FACTORS), tensors, strict=True))


RECORD: ContextVar[Record | None] = ContextVar("RECORD", default=None)


class Whole(Still):
    """The range of probabilities."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def observe(self, values: torch.Tensor) -> None:
        """Nothing to learn from them."""

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1) and (1)."""
        return torch.full((1,), 1 / self.grid.high), torch.zeros(1)


class Products(nn.Module):
    """Both products, and the quantizer of each factor; without a range they stay float."""

    def __init__(self, range_class: type[Range] | None) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            FakeQuantizer(GRIDS["uint8"], range_class) if range_class else nn.Identity()
            for _ in range(3)
        )
        self.probabilities = FakeQuantizer(GRIDS["uint8"], Whole) if range_class else nn.Identity()

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        scaling: float,
        dropout: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, H, D) context and (B, H, T, S) P as float, of `query` (B, H, T, D), `key` and `value` (B, H or a part of it, S, D)."""
        readers = query.shape[1] // key.shape[1]
        if readers > 1:
            key, value = (tensor.repeat_interleave(readers, 1) for tensor in (key, value))
        scores = self.query(query * scaling) @ self.key(key.transpose(-1, -2))
        probabilities = (scores if mask is None else scores + mask).softmax(-1)
        kept = functional.dropout(self.probabilities(probabilities), dropout, self.training)
        return (kept @ self.value(value)).transpose(1, 2).contiguous(), probabilities


FLOAT = Products(None)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention function that `transformers` calls. Raises ValueError for a module that computes something else, or was never seen."""
    kind, record = type(module).__name__, RECORD.get()
    for name in MORE:
        if settings.get(name) is not None:
            told = "a loss on attention" if record else "quantize.attention"
            raise ValueError(
                f"{told}: `{kind}` adds `{name}` to its products, which limbeck does not. Leave `attention` out"
            )
    added = ADDED.get()
    if added is not None and CHILD not in dict(module.named_children()):
        module.add_module(CHILD, Products(added))
    products = dict(module.named_children()).get(CHILD, FLOAT if record else None)
    if not isinstance(products, Products):
        raise ValueError(
            f"quantize.attention: a `{kind}` runs now that did not run on the first batch. Leave `attention` out"
        )
    scaling = query.shape[-1] ** -0.5 if settings.get("scaling") is None else settings["scaling"]
    context, probabilities = products(
        query, key, value, attention_mask, scaling=scaling, dropout=settings.get("dropout", 0.0)
    )
    if record:
        record.keep(module, probabilities, query, key, value)
    return context, probabilities


@contextlib.contextmanager
def recorded(
    model: nn.Module, modules: Sequence[str]
) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
    """Inside, a forward leaves what the attention in each of `modules` computes: `attention` (B, H, T, S), and `queries`, `keys`, `values`
    (B, H, T, D).

    Raises ValueError on leaving where the attention of one did not go through the interface of `transformers`.
    """
    if not modules:
        yield {}
        return
    named = dict(model.named_modules())
    for name in modules:
        if name not in named:
            raise ValueError(
                f"{type(model).__name__} has no module `{name}`. {wording.suggest(name, named)}"
            )
    inside = {
        id(module): [name for name in dict.fromkeys(modules) if f"{own}.".startswith(f"{name}.")]
        for own, module in named.items()
    }
    record, before = (
        Record(inside),
        {part: part.config._attn_implementation for part in parts_of(model)},
    )
    token = RECORD.set(record)
    try:
        go_through_here(model)
        yield record.found
    finally:
        RECORD.reset(token)
        for part, implementation in before.items():
            part.set_attn_implementation(implementation)
    for name in modules:
        if name not in record.found:
            raise unreached(
                model, f"nothing inside `{name}` can be compared. Take the loss `hidden`"
            )


def attach(model: nn.Module, range_name: str, forward: Callable[[nn.Module], Any]) -> None:
    """Give every attention module of `model` its `Products`, not fitted yet; `forward(model)` runs one batch, to see which they are.

    Raises ValueError for a model whose attention does not go through the interface of `transformers`.
    """
    go_through_here(model)
    if any(part.config._attn_implementation != NAME for part in parts_of(model)):
        raise refusal(model)
    token, was_training = ADDED.set(registry.load("ranges", range_name)), model.training
    try:
        with torch.no_grad():
            forward(model.eval())
    finally:
        ADDED.reset(token)
        model.train(was_training)
    if not any(isinstance(module, Products) for module in model.modules()):
        raise refusal(model)


def parts_of(model: nn.Module) -> list[Any]:
    """The models of `transformers` in a model."""
    from transformers import PreTrainedModel

    return [module for module in model.modules() if isinstance(module, PreTrainedModel)]


def go_through_here(model: nn.Module) -> None:
    """Let `attend` compute the attention of every model of `transformers` in `model` that can be told to."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, AttentionMaskInterface()["eager"])
    for part in parts_of(model):
        if part.config._attn_implementation != NAME:
            part.set_attn_implementation(NAME)


def refusal(model: nn.Module) -> ValueError:
    """For a model of which no product is reached."""
    return unreached(
        model,
        "its products stay float. Leave `attention` out, or take another student, such as a BERT",
        "quantize.attention",
    )


def unreached(model: nn.Module, consequence: str, told: str = "a loss on attention") -> ValueError:
    """For a model whose attention is computed elsewhere."""
    kind = type(model).__name__
    return ValueError(
        f"{told}: the attention of `{kind}` does not go through the attention interface of transformers, so {consequence}"
    )
