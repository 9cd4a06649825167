"""Keep some of the teacher's layers, in their order; keeping all of them gives the teacher itself.
Which:

    even         evenly spaced, the last one kept (DistilBERT, Sanh et al., 2019, arXiv 1910.01108,
                 section 3; evenly as in Fan, Grave and Joulin, 2020, arXiv 1909.11556)
    first, last  those next to the input, or to the output (Sajjad et al., 2020, arXiv 2004.03844:
                 top-layer and bottom-layer dropping)
    importance   those that change most what they read: 1 - E cos(x, layer(x)) over the tokens of
                 some training rows (block influence of ShortGPT, Men et al., 2024, arXiv
                 2403.03853, equation 1)
    greedy       those that are left when layers go one after another, each time the one without
                 which 1 - E cos(what the last layer makes, the same of the whole model) is least
                 (SLEB, Song et al., 2024, arXiv 2402.09025, section 4, by perplexity there)

Importance is found once, of all layers in the whole teacher, as in ShortGPT: it costs a forward
over 256 rows. Two layers that do the same are each of no importance; greedy takes one of them. It
costs about L (L - kept) / 4 forwards and more, over few rows (some 1,000 tokens, or 64 images).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.models.anatomy.dataflow import tensors_in
from limbeck.models.anatomy.decoder import is_causal
from limbeck.models.anatomy.layers import blocks, evenly
from limbeck.models.running import run_model
from limbeck.models.torch_batches import device_of
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._importance import wide
from limbeck.tasks import Batch

# Parameters that a first layer may have more or fewer than the others: a norm has two, a table one.
MOST_APART = 2

# By a layer's number: what it reads, and what it makes.
Pairs = dict[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class DropLayers:
    """Keys:

    - `layers`: how many to keep.
    - `keep`: which: `even`, `first`, `last`, `importance` or `greedy`, as above.
    """

    layers: int
    keep: Literal["even", "first", "last", "importance", "greedy"] = "even"

    files: ClassVar[tuple[str, ...]] = ()

    @property
    def reads_rows(self) -> bool:
        return self.keep in ("importance", "greedy")

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A copy of `teacher` with `layers` of its layers.

        Raises ValueError where it has fewer, or layers of several shapes.
        """
        student = copy.deepcopy(teacher)
        names = blocks(student)
        num_passes = passes(student, names)
        if num_passes > len(names):
            return Cut(with_fewer_passes(student, self.layers, num_passes, len(names)))
        # Before anything is chosen: it refuses a number of layers that cannot be kept.
        kept = evenly(self.layers, len(names))
        if self.layers < len(names):
            first = num_first(student, names)
            others = self.chosen(student, names[first:], self.layers - first, evidence)
            kept = [*range(first), *(first + number for number in others)]
        keep_layers(student, names, kept)
        return Cut(student)

    def chosen(
        self,
        student: nn.Module,
        names: Sequence[str],
        count: int,
        evidence: Evidence,
    ) -> list[int]:
        """The numbers of the `count` layers among `names` that stay."""
        num_layers = len(names)
        if count == 0 or self.keep == "first":
            return list(range(count))
        if self.keep == "last":
            return list(range(num_layers - count, num_layers))
        if self.keep == "even":
            return evenly(count, num_layers)
        if self.keep == "greedy":
            few = evidence.few_batches_on(device_of(student))
            return least_missed_out(student, names, count, few)
        batches = evidence.batches_on(device_of(student))
        # In the teacher's order: `topk` gives them by importance.
        most = influence(student, names, batches).topk(count)
        return sorted(most.indices.cpu().tolist())


def passes(model: nn.Module, names: Sequence[str]) -> int:
    """How many layers a forward goes through, `names` those that have weights: ALBERT goes through
    one of them again and again (Lan et al., 2020, arXiv 1909.11942, section 3.1)."""
    config = getattr(model, "config", None)
    if getattr(config, "num_hidden_groups", None) is None:
        return len(names)
    return max(len(names), int(getattr(config, "num_hidden_layers", 0)))


def with_fewer_passes(
    student: Any,
    wanted: int,
    num_passes: int,
    num_layers: int,
) -> nn.Module:
    """`student`, changed in place to go through its one layer `wanted` times.

    Raises ValueError where it has fewer passes, or several layers that are shared.
    """
    # It refuses a number that cannot be kept.
    evenly(wanted, num_passes)
    if num_layers > 1 and wanted < num_passes:
        raise ValueError(
            f"drop_layers: the {num_passes} passes of {type(student).__name__} share {num_layers} "
            "layers, so none can be left out"
        )
    student.config.num_hidden_layers = wanted
    return student


def num_first(model: nn.Module, names: Sequence[str]) -> int:
    """How many layers at the beginning stay in any case: 1 where the first one alone is made
    otherwise (ModernBERT's has no norm before its attention, T5's holds the table of distances that
    all read), else 0.

    Raises ValueError where the others differ in shape: what one makes, not every other reads. So
    too where a layer's parts lie in several lists side by side (XLM's do), of which one alone would
    be cut.
    """
    around = model.get_submodule(names[0].rpartition(".")[0].rpartition(".")[0])
    lists = [each for each in around.children() if isinstance(each, nn.ModuleList)]
    if sum(len(each) == len(names) for each in lists) > 1:
        raise ValueError(
            f"drop_layers: the layers of {type(model).__name__} lie in several lists side by side, "
            "so none can be left out"
        )
    first, *others = [shapes_of(model.get_submodule(name)) for name in names]
    # Layers of one shape read and make tensors of one shape, so any may follow any other.
    if all(each == first for each in others):
        return 0
    # By name: a kernel of a stage that has one tensor more, or wider ones, is no such first layer.
    alike = [first[key] == shape for key, shape in others[0].items() if key in first]
    is_first_apart = all(each == others[0] for each in others) and all(alike)
    is_nearly_alike = len(first.keys() ^ others[0].keys()) <= MOST_APART
    if not (is_first_apart and is_nearly_alike):
        raise ValueError(
            f"drop_layers: the layers of {type(model).__name__} differ in shape, "
            "so none can be left out"
        )
    return 1


def shapes_of(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a layer, by its name within."""
    return {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}


def keep_layers(
    student: nn.Module,
    names: Sequence[str],
    kept: Sequence[int],
) -> None:
    """Leave the other layers out, in place. `names`: of all layers; `kept`: their numbers."""
    layers = [student.get_submodule(names[index]) for index in kept]
    for number, layer in enumerate(layers):
        renumber(layer, number)
    list_name = names[0].rpartition(".")[0]
    student.set_submodule(list_name, nn.ModuleList(layers))
    # A model of transformers; our networks have no config.
    config = getattr(student, "config", None)
    if config is not None:
        for key in lists_by_layer(config, len(names)):
            values = getattr(config, key)
            setattr(config, key, [values[index] for index in kept])
        count_layers(student, len(names), len(kept))
        keep_stages(config, len(names), len(kept))
        # A model that was made to generate and classifies here needs no keys and values of earlier
        # tokens.
        if not is_causal(student):
            config.use_cache = False


def renumber(layer: nn.Module, number: int) -> None:
    """Let the modules of a layer know its number: by it a model that generates finds the keys and
    values of earlier tokens."""
    module: Any
    for module in layer.modules():
        if "layer_idx" in vars(module):
            module.layer_idx = number


def count_layers(student: Any, num_layers: int, num_kept: int) -> None:
    """Let the config say how many layers there are, where it is these that it counts: a decoder's,
    or those of one stage, are known by structure.json alone.

    Raises ValueError where it counts them in parts.
    """
    if getattr(student.config, "num_hidden_layers", None) != num_layers:
        return
    try:
        student.config.num_hidden_layers = num_kept
    except NotImplementedError:
        # Funnel counts its layers by block, between which texts grow shorter.
        raise ValueError(
            f"drop_layers: the layers of {type(student).__name__} lie in blocks that its config "
            "counts one by one, so none can be left out"
        ) from None


def keep_stages(config: Any, num_layers: int, num_kept: int) -> None:
    """Let a config name as many stages as there are layers (BEiT, DINOv2): it names one of them,
    the last, as what a backbone gives, and is not read again where that is gone."""
    stages = getattr(config, "stage_names", None)
    if stages is not None and len(stages) == num_layers + 1:
        config.stage_names = stages[: num_kept + 1]
        config.set_output_features_output_indices(None, None)


def lists_by_layer(config: Any, num_layers: int) -> list[str]:
    """The keys of a config that have a value for each layer, such as `layer_types`: which of them
    attend to neighbours alone."""
    found = []
    for key, value in config.to_dict().items():
        is_by_layer = "layer" in key or key == "attention_window"
        if is_by_layer and isinstance(value, list) and len(value) == num_layers:
            found.append(key)
    return found


def influence(
    model: nn.Module,
    names: Sequence[str],
    batches: Sequence[Batch],
) -> Tensor:
    """(L) 1 - E cos(x, layer(x)) of each layer, over every token (or pixel) that counts.

    In eval mode; `batches` lie on the model's device, and so does the result.
    """
    was_training = model.training
    model.eval()
    total_changes: Tensor | None = None
    num_counted = 0.0
    for batch in batches:
        pairs = run_keeping_pairs(model, names, batch)
        similar = torch.stack([similarity(*pairs[index]) for index in range(len(names))])
        changes, counted = changes_of(similar, batch)
        total_changes = changes if total_changes is None else total_changes + changes
        num_counted += counted
    model.train(was_training)
    assert total_changes is not None
    return total_changes / num_counted


def least_missed_out(
    model: nn.Module,
    names: Sequence[str],
    count: int,
    batches: Sequence[Batch],
) -> list[int]:
    """The numbers of the `count` layers that stay where they go one by one, each time the one that
    is missed least. `batches` lie on the model's device."""
    was_training = model.training
    model.eval()
    layers = [model.get_submodule(name) for name in names]
    # What each layer makes, by batch: in the whole model, and among those that are left.
    whole = [outputs_of(model, layers, batch, {}) for batch in batches]
    left = whole
    kept = list(range(len(layers)))
    gone: list[int] = []
    while len(kept) > count:
        missed = []
        for number in kept:
            total, num_counted = 0.0, 0.0
            for batch, of_whole, of_left in zip(batches, whole, left, strict=True):
                out = {index: passing(of_whole[index]) for index in (*gone, number)}
                # What lies before is as it was.
                before = {index: giving(of_left[index]) for index in range(number)}
                last = outputs_of(model, layers, batch, out | before)[-1]
                similar = similarity(hidden_of(of_whole[-1]), hidden_of(last))
                turned, counted = changes_of(similar[None], batch)
                total += float(turned)
                num_counted += counted
            missed.append(total / num_counted)
        gone.append(kept.pop(missed.index(min(missed))))
        left = [
            outputs_of(model, layers, batch, {index: passing(of_whole[index]) for index in gone})
            for batch, of_whole in zip(batches, whole, strict=True)
        ]
    model.train(was_training)
    return kept


def changes_of(similar: Tensor, batch: Batch) -> tuple[Tensor, float]:
    """((K) the sums of 1 - cos over what counts, how many tokens or pixels that are), of K times
    the cosines of tokens (K, B, T), or of pixels (K, B, H, W)."""
    similar = wide(similar)
    token_mask = batch.inputs.get("attention_mask")
    counts = similar.new_ones(similar.shape[1:]) if token_mask is None else token_mask
    # Images have no mask: every pixel counts.
    counts = counts.expand(similar.shape[1:])
    return ((1 - similar) * counts).flatten(1).sum(1), float(counts.sum())


def outputs_of(
    model: nn.Module,
    layers: Sequence[nn.Module],
    batch: Batch,
    others: Mapping[int, Callable[..., Any]],
) -> list[Any]:
    """What each of `layers` makes in a forward. others: by its number, what is called in the place
    of a layer."""
    made: dict[int, Any] = {}
    handles = []
    for index, layer in enumerate(layers):
        handles.append(layer.register_forward_hook(partial(keep_output, made, index)))
        # The layer itself stays: its model may read more of it, such as how it attends.
        if index in others:
            layer.forward = others[index]
    with torch.no_grad():
        # No logits are wanted: a vocabulary's take as long as several layers.
        run_model(model, batch, project_later=True)
    for handle in handles:
        handle.remove()
    for index in others:
        del layers[index].forward
    return [made[index] for index in range(len(layers))]


def keep_output(made: dict[int, Any], index: int, layer: nn.Module, read: Any, output: Any) -> None:
    """A hook that leaves what a layer makes in `made`."""
    made[index] = output


def passing(output: Any) -> Callable[..., Any]:
    """What gives what it reads, in the form of what a layer makes."""

    def forward(*inputs: Any, **named: Any) -> Any:
        read = next(tensors_in([*inputs, *named.values()]))
        return (read, *output[1:]) if isinstance(output, tuple) else read

    return forward


def giving(output: Any) -> Callable[..., Any]:
    """What gives an output that was made before."""
    return lambda *inputs, **named: output


def hidden_of(output: Any) -> Tensor:
    """The hidden states of what a layer makes."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def similarity(read: Tensor, made: Tensor) -> Tensor:
    """(B, T) the cosine of tokens (B, T, D), or (B, H, W) of pixels (B, C, H, W)."""
    # Channels come second in maps and last in hidden states.
    axis = 1 if read.ndim == 4 else -1
    return functional.cosine_similarity(read, made, dim=axis)


def run_keeping_pairs(
    model: nn.Module,
    names: Sequence[str],
    batch: Batch,
) -> Pairs:
    """What each layer reads and makes in a forward."""
    pairs: Pairs = {}
    handles = []
    for index, name in enumerate(names):
        layer = model.get_submodule(name)
        handles.append(layer.register_forward_hook(keep_pair(index, pairs), with_kwargs=True))
    with torch.no_grad():
        run_model(model, batch)
    for handle in handles:
        handle.remove()
    return pairs


def keep_pair(index: int, pairs: Pairs) -> Callable[..., None]:
    """A hook that leaves what a layer reads and makes in `pairs`."""

    def hook(
        module: nn.Module,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        output: Any,
    ) -> None:
        # The hidden states come first, by place or by name.
        read = next(tensors_in([*inputs, *named.values()]))
        pairs[index] = (read, hidden_of(output))

    return hook
