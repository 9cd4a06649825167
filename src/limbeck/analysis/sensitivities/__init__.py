"""What a module's weights in a format cost the quality, before anything is trained for it.

The figure is in nats a counted unit: KL(float || one module rounded), by how much the outputs leave
those of the float model. Every sensitivity estimates this same figure, so that their results can be
compared and added: of small errors in several modules the divergences add to first order, so a
plan's loss is the sum of its modules'. None of them needs a label.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.core.contract import place, wrong_return
from limbeck.core.events import Reporter, silent, track
from limbeck.core.grids import GRIDS
from limbeck.models.precision import in_float64
from limbeck.models.weights import content_of, model_state
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Normed, Quantized
from limbeck.tasks import Batch

# Nats a unit, by module and by format.
Scores = dict[str, dict[str, float]]


class Sensitivity(Protocol):
    """One file, one way to judge.

    The model is left as it was; the order of batches, and of rows within one, does not matter.
    """

    def __call__(self, judged: "JudgedModel") -> Scores:
        """Nats a unit, 0 or more, of every module in every format."""
        ...


@dataclass(frozen=True)
class JudgedModel:
    """A model whose modules are judged, and what they are judged on.

    model: in eval mode, its modules swapped and no quantizer on.
    batches: of torch tensors, on the device of the model.
    formats: the names of the integer formats that are tried.
    tell: told of the progress.
    likelihood: what the logits stand for (`models.likelihood`).
    """

    model: nn.Module
    batches: Sequence[Batch]
    formats: Sequence[str]
    tell: Reporter = silent
    likelihood: str = "categorical"

    @cached_property
    def layers(self) -> dict[str, Quantized]:
        """The modules that are judged, by name; of those with tied weights the first."""
        first: dict[FakeQuantizer, tuple[str, Quantized]] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, Quantized):
                # Modules with tied weights share their quantizer.
                first.setdefault(module.quantizer, (name, module))
        return dict(first.values())

    @property
    def units(self) -> int:
        """How many units count, over all batches."""
        # Padding, and units that were cut off, do not count.
        return sum(int(batch.mask.sum()) for batch in self.batches)

    def second_order(self, curvature: Mapping[str, Tensor]) -> Scores:
        """1/2 sum_w c_w (Q(w) - w)^2 of every module in every format.

        `curvature`: c by module, of the shape of its weight, or one number for all its weights.
        """
        pairs = [(name, form) for form in self.formats for name in self.layers]
        scores: Scores = {name: {} for name in self.layers}
        for name, form in track(pairs, self._num_weights, self.tell):
            layer = self.layers[name]
            error = rounding_error(layer, fitted(layer, form))
            scores[name][form] = expected_loss(curvature[name], error)
        return scores

    def _num_weights(self, pair: tuple[str, str]) -> float:
        """What a module and a format take, relative to others."""
        return self.layers[pair[0]].weight.numel()


def judge(name: str, sensitivity: Sensitivity, judged: JudgedModel) -> Scores:
    """The scores of a sensitivity, perhaps somebody else's, called `name`.

    Raises ValueError where it leaves a module unjudged, or the model other than it was: what is
    quantized afterwards would be another model than the one that was trained.
    """
    before = condition(judged.model)
    scores = sensitivity(judged)
    check_scores(name, scores, judged)
    after = condition(judged.model)
    for what in dict.fromkeys([*before, *after]):
        if before.get(what) != after.get(what):
            raise ValueError(
                f"the sensitivity `{name}` changed the model that it judges: {what} is not what it "
                "was. Let it work on a copy, or put back what it changes"
            )
    return scores


def condition(model: nn.Module) -> dict[str, str]:
    """What a sensitivity must leave as it was, by what it is: the bytes of each weight and whether
    it learns, each module's mode, and the quantizer that it rounds with."""
    found = {}
    for name, tensor in model_state(model).items():
        content = hashlib.sha256(content_of(tensor)).hexdigest()
        found[f"`{name}`"] = f"{tensor.dtype} {tuple(tensor.shape)} {content}"
    for name, parameter in model.named_parameters():
        found[f"requires_grad of `{name}`"] = str(parameter.requires_grad)
    for name, module in model.named_modules():
        found[f"the mode of `{name or type(module).__name__}`"] = str(module.training)
        if isinstance(module, Quantized):
            found[f"the quantizer of `{name}`"] = str(id(module.quantizer))
    return found


def check_scores(name: str, scores: Any, judged: JudgedModel) -> None:
    """Raise ValueError where a sensitivity, perhaps somebody else's, left a module unjudged."""
    sensitivity = f"the sensitivity `{name}`"
    called = registry.method_of("sensitivities", name, "__call__")
    if not isinstance(scores, dict) or set(scores) != set(judged.layers):
        expected = f"a dict of the scores of each of {len(judged.layers)} modules"
        raise wrong_return(sensitivity, "__call__", scores, expected, called)
    for module, of_module in scores.items():
        if not isinstance(of_module, dict) or set(of_module) != set(judged.formats):
            expected = f"a dict of a number for each of {', '.join(judged.formats)}, by module"
            raise wrong_return(sensitivity, "__call__", of_module, expected, called)
        for form, nats in of_module.items():
            is_number = isinstance(nats, float | int) and not isinstance(nats, bool)
            if not is_number or not 0 <= nats < math.inf:
                raise ValueError(
                    f"{sensitivity}{place(called)} gave {module} in {form} the score {nats!r}; "
                    "a finite float of 0 or more was expected, in nats a unit (of a tensor or an "
                    "array: `float(score)`)"
                )


def fitted(layer: Quantized, form: str) -> FakeQuantizer:
    """A quantizer of the layer's weight in another format, fitted with the range of the recipe."""
    of_layer = layer.quantizer
    quantizer = of_layer.alike(GRIDS[form])
    # In training a rounding may draw, and gradients would be kept.
    quantizer.eval()
    with torch.no_grad():
        quantizer.begin()
        quantizer(layer.coded_weight())
        quantizer.finish()
    return quantizer


def rounding_error(layer: Quantized, quantizer: FakeQuantizer) -> Tensor:
    """Q(w) - w in units of the layer's parameter, of its shape."""
    with torch.no_grad():
        weight = layer.coded_weight()
        error = quantizer(weight) - weight
        # With a norm folded in, the signs of whole channels may be turned.
        return error * layer.signs() if isinstance(layer, Normed) and layer.norm else error


def expected_loss(curvature: Tensor, error: Tensor) -> float:
    """1/2 sum_w c_w e_w^2, summed in float64."""
    # Millions of small terms: in float32 the sum would lose them.
    total = in_float64(curvature * error.square()).sum()
    return 0.5 * float(total)


@contextlib.contextmanager
def differentiable(
    model: nn.Module,
    layers: Mapping[str, Quantized],
) -> Iterator[list[Tensor]]:
    """Inside, gradients flow to the weights of `layers`, which are given, and to nothing else."""
    parameters = list(model.parameters())
    before = [parameter.requires_grad for parameter in parameters]
    # Gradients of other parameters would take time and memory, and none is asked for.
    model.requires_grad_(False)
    weights = [layer.weight.requires_grad_() for layer in layers.values()]
    try:
        yield weights
    finally:
        for parameter, flag in zip(parameters, before, strict=True):
            parameter.requires_grad_(flag)
