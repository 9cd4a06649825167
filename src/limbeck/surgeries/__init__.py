"""A student cut from its teacher: a new model of really smaller matrices; nothing is masked.

A surgery is called as `cut(teacher, evidence)`. The teacher stays as it is; the student lies on the
teacher's device. What a model's config cannot tell of its new shape is found when it is saved
(`limbeck.models.anatomy.structure`).

Shapes of this room: B rows, T tokens, D width of the hidden states, P parts that may be cut (heads,
units), L layers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.contract import wrong_return
from limbeck.data.batches import batches_of
from limbeck.data.sampling import drawn_rows
from limbeck.models.anatomy.factorized import FactorizedEmbedding
from limbeck.models.torch_batches import to_device
from limbeck.sources import Row
from limbeck.tasks import Batch, Encoded, Task

# Training rows that importance is judged by; a pass over so many takes seconds on a CPU.
NUM_ROWS = 256
# Where there are hundreds of passes: tokens, or images.
FEW_TOKENS = 1024
FEW_IMAGES = 64


class Cut(NamedTuple):
    """`preprocess`: the text of the student's preprocessing; None where it is the teacher's."""

    student: nn.Module
    preprocess: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What a surgery may look at: the teacher's task, and the training rows."""

    task: Task
    rows: Sequence[Row]

    @cached_property
    def encoded(self) -> Sequence[Encoded]:
        """NUM_ROWS of the rows, drawn by a fixed seed."""
        return self.task.encode(drawn_rows(self.rows, NUM_ROWS))

    @cached_property
    def batches(self) -> list[Batch]:
        """These as batches of tensors on the CPU."""
        return batches_of(self.encoded, self.task)

    def batches_on(self, device: torch.device) -> list[Batch]:
        """The batches on the device of a model."""
        return [to_device(batch, device) for batch in self.batches]

    def few_batches_on(self, device: torch.device) -> list[Batch]:
        """As `batches_on`, of as few of the rows as have `FEW_TOKENS` tokens, or `FEW_IMAGES`."""
        most = FEW_TOKENS if self.encoded[0].has_tokens else FEW_IMAGES
        ends = np.cumsum([each.size for each in self.encoded])
        few = self.encoded[: int(np.searchsorted(ends, most)) + 1]
        return [to_device(batch, device) for batch in batches_of(few, self.task)]


def check_cut(name: str, cut: Any, teacher: nn.Module, preprocess: str) -> None:
    """Raise ValueError where a surgery, perhaps somebody else's, returned no student of `teacher`.

    `preprocess`: the text of the teacher's preprocessing.
    """
    is_cut = isinstance(cut, Cut) and isinstance(cut.student, nn.Module)
    if not is_cut or not isinstance(cut.preprocess, str | None):
        found = cut.student if isinstance(cut, Cut) and not is_cut else cut
        expected = "a `limbeck.surgeries.Cut` of a torch module, and of a text or None"
        called = registry.method_of("surgeries", name, "cut")
        raise wrong_return(f"the surgery `{name}`", "cut", found, expected, called)
    _check_modules(name, cut.student, teacher)
    if cut.preprocess is not None:
        _check_preprocess(name, cut.preprocess, preprocess)


def _check_modules(name: str, student: nn.Module, teacher: nn.Module) -> None:
    """Raise ValueError for a module that the teacher has not: a model's folder holds what its
    config says, less what was cut."""
    others = dict(teacher.named_modules())
    factorized = [
        place
        for place, module in student.named_modules()
        if isinstance(module, FactorizedEmbedding)
    ]
    for place, module in student.named_modules():
        is_factorized = any(f"{place}.".startswith(f"{each}.") for each in factorized)
        if is_factorized or type(module) is type(others.get(place)):
            continue
        has = f"a {type(others[place]).__name__}" if place in others else "nothing"
        where = f"as its `{place}`, where the teacher has" if place else "in the place of"
        raise ValueError(
            f"the surgery `{name}` returned a student with a {type(module).__name__} {where} {has}."
            " A student is the teacher less some of it; a model of other modules is handed over by "
            "`models={...}` from Python"
        )


def _check_preprocess(name: str, text: str, of_teacher: str) -> None:
    """Raise ValueError for a preprocessing that does not say what the teacher's says."""
    try:
        missing = json.loads(of_teacher).keys() - json.loads(text).keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"the surgery `{name}` returned a preprocessing that is no JSON object: {error}"
        ) from None
    if missing:
        raise ValueError(
            f"the surgery `{name}` returned a preprocessing without {', '.join(sorted(missing))}, "
            "which the teacher's has"
        )


# What every surgery has; those of plug-ins need not inherit from it.
class Surgery(Protocol):
    """One file, one surgery; its constructor's arguments are its recipe keys.

    `reads_rows`: whether it looks at the training rows. `files`: any other file that it reads. The
    key of the student's stage holds both.

    An outside surgery may have `identity` and `smaller`, lists of recipe keys that cut nothing, and
    something, out of a BERT of four layers with two heads. The tests of this contract take them;
    for ours they have some.
    """

    @property
    def reads_rows(self) -> bool: ...

    @property
    def files(self) -> Sequence[str]: ...

    def cut(self, teacher: nn.Module, evidence: Evidence) -> Cut:
        """The student. Raises ValueError for keys that do not fit the teacher."""
        ...
