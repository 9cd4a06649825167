"""Contrastive representation distillation (Tian, Krishnan and Isola, 2020, arXiv 1910.10699): among units of other classes, the student's embedding
points at the teacher's of the same unit. With s = normalise(W_s h_s), t = normalise(W_t h_t), temperature tau, and a memory M of t of past units,

    L = - log [ exp(s_i t_i / tau) / (exp(s_i t_i / tau) + sum_j exp(s_i t_j / tau)) ]        nats, the mean over the N counted units

j runs over the batch and M where the teacher decides otherwise than for i (the authors' code, too, draws negatives from other classes: units of one
class end up alike, and could not be told apart; the teacher's decision needs no label). Both projections are learned; the memory is part of the
checkpoint, and empty at first. Not 0 at identity.

Deviations: this is the loss of van den Oord et al. (2018, arXiv 1807.03748, equation 4), where CRD estimates the same bound with a noise-contrastive
estimator that needs the size of the training set; negatives are of the batch and of the last `memory` units before it (He et al., 2020,
arXiv 1911.05722, section 3.2), where CRD keeps one embedding of every training row.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import counted
from limbeck.losses._matching import MapBy, Matching
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch


class Contrastive(nn.Module):
    """`width` of the embeddings; `temperature`: tau > 0, a number or a schedule; `memory`: how many past embeddings are kept, 0 for none.
    `map_by`: how the one layer of each is found: the last, or the most alike; `map`: a module of the student to one of the teacher, by name, in
    its place."""

    reads: ClassVar[tuple[str, ...]] = ("logits", HIDDEN)

    def __init__(
        self,
        width: int = 128,
        temperature: ScheduledAbove0 = 0.1,
        memory: int = 1024,
        map: dict[str, str] | None = None,
        map_by: MapBy = "last",
    ) -> None:
        super().__init__()
        if width < 1 or memory < 0:
            raise ValueError("width is 1 or more, and memory is 0 or more")
        self.kinds = (HIDDEN,)
        self.matching = Matching(1, map, map_by)
        self.width, self.temperatures = width, schedule(temperature)
        self.temperature = self.temperatures(0.0)
        self.own, self.theirs = nn.ModuleList(), nn.ModuleList()
        self.memory = nn.Buffer(torch.zeros(memory, width))
        self.classes = nn.Buffer(torch.zeros(memory, dtype=torch.int64))
        self.filled = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.pairs: list[tuple[str, str]] = []

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None:
        """Make both projections. Raises ValueError where more than one pair is mapped, since the memory holds one layer's."""
        if len(pairs) > 1:
            raise ValueError(f"it compares one layer of each, and map names {len(pairs)}. Keep one")
        self.pairs = pairs
        ((own, theirs),) = pairs
        self.own.append(nn.Linear(student.hidden[own].shape[-1], self.width, bias=False))
        self.theirs.append(nn.Linear(teacher.hidden[theirs].shape[-1], self.width, bias=False))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor:
        """Nats a unit. While training, the batch's units are remembered."""
        ((own, theirs),) = self.pairs
        mask = student.mask & teacher.mask
        found = functional.normalize(self.own[0](counted(student.hidden[own], mask)), dim=-1)
        target = functional.normalize(
            self.theirs[0](counted(teacher.hidden[theirs].detach(), mask)), dim=-1
        )
        classes, filled = teacher.logits.argmax(-1)[mask], int(self.filled)
        scores = found @ torch.cat([target, self.memory[:filled]]).T / self.temperature
        alike = classes[:, None] == torch.cat([classes, self.classes[:filled]])
        nats = (
            scores.masked_fill(alike.fill_diagonal_(False), -torch.inf).logsumexp(-1)
            - scores.diagonal()
        )
        if self.training:
            self.remember(target.detach(), classes)
        return nats.sum() / mask.sum().clamp_min(1)

    def remember(self, units: torch.Tensor, classes: torch.Tensor) -> None:
        """Put (N, width) embeddings of units of (N) classes before those that are there; what is then too many goes."""
        filled, most = int(self.filled), len(self.memory)
        for kept, new in ((self.memory, units), (self.classes, classes)):
            all_of_them = torch.cat([new.to(kept.dtype), kept[:filled]])[:most]
            kept[: len(all_of_them)] = all_of_them
        self.filled.fill_(min(most, len(units) + filled))
