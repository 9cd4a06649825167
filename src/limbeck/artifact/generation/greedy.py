"""Greedy answers to questions, one after another: what is compared between models and runtimes."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from limbeck.artifact.generation import Decoder
from limbeck.artifact.generation.answering import Asked, answer
from limbeck.evaluation.generated.figures import Written

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def greedy_answers(
    decoder: Decoder,
    tokenizer: "Tokenizer",
    prompts: Sequence[Sequence[int]],
    end_ids: tuple[int, ...],
    most_tokens: int,
) -> Iterator[Written]:
    """The answer to each prompt of token ids, as it is written.

    Raises ValueError where a prompt leaves no room for an answer.
    """
    # The defaults draw nothing, so that the answer is a function of model and prompt.
    asked = Asked(max_tokens=most_tokens, end_ids=end_ids)
    for prompt in prompts:
        text = ""
        ids: list[int] = []
        ended = False
        for piece in answer(decoder, tokenizer, prompt, asked):
            text += piece.text
            ended = piece.finish == "stop"
            # The token that ends an answer has no text, and is none of its own.
            if piece.token is not None and not ended:
                ids.append(piece.token)
        yield Written(tuple(ids), text.strip(), ended)
