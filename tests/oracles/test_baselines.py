"""Baselines against scikit-learn and counts by hand: what is had without a network."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from task_examples import EXAMPLES

from limbeck.baselines.fitting import FOLDS, Labelled, best_baseline, fits, out_of_fold
from limbeck.baselines.linear import linear_candidates
from limbeck.baselines.pixels import Pixels
from limbeck.baselines.tag_table import TagTable
from limbeck.baselines.words import WordCounts
from limbeck.core import registry
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import OverVocabulary, Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.packed import labels_of_answers
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression

COLOURS = ["red", "green", "blue"]


def sentences(seed: int, rows: int, share: float = 1.0) -> tuple[list[Row], np.ndarray]:
    """Texts of filler in which a colour says the label, right with the probability `share`."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, rows)
    told = np.where(generator.random(rows) < share, labels, (labels + 1) % 3)
    filler = [" ".join(f"w{word}" for word in generator.integers(0, 40, 6)) for _ in range(rows)]
    texts = [f"{before} {COLOURS[colour]}" for before, colour in zip(filler, told, strict=True)]
    return [{"text": text} for text in texts], labels


def labelled(rows: list[Row], labels: np.ndarray) -> Labelled:
    return Labelled(rows, labels, np.arange(len(rows) + 1))


def score(task: Any, found: Any, split: Labelled) -> dict[str, float]:
    return quality(Scored(found.logits(found.read(split.rows)), split.labels, split.offsets), task)


def test_a_word_that_says_the_label_is_found_and_noise_is_not() -> None:
    task = TextClassification(COLOURS, "")
    train, validation, test = (labelled(*sentences(seed, 90)) for seed in range(3))
    found, on_validation = best_baseline(task, train, validation, "accuracy")
    assert on_validation == 1
    assert score(task, found, test)["accuracy"] == 1
    assert found.title == "logistic regression over words and characters"
    # Labels that hang on nothing: no better than a third, give or take three deviations.
    noise = labelled(test.rows, np.random.default_rng(7).integers(0, 3, 90))
    assert score(task, found, noise)["accuracy"] < 1 / 3 + 3 * (2 / 9 / 90) ** 0.5


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 2], [1, 2], [1]])
def test_its_logits_are_those_of_scikit_learn(labels: list[int]) -> None:
    """Of three labels, of two of three, and of one alone."""
    rows, drawn = sentences(0, 60)
    keep = np.isin(drawn, labels)
    rows, drawn = [row for row, kept in zip(rows, keep, strict=True) if kept], drawn[keep]
    task = TextClassification(COLOURS, "")
    read = WordCounts(rows).rows(rows)
    for found, strength in zip(linear_candidates(task, rows, drawn), (1, 10, 100), strict=True):
        logits = found.logits(found.read(rows))
        probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        absent = np.setdiff1d(range(3), labels)
        assert (probability[:, absent] < 1e-9).all()
        if len(labels) > 1:
            own = LogisticRegression(C=strength, max_iter=100, tol=1e-3).fit(read, drawn)
            assert probability[:, labels] == pytest.approx(own.predict_proba(read), abs=1e-5)


def test_unknown_labels_teach_nothing() -> None:
    rows, labels = sentences(0, 60)
    task = TextClassification(COLOURS, "")
    known = next(linear_candidates(task, rows[:40], labels[:40]))
    hidden = np.where(np.arange(60) < 40, labels, -100)
    found = next(linear_candidates(task, rows, hidden))
    # The words of all rows count, their labels do not.
    decided = found.logits(found.read(rows[:40])).argmax(1)
    assert (decided == known.logits(known.read(rows[:40])).argmax(1)).all()


def test_a_rare_label_of_several_is_found_by_weighing_both_answers_alike() -> None:
    generator = np.random.default_rng(0)
    has_rare = generator.random(300) < 0.05
    rows = [
        {"text": f"w{word} " + ("rare" if rare else "usual")}
        for word, rare in zip(generator.integers(0, 30, 300), has_rare, strict=True)
    ]
    labels = np.stack([has_rare, ~has_rare, np.zeros(300)], 1).astype(np.float32)
    task = MultiLabelClassification(["rare", "usual", "never"], "")
    split = labelled(rows, labels)
    found, _ = best_baseline(task, split, split, "macro_f1")
    assert (found.logits(found.read(rows)) > 0).T.tolist() == labels.astype(bool).T.tolist()


def test_a_number_is_read_off_words() -> None:
    words = ["bad", "poor", "fair", "good"]
    numbers = np.random.default_rng(0).integers(0, 4, 80)
    rows: list[Row] = [{"text": f"{words[number]} item"} for number in numbers]
    split = labelled(rows, (numbers / 3).astype(np.float32))
    task = TextRegression(["0 to 3"], "")
    found, on_validation = best_baseline(task, split, split, "root_mean_square_error")
    assert found.title == "ridge regression over words and characters"
    assert on_validation < 0.1  # on the scale of 0 to 3: less error is better


def test_what_a_pair_shares_is_read() -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 20, 200)
    alike = generator.random(200) < 0.5
    second = np.where(alike, first, (first + 1) % 20)
    rows: list[Row] = [
        {"text": f"the word{a}", "text_b": f"some word{b}"}
        for a, b in zip(first, second, strict=True)
    ]
    task = TextClassification(["no", "yes"], "")
    train, test = labelled(rows[:150], alike[:150] * 1), labelled(rows[150:], alike[150:] * 1)
    found, _ = best_baseline(task, train, test, "accuracy")
    assert score(task, found, test)["accuracy"] > 0.9


def test_pixels_have_mean_0_and_deviation_1_in_one_small_size() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (64, 48), np.uint8) for _ in range(40)]
    rows: list[Row] = [{"image": image} for image in images]
    pixels = Pixels(rows)
    assert pixels.size == (24, 32)
    read = pixels.rows(rows)
    assert read.shape == (40, 24 * 32)
    assert read.mean(0) == pytest.approx(np.zeros(24 * 32), abs=1e-4)
    assert read.std(0) == pytest.approx(np.ones(24 * 32), abs=1e-3)
    # The mean of four pixels each; Pillow rounds after either axis.
    blocks = images[0].reshape(32, 2, 24, 2).mean((1, 3)) / 255
    assert pixels._read(rows[:1])[0] == pytest.approx(blocks.ravel(), abs=1.01 / 255)


def test_colour_and_grey_images_become_what_the_first_one_is() -> None:
    grey, colour = np.full((8, 8), 9, np.uint8), np.full((8, 8, 3), 9, np.uint8)
    assert Pixels([{"image": grey}, {"image": grey}]).rows([{"image": colour}]).shape == (1, 64)
    assert Pixels([{"image": colour}]).rows([{"image": grey}]).shape == (1, 192)


def test_images_are_told_apart_by_a_bright_corner() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 80)
    images = generator.integers(0, 100, (80, 6, 6)).astype(np.uint8)
    images[labels == 1, 0, 0] = 255
    split = labelled([{"image": image} for image in images], labels)
    task = ImageClassification(["dark", "bright"], "{}")
    _, on_validation = best_baseline(task, split, split, "accuracy")
    assert on_validation == 1


def test_a_table_of_tags_is_counted_by_hand() -> None:
    rows: list[Row] = [{"words": ["New", "York", "is", "new"]}, {"words": ["new", "is", "York"]}]
    tags = np.array([1, 2, 0, 0, 0, 0, 2])
    table = TagTable.fit(rows, tags, 3)
    # `new` is once 1 and twice 0; `New` is 1; what was never seen has the tag of most words.
    asked: list[Row] = [{"words": ["New", "NEW", "york", "York", "Paris"]}]
    assert table.logits(table.read(asked)).argmax(1).tolist() == [1, 0, 2, 2, 0]
    # The unknown tag of a word counts nowhere.
    assert TagTable.fit(rows, np.where(tags == 2, -100, tags), 3).tag("York") == 0


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_every_task_has_a_baseline_or_says_that_it_has_none(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    assert (
        fits(task) is fits(registry.load("tasks", name)) is (not isinstance(task, OverVocabulary))
    )
    if not fits(task):
        return
    split = Labelled(rows, *labels_of_answers(task.encode(rows)))
    found, _ = best_baseline(task, split, split, task.metric)
    logits = found.logits(found.read(rows))
    assert len(logits) == len(split.labels)
    assert np.isfinite(logits).all()
    assert found.num_parameters > 0
    # Each row by itself, whatever the others are: a pair, or a single text.
    alone = np.concatenate([found.logits(found.read([row])) for row in rows])
    assert alone == pytest.approx(logits, abs=1e-4)


def test_many_rows_are_a_sample_with_their_own_labels() -> None:
    rows: list[Row] = [{"words": [f"w{row}"] * (1 + row % 3)} for row in range(50)]
    sizes = [len(row["words"]) for row in rows]
    labels = np.concatenate([[row] * size for row, size in enumerate(sizes)])
    split = Labelled(rows, labels, np.concatenate([[0], np.cumsum(sizes)]))
    drawn = split.sample(10)
    assert len(drawn.rows) == 10
    for number, row in enumerate(drawn.rows):
        units = drawn.labels[drawn.offsets[number] : drawn.offsets[number + 1]]
        assert {f"w{unit}" for unit in units} == set(row["words"])
        assert len(units) == len(row["words"])
    assert drawn.rows == split.sample(10).rows


def test_texts_of_marks_alone_are_read_by_their_characters() -> None:
    rows: list[Row] = [{"text": "!!!!"}, {"text": "????"}] * 6
    split = labelled(rows, np.array([0, 1] * 6))
    _, on_validation = best_baseline(TextClassification(["a", "b"], ""), split, split, "accuracy")
    assert on_validation == 1


def digits(rows: slice) -> Labelled:
    found = load_digits()
    images = (found.images[rows] * 15).astype(np.uint8)
    return labelled([{"image": image} for image in images], found.target[rows])


def test_on_nine_rows_of_validation_train_chooses_the_strength() -> None:
    """All strengths have the nine right; the strongest regularization is far behind on the rest."""
    task = ImageClassification([str(digit) for digit in range(10)], {"size": 8, "channels": 1})
    train, test = digits(slice(0, 90)), digits(slice(90, 1797))
    known = {label: row for row, label in enumerate(train.labels)}
    easy = train.take(np.array([known[label] for label in range(9)]))
    found, on_validation = best_baseline(task, train, easy, "accuracy")
    assert on_validation == 1
    values = [
        score(task, candidate, test)["accuracy"]
        for candidate in linear_candidates(task, train.rows, train.labels)
    ]
    assert score(task, found, test)["accuracy"] > max(values) - 0.01
    assert values[0] < max(values) - 0.03


def test_what_folds_say_is_what_scikit_learn_says() -> None:
    task = TextClassification(COLOURS, "")
    train = labelled(*sentences(3, 60, share=0.8))
    folds = np.array_split(np.random.default_rng(0).permutation(60), FOLDS)
    for value, strength in zip(out_of_fold(task, train, "accuracy"), (1, 10, 100), strict=True):
        right = 0
        for fold in folds:
            others = train.take(np.setdiff1d(np.arange(60), fold))
            read = WordCounts(others.rows)
            own = LogisticRegression(C=strength, max_iter=100, tol=1e-3)
            own.fit(read.rows(others.rows), others.labels)
            held = train.take(fold)
            right += int((own.predict(read.rows(held.rows)) == held.labels).sum())
        assert value == pytest.approx(right / 60)


def test_of_an_error_the_folds_take_the_least() -> None:
    task = TextRegression(["0 to 3"], "")
    rows, labels = sentences(5, 80)
    train = labelled(rows, labels / 3)
    few = train.take(np.arange(5))
    found, _ = best_baseline(task, train, few, "root_mean_square_error")
    rmses = [
        score(task, each, train)["root_mean_square_error"]
        for each in linear_candidates(task, rows, labels / 3)
    ]
    values = out_of_fold(task, train, "root_mean_square_error")
    assert all(value < 0 for value in values)
    assert score(task, found, train)["root_mean_square_error"] == rmses[int(np.argmax(values))]
