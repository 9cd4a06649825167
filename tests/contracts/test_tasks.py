"""What every task keeps, and each one's figures against a worked example.

A new task is tested without a line changing; `task_examples.py` says where its four rows come from.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_examples import (
    EXAMPLES,
    IMAGE,
    INTENT,
    MAX_TOKENS,
    PAD,
    TAGS,
    TEXT,
    VOCABULARY,
    has_items,
    has_vectors,
    offer_multi_label_images,
    picture,
    sentence,
)

from limbeck.core import registry
from limbeck.evaluation.scores import agreement, quality
from limbeck.tasks import (
    UNKNOWN,
    OverVocabulary,
    Scored,
    Task,
    collate,
    differs,
    metrics,
)
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.packed import unit_offsets

contract = pytest.mark.parametrize("name", registry.names("tasks"))


def kept(task: Task, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What `Scored` holds of logits."""
    return task.reduce(logits, labels) if isinstance(task, OverVocabulary) else logits


@contract
def test_a_row_holds_what_its_task_reads_and_equal_inputs_have_equal_content(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    assert all(set(task.row_keys) <= set(row) for row in rows)
    contents = [task.content(row) for row in rows]
    assert len(set(map(hash, contents))) == len(rows)
    assert contents == [task.content(dict(row)) for row in rows]


@contract
def test_every_unit_has_a_label_and_every_input_a_name(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    for row in task.encode(rows):
        assert set(row.inputs) == set(task.input_names)
        if task.likelihood == "categorical":
            assert row.labels.dtype == np.int64
            assert ((row.labels >= 0) & (row.labels < len(task.labels))).all()
        elif has_items(task):  # the number of the item, at the first of the two
            assert row.labels.dtype == np.int64
            assert row.labels[0] >= 0 and row.labels[1] == UNKNOWN
        else:
            assert row.labels.dtype == np.float32
            known = row.labels[is_known(row.labels)]
            assert len(known) and ((known >= 0) & (known <= 1)).all()
        assert row.positions is None or len(row.positions) == len(row.labels)
        assert row.size >= 1


def perfect_logits(task: Task, labels: np.ndarray) -> np.ndarray:
    """(P, V) logits that say the labels."""
    if has_items(task):  # query and item of a row are one axis
        return np.eye(len(labels) // 2).repeat(2, 0)
    if has_vectors(task):  # each pair's second vector is (1, 0), the first at its cosine to that
        cosines = np.where(np.isnan(labels), 1, labels)
        return np.stack([cosines, np.sqrt(1 - cosines**2)], 1)
    if task.likelihood == "gaussian":
        return labels[:, None]
    if task.likelihood == "bernoulli":
        return labels - 0.5
    return 100 * np.eye(len(task.labels), dtype=np.float32)[labels]


@contract
def test_perfect_answers_score_one_and_wrong_ones_less(name: str) -> None:
    """Of an error 0; `metrics.sign` knows one by its name."""
    task, rows, _ = EXAMPLES[name]
    encoded = task.encode(rows)
    labels, offsets = np.concatenate([row.labels for row in encoded]), unit_offsets(encoded)
    logits = perfect_logits(task, labels)
    wrong = np.roll(
        logits,
        2 if has_vectors(task) and not has_items(task) else 1,
        0 if task.likelihood == "gaussian" else 1,
    )
    perfect, shifted = (
        quality(Scored(kept(task, each, labels), labels, offsets), task) for each in (logits, wrong)
    )
    assert (
        tuple(sorted(perfect)) == tuple(sorted(task.metric_names))
        and task.metric in task.metric_names
    )
    assert perfect == pytest.approx(
        {metric: float(metrics.sign(metric) > 0 or metric == "perplexity") for metric in perfect}
    )
    sign = metrics.sign(task.metric)
    assert sign * shifted[task.metric] < sign * perfect[task.metric]


def otherwise(task: Task, logits: np.ndarray) -> np.ndarray:
    """Logits that decide otherwise, in one unit at least."""
    if has_vectors(task):  # the first of each pair turned round
        return np.where(np.arange(len(logits))[:, None] % 2, logits, -logits)
    return 1 - logits if task.likelihood == "gaussian" else -logits


@contract
def test_decisions_differ_where_the_label_is_known_and_nowhere_else(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    if isinstance(task, OverVocabulary):
        return
    encoded = task.encode(rows)
    labels, offsets = np.concatenate([row.labels for row in encoded]), unit_offsets(encoded)
    own = Scored(perfect_logits(task, labels), labels, offsets)
    other = Scored(otherwise(task, own.logits), labels, offsets)
    assert agreement(own, own, task) == 1
    assert not differs(task, own, own).any()
    found = differs(task, own, other)
    assert found.any() and found.shape == labels.shape
    unknown = np.full_like(labels, np.nan if labels.dtype.kind == "f" else UNKNOWN)
    assert not differs(
        task, Scored(own.logits, unknown, offsets), Scored(other.logits, unknown, offsets)
    ).any()


@contract
def test_labels_are_found_in_one_order_whatever_the_order_of_rows(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    assert (
        task.find_labels(rows)
        == task.find_labels(rows[::-1])
        == ([] if isinstance(task, OverVocabulary) else list(task.labels))
    )


@contract
def test_a_raw_input_is_decoded_to_labels_of_the_task(name: str) -> None:
    task, _, raw = EXAMPLES[name]
    row = task.row(raw)
    (encoded,) = task.encode([row])
    assert not is_known(encoded.labels).any()
    logits = np.random.default_rng(0).normal(0, 3, (len(encoded.labels), len(task.labels)))
    answer = task.decode(row, logits)
    assert json.loads(json.dumps(answer)) == answer
    if has_vectors(task):
        assert list(answer) == ["embedding"] and len(answer["embedding"]) == logits.shape[1]
        return
    if task.likelihood == "gaussian":
        assert all(isinstance(value, float) for value in answer.values())
        return
    assert set(
        answer.get("tags")
        or answer.get("tokens")
        or answer.get("labels", [])
        or answer.get("probabilities")
        or [answer["label"]]
    ) <= set(task.labels)


@contract
@pytest.mark.parametrize("raw", [3, None, 2.5, {"texts": "Ada"}], ids=repr)
def test_an_input_of_no_known_kind_is_refused(name: str, raw: Any) -> None:
    with pytest.raises(ValueError, match=r"text|image"):
        EXAMPLES[name][0].row(raw)


@contract
def test_a_row_of_texts_may_come_as_a_dict(name: str) -> None:
    task, _, raw = EXAMPLES[name]
    # A sentence of words is a row by another key (`Predictor`), and so is an image.
    if "text" in task.row(raw) and "words" not in task.row_keys:
        text = task.row(raw)["text"]
        assert task.row({"text": text}) == task.row(text)


# A task from outside.


def test_a_task_of_another_input_and_head_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps every contract of this file; `test_tasks_with_models.py` asks the others."""
    name = offer_multi_label_images(tmp_path, monkeypatch)
    task = EXAMPLES[name][0]
    assert (task.metric, task.hard_loss, task.row_keys) == (
        "micro_f1",
        "binary_cross_entropy",
        ("image", "label"),
    )
    test_a_row_holds_what_its_task_reads_and_equal_inputs_have_equal_content(name)
    test_every_unit_has_a_label_and_every_input_a_name(name)
    test_perfect_answers_score_one_and_wrong_ones_less(name)
    test_decisions_differ_where_the_label_is_known_and_nowhere_else(name)
    test_labels_are_found_in_one_order_whatever_the_order_of_rows(name)
    test_a_raw_input_is_decoded_to_labels_of_the_task(name)


# Token classification.


def test_a_word_is_read_at_its_first_token() -> None:
    (row,) = TEXT.encode([sentence("Ada Lovelace , Yorker", "O O O O")])
    tokens = ["[CLS]", "Ada", "Love", "##lace", ",", "York", "##er", "[SEP]"]
    assert [VOCABULARY[i] for i in row.inputs["input_ids"]] == tokens
    assert row.positions.tolist() == [1, 2, 4, 5]
    assert row.inputs["attention_mask"].tolist() == [1] * 8


def test_padding_takes_the_tokenizer_s_own_pad_id() -> None:
    encoded = TEXT.encode([sentence("Ada", "O"), sentence("Ada lives in York", "O O O O")])
    batch = collate(encoded, np.arange(2), TEXT.padding)
    assert batch.inputs["input_ids"][0, 3:].tolist() == [PAD] * 3
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch.mask.tolist() == [[True, False, False, False], [True] * 4]


def test_a_word_of_no_token_counts_as_o() -> None:
    """The tokenizer drops a lone space; the word after it keeps its place."""
    (row,) = TEXT.encode([{"words": ["Ada", " ", "York"], "tags": ["B-PER", "O", "B-LOC"]}])
    assert row.positions.tolist() == [1, -1, 2]


def test_entity_f1_of_a_worked_example() -> None:
    """An entity counts when span and type are exact: of 5 found and 3 true ones 2 are right."""
    true = ["B-PER", "I-PER", "O", "B-LOC", "O", "O", "O", "B-LOC", "I-LOC", "O", "O"]
    found = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "O", "B-LOC", "I-LOC", "O", "B-PER"]
    labels, decided = (np.array([TAGS.index(tag) for tag in tags]) for tags in (true, found))
    scored = Scored(np.eye(5)[decided], labels, np.array([0, 7, 11]))
    assert TEXT.statistics(scored).tolist() == [[1, 3, 2, 5, 7], [1, 2, 1, 3, 4]]
    expected = {"f1": 4 / 8, "precision": 2 / 5, "recall": 2 / 3, "token_micro_average": 8 / 11}
    assert quality(scored, TEXT) == pytest.approx(expected)


def test_spans_of_a_worked_example() -> None:
    """I- begins an entity at the start, after O and after another type; B- always does."""
    tags = ["I-LOC", "I-LOC", "B-LOC", "O", "B-PER", "I-LOC"]
    expected = [("LOC", 0, 2), ("LOC", 2, 3), ("PER", 4, 5), ("LOC", 5, 6)]
    assert metrics.spans(tags) == expected


def test_a_word_whose_tag_is_unknown_counts_nowhere() -> None:
    """The same sentence with the unknown word left out, and with it, whatever is found there."""
    true = np.array([TAGS.index(tag) for tag in ["B-PER", "O", "B-LOC", "O"]])
    decided = np.array([TAGS.index(tag) for tag in ["B-PER", "O", "O", "B-LOC"]])
    known = TEXT.statistics(Scored(np.eye(5)[decided], true, np.array([0, 4])))
    assert known.tolist() == [[1, 2, 2, 2, 4]]
    with_unknown = Scored(
        np.eye(5)[np.append(decided, 1)], np.append(true, UNKNOWN), np.array([0, 5])
    )
    assert TEXT.statistics(with_unknown).tolist() == known.tolist()


def test_an_entity_never_crosses_a_sentence() -> None:
    labels = np.array([TAGS.index(tag) for tag in ["B-PER", "I-PER"]])
    whole, cut = (
        TEXT.statistics(Scored(np.eye(5)[labels], labels, np.array(offsets)))
        for offsets in ([0, 2], [0, 1, 2])
    )
    assert whole[:, 2].tolist() == [1]
    assert cut[:, 2].tolist() == [1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "Ada Lovelace lives in New York.",
        "  Ada\tLovelace —\n(lives) in New York !",
        "Łódź 🙂 Ada Lovelace\u00a0… New York",
    ],
)
def test_offsets_point_into_the_raw_text(text: str) -> None:
    row = TEXT.row(text)
    kinds = {"Ada": "B-PER", "Lovelace": "I-PER", "New": "B-LOC", "York": "I-LOC"}
    tags = [kinds.get(word, "O") for word in row["words"]]
    answer = TEXT.decode(row, 9 * np.eye(5)[[TAGS.index(tag) for tag in tags]])
    assert answer["tags"] == tags
    assert all(
        text[start:end] == word
        for word, (start, end) in zip(row["words"], row["spans"], strict=True)
    )
    assert [entity["type"] for entity in answer["entities"]] == [
        kinds[word][2:] for word in ("Ada", "New") if word in text
    ]
    for entity in answer["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert entity["text"].split() == entity["words"]
        assert entity["probability"] == pytest.approx(np.exp(9) / (np.exp(9) + 4), abs=1e-6)


@given(st.text(max_size=40))
def test_words_cover_every_character_that_is_not_space(text: str) -> None:
    try:
        row = TEXT.row(text)
    except ValueError:
        assert not text.strip()
        return
    rest = list(text)
    for word, (start, end) in zip(row["words"], row["spans"], strict=True):
        assert text[start:end] == word
        assert "".join(rest[start:end]) == word
        rest[start:end] = " " * (end - start)
    assert not "".join(rest).strip()


def test_a_text_without_a_word_is_refused() -> None:
    for raw in ("", "  \n\t ", []):
        with pytest.raises(ValueError, match="without a single word"):
            TEXT.row(raw)


def test_words_given_as_a_list_stay_as_they_are() -> None:
    assert TEXT.row(["New York", "in"]) == {"words": ["New York", "in"]}


def test_o_comes_first_and_b_before_i() -> None:
    assert TEXT.find_labels([sentence("a b", "I-B B-A"), {"words": ["c"], "tags": [None]}]) == [
        "O",
        "B-A",
        "I-B",
    ]
    assert TEXT.find_labels([sentence("a b c d", "I-A B-A I-B B-B")]) == [
        "O",
        "B-A",
        "I-A",
        "B-B",
        "I-B",
    ]


def test_a_tag_of_none_is_unknown() -> None:
    (row,) = TEXT.encode([{"words": ["Ada", "in"], "tags": [None, "O"]}])
    assert row.labels.tolist() == [UNKNOWN, 0]


# Text classification.


def test_a_pair_is_joined_by_the_tokenizer_and_its_longer_text_is_cut() -> None:
    pair, long = INTENT.encode(
        [{"text": "Ada", "text_b": "in York"}, {"text": "Ada", "text_b": "a b c a b c a b c a b c"}]
    )
    assert [VOCABULARY[i] for i in pair.inputs["input_ids"]] == [
        "[CLS]",
        "Ada",
        "[SEP]",
        "in",
        "York",
        "[SEP]",
    ]
    assert long.size == MAX_TOKENS
    assert VOCABULARY[long.inputs["input_ids"][1]] == "Ada"


def test_a_text_is_one_unit_and_costs_its_tokens() -> None:
    (row,) = INTENT.encode([{"text": "Ada lives", "label": "call"}])
    assert (row.positions, row.labels.tolist(), row.size) == (None, [0], 4)


def test_a_raw_text_or_pair_becomes_a_row() -> None:
    assert INTENT.row("Ada") == {"text": "Ada"}
    assert (
        INTENT.row(("Ada", "York"))
        == INTENT.row({"text": "Ada", "text_b": "York"})
        == {"text": "Ada", "text_b": "York"}
    )
    for raw in ("", " \n", ["Ada", ""]):
        with pytest.raises(ValueError, match="empty text"):
            INTENT.row(raw)
    for raw in ([], ["a", "b", "c"], [1], b"Ada"):
        with pytest.raises(ValueError, match="a text or a pair of texts is needed"):
            INTENT.row(raw)


# Image classification.


def test_accuracy_of_a_worked_example() -> None:
    """Two cats, a dog and two eels; the dog is taken for a cat, and an eel for a dog.

    F1: cat 2 * 2 / (3 + 2), dog 0, eel 2 / 3. AUC, by pairs won: cat 5 of 6, for the dog ties with
    both cats; dog 3 halves of 4; eel 4 and a half of 6.
    """
    scored = Scored(np.eye(3)[[0, 0, 0, 2, 1]], np.array([0, 0, 1, 2, 2]), np.arange(6))
    expected = {
        "accuracy": 3 / 5,
        "macro_f1": (4 / 5 + 0 + 2 / 3) / 3,
        "auc": (5 / 6 + 1.5 / 4 + 4.5 / 6) / 3,
    }
    assert quality(scored, IMAGE) == pytest.approx(expected)
    assert len(set(expected.values())) == 3
    report = {row["label"]: row for row in IMAGE.details(scored)["per_label"]}
    assert report["cat"] == {
        "label": "cat",
        "precision": pytest.approx(2 / 3),
        "recall": 1,
        "f1": pytest.approx(4 / 5),
        "support": 2,
    }
    assert IMAGE.details(scored)["confusion"]["counts"] == [[2, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_precision_recall_and_f1_are_told_apart() -> None:
    """Of 5 predicted and 3 true ones 2 are right."""
    found = metrics.precision_recall_f1(*map(np.array, (2, 5, 3)))
    assert found == pytest.approx((2 / 5, 2 / 3, 4 / 8))


def test_the_report_by_label_of_a_worked_example() -> None:
    """Precision 3/4 and 1/6, recall 3/9 and 1/2; all counts together 4 of 10 and of 11."""
    rows = metrics.report(
        (np.array([3, 1]), np.array([4, 6]), np.array([9, 2])), ["x", "y"], np.ones(2, bool)
    )
    expected = {
        "x": (3 / 4, 1 / 3, 6 / 13, 9),
        "y": (1 / 6, 1 / 2, 2 / 8, 2),
        "micro average": (4 / 10, 4 / 11, 8 / 21, 11),
        "macro average": (11 / 24, 5 / 12, (6 / 13 + 1 / 4) / 2, 11),
        "weighted average": ((9 * 3 / 4 + 2 / 6) / 11, 4 / 11, (9 * 6 / 13 + 2 / 4) / 11, 11),
    }
    assert [row["label"] for row in rows] == list(expected)
    for row in rows:
        found = (row["precision"], row["recall"], row["f1"], row["support"])
        assert found == pytest.approx(expected[row["label"]])


@pytest.mark.parametrize("num_labels", [3, 150], ids=["few", "more than the code of unknown"])
def test_a_row_whose_label_is_unknown_counts_nowhere(num_labels: int) -> None:
    generator = np.random.default_rng(0)
    task = ImageClassification([str(i) for i in range(num_labels)], IMAGE.preprocess)
    logits = generator.normal(size=(40, num_labels))
    labels = generator.integers(0, num_labels, 40)
    unknown = np.arange(40) % 4 == 0
    some = Scored(logits, np.where(unknown, UNKNOWN, labels), np.arange(41))
    known = Scored(logits[~unknown], labels[~unknown], np.arange(31))
    assert quality(some, task) == pytest.approx(quality(known, task))
    assert task.details(some) == task.details(known)


def test_of_two_labels_the_auc_is_that_of_the_second() -> None:
    """MedMNIST's way for two classes; 3 of the 4 pairs are in order."""
    scored = Scored(
        np.array([[0.0, 0.1], [0.0, 0.4], [0.0, 0.3], [0.0, 0.9]]),
        np.array([0, 0, 1, 1]),
        np.arange(5),
    )
    task = ImageClassification(["normal", "pneumonia"], IMAGE.preprocess)
    assert quality(scored, task)["auc"] == pytest.approx(0.75)


def test_units_without_a_label_are_left_out_of_the_details() -> None:
    scored = Scored(np.eye(3)[[0, 1, 2]], np.array([0, UNKNOWN, 2]), np.arange(4))
    assert np.sum(IMAGE.details(scored)["confusion"]["counts"]) == 2


def test_pixels_are_normalised_by_channel() -> None:
    settings = {
        "height": 2,
        "width": 3,
        "channels": 3,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.25, 2.0],
    }
    task = ImageClassification(["a", "b"], json.dumps(settings))
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    pixels = task.input.pixels(image)
    assert pixels.dtype == np.float32
    for channel in range(3):
        expected = (image[..., channel] / 255 - settings["mean"][channel]) / settings["std"][
            channel
        ]
        np.testing.assert_allclose(pixels[channel], expected, atol=1e-6)


def test_preprocessing_is_fitted_to_the_training_images() -> None:
    rows = [
        {"image": np.random.default_rng(i).integers(0, 256, (6, 5, 3), np.uint8), "label": "a"}
        for i in range(20)
    ]
    settings = json.loads(ImageInput.fit_preprocess(rows))
    assert (settings["height"], settings["width"], settings["channels"]) == (6, 5, 3)
    pixels = np.stack(
        [
            ImageClassification(["a"], json.dumps(settings)).input.pixels(row["image"])
            for row in rows
        ]
    )
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), 1, atol=1e-3)


def test_a_constant_training_image_divides_by_nothing_too_small() -> None:
    settings = json.loads(
        ImageInput.fit_preprocess([{"image": np.full((6, 5), 7, np.uint8), "label": "a"}])
    )
    assert settings["std"] == [0.001]


def test_a_file_its_bytes_and_its_pixels_are_one_image(tmp_path: Any) -> None:
    from PIL import Image

    image = picture(0, "cat")["image"]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    path = tmp_path / "image.png"
    path.write_bytes(file.getvalue())
    for raw in (image, file.getvalue(), str(path), path):
        assert np.array_equal(IMAGE.row(raw)["image"], image)


def test_another_size_and_colours_fit_the_model() -> None:
    for shape in ((12, 10), (3, 40, 3), (6, 5, 4)):
        (row,) = IMAGE.encode([{"image": np.zeros(shape, np.uint8)}])
        assert row.inputs["pixel_values"].shape == (1, 6, 5)


@pytest.mark.parametrize(
    "raw",
    [
        b"no image",
        b"\x89PNG\r\n\x1a\n truncated",
        "missing.png",
        np.zeros((2, 6, 5, 3), np.uint8),
        np.zeros((6, 5, 5), np.uint8),
    ],
    ids=["text", "cut off", "no file", "four axes", "five channels"],
)
def test_what_is_no_image_is_refused(raw: Any) -> None:
    with pytest.raises(
        ValueError, match=r"not a readable image|there is no such file|an image array is"
    ):
        IMAGE.input.pixels(IMAGE.row(raw)["image"])


def test_decode_gives_every_probability() -> None:
    answer = IMAGE.decode({}, np.log([[0.2, 0.7, 0.1]]))
    assert answer == {
        "label": "dog",
        "probability": 0.7,
        "probabilities": {"cat": 0.2, "dog": 0.7, "eel": 0.1},
    }


def test_numbers_sort_by_value_before_words() -> None:
    rows = [{"label": label} for label in ("10", "b", "2", "a", None, "2")]
    assert ImageClassification.find_labels(rows) == ["2", "10", "a", "b"]
