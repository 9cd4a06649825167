"""Greedy answers to questions of a test split: which questions, what they are worth, and how they are kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_decoder import byte_tokenizer

from limbeck.artifact.generation.greedy import greedy_answers
from limbeck.evaluation.generated.figures import (
    Written,
    differences,
    figures_of,
    first_difference,
    interval_of_mean,
    variety_of,
)
from limbeck.tasks.inputs.dialogue import DialogueInput, dialogue_file
from limbeck.tasks.inputs.questions import (
    longest_prompt,
    prompt_of,
    question_of,
    questions_of,
    spread,
    tokens_of_answer,
)

TEMPLATE = (
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def said(*turns: str) -> dict[str, Any]:
    messages = []
    for turn in turns:
        role, _, content = turn.partition(":")
        messages.append(
            {"role": {"u": "user", "a": "assistant", "s": "system"}[role], "content": content}
        )
    return {"messages": messages}


def reading(template: str | None = TEMPLATE) -> DialogueInput:
    return DialogueInput(
        dialogue_file(
            byte_tokenizer().to_str(),
            chat_template=template,
            special_tokens={},
            end_ids=[256],
            pad_id=256,
            max_tokens=16,
        )
    )


def test_of_a_dialogue_the_answer_is_asked_for_whose_turn_it_is() -> None:
    row = said("u:one", "a: 1 ", "u:two", "a:2", "u:three", "a:3", "u:bye")
    found = [question_of(row, number, reading(), 99) for number in range(4)]
    assert [each.reference for each in found if each] == ["1", "2", "3", "1"]
    first, second, *_ = found
    assert first and second
    assert [each["content"] for each in second.messages or ()] == ["one", " 1 ", "two"]
    assert second.shown == "user: one\nassistant:  1 \nuser: two"
    text = reading().tokenizer.decode(prompt_of(second, reading()).tolist())
    assert text == "<u>one<a> 1 <u>two<a>"


def test_an_answer_that_stands_first_or_is_blank_is_not_asked_for() -> None:
    row = said("a:hello", "u:hi", "a: ", "u:well?", "a:yes")
    assert {question_of(row, number, reading(), 99).reference for number in range(5)} == {"yes"}  # type: ignore[union-attr]
    assert question_of(said("a:hello"), 0, reading(), 99) is None


def test_of_a_text_the_first_half_is_asked_as_far_as_the_model_reads() -> None:
    found = question_of({"text": "abcdefgh"}, 5, reading(None), 99)
    assert found and (found.text, found.reference, found.row) == ("abcd", "efgh", 5)
    cut = question_of({"text": "abcdefgh"}, 5, reading(None), 3)
    assert cut and (cut.text, cut.reference) == ("abc", "defgh")
    assert question_of({"text": "a"}, 0, reading(None), 9) is None


def test_questions_are_spread_fit_and_stand_once() -> None:
    assert spread(100, 3) == [0, 33, 66] and spread(2, 5) == [0, 1]
    rows = [said("u:q" + "x" * (40 * (number == 2)), f"a:{number}") for number in range(4)]
    found = questions_of(rows, reading(), 24, 10)
    # Row 2 is longer than what the model reads, and rows 1 and 3 ask what row 0 asks.
    assert [each.row for each in found] == [0]
    assert tokens_of_answer(24) == 12 and longest_prompt(24) == 12
    assert tokens_of_answer(1000) == 64 and longest_prompt(1000) == 936
    assert longest_prompt(10**6) == 1024 and tokens_of_answer(1) == 1


def written(*texts: str, ended: bool = True) -> list[Written]:
    return [Written(tuple(text.encode()), text, ended) for text in texts]


def test_figures_of_answers_on_an_example_by_hand() -> None:
    answers = written("it is on its way", "no", "a b a b a b a b")
    references = ["it is on the way", "no", "a b"]
    found = figures_of([*answers[:2], Written((1,), answers[2].text, False)], references)
    # 4 of 5 and 5 words; 1 of 1; 2 of 8 and 2.
    assert found["rouge_l"] == pytest.approx((0.8 + 1 + 0.4) / 3, abs=1e-6)
    assert found["exact_match"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["ended"] == pytest.approx(2 / 3, abs=1e-6)
    # Of five stretches of four words two are new.
    assert found["repetition"] == pytest.approx((1 - 2 / 5) / 3, abs=1e-6)
    assert found["words"] == pytest.approx(14 / 3, abs=1e-6)
    assert found["distinct_1"] == pytest.approx(8 / 14, abs=1e-6)
    low, high = found["exact_match_ci95"]
    assert 0 < low < 1 / 3 < high < 1
    assert variety_of(["", "one"])["distinct_2"] is None


def test_an_interval_of_equal_shares_is_not_empty() -> None:
    low, high = interval_of_mean(np.ones(20))
    assert high == 1 and 0.75 < low < 0.9
    narrow = interval_of_mean(np.ones(500))
    assert narrow[0] > 0.99
    # Half of a hundred, as Wilson has it.
    half = interval_of_mean(np.repeat([0.0, 1.0], 50))
    assert half == pytest.approx([0.404, 0.596], abs=0.003)


def test_the_first_difference_is_where_one_answer_leaves_the_other() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 9, 3]) == 1
    assert first_difference([], [7]) == 0
    found = differences(written("abc", "ab", "xyz"), written("abc", "abd", "ayz"))
    assert found == {"same": 1, "median": 1.0, "places": [None, 2, 0]}


class Counting:
    """Says the number of tokens read so far, and ends at `end`."""

    positions = 40

    def __init__(self, end: int) -> None:
        self.end = end

    def cache(self, capacity: int) -> list[int]:
        return []

    def logits(self, ids: np.ndarray, cache: list[int]) -> np.ndarray:
        logits = np.zeros((len(ids), 257), np.float32)
        for place in range(len(ids)):
            cache.append(0)
            token = 256 if len(cache) >= self.end else 64 + len(cache)
            logits[place, token] = 1
        return logits


def test_greedy_answers_end_by_themselves_or_by_their_length() -> None:
    tokenizer = byte_tokenizer()
    prompts = [[65], [65, 66]]
    ended = list(greedy_answers(Counting(4), tokenizer, prompts, (256,), 9))
    assert [each.text for each in ended] == ["bcd", "cd"]
    assert [each.ids for each in ended] == [(65, 66, 67), (66, 67)]
    assert all(each.ended for each in ended)
    (cut,) = greedy_answers(Counting(99), tokenizer, prompts[:1], (256,), 3)
    assert (cut.text, cut.ids, cut.ended) == ("bcd", (65, 66, 67), False)


def test_a_killed_writer_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.written import Writer, read_answers, write_answers
    from limbeck.tasks.text_generation import TextGeneration

    task = TextGeneration([], reading().preprocess)
    writer = Writer("a", "key", task, "none", lambda: Counting(5))
    prompts = [[65] * length for length in (1, 2, 3)]
    write_answers(writer, prompts, 8, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 3 and json.loads(lines[0])["text"] == "bcde"
    # One answer and half of the next.
    cut = tmp_path / "cut.jsonl"
    cut.write_text(lines[0].replace("bcde", "kept") + lines[1][:9])
    write_answers(writer, prompts, 8, cut)
    assert [each.text for each in read_answers(cut)] == ["kept", "cde", "de"]
    assert read_answers(tmp_path / "nothing.jsonl") == []
