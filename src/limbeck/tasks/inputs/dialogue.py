"""Dialogues and plain texts as a causal language model reads them, and which tokens are answers.

A dialogue is written as one text by the chat template of the model's tokenizer. What the assistant
says in it, with the mark that ends a turn, is the answer; other tokens are read and not learned. Of
a plain text every token but the first is an answer to those before it. Tokens are predicted one
place before they stand. What is longer than the model reads is read in stretches.

Shapes: T tokens, W answer tokens of a row.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.chat.conversation import refuse_special_tokens
from limbeck.tasks.chat.template import ASSISTANT, MessageTemplate
from limbeck.tasks.inputs.long_texts import encoded, parts
from limbeck.tasks.inputs.tokenized import open_tokenizer, special_tokens
from limbeck.tasks.likelihood import UNKNOWN
from limbeck.tasks.types import Array, Names

SHOWN = 60  # characters of a text in a message
# Some templates write the date: that of training is the same in every run.
TODAY = datetime(2024, 7, 26)


@dataclass(frozen=True)
class DialogueInput:
    """`preprocess`: the text of a `dialogue.json`, as `dialogue_file` writes it."""

    preprocess: str

    preprocess_file: ClassVar[str] = "dialogue.json"
    input_names: ClassVar[Names] = ("input_ids", "attention_mask")

    @cached_property
    def parts(self) -> dict[str, Any]:
        """What the file holds."""
        found: dict[str, Any] = json.loads(self.preprocess)
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """Neither cuts nor pads."""
        tokenizer = open_tokenizer(json.dumps(self.parts["tokenizer"]))
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def template(self) -> MessageTemplate:
        """Raises ValueError where the model has none."""
        text = self.parts["chat_template"]
        if text is None:
            raise ValueError(
                "the model's tokenizer has no chat template, by which messages become one text. "
                "Take a model that was made for dialogues (Instruct, Chat), put its "
                "chat_template.jinja beside its tokenizer.json, or learn from plain texts"
            )
        return MessageTemplate(text, self.parts["special_tokens"], today=TODAY)

    @cached_property
    def special_tokens(self) -> list[str]:
        """What no message may hold."""
        return special_tokens(self.tokenizer)

    @property
    def max_tokens(self) -> int:
        """How many tokens of a row are read at most."""
        return int(self.parts["max_tokens"])

    @property
    def padding(self) -> dict[str, int]:
        """The padding token; the attention mask's filling is 0."""
        return {"input_ids": self.parts["pad_id"]}

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer."""
        return list(self.parts["end_ids"])

    def rows_of(self, row: Row) -> Iterator[Encoded]:
        """What the model reads of a row: one Encoded, or several of a row that is longer than it
        reads. Of a dialogue in which nobody has answered yet the next token is asked for. Raises
        ValueError as `dialogue`."""
        if row.get("asked") or is_unanswered(row):
            yield self.asked(row)
        elif "messages" in row:
            yield from self.dialogue(row["messages"])
        else:
            ids = np.concatenate([self.ids_of(part) for part in parts(row["text"])])
            yield from stretches(ids, np.arange(1, len(ids)), self.max_tokens)

    def dialogue(self, messages: Sequence[dict[str, str]]) -> Iterator[Encoded]:
        """A dialogue with its answers as units. Raises ValueError where it has none, for
        messages that the template refuses, and for those that hold a special token."""
        # As a server refuses them: what is learned is what can be asked.
        refuse_special_tokens(messages, self.special_tokens)
        rendered = self.template.render_answers(messages)
        encoding = self.tokenizer.encode(rendered.text, add_special_tokens=False)
        ids = np.array(encoding.ids, np.int64)
        is_answer = in_spans(encoding.offsets, rendered.answers)
        # Nothing stands before the first token, by which it could be predicted.
        units = 1 + np.flatnonzero(is_answer[1:])
        if not len(units):
            raise ValueError(f"no token of an answer in `{rendered.text[:SHOWN]}`")
        yield from stretches(ids, units, self.max_tokens)

    def asked(self, row: Row) -> Encoded:
        """A row whose next token is asked for, its only unit, without a label; of one that is too
        long the end is read."""
        text = row.get("text")
        ids = self.prompt(row["messages"]) if text is None else self.ids_of(text)
        ids = ids[-self.max_tokens :]
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return Encoded(inputs, np.array([len(ids) - 1]), np.array([UNKNOWN], np.int64))

    def prompt(self, messages: Sequence[dict[str, str]]) -> Array:
        """(T) the tokens of a dialogue up to where an answer begins. Raises ValueError for messages
        that the template refuses, and for those that hold a special token."""
        refuse_special_tokens(messages, self.special_tokens)
        return self.ids_of(self.template.render(messages, add_generation_prompt=True))

    def ids_of(self, text: str) -> Array:
        """(T) the tokens of a text, without any that the tokenizer would add around it."""
        return np.array(encoded(text, self.tokenizer).ids, np.int64)


def is_unanswered(row: Row) -> bool:
    """Whether a row is a dialogue without any answer, as rows without labels are."""
    messages = row.get("messages", ())
    return bool(messages) and all(each["role"] != ASSISTANT for each in messages)


def in_spans(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Array:
    """(T) bool: whether each token begins in a span; `offsets`: (first character, one behind the
    last) of each token."""
    starts = np.array([start for start, _ in offsets], np.int64)
    inside = np.zeros(len(starts), bool)
    for start, end in spans:
        inside |= (start <= starts) & (starts < end)
    return inside


def stretches(ids: Array, units: Array, max_tokens: int) -> Iterator[Encoded]:
    """A row (T) of which the tokens at the places `units` (W) are predicted, in stretches of at
    most `max_tokens`. Each unit is in one of them; half of every further one is what came before.
    """
    start = 0
    begins = 1
    while len(units):
        if units[0] >= start + max_tokens:
            start = int(units[0]) - max_tokens // 2
        count = int(np.searchsorted(units, start + max_tokens))
        places = units[:count] - start
        # Up to the last unit: nobody predicts what follows.
        read = ids[start : start + places[-1] + 1]
        inputs = {"input_ids": read, "attention_mask": np.ones_like(read)}
        yield Encoded(inputs, places - 1, read[places], begins=begins)
        begins = 0
        units = units[count:]


def dialogue_file(
    tokenizer: str,
    *,
    chat_template: str | None,
    special_tokens: dict[str, str],
    end_ids: Sequence[int],
    pad_id: int,
    max_tokens: int,
) -> str:
    """The text of a `dialogue.json`.

    tokenizer: the text of a tokenizer.json. special_tokens: as a chat template names them,
    `bos_token` and `eos_token`. end_ids: tokens that end an answer.
    """
    content = {
        "max_tokens": max_tokens,
        "pad_id": pad_id,
        "end_ids": list(end_ids),
        "special_tokens": special_tokens,
        "chat_template": chat_template,
        "tokenizer": json.loads(tokenizer),
    }
    return json.dumps(content, ensure_ascii=False)
