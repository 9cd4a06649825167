"""Does a student that somebody else's surgery cut answer and learn? Two rows tell, in a moment."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from limbeck.core import registry
from limbeck.core.contract import place
from limbeck.models.anatomy.probe import FAULTS, answer, check_step, said_where, two_rows
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.models.user_model import copied
from limbeck.models.weights import not_finite
from limbeck.tasks import Encoded, Task


def check_student(name: str, student: nn.Module, task: Task, encoded: Sequence[Encoded]) -> None:
    """Raise ValueError where a student cannot run or learn, or answers with other logits than the
    task has.

    `name`: of the surgery. `task`: with the student's preprocessing, by which `encoded` is read.
    """
    told = f"the surgery `{name}`{place(registry.method_of('surgeries', name, 'cut'))}"
    if any(parameter.is_meta for parameter in student.parameters()):
        raise ValueError(f"{told} returned a student without weights (on torch's device `meta`)")
    problem = not_finite(student)
    if problem is not None:
        tensor, held = problem
        raise ValueError(f"{told} returned a student whose `{tensor}` holds {held}")
    rows = two_rows(encoded)
    model = copied(student)
    try:
        logits = answer(model.eval(), task, rows).logits
    except FAULTS as error:
        raise ValueError(
            f"{told} returned a student that cannot run: {type(error).__name__}: "
            f"{said_where(error)}"
        ) from None
    width = logits.shape[-1]
    # An encoder's output is a vector of any width.
    if task.auto_model != "AutoModel" and width != len(task.labels):
        raise ValueError(
            f"{told} returned a student of {width} logits; the data has {len(task.labels)} labels"
        )
    batch = to_device(batch_of(rows, np.arange(len(rows)), task.padding), device_of(model))
    try:
        check_step(model, batch, "student")
    except ValueError as error:
        raise ValueError(f"{told} returned a student that cannot be trained: {error}") from None
