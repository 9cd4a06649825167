"""Answers of an artifact from Python: one for an input, a list for a list, in batches and alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_examples import TAGS, tokenizer_text
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.artifact import batches
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.runtimes import Graph
from limbeck.tasks import Encoded
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification

TEXTS = ["Ada lives in New York", "New York", "Ada", "Ada lives", "lives in New York , Ada .", "a"]


def test_one_input_gives_one_answer_and_a_list_a_list(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    one_by_one = [predictor.predict(text) for text in TEXTS]
    assert predictor.predict(TEXTS) == one_by_one
    assert predictor.predict([]) == []
    assert [answer["label"] for answer in one_by_one[:3]] == ["place", "place", "person"]


def test_a_pair_is_a_tuple_or_a_dict_and_a_row_may_hold_more(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    pair = predictor.predict(("Ada lives", "New York"))
    row = {"text": "Ada lives", "text_b": "New York", "label": "place", "id": 7}
    assert predictor.predict(row) == pair
    assert predictor.predict([["Ada lives", "New York"], row]) == [pair, pair]
    assert predictor.predict({"text": "Ada", "label": "x"}) == predictor.predict("Ada")


def test_what_is_no_input_is_told_with_its_place(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    with pytest.raises(ValueError, match=r"inputs\[1\]: .*, not int"):
        predictor.predict(["Ada", 7])
    with pytest.raises(ValueError, match=r"inputs\[2\]: an empty text"):
        predictor.predict_proba(["Ada", "Ada", " "], batch_size=2)
    with pytest.raises(ValueError, match="a dict of txt"):
        predictor.predict({"txt": "Ada"})
    with pytest.raises(ValueError, match="batch_size: at least 1, not 0"):
        predictor.predict(TEXTS, batch_size=0)


@pytest.mark.parametrize(
    ("inputs", "cure"),
    [
        ((text for text in TEXTS), "list(inputs), not a generator"),
        ({"Ada": 1}.keys(), "list(inputs)"),
        (np.array(TEXTS), "list(array)"),
        (np.array(TEXTS, object), "list(array)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "list(array)"),
        ({"text": TEXTS}, "[{'text': text} for text in inputs['text']], not a dict"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_inputs_that_are_no_list_are_told_how_to_become_one(
    inputs: Any, cure: str, artifact: Path
) -> None:
    predictor = limbeck.load(artifact)
    for answer in (predictor.predict, predictor.predict_proba):
        with pytest.raises(ValueError, match=re.escape(f"several inputs are a list: {cure}")):
            answer(inputs)


def test_columns_and_frames_of_pandas_are_told_how_to_become_a_list(artifact: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS})
    predictor = limbeck.load(artifact)
    with pytest.raises(ValueError, match=r"frame\.to_dict\('records'\), not a DataFrame"):
        predictor.predict(frame)
    for column in (frame.text, pandas.Index(TEXTS)):
        with pytest.raises(ValueError, match=r"list\(inputs\), not a[n]? (Series|Index)"):
            predictor.predict_proba(column)
    assert predictor.predict(frame.to_dict("records")) == predictor.predict(TEXTS)


def test_half_a_character_is_told_with_its_place(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    with pytest.raises(ValueError, match=r"inputs\[1\]: text: '\\ud800' is half of a character"):
        predictor.predict(["Ada", "a \ud800 b"])


def test_probabilities_are_in_the_order_of_the_labels(artifact: Path) -> None:
    predictor = limbeck.load(artifact)
    probabilities = predictor.predict_proba(TEXTS)
    assert (probabilities.shape, probabilities.dtype) == ((6, 2), np.float64)
    assert predictor.labels == ["place", "person"]
    for row, answer in zip(probabilities, predictor.predict(TEXTS), strict=True):
        given = [answer["probabilities"][label] for label in predictor.labels]
        np.testing.assert_allclose(row, given, atol=1e-6)
    np.testing.assert_array_equal(predictor.predict_proba("Ada"), probabilities[2])
    assert predictor.predict_proba([]).shape == (0, 2)


def test_it_prints_short(artifact: Path) -> None:
    assert (
        repr(limbeck.load(artifact)) == f"<limbeck artifact {artifact}: text-classification, table>"
    )


@pytest.mark.parametrize("batch_size", [2, 3, 4, 100])
def test_batches_give_the_answers_of_one_by_one(artifact: Path, batch_size: int) -> None:
    """To the last bit here: the table's sums are exact. Padding is no part of a text."""
    predictor = limbeck.load(artifact)
    texts = TEXTS * 30
    assert predictor.predict(texts, batch_size=batch_size) == predictor.predict(texts)


# Graphs whose logits of a row are known: of its token ids alone, or of the whole batch.


def sums(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """(B, 2) sums over the tokens that count, and their number."""
    ids = inputs["input_ids"] * inputs["attention_mask"]
    return np.stack([ids.sum(1), inputs["attention_mask"].sum(1)], 1).astype(np.float32)


def scaled_by_the_batch(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """As activations whose step is taken from what comes together."""
    logits = sums(inputs)
    step = np.abs(logits).max() / 255
    return (np.round(logits / step) * step).astype(np.float32)


def padding_counts(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """As a model that mixes all tokens, masked or not."""
    ids = inputs["input_ids"].astype(np.float32)
    return np.stack([ids.mean(1), ids.max(1)], 1)


@pytest.mark.parametrize(
    ("graph", "depends"), [(sums, False), (scaled_by_the_batch, True), (padding_counts, True)]
)
def test_a_graph_whose_answers_hang_on_the_batch_is_found(graph: Graph, depends: bool) -> None:
    ids = np.random.default_rng(0).integers(5, 900, (1, 16))
    example = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    assert batches.depends_on_company(graph, example, {"input_ids": 3}) is depends


def test_images_together_are_told_from_images_alone() -> None:
    example = {"pixel_values": np.random.default_rng(0).standard_normal((1, 1, 8, 8), np.float32)}

    def mean(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return inputs["pixel_values"].mean((2, 3))

    def normed(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return mean(inputs) / np.abs(mean(inputs)).max()

    assert not batches.depends_on_company(mean, example, {})
    assert batches.depends_on_company(normed, example, {})


def test_such_a_graph_answers_one_by_one_and_says_so(artifact: Path) -> None:
    loaded = limbeck.load(artifact)
    sizes = []

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        sizes.append(len(inputs["input_ids"]))
        return scaled_by_the_batch(inputs)

    predictor = Predictor(loaded.task, graph, "table", artifact)
    alone = predictor.predict(TEXTS)
    with pytest.warns(UserWarning, match="answered one by one. quantize.activations=uint8"):
        together = predictor.predict(TEXTS, batch_size=4)
    assert together == alone
    assert sizes[-len(TEXTS) :] == [1] * len(TEXTS)


def tag_graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """(B, T, 5) logits of the token and its place."""
    ids = inputs["input_ids"].astype(np.float32)
    places = np.arange(ids.shape[1], dtype=np.float32)
    masked = ids * inputs["attention_mask"]
    return np.stack([np.sin(masked * (n + 1)) + np.cos(places * n) for n in range(5)], -1)


def image_graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
    pixels = inputs["pixel_values"]
    return np.stack([pixels.mean((1, 2, 3)), pixels.std((1, 2, 3))], 1)


PIXELS = '{"height": 4, "width": 4, "channels": 1, "mean": [0.5], "std": [0.25]}'
IMAGES = [np.random.default_rng(n).integers(0, 256, (4 + n, 4), np.uint8) for n in range(5)]
KINDS: dict[str, tuple[Any, Callable[..., Any], list[Any]]] = {
    "tags": (
        TokenClassification(TAGS, tokenizer_text()),
        tag_graph,
        [*TEXTS, ("Ada", "lives"), {"words": ["New", "York"], "tags": ["O", "O"]}, "Ada " * 20],
    ),
    "labels": (MultiLabelClassification(["a", "b"], tokenizer_text()), sums, TEXTS),
    "score": (TextRegression(["0 to 5"], tokenizer_text()), lambda x: sums(x)[:, :1], TEXTS),
    "vectors": (
        SentenceEmbedding(["0 to 5"], tokenizer_text()),
        sums,
        ["Ada", ("Ada lives", "New York"), "New York", {"text": "a", "text_b": "Ada lives in"}],
    ),
    "images": (ImageClassification(["x", "y"], PIXELS), image_graph, IMAGES),
}


def written(task: Any, graph: Graph, folder: Path, raw: Any) -> Predictor:
    """A predictor whose folder holds golden inputs, of the row that `raw` gives."""
    from safetensors.numpy import save_file

    from limbeck.artifact.manifest import GOLDEN

    (encoded,) = task.encode([task.row(raw)])
    is_batch = encoded.has_tokens and encoded.inputs["input_ids"].ndim == 2
    inputs = {n: v if is_batch else v[None] for n, v in encoded.inputs.items()}
    save_file({f"input.{n}": np.ascontiguousarray(v) for n, v in inputs.items()}, folder / GOLDEN)
    return Predictor(task, graph, "table", folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_answer_is_the_same_in_batches(kind: str, tmp_path: Path) -> None:
    task, graph, inputs = KINDS[kind]
    predictor = written(task, graph, tmp_path, inputs[0])
    alone = [predictor.predict(raw) for raw in inputs]
    assert predictor.why_one_by_one is None
    for batch_size in (1, 2, 3, 50):
        assert predictor.predict(inputs, batch_size=batch_size) == alone


def test_probabilities_of_words_are_a_list_of_arrays(tmp_path: Path) -> None:
    task, graph, inputs = KINDS["tags"]
    predictor = written(task, graph, tmp_path, inputs[0])
    probabilities = predictor.predict_proba(inputs, batch_size=3)
    assert [each.shape for each in probabilities[:3]] == [(5, 5), (2, 5), (1, 5)]
    for each, answer in zip(probabilities, predictor.predict(inputs), strict=True):
        np.testing.assert_allclose(each.max(1), answer["probabilities"], atol=1e-6)
    assert predictor.predict_proba("Ada lives").shape == (2, 5)


def test_probabilities_of_several_labels_are_each_labels_own(tmp_path: Path) -> None:
    task, graph, inputs = KINDS["labels"]
    predictor = written(task, graph, tmp_path, inputs[0])
    logits = predictor.logits(task.row("Ada"))
    np.testing.assert_allclose(predictor.predict_proba("Ada"), 1 / (1 + np.exp(-logits[0])))


def test_numbers_have_no_probabilities(tmp_path: Path) -> None:
    task, graph, inputs = KINDS["score"]
    with pytest.raises(ValueError, match="text-regression, table>: its answers are numbers"):
        written(task, graph, tmp_path, inputs[0]).predict_proba(inputs)


def test_a_text_without_a_token_is_refused() -> None:
    class Empty(TextClassification):
        def encode(self, rows: Any) -> list[Encoded]:
            nothing = np.zeros(0, np.int64)
            inputs = {"input_ids": nothing, "attention_mask": nothing}
            return [Encoded(inputs, None, np.zeros(1, np.int64))]

    task = Empty(["x", "y"], tokenizer_text())
    with pytest.raises(ValueError, match="no token in this text"):
        Predictor(task, sums, "table", Path()).predict("\u200b")
