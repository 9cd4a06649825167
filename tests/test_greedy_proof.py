"""What a runtime says by itself, and where a reference would have said another token."""

from pathlib import Path

import numpy as np
import pytest
from toy_decoder import ToyDecoder

from limbeck.artifact.proof import greedy
from limbeck.artifact.proof.greedy import Said
from limbeck.reports.summary import by_itself, parity_lines
from limbeck.tasks import Encoded

VOCABULARY = 7


def row(length: int) -> Encoded:
    ids = np.arange(length) % 200
    return Encoded({"input_ids": ids}, None, ids[:1])


def counting(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """A model that says the next number, modulo 7."""
    following = (inputs["input_ids"] + 1) % VOCABULARY
    logits: np.ndarray = np.eye(VOCABULARY, dtype=np.float32)[following]
    return logits


def test_prompts_are_halves_of_rows_that_leave_room_for_an_answer() -> None:
    decoder = ToyDecoder(positions=64)
    said = greedy.say(decoder, [row(10), row(1), row(90), *[row(6)] * 20])
    # Of a single token there is no half; and no more rows are asked than eight.
    assert [len(each.prompt) for each in said] == [5, 32, 3, 3, 3, 3, 3]
    assert {len(each.answer) for each in said} == {greedy.MOST_TOKENS}
    assert said[0].prompt == [0, 1, 2, 3, 4]
    # Each token is the likeliest after all before it.
    for prompt, answer in said[:2]:
        cache = decoder.cache(64)
        logits = decoder.logits(np.array([*prompt, *answer[:-1]]), cache)
        assert logits[len(prompt) - 1 :].argmax(1).tolist() == answer


def test_the_first_token_that_the_reference_would_not_have_said(tmp_path: Path) -> None:
    said = [Said([4, 5], [6, 0, 1]), Said([4], [5, 6, 3, 4]), Said([1, 2], [0])]
    greedy.write(said, tmp_path / "said.json")
    assert greedy.read(tmp_path / "said.json") == said
    # What follows a token that differs is judged by what was said, and not told.
    assert greedy.differences(counting, said) == [None, 2, 0]


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([None, None], "2 greedy answers of 32 tokens: all as the reference says them"),
        (
            [7, 3, None],
            "3 greedy answers of 32 tokens: 2 part from the reference's, the first at token 4",
        ),
    ],
)
def test_it_is_told_below_the_line_of_parity(places: list[int | None], told: str) -> None:
    answers = {"answers": len(places), "tokens": 32, "first_differences": places}
    figures = {"greedy": answers, "perplexity": 12.5, "trained_perplexity": 12.25}
    line = {
        "holds": True,
        "arm": "joint",
        "seed": 0,
        "runtime": "transformers",
        "flips": 0,
        "units": 9,
    }
    assert parity_lines([line | figures])[1:] == [
        "  perplexity 12.5000 there, 12.2500 of the trained model",
        f"  {told}",
    ]
    none = answers | {"answers": 0, "first_differences": []}
    assert len(by_itself(figures | {"greedy": none})) == 1
