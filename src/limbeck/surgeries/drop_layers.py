"""Keep some of the teacher's layers, in their order; keeping all of them gives the teacher itself. Which:

    even         evenly spaced, the last one kept (DistilBERT, Sanh et al., 2019, arXiv 1910.01108, section 3; evenly as in Fan, Grave, Joulin, 2020,
                 arXiv 1909.11556)
    first, last  those next to the input, or to the output (Sajjad et al., 2020, arXiv 2004.03844: top-layer and bottom-layer dropping)
    importance   those that change most what they read: 1 - E cos(x, layer(x)) over the tokens of some training rows (block influence of ShortGPT,
                 Men et al., 2024, arXiv 2403.03853, equation 1)

Importance is found once, of all layers in the whole teacher, as in ShortGPT: it costs a forward over 256 rows.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from limbeck.models.dataflow import tensors_in
from limbeck.models.layers import blocks, evenly
from limbeck.models.running import run_model
from limbeck.surgeries import Cut, Evidence
from limbeck.tasks import Batch


@dataclass(frozen=True)
class DropLayers:
    """`layers`: how many to keep; `keep`: which."""

    layers: int
    keep: Literal["even", "first", "last", "importance"] = "even"

    files: ClassVar[tuple[str, ...]] = ()

    @property
    def reads_rows(self) -> bool:
        return self.keep == "importance"

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with `layers` of its layers. Raises ValueError where it has fewer."""
        student = copy.deepcopy(teacher)
        names = blocks(student)
        even = evenly(self.layers, len(names))
        shapes = {
            tuple(parameter.shape for parameter in student.get_submodule(name).parameters())
            for name in names
        }
        if self.layers < len(names) and len(shapes) > 1:
            raise ValueError(
                f"drop_layers: the layers of {type(teacher).__name__} differ in shape, so none can be left out"
            )
        keep_layers(
            student,
            names,
            even if self.layers == len(names) else self.chosen(student, names, evidence),
        )
        return Cut(student)

    def chosen(self, student: nn.Module, names: Sequence[str], evidence: Evidence) -> list[int]:
        """The numbers of the layers that stay."""
        if self.keep == "importance":
            return sorted(
                influence(student, names, evidence.batches).topk(self.layers).indices.tolist()
            )
        first, last = range(self.layers), range(len(names) - self.layers, len(names))
        return {"even": evenly(self.layers, len(names)), "first": [*first], "last": [*last]}[
            self.keep
        ]


def keep_layers(student: nn.Module, names: Sequence[str], kept: Sequence[int]) -> None:
    """Leave the other layers out, in place."""
    student.set_submodule(
        names[0].rpartition(".")[0], nn.ModuleList([student.get_submodule(names[i]) for i in kept])
    )
    config = getattr(student, "config", None)  # a transformers model; our networks have none
    if config is not None:
        config.num_hidden_layers = len(kept)


def influence(model: nn.Module, names: Sequence[str], batches: Sequence[Batch]) -> torch.Tensor:
    """(L) 1 - E cos(x, layer(x)) of each layer, in eval mode, over every token (or pixel) that counts."""
    changed, counted = torch.zeros(len(names), dtype=torch.float64), 0.0
    was_training = model.training
    model.eval()
    for batch in batches:
        pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        handles = [
            model.get_submodule(name).register_forward_hook(keep_pair(i, pairs), with_kwargs=True)
            for i, name in enumerate(names)
        ]
        with torch.no_grad():
            run_model(model, batch)
        for handle in handles:
            handle.remove()
        axis = 1 if pairs[0][0].ndim == 4 else -1
        similar = torch.stack(
            [functional.cosine_similarity(*pairs[i], dim=axis) for i in range(len(names))]
        ).double()
        counts = batch.inputs.get("attention_mask", torch.ones(similar.shape[1:])).expand(
            similar.shape[1:]
        )
        changed += ((1 - similar) * counts).flatten(1).sum(1)
        counted += float(counts.sum())
    model.train(was_training)
    return changed / counted


def keep_pair(
    index: int, pairs: dict[int, tuple[torch.Tensor, torch.Tensor]]
) -> Callable[..., None]:
    """A hook that leaves what a layer reads and what it makes."""

    def hook(
        module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        pairs[index] = (
            next(tensors_in([*inputs, *named.values()])),
            output[0] if isinstance(output, tuple) else output,
        )

    return hook
