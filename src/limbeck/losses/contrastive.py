"""Tell each text or image from those of other classes, as the teacher embeds them: the student's
embedding is to be nearer to the teacher's of the same one than to the teacher's of the others
(contrastive representation distillation, CRD, Tian, Krishnan and Isola, 2020, arXiv 1910.10699).
What is embedded is a unit: a text, an image, or a word when tagging. With hidden states h,
s = normalise(W_s h_s), t = normalise(W_t h_t), temperature tau, and a memory M of t of past units,

    L = - log [ exp(s_i t_i / tau) / (exp(s_i t_i / tau) + sum_j exp(s_i t_j / tau)) ]

in nats, the mean over the counted units i. j runs over the units of the batch and of M for which
the teacher decides otherwise than for i. (The authors' code, too, draws negatives from other
classes: units of one class end up alike, and could not be told apart. The teacher's decision needs
no label.) Both projections are learned. The memory is part of the checkpoint, and empty at first.
Not 0 at identity.

Deviations:
- This is the loss of van den Oord et al. (2018, arXiv 1807.03748, equation 4); CRD estimates the
  same bound with a noise-contrastive estimator that needs the size of the training set.
- Negatives are of the batch and of the last `memory` units before it (He et al., 2020,
  arXiv 1911.05722, section 3.2), where CRD keeps one embedding of every training row.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.core.schedules import ScheduledAbove0, schedule
from limbeck.losses import PlainLoss, flat_units, index_of_true, masked_mean, matched
from limbeck.losses._matching import LayerPairs, MapBy, Matching
from limbeck.models.taps import HIDDEN, Outputs
from limbeck.tasks import Batch


class Contrastive(PlainLoss, nn.Module):
    """Keys:

    - `width`: how many numbers an embedding has; 128 is that of the authors' code.
    - `temperature`: tau > 0, a number or a schedule over the training. The lower, the more the
      nearest of the others count.
    - `memory`: how many past embeddings are kept, 0 for none.
    - `map_by`: which of the teacher's layers the student's last one learns from: the last (`last`,
      and `uniform` too) or the one whose hidden states are most alike by linear CKA (`similarity`).
    - `map`: one pair of modules by name, the student's to the teacher's, in place of `map_by`.
    """

    # The buffers `memory` (M, width), `classes` (M) and `filled` hold the last units, the newest
    # first.

    reads: ClassVar[tuple[str, ...]] = ("logits", HIDDEN)
    zero_at_identity: ClassVar[bool] = False

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
        self.width = width
        self.temperature = schedule(temperature)
        # Of one layer each; lists, since they are made when the widths are known.
        self.student_projectors = nn.ModuleList()
        self.teacher_projectors = nn.ModuleList()
        # Buffers: a killed training goes on with the memory that it had.
        self.memory = nn.Buffer(torch.zeros(memory, width))
        self.classes = nn.Buffer(torch.zeros(memory, dtype=torch.int64))
        self.filled = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.pairs: LayerPairs = []

    def bind(self, pairs: LayerPairs, student: Outputs, teacher: Outputs) -> None:
        """Make both projections. Raises ValueError where more than one pair is mapped, since the
        memory holds one layer's."""
        if len(pairs) > 1:
            raise ValueError(f"it compares one layer of each, and map names {len(pairs)}. Keep one")
        self.pairs = pairs
        for student_map, teacher_map in matched(HIDDEN, pairs, student, teacher):
            student_width = student_map.shape[-1]
            teacher_width = teacher_map.shape[-1]
            student_projector = nn.Linear(student_width, self.width, bias=False)
            teacher_projector = nn.Linear(teacher_width, self.width, bias=False)
            self.student_projectors.append(student_projector)
            self.teacher_projectors.append(teacher_projector)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """Nats a unit. While training, the batch's units are remembered."""
        # 1. Both models' embeddings of the batch's units.
        ((student_map, teacher_map),) = matched(HIDDEN, self.pairs, student, teacher)
        mask = student.mask & teacher.mask
        student_units = flat_units(student_map, mask)
        teacher_units = flat_units(teacher_map, mask)
        found = self.student_projectors[0](student_units)
        target = self.teacher_projectors[0](teacher_units)
        found = functional.normalize(found, dim=-1)
        target = functional.normalize(target, dim=-1)

        # 2. The student's against the teacher's: the batch (the first columns) and the memory.
        is_counted = mask.flatten()
        decisions = teacher.logits.argmax(-1)
        classes = decisions.flatten()
        others = torch.cat([target, self.memory])
        other_classes = torch.cat([classes, self.classes])
        is_there = torch.cat([is_counted, self.is_filled()])
        cosines = found @ others.T
        scores = cosines / self.temperature(progress)

        # 3. Negatives are of other classes; a unit itself stays, so that no row is all -inf.
        # The teacher decides for its own units too, so that no label is needed.
        is_other_class = classes[:, None] != other_classes
        is_negative = is_there & is_other_class
        is_itself = torch.eye(
            *scores.shape,
            dtype=torch.bool,
            device=scores.device,
        )
        is_kept = is_negative | is_itself
        kept = scores.masked_fill(~is_kept, -torch.inf)
        score_of_itself = scores.diagonal()
        nats = kept.logsumexp(-1) - score_of_itself

        # 4. A validation must not fill the memory with rows that are not trained on.
        if self.training and len(self.memory):
            self.remember(others.detach(), other_classes, is_there)
        return masked_mean(nats, is_counted)

    def is_filled(self) -> Tensor:
        """(M) which places of the memory hold a unit."""
        size = len(self.memory)
        places = torch.arange(size, device=self.memory.device)
        return places < self.filled

    @torch.no_grad()
    def remember(
        self,
        others: Tensor,
        other_classes: Tensor,
        is_there: Tensor,
    ) -> None:
        """Keep the first M of the units that are there: the batch's, then those remembered before.

        Shapes: `others` (N, width), `other_classes` (N), `is_there` (N).
        """
        size = len(self.memory)
        num_there = is_there.sum()
        self.filled.copy_(num_there.clamp_max(size))
        places = torch.arange(size, device=is_there.device)
        first = index_of_true(is_there, places)
        is_empty = ~self.is_filled()
        # Empty places stay 0, so that equal trainings leave equal bytes.
        memory = others[first]
        classes = other_classes[first]
        memory = memory.masked_fill(is_empty.unsqueeze(-1), 0)
        classes = classes.masked_fill(is_empty, 0)
        self.memory.copy_(memory)
        self.classes.copy_(classes)
