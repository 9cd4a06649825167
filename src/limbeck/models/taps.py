"""What a loss may read of a model: the logits of every unit, and tensors inside it, each named by a
`Tap`: a kind of tensor and a module.

A unit is what the task labels: a word, a text, an image. A place is where tensors inside a model
are compared: where a row has several units (words), their first tokens, so that the other pieces of
words and the padding are left out; where a row is one unit, all of its tokens.

| kind | shape | what |
|---|---|---|
| hidden | (B, W, D) | a module's output at every unit |
| places | (B, P, D) | a module's output at every place |
| maps | (B, C, H, W) | a convolution's output |
| attention | (B, N, P, P) | the probabilities of the attention inside a module, N heads |
| queries, keys, values | (B, N, P, D) | the factors that this attention multiplies |

`hidden` goes by units so that models with different tokenizers meet on the same words. Where a row
is one unit it is the mean over its tokens that the attention mask lets through (B, 1, D), or over
its pixels (B, 1, C).

Of a vocabulary, logits (B, W, V) of a batch fill the memory. A model may leave them to be computed
later (`UnitLogits`), some units at a time; who reads `logits` all the same gets them whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn import functional

from limbeck.models.anatomy.attention import FACTORS, PROBABILITIES

# The kinds of the table above. A tap's kind says which shape a loss wants, not which module.
HIDDEN, PLACES, MAPS = "hidden", "places", "maps"
OF_ATTENTION = (PROBABILITIES, *FACTORS)
# Kinds that cannot be compared between tokenizers, but for the first tokens of words.
BY_PLACE = (PLACES, *OF_ATTENTION)


class Tap(NamedTuple):
    """Where a loss reads. `kind`: a row of the table above. `module`: the module's name."""

    kind: str
    module: str


class UnitLogits(Protocol):
    """Logits that are computed when they are asked for. A frozen dataclass of tensors, so that
    `models.torch_batches.to_device` moves it.

    `shape`: (B, W, V). Units are numbered through the batch: unit w of row b is b W + w.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def of_units(self, units: torch.Tensor) -> torch.Tensor:
        """(U, V) float32 of the units with these numbers (U), on the device of the outputs."""
        ...

    def tensors(self) -> list[torch.Tensor]:
        """What they are computed from, and their gradient goes to."""
        ...


class LogitsField:
    """The field `logits` of `Outputs`: set to a tensor or to `UnitLogits`, it reads as a tensor.

    A data descriptor as the default of a dataclass's field, which dataclasses know: reading it from
    the class says by AttributeError that the field has no default.
    """

    def __get__(
        self,
        outputs: Any,
        owner: type | None = None,
    ) -> torch.Tensor:
        if outputs is None:
            raise AttributeError("logits")
        # By its own name in the instance, which a data descriptor goes before.
        held = vars(outputs)
        if isinstance(held["logits"], torch.Tensor):
            return held["logits"]
        # Computed once, since several losses may read them.
        if "computed" not in held:
            held["computed"] = whole(held["logits"])
        return held["computed"]

    def __set__(
        self,
        outputs: Any,
        value: torch.Tensor | UnitLogits,
    ) -> None:
        vars(outputs)["logits"] = value


@dataclass(frozen=True)
class Outputs:
    """What a model gives on a batch.

    `logits`: (B, W, V). Where they are given as `UnitLogits`, reading them computes all of them.
    `mask`: (B, W), True for a unit that counts.
    `inner`: the tensors inside the model, by tap.
    `places`: (B, P), True for a place that counts; None where the places are the units.
    """

    logits: LogitsField = LogitsField()
    # It has no default either, whatever a type checker makes of a descriptor.
    mask: torch.Tensor = field()  # type: ignore[misc]
    inner: dict[Tap, torch.Tensor] = field(default_factory=dict)
    places: torch.Tensor | None = None

    @property
    def later(self) -> UnitLogits | None:
        """The logits that are still to be computed; None where they were given as a tensor."""
        logits: Any = vars(self)["logits"]
        return None if isinstance(logits, torch.Tensor) else logits

    @property
    def num_labels(self) -> int:
        """V, the length of a unit's logits."""
        return self.logits.shape[-1] if self.later is None else self.later.shape[-1]

    @property
    def sources(self) -> list[torch.Tensor]:
        """The logits, or what they are still to be computed from."""
        return [self.logits] if self.later is None else self.later.tensors()

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The logits, or what they are computed from, and the tensors inside the model."""
        return [*self.sources, *self.inner.values()]

    @property
    def place_mask(self) -> torch.Tensor:
        """(B, P), True for a place that counts."""
        return self.mask if self.places is None else self.places

    @property
    def hidden(self) -> dict[str, torch.Tensor]:
        """The tensors of kind `hidden` (B, W, D), by module name."""
        return {tap.module: value for tap, value in self.inner.items() if tap.kind == HIDDEN}


@dataclass(frozen=True)
class ByOrder:
    """Logits (B, W, V) of rows that hold another number of units W' in `logits`: unit w is its unit
    w, and anything where it has none. `num_units`: W."""

    logits: UnitLogits
    num_units: int

    @property
    def shape(self) -> tuple[int, int, int]:
        num_rows, _, num_labels = self.logits.shape
        return num_rows, self.num_units, num_labels

    def of_units(self, units: torch.Tensor) -> torch.Tensor:
        _, own_units, num_labels = self.logits.shape
        if not own_units:
            return self.tensors()[0].new_zeros((len(units), num_labels), dtype=torch.float32)
        row = units // self.num_units
        unit = (units % self.num_units).clamp_max(own_units - 1)
        return self.logits.of_units(row * own_units + unit)

    def tensors(self) -> list[torch.Tensor]:
        return self.logits.tensors()


def by_order(
    outputs: Outputs,
    num_units: int,
) -> Outputs:
    """A model's answers to its own units, of another tokenizer, as those to `num_units` a row: the
    first meets the first, and so on; a unit that the model has not does not count.

    Without what is inside the model, which cannot be compared so.
    """
    own_units = outputs.mask.shape[1]
    if own_units == num_units:
        return outputs
    # What is filled up here, and what `ByOrder` reads where there is nothing, is masked.
    missing = max(0, num_units - own_units)
    mask = functional.pad(outputs.mask, (0, missing))[:, :num_units]
    if outputs.later is not None:
        return Outputs(ByOrder(outputs.later, num_units), mask)
    logits = functional.pad(outputs.logits, (0, 0, 0, missing))[:, :num_units]
    return Outputs(logits, mask)


def whole(logits: UnitLogits) -> torch.Tensor:
    """(B, W, V) all of them at once."""
    num_rows, num_units, num_labels = logits.shape
    device = logits.tensors()[0].device
    everything = torch.arange(num_rows * num_units, device=device)
    return logits.of_units(everything).view(num_rows, num_units, num_labels)


def some_units(
    outputs: Outputs,
    units: torch.Tensor,
) -> Outputs:
    """The units with these numbers (U) as one row, without what is inside the model, and without
    gradients."""
    if outputs.later is None:
        logits = outputs.logits.flatten(0, 1)[units]
    else:
        logits = outputs.later.of_units(units)
    mask = outputs.mask.flatten()[units]
    return Outputs(logits.detach().unsqueeze(0), mask.unsqueeze(0))


def hidden_of(modules: Sequence[str]) -> list[Tap]:
    """The taps that read `hidden` of these modules."""
    return [Tap(HIDDEN, name) for name in modules]
