"""The Open Inference Protocol before open artifacts of every task: what they take and give is what `predict` does."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_inference import (
    LIMITS,
    ask,
    binary_body,
    body_of,
    bytes_of,
    decoded,
    finished,
    opened,
    tensor,
    texts,
)
from PIL import Image
from task_examples import EXAMPLES, IMAGE, INTENT, RANKED, SCORE, SEVERAL, TEXT, VECTOR
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.artifact.predictor import Predictor
from limbeck.core import registry
from limbeck.evaluation.decisions.decision import Decision
from limbeck.server.v2 import outputs as outputs_module
from limbeck.server.v2 import rows as rows_module
from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.infer import infer
from limbeck.server.v2.interface import Interface, interface_of
from limbeck.server.v2.metadata import model_metadata, server_metadata
from limbeck.server.v2.outputs import MAKERS, as_json, response_of
from limbeck.server.v2.request import parse
from limbeck.server.v2.response import encode
from limbeck.server.v2.rows import RAW, READERS
from limbeck.tasks import Task

PAIRS = "data: {source: csv, path: x, text_b: other}\n"
PROMISE = {"max_error": 0.1, "confidence": 0.95, "threshold": 0.9}


def interface(task: Task, folder: Path, **keys: Any) -> Interface:
    return interface_of(opened(task, folder / "opened", **keys))


def refusal(served: Interface, body: bytes, length: int | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        ask(served, body, length)
    assert caught.value.status == 400
    return str(caught.value)


def told(found: np.ndarray) -> list[Any]:
    """The elements of an output BYTES [N] that are JSON."""
    return [json.loads(each) for each in found]


@pytest.mark.parametrize("name", sorted(registry.names("tasks")))
def test_answers_of_every_task_are_those_of_predict(name: str, tmp_path: Path) -> None:
    """In JSON and in binary, for rows as the task's own examples are."""
    task, rows, _ = EXAMPLES[name]
    predictor = opened(task, tmp_path / "opened")
    served = interface_of(predictor)
    if "image" in task.row_keys:
        images = np.stack([row["image"] for row in rows])
        body, length = binary_body([(tensor("pixels", "UINT8", images.shape), images.tobytes())])
        raws = list(images)
    elif "words" in task.row_keys:
        raws = [tuple(row["words"]) for row in rows]
        width = max(map(len, raws))
        filled = [[*row, *[""] * (width - len(row))] for row in raws]
        body, length = body_of(tensor("words", "BYTES", [len(raws), width], filled)), None
    elif "text" not in task.row_keys:
        # Dialogues, or texts: rows of several keys go as objects of JSON.
        raws = [dict(row) for row in rows]
        body, length = body_of(texts(*map(json.dumps, raws), name="row")), None
    else:
        raws = [row["text"] for row in rows]
        body, length = body_of(texts(*raws)), None
    found = ask(served, body, length)
    assert told(found["answer"]) == json.loads(json.dumps(predictor.predict(raws)))
    # All that are offered come, but for what is of pairs.
    assert set(found) == set(served.by_name) - {"similarity"}
    for spec in served.outputs:
        if spec.name in found:
            shape = found[spec.name].shape
            assert len(shape) == len(spec.shape)
            assert all(size in (-1, given) for size, given in zip(spec.shape, shape, strict=True))
            assert shape[0] == len(raws)


def test_every_kind_of_input_and_output_has_what_reads_or_makes_it(tmp_path: Path) -> None:
    kinds, made, raw = set(), set(), set()
    for number, name in enumerate(registry.names("tasks")):
        served = interface_of(opened(EXAMPLES[name][0], tmp_path / str(number)))
        kinds |= {each.kind for each in served.input_sets}
        raw.add(served.input_sets[0].kind)
        made |= set(served.by_name)
    promised = Decision(likelihood="categorical", promise=PROMISE)
    made |= set(interface(INTENT, tmp_path, fitted=promised).by_name)
    assert kinds == {*READERS, "tensors"}
    assert raw == set(RAW)
    assert made == set(MAKERS)


FITTED = [
    None,
    Decision(likelihood="categorical", temperature=1.7, bias=np.array([0.5, -0.25, 0.0])),
    Decision(likelihood="categorical", promise=PROMISE),
    Decision(likelihood="categorical", promise=PROMISE | {"threshold": None}),
    Decision(
        likelihood="categorical",
        costs=np.array([[0, 1, 9.0], [1, 0, 9], [1, 1, 0]]),
        promise=PROMISE,
    ),
    Decision(likelihood="categorical", sets={"least_probability": 0.2}),
]


@pytest.mark.parametrize("fitted", FITTED)
def test_what_is_made_of_logits_says_what_the_answer_says(
    fitted: Decision | None, tmp_path: Path
) -> None:
    served = interface(INTENT, tmp_path, fitted=fitted)
    raws = ["Ada lives", "New York", "Lovelace", "a b c", "in Yorker, a", "b"]
    found = ask(served, body_of(texts(*raws)))
    answers = told(found["answer"])
    assert [each.decode() for each in found["label"]] == [each["label"] for each in answers]
    by_label = [[each["probabilities"][label] for label in INTENT.labels] for each in answers]
    assert found["probabilities"] == pytest.approx(np.array(by_label), abs=1e-6)
    expected = np.concatenate([served.predictor.logits(served.predictor.row(raw)) for raw in raws])
    assert (found["logits"] == expected).all()
    assert ("abstain" in found) == bool(fitted and fitted.promise)
    if "abstain" in found:
        assert found["abstain"].tolist() == [each["abstain"] for each in answers]
        # Where no promise could be made, nothing is answered.
        if fitted and fitted.threshold == np.inf:
            assert found["abstain"].all()


@pytest.mark.parametrize("thresholds", [None, np.array([0.9, 0.1, 0.5])])
def test_several_labels_are_a_bool_for_each(thresholds: Any, tmp_path: Path) -> None:
    fitted = Decision(likelihood="bernoulli", label_thresholds=thresholds, promise=PROMISE)
    served = interface(SEVERAL, tmp_path, fitted=fitted)
    found = ask(served, body_of(texts("Ada lives", "New York", "a")))
    assert found["labels"].dtype == bool
    for row, answer in zip(found["labels"], told(found["answer"]), strict=True):
        assert [label for label, has in zip(SEVERAL.labels, row, strict=True) if has] == answer[
            "labels"
        ]
    assert found["abstain"].tolist() == [each["abstain"] for each in told(found["answer"])]


@pytest.mark.parametrize("with_promise", [True, False])
def test_tags_are_filled_up_to_the_longest_sentence(with_promise: bool, tmp_path: Path) -> None:
    promise = PROMISE | {"threshold": 0.2} if with_promise else None
    served = interface(TEXT, tmp_path, fitted=Decision(likelihood="categorical", promise=promise))
    raws = ["Ada Lovelace lives in New York.", "Ada", "a b"]
    found = ask(served, body_of(texts(*raws)))
    answers = told(found["answer"])
    assert found["label"].shape == found["words"].shape == (3, 7)
    assert found["probabilities"].shape == found["logits"].shape == (3, 7, 5)
    for row, answer in enumerate(answers):
        count = len(answer["words"])
        assert [each.decode() for each in found["words"][row]] == answer["words"] + [""] * (
            7 - count
        )
        assert [each.decode() for each in found["label"][row]] == answer["tags"] + [""] * (
            7 - count
        )
        assert found["probabilities"][row, :count].max(1) == pytest.approx(
            answer["probabilities"], abs=1e-6
        )
        assert (found["probabilities"][row, count:] == 0).all()
    if with_promise:
        assert found["abstain"].tolist() == [each["abstain"] for each in answers]


def test_words_are_sentences_filled_up_with_empty_ones(tmp_path: Path) -> None:
    served = interface(TEXT, tmp_path)
    flat = ["Ada", "lives", "", "New", "in", "York"]
    expected = served.predictor.predict([("Ada", "lives"), ("New", "in", "York")])
    for data in (flat, [flat[:3], flat[3:]]):
        found = ask(served, body_of(tensor("words", "BYTES", [2, 3], data)))
        assert told(found["answer"]) == expected
    body, length = binary_body(
        [(tensor("words", "BYTES", [2, 3]), bytes_of([each.encode() for each in flat]))]
    )
    assert told(ask(served, body, length)["answer"]) == expected
    empty = body_of(tensor("words", "BYTES", [2, 1], ["Ada", ""]))
    assert refusal(served, empty) == "row 1: a text without a single word has nothing to tag"
    for words in (["New", "", "York"], ["New", " ", ""]):
        holed = body_of(tensor("words", "BYTES", [1, 3], words))
        assert refusal(served, holed).startswith("row 0: words: word 2 is empty")


def test_a_number_and_a_vector_have_outputs_of_their_own(tmp_path: Path) -> None:
    served = interface(SCORE, tmp_path)
    pairs = body_of(texts("Ada", "New York"), texts("a", "b", name="text_b"))
    found = ask(served, pairs)
    assert found["score"] == pytest.approx([each["score"] for each in told(found["answer"])])
    for number, task in enumerate((VECTOR, RANKED)):
        served = interface_of(opened(task, tmp_path / str(number)))
        alone = ask(served, body_of(texts("Ada", "New York")))
        assert alone["embedding"].shape == (2, 4)
        assert alone["embedding"] == pytest.approx(
            np.array([each["embedding"] for each in told(alone["answer"])]), abs=1e-6
        )
        found = ask(served, pairs)
        assert found["embedding"].shape == (2, 2, 4)
        assert found["similarity"] == pytest.approx(
            [each["similarity"] for each in told(found["answer"])]
        )
        # Of one text there is none to compare.
        request = body_of(texts("Ada"), outputs=[{"name": "similarity"}])
        assert "similarity is that of two texts: send text_b too" in refusal(served, request)


def test_a_second_text_belongs_to_models_of_pairs(tmp_path: Path) -> None:
    both = body_of(texts("Ada"), texts("New York", name="text_b"))
    paired = interface_of(opened(INTENT, tmp_path / "pairs", recipe=PAIRS))
    answer = told(ask(paired, both)["answer"])
    assert answer == [paired.predictor.predict(("Ada", "New York"))]
    assert (
        "text is no whole set. Send text with text_b; or input_ids with attention_mask"
        in refusal(paired, body_of(texts("Ada")))
    )
    with pytest.raises(InvalidRequest, match="needs text with text_b, which are no one body"):
        ask(paired, b"Ada", 0)
    single = interface_of(
        opened(INTENT, tmp_path / "single", recipe="data: {source: csv, path: x}\n")
    )
    assert "inputs: there is no 'text_b'. Did you mean `text`?" in refusal(single, both)
    differ = body_of(texts("Ada", "b"), texts("New York", name="text_b"))
    assert "their first dimensions differ: text 2, text_b 1 rows" in refusal(paired, differ)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_an_image_is_bytes_base64_pixels_or_numbers(tmp_path: Path) -> None:
    served = interface(IMAGE, tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (2, 9, 7), np.uint8)
    files = [png(image) for image in images]
    expected = served.predictor.predict(files)
    encoded = [base64.b64encode(file).decode() for file in files]
    body, length = binary_body([(tensor("image", "BYTES", [2]), bytes_of(files))])
    assert told(ask(served, body, length)["answer"]) == expected
    for data in (encoded, [f"data:image/png;base64,{each}" for each in encoded]):
        assert (
            told(ask(served, body_of(tensor("image", "BYTES", [2, 1], data)))["answer"]) == expected
        )
    assert told(ask(served, files[0], 0)["answer"]) == expected[:1]
    # Pixels, with an axis of channels or without.
    for shape in ([2, 9, 7], [2, 9, 7, 1]):
        body, length = binary_body([(tensor("pixels", "UINT8", shape), images.tobytes())])
        assert told(ask(served, body, length)["answer"]) == expected
    numbers = np.stack(
        [served.predictor.encoded({"image": image}).inputs["pixel_values"] for image in images]
    )
    body, length = binary_body([(tensor("pixel_values", "FP32", numbers.shape), numbers.tobytes())])
    found = ask(served, body, length)
    assert [each.decode() for each in found["label"]] == [each["label"] for each in expected]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("/etc/passwd", "base64 is expected"),
        ("../a.png", "base64 is expected"),
        ("a b", "base64 is expected"),
        ("ü", "base64 is expected"),
        ("aGk", "base64 is expected"),
        ("etc/passwd12", "not a readable image"),
        ("", "not a readable image"),
        ("data:image/png", "as in data:image/png;base64,"),
        (base64.b64encode(b"no image").decode(), "not a readable image"),
    ],
)
def test_no_text_is_taken_for_the_path_of_an_image(
    value: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = interface(IMAGE, tmp_path)
    (tmp_path / "a.png").write_bytes(png(np.zeros((4, 4), np.uint8)))
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr("builtins.open", None)
    assert reason in refusal(served, body_of(texts(value, name="image")))


def ids(*values: Any, mask: Any = None) -> bytes:
    shape = np.shape(values)
    given = np.ones_like(values) if mask is None else mask
    return body_of(
        tensor("input_ids", "INT64", shape, np.array(values).ravel().tolist()),
        tensor("attention_mask", "INT64", np.shape(given), np.ravel(given).tolist()),
    )


def test_who_tokenizes_himself_gets_what_the_texts_get(tmp_path: Path) -> None:
    served = interface(INTENT, tmp_path, fitted=Decision(likelihood="categorical", promise=PROMISE))
    raws = ["Ada lives in New York", "a"]
    rows = [served.predictor.encoded({"text": raw}).inputs for raw in raws]
    width = max(len(row["input_ids"]) for row in rows)
    values = [[*row["input_ids"], *[3] * (width - len(row["input_ids"]))] for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    found = ask(served, ids(*values, mask=mask))
    expected = ask(served, body_of(texts(*raws)))
    assert set(found) == set(expected) - {"answer"}
    for name in found:
        assert (found[name] == expected[name]).all()


def test_tags_of_tensors_are_logits_of_every_token(tmp_path: Path) -> None:
    served = interface(TEXT, tmp_path)
    row = served.predictor.row("Ada lives")
    encoded = served.predictor.encoded(row)
    found = ask(served, ids(encoded.inputs["input_ids"]))
    assert set(found) == {"logits", "probabilities"}
    assert found["logits"].shape == (1, len(encoded.inputs["input_ids"]), 5)
    assert (found["logits"][0, encoded.positions] == served.predictor.logits(row)).all()


SENTENCES: list[tuple[bytes, str]] = [
    (
        body_of(texts("a", name="texts")),
        "inputs: there is no 'texts'. Did you mean `text`? Choices: text, ",
    ),
    (body_of(texts("a", name="x" * 200)), "inputs: there is no 'xxx"),
    (body_of(texts("a"), texts("b", name="unknown")), "there is no 'unknown'"),
    (body_of(tensor("text", "INT64", [1], [1])), "text: datatype BYTES is expected, not INT64"),
    (
        body_of(tensor("text", "BYTES", [1, 2], ["a", "b"])),
        "text: shape [-1] is expected (-1: any), not [1, 2]",
    ),
    (body_of(tensor("text", "BYTES", [1, 1, 1], ["a"])), "text: shape [-1] is expected"),
    (
        body_of(texts("a"), outputs=[{"name": "lable"}]),
        "outputs: there is no 'lable'. Did you mean `label`?",
    ),
    (body_of(texts("a"), outputs=[{"name": "score"}]), "outputs: there is no 'score'"),
    (body_of(texts("Ada", " ")), "row 1: an empty text has nothing to classify"),
    (
        body_of(tensor("input_ids", "INT64", [1, 2], [1, 4])),
        "inputs: input_ids is no whole set. Send text",
    ),
    (
        body_of(texts("a"), tensor("input_ids", "INT64", [1, 2], [1, 4])),
        "text, input_ids is no whole set",
    ),
    (ids([1, -4]), "input_ids: a token is 0 to 16"),
    (ids([1, 17]), "input_ids: a token is 0 to 16"),
    (ids([4] * 13), "input_ids: 13 tokens a row: the model reads at most 12"),
    (ids([1, 4], mask=[[1, 2]]), "attention_mask: 1 for a token, 0 for padding"),
    (ids([1, 4], mask=[[0, -1]]), "attention_mask: 1 for a token"),
    (ids([1, 4], [1, 4], mask=[[1, 1], [0, 0]]), "and a 1 in every row"),
    (ids([1, 4], mask=[[1]]), "attention_mask: shape [1, 1], and input_ids has [1, 2]"),
    (ids([1, 4], mask=[[1, 1], [1, 1]]), "their first dimensions differ"),
    (
        body_of(
            tensor("input_ids", "INT32", [1, 1], [1]),
            tensor("attention_mask", "INT64", [1, 1], [1]),
        ),
        "input_ids: datatype INT64 is expected, not INT32",
    ),
    (
        ids([1, 4])[:-1] + b', "outputs": [{"name": "answer"}]}',
        "answer is made of the input itself, and the graph's tensors were sent. Ask for label or probabilities or logits",
    ),
    (
        body_of(texts("a"), outputs=[{"name": "label", "parameters": {"classification": 1}}]),
        "classification: label holds no number for each label",
    ),
    (
        body_of(texts("a"), outputs=[{"name": "logits", "parameters": {"classification": 4}}]),
        "4 classes are asked for, and there are 3 labels",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), SENTENCES)
def test_what_a_model_does_not_read_is_said_in_a_sentence(
    body: bytes, sentence: str, tmp_path: Path
) -> None:
    said = refusal(interface(INTENT, tmp_path), body)
    assert sentence in said
    assert len(said) < 400


def test_a_binary_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    served = interface(INTENT, tmp_path)
    body, length = binary_body([(tensor("text", "BYTES", [2]), bytes_of([b"Ada", b"a\xff"]))])
    assert refusal(served, body, length) == "text[1]: not UTF-8: invalid start byte at byte 1"
    assert refusal(served, b"\xff", 0) == "the body: not UTF-8: invalid start byte at byte 0"


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    served = interface(IMAGE, tmp_path)
    values = np.zeros((1, 1, 6, 5), np.float32)
    values[0, 0, 2, 3] = np.nan
    body, length = binary_body([(tensor("pixel_values", "FP32", values.shape), values.tobytes())])
    assert refusal(served, body, length) == "pixel_values: a number of it is not finite"
    values[0, 0, 2, 3] = 3e38
    body, length = binary_body([(tensor("pixel_values", "FP32", values.shape), values.tobytes())])
    assert "row 0: what the model computes of these numbers is not finite" in refusal(
        served, body, length
    )
    body, length = binary_body([(tensor("pixel_values", "FP32", [1, 1, 5, 6]), bytes(120))])
    assert "pixel_values: shape [-1, 1, 6, 5] is expected" in refusal(served, body, length)


def test_an_output_is_not_asked_for_after_the_work_is_done(tmp_path: Path) -> None:
    """A name that is none is told before the model runs."""
    served = interface(INTENT, tmp_path)
    request = parse(body_of(texts("a"), outputs=[{"name": "nothing"}]), None, LIMITS)
    object.__setattr__(served.predictor, "graph", None)
    with pytest.raises(InvalidRequest, match="there is no 'nothing'"):
        finished(infer(request, served))


def test_images_are_bounded_by_what_they_unpack_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one: a body of small files is not unpacked before it is counted."""
    served = interface(IMAGE, tmp_path)
    files = [png(np.zeros((20, 20), np.uint8))] * 5
    body, length = binary_body([(tensor("image", "BYTES", [5]), bytes_of(files))])
    monkeypatch.setattr(rows_module, "MOST_PIXEL_BYTES", 1000)
    made = []
    monkeypatch.setattr(
        type(IMAGE), "row", lambda self, raw: made.append(raw) or self.input.row(raw)
    )
    with pytest.raises(InvalidRequest, match="row 2: the images have more than") as caught:
        ask(served, body, length)
    assert (caught.value.status, len(made)) == (413, 3)


def test_outputs_come_as_they_are_asked_for(tmp_path: Path) -> None:
    served = interface(INTENT, tmp_path)
    outputs = [
        {"name": "logits", "parameters": {"binary_data": True}},
        {"name": "label"},
        {"name": "probabilities", "parameters": {"classification": 2}},
    ]
    request = parse(body_of(texts("Ada", "New"), id="7", outputs=outputs), None, LIMITS)
    answered, _ = finished(infer(request, served))
    body, length = encode(response_of(request, answered, "intents", "v3"))
    header = json.loads(body[:length])
    assert (header["model_name"], header["model_version"], header["id"]) == ("intents", "v3", "7")
    assert [each["name"] for each in header["outputs"]] == ["logits", "label", "probabilities"]
    assert header["outputs"][0]["parameters"] == {"binary_data_size": 24}
    found = decoded(body, length)
    expected = ask(served, body_of(texts("Ada", "New")))
    assert (found["logits"] == expected["logits"]).all()
    order = np.argsort(-expected["probabilities"])
    for row in range(2):
        for place in range(2):
            index = order[row, place]
            value = expected["probabilities"][row, index]
            assert (
                found["probabilities"][row, place].decode()
                == f"{value:.6f}:{index}:{INTENT.labels[index]}"
            )


def test_every_row_is_a_step(tmp_path: Path) -> None:
    served = interface(INTENT, tmp_path)
    for count in (1, 3):
        request = parse(body_of(texts(*"abc"[:count])), None, LIMITS)
        _, steps = finished(infer(request, served))
        assert steps == count


def test_one_long_sentence_among_short_ones_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = interface(TEXT, tmp_path)
    monkeypatch.setattr(outputs_module, "MOST_NUMBERS", 100)
    body = body_of(texts("a " * 20, "b"))
    with pytest.raises(
        InvalidRequest, match="sentences are filled up to the longest, and at most 100"
    ) as caught:
        ask(served, body)
    assert caught.value.status == 413
    answers = ask(served, body_of(texts("a " * 20, "b"), outputs=[{"name": "answer"}]))
    assert len(told(answers["answer"])) == 2


class Own:
    """What a task of somebody else adds: rows of other keys."""

    row_keys = ("left", "right", "label")


def test_a_task_of_others_reads_rows_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = opened(INTENT, tmp_path / "own")
    monkeypatch.setattr(type(INTENT), "row_keys", Own.row_keys)
    monkeypatch.setattr(
        type(INTENT), "row", lambda self, raw: {"text": f"{raw['left']} {raw['right']}"}
    )
    served = interface_of(predictor)
    row = json.dumps({"left": "Ada", "right": "lives"})
    expected = [predictor.answer({}, predictor.logits({"text": "Ada lives"}))]
    assert told(ask(served, body_of(texts(row, name="row")))["answer"]) == expected
    assert told(ask(served, row.encode(), 0)["answer"]) == expected
    assert "row[0]: no JSON" in refusal(served, body_of(texts("{", name="row")))
    # A text alone could be the path of a file.
    assert "row[1]: an object of JSON is expected" in refusal(
        served, body_of(texts(row, '"/etc/passwd"', name="row"))
    )


def test_answers_that_are_no_plain_data_are_json_still() -> None:
    assert json.loads(as_json({"a": float("nan"), "b": np.float64(1.5)})) == {"a": None, "b": 1.5}
    assert json.loads(as_json({1: Path("x")})) == {"1": "x"}
    assert json.loads(as_json({"a": "\ud800"})) == {"a": "\ufffd"}


def test_metadata_is_of_the_protocol_s_shape(tmp_path: Path) -> None:
    assert server_metadata() == {
        "name": "limbeck",
        "version": limbeck.__version__,
        "extensions": ["binary_tensor_data", "classification", "parameters"],
    }
    paired = interface(INTENT, tmp_path)
    found = model_metadata("intents", ["a1", "b2"], paired)
    assert json.loads(json.dumps(found)) == found
    assert (found["name"], found["versions"], found["platform"]) == (
        "intents",
        ["a1", "b2"],
        "table",
    )
    assert (found["task"], found["labels"]) == ("text-classification", ["call", "move", "rest"])
    assert [
        (each["name"], each["datatype"], each["shape"], each["parameters"])
        for each in found["inputs"]
    ] == [
        ("text", "BYTES", [-1], {"set": 0, "optional": False}),
        ("text_b", "BYTES", [-1], {"set": 0, "optional": True}),
        ("input_ids", "INT64", [-1, -1], {"set": 1, "optional": False}),
        ("attention_mask", "INT64", [-1, -1], {"set": 1, "optional": False}),
    ]
    assert found["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "logits", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "answer", "datatype": "BYTES", "shape": [-1]},
    ]


def test_a_loaded_artifact_is_asked(artifact: Path) -> None:
    """From a folder, through `limbeck.load`, as a server does."""
    predictor: Predictor = limbeck.load(artifact)
    found = ask(interface_of(predictor), body_of(texts("Ada lives in New York", "Ada")))
    assert [each.decode() for each in found["label"]] == ["place", "person"]
    assert told(found["answer"]) == predictor.predict(["Ada lives in New York", "Ada"])


@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=4),
    st.sampled_from(["text-classification", "token-classification", "sentence-embedding"]),
    st.booleans(),
)
def test_any_texts_are_answered_or_refused(values: list[str], name: str, is_binary: bool) -> None:
    served = SERVED.setdefault(name, made(name))
    if is_binary:
        body, length = binary_body(
            [
                (
                    tensor("text", "BYTES", [len(values)]),
                    bytes_of([value.encode() for value in values]),
                )
            ]
        )
    else:
        body, length = body_of(texts(*values)), None
    request = parse(body, length, LIMITS)
    try:
        answered, _ = finished(infer(request, served))
    except InvalidRequest as error:
        # The same inputs, one by one, are refused by `predict` too.
        place = int(str(error).split(":")[0].removeprefix("row "))
        with pytest.raises(ValueError, match=r"\S"):
            served.predictor.predict(values[place])
        return
    found = decoded(*encode(response_of(request, answered, "m", "1")))
    assert told(found["answer"]) == json.loads(json.dumps(served.predictor.predict(values)))


SERVED: dict[str, Interface] = {}


def made(name: str) -> Interface:
    import tempfile

    return interface(EXAMPLES[name][0], Path(tempfile.mkdtemp()))


def test_a_text_has_at_most_as_many_characters_as_for_predict(tmp_path: Path) -> None:
    most = LIMITS.text_characters
    served = interface(INTENT, tmp_path)
    assert ask(served, body_of(texts("a" * most)))["label"]
    tagged = interface_of(opened(EXAMPLES["token-classification"][0], tmp_path / "tags"))
    # With the spaces between its words, as `POST /predict` counts them.
    words = ["a" * (most // 2), "b" * (most // 2)]
    for model, body, length in (
        (served, body_of(texts("a" * (most + 1))), None),
        (served, b"a" * (most + 1), 0),
        (tagged, body_of(tensor("words", "BYTES", [1, 2], [words])), None),
    ):
        with pytest.raises(InvalidRequest, match=f"at most {most:,} are read") as caught:
            ask(model, body, length)
        assert caught.value.status == 413
