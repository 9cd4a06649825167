"""The weighted sum of losses that one training minimises:

    L = a * task(y) + sum over losses k of b_k * loss_k(student, teacher) + lambda * penalty

`task(y)` is the task's own loss on the labels y. Penalties are taken of the model itself: the
mean (Q(w) - w)^2 of quantized weights, and the sum of alpha^2 with the range `pact`. Every weight
is a number or a schedule over the training's progress. Every term is logged by itself, and a
weight of 0 switches one off: it is not computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core import registry
from limbeck.core.contract import wrong_return
from limbeck.core.errors import Diverged
from limbeck.core.schedules import Schedule, schedule
from limbeck.distillation.fused import Comparison, OfUnits, fused_sum
from limbeck.losses import Loss, UnitLoss, counted
from limbeck.models.projection import Projected
from limbeck.models.taps import Outputs, by_order
from limbeck.recipe.model import Distill, Weight
from limbeck.tasks import Batch

TOTAL = "total"
NEVER = -1.0  # the progress of the first divergence, while there was none


OTHER_VOCABULARY = (
    "Write `universal_logit: {}` in its place, which compares models of two tokenizers, or take a "
    "teacher with the student's tokenizer"
)


@dataclass(frozen=True)
class Term:
    """One loss, its name in the recipe, and its weight over the training."""

    name: str
    weight: Schedule
    loss: Loss


Penalty = tuple[Schedule, Callable[[], Tensor]]


class Objective(nn.Module):
    """The sum of `terms` on the models' outputs and `penalties` on the student itself, by name:
    (the weight's schedule, () -> what is penalised).

    `factors` (one a term) multiply the weights; `distill.balance` sets them (`conflict.py`).

    Nothing here waits for the device in a training step. Where a term is not finite, the progress
    of the first such step is noted on the device; `raise_if_diverged` reads it.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        penalties: Mapping[str, Penalty] | None = None,
    ) -> None:
        super().__init__()
        self.terms = terms
        self.penalties = penalties or {}
        modules = [term.loss for term in terms if isinstance(term.loss, nn.Module)]
        # As a child module: projectors are trained, moved and checkpointed with the objective.
        self.losses = nn.ModuleList(modules)
        self.factors = nn.Buffer(torch.ones(len(terms)))
        # The terms of which a gradient was seen to reach the student: each is looked at once.
        self.reaching: set[str] = set()
        # No buffer: what went wrong in a killed training is no part of its checkpoint.
        self.diverged_at: dict[str, Tensor] = {}

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(The total, each term by name: unweighted, with its gradient)."""
        # Of another tokenizer a row has another number of units.
        teacher = by_order(teacher, student.mask.shape[1])
        compared = (student, teacher, batch, progress)
        # On the outputs' device, as everything that is added to it.
        total = student.mask.new_zeros((), dtype=torch.float32)
        parts: dict[str, Tensor] = {}
        by_chunk: list[Term] = []
        shares = []
        for term, factor in zip(self.terms, self.factors, strict=True):
            weight = term.weight(progress)
            if not weight:
                continue
            check_labels(term, student, teacher)
            if is_by_chunk(term.loss, student, batch):
                by_chunk.append(term)
                shares.append(weight * factor)
                continue
            compute = partial(loss_over_labels, term.loss)
            parts[term.name] = self.checked(term.name, compute, *compared)
            total = total + weight * factor * parts[term.name]
        if by_chunk:
            fused, values = self.fused(by_chunk, shares, *compared)
            total = total + fused
            parts |= values
        # Penalties of the model itself have no factor: none balances them.
        for name, (weight_schedule, penalty) in self.penalties.items():
            weight = weight_schedule(progress)
            if weight:
                parts[name] = penalty()
                total = total + weight * parts[name]
        self.note_divergence(parts | {TOTAL: total}, progress)
        return total, parts

    def fused(
        self,
        terms: Sequence[Term],
        shares: Sequence[Tensor],
        *compared: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum by `shares` of terms that are computed some units at a time, and each by name.

        `compared`: (student, teacher, batch, progress), as of `forward`.
        """
        student, teacher, batch, progress = compared
        losses: list[OfUnits] = []
        counts: list[Tensor] = []
        for term in terms:
            assert isinstance(term.loss, UnitLoss)
            of_units = term.loss.of_units
            losses.append(partial(self.checked, term.name, of_units, is_of_units=True))
            counts.append(counted(term.loss, student.mask, teacher.mask, batch.labels))
        reads_teacher = any(term.loss.reads for term in terms)
        comparison = Comparison(
            losses=losses,
            counts=counts,
            mask=student.mask,
            teacher=teacher if reads_teacher else None,
            batch=batch,
            progress=progress,
        )
        total, values = fused_sum(comparison, student.later, shares)
        return total, {term.name: value for term, value in zip(terms, values, strict=True)}

    def checked(
        self,
        name: str,
        compute: Callable[..., Any],
        *compared: Any,
        is_of_units: bool = False,
    ) -> Tensor:
        """What a loss gives for (student, teacher, batch, progress), or for some units of them.

        `compute`: the loss's call, or with `is_of_units` its method `of_units`.

        Raises ValueError where it breaks what a loss has to keep.
        """
        student, teacher, batch, _ = compared
        is_new = name not in self.reaching
        before = logits_of_both(student, teacher) if is_new else []
        given = versions(student, teacher, batch)
        modes = torch_modes()
        value = compute(*compared)
        if torch_modes() != modes:
            raise ValueError(
                f"the loss `{name}` leaves torch in another mode than it was in "
                "(whether gradients are kept, the default dtype, the seed or the number "
                "of threads), for all that comes after it. Change it in a `with` block: "
                "torch.no_grad(), torch.autocast(), torch.random.fork_rng()"
            )
        check_value(name, value, student, is_of_units=is_of_units)
        if is_new:
            check_reach(name, value, student)
            self.reaching.add(name)
        is_changed = versions(student, teacher, batch) != given
        if is_changed or not same_values(before, student, teacher):
            raise ValueError(
                f"the loss `{name}` changes in place what it is given (inputs, "
                "logits, mask or labels), which others read too. Compute with a copy"
            )
        return value

    @torch.no_grad()
    def note_divergence(
        self,
        parts: dict[str, Tensor],
        progress: float,
    ) -> None:
        """Note, on the device, the progress of the first step at which each part is not finite."""
        for name, part in parts.items():
            # 0-dimensional, filled on the device: nothing is copied there.
            now = torch.full_like(part, progress, dtype=torch.float32)
            before = self.diverged_at.get(name)
            if before is None:
                before = torch.full_like(now, NEVER)
            is_broken = ~part.isfinite()
            is_first = is_broken & (before == NEVER)
            self.diverged_at[name] = torch.where(is_first, now, before)

    def raise_if_diverged(self) -> None:
        """Look whether a step so far had a term that was not finite. This waits for the device.

        Raises Diverged naming the first such term, with the progress of its step.
        """
        if not self.diverged_at:
            return
        # The total last: where a term is broken, so is the total, and the term is to blame.
        names = [name for name in self.diverged_at if name != TOTAL]
        names.append(TOTAL)
        noted = torch.stack([self.diverged_at[name] for name in names])
        diverged = {}
        for name, at in zip(names, noted.cpu().tolist(), strict=True):
            if at != NEVER:
                diverged[name] = at
        if not diverged:
            return
        # A resumed or repeated training starts anew, and is told anew.
        self.diverged_at = {}
        first = min(diverged, key=diverged.__getitem__)
        cure = "Lower train.learning_rate or this term's weight"
        if diverged[first] == 0:
            cure = (
                "No weight was changed before it, so no learning rate cures that: look at what "
                "this loss computes, and at the answers of the two models"
            )
        raise Diverged(
            f"the loss term `{first}` is not finite. {cure}",
            progress=diverged[first],
        )

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of every term by name, times its factor; of those switched off too.

        This waits for the device, which holds the factors: not for every step.
        """
        factors = self.factors.cpu().tolist()
        weights = {}
        for term, factor in zip(self.terms, factors, strict=True):
            weights[term.name] = term.weight(progress) * factor
        for name, (weight_schedule, _) in self.penalties.items():
            weights[name] = weight_schedule(progress)
        return weights


def is_by_chunk(
    loss: Loss,
    student: Outputs,
    batch: Batch,
) -> bool:
    """Whether a loss is computed some units at a time: of units alone, on logits of a vocabulary
    that the student left to be computed later."""
    # A row that is a mixture of two has two labels a unit (`loss_over_labels`).
    is_of_units = isinstance(loss, UnitLoss) and batch.mixed is None
    return is_of_units and isinstance(student.later, Projected)


def compares_labels(loss: Loss) -> bool:
    """Whether a loss compares the logits of two models label by label."""
    # Others read layers, or compare vectors of two widths by their likeness.
    if not isinstance(loss, UnitLoss):
        return False
    return "logits" in loss.reads and not loss.other_vocabulary


def check_labels(
    term: Term,
    student: Outputs,
    teacher: Outputs,
) -> None:
    """Raise ValueError where a loss compares logits label by label, and labels are others."""
    if compares_labels(term.loss) and student.num_labels != teacher.num_labels:
        raise ValueError(
            f"distill.losses.{term.name}: `{term.name}` compares two models label by label, and "
            f"the student has {student.num_labels:,} labels, the teacher {teacher.num_labels:,}. "
            f"{OTHER_VOCABULARY}"
        )


def check_value(
    name: str,
    value: Any,
    student: Outputs,
    *,
    is_of_units: bool = False,
) -> None:
    """Raise ValueError for what a loss must not return: what is no float alone (or, with
    `is_of_units`, no float a unit), and what teaches nothing. Nothing waits for it."""
    shape = tuple(student.mask.shape) if is_of_units else ()
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    if not is_float or tuple(value.shape) != shape:
        expected = "a torch.Tensor of one float and no axis, the mean over the units that count"
        if is_of_units:
            expected = "a torch.Tensor of one float for each unit (rows, units)"
        method = "of_units" if is_of_units else "__call__"
        called = registry.method_of("losses", name, method)
        raise wrong_return(f"the loss `{name}`", method, value, expected, called)
    if any(each.requires_grad for each in student.sources) and not value.requires_grad:
        raise ValueError(without_gradient(name))


def check_reach(
    name: str,
    value: Tensor,
    student: Outputs,
) -> None:
    """Raise ValueError where the gradient of a loss comes to nothing that the student gave.

    It may have one and teach nothing: that of a new tensor, or of a projector alone. The graph is
    looked at and not run, so that nothing waits and no number changes.
    """
    given = [each for each in student.tensors if each.requires_grad]
    if not given:
        return
    wanted = {each.grad_fn for each in given if each.grad_fn is not None}
    leaves = {id(each) for each in given if each.grad_fn is None}
    seen = set()
    ahead = [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        # A leaf has no node of its own; the one that collects its gradient holds it.
        if node in wanted or id(getattr(node, "variable", None)) in leaves:
            return
        seen.add(node)
        ahead += [following for following, _ in node.next_functions]
    if id(value) not in leaves:
        raise ValueError(without_gradient(name))


def without_gradient(name: str) -> str:
    """What is told of a loss from which the student learns nothing."""
    return (
        f"the loss `{name}` has no gradient that reaches the student, so it teaches nothing: is it "
        "computed from `student`, without `detach`, `item`, `argmax` or `torch.no_grad`?"
    )


def versions(
    student: Outputs,
    teacher: Outputs,
    batch: Batch,
) -> list[int]:
    """How often each tensor that a loss is given was changed in place. Nothing waits for it."""
    outputs = [*student.tensors, *teacher.tensors, student.mask]
    tensors = [*outputs, batch.labels, *batch.inputs.values()]
    # What was computed in inference mode keeps no count, and refuses to be changed outside it.
    return [tensor._version for tensor in tensors if not tensor.is_inference()]


def logits_of_both(
    student: Outputs,
    teacher: Outputs,
) -> list[Tensor]:
    """Copies of the logits, which tell of writes that `versions` does not count (`tensor.data`).
    On a CPU alone: elsewhere a comparison would wait for the device. Of logits that are still to
    be computed there is nothing to write to."""
    both = [each.logits for each in (student, teacher) if each.later is None]
    return [logits.detach().clone() for logits in both if logits.device.type == "cpu"]


def same_values(
    before: Sequence[Tensor],
    student: Outputs,
    teacher: Outputs,
) -> bool:
    """Whether the logits still are what they were; True where no copies were made."""
    now = logits_of_both(student, teacher) if before else []
    pairs = zip(before, now, strict=True)
    return all(torch.allclose(old, new, 0, 0, equal_nan=True) for old, new in pairs)


def torch_modes() -> tuple[bool, bool, torch.dtype, int, int]:
    """What a function can switch for the whole process and leave so."""
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
    return *modes, torch.initial_seed(), torch.get_num_threads()


def loss_over_labels(
    loss: Loss,
    student: Outputs,
    teacher: Outputs,
    batch: Batch,
    progress: float,
) -> Tensor:
    """A loss on a batch, whose rows may be mixtures of two (`data.augment`: mixup).

    A hard loss of a mixture is the mean of those of its two labels, by their shares (Zhang et al.,
    2017, arXiv 1710.09412, equation 1: it is linear in the label). A soft loss compares the
    answers to the mixture itself, and needs no labels.
    """
    value = loss(student, teacher, batch, progress)
    # `reads` is empty for hard losses alone.
    if batch.mixed is None or loss.reads:
        return value
    other_labels, share = batch.mixed
    other_batch = replace(batch, labels=other_labels, mixed=None)
    other_value = loss(student, teacher, other_batch, progress)
    return share * value + (1 - share) * other_value


def hard_terms(
    task_loss: str,
    weight: Weight = 1.0,
    keys: Mapping[str, Any] | None = None,
) -> list[Term]:
    """The task's own loss, by its name in the registry and its keys, as the only term."""
    loss = registry.create("losses", task_loss, dict(keys or {}))
    return [Term("task", schedule(weight), loss)]


def terms(
    task_loss: str,
    distill: Distill | None,
    hard_keys: Mapping[str, Any] | None = None,
) -> list[Term]:
    """The task's own loss, with its keys, and the losses that a recipe's `distill` asks for.

    Raises ValueError for a loss or a key of one that there is not.
    """
    if distill is None:
        return hard_terms(task_loss, keys=hard_keys)
    # The task's own loss comes first in logs and reports.
    found = hard_terms(task_loss, distill.task_weight, hard_keys)
    for name, options in distill.losses.items():
        keys: dict[str, Any] = dict(options)
        weight = keys.pop("weight", 1.0)
        if weight == 0:
            continue  # and nothing that it reads is asked of the teacher
        loss = registry.create("losses", name, keys)
        found.append(Term(name, schedule(weight), loss))
    return found
