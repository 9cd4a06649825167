"""The loop: a prompt is read in parts, then a token is chosen, shown and read, until an end.

It is a generator of steps, none of which takes long: a part of the prompt, or one token. Who runs
it may turn to others between two steps, and drop it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from limbeck.artifact.generation import Decoder, Logits
from limbeck.artifact.generation.constraint import JsonSchema
from limbeck.artifact.generation.sampling import Sampling, choose
from limbeck.artifact.generation.text_stream import StopWords, TextStream

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Tokens of a prompt that are read in one step: logits of more would fill the memory (49,152 for
# each token), and of fewer the products become slower.
PROMPT_PART = 128

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Asked:
    """What is asked of a model beside the prompt.

    - `max_tokens`: of the answer; None: as many as the model reads.
    - `end_ids`: tokens that end an answer, and are not shown.
    - `stop`: words that end it, and are not shown either.
    - `schema`: what the answer follows.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    end_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    schema: JsonSchema | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens: at least 1, not {self.max_tokens}")
        # It says what is wrong with a word.
        StopWords(self.stop)


@dataclass(frozen=True)
class Piece:
    """What a step gave.

    - `text`: what can be shown now; often nothing.
    - `token`: that was chosen; None where the step read a part of the prompt.
    - `finish`: of the last piece: `stop` (an end token, a stop word, a schema that is complete) or
      `length`.
    """

    text: str = ""
    token: int | None = None
    finish: Finish | None = None


def answer(
    decoder: Decoder, tokenizer: "Tokenizer", prompt: Sequence[int], asked: Asked
) -> Iterator[Piece]:
    """An answer to a prompt of token ids, piece by piece.

    Raises ValueError at once for a prompt that is empty, or that leaves no room for an answer.
    """
    num_prompt = len(prompt)
    if not num_prompt:
        raise ValueError("the prompt has no token")
    room = decoder.positions - num_prompt
    if room < 1:
        raise ValueError(
            f"the prompt has {num_prompt:,} tokens, and prompt and answer together have at most "
            f"{decoder.positions:,}: shorten it"
        )
    # An answer that reaches the last position ends there, whatever was asked.
    most = min(room, asked.max_tokens or room)
    return _pieces(decoder, tokenizer, np.array(prompt, np.int64), asked, most)


def _pieces(
    decoder: Decoder,
    tokenizer: "Tokenizer",
    prompt: np.ndarray,
    asked: Asked,
    most: int,
) -> Iterator[Piece]:
    """`answer`, of at most `most` tokens."""
    ids = np.concatenate([prompt, np.zeros(most, np.int64)])
    num_ids = len(prompt)
    # The last token that is chosen is never read.
    cache = decoder.cache(len(ids) - 1)
    stream = TextStream(tokenizer)
    stop = StopWords(asked.stop)
    generator = asked.sampling.generator()
    # 1. The prompt.
    starts = range(0, num_ids, PROMPT_PART)
    for start in starts[:-1]:
        # What follows within the prompt is known: only the cache is wanted.
        decoder.logits(ids[start : start + PROMPT_PART], cache)
        yield Piece()
    logits = decoder.logits(ids[starts[-1] : num_ids], cache)[-1]
    # 2. A token after another.
    while True:
        token = _chosen(logits, ids[:num_ids], asked, generator)
        if token in asked.end_ids:
            # What was held back is text after all.
            yield Piece(stop.add(stream.finish()) + stop.finish(), token, "stop")
            return
        ids[num_ids] = token
        num_ids += 1
        text = stop.add(stream.add(token))
        if stop.is_stopped:
            # The rest of a token that goes on behind the word is not shown.
            yield Piece(text, token, "stop")
            return
        is_complete = asked.schema is not None and asked.schema.is_complete
        if is_complete or num_ids == len(ids):
            text += stop.add(stream.finish()) + stop.finish()
            yield Piece(text, token, "stop" if is_complete or stop.is_stopped else "length")
            return
        yield Piece(text, token)
        logits = decoder.logits(ids[num_ids - 1 : num_ids], cache)[-1]


def _chosen(
    logits: Logits, earlier: np.ndarray, asked: Asked, generator: np.random.Generator
) -> int:
    """The next token, which the schema allows where there is one."""
    schema = asked.schema
    # Before the rules: top-p is of what may come next.
    if schema is not None:
        logits = schema.masked(logits)
    token = choose(logits, earlier, asked.sampling, generator)
    if schema is not None:
        schema.accept(token)
    return token
