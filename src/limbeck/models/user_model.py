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

Its weights are where the training starts; the module itself is never changed. Losses find tensors
inside it by module name (`distill.losses.hidden.map`).
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from limbeck.models.probe import FAULTS, check_answers, line_of, said
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.models.weights import model_state
from limbeck.tasks import Encoded, Task

# Labels of the data that a message shows.
SHOWN_LABELS = 12


@dataclass(frozen=True)
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

    def create(self) -> nn.Module:
        """A copy to train, whose weights are plain parameters (`with_plain_weights`)."""
        # In eval mode torch's own transformer layers would compute past the modules inside them,
        # and so past what quantization puts in their place.
        torch.backends.mha.set_fastpath_enabled(False)
        release_computed(self.module)
        return with_plain_weights(copy.deepcopy(self.module))

    def reference(self) -> dict[str, Any]:
        """What the module is, as part of a cache key: a digest of how it prints, and its weights.

        What it does with them is said beside it (`pipeline.own_code`).
        """
        # How it prints tells layers apart that have the same weights, such as two activations.
        sha = hashlib.sha256(repr(self.module).encode())
        for name, tensor in model_state(self.module).items():
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As bytes, since numpy lacks bfloat16.
            flat = tensor.cpu().contiguous().flatten()
            sha.update(flat.view(torch.uint8).numpy().tobytes())
        return {"own": sha.hexdigest()}

    def check(
        self,
        task: Task,
        encoded: Sequence[Encoded],
        name: str,
    ) -> None:
        """One forward on two rows. `name`: what the recipe calls the model.

        Raises ValueError where the module cannot be called so, or its logits are of another shape.
        """
        rows = np.arange(len(encoded[:2]))
        batch = to_device(batch_of(encoded, rows, task.padding), device_of(self.module))
        model = self.create().eval()
        try:
            with torch.no_grad():
                outputs = run_model(model, batch)
        # What a call with other inputs, or an output without logits, raises; and what the module
        # raises by itself.
        except FAULTS as error:
            inputs = ", ".join(batch.inputs)
            place = line_of(error)
            where = f" ({place})" if place else ""
            raise ValueError(
                f"model `{name}`: cannot be called with {inputs} to give logits: "
                f"{type(error).__name__}: {said(error)}{where}. "
                "Wrap it; see limbeck.models.user_model"
            ) from None
        num_logits = outputs.logits.shape[-1]
        num_labels = len(task.labels)
        # An encoder's output is a vector of any width.
        is_encoder = task.auto_model == "AutoModel"
        if num_logits != num_labels and not is_encoder:
            raise ValueError(
                f"model `{name}`: its logits have {num_logits} values, but the data has "
                f"{num_labels} labels ({', '.join(task.labels[:SHOWN_LABELS])})"
            )
        check_answers(model, task, encoded, name)


def release_computed(module: nn.Module) -> None:
    """Compute the weights of the older `weight_norm` anew, without their history: with it torch
    copies no tensor. A forward computes them anew in any case."""
    with torch.no_grad():
        for part, hook in older_norms(module):
            setattr(part, hook.name, hook.compute_weight(part))


def with_plain_weights(module: nn.Module) -> nn.Module:
    """`module`, in place, with every weight that is computed from others (`weight_norm`,
    `spectral_norm`, any parametrization) as the parameter that it comes to.

    What is quantized is the weight; it is trained as itself, from the same start.
    """
    for part in module.modules():
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    for part, hook in older_norms(module):
        remove_weight_norm(part, hook.name)
    return module


def older_norms(module: nn.Module) -> list[tuple[nn.Module, WeightNorm]]:
    """The parts of a module with a weight that the older `weight_norm` computes before a call."""
    found = []
    for part in module.modules():
        hooks = [hook for hook in part._forward_pre_hooks.values() if isinstance(hook, WeightNorm)]
        found += [(part, hook) for hook in hooks]
    return found


def wrapped(models: Mapping[str, nn.Module | Own] | None) -> dict[str, Own]:
    """Modules as a caller gives them, each as an `Own`."""
    owns = {}
    for name, model in (models or {}).items():
        owns[name] = model if isinstance(model, Own) else Own(model)
    return owns
