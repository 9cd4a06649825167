"""What was lost: rows against slow code, kinds of rows against scipy, labels in doubt against planted mistakes."""

import base64
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

import limbeck
from limbeck.evaluation.by_row import sums_by_row
from limbeck.evaluation.holm import adjusted
from limbeck.evaluation.lost import label_errors, rows, slices
from limbeck.evaluation.paired import Changes
from limbeck.pipeline.judging import changed
from limbeck.pipeline.judging.changed import names_of, thumbnail
from limbeck.recipe.reading import parse
from limbeck.reports import lost as section
from limbeck.sources.csv import Csv
from limbeck.tasks import Scored
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification


def task_of(task_class: Any, labels: list[str]) -> Any:
    """A task of these labels; how it reads its inputs is not asked here."""
    return task_class(labels, "{}")


def one_hot(answers: list[int], num_labels: int, size: float = 4.0) -> np.ndarray:
    return size * np.eye(num_labels, dtype=np.float32)[answers]


def scored(answers: list[int], labels: list[int], lengths: list[int] | None = None) -> Scored:
    offsets = np.cumsum([0, *(lengths or [1] * len(labels))])
    return Scored(one_hot(answers, 3), np.array(labels), offsets)


CLASSES = task_of(ImageClassification, ["a", "b", "c"])
TAGS = task_of(TokenClassification, ["O", "B-X", "I-X"])


def test_a_row_is_right_where_every_unit_is() -> None:
    # Three sentences of two, one and three words; the label of the last word is not known.
    answers = scored([0, 1, 2, 0, 1, 1], [0, 1, 1, 0, 1, -100], [2, 1, 3])
    assert rows.right_rows(TAGS, answers).tolist() == [True, False, True]
    assert sums_by_row(np.ones(6), answers.offsets).tolist() == [2, 1, 3]
    assert sums_by_row(np.ones(2), np.array([0, 0, 2, 2])).tolist() == [0, 2, 0]


def test_of_several_labels_all_must_be_right() -> None:
    task = task_of(MultiLabelClassification, ["a", "b", "c"])
    labels = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    logits = np.array([[2, -1, 3], [-2, 1, 1]], np.float32)
    assert rows.right_rows(task, Scored(logits, labels, np.arange(3))).tolist() == [True, False]


def test_changed_rows_stand_by_who_is_right_the_largest_change_first() -> None:
    labels = [0, 0, 0, 1, 1, 2, 2]
    teacher = scored([0, 0, 0, 1, 2, 0, 0], labels)
    student = scored([1, 0, 2, 1, 1, 1, 0], labels)
    # The third row is further off than the first.
    student.logits[2, 2] = 9.0
    found = rows.changed_rows(CLASSES, teacher, student)
    assert found.teacher == [2, 0]
    assert found.student == [4]
    # Both are wrong; alike in the last row, which has not changed.
    assert found.neither == [5]
    assert found.changes == Changes(lost=2, won=1, rows=7)


@given(st.data())
def test_changed_rows_are_those_of_slow_code(data: st.DataObject) -> None:
    """Sentences of one to three words of three tags, of which -100 is not known."""
    lengths = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=8))
    size = sum(lengths)
    tags = st.lists(st.integers(0, 2), min_size=size, max_size=size)
    labels = data.draw(st.lists(st.sampled_from([-100, 0, 1, 2]), min_size=size, max_size=size))
    before, after = data.draw(tags), data.draw(tags)
    found = rows.changed_rows(TAGS, scored(before, labels, lengths), scored(after, labels, lengths))
    expected: dict[str, set[int]] = {"teacher": set(), "student": set(), "neither": set()}
    start = 0
    for row, length in enumerate(lengths):
        units = [n for n in range(start, start + length) if labels[n] != -100]
        start += length
        was, now, true = ([each[n] for n in units] for each in (before, after, labels))
        if was != now:
            right = "teacher" if was == true else "student" if now == true else "neither"
            expected[right].add(row)
    assert {key: set(getattr(found, key)) for key in expected} == expected


def test_of_numbers_the_rows_that_are_met_much_worse_or_better() -> None:
    task = task_of(TextRegression, ["0", "1"])
    labels = np.array([0.1, 0.5, 0.9, 0.3], np.float32)
    teacher = Scored(np.array([[0.2], [0.5], [0.8], [0.9]], np.float32), labels, np.arange(5))
    student = Scored(np.array([[0.2], [1.2], [0.1], [0.3]], np.float32), labels, np.arange(5))
    found = rows.changed_rows(task, teacher, student)
    assert (found.changes, found.teacher, found.student) == (None, [2, 1], [3])
    assert found.neither == []


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_the_p_value_of_a_kind_is_exact(lost: int, won: int, same: int) -> None:
    changed = Changes(lost, won, max(1, lost + won + same))
    expected = 1.0
    if lost + won:
        expected = binomtest(lost, lost + won, 0.5, alternative="greater").pvalue
    assert slices.p_of_no_drop(changed) == pytest.approx(expected)


def test_adjusted_for_how_many_were_looked_at() -> None:
    """Holm (1979): the smallest of four times four, the next times three, never falling."""
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([]) == []
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_parts_hold_every_row_once(values: list[int]) -> None:
    numbers = np.array(values, float)
    parts = slices.of_parts("length", numbers, "words")
    # Where all rows have the same number there is nothing to part.
    counts = np.sum([part.mask for part in parts], 0) if parts else np.ones(len(values))
    assert (counts == 1).all()


def test_kinds_of_texts() -> None:
    test = [
        {
            "text": f"{'new' if n % 2 else 'old'} word",
            "label": "ab"[n % 2],
            "slices": {"shop": "xyz"[n % 3]},
        }
        for n in range(60)
    ]
    found = slices.slices_of(test, [{"text": "Old WORD"}])
    named = {(each.by, each.value): int(each.mask.sum()) for each in found}
    assert named == {
        ("label", "a"): 30,
        ("label", "b"): 30,
        ("shop", "x"): 20,
        ("shop", "y"): 20,
        ("shop", "z"): 20,
        ("words", "some that train lacks"): 30,
        ("words", "all in train"): 30,
    }


def test_kinds_of_scripts_without_spaces_go_by_their_letters() -> None:
    text = "今天天气很好我们一起去公园散步吧然后回家吃饭看电影听音乐"
    assert slices.words_of({"text": text}) == list(text)
    assert slices.words_of({"text": "A b"}) == ["a", "b"]


def test_the_kind_that_lost_comes_first() -> None:
    rng = np.random.default_rng(0)
    before = np.ones(200, bool)
    after = np.ones(200, bool)
    is_dark = np.arange(200) < 60
    after[:20] = False
    kinds = [slices.Slice("noise", str(n), rng.random(200) < 0.5) for n in range(8)]
    kinds.append(slices.Slice("brightness", "dark", is_dark))
    first, *others = slices.drops(kinds, before, after)
    assert (first["by"], first["drop"], first["rows"]) == ("brightness", pytest.approx(1 / 3), 60)
    assert first["p_holm"] == pytest.approx(9 * 0.5**20)
    assert all(row["p_holm"] >= first["p_holm"] for row in others)


def test_planted_mistakes_of_the_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 300)
    given_labels = true.copy()
    planted = rng.choice(300, 12, replace=False)
    given_labels[planted] = (true[planted] + 1) % 3
    answers = [
        Scored(
            one_hot(true.tolist(), 3) + rng.normal(0, 0.5, (300, 3)).astype(np.float32),
            given_labels,
            np.arange(301),
        )
        for _ in range(2)
    ]
    found = label_errors.suspects(CLASSES, *answers)
    # A mistake of which a model is less sure than usual is let pass; none is made up.
    assert {each.row for each in found} <= set(planted.tolist())
    assert len(found) >= 9
    assert all(each.likely == true[each.row] and each.given != each.likely for each in found)
    given_shares = [each.teacher + each.student for each in found]
    assert given_shares == sorted(given_shares)


def test_one_model_alone_doubts_no_label() -> None:
    labels = [0, 1, 2, 0, 1, 2]
    assert (
        label_errors.suspects(CLASSES, scored([0, 1, 2, 1, 1, 2], labels), scored(labels, labels))
        == []
    )


def test_labels_that_both_models_answer_are_not_in_doubt() -> None:
    """Of a class of 5 % that looks like another, each has a little everywhere, and more than its average often."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 600, p=[0.55, 0.40, 0.05])
    logits = one_hot(np.where(labels == 2, 0, labels).tolist(), 3)
    logits[:, 2] = 1 + rng.normal(0, 0.3, 600)
    answers = Scored(logits, labels, np.arange(601))
    found = label_errors.suspects(CLASSES, answers, answers)
    decided = CLASSES.decisions(answers)
    assert all(each.likely == decided[each.row] != each.given for each in found)
    assert {each.given for each in found} <= {2}


@pytest.mark.parametrize("constant", [True, False])
def test_models_at_chance_doubt_no_label(constant: bool) -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 400, p=[0.9, 0.05, 0.05])
    logits = rng.normal(0, 1, (400, 3)).astype(np.float32)
    logits[:, 0] += 20 * constant
    answers = Scored(logits, labels, np.arange(401))
    assert label_errors.suspects(CLASSES, answers, answers) == []


TEXTS = """
task: text-classification
data: {{source: csv, path: {path}, slices: [shop]}}
teacher: {{model: {encoder}, epochs: 8, learning_rate: 3.0e-3}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 1, threads: 1, dtype: float32, batch_tokens: 128}}
distill: {{}}
verdict: {{arms: [kd], max_drop: 1, latency_rows: 2}}
"""


@pytest.mark.usefixtures("untimed")
def test_a_run_tells_what_was_lost(tmp_path: Path) -> None:
    from encoders import save_encoder

    words = [f"{mood} {noun}" for mood in ("good", "bad") for noun in ("film", "plot", "end")]
    table = [
        [text, text.split()[0], shop]
        for text in words
        for shop in ("north", "south")
        for _ in range(8)
    ]
    # Two labels that nobody can have meant.
    table[0][1], table[-1][1] = "bad", "good"
    for name in ("train", "valid", "test"):
        # Rows that differ, as copies are looked at once; and one of train, which is left out.
        numbered = [[f"{name} {n} {text}", *rest] for n, (text, *rest) in enumerate(table)]
        if name == "test":
            numbered += [numbered[7]] * 5 + [["train 0 good film", "bad", "north"]]
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label", "shop"], *numbered])
    encoder = save_encoder(tmp_path / "encoder", words, vocabulary=40, width=16, layers=2)
    recipe = parse(TEXTS.format(path=tmp_path, encoder=encoder))
    report = limbeck.run(recipe, tmp_path / "run")
    lost = report["lost"]
    assert lost["rows"] == 96
    kinds = {(row["by"], row["value"]): row["rows"] for row in lost["slices"]}
    assert kinds["shop", "north"] == kinds["shop", "south"] == 48
    assert kinds["label", "good"] == 48
    assert "What was lost" in (tmp_path / "run" / "report.html").read_text()
    doubted = lost["label_errors"]["count"]
    assert (tmp_path / "run" / "label_errors.csv").is_file() == (doubted > 0)
    assert {row["right"] for row in lost["changed"]} <= {"teacher", "student"}
    assert len(lost["changed"]) == lost["lost"] + lost["won"]
    assert (tmp_path / "run" / "changed_answers.csv").is_file() == (lost["changed"] != [])


def test_changed_rows_are_told_with_what_a_reader_knows_them_by() -> None:
    sentences = [{"words": ["Ada", "lives"]}, {"words": ["in"]}, {"words": ["Rome", "now"]}]
    labels, lengths = [1, 0, 0, 1, -100], [2, 1, 2]
    teacher, student = ([1, 0, 0, 0, 0], [0, 2, 0, 1, 1])
    both = changed.Answered(
        task=TAGS,
        rows=sentences,
        numbers=[4, 7, 9],
        teacher=scored(teacher, labels, lengths),
        student=scored(student, labels, lengths),
        clusters=None,
    )
    found = rows.changed_rows(TAGS, both.teacher, both.student)
    ada = {"word": "Ada", "given": "B-X", "teacher": "B-X", "student": "O"}
    lives = {"word": "lives", "given": "O", "teacher": "O", "student": "I-X"}
    rome = {"word": "Rome", "given": "B-X", "teacher": "O", "student": "B-X"}
    first = {"row": 5, "right": "teacher", "text": "Ada lives"}
    last = {"row": 10, "right": "student", "text": "Rome now"}
    # Of the last word nobody knows the tag.
    assert changed.told_rows(both, found) == [
        first | {"answers": [ada, lives]},
        last | {"answers": [rome]},
    ]
    assert changed.changed_lines(both) == [first | ada, first | lives, last | rome]
    assert changed.changed_lines(None) == changed.told_rows(both, found, 0) == []


def test_a_photograph_is_shown_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    flat = np.zeros((28, 28), np.uint8)
    for pixels, file_format, size in ((noise, "JPEG", (43, 64)), (flat, "PNG", (28, 28))):
        image = Image.open(io.BytesIO(base64.b64decode(thumbnail(pixels))))
        assert (image.format, image.size) == (file_format, size)


def test_several_labels_are_a_list() -> None:
    task = task_of(MultiLabelClassification, ["a", "b", "c"])
    assert names_of(task, np.array([1.0, 0.0, 1.0])) == ["a", "c"]
    assert names_of(CLASSES, np.int64(-100)) == "unknown"
    assert names_of(CLASSES, np.int64(1)) == "b"


def test_rows_of_one_patient_are_one_coin() -> None:
    """Forty lost images of one patient were an exact p value of 1e-12."""
    before, after = np.ones(100, bool), np.ones(100, bool)
    patients = np.concatenate([np.zeros(40, int), np.arange(1, 61)])
    after[patients == 0] = False
    every = slices.Slice("label", "a", np.ones(100, bool))
    (apart,), (found,) = (slices.drops([every], before, after, each) for each in (None, patients))
    assert apart["p"] == pytest.approx(0.5**40)
    assert found["p"] == 0.5
    assert found["drop"] == apart["drop"] == pytest.approx(0.4)
    assert found["ci95"][0] <= 0 < apart["ci95"][0]
    # Of single rows both agree: Tango's interval is the score interval with z for t.
    after = np.arange(100) % 10 > 0
    (apart,), (found,) = (
        slices.drops([every], before, after, each) for each in (None, np.arange(100))
    )
    assert found["p"] == apart["p"]
    assert found["ci95"] == pytest.approx(apart["ci95"], abs=0.02)


def test_the_section_names_the_kind_that_lost() -> None:
    row = {"by": "shop", "value": "north", "rows": 48, "teacher": 0.9, "student": 0.5, "drop": 0.4}
    row |= {"ci95": [0.2, 0.6], "p": 1e-5, "p_holm": 1e-4}
    lost = {
        "rows": 96,
        "lost": 20,
        "won": 1,
        "slices": [row],
        "slices_looked_at": 9,
        "slices_lost": 1,
    }
    assert section.summary(lost).replace("\xa0", " ") == (
        "Of 96 test rows the teacher alone has 20 right, and the student alone 1. Of 9 kinds of "
        "rows 1 is shown to have lost: most surely shop = north, by 0.4000 of its 48 rows "
        "(95 % interval 0.2000 to 0.6000)."
    )
    row["p_holm"] = 0.2
    assert section.summary(lost | {"slices_lost": 0}).endswith(
        "Of 9 kinds of rows none is shown to have lost anything."
    )


def test_a_column_of_kinds_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label,shop\na,x,n\nb,y,s\n" * 9)
    found = Csv(str(tmp_path), slices=["shp"])
    with pytest.raises(ValueError, match=r"`shp`.*`shop`"):
        found.read()
    found = Csv(str(tmp_path), slices=["shop"])
    assert found.read()["train"][0] == {"text": "a", "label": "x", "slices": {"shop": "n"}}


@pytest.mark.parametrize(("share", "is_above"), [(0.9, True), (0.5, False)])
def test_kinds_of_rows_are_looked_at_where_the_teacher_knows_something(
    share: float, is_above: bool
) -> None:
    """A teacher at chance has some kind right by chance, and a student another."""
    from limbeck.evaluation.compare import Judged
    from limbeck.evaluation.verdict import BASELINE, CONSTANT, Bar, is_above_chance

    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    task = TextClassification(["a", "b"], "")

    def answered(answers: np.ndarray) -> Any:
        scored = Scored(np.eye(2)[answers], labels, np.arange(201))
        return Judged([scored], task).by("accuracy")

    right = generator.random(200) < share
    teacher = answered(np.where(right, labels, 1 - labels))
    bars = [Bar(CONSTANT, "one answer", answered(0 * labels)), Bar(BASELINE, "", answered(labels))]
    assert is_above_chance(teacher, bars) == is_above
    assert is_above_chance(teacher, [])
