"""Which columns `limbeck init` takes for text, label, split, group and id, by sets as they were published: what is no label is never learned in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call
from layouts import prose, text

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.recipe_text import Guess, render
from limbeck.cli.first_recipe.table_columns.columns import Columns, choose
from limbeck.data.bad_rows import BadRows
from limbeck.sources.csv import Csv

MANY = 300


def chosen(count: int = MANY, **columns: Any) -> Columns:
    """What is made of columns whose cells are functions of the row's number."""
    records = []
    for number in range(count):
        records.append({name: make(number) for name, make in columns.items()})
    return choose(records, "table.csv")


def write_table(path: Path, header: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def split_word(number: int) -> str:
    return ("train", "train", "dev", "test")[number // 2 % 4]


@pytest.mark.parametrize("name", ["split", "fold", "subset", "Usage", "which"])
def test_a_column_of_train_and_test_is_the_split(name: str) -> None:
    """EmoBank's `split` was the label: the one column of few values among its scores."""
    columns = {name: split_word, "V": lambda n: f"{n % 40 / 10}", "text": text}
    found = chosen(**columns)
    assert (found.task, found.options["label"]) == ("text-regression", "V")
    assert found.options["split"] == name


def test_a_split_of_another_word_is_told_and_no_label() -> None:
    words = ("train", "test", "spare")
    found = chosen(set=lambda n: words[n % 3], text=text, score=lambda n: n % 5)
    assert "split" not in found.options
    assert "`set` would be the split, but `spare` is the name of none" in found.reason


def test_numbers_of_folds_are_no_label() -> None:
    found = chosen(fold=lambda n: n % 2, text=text, mood=lambda n: "abc"[n % 3])
    assert (found.options["label"], "split" in found.options) == ("mood", False)
    assert "`fold` numbers parts" in found.reason


def test_a_label_may_be_called_train() -> None:
    found = chosen(label=lambda n: ("train", "test")[n % 2], text=text)
    assert (found.options["label"], "split" in found.options) == ("label", False)


def test_scores_that_hardly_come_again_are_scores() -> None:
    """CompLex: where a text comes from was learned, as it has fewer values than its scores."""
    found = chosen(
        corpus=lambda n: ("bible", "biomed")[n % 2],
        sentence=text,
        token=lambda n: f"word{n // 2}",
        complexity=lambda n: f"{n / MANY:.4f}",
    )
    assert (found.task, found.options["label"]) == ("text-regression", "complexity")
    assert "`complexity` is taken, and `corpus` could be it" in found.reason


def test_how_sure_somebody_was_is_no_score() -> None:
    found = chosen(text=text, confidence=lambda n: n / MANY, lang=lambda n: ("en", "fr")[n % 2])
    assert (found.task, found.options["label"]) == ("text-classification", "lang")
    assert "may say no more than where a row comes from" in found.reason


def test_of_classes_and_scores_the_classes_are_the_label() -> None:
    found = chosen(text=text, mood=lambda n: "abc"[n % 3], length=lambda n: n / 7)
    assert found.options["label"] == "mood"
    assert "`length` could be it" in found.reason


@pytest.mark.parametrize(
    "name", ["SentenceId", "captionID", "dialogue_id", "user", "question_id", "case_no"]
)
def test_what_several_rows_belong_to_is_a_group(name: str) -> None:
    """Rotten Tomatoes: the phrases of one sentence stood on both sides of a drawn split."""
    columns = {name: lambda n: n // 4, "Phrase": text, "Sentiment": lambda n: n % 3}
    found = chosen(**columns)
    assert found.options["group"] == name
    assert f"rows of one `{name}` together" in found.reason
    assert "group" not in chosen(**(columns | {name: lambda n: n})).options  # a key, no group


@pytest.mark.parametrize(
    "choices",
    [
        {f"choice{k}": lambda n, k=k: f"{text(n)} {k}" for k in range(5)},  # JCommonsenseQA
        {f"answer{k}": lambda n, k=k: f"{text(n)} {k}" for k in "ABC"},  # SIQA
        {"sol1": text, "sol2": lambda n: text(n + 1)},  # PIQA
        {"choices": lambda n: {"text": [text(n), "no"], "label": ["A", "B"]}},  # ARC
        {"endings": lambda n: [text(n), "no"]},  # HellaSwag
        {k: lambda n, k=k: f"{text(n)} {k}" for k in "ABCD"},  # MMLU
    ],
    ids=lambda choices: next(iter(choices)),
)
def test_a_question_with_choices_is_refused_by_name(choices: dict[str, Any]) -> None:
    """The number of a choice is no class of the question."""
    columns = {"question": text, **choices, "label": lambda n: n % 2}
    with pytest.raises(ValueError, match=r"a question with choices .*Write a row for each choice"):
        chosen(**columns)


def test_columns_of_numbers_are_no_choices() -> None:
    found = chosen(text=text, option1=lambda n: n % 2, option2=lambda n: n // 2 % 2)
    assert found.options["label_columns"] == ["option1", "option2"]


def test_passages_with_questions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="No task of this version finds answers"):
        chosen(2, title=text, paragraphs=lambda n: [{"context": text(n), "qas": []}])


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (("neutral", "entailment"), "-"),  # SNLI: no majority
        (("neutral", "entailment"), "?"),
        (("+", "0"), None),  # a class of its own
    ],
)
def test_a_mark_of_no_label_is_no_class(
    labels: tuple[str, str], mark: str | None, tmp_path: Path
) -> None:
    cells = [labels[n % 2] if n % 20 else mark or "-" for n in range(200)]
    write_table(tmp_path / "all.csv", "text,label", [f"{text(n)},{c}" for n, c in enumerate(cells)])
    guess = starter.look(tmp_path / "all.csv")
    on_bad_row = "skip" if mark else None
    assert (guess.options.get("no_label"), guess.options.get("on_bad_row")) == (mark, on_bad_row)
    bad = BadRows("skip")
    rows = Csv(str(tmp_path / "all.csv"), no_label=mark).read(bad)["train"]
    assert (len(rows), bad.count) == ((190, 10) if mark else (200, 0))


def test_rows_without_a_label_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{text(n)},{'ab'[n % 2] if n % 10 else ''}" for n in range(60)]
    write_table(tmp_path / "all.csv", "text,label", rows)
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path / "all.csv", "--out", out) == 0
    assert "6 of the first rows have no label and are left out" in capsys.readouterr().out
    assert call("check", out, "--data-only") == 0
    assert "6 bad rows left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 2}, 1),
        ({"n_layers": 4}, 2),
        ({"num_hidden_layers": 12}, 3),
        ({}, 3),
        (None, 3),
        ([1], 3),
    ],
)
def test_the_student_has_no_more_layers_than_half(config: Any, layers: int, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    recipe = render(Guess("text-classification", "csv", Path("data")), str(tmp_path))
    assert f"layers: {layers}}}" in recipe


ROWS = [f"{n // 2:04d},{text(n)},{'ab'[n % 2]}" for n in range(40)]


def test_an_id_that_comes_again_is_no_key(tmp_path: Path) -> None:
    """KorSTS: 1,244 ids in 5,749 rows, and leaving out the others was the cure."""
    write_table(tmp_path / "train.csv", "id,text,label", ROWS)
    guess = starter.look(tmp_path)
    assert guess.options["id"] == "none"
    assert any("`id` is no key: 40 rows of train.csv" in reason for reason in guess.reasons)
    bad = BadRows("fail")
    rows = Csv(str(tmp_path), id="none").read(bad)["train"]
    assert (len(rows), bad.count) == (40, 0)
    Csv(str(tmp_path)).read(bad)
    assert bad.count == 20
    assert (
        "or, where rows may share a value of this column, data.id: none" in bad.mistakes[0].message
    )


def test_an_id_of_test_that_comes_again_is_no_key(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv", "id,text,label", ROWS[::2])
    write_table(tmp_path / "test.csv", "id,text,label", ROWS)
    assert starter.look(tmp_path).options["id"] == "none"


def test_a_column_may_be_called_none(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv", "none,text,label", ROWS)
    bad = BadRows("fail")
    Csv(str(tmp_path), id="none").read(bad)
    assert bad.count == 20


@pytest.mark.parametrize("column", ["group", "split"])
def test_a_column_that_test_lacks_is_not_read(column: str, tmp_path: Path) -> None:
    name = {"group": "user", "split": "split"}[column]
    rows = [f"{'train' if column == 'split' else n // 2},{text(n)},{'ab'[n % 2]}" for n in range(9)]
    write_table(tmp_path / "train.csv", f"{name},text,label", rows)
    write_table(tmp_path / "test.csv", "text,label", [row.split(",", 1)[1] for row in rows])
    guess = starter.look(tmp_path)
    assert column not in guess.options
    assert f"`{name}` is not read as the {column}: test.csv lacks it" in guess.reasons


@pytest.mark.parametrize(
    ("names", "content"),
    [
        (("test-v1.3.csv", "valid-v1.3.csv"), "text,label\n" + "a b c,x\nd e f,y\n" * 9),
        (("test.txt",), "Ada B-PER\nsleeps O\n\n" * 9),
        (("eng.testa", "eng.testb"), "Ada B-PER\nsleeps O\n\n" * 9),
        (("wiki.test.txt",), prose()),
    ],
)
def test_a_test_file_is_never_train(names: tuple[str, ...], content: str, tmp_path: Path) -> None:
    """JNLI is published without its train file, and its test file was trained on."""
    for name in names:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="no file of train among") as caught:
        starter.look(tmp_path)
    told = str(caught.value)
    assert all(name in told for name in names), told
    assert f"give that alone: limbeck init {tmp_path / names[0]}" in told
    assert starter.look(tmp_path / names[0]).task  # asked for by name it is read


def test_beside_a_test_file_another_is_train(tmp_path: Path) -> None:
    write_table(
        tmp_path / "reviews.csv", "text,label", [f"{text(n)},{'ab'[n % 2]}" for n in range(9)]
    )
    write_table(
        tmp_path / "test.csv", "text,label", [f"{text(n)},{'ab'[n % 2]}" for n in range(90)]
    )
    guess = starter.look(tmp_path)
    assert (guess.options["train"], guess.options["test"]) == ("reviews.csv", "test.csv")


@pytest.mark.parametrize("name", ["label_id", "intentId", "class_idx", "target_id"])
def test_a_number_of_a_label_is_the_label(name: str) -> None:
    """ViHSD's `label_id` was an id, and no column a label."""
    found = chosen(free_text=text, **{name: lambda n: n % 3})
    assert (found.task, found.options["label"]) == ("text-classification", name)


def test_lists_behind_texts_are_no_texts_without_labels(tmp_path: Path) -> None:
    """Opinion triplets (SemEval-Triplet-data) were taken for plain lines, and their labels pre-trained on."""
    lines = [
        f"the screen number {n} of it is good .####[([1, 2], [{n}], 'POS')]" for n in range(30)
    ]
    (tmp_path / "train_triplets.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        ValueError, match=r"behind each text stands `####` and a list, such as .*'POS'"
    ):
        starter.look(tmp_path)
