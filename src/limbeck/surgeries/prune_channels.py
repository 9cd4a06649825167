"""Keep a share of the channels of every convolution, those that count most; whatever meets them
(norms, shortcuts, the next layer) is cut with them.

Which channels hang together through additions, depthwise convolutions and flattening is found in
the graph by the package torch-pruning (DepGraph, Fang et al., 2023, arXiv 2301.12900), and a
channel's importance is summed over all that goes with it:

    magnitude    the norm of its weights (Li et al., 2016, arXiv 1608.08710, with the square of each
                 in place of its absolute value)
    gradient     |w dL/dw|, the first-order Taylor term of the task's loss (Molchanov et al., 2019,
                 arXiv 1906.10771), over some training rows

Input channels and the layers that make the logits stay. The share holds in every group of channels,
not over the whole network.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.models.running import logits_of, run_model
from limbeck.models.torch_batches import device_of
from limbeck.surgeries import Cut, Evidence
from limbeck.tasks import Batch

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class PruneChannels:
    """Keys:

    - `share`: of the channels to keep, above 0 and at most 1.
    - `importance`: how the channels that stay are chosen: by `magnitude`, the size of their
      weights, or by `gradient`, how much the task's loss would change without them.
    - `multiple`: the number of channels that stay is a multiple of it, so that kernels fill their
      registers.
    """

    share: float
    importance: Literal["magnitude", "gradient"] = "magnitude"
    multiple: int = 1

    files: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range, or without torch-pruning."""
        if not 0 < self.share <= 1:
            raise ValueError(
                f"prune_channels: share is {self.share}: "
                "above 0 and at most 1 is needed, such as 0.5"
            )
        if self.multiple < 1:
            raise ValueError(f"prune_channels: multiple is {self.multiple}: 1 or more is needed")
        if importlib.util.find_spec("torch_pruning") is None:
            raise ValueError(
                "prune_channels needs the package torch-pruning: pip install 'limbeck[prune]'"
            )

    @property
    def reads_rows(self) -> bool:
        """True: one batch at least is run, to see how layers are connected."""
        return True

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A narrower copy of `teacher`. Raises ValueError for a model without convolutions."""
        if not any(isinstance(module, CONVOLUTIONS) for module in teacher.modules()):
            raise ValueError(
                f"prune_channels: {type(teacher).__name__} has no convolution. "
                "For an encoder of texts there is prune_width"
            )
        student = copy.deepcopy(teacher)
        if self.share == 1:
            return Cut(student)
        # In eval mode, so that the forwards change no batch norm's running mean.
        student.eval()
        batches = evidence.batches_on(device_of(student))
        if self.importance == "gradient":
            take_gradients(student, batches, evidence.task.hard_loss)
        self.prune(student, batches[0].inputs)
        # Gradients are no part of a student.
        student.zero_grad(set_to_none=True)
        return Cut(student.train(teacher.training))

    def prune(self, student: nn.Module, inputs: dict[str, Tensor]) -> None:
        """Leave channels out, in place."""
        import torch_pruning

        judge = torch_pruning.importance.MagnitudeImportance()
        if self.importance == "gradient":
            judge = torch_pruning.importance.TaylorImportance()
        pruner = torch_pruning.pruner.BasePruner(
            student,
            inputs,
            judge,
            pruning_ratio=1 - self.share,
            round_to=self.multiple,
            # Their channels are the labels.
            ignored_layers=last_layers(student, inputs),
            # Models of transformers return an object around their logits.
            output_transform=logits_of,
        )
        pruner.step()


def take_gradients(
    model: nn.Module,
    batches: list[Batch],
    hard_loss: str,
) -> None:
    """Leave dL/dw, summed over batches, in the gradients of the weights; `hard_loss`: its name."""
    # Gradients add up in `weight.grad`, where torch-pruning reads them.
    loss: Any = registry.create("losses", hard_loss)
    for batch in batches:
        outputs = run_model(model, batch)
        loss(outputs, outputs, batch, 0.0).backward()


def last_layers(model: nn.Module, inputs: dict[str, Tensor]) -> list[nn.Module]:
    """The modules whose output the logits are."""
    outputs: list[tuple[nn.Module, Any]] = []
    handles = []
    for module in model.modules():
        if not any(module.children()):
            handles.append(module.register_forward_hook(keep_output(outputs)))
    with torch.no_grad():
        logits = logits_of(model(**inputs))
    for handle in handles:
        handle.remove()
    # By identity, not by name: a user's module may call its last layer anything.
    return [module for module, output in outputs if output is logits]


def keep_output(outputs: list[tuple[nn.Module, Any]]) -> Callable[..., None]:
    """A hook that notes what a module makes."""

    def hook(
        module: nn.Module,
        inputs: Any,
        output: Any,
    ) -> None:
        outputs.append((module, output))

    return hook
