"""Narrower layers of a causal language model: fewer query heads, keys and values, feed-forward
units and residual channels (Muralidharan et al., 2024, arXiv 2407.14679, sections 2.1 and 2.2).

    a head      its outputs of query; its group's outputs of key and value, once no head of the
                group is left; its inputs of the output projection. Its own width, and so the
                rotary positions, stay whole
    a unit      its outputs of the layers that make it (two with a gate), its input of the one that
                reads it
    a channel   its place in every table, norm and linear layer along the residual stream

Heads and units are chosen by each layer for itself, channels by all layers together: each one's
scores are scaled to norm 1 and added. Norms take their mean over the channels that are left.

Shapes: H heads, G groups that share keys and values, P parts, D the residual stream.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.decoder import (
    DecoderLayer,
    Parts,
    decoder_layer,
    few_tokens,
)
from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.linear import axes_of
from limbeck.models.anatomy.residual import residual_axes
from limbeck.surgeries import Evidence
from limbeck.surgeries._importance import importance, wide
from limbeck.surgeries._rebuilt import Kept, keep, keep_inputs, keep_outputs, rebuilt

# What configs call the number of units.
UNIT_COUNTS = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")

# What OPT calls the width of its table, which is that of the model or smaller.
TABLE_WIDTH = "word_embed_proj_dim"

# Of the largest logit. Sums in another order differ by 1e-6 of it.
TOLERANCE = 1e-3


class HeadCounts(NamedTuple):
    """How many heads stay: `groups` groups of `per_group` each."""

    groups: int
    per_group: int


@dataclass(frozen=True)
class DecoderCut:
    """What is asked of a decoder; None leaves a number as it is. `importance`: see
    `PruneWidth`."""

    heads: int | None
    intermediate: int | None
    key_value_heads: int | None
    hidden: int | None
    importance: Literal["gradient", "activation", "magnitude"]

    def cut(
        self,
        teacher: Any,
        evidence: Evidence,
    ) -> nn.Module:
        """A narrower copy of `teacher`.

        Raises ValueError for a model that is built otherwise, and for more than there is to keep.
        """
        layer = decoder_layer(teacher)
        kept: Kept = {}
        # All is judged in the whole teacher, before any of it is cut.
        silenced = self.keep_parts(teacher, layer, evidence, kept)
        if self.hidden is not None:
            self.keep_channels(teacher, layer, evidence, kept)
        head_size = layer.heads.size
        sizes = self.sizes(teacher.config, layer)
        student = rebuilt(teacher, kept, sizes, "prune_width", head_size=head_size)
        if self.hidden is None:
            check_same(teacher, student, silenced)
        return student

    def keep_parts(
        self,
        teacher: Any,
        layer: DecoderLayer,
        evidence: Evidence,
        kept: Kept,
    ) -> dict[str, Tensor]:
        """Choose heads and units of every layer. Returns what stays of the inputs of their
        readers."""
        readers: dict[str, Tensor] = {}
        counts = self.counts(teacher.config, layer)
        by_heads: dict[str, Tensor] = {}
        by_units: dict[str, Tensor] = {}
        if counts:
            by_heads = self.scores(teacher, layer.heads, evidence)
        if self.intermediate is not None:
            by_units = self.scores(teacher, layer.units, evidence)
        for name in blocks(teacher):
            if counts:
                numbers = chosen_heads(by_heads[name], counts, layer.num_groups)
                readers |= keep_of_layer(teacher, name, layer.heads, numbers, kept)
            if self.intermediate is not None:
                numbers = chosen(by_units[name], self.intermediate, "intermediate", name)
                readers |= keep_of_layer(teacher, name, layer.units, numbers, kept)
        return readers

    def counts(
        self,
        config: Any,
        layer: DecoderLayer,
    ) -> HeadCounts | None:
        """How many heads stay, in which groups; None where all do.

        Where only `heads` is given, whole groups go if that gives the number, or else the same
        number of each.
        """
        if self.heads is None and self.key_value_heads is None:
            return None
        num_groups = layer.num_groups
        per_group = config.num_attention_heads // num_groups
        groups = self.key_value_heads
        heads = groups * per_group if self.heads is None and groups else self.heads
        assert heads is not None
        if groups is None:
            groups = heads // per_group if heads % per_group == 0 else num_groups
        is_whole = 1 <= groups <= num_groups and heads % groups == 0
        if not is_whole or not 1 <= heads // groups <= per_group:
            raise ValueError(
                f"prune_width: heads: cannot keep {heads} in {groups} groups: "
                f"{type(config).__name__.removesuffix('Config')} has {num_groups} groups of "
                f"{per_group} heads, which share keys and values. Take a multiple of {per_group}, "
                f"or of {num_groups}, or name key_value_heads too"
            )
        return HeadCounts(groups, heads // groups)

    def scores(
        self,
        teacher: Any,
        parts: Parts,
        evidence: Evidence,
    ) -> dict[str, Tensor]:
        """(P) by layer, how much each head or unit counts."""
        names = blocks(teacher)
        if self.importance == "magnitude":
            return {name: magnitude(teacher, name, parts) for name in names}
        sizes = {f"{name}.{parts.reader}": parts.size for name in names}
        found = importance(teacher, sizes, evidence, self.importance)
        return {name: found[f"{name}.{parts.reader}"] for name in names}

    def keep_channels(
        self,
        teacher: Any,
        layer: DecoderLayer,
        evidence: Evidence,
        kept: Kept,
    ) -> None:
        """Choose channels of the residual stream, the same for all layers."""
        assert self.hidden is not None
        axes = residual_axes(teacher, layer)
        if self.importance == "magnitude":
            scores = squares(teacher, axes)
        else:
            # What the first of those layers reads that read the residual stream, norms included.
            names = []
            for name in blocks(teacher):
                for parts in (layer.heads, layer.units):
                    names.append(f"{name}.{next(iter(parts.makers))}")
            found = importance(teacher, dict.fromkeys(names, 1), evidence, self.importance)
            # Unscaled, a layer with large activations would choose for all.
            scaled = []
            for each in found.values():
                # The bound keeps a layer whose scores are all 0 from 0 / 0.
                scaled.append(each / each.norm().clamp_min(1e-30))
            scores = torch.stack(scaled).sum(0)
        numbers = chosen(scores, self.hidden, "hidden", "the residual stream")
        for name, axis in axes.items():
            keep(kept, name, axis, numbers)

    def sizes(
        self,
        config: Any,
        layer: DecoderLayer,
    ) -> dict[str, int]:
        """The config's keys that change."""
        known = config.to_dict()
        sizes = {}
        counts = self.counts(config, layer)
        if counts:
            sizes["num_attention_heads"] = counts.groups * counts.per_group
            if known.get("num_key_value_heads") is not None:
                sizes["num_key_value_heads"] = counts.groups
        if self.intermediate is not None:
            for key in UNIT_COUNTS:
                if key in known:
                    sizes[key] = self.intermediate
        if self.hidden is not None:
            sizes["hidden_size"] = self.hidden
            # GPT-2 has four times its width of units unless its config says how many.
            if self.intermediate is None and "n_inner" in known:
                sizes["n_inner"] = known["n_inner"] or 4 * config.hidden_size
            if known.get(TABLE_WIDTH) == config.hidden_size:
                sizes[TABLE_WIDTH] = self.hidden
        return sizes


def keep_of_layer(
    teacher: Any,
    layer: str,
    parts: Parts,
    numbers: Tensor,
    kept: Kept,
) -> dict[str, Tensor]:
    """Note which parts of a layer stay. Returns the inputs of their reader that do."""
    # Part p is inputs p size to (p + 1) size, one after the other.
    within = torch.arange(parts.size, device=numbers.device)
    starts = numbers.unsqueeze(1) * parts.size
    inputs = (starts + within).flatten()
    reader = f"{layer}.{parts.reader}"
    keep_inputs(kept, teacher, reader, inputs)
    for maker, rows in parts.makers.items():
        # In order and once: heads of a group share keys and values.
        outputs = rows[numbers].flatten().unique()
        keep_outputs(kept, teacher, f"{layer}.{maker}", outputs)
    return {reader: inputs}


def chosen_heads(
    scores: Tensor,
    counts: HeadCounts,
    num_groups: int,
) -> Tensor:
    """The numbers of the heads that stay: of the groups that count most those that do."""
    by_group = scores.view(num_groups, -1)
    groups = by_group.sum(1).topk(counts.groups).indices
    # In order, so that keeping all heads changes nothing.
    groups = groups.sort().values
    within = by_group[groups].topk(counts.per_group).indices
    within = within.sort(1).values
    starts = groups.unsqueeze(1) * by_group.shape[1]
    return (starts + within).flatten()


def chosen(
    scores: Tensor,
    count: int,
    key: str,
    where: str,
) -> Tensor:
    """The numbers of the `count` parts that count most, in order. Raises ValueError where there are
    not so many."""
    if not 1 <= count <= len(scores):
        raise ValueError(f"prune_width: {key}: cannot keep {count} of {len(scores)} (`{where}`)")
    return scores.topk(count).indices.sort().values


def magnitude(
    teacher: Any,
    layer: str,
    parts: Parts,
) -> Tensor:
    """(P) the norm of all weights that would go with each part."""
    by_input = input_squares(teacher, f"{layer}.{parts.reader}")
    total = by_input.unflatten(0, (-1, parts.size)).sum(1)
    for maker, rows in parts.makers.items():
        by_output = output_squares(teacher, f"{layer}.{maker}")
        total = total + by_output[rows].sum(1)
    return total.sqrt()


def input_squares(
    teacher: Any,
    name: str,
) -> Tensor:
    """(in) the sum of squares of the weights that read each input of a linear layer."""
    axes = axes_of(teacher.get_submodule(name))
    assert axes is not None
    return squares(teacher, {f"{name}.weight": axes.inputs})


def output_squares(
    teacher: Any,
    name: str,
) -> Tensor:
    """(out) the sum of squares of the weights that make each output of a linear layer."""
    axes = axes_of(teacher.get_submodule(name))
    assert axes is not None
    return squares(teacher, {f"{name}.weight": axes.outputs})


def squares(
    teacher: Any,
    axes: dict[str, int],
) -> Tensor:
    """(D) sums of squares along one axis each of some tensors, added up."""
    state = teacher.state_dict()
    sums = []
    for name, axis in axes.items():
        values = wide(state[name].detach()).square()
        # The other axes, where there are any.
        for other in reversed(range(values.ndim)):
            if other != axis:
                values = values.sum(other)
        sums.append(values)
    return torch.stack(sums).sum(0)


def check_same(
    teacher: Any,
    student: Any,
    kept_inputs: dict[str, Tensor],
) -> None:
    """Raise ValueError where a student answers otherwise than its teacher does with the parts
    silenced that were cut: then something else hangs on their number.

    kept_inputs: by the name of a linear layer, which of its inputs stay.
    """
    tokens = few_tokens(teacher)
    handles = []
    for name, numbers in kept_inputs.items():
        module = teacher.get_submodule(name)
        handle = module.register_forward_pre_hook(silencing(numbers))
        handles.append(handle)
    was_training = teacher.training
    try:
        with torch.no_grad():
            expected = teacher.eval()(**tokens, use_cache=False).logits
            found = student.eval()(**tokens, use_cache=False).logits
    finally:
        teacher.train(was_training)
        student.train(was_training)
        for handle in handles:
            handle.remove()
    difference = (found - expected).abs().max()
    largest = expected.abs().max()
    if float(difference) > TOLERANCE * float(largest):
        raise ValueError(
            f"prune_width: without the parts that were cut, {type(teacher).__name__} answers "
            "otherwise than a model that has fewer of them: something in it hangs on their number. "
            "Take drop_layers"
        )


def silencing(numbers: Tensor) -> Any:
    """A hook that sets all inputs of a linear layer to 0 but these."""

    def hook(
        module: nn.Module,
        inputs: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        silenced = torch.zeros_like(inputs[0])
        silenced[..., numbers] = inputs[0][..., numbers]
        return (silenced, *inputs[1:])

    return hook
