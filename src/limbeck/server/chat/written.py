"""`POST /predict` of a model that writes: whole answers, as `limbeck predict` gives them."""

from collections.abc import Iterator
from typing import Any

from limbeck.artifact.generation.answering import Asked, Piece
from limbeck.artifact.generation.text_model import ANSWER_KEYS, USUAL_TOKENS, TextModel

Step = Piece | list[dict[str, Any]]


def written_answers(writer: TextModel, inputs: list[Any]) -> Iterator[Step]:
    """Answer raw inputs, one after the other, a token in each step; the last step gives the
    answers. The most probable tokens are taken, so that the same question has the same answer.

    Raises ValueError for one that cannot be answered.
    """
    asked = Asked(max_tokens=USUAL_TOKENS, end_ids=writer.end_ids)
    answers = []
    for place, raw in enumerate(inputs):
        text, num_tokens = "", 0
        piece = Piece()
        try:
            for piece in writer.answer(writer.prompt_of(raw), asked):
                text += piece.text
                num_tokens += piece.token is not None
                # Between two tokens others have their turn.
                yield piece
        except ValueError as error:
            # Of one there is no place to name.
            if len(inputs) == 1:
                raise
            raise ValueError(f"inputs[{place}]: {error}") from None
        values = (text, piece.finish, num_tokens)
        answers.append(dict(zip(ANSWER_KEYS, values, strict=True)))
    yield answers
