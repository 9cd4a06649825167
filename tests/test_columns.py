"""Columns of a user's file that are not called as an artifact's recipe says: what is read, what is told, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call, mistake
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Reading, read_items
from limbeck.artifact.rows.labelled import Labels
from limbeck.sources._cells.labels import LabelParser
from limbeck.sources._table import LABEL

PAIR = {"source": "tsv", "text": "premise", "text_b": "hypothesis"}
LONG = "please tell me about the town"


def found(
    *columns: str, recipe: Any = None, kind: str = "text", needs_pair: bool = False, **asked: str
) -> dict[str, str]:
    content = dict.fromkeys(columns, "x")
    return ColumnFinder(kind, asked, recipe or {}, needs_pair).find(content).columns


@pytest.mark.parametrize(
    "pair",
    [
        ("sentence1", "sentence2"),
        ("sent_A", "sent_B"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("text_a", "text_b"),
        ("query", "passage"),
        ("question", "sentence"),
        ("#1 String", "#2 String"),
        ("text", "text_b"),
    ],
)
def test_a_pair_is_read_under_the_names_that_people_use(pair: tuple[str, str]) -> None:
    expected = dict(zip(("text", "text_b"), pair, strict=True))
    assert found("id", *pair, "label", recipe=PAIR, needs_pair=True) == expected
    # Two towers answer single texts too.
    assert found(*pair, recipe=PAIR) == expected


def test_a_pair_must_stand_out() -> None:
    finder = ColumnFinder("text", {}, PAIR, needs_pair=True)
    with pytest.raises(ValueError, match="several columns could be a pair"):
        finder.find(dict.fromkeys(["sentence1", "sentence2", "question1", "question2"], "x"))
    with pytest.raises(ValueError, match=r"no pair here: .* trained on pairs of texts, `premise`"):
        finder.find({"text": "x", "label": "y"})
    assert found("premise", "hypothesis", "sentence1", "sentence2", recipe=PAIR) == {
        "text": "premise",
        "text_b": "hypothesis",
    }
    asked = {"text": "question2", "text_b": "question1"}
    assert found("question1", "question2", recipe=PAIR, needs_pair=True, **asked) == asked
    # The second is ours by its name, whatever else could be a pair.
    plain = {"source": "csv", "text_b": "text_b"}
    assert found("title", "text", "text_b", recipe=plain, needs_pair=True) == {
        "text": "text",
        "text_b": "text_b",
    }
    note = finder.find({"s1": "x", "s2": "y"}).note
    assert note == "the pair of texts is read from the columns `s1` and `s2`"
    assert finder.find({"premise": "x", "hypothesis": "y"}).note == ""


@pytest.mark.parametrize(
    ("content", "form"),
    [("good film\tpos\n", "tsv"), ("good film\n", "lines"), ("a\tb\tc\n", "lines"), ("", "lines")],
)
def test_a_table_called_as_a_text_is_read_as_in_training(
    content: str, form: str, tmp_path: Path
) -> None:
    """GermEval 2018: test.txt holds text and labels between tabs, which were classified too."""
    path = tmp_path / "test.txt"
    path.write_text(content)
    recipe = {"source": "tsv", "columns": ["column_1", "column_2"]}
    assert Reading(ColumnFinder("text", {}, recipe)).form_of(path) == form
    assert Reading(ColumnFinder("text", {}, {"source": "text"})).form_of(path) == "lines"


def test_an_artifact_of_single_texts_reads_no_pair() -> None:
    single = {"source": "csv", "text": "message", "label": "y"}
    assert found("title", "text", recipe=single) == {"text": "text"}
    with pytest.raises(ValueError, match="no column of the text"):
        found("title", "body", recipe=single)
    assert found("Tweet", "id", recipe=single) == {"text": "Tweet"}
    # Rows from Python say nothing of their file.
    assert found("premise", "hypothesis", recipe={"source": "rows"}) == {
        "text": "premise",
        "text_b": "hypothesis",
    }


@pytest.mark.parametrize(
    ("first", "recipe", "names"),
    [
        (["a", LONG], {"columns": ["y", "x"], "text": "x"}, ["y", "x"]),
        (["y", "x"], {"columns": ["y", "x"], "text": "x"}, None),
        (["index", "sentence"], {"columns": ["y", "x"], "text": "x"}, None),
        ([LONG], {"columns": ["y", "x"], "text": "x"}, ["text"]),
        ([LONG], {}, ["text"]),
        (["only"], {}, None),
        (["text", "What do you think of it?"], {}, None),
        (["label", LONG], {}, None),
        (["What is it of them?", "x"], {"text": "x"}, None),
    ],
)
def test_whether_a_first_line_names_the_columns(first: Any, recipe: Any, names: Any) -> None:
    assert ColumnFinder("text", {}, recipe).names_for(first, None) == names


def test_a_first_line_that_is_a_row_is_refused_where_nothing_names_its_columns() -> None:
    finder = ColumnFinder("text", {}, {})
    with pytest.raises(ValueError, match=r"it is a row: 'question', .* --columns text,label"):
        finder.names_for(["question", LONG], None)
    assert finder.names_for(["question", LONG], ["label", "text"]) == ["label", "text"]
    assert finder.names_for(["label", "text"], ["label", "text"]) is None
    with pytest.raises(ValueError, match=r"--columns names 1 columns .* the first line has 2"):
        finder.names_for(["question", LONG], ["label"])


Run = Callable[[str], str]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder")
def test_a_csv_without_a_header_is_answered_and_scored(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.csv").write_text("person,Ada\nplace,New York\nplace,Ada\n")
    recipe = "data: {source: csv, columns: [y, x], text: x, label: y}\n"
    (artifact / "recipe.yaml").write_text(recipe)
    assert call("predict", artifact, "rows.csv") == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [(line["line"], line["input"], line["y"]) for line in lines] == [
        (1, "Ada", "person"),
        (2, "New York", "place"),
        (3, "Ada", "place"),
    ]
    assert "the first line is read as a row, whose columns are y, x" in said.err
    assert call("evaluate", artifact, "rows.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == pytest.approx(2 / 3)
    # Another artifact knows no names; the command line does.
    (artifact / "recipe.yaml").unlink()
    assert "--columns A,B" in mistake(capsys, "evaluate", artifact, "rows.csv")
    named = ["--columns", "label, text", "--json"]
    assert call("evaluate", artifact, "rows.csv", *named) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3


@pytest.mark.usefixtures("in_folder")
def test_what_stands_out_is_told_once(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.csv").write_text("Tweet,Polarity\nAda,Person\nNew York,place\nAda,PERSON\n")
    assert call("evaluate", artifact, "rows.csv", "--json") == 0
    said = capsys.readouterr()
    scored = json.loads(said.out)
    assert (scored["metrics"]["accuracy"], scored["unknown_labels"]) == (1, {})
    assert said.err.splitlines() == [
        "limbeck: the text is read from the column `Tweet`",
        "limbeck: the label is read from the column `Polarity`",
        "limbeck: the label `Person` is read as `person`, which the artifact has",
        "limbeck: the label `PERSON` is read as `person`, which the artifact has",
    ]


def test_a_table_is_read_in_the_encoding_and_delimiter_of_the_recipe(tmp_path: Path) -> None:
    recipe = {"source": "csv", "encoding": "cp1252", "delimiter": ";"}
    reading = Reading(ColumnFinder("text", {}, recipe))
    (tmp_path / "a.csv").write_bytes("text;n\ncafé, hot;1\n".encode("cp1252") + "é;2\n".encode())
    assert [item.raw for item in read_items(str(tmp_path / "a.csv"), None, reading)] == [
        "café, hot",
        "é",
    ]
    # Another delimiter than that of the recipe, and columns without a name.
    (tmp_path / "b.csv").write_text("n,text,,\n1,Ada,,\n")
    (item,) = read_items(str(tmp_path / "b.csv"), None, reading)
    assert (item.raw, item.others["n"]) == ("Ada", "1")


def several(recipe: Any = None) -> Labels:
    return Labels(["joy", "Anger"], "text", "bernoulli", recipe or {})


@pytest.mark.parametrize(
    ("content", "recipe", "expected"),
    [
        ({"a": "1", "b": "0"}, {"label_columns": ["a", "b"]}, ["a"]),
        ({"joy": "0.2", "Anger": "0.7"}, {"label_columns": ["joy", "Anger"]}, ["Anger"]),
        ({"joy": 1, "Anger": 1, "id": 7}, {}, ["joy", "Anger"]),
        ({"labels": "joy;anger"}, {}, ["joy", "Anger"]),
        ({"labels": ["JOY"]}, {}, ["joy"]),
        ({"labels": "['joy', 'Anger']"}, {}, ["joy", "Anger"]),
        ({"labels": "['joy' 'Anger']"}, {}, ["joy", "Anger"]),
        ({"labels": "[joy, Anger]"}, {}, ["joy", "Anger"]),
        ({"labels": "[0 1]"}, {"label_names": ["joy", "Anger"]}, ["joy", "Anger"]),
        ({"labels": "[]"}, {}, []),
        ({"genres": "joy"}, {}, ["joy"]),
    ],
)
def test_several_labels_of_a_file(content: Any, recipe: Any, expected: list[str]) -> None:
    labels = several(recipe)
    row = labels.of({"text": "x"}, content, labels.find(content))
    known = {"a": "a"} if recipe.get("label_columns") == ["a", "b"] else {}
    assert row["label"] == [known.get(label, label) for label in expected]


def test_one_label_in_a_list_is_that_label() -> None:
    labels = Labels(["a", "A", "b"], "text", "categorical")
    assert labels.of({}, {"labels": ["b"]}, ["labels"])["label"] == "b"
    with pytest.raises(ValueError, match="is no label"):
        labels.of({}, {"labels": ["a", "b"]}, ["labels"])
    # The artifact tells these apart by case alone.
    assert labels.of({}, {"labels": "A"}, ["labels"])["label"] == "A"
    shares = Labels(["a", "b"], "text", "categorical", {"label_columns": ["a", "b"]})
    content = {"a": "0.25", "b": "0.75"}
    assert shares.of({}, content, shares.find(content))["label"] == "b"


def test_tags_of_another_scheme_are_those_of_the_recipe() -> None:
    labels = Labels(["O", "B-PER", "I-PER"], "words", "categorical", {"scheme": "bioes"})
    row = labels.of({"words": ["a", "b", "c"]}, {"tags": ["B-PER", "E-PER", "S-per"]}, ["tags"])
    assert row["tags"] == ["B-PER", "I-PER", "B-PER"]


def test_a_label_column_must_stand_out() -> None:
    labels = Labels(["a"], "text", "categorical")
    with pytest.raises(ValueError, match="no column of the label here"):
        labels.find({"stars": "1", "topic": "x"})
    assert labels.find({"label": "1", "topic": "x"}) == ["label"]
    with pytest.raises(ValueError, match=r"no column `y` \(--label\) here"):
        Labels(["a"], "text", "categorical", column="y").find({"label": "1"})
    assert LABEL[0] == "label"


def test_training_reads_written_lists_too() -> None:
    parser = LabelParser(None, ";")
    assert parser.parse("['joy' 'anger']", "y") == ["joy", "anger"]
    assert parser.parse("[1, 2]", "y") == ["1", "2"]
    assert parser.parse("joy; anger", "y") == ["joy", "anger"]
    assert parser.parse(" ", "y") == []


@pytest.mark.usefixtures("in_folder")
def test_texts_as_files_are_answered_and_scored_as_in_training(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("person/0", "Ada\nlives\n"), ("place/1", "New\nYork\n")):
        for split in ("test", "train"):
            Path("set", split, name).parent.mkdir(parents=True)
            Path("set", split, name).write_text(text)
            Path("set", split, f"{name}1").write_text(text)
    (artifact / "recipe.yaml").write_text("data: {source: text_folder, path: set}\n")
    assert call("predict", artifact, "set") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["file"], line["input"]) for line in lines[1:3]] == [
        ("set/test/person/01", "Ada\nlives\n"),
        ("set/test/place/1", "New\nYork\n"),
    ]
    assert call("predict", artifact, "set/test/place/1") == 0
    assert json.loads(capsys.readouterr().out)["input"] == "New\nYork\n"
    (artifact / "recipe.yaml").unlink()
    assert call("evaluate", artifact, "set", "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    assert (scored["rows"], scored["metrics"]["accuracy"]) == (4, 1)


def test_a_word_a_row_is_a_sentence(tmp_path: Path) -> None:
    recipe = {"source": "csv", "sentence": "S #", "words": "Word", "tags": "Tag"}
    (tmp_path / "a.csv").write_text("S #,Word,Tag\nS1,Ada,B-PER\n,sings,O\nx\nS2,York,O\n")
    reading = Reading(ColumnFinder("words", {}, recipe))
    items = list(read_items(str(tmp_path / "a.csv"), None, reading))
    assert [(item.line, item.raw) for item in items] == [
        (2, ("Ada", "sings")),
        (4, None),
        (5, ("York",)),
    ]
    labels = Labels(["O", "B-PER", "I-PER"], "words", "categorical", recipe)
    first = items[0]
    assert labels.find(first.others) == ["Tag"]
    row = labels.of({"words": list(first.raw)}, first.others, ["Tag"])
    assert row["tags"] == ["B-PER", "O"]


def test_words_in_columns_are_sentences_as_in_training(tmp_path: Path) -> None:
    recipe = {"source": "conll", "word_column": 2, "tag_column": 4, "comments": "#"}
    lines = ["# id", "1\tI\t_\tX", "2-3\tcan't\t_\t_", "2\tca\t_\tX", "", "1", "", "1\tYork"]
    (tmp_path / "a.conllu").write_text("\n".join(lines))
    reading = Reading(ColumnFinder("words", {}, recipe))
    one, bad, last = read_items(str(tmp_path / "a.conllu"), None, reading)
    assert (one.line, one.raw, last.line, last.raw) == (2, ("I", "ca"), 8, ("York",))
    assert "column 2 is asked for" in str(bad.problem)
    reading = Reading(ColumnFinder("words", {}, {"source": "conll"}))
    (tmp_path / "a.tsv").write_text("New\tB-LOC\nYork\tI-LOC\n")
    (tmp_path / "a.txt").write_text("New B-LOC\nYork I-LOC\n\nAda B-PER\n")
    (tmp_path / "b.txt").write_text("Ada lives in York\nNew York\nAda\n")
    found = [item.raw for item in read_items(str(tmp_path / "a.txt"), None, reading)]
    assert found == [("New", "York"), ("Ada",)]
    assert len(list(read_items(str(tmp_path / "b.txt"), None, reading))) == 3
    (tmp_path / "b.tsv").write_text("id\ttext\n1\tNew York\n")
    assert [item.raw for item in read_items(str(tmp_path / "a.tsv"), None, reading)] == [
        ("New", "York")
    ]
    assert [item.raw for item in read_items(str(tmp_path / "b.tsv"), None, reading)] == ["New York"]


def test_a_json_document_is_read_as_in_training(tmp_path: Path) -> None:
    documents = [
        {"train": [{"text": "Ada"}], "test": [{"text": "York"}]},
        {"classes": ["x"], "annotations": [["Ada", {"entities": []}], ["York", {"entities": []}]]},
        [["Ada", "x"], ["York", "y"]],
    ]
    for number, document in enumerate(documents):
        recipe = {"source": "jsonl", "text": "column_1"} if number else {}
        (tmp_path / "a.json").write_text(json.dumps(document))
        reading = Reading(ColumnFinder("text", {}, recipe))
        items = list(read_items(str(tmp_path / "a.json"), None, reading))
        assert [(item.line, item.raw) for item in items] == [(1, "Ada"), (2, "York")]
    (tmp_path / "a.json").write_bytes(b'[{"text": "caf\xe9"}, {"text": "York"}]')
    with pytest.raises(ValueError, match=r"a.json:1:15: b'.xe9.*is not UTF-8"):
        list(read_items(str(tmp_path / "a.json"), None, reading))


def test_a_list_that_a_csv_holds_is_words_as_in_training(tmp_path: Path) -> None:
    recipe = {"source": "csv", "words": "toks", "tags": "ner"}
    (tmp_path / "a.csv").write_text("toks,ner\n\"['New', 'York']\",\"['B-LOC', 'I-LOC']\"\n")
    (item,) = read_items(str(tmp_path / "a.csv"), None, Reading(ColumnFinder("words", {}, recipe)))
    assert item.raw == ("New", "York")


def test_spans_are_tags_of_a_text() -> None:
    labels = Labels(["O", "B-PER", "I-PER"], "words", "categorical", {"spans": "label"})
    content = {"label": [[0, 8, "PER"]], "id": 7}
    assert labels.find(content) == ["label"]
    row = labels.of({"text": "Ada Love sings", "words": ["x"]}, content, ["label"])
    assert (row["words"], row["tags"]) == (["Ada", "Love", "sings"], ["B-PER", "I-PER", "O"])
    assert labels.unknown == {}
    written = labels.of({"text": "Ada", "words": ["x"]}, {"label": "[(0, 3, 'PER')]"}, ["label"])
    assert written["tags"] == ["B-PER"]
    none = labels.of({"text": "Ada", "words": ["Ada"]}, {"entities": []}, ["entities"])
    assert none["tags"] == ["O"]
