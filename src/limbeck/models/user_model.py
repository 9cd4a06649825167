"""A module of the user's own as teacher or student: `limbeck.run(recipe, out, models={"mine": Own(module)})`, and `model: mine` in the recipe.

The module is called as every model is, with the task's inputs by name (`pixel_values`, or `input_ids` and `attention_mask`), and gives logits:
(B, V), or (B, T, V) for tags. A module that is called otherwise needs an adaptor of five lines:

    class Adapted(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, pixel_values):
            return self.network(pixel_values)["scores"]

Its weights are where it starts; the module itself is never changed. Hidden maps are read by module name (`distill.losses.hidden.map`).
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.models.weights import model_state
from limbeck.tasks import Encoded, Task, collate


@dataclass(frozen=True)
class Own:
    """`module`, and for a task on text `tokenizer`: the folder or hub id of the tokenizer that it reads."""

    module: nn.Module
    tokenizer: str | None = None

    def create(self) -> nn.Module:
        """A copy to train."""
        return copy.deepcopy(self.module)

    def reference(self) -> dict[str, Any]:
        """What the module is, as part of a key: how it prints, and its weights."""
        found = hashlib.sha256(repr(self.module).encode())
        for name, tensor in model_state(self.module).items():
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {"own": found.hexdigest()}

    def check(self, task: Task, encoded: Sequence[Encoded], name: str) -> None:
        """One forward on two rows. Raises ValueError where the module cannot be called so, or its logits are of another shape."""
        batch = to_torch(collate(list(encoded[:2]), np.arange(len(encoded[:2])), task.padding))
        inputs = ", ".join(batch.inputs)
        try:
            with torch.no_grad():
                outputs = run_model(self.create().eval(), batch)
        except (TypeError, AttributeError, RuntimeError, IndexError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise ValueError(
                f"model `{name}`: cannot be called with {inputs} to give logits: {reason}. Wrap it; see limbeck.models.user_model"
            ) from None
        width, wanted = outputs.logits.shape[-1], len(task.labels)
        if width != wanted and task.auto_model != "AutoModel":
            raise ValueError(
                f"model `{name}`: its logits have {width} values, but the data has {wanted} labels ({', '.join(task.labels[:12])})"
            )


def wrapped(models: Mapping[str, nn.Module | Own] | None) -> dict[str, Own]:
    """Modules as a caller gives them, each as an `Own`."""
    return {
        name: model if isinstance(model, Own) else Own(model)
        for name, model in (models or {}).items()
    }
