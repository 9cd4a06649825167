"""Keep the most important attention heads and feed-forward units of every layer of an encoder: really smaller matrices, each layer the same number.

    importance   gradient, activation (`_importance`; Michel et al., 2019, arXiv 1905.10650; Molchanov et al., 2019, arXiv 1906.10771), or
                 magnitude: the norm of all weights that would go, which needs no rows
    a head       its rows of query, key and value, its columns of the output projection
    a unit       its row of the first feed-forward layer, its column of the second

Layers are known by their structure (`_encoder`): BERT, RoBERTa, ELECTRA, DistilBERT, MPNet and whatever is built alike; others are refused by name.
Where all layers share a relative position bias by head (MPNet), all keep the same heads: those of the
largest sum over the layers, each scaled to norm 1 (as Michel et al., section 4.1). Elsewhere every layer chooses for itself.
The width D of the residual stream stays: every layer adds to it.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from limbeck.models.layers import blocks
from limbeck.models.structure import put
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._encoder import Group, Layer, layer_of
from limbeck.surgeries._importance import importance, reader
from limbeck.surgeries.drop_layers import DropLayers

HEADS = ("num_attention_heads", "n_heads")  # how attention modules call the number of heads
WIDTHS = ("all_head_size",)  # and the width of all
UNITS = ("intermediate_size", "hidden_dim")  # how configs call the number of units
SHARED = "relative_attention_bias"


@dataclass(frozen=True)
class PruneWidth:
    """`heads`, `intermediate`: how many of each layer's attention heads and feed-forward units to keep (left out: all); `layers`: how many layers,
    evenly spaced, after that."""

    heads: int | None = None
    intermediate: int | None = None
    importance: Literal["gradient", "activation", "magnitude"] = "gradient"
    layers: int | None = None

    files: ClassVar[tuple[str, ...]] = ()

    @property
    def reads_rows(self) -> bool:
        return self.importance != "magnitude"

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A smaller copy of `teacher`. Raises ValueError for a layer that is built otherwise, and for more than there is."""
        if self.heads is None and self.intermediate is None:
            raise ValueError(
                "prune_width: say how many to keep: `heads`, `intermediate` or both. For layers alone there is drop_layers"
            )
        student = copy.deepcopy(teacher)
        found = [layer_of(student, name) for name in blocks(student)]
        wanted = {"heads": self.heads, "intermediate": self.intermediate}
        groups = {
            "heads": [layer.heads for layer in found],
            "intermediate": [layer.units for layer in found],
        }
        kept: dict[Group, torch.Tensor] = {}
        for key, count in wanted.items():
            if count is not None:
                alike = key == "heads" and bool(shared_biases(student))
                kept |= choose(self.scores(student, groups[key], evidence), count, key, alike=alike)
        for group, index in kept.items():
            keep_parts(student, group, index)
        if self.heads is not None:
            tell_heads(student, found, self.heads, kept[found[0].heads])
        if self.intermediate is not None:
            tell_units(student, self.intermediate)
        return (
            Cut(student) if self.layers is None else DropLayers(self.layers).cut(student, evidence)
        )

    def scores(
        self, student: nn.Module, groups: list[Group], evidence: Evidence
    ) -> dict[Group, torch.Tensor]:
        """(P) how much each part of each group counts."""
        if self.importance == "magnitude":
            return {group: magnitude(student, group) for group in groups}
        found = importance(
            student, {group.reads: group.size for group in groups}, evidence, self.importance
        )
        return {group: found[group.reads] for group in groups}


def shared_biases(model: nn.Module) -> list[nn.Embedding]:
    """Position biases that hold a column for each head of every layer."""
    named = [module for name, module in model.named_modules() if name.rpartition(".")[2] == SHARED]
    return [module for module in named if isinstance(module, nn.Embedding)]


def magnitude(model: nn.Module, group: Group) -> torch.Tensor:
    """(P) the norm of all weights that go with a part."""
    squares = reader(model, group.reads).weight.detach().double().square().sum(0)
    for name in group.makes:
        squares = squares + reader(model, name).weight.detach().double().square().sum(1)
    return squares.unflatten(0, (-1, group.size)).sum(1).sqrt()


def choose(
    scores: dict[Group, torch.Tensor], count: int, key: str, *, alike: bool
) -> dict[Group, torch.Tensor]:
    """The numbers of the `count` parts of each group that count most, in order; the same in all groups where `alike`. Raises ValueError."""
    for group, values in scores.items():
        if not 1 <= count <= len(values):
            raise ValueError(
                f"prune_width: {key}: cannot keep {count} of {len(values)} (`{group.reads}`)"
            )
    if alike:
        total = torch.stack(
            [values / values.norm().clamp_min(1e-30) for values in scores.values()]
        ).sum(0)
        scores = dict.fromkeys(scores, total)
    return {group: values.topk(count).indices.sort().values for group, values in scores.items()}


def keep_parts(model: nn.Module, group: Group, index: torch.Tensor) -> None:
    """Leave the other parts out of every matrix, in place."""
    places = (index.unsqueeze(1) * group.size + torch.arange(group.size)).flatten()
    last = reader(model, group.reads)
    put(last, "weight", last.weight.detach()[:, places].clone())
    last.in_features = len(places)
    for name in group.makes:
        maker = reader(model, name)
        put(maker, "weight", maker.weight.detach()[places].clone())
        if maker.bias is not None:
            put(maker, "bias", maker.bias.detach()[places].clone())
        maker.out_features = len(places)


def tell_heads(model: nn.Module, layers: list[Layer], count: int, index: torch.Tensor) -> None:
    """Let attention modules, and a bias that the layers share, know their heads. The config cannot: it takes D / heads for the size of a head."""
    for layer in layers:
        module: Any = model.get_submodule(layer.attention)
        for names, size in ((HEADS, count), (WIDTHS, count * layer.heads.size)):
            for name in vars(module).keys() & names:
                setattr(module, name, size)
    for bias in shared_biases(model):
        put(bias, "weight", bias.weight.detach()[:, index].clone())
        bias.embedding_dim = count


def tell_units(model: nn.Module, count: int) -> None:
    """Let the config know the number of units."""
    config: Any = getattr(model, "config", None)
    for name in UNITS if config is not None else ():
        if name in config.to_dict():
            setattr(config, name, count)
