"""A module of the user's own as teacher or student:
`limbeck.run(recipe, out, models={"mine": Own(module)})`, and `model: mine` in the recipe.

The module is called as every model is, with the task's inputs by name (`pixel_values`, or
`input_ids` and `attention_mask`), and gives logits: (B, V), or (B, T, V) for tags, as a tensor or
as what is called `logits` in a dict or a dataclass. A module that is called otherwise needs an
adaptor of five lines:

    class Adapted(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, pixel_values):
            return self.network(pixel_values)["scores"]

Its weights are where the training starts, in float32; the module itself is never changed. What
`torch.compile` has put around it is left out, as it computes the same. Losses find tensors
inside it by module name (`distill.losses.hidden.map`).
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from limbeck.core import plug_ins, registry
from limbeck.models import networks
from limbeck.models.anatomy.probe import (
    FAULTS,
    check_answers,
    check_shape,
    check_step,
    norms_of_a_batch,
    said,
    said_where,
)
from limbeck.models.anatomy.split_attention import split_attention
from limbeck.models.create import is_network
from limbeck.models.published.complete import check_finite
from limbeck.models.published.vocabulary import check_vocabulary
from limbeck.models.running import call, logits_of, run_model
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.models.weights import content_of, model_state
from limbeck.tasks import Encoded, Task

# What a module that cannot be called is told.
WRAP = "Wrap it; see limbeck.models.user_model"

# The same for a network of a plug-in.
NETWORK = (
    "A network's forward takes `pixel_values` (B, C, H, W), of any size, and gives logits (B, V): "
    "see limbeck.models.networks.Network"
)
TEXT_NETWORK = (
    "A network of texts takes `input_ids` and `attention_mask` (B, T), of any length, and gives "
    "logits (B, V), or (B, T, V) for words: see limbeck.models.networks.TextNetwork"
)

# The part of what `torch.compile` returns that is the module.
COMPILED = "_orig_mod"

# Labels of the data that a message shows.
SHOWN_LABELS = 12


@dataclass(frozen=True, repr=False)
class Own:
    """`module`: the user's. `tokenizer`: for a task on text, the folder or hub id of the tokenizer
    that the module was made for. `version`: what its code is called, where limbeck cannot read it
    (a class typed into an interpreter, or compiled): say another one after each change.

    Example:
        >>> own = Own(torch.nn.Linear(4, 2))
        >>> own.create() is own.module
        False
    """

    module: nn.Module
    tokenizer: str | None = None
    version: str | None = None

    def __repr__(self) -> str:
        rest = "".join(f", {word}" for word in (self.tokenizer, self.version) if word)
        return f"<limbeck model {type(self.module).__name__}{rest}>"

    def create(self) -> nn.Module:
        """A copy to train, whose weights are plain parameters (`with_plain_weights`), those of
        attention in linear layers (`split_attention`).

        Raises ValueError where the module cannot be copied.
        """
        # In eval mode torch's own transformer layers would compute past the modules inside them,
        # and so past what quantization puts in their place.
        torch.backends.mha.set_fastpath_enabled(False)
        return split_attention(with_plain_weights(copied(self.module)))

    def reference(self) -> dict[str, Any]:
        """What the module is, as part of a cache key: a digest of how it prints, and its weights.

        What it does with them is said beside it (`pipeline.code.own_code`).
        """
        # How it prints tells layers apart that have the same weights, such as two activations.
        sha = hashlib.sha256(repr(self.module).encode())
        for name, tensor in model_state(self.module).items():
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(content_of(tensor))
        return {"own": sha.hexdigest()}

    def check(
        self,
        task: Task,
        encoded: Sequence[Encoded],
        name: str,
        *,
        is_trained: bool = True,
        cure: str = WRAP,
    ) -> None:
        """One forward on two rows, and where it `is_trained` a training step without its end.

        `name`: what the recipe calls the model. `cure`: the line to write where it is not called
        as models are.

        Raises ValueError where the module cannot be called so, or its logits are of another shape.
        """
        if is_trained:
            check_precision(self.module, name)
        device = device_of(self.module)
        alone, batch = [
            to_device(batch_of(encoded, np.arange(count), task.padding), device)
            for count in (1, len(encoded[:2]))
        ]
        model = self.create().eval()
        check_vocabulary(model, task, encoded, name)
        try:
            with torch.no_grad():
                # A `squeeze` takes the axis of the rows along where there is one.
                for each in (alone, batch):
                    check_shape(logits_of(call(model, each)), each)
                outputs = run_model(model, batch)
        # What a call with other inputs, or an output without logits, raises; and what the module
        # raises by itself.
        except FAULTS as error:
            inputs = ", ".join(batch.inputs)
            reason = plug_ins.blame(error) or f"{type(error).__name__}: {said_where(error)}"
            narrow = not_float32(model)
            if narrow:
                cure = f"Its `{narrow}` is no float32, as inputs are: hand over `module.float()`"
            raise ValueError(
                f"model `{name}`: cannot be called with {inputs} to give logits: {reason}. "
                f"{norms_of_a_batch(model) or cure}"
            ) from None
        num_logits = outputs.logits.shape[-1]
        num_labels = len(task.labels)
        # An encoder's output is a vector of any width.
        is_encoder = task.auto_model == "AutoModel"
        if num_logits != num_labels and not is_encoder:
            raise ValueError(
                f"model `{name}`: its logits have {num_logits} values, but the data has "
                f"{num_labels} labels ({', '.join(task.labels[:SHOWN_LABELS])}). Give its last "
                "layer one output for each"
            )
        if not outputs.logits[outputs.mask].isfinite().all():
            raise ValueError(
                f"model `{name}`: its logits on two rows hold a NaN or an infinity, though its "
                "weights hold none. Look at what its forward divides by"
            )
        check_answers(model, task, encoded, name)
        if is_trained:
            check_step(model, batch, name)


def check_precision(module: nn.Module, name: str) -> None:
    """Refuse to train weights that are no float32. Raises ValueError."""
    wrong = not_float32(module)
    if wrong:
        raise ValueError(
            f"model `{name}`: its `{wrong}` is {module.get_parameter(wrong).dtype}, and weights "
            "are trained as float32 (`train.dtype` says what is multiplied in). Hand over "
            "`module.float()`; a forward that turns its inputs to another type is to leave them"
        )


def not_float32(module: nn.Module) -> str | None:
    """The first parameter that learns and is of another type than float32; None without one."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            return name
    return None


def uncompiled(module: nn.Module) -> nn.Module:
    """The module without what `torch.compile` has put around it, or around its parts: that computes
    the same, cannot be read, and hides layers from a quantization. Itself where nothing has.

    Raises ValueError where the module cannot be copied.
    """
    module = module._modules.get(COMPILED) or module
    # By `module.compile()` the compiled call is kept inside; torch leaves it out of copies.
    is_within = any(vars(part).get("_compiled_call_impl") for part in module.modules())
    around = [name for name, part in module.named_modules() if COMPILED in part._modules]
    if not (is_within or around):
        return module
    module = copied(module)
    for name in around:
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, module.get_submodule(f"{name}.{COMPILED}"))
    return module


def copied(module: nn.Module) -> nn.Module:
    """A copy of a module; the module is not changed. Raises ValueError where torch makes none."""
    # Tensors with a history, which torch does not copy: a forward has left them (`weight_norm`, or
    # attention that is kept to be looked at), and computes them anew.
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    # A lock, a stream, or a tensor with a history that lies deeper.
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(module).__name__} cannot be copied, and limbeck trains a copy: {said(error)}. "
            "Let it hold modules, parameters, buffers and plain values alone"
        ) from None


def with_plain_weights(module: nn.Module) -> nn.Module:
    """`module`, in place, with every weight that is computed from others (`weight_norm`,
    `spectral_norm`, any parametrization) as the parameter that it comes to.

    What is quantized is the weight; it is trained as itself, from the same start.
    """
    for part in module.modules():
        if parametrize.is_parametrized(part):
            leave_parametrizations(part)
    for part, hook in older_norms(module):
        remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
        remove(part, hook.name)
    return module


def leave_parametrizations(part: nn.Module) -> None:
    """Let a module hold what its parametrizations come to.

    torch's `remove_parametrizations` also takes the name off the class, which a copy shares with
    the module that it is of: that one could no longer be called.
    """
    weights = {}
    for name, sources in part.get_submodule("parametrizations").named_children():
        weight = getattr(part, name).detach().clone()
        is_trained = any(source.requires_grad for source in sources.parameters(recurse=False))
        weights[name] = nn.Parameter(weight, requires_grad=is_trained)
    # The class that torch has put before it; its only base is the module's own.
    part.__class__ = type(part).__bases__[0]
    del part._modules["parametrizations"]
    for name, parameter in weights.items():
        part.register_parameter(name, parameter)


def older_norms(module: nn.Module) -> list[tuple[nn.Module, WeightNorm | SpectralNorm]]:
    """The parts of a module with a weight that an older norm of torch computes before a call."""
    found: list[tuple[nn.Module, WeightNorm | SpectralNorm]] = []
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm):
                found.append((part, hook))
    return found


def wrapped(models: Mapping[str, nn.Module | Own] | None) -> dict[str, Own]:
    """Modules as a caller gives them, each as an `Own`."""
    owns = {}
    for name, model in (models or {}).items():
        own = model if isinstance(model, Own) else Own(model)
        check_made(own.module, name)
        owns[name] = replace(own, module=uncompiled(own.module))
    return owns


def check_made(module: nn.Module, name: str) -> None:
    """Refuse what is no module, or has weights that are no numbers, or are not there yet.

    Raises ValueError.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"model `{name}`: {type(module).__name__} is no torch.nn.Module. Give the module "
            "itself, or limbeck.Own(module, tokenizer=FOLDER)"
        )
    for part, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"model `{name}`: `{part}` has no size yet (a lazy layer). Call the module once "
                "on a batch, and hand it over then"
            )
        if tensor.is_meta:
            raise ValueError(
                f"model `{name}`: `{part}` has a shape and no values (it lies on torch's device "
                "`meta`). Load its weights, as by load_state_dict(weights, assign=True), and hand "
                "it over then"
            )
    check_finite(module, f"model `{name}`")


def check_created(
    model: nn.Module,
    task: Task,
    rows: Sequence[dict[str, Any]],
    name: str,
    *,
    is_trained: bool = True,
) -> None:
    """Look at a model that a recipe names, by some rows; networks of ours are tested.

    `is_trained`: whether its weights are to be.

    Raises ValueError for a model that cannot be called, or answers otherwise than a row at a time.
    """
    if not is_network(name):
        encoded = task.encode(rows)
        check_vocabulary(model, task, encoded, name)
        check_answers(model, task, encoded, name)
    # Somebody else's may be as wrong as a module that is handed over.
    elif registry.package_of("networks", name):
        check_made(model, name)
        # The run's own random numbers must not move.
        with torch.random.fork_rng(devices=[]):
            own = Own(model)
            cure = TEXT_NETWORK if networks.reads_texts(name) else NETWORK
            own.check(task, task.encode(rows), name, is_trained=is_trained, cure=cure)
