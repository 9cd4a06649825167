"""A model that writes: its decoder, its tokenizer and its chat template, of an open artifact."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from limbeck.artifact import manifest
from limbeck.artifact.generation import Decoder, Ids, Logits
from limbeck.artifact.generation.answering import Asked, Piece, answer
from limbeck.artifact.generation.constraint import JsonSchema
from limbeck.artifact.generation.onnx_decoder import OnnxDecoder, has_cache
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.runtimes import Graph
from limbeck.core.files import read_json
from limbeck.tasks.chat.conversation import conversation, refuse_special_tokens
from limbeck.tasks.chat.template import MessageTemplate
from limbeck.tasks.inputs.long_texts import encoded, has_more_tokens
from limbeck.tasks.inputs.tokenized import special_tokens
from limbeck.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Of an answer to a row, where no other number is asked for, and the keys that it has.
USUAL_TOKENS = 256
ANSWER_KEYS = ("text", "finish", "num_tokens")
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

    def prompt_of_messages(self, given: Any) -> list[int]:
        """The ids of a conversation, up to where the answer begins.

        Raises ValueError for what is no conversation, where the model has no template, where that
        refuses the messages, and where they bring a special token in, alone or as the template
        joins them: with one, whoever writes a message could end it and write the next in another's
        name.
        """
        if self.template is None:
            raise ValueError(
                "this model has no chat template, so it continues texts and answers no messages"
            )
        messages = conversation(given)
        text = self.template.render(messages, add_generation_prompt=True)
        # As transformers' sanitizing does, but told: to rewrite a message silently changes it.
        refuse_special_tokens(messages, self.special_tokens)
        prompt = self.prompt_of_text(text)
        self.check_specials(messages, prompt)
        return prompt

    def prompt_of(self, raw: Any) -> list[int]:
        """The ids before an answer to a row. A text is what a user says to a model that converses,
        and else a text that is continued. Raises ValueError for a row that is neither."""
        if isinstance(raw, dict) and "messages" in raw:
            return self.prompt_of_messages(raw["messages"])
        text = raw.get("text") if isinstance(raw, dict) else raw
        if not isinstance(text, str):
            raise ValueError("a text, or a row with `messages`, is needed")
        if not text.strip():
            raise ValueError("an empty text has nothing to go on from")
        # What it was trained on: turns, or running text.
        if self.template is None:
            return self.prompt_of_text(text)
        return self.prompt_of_messages([{"role": "user", "content": text}])

    def check_specials(self, messages: Sequence[Mapping[str, Any]], prompt: Sequence[int]) -> None:
        """Raise ValueError where a prompt has a special token that is not the template's own, such
        as one of which two messages have a half each."""
        assert self.template is not None
        # The same messages, none of which can be a part of a special token any more: what is left
        # of these tokens the template has written.
        plain = [without_signs(message, self.special_signs) for message in messages]
        if plain == list(messages):
            return
        text = self.template.render(plain, add_generation_prompt=True)
        extra = self.specials_in(prompt) - self.specials_in(encoded(text, self.tokenizer).ids)
        if extra:
            token = self.tokenizer.id_to_token(min(extra))
            raise ValueError(
                f"these messages make the special token {token} together, once the chat template "
                "has joined them: take its parts out of their texts"
            )

    def specials_in(self, ids: Sequence[int]) -> Counter[int]:
        """How often each special token is among some ids."""
        return Counter(each for each in ids if each in self.special_ids)

    def prompt_of_text(self, text: str) -> list[int]:
        """The ids of a text that is to be continued, as the task reads it. Raises ValueError for
        one that is certainly too long, by its beginning."""
        most = self.decoder.positions
        if has_more_tokens(text, most, self.tokenizer):
            raise ValueError(
                f"the prompt has {len(text):,} characters, which are far more than the {most:,} "
                "tokens that prompt and answer together have at most: shorten it"
            )
        # The template writes a beginning itself, where the model was trained with one.
        ids: list[int] = encoded(text, self.tokenizer).ids
        return ids

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
        return special_tokens(self.tokenizer)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of those that texts can name: not of the unknown, which any strange letter is."""
        model = json.loads(self.tokenizer_text)["model"]
        # By name, and in Unigram by id.
        unknown = {model.get("unk_token"), model.get("unk_id")}
        added = self.tokenizer.get_added_tokens_decoder().items()
        return frozenset(
            number
            for number, token in added
            if token.special and not {number, token.content} & unknown
        )

    @cached_property
    def special_signs(self) -> frozenset[str]:
        """What special tokens begin and end with, such as `<` and `]`; no letters, without which
        hardly any message could be said."""
        ends = {sign for token in self.special_tokens for sign in (token[0], token[-1])}
        return frozenset(sign for sign in ends if not sign.isalnum() and not sign.isspace())


def without_signs(value: Any, signs: frozenset[str]) -> Any:
    """Plain data with a letter in place of each sign, and of what tokenizers take for one (the same
    sign in another width, by NFKC), in every text of it."""
    if isinstance(value, str):
        return "".join("x" if normalize("NFKC", each) in signs else each for each in value)
    if isinstance(value, Mapping):
        return {key: without_signs(each, signs) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_signs(each, signs) for each in value]
    return value


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
    if isinstance(predictor.graph, Decoder):
        # What runs the graph keeps what it has read by itself.
        decoder = predictor.graph
    elif has_cache(path):
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
