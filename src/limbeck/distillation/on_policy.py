"""On-policy distillation: a batch's answers are the student's own, and the teacher judges them.

With the probability `share`, lambda of generalised knowledge distillation (GKD, Agarwal et al.,
2023, arXiv 2306.13649, algorithm 1), the answers of a step are sampled by the student as it is at
that step:

    L = mean over the tokens of y ~ q(. | x) of D(p(. | x, y_<n), q(. | x, y_<n))

D is whatever the recipe's losses say (`jensen_shannon`, `reverse_kl`, `kl`). No gradient flows
through the sampling. So the student is corrected on what it says itself, and not on answers that it
would never have begun. Nobody knows a right token after what it said: such tokens have no label,
and the loss on the labels is 0 in that step.

Of a dialogue one answer is drawn and written anew, after the data's turns before it.

All that is drawn depends on (seed, step, row) alone: a training that goes on from a checkpoint
draws what it would have drawn.

Shapes: B rows, T tokens, W units of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from limbeck.models import processes
from limbeck.models.generation.batched import Decoding, Prompt, generate
from limbeck.models.torch_batches import to_device, to_torch
from limbeck.tasks import UNKNOWN, Batch, Encoded, collate
from limbeck.tasks.types import Array

# The generators of answers are not the stream of other things that a step draws.
STREAM = 2


@dataclass(frozen=True)
class OnPolicy:
    """Puts the student's answers in the place of a batch's, in a share of the steps.

    model: the student, on its device; quantized as it is at that step.
    share: of the steps.
    decoding: how it writes.
    seed: of the training.
    """

    model: nn.Module
    share: float
    decoding: Decoding
    seed: int

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch that the step learns from, on the device of the one given."""
        if self.generator(step).random() >= self.share:
            return batch
        # 1. What is asked. One process writes and the others are told: a token in which two
        #    machines differ would part their batches.
        prompts: list[Prompt] = []
        for row in range(len(batch.rows)):
            drawn = self.generator(step, int(batch.rows[row]))
            prompts.append(Prompt(self.prompt(batch, row, drawn), drawn))
        answers: list[list[int]] = []
        if processes.process_index() == 0:
            answers = self.written(prompts)
        answers = processes.broadcast_value(answers)
        # 2. Prompts and answers as a batch.
        encoded: list[Encoded] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            encoded.append(answered(prompt.ids, answer))
        padding = {"input_ids": self.decoding.pad_id}
        own = to_torch(collate(encoded, batch.rows, padding))
        return to_device(own, batch.mask.device)

    def generator(self, *numbers: int) -> np.random.Generator:
        """What is drawn for a step, or for a row in it."""
        # Named, because numpy's default may become another.
        return np.random.Generator(np.random.PCG64([self.seed, STREAM, *numbers]))

    def prompt(self, batch: Batch, row: int, drawn: np.random.Generator) -> list[int]:
        """The tokens of a row before one of its answers, their end where they are many."""
        length = int(batch.inputs["attention_mask"][row].sum())
        ids = batch.inputs["input_ids"][row, :length].tolist()
        positions = batch.positions[row][batch.mask[row]].cpu().numpy()
        starts = answer_starts(positions)
        start = int(starts[drawn.integers(len(starts))])
        return ids[:start][-self.decoding.most_read :]

    def written(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The student's answers. It is left in the mode in which it was."""
        modes = [(module, module.training) for module in self.model.modules()]
        # Without dropout: what the student says is what it would say.
        self.model.eval()
        answers = generate(self.model, prompts, self.decoding)
        for module, was_training in modes:
            module.training = was_training
        return answers


def answer_starts(positions: Array) -> Array:
    """The place of the first token of each answer, of the places (W) where a row is read: a token
    is predicted one place before it stands, and an answer is a run of neighbours.

    >>> answer_starts(np.array([3, 4, 5, 9, 10]))
    array([ 4, 10])
    """
    is_first = np.diff(positions, prepend=-2) > 1
    return positions[is_first] + 1


def answered(prompt: Sequence[int], answer: Sequence[int]) -> Encoded:
    """A prompt with its answer, whose tokens are the units, without labels."""
    ids = np.array([*prompt, *answer], np.int64)
    positions = np.arange(len(prompt), len(ids)) - 1
    labels = np.full(len(answer), UNKNOWN, np.int64)
    return Encoded({"input_ids": ids, "attention_mask": np.ones_like(ids)}, positions, labels)
