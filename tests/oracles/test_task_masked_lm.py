"""Masked language modelling: the shares of the paper, the figures by hand, and what packing keeps."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from limbeck.tasks import UNKNOWN, Scored, collate
from limbeck.tasks.masked_lm import MaskedLm, neighbours

SPECIALS = ["[CLS]", "[SEP]", "[PAD]", "[UNK]"]
WORDS = [f"w{i}" for i in range(400)]
MAX_TOKENS = 102


@cache
def tokenizer_text(mask: str = "[MASK]", max_tokens: int = MAX_TOKENS) -> str:
    specials = [*SPECIALS, *([mask] if mask else [])]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*specials, *WORDS])}, unk_token="[UNK]")
    )
    tokenizer.add_special_tokens(specials)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=2, pad_token="[PAD]")
    return tokenizer.to_str()


TASK = MaskedLm([], tokenizer_text())
MASK, FIRST_WORD = 4, 5


def full_row(seed: int) -> np.ndarray:
    """[CLS], a hundred words, [SEP]."""
    return np.concatenate(
        [[0], np.random.default_rng(seed).integers(FIRST_WORD, FIRST_WORD + 400, 100), [1]]
    )


def test_of_15_percent_80_are_masked_10_are_random_and_10_stay() -> None:
    fates = np.zeros(3)
    places = np.zeros(MAX_TOKENS)
    for seed in range(2000):
        ids = full_row(seed)
        row = TASK.masked(ids, np.random.default_rng([1, seed]))
        assert len(row.labels) == 15
        assert np.array_equal(row.labels, ids[row.positions])
        found = row.inputs["input_ids"]
        rest = np.delete(np.arange(len(ids)), row.positions)
        assert np.array_equal(found[rest], ids[rest])
        hidden = found[row.positions]
        assert ((hidden == MASK) | (hidden >= FIRST_WORD)).all()  # no other special token is drawn
        fates += [
            (hidden == MASK).sum(),
            ((hidden != MASK) & (hidden != row.labels)).sum(),
            (hidden == row.labels).sum(),
        ]
        places[row.positions] += 1
    shares, count = fates / fates.sum(), fates.sum()
    wanted = np.array(
        [0.8, 0.1 * 399 / 400, 0.1 + 0.1 / 400]
    )  # a random token is the true one once in 400
    assert (np.abs(shares - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / count)).all(), shares
    assert places[[0, -1]].tolist() == [0, 0]
    assert np.abs(places[1:-1] / 2000 - 0.15).max() < 5 * math.sqrt(0.15 * 0.85 / 2000)


def test_a_short_row_has_one_unit_and_a_row_of_special_tokens_none() -> None:
    short, empty = (
        TASK.encode([{"text": "w1 w2"}])[0],
        TASK.masked(np.array([0, 3, 1]), np.random.default_rng(0)),
    )
    assert (len(short.labels), len(empty.labels)) == (1, 0)
    batch = collate([empty, short], np.arange(2), TASK.padding)
    assert batch.mask.tolist() == [[False], [True]]


def test_a_step_draws_anew_and_by_its_generator_alone() -> None:
    rows = [{"text": " ".join(f"w{(7 * i + j) % 400}" for j in range(60 + i))} for i in range(6)]
    encoded = TASK.encode(rows)
    batch = collate(encoded, np.arange(len(encoded)), TASK.padding)
    first, again, other = (
        TASK.draw(batch, np.random.default_rng([0, step, 1])) for step in (5, 5, 6)
    )
    for name in ("positions", "labels", "mask"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert name == "mask" or not np.array_equal(getattr(first, name), getattr(other, name))
    assert np.array_equal(first.inputs["input_ids"], again.inputs["input_ids"])
    plain = [np.array(TASK.input.tokenizer.encode(row["text"]).ids) for row in rows]
    for drawn in (batch, first, other):
        for index, ids in enumerate(plain):
            found = drawn.inputs["input_ids"][index].copy()
            known = drawn.mask[index]
            found[drawn.positions[index][known]] = drawn.labels[index][known]
            assert np.array_equal(
                found[: len(ids)], ids
            )  # what is hidden is what stood in the text, however often it was drawn
            assert (found[len(ids) :] == TASK.padding["input_ids"]).all()
            assert drawn.inputs["attention_mask"][index].sum() == len(ids)


def test_a_row_is_asked_the_same_in_every_evaluation() -> None:
    rows = [{"text": " ".join(WORDS[i : i + 90])} for i in (0, 100)]
    one, two = TASK.encode(rows), MaskedLm([], tokenizer_text()).encode(rows[::-1])[::-1]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert np.array_equal(a.inputs["input_ids"], b.inputs["input_ids"])


def test_the_mask_token_in_a_text_asks() -> None:
    (row,) = TASK.encode([{"text": "w1 [MASK] w3 [MASK]"}])
    assert (row.positions.tolist(), row.labels.tolist()) == ([2, 4], [UNKNOWN] * 2)
    logits = np.log(np.full((2, len(TASK.labels)), 0.5 / (len(TASK.labels) - 1)))
    logits[0, FIRST_WORD + 7] = logits[1, FIRST_WORD] = math.log(0.5)
    assert TASK.decode({}, logits) == {"tokens": ["w7", "w0"], "probabilities": [0.5, 0.5]}
    assert TASK.reduce(logits, row.labels).tolist() == [[0, 0], [0, 0]]


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"no mask token .* special tokens: \[CLS\], \[SEP\], \[PAD\], \[UNK\]\. Take an encoder",
    ):
        MaskedLm([], tokenizer_text(mask="")).encode([{"text": "w1"}])


def test_the_mask_token_of_roberta_is_found() -> None:
    assert MaskedLm([], tokenizer_text(mask="<mask>")).mask_id == MASK


def test_nats_of_a_worked_example() -> None:
    """Two rows, three tokens: nats log 2, log 4 and (unknown) nothing; half of the two known are right."""
    logits = np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    labels = np.array([0, 2, UNKNOWN])
    scored = Scored(TASK.reduce(logits, labels), labels, np.array([0, 1, 3]))
    np.testing.assert_allclose(TASK.statistics(scored), [[math.log(2), 1, 1], [math.log(4), 0, 1]])
    mean = 1.5 * math.log(2)
    assert TASK.metrics(TASK.statistics(scored).sum(0)) == pytest.approx(
        {"nats_per_token": mean, "perplexity": math.exp(mean), "accuracy": 0.5}
    )


@given(st.lists(st.text("ab", max_size=12), max_size=20), st.integers(1, 10))
def test_neighbours_keep_every_piece_in_order_and_waste_little(
    pieces: list[str], room: int
) -> None:
    groups = list(neighbours(pieces, room))
    assert [piece for group in groups for piece in group] == [piece for piece in pieces if piece]
    for group, after in zip(groups, [*groups[1:], None][: len(groups)], strict=True):
        length = sum(map(len, group))
        assert group
        assert length <= room or len(group) == 1
        assert after is None or length + len(after[0]) > room


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_no_token_of_a_text_is_lost(lengths: list[int]) -> None:
    task = MaskedLm([], tokenizer_text(max_tokens=12))
    rows = [
        {"text": " ".join(WORDS[(31 * i + j) % 400] for j in range(length))}
        for i, length in enumerate(lengths)
    ]
    found = []
    for row in task.encode(rows):
        ids = row.inputs["input_ids"].copy()
        ids[row.positions] = row.labels
        assert (ids[0], ids[-1], len(ids) <= 12) == (0, 1, True)
        found += ids[1:-1].tolist()
    # Every row begins somewhere, also one without a token.
    begun = [row.begins for row in task.encode(rows)]
    assert sum(begun) == len(rows) * bool(begun)
    assert found == [FIRST_WORD + WORDS.index(word) for row in rows for word in row["text"].split()]
