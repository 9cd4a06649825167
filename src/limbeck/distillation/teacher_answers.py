"""The teacher's own answers in the place of the data's: sequence-level distillation.

    L = - log q(y^ | x),    y^ the teacher's most probable answer to x (or one that it draws)

(Kim and Rush, 2016, arXiv 1606.07947, section 3.2, equation 7.) The student learns whole answers as
the teacher gives them, by the task's own loss and by whatever else the recipe names.

A dialogue is answered turn after turn. Each answer is asked for with the teacher's earlier answers
before it, so that the student reads exactly what the teacher had read when it wrote. What users say
stays as the data has it.

An answer that is empty, or did not end within `max_new_tokens`, teaches nothing good: the data's
stays in its place, and a row that has none is left out. Both are counted.

Deviation: the paper takes the best of a beam of five; here the most probable token follows each
time, or one that is drawn.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from torch import nn

from limbeck.models.generation.batched import Decoding, Prompt, generate
from limbeck.sources import Row, place_of
from limbeck.tasks.chat.template import ASSISTANT
from limbeck.tasks.inputs.dialogue import DialogueInput

# Tokens of prompts and answers that are held at once: a cache of keys and values takes some 50 kB a
# token in a model of 100 M parameters.
BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Counts:
    """What became of answers that were asked for.

    asked: how many in all. learned: taken. empty: without a word. runaway: without an end.
    shortened: of how many the dialogue before was longer than the teacher reads, so that its end
    alone was read.
    """

    asked: int = 0
    learned: int = 0
    empty: int = 0
    runaway: int = 0
    shortened: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(first + second for first, second in pairs))


@dataclass(frozen=True)
class Writer:
    """A frozen teacher that writes answers.

    model: in eval mode, on its device.
    input: how the teacher reads dialogues.
    decoding: how it writes.
    seed: of what it draws; beside it the row's number and the turn count.
    """

    model: nn.Module
    input: DialogueInput
    decoding: Decoding
    seed: int

    def answered(self, rows: Sequence[Row], first: int) -> list[tuple[Row | None, Counts]]:
        """Each row with the teacher's answers, and what became of them; None in the place of a row
        that has no answer at all.

        Args:
            rows: of `messages`.
            first: the number of the first of them in the whole.

        Raises:
            ValueError: a row of plain text, or messages that the chat template refuses.
        """
        dialogues = [messages_to_answer(row, first + i) for i, row in enumerate(rows)]
        counts = [Counts() for _ in rows]
        places = [answer_places(messages) for messages in dialogues]
        num_turns = max(map(len, places), default=0)
        for turn in range(num_turns):
            # 1. The rows that have so many answers, and what stands before this one.
            asked = [number for number, each in enumerate(places) if turn < len(each)]
            prompts: list[Prompt] = []
            for number in asked:
                before = dialogues[number][: places[number][turn]]
                ids = self.prompt(before, place_of(rows[number], first + number + 1))
                prompts.append(Prompt(ids, self.generator(first + number, turn)))
            # 2. Their answers.
            readable = [self.readable(prompt) for prompt in prompts]
            answers = self.generated(readable)
            for number, prompt, tokens in zip(asked, prompts, answers, strict=True):
                is_shortened = len(prompt.ids) > self.decoding.most_read
                text, outcome = self.outcome(tokens, is_shortened)
                counts[number] += outcome
                if outcome.learned:
                    message = dialogues[number][places[number][turn]]
                    message["content"] = text
        answered: list[tuple[Row | None, Counts]] = []
        for row, messages, count in zip(rows, dialogues, counts, strict=True):
            # Only a row that came without an answer can be left without one.
            is_filled = all(message["content"] for message in messages)
            answered.append(({**row, "messages": messages} if is_filled else None, count))
        return answered

    def prompt(self, messages: Sequence[dict[str, str]], place: str) -> list[int]:
        """The tokens before an answer of a row that stands at `place`."""
        try:
            return self.input.prompt(messages).tolist()
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None

    def readable(self, prompt: Prompt) -> Prompt:
        """The end of a prompt, as much as is read."""
        return prompt._replace(ids=prompt.ids[-self.decoding.most_read :])

    def generator(self, number: int, turn: int) -> np.random.Generator:
        """What is drawn for one answer depends on nothing else."""
        # Named, because numpy's default may become another.
        return np.random.Generator(np.random.PCG64([self.seed, number, turn]))

    def generated(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The answers' tokens, by prompts of like length together."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
        answers: list[list[int]] = [[] for _ in prompts]
        for batch in batches_of(order, [len(prompt.ids) for prompt in prompts], self.decoding):
            written = generate(self.model, [prompts[i] for i in batch], self.decoding)
            for i, tokens in zip(batch, written, strict=True):
                answers[i] = tokens
        return answers

    def outcome(self, tokens: Sequence[int], is_shortened: bool) -> tuple[str, Counts]:
        """The text of an answer, and what it counts as."""
        has_end = bool(tokens) and tokens[-1] in self.decoding.end_ids
        text = self.input.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()
        is_empty = has_end and not text
        outcome = Counts(
            asked=1,
            learned=int(has_end and not is_empty),
            empty=int(is_empty),
            runaway=int(not has_end),
            shortened=int(is_shortened),
        )
        return text, outcome


def messages_to_answer(row: Row, number: int) -> list[dict[str, str]]:
    """A copy of a row's messages, with an empty answer at the end where it has none at all.

    Raises:
        ValueError: a row of plain text, which nobody answers.
    """
    if "messages" not in row:
        raise ValueError(
            f"{place_of(row, number + 1)} of train is a plain text, and distill.sequence_level "
            "takes the teacher's answers in dialogues. Give messages, or prompts and responses, or "
            "leave it out"
        )
    messages = [dict(message) for message in row["messages"]]
    if not any(message["role"] == ASSISTANT for message in messages):
        messages.append({"role": ASSISTANT, "content": ""})
    return messages


def answer_places(messages: Sequence[dict[str, str]]) -> list[int]:
    """Where the answers stand that somebody has asked for: one that stands first is a greeting."""
    places: list[int] = []
    for place, message in enumerate(messages):
        if place and message["role"] == ASSISTANT:
            places.append(place)
    return places


def batches_of(order: Sequence[int], lengths: Sequence[int], decoding: Decoding) -> list[list[int]]:
    """Prompts in this order, so many together as `BATCH_TOKENS` allow, one at least."""
    batches: list[list[int]] = []
    for i in order:
        # Sorted by length, so the last is the longest.
        padded = lengths[i] + decoding.max_new_tokens
        if batches and (len(batches[-1]) + 1) * padded <= BATCH_TOKENS:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
