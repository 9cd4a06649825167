"""The loop around a language model: choosing, showing, stopping, following a schema."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_decoder import END, TEXT, ToyDecoder, byte_tokenizer

from limbeck.artifact.generation.answering import PROMPT_PART, Asked, Piece, answer
from limbeck.artifact.generation.sampling import Sampling, choose, scores_of
from limbeck.artifact.generation.text_stream import StopWords, TextStream

TOKENIZER = byte_tokenizer()


def said(script: str, asked: Asked, *, ends: bool = True, positions: int = 64) -> list[Piece]:
    """The pieces of an answer of a model that says a text."""
    ids = TOKENIZER.encode(script).ids + [END] * ends
    return list(answer(ToyDecoder(positions, ids), TOKENIZER, [1, 2, 3], asked))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


# Choosing.


def rules(logits: np.ndarray, earlier: list[int], sampling: Sampling) -> np.ndarray:
    return scores_of(logits.astype(np.float32), np.array(earlier, np.int64), sampling)


@pytest.mark.parametrize("top_k", [0, 3, 50])
@pytest.mark.parametrize("top_p", [1.0, 0.7, 0.05])
def test_scores_are_those_of_transformers(top_k: int, top_p: float) -> None:
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers.generation.logits_process")
    generator = np.random.default_rng(top_k)
    sampling = Sampling(0.6, top_p, top_k, 1.3)
    rules_of_others = [
        processors.RepetitionPenaltyLogitsProcessor(1.3),
        processors.TemperatureLogitsWarper(0.6),
        *([processors.TopKLogitsWarper(top_k)] if top_k else []),
        *([processors.TopPLogitsWarper(top_p)] if top_p < 1 else []),
    ]
    for _ in range(20):
        logits = generator.normal(0, 2, 40)
        earlier = generator.integers(0, 40, 6)
        # Of the middle, which no logit ties with.
        expected = torch.tensor(logits.astype(np.float32)[None]).double()
        for each in rules_of_others:
            expected = each(torch.tensor(earlier[None]), expected)
        np.testing.assert_allclose(rules(logits, list(earlier), sampling), expected[0], rtol=1e-6)


def test_a_token_is_drawn_as_often_as_it_is_probable() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    generator = Sampling(seed=3).generator()
    sampling = Sampling(temperature=1.0)
    drawn = [choose(logits, np.array([], np.int64), sampling, generator) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [0.5, 0.3, 0.15, 0.05], atol=0.03)


@given(st.integers(0, 2**32), st.floats(0.05, 1.0), st.integers(0, 5))
def test_a_token_that_is_ruled_out_is_never_drawn(seed: int, top_p: float, top_k: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, 12).astype(np.float32)
    logits[[0, 11]] = -np.inf
    sampling = Sampling(0.9, top_p, top_k, seed=seed)
    scores = rules(logits, [], sampling)
    token = choose(logits, np.array([], np.int64), sampling, sampling.generator())
    assert np.isfinite(scores[token]) and scores.max() == scores[np.nanargmax(logits)]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"temperature": -1}, "temperature: 0 to 100, not -1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p: above 0"),
        ({"top_k": -1}, "top_k: 0"),
        ({"repetition_penalty": 0}, "repetition_penalty: above 0"),
        ({"seed": -1}, "seed: 0 to"),
    ],
)
def test_values_out_of_range_are_told(keys: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Sampling(**keys)


def test_logits_that_are_no_numbers_are_told() -> None:
    for bad in ([np.nan, 1.0], [-np.inf, -np.inf], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="not numbers"):
            choose(np.array(bad, np.float32), np.array([0]), Sampling(), Sampling().generator())


# Showing.


@given(st.text(max_size=30), st.lists(st.integers(0, 258), max_size=12))
def test_pieces_together_are_the_text_of_all_tokens(text: str, further: list[int]) -> None:
    # Some ids behind it are bytes that are no characters.
    ids = TOKENIZER.encode(text).ids + further
    stream = TextStream(TOKENIZER)
    pieces = [stream.add(each) for each in ids]
    assert "".join(pieces) + stream.finish() == TOKENIZER.decode(ids)


def test_a_character_is_shown_once_all_its_bytes_are_there() -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.add(each) for each in TOKENIZER.encode(TEXT).ids]
    assert [piece for piece in pieces if piece] == list(TEXT)


@given(st.text("abU:", max_size=12), st.lists(st.text("abU:", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_word(text: str, words: list[str]) -> None:
    places = [text.find(word) for word in words if word in text]
    stop = StopWords(words)
    shown = "".join(stop.add(piece) for piece in text)
    assert stop.is_stopped == bool(places)
    shown += "" if stop.is_stopped else stop.finish()
    # By characters, the word that is whole first counts; it ends, not begins, before the others.
    ends = [text.find(word) + len(word) for word in words if word in text]
    first = min(ends, default=0)
    expected = min((text[:first].find(w) for w in words if w in text[:first]), default=len(text))
    assert shown == text[:expected]


# Answering.


def test_an_answer_ends_at_its_end_token() -> None:
    pieces = said(TEXT, Asked(end_ids=(END,)))
    assert text_of(pieces) == TEXT and pieces[-1].finish == "stop"
    assert all(piece.finish is None for piece in pieces[:-1])


def test_an_answer_ends_at_a_stop_word_over_tokens() -> None:
    pieces = said("Yes. User: the", Asked(stop=("User:",)))
    assert text_of(pieces) == "Yes. " and pieces[-1].finish == "stop"


def test_what_could_have_been_a_stop_word_is_shown_at_the_end() -> None:
    pieces = said("Yes. Us", Asked(stop=("User:",), end_ids=(END,)))
    assert text_of(pieces) == "Yes. Us" and pieces[-1].finish == "stop"


@pytest.mark.parametrize(("most", "positions", "expected"), [(3, 64, 3), (None, 9, 6), (99, 9, 6)])
def test_an_answer_has_at_most_as_many_tokens(most: int, positions: int, expected: int) -> None:
    pieces = said("abcdefghij", Asked(max_tokens=most), positions=positions)
    assert len(pieces) == expected and pieces[-1].finish == "length"
    assert text_of(pieces) == "abcdefghij"[:expected]


def test_bytes_that_became_no_character_are_shown_at_the_end() -> None:
    pieces = said("ü", Asked(max_tokens=1))
    assert text_of(pieces) == "\ufffd"


def test_the_same_seed_gives_the_same_answer() -> None:
    def tokens(seed: int) -> list[int | None]:
        asked = Asked(Sampling(1.0, seed=seed), max_tokens=20)
        return [piece.token for piece in answer(ToyDecoder(), TOKENIZER, [5], asked)]

    assert tokens(1) == tokens(1) != tokens(2)


def test_a_prompt_is_read_in_parts() -> None:
    decoder = ToyDecoder(positions=999)
    prompt = list(range(200)) + list(range(100))
    pieces = list(answer(decoder, TOKENIZER, prompt, Asked(max_tokens=2)))
    assert [piece.token is None for piece in pieces] == [True, True, False, False]
    assert decoder.reads == [PROMPT_PART, PROMPT_PART, 300 - 2 * PROMPT_PART, 1]


@pytest.mark.parametrize(("length", "told"), [(0, "no token"), (64, "64 tokens.*at most 64")])
def test_prompts_that_do_not_fit_are_told_at_once(length: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        answer(ToyDecoder(), TOKENIZER, [1] * length, Asked())


@pytest.mark.parametrize(("keys", "told"), [({"max_tokens": 0}, "max_tokens"), ({"stop": ("",)}, "stop")])  # fmt: skip
def test_what_cannot_be_asked_is_told(keys: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Asked(**keys)


# Schemas.

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["café", "tea"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["name", "kind", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_follows_a_schema(temperature: float, seed: int) -> None:
    pytest.importorskip("llguidance")
    from limbeck.artifact.generation.constraint import JsonSchema

    schema = JsonSchema(SCHEMA, TOKENIZER.to_str(), [END])
    asked = Asked(Sampling(temperature, seed=seed), end_ids=(END,), schema=schema)
    pieces = list(answer(ToyDecoder(positions=200), TOKENIZER, [seed], asked))
    value = json.loads(text_of(pieces))
    assert pieces[-1].finish == "stop"
    assert list(value) == ["name", "kind", "count"]
    assert len(value["name"]) <= 6 and value["kind"] in ("café", "tea")
    assert value["count"] in range(10)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/none"}, {"pattern": "(", "type": "string"}])  # fmt: skip
def test_a_schema_that_is_none_is_told(schema: dict) -> None:
    pytest.importorskip("llguidance")
    from limbeck.artifact.generation.constraint import JsonSchema

    with pytest.raises(ValueError, match="cannot be followed"):
        JsonSchema(schema, TOKENIZER.to_str(), [END])
