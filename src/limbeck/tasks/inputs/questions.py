"""Questions that a model is asked to write an answer to: of a labelled row the part before one
answer, and that answer as the data have it.

Of a dialogue with several answers one is asked for, by the row's number, so that beginnings and
ends of dialogues both come up. Of a plain text its first half is the question. The same rows give
the same questions, on any machine and whatever model is asked.

Shapes: T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks.chat.template import ASSISTANT
from limbeck.tasks.inputs.dialogue import DialogueInput

# Of an answer: three sentences, as support writes them. A model that never ends is cut there.
MOST_TOKENS = 64
# Of a question: to read it takes as long as to write some 100 tokens, on a CPU.
MOST_PROMPT = 1024


@dataclass(frozen=True)
class Question:
    """What is asked.

    - `row`: its number in the split, from 0.
    - `messages`: what was said before the answer; None of a plain text.
    - `text`: of a plain text the part that is to be continued; empty of a dialogue.
    - `reference`: the answer of the data.
    """

    row: int
    messages: Sequence[dict[str, str]] | None
    text: str
    reference: str

    @property
    def shown(self) -> str:
        """What a reader is shown of it."""
        if self.messages is None:
            return self.text
        return "\n".join(f"{each['role']}: {each['content']}" for each in self.messages)


def questions_of(
    rows: Sequence[Row], reading: DialogueInput, positions: int, most: int
) -> list[Question]:
    """At most `most` questions, of rows that are spread evenly over the split.

    Args:
        rows: with their answers.
        reading: of the model that is asked.
        positions: tokens that the model reads, question and answer together.
        most: how many.

    What is too long for the model to be answered is left out, and a question that was asked before.
    """
    room = longest_prompt(positions)
    found: list[Question] = []
    known: set[tuple[int, ...]] = set()
    for number in spread(len(rows), most):
        question = question_of(rows[number], number, reading, room)
        if question is None:
            continue
        ids = tuple(prompt_of(question, reading).tolist())
        if not 0 < len(ids) <= room or ids in known:
            continue
        known.add(ids)
        found.append(question)
    return found


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, at equal distances.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    num_taken = min(count, most)
    return [count * place // num_taken for place in range(num_taken)]


def tokens_of_answer(positions: int) -> int:
    """How many tokens an answer has at most, of a model that reads so many `positions`."""
    # At least half of what a model reads is the question's.
    return max(1, min(MOST_TOKENS, positions // 2))


def longest_prompt(positions: int) -> int:
    """How many tokens a question has at most, of a model that reads so many `positions`."""
    return min(MOST_PROMPT, positions - tokens_of_answer(positions))


def question_of(row: Row, number: int, reading: DialogueInput, room: int) -> Question | None:
    """The question of a row; None where it has none."""
    if "messages" in row:
        return of_dialogue(row["messages"], number)
    return of_text(row["text"], number, reading, room)


def of_dialogue(messages: Sequence[dict[str, str]], number: int) -> Question | None:
    """The question before one of the answers in a dialogue; None where each stands first."""
    answers = [
        place
        for place, message in enumerate(messages)
        if message["role"] == ASSISTANT and place > 0 and message["content"].strip()
    ]
    if not answers:
        return None
    place = answers[number % len(answers)]
    reference = messages[place]["content"].strip()
    return Question(number, list(messages[:place]), "", reference)


def of_text(text: str, number: int, reading: DialogueInput, room: int) -> Question | None:
    """The first half of a text, or as much as the model has `room` for; None of one token."""
    ids = reading.ids_of(text)
    half = min(len(ids) // 2, room)
    if half < 1:
        return None
    beginning = decoded(reading, ids[:half])
    following = decoded(reading, ids[half : half + MOST_TOKENS])
    return Question(number, None, beginning, following)


def decoded(reading: DialogueInput, ids: Any) -> str:
    """The text of tokens, without special ones."""
    return str(reading.tokenizer.decode(np.asarray(ids).tolist()))


def prompt_of(question: Question, reading: DialogueInput) -> Any:
    """(T) the tokens that a model reads before its answer, as in its training."""
    if question.messages is None:
        return reading.ids_of(question.text)
    text = reading.template.render(question.messages, add_generation_prompt=True)
    return reading.ids_of(text)
