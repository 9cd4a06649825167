"""Keep the most important attention heads and feed-forward units of every layer: really smaller
matrices, each layer the same number. Of a causal language model also the most important channels of
the residual stream (`surgeries._decoder_width`); what follows is of encoders.

    a head    its rows of query, key and value, its columns of the output projection
    a unit    its row of the first feed-forward layer, its column of the second

Importance is `gradient` or `activation` on some training rows (Michel et al., 2019, arXiv
1905.10650; Molchanov et al., 2019, arXiv 1906.10771), or `magnitude`: the norm of all weights that
would go, which needs no rows.

Layers are known by their structure: BERT, RoBERTa, ELECTRA, DistilBERT, MPNet and
whatever is built alike; others are refused by name. Every layer chooses for itself, but where all
share a relative position bias by head (MPNet), all keep the same heads: those of the largest sum
over the layers, each scaled to norm 1 (as Michel et al., section 4.1). The width D of the residual
stream stays: every layer adds to it.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.decoder import is_causal
from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.structure import put
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._decoder_width import DecoderCut
from limbeck.surgeries._encoder import EncoderLayer, PartGroup, layer_of
from limbeck.surgeries._importance import importance, reader, wide
from limbeck.surgeries.drop_layers import DropLayers

# What attention modules call the number of heads, and the width of all heads.
HEAD_COUNTS = ("num_attention_heads", "n_heads")
HEAD_WIDTHS = ("all_head_size",)

# What configs call the number of units.
UNIT_COUNTS = ("intermediate_size", "hidden_dim")

# What MPNet calls the position bias that its layers share.
SHARED_BIAS = "relative_attention_bias"


@dataclass(frozen=True)
class PruneWidth:
    """Keys:

    - `heads`, `intermediate`: how many of each layer's attention heads and feed-forward units to
      keep; all where one is left out.
    - `key_value_heads`: of a causal language model whose heads share keys and values, how many of
      these; as many as `heads` of whole groups have where it is left out.
    - `hidden`: of a causal language model, how many channels of the residual stream; all where it
      is left out. Multiples of 32 can be quantized in groups later.
    - `importance`: how those that stay are chosen: by `gradient`, how much the task's loss would
      change without them; by `activation`, how large their outputs are; or by `magnitude`, how
      large their weights are.
    - `layers`: how many layers to keep, evenly spaced, after that; all where it is left out.
    """

    heads: int | None = None
    intermediate: int | None = None
    key_value_heads: int | None = None
    hidden: int | None = None
    importance: Literal["gradient", "activation", "magnitude"] = "gradient"
    layers: int | None = None

    files: ClassVar[tuple[str, ...]] = ()

    @property
    def reads_rows(self) -> bool:
        return self.importance != "magnitude"

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A smaller copy of `teacher`.

        Raises ValueError for a layer that is built otherwise, and for more than there is to keep.
        """
        asked = (self.heads, self.intermediate, self.key_value_heads, self.hidden)
        if all(count is None for count in asked):
            raise ValueError(
                "prune_width: say how many to keep: `heads`, `intermediate` or both. "
                "For layers alone there is drop_layers"
            )
        if is_causal(teacher):
            narrow = DecoderCut(*asked, self.importance).cut(teacher, evidence)
            return self.with_layers(narrow, evidence)
        if self.key_value_heads is not None or self.hidden is not None:
            raise ValueError(
                "prune_width: `key_value_heads` and `hidden` are of causal language models, and "
                f"{type(teacher).__name__} is none. Cut `heads` or `intermediate`"
            )
        student = copy.deepcopy(teacher)
        layers = [layer_of(student, name) for name in blocks(student)]
        # Both are judged in the whole teacher, before either is cut.
        kept_heads = self.kept_heads(student, layers, evidence)
        kept_units = self.kept_units(student, layers, evidence)
        for group, numbers in [*kept_heads.items(), *kept_units.items()]:
            keep_parts(student, group, numbers)
        if self.heads is not None:
            tell_heads(student, layers, self.heads, kept_heads[layers[0].heads])
        if self.intermediate is not None:
            tell_units(student, self.intermediate)
        return self.with_layers(student, evidence)

    def with_layers(self, student: nn.Module, evidence: Evidence) -> Cut:
        """A narrower student with `layers` of its layers."""
        # Layers go last: which heads count is judged in all of them.
        if self.layers is None:
            return Cut(student)
        return DropLayers(self.layers).cut(student, evidence)

    def kept_heads(
        self,
        student: nn.Module,
        layers: list[EncoderLayer],
        evidence: Evidence,
    ) -> dict[PartGroup, Tensor]:
        """The numbers of each layer's heads that stay; empty where all do."""
        if self.heads is None:
            return {}
        scores = self.scores(student, [layer.heads for layer in layers], evidence)
        if shared_biases(student):
            scores = shared_scores(scores)
        return choose(scores, self.heads, "heads")

    def kept_units(
        self,
        student: nn.Module,
        layers: list[EncoderLayer],
        evidence: Evidence,
    ) -> dict[PartGroup, Tensor]:
        """The numbers of each layer's units that stay; empty where all do."""
        if self.intermediate is None:
            return {}
        scores = self.scores(student, [layer.units for layer in layers], evidence)
        return choose(scores, self.intermediate, "intermediate")

    def scores(
        self,
        student: nn.Module,
        groups: list[PartGroup],
        evidence: Evidence,
    ) -> dict[PartGroup, Tensor]:
        """(P) how much each part of each group counts."""
        if self.importance == "magnitude":
            return {group: magnitude(student, group) for group in groups}
        sizes = {group.reads: group.size for group in groups}
        by_reader = importance(student, sizes, evidence, self.importance)
        return {group: by_reader[group.reads] for group in groups}


def shared_biases(model: nn.Module) -> list[nn.Embedding]:
    """Position biases that hold a column for each head, the same for every layer."""
    biases = []
    for name, module in model.named_modules():
        is_bias = name.rpartition(".")[2] == SHARED_BIAS
        if is_bias and isinstance(module, nn.Embedding):
            biases.append(module)
    return biases


def magnitude(model: nn.Module, group: PartGroup) -> Tensor:
    """(P) the norm of all weights that go with a part."""
    squares = wide(reader(model, group.reads).weight.detach()).square().sum(0)
    for name in group.makes:
        squares = squares + wide(reader(model, name).weight.detach()).square().sum(1)
    return squares.unflatten(0, (-1, group.size)).sum(1).sqrt()


def shared_scores(scores: dict[PartGroup, Tensor]) -> dict[PartGroup, Tensor]:
    """The sum over the layers, each scaled to norm 1, for every layer."""
    # Unscaled, a layer with large activations would choose for all; the bound keeps a layer whose
    # scores are all 0 from 0 / 0.
    scaled = [values / values.norm().clamp_min(1e-30) for values in scores.values()]
    return dict.fromkeys(scores, torch.stack(scaled).sum(0))


def choose(
    scores: dict[PartGroup, Tensor],
    count: int,
    key: str,
) -> dict[PartGroup, Tensor]:
    """The numbers of the `count` parts of each group that count most, in order.

    Raises ValueError where a group has not so many. `key`: the recipe's.
    """
    kept = {}
    for group, values in scores.items():
        if not 1 <= count <= len(values):
            raise ValueError(
                f"prune_width: {key}: cannot keep {count} of {len(values)} (`{group.reads}`)"
            )
        # In order, so that keeping all parts changes nothing.
        kept[group] = values.topk(count).indices.sort().values
    return kept


def keep_parts(
    model: nn.Module,
    group: PartGroup,
    numbers: Tensor,
) -> None:
    """Leave the other parts out of every matrix, in place. `numbers`: of those that stay."""
    # Part p is columns p size to (p + 1) size, one after the other.
    within = torch.arange(group.size, device=numbers.device)
    columns = (numbers.unsqueeze(1) * group.size + within).flatten()
    last = reader(model, group.reads)
    put(last, "weight", last.weight.detach()[:, columns].clone())
    last.in_features = len(columns)
    for name in group.makes:
        maker = reader(model, name)
        put(maker, "weight", maker.weight.detach()[columns].clone())
        if maker.bias is not None:
            put(maker, "bias", maker.bias.detach()[columns].clone())
        maker.out_features = len(columns)


def tell_heads(
    model: nn.Module,
    layers: list[EncoderLayer],
    count: int,
    numbers: Tensor,
) -> None:
    """Let attention modules, and a bias that the layers share, know their heads.

    The config cannot know: it takes D / heads for the size of a head.
    """
    for layer in layers:
        module: Any = model.get_submodule(layer.attention)
        attributes = vars(module)
        # Families call them differently.
        for name in HEAD_COUNTS:
            if name in attributes:
                setattr(module, name, count)
        for name in HEAD_WIDTHS:
            if name in attributes:
                setattr(module, name, count * layer.heads.size)
    for bias in shared_biases(model):
        put(bias, "weight", bias.weight.detach()[:, numbers].clone())
        bias.embedding_dim = count


def tell_units(model: nn.Module, count: int) -> None:
    """Let the config of a transformers model know the number of units."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return
    known = config.to_dict()
    for name in UNIT_COUNTS:
        if name in known:
            setattr(config, name, count)
