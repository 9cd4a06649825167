"""The process that answers with a float model in PyTorch (`artifact.speed.worker`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.artifact.speed.worker import Answer, decision_of, serve, task_of
from limbeck.core.system import memory
from limbeck.evaluation.decisions.decision import Decision
from limbeck.models.folders import load_model
from limbeck.models.running import run_model
from limbeck.models.torch_batches import to_torch
from limbeck.tasks import Task, collate
from limbeck.tasks.packed import averaged


def open_model(subject: Mapping[str, Any], threads: int) -> Answer:
    """The model of the folder `model`, with its `task`."""
    # As a training does, without which PyTorch takes a tenth longer.
    memory.keep_freed_memory()
    torch.set_num_threads(threads)
    task = task_of(subject)
    model = load_model(Path(subject["model"]), task)
    return answerer(model, task, decision_of(subject, task))


def answerer(model: nn.Module, task: Task, decision: Decision | None = None) -> Answer:
    """A float model on the CPU, from raw input to decoded answer, as an artifact does it.

    decision: of the artifact that it is timed beside; None decides nothing.
    """
    decides = decision or Decision(likelihood=task.likelihood)
    # No dropout, and the statistics of batch norms that were kept.
    model.eval()

    def answer(given: Any) -> Any:
        row = task.row(given)
        encoded = task.encode([row])
        batch = to_torch(collate(encoded, np.zeros(1, int), task.padding))
        # Without what a training would need for gradients: as one would serve it.
        with torch.inference_mode():
            outputs = run_model(model, batch)
            logits = averaged(encoded[0], outputs.logits[0].numpy())
            return decides.answer(task, row, logits)

    return answer


if __name__ == "__main__":
    serve(open_model)
