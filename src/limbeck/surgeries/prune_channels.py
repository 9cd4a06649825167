"""Keep a share of the channels of every convolution, those that count most; whatever meets them (norms, shortcuts, the next layer) is cut with them.

Which channels hang together through additions, depthwise convolutions and flattening is found in the graph by the package torch-pruning (DepGraph,
Fang et al., 2023, arXiv 2301.12900), and a channel's importance is summed over all that goes with it:

    magnitude    the norm of its weights (Li et al., 2016, arXiv 1608.08710, with the square of each in place of its absolute value)
    gradient     |w dL/dw|, the first-order Taylor term of the task's loss (Molchanov et al., 2019, arXiv 1906.10771), over some training rows

Input channels and the layers that make the logits stay. The share holds in every group of channels, not over the whole network.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from limbeck.core import registry
from limbeck.models.running import logits_of, run_model
from limbeck.surgeries import Cut, Evidence

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class PruneChannels:
    """`share`: of the channels to keep, above 0 and at most 1; `multiple`: channels stay in multiples of it, so that kernels fill their registers."""

    share: float
    importance: Literal["magnitude", "gradient"] = "magnitude"
    multiple: int = 1

    files: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(
                f"prune_channels: share is {self.share}: above 0 and at most 1 is needed, such as 0.5"
            )
        if self.multiple < 1:
            raise ValueError(f"prune_channels: multiple is {self.multiple}: 1 or more is needed")
        if importlib.util.find_spec("torch_pruning") is None:
            raise ValueError(
                "prune_channels needs the package torch-pruning: pip install 'limbeck[prune]'"
            )

    @property
    def reads_rows(self) -> bool:
        return True  # one batch at least, to see how layers are connected

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """A narrower copy of `teacher`. Raises ValueError for a model without convolutions."""
        import torch_pruning

        if not any(isinstance(module, CONVOLUTIONS) for module in teacher.modules()):
            raise ValueError(
                f"prune_channels: {type(teacher).__name__} has no convolution. For an encoder of texts there is prune_width"
            )
        student = copy.deepcopy(teacher)
        if self.share == 1:
            return Cut(student)
        student.eval()
        batch = evidence.batches[0]
        kinds = {
            "magnitude": torch_pruning.importance.MagnitudeImportance,
            "gradient": torch_pruning.importance.TaylorImportance,
        }
        if self.importance == "gradient":
            take_gradients(student, evidence)
        torch_pruning.pruner.BasePruner(
            student, batch.inputs, kinds[self.importance](), pruning_ratio=1 - self.share, round_to=self.multiple,
            ignored_layers=last_layers(student, batch.inputs), output_transform=logits_of,
        ).step()  # fmt: skip
        student.zero_grad(set_to_none=True)
        return Cut(student.train(teacher.training))


def take_gradients(model: nn.Module, evidence: Evidence) -> None:
    """Leave dL/dw of the task's own loss, summed over batches, in the weights."""
    hard: Any = registry.create("losses", evidence.task.hard_loss)
    for batch in evidence.batches:
        outputs = run_model(model, batch)
        hard(outputs, outputs, batch, 0.0).backward()


def last_layers(model: nn.Module, inputs: dict[str, torch.Tensor]) -> list[nn.Module]:
    """The modules whose output the logits are."""
    made: list[tuple[nn.Module, Any]] = []
    handles = [
        module.register_forward_hook(noting(made))
        for module in model.modules()
        if not any(module.children())
    ]
    with torch.no_grad():
        logits = logits_of(model(**inputs))
    for handle in handles:
        handle.remove()
    return [module for module, output in made if output is logits]


def noting(made: list[tuple[nn.Module, Any]]) -> Callable[..., None]:
    """A hook that notes what a module makes."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        made.append((module, output))

    return hook
