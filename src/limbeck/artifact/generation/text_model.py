"""A model that writes: its decoder, its tokenizer and its chat template, of an open artifact."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.artifact import manifest
from limbeck.artifact.generation import Decoder, Ids, Logits
from limbeck.artifact.generation.answering import Asked, Piece, answer
from limbeck.artifact.generation.constraint import JsonSchema
from limbeck.artifact.generation.onnx_decoder import OnnxDecoder, has_cache
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.runtimes import Graph
from limbeck.core.files import read_json
from limbeck.tasks.chat.template import MessageTemplate
from limbeck.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Beside a graph with a cache, as `exporters.onnx_decoder` writes it.
GENAI_FILE = "genai_config.json"


@dataclass(frozen=True)
class TextModel:
    """What writes text.

    - `end_ids`: tokens that end an answer.
    - `template`: None where the model continues texts, and knows no messages.
    """

    decoder: Decoder
    tokenizer: "Tokenizer"
    end_ids: tuple[int, ...]
    template: MessageTemplate | None = None

    def prompt_of_messages(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of a conversation, up to where the answer begins.

        Raises ValueError where the model has no template, where that refuses the messages, and for
        a message that holds a special token: with one, whoever writes a message could end it and
        write the next in another's name.
        """
        if self.template is None:
            raise ValueError(
                "this model has no chat template, so it continues texts and answers no messages"
            )
        text = self.template.render(messages, add_generation_prompt=True)
        # As transformers' sanitizing does, but told: to rewrite a message silently changes it.
        for number, message in enumerate(messages, 1):
            # Contents may be parts: whatever they hold is in their JSON.
            content = json.dumps(message.get("content"), ensure_ascii=False)
            for token in self.special_tokens:
                if token in content:
                    raise ValueError(f"message {number} holds the special token {token}: remove it")
        return self.prompt_of_text(text)

    def prompt_of_text(self, text: str) -> list[int]:
        """The ids of a text that is to be continued, as the task reads it."""
        # The template writes a beginning itself, where the model was trained with one.
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids

    def answer(self, prompt: Sequence[int], asked: Asked) -> Iterator[Piece]:
        """As `answering.answer`."""
        return answer(self.decoder, self.tokenizer, prompt, asked)

    def schema(self, schema: dict[str, Any]) -> JsonSchema:
        """What an answer follows. Raises ValueError for a schema that cannot be followed."""
        return JsonSchema(schema, self.tokenizer_text, self.end_ids)

    @cached_property
    def tokenizer_text(self) -> str:
        """`tokenizer.json`."""
        return self.tokenizer.to_str()

    @cached_property
    def special_tokens(self) -> list[str]:
        """Special tokens as a message could write them."""
        # Other added tokens are words like any.
        added = self.tokenizer.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]


def text_model_of(predictor: Predictor, threads: int = 1) -> TextModel | None:
    """What writes the texts of an artifact; None where its task is another.

    An artifact whose graph has a cache answers with it. Others read all again for every token,
    which is right, and slow beyond some hundred tokens.
    """
    if not isinstance(predictor.task, TextGeneration):
        return None
    reading = predictor.task.input
    # Which of its graphs was opened stands in the manifest, by the runtime.
    graphs = manifest.graphs_in(predictor.folder)
    files = {graph["runtime"]: graph["file"] for graph in graphs}
    path = predictor.folder / files[predictor.runtime]
    # It is opened once more, because the runtimes' own call has no place for a cache.
    decoder: Decoder
    if has_cache(path):
        # Training reads stretches of `max_tokens`; a conversation may be as long as the model is.
        told = read_json(predictor.folder / GENAI_FILE)
        decoder = OnnxDecoder(path, told["model"]["context_length"], threads)
    else:
        decoder = RecomputingDecoder(predictor.graph, reading.max_tokens)
    knows_messages = reading.parts["chat_template"] is not None
    template = reading.template if knows_messages else None
    return TextModel(decoder, reading.tokenizer, tuple(reading.end_ids), template)


@dataclass(frozen=True)
class RecomputingDecoder:
    """A graph without a cache, which reads all tokens again at every step; its cache is their
    list."""

    graph: Graph
    positions: int

    def cache(self, capacity: int) -> list[int]:
        """An empty cache."""
        # A list grows as it has to.
        return []

    def logits(self, ids: Ids, cache: list[int]) -> Logits:
        """(T) ids to (T, V) logits."""
        cache += ids.tolist()
        read = np.array([cache], np.int64)
        # One row, nothing of which is padding.
        logits = self.graph({"input_ids": read, "attention_mask": np.ones_like(read)})
        return logits[0, -len(ids) :]
