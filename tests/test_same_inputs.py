"""Which rows of test are known from train, and which are one input: by letters, pixels and groups."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from limbeck.data import same_inputs
from limbeck.data.splits import check
from limbeck.tasks import Encoded
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.masked_lm import MaskedLm
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_generation import TextGeneration
from limbeck.tasks.token_classification import TokenClassification


def texts(*written: str) -> list[dict[str, Any]]:
    return [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(written)]


def test_texts_are_the_same_by_their_letters() -> None:
    train = texts("A  caf\u00e9", "zwei")
    rows = texts("a cafe\u0301", "Zwei ", "zw\u00adei", "drei", "a cafe")
    found = same_inputs.known_from(train, rows, TextClassification)
    assert found.tolist() == [True, True, True, False, False]


def test_pairs_words_and_pixels_are_compared_whole() -> None:
    pair = {"text": "a", "text_b": "b"}
    turned = {"text": "b", "text_b": "a"}
    assert same_inputs.known_from([pair], [pair, turned], TextClassification).tolist() == [
        True,
        False,
    ]
    words = [{"words": ["New", "York"]}]
    assert same_inputs.known_from(words, [{"words": ["new", "york"]}], TokenClassification).all()
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    images = [{"image": pixels.copy()}, {"image": pixels.reshape(3, 2)}]
    found = same_inputs.known_from([{"image": pixels}], images, ImageClassification)
    assert found.tolist() == [True, False]


def test_rows_of_one_input_or_one_group_have_one_number() -> None:
    rows = texts("one", "two", "ONE", "three", "four")
    rows[1]["group"] = rows[4]["group"] = "patient 7"
    found = same_inputs.cluster_of_row(rows, TextClassification)
    assert found.tolist() == [0, 1, 0, 2, 1]


def test_rows_in_other_letters_are_told() -> None:
    splits = {
        "train": texts("one", "two", "three", "four"),
        "validation": texts("five", "six"),
        "test": texts("ONE", "two", "seven"),
    }
    (note,) = [note for note in check(splits, TextClassification, "`csv`").notes if "too" in note]
    assert note.startswith(
        "warning: 2 of 3 test rows are in train too (1 of them in other case, spaces or codes of "
        "letters), for example row 1: 'ONE'"
    )
    assert note.endswith("A verdict leaves them out")


def test_the_test_split_keeps_its_groups() -> None:
    rows = [row | {"group": str(number // 2)} for number, row in enumerate(texts(*"abcdefgh"))]
    splits = check(
        {"train": texts("x", "y"), "validation": texts("z", "w"), "test": rows},
        TextClassification,
        "",
    )
    assert [row["group"] for row in splits.test] == list("00112233")
    same = [{key: value for key, value in row.items() if key != "group"} for row in rows]
    other = check(
        {"train": texts("x", "y"), "validation": texts("z", "w"), "test": same},
        TextClassification,
        "",
    )
    # No model reads it, so that answers that are there stay there.
    assert splits.fingerprint("test") == other.fingerprint("test")


@pytest.mark.parametrize(("num_new", "is_red"), [(12, False), (9, True), (0, True)])
def test_a_verdict_is_about_rows_that_train_lacks(num_new: int, is_red: bool) -> None:
    torch = pytest.importorskip("torch")
    assert torch
    from limbeck.pipeline.judging.judged_rows import judged_rows

    train = texts(*(f"old {number}" for number in range(20)))
    new = texts(*(f"new {number}" for number in range(num_new)))
    data = SimpleNamespace(train=train, test=train + new, num_grouped=3)
    known = same_inputs.known_from(train, data.test, TextClassification)
    unknown = np.zeros(len(known), bool)
    run: Any = SimpleNamespace(data=data, known_from_train=known, known_from_validation=unknown)
    found = judged_rows(run, TextClassification(["a", "b"], ""))
    told = f"20 of {20 + num_new} test rows are in train too"
    if is_red:
        assert found.kept.all()
        assert found.reasons[0].startswith(f"{told}: the other {num_new} are too few")
        return
    assert found.kept.tolist() == [False] * 20 + [True] * 12
    assert found.notes == [
        f"{told}, and were left out: all figures are of the other 12",
        "3 of 32 test rows are of a group that train has too: the figures may not hold for new "
        "groups",
    ]
    assert (found.reasons, found.clusters) == ([], None)
    # Answers that are right on what is known alone count for nothing.
    from limbeck.tasks import Scored

    labels = np.arange(32) % 2
    answers = np.where(found.kept, 1 - labels, labels)
    judged = found.judged([Scored(np.eye(2)[answers], labels, np.arange(33))], found_task())
    assert judged.by("accuracy").value == 0


@pytest.mark.parametrize("num_new", [12, 0])
def test_a_verdict_is_not_about_rows_that_chose_the_model(num_new: int) -> None:
    """Epochs, temperatures and thresholds are chosen on validation: its rows prove nothing."""
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.judged_rows import judged_rows

    known = np.arange(20 + num_new) < 20
    data = SimpleNamespace(test=texts(*map(str, range(20 + num_new))), num_grouped=0)
    in_train = np.arange(20 + num_new) < 3
    run: Any = SimpleNamespace(data=data, known_from_train=in_train, known_from_validation=known)
    found = judged_rows(run, found_task())
    told = f"3 of {20 + num_new} test rows are in train too and 20 of {20 + num_new} test rows are in validation too"
    if num_new:
        assert found.kept.tolist() == (~known).tolist()
        assert found.notes == [f"{told}, and were left out: all figures are of the other 12"]
    else:
        assert found.reasons[0].startswith(f"{told}: the other 0 are too few")
        assert "out of train and validation" in found.reasons[0]


def found_task() -> Any:
    return TextClassification(["a", "b"], "")


def test_a_seldom_label_that_nobody_answers_is_named() -> None:
    pytest.importorskip("torch")
    from limbeck.evaluation.compare import Judged
    from limbeck.pipeline.describe import never_answered_of_few
    from limbeck.tasks import Scored

    labels = np.array([0] * 30 + [1] * 9)
    (told,) = never_answered_of_few(
        Judged([Scored(np.eye(2)[np.zeros(39, int)], labels, np.arange(40))], found_task())
    )
    assert told.startswith("`b` is never answered: 9 test rows have it")
    answers = np.array([0] * 38 + [1])
    judged = Judged([Scored(np.eye(2)[answers], labels, np.arange(40))], found_task())
    assert never_answered_of_few(judged) == []


def test_labels_of_rows_that_train_has_are_not_in_doubt() -> None:
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.lost import labels_in_doubt
    from limbeck.tasks import Scored

    # Two wrong labels, one of them of a row that train has too.
    true = np.arange(200) % 2
    given = true.copy()
    given[[3, 150]] = 1 - given[[3, 150]]
    both = Scored(5 * np.eye(2)[true], given, np.arange(201))
    of_train = ["a", "b"]
    run: Any = SimpleNamespace(known_from_train=np.arange(200) < 100, labels_of_train=of_train)
    arm: Any = SimpleNamespace(decided=SimpleNamespace(most_probable=both), task=found_task())
    (doubted,) = labels_in_doubt(run, arm, arm)
    assert (doubted.row, doubted.given, doubted.likely) == (150, 1, 0)
    # What train has nowhere no model can answer, and nobody doubts it for that.
    of_train.pop()
    assert labels_in_doubt(run, arm, arm) == []


@pytest.mark.parametrize(("in_train", "cure"), [("ab", "train it longer"), ("a", "train has none")])
def test_a_label_that_train_lacks_is_not_for_want_of_training(
    in_train: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from limbeck.evaluation.compare import Judged
    from limbeck.pipeline import describe
    from limbeck.tasks import Scored

    monkeypatch.setattr(describe, "signs", lambda *_: [])
    labels = np.array([0] * 30 + [1] * 12)
    answers = Scored(np.eye(2)[0 * labels], labels, np.arange(43))
    arms: Any = {"teacher": [SimpleNamespace(history=[], task=found_task())]}
    run: Any = SimpleNamespace(
        recipe=SimpleNamespace(judged_metric="accuracy"),
        data=SimpleNamespace(validation=[]),
        labels_of_train=list(in_train),
    )
    found = describe.undertrained(run, arms, {"teacher": Judged([answers], found_task())})
    assert found["teacher"][0].startswith(f"never answers `b`, which 12 test rows have: {cure}")


def test_parity_of_an_arm_that_trains_nothing_is_told_once() -> None:
    """After-training quantization of the teacher is one, whatever the number of seeds."""
    pytest.importorskip("torch")
    from limbeck.pipeline.describe import describe_parity

    def arm(seed: int) -> Any:
        recipe = SimpleNamespace(train=SimpleNamespace(seed=seed))
        return SimpleNamespace(recipe=recipe, artifact=SimpleNamespace(parity=[{"holds": True}]))

    rows = describe_parity({"ptq": [arm(0)] * 3, "joint": [arm(0), arm(1)]})
    assert [(row["arm"], row["seed"]) for row in rows] == [("ptq", 0), ("joint", 0), ("joint", 1)]


def rows_of(task: type, *names: str) -> list[dict[str, Any]]:
    """A row of each name, as the task reads it."""
    if task is TextGeneration:
        turns = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": ""}]
        return [{"messages": [turns[0], {**turns[1], "content": name}]} for name in names]
    if task is TokenClassification:
        return [{"words": [name], "tags": ["O"]} for name in names]
    if task is ImageClassification:
        return [{"image": np.full((2, 2), int(name.split()[1])), "label": "a"} for name in names]
    return [{"text": name, "label": "a"} for name in names]


TASKS = [
    TextClassification,
    TokenClassification,
    ImageClassification,
    TextGeneration,
    MaskedLm,
]


@pytest.mark.parametrize("num_new", [0, 9, 20])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_every_task_leaves_known_rows_out(task: Any, num_new: int) -> None:
    """A test split that is wholly, and one that is half, of train: no verdict stands on that."""
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.judged_rows import judged_rows

    train = rows_of(task, *(f"old {number}" for number in range(20)))
    new = rows_of(task, *(f"new {number + 20}" for number in range(num_new)))
    # Each new one twice, which proves as much as once.
    data = SimpleNamespace(train=train, test=train + new + new, num_grouped=0)
    known = same_inputs.known_from(train, data.test, task)
    run: Any = SimpleNamespace(
        data=data,
        known_from_train=known,
        known_from_validation=np.zeros(len(known), bool),
        encode=lambda split, task: [Encoded({}, None, np.array([0])) for _ in data.test],
    )
    found = judged_rows(run, task([], ""))
    if num_new < 10:
        assert found.reasons[0].startswith(f"20 of {20 + 2 * num_new} test rows are in train too")
        assert "are too few" in found.reasons[0]
        return
    assert found.reasons == []
    assert found.kept.tolist() == [False] * 20 + [True] * 40
    assert found.notes[0].endswith("all figures are of the other 40")
    assert found.clusters is not None
    assert found.clusters.tolist() == [*range(20), *range(20)]


def test_what_a_model_reads_stands_for_the_rows_that_it_holds() -> None:
    """Three short texts are read together, a long one in two parts, and so is its copy."""
    pytest.importorskip("torch")
    from limbeck.pipeline.judging.judged_rows import as_read

    texts = ["a" * 9, "b" * 2, "c" * 3, "d" * 50, "D" * 50, "e" * 5]
    rows = [{"text": text} for text in texts]
    encoded = [Encoded({}, None, np.array([0]), begins=count) for count in (3, 1, 0, 1, 0, 1)]
    data = SimpleNamespace(test=rows)
    run: Any = SimpleNamespace(data=data, encode=lambda split, task: encoded)
    task = MaskedLm([], "")
    for known, expected in (
        ([0, 1, 1, 0, 0, 0], [False, False, False, False, False, False]),
        ([1, 0, 0, 0, 0, 1], [True, False, False, False, False, True]),
        ([0, 0, 0, 1, 1, 0], [False, True, True, True, True, False]),
    ):
        clusters = same_inputs.cluster_of_row(rows, task)
        is_known, read_as = as_read(run, task, np.array(known, bool), clusters)
        assert is_known.tolist() == expected
        # The second part of the copy is the second part.
        assert (read_as[1], read_as[2]) == (read_as[3], read_as[4])
        assert len(set(read_as.tolist())) == 4
