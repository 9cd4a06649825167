"""`limbeck predict`: files as they lie, a line for every row, memory that does not grow with them."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, mistake
from PIL import Image
from test_artifact import artifact as artifact
from test_artifact import table_runtime as table_runtime

import limbeck
from limbeck.artifact.answers import answer_lines, to_json
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows import records
from limbeck.artifact.rows.columns import ColumnFinder
from limbeck.artifact.rows.inputs import Item, Reading, read_items

Json = dict[str, Any]


def answers(capsys: pytest.CaptureFixture[str], *arguments: Any) -> list[Json]:
    """The JSON lines of `limbeck predict ARGUMENTS`."""
    assert call("predict", *arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def items(path: Path, kind: str = "text", **keys: Any) -> list[Item]:
    return list(read_items(str(path), None, Reading(ColumnFinder(kind, {}, {}), **keys)))


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


CSV = 'id,text,label\n7,"Ada, lives",person\n8,"New\nYork",place\n'


def test_a_csv_has_a_header_and_columns_that_come_back(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text(CSV)
    first, second = answers(capsys, artifact, "rows.csv")
    assert (first["line"], first["input"], first["id"]) == (2, "Ada, lives", "7")
    assert (first["label"], first["given_label"]) == ("person", "person")
    assert (second["line"], second["input"], second["label"]) == (3, "New\nYork", "place")


@pytest.mark.parametrize(
    "text",
    [
        "text;n\nAda;1\nNew York;2\n",
        "text\tn\nAda\t1\nNew York\t2\n",
        "text|n\nAda|1\nNew York|2\n",
        "text,n\rAda,1\rNew York,2\r",
        "text,n\r\nAda,1\r\nNew York,2",
        "\ufefftext,n\nAda,1\nNew York,2\n",
        "n,sentence\n1,Ada\n2,New York\n",
        "only\nAda\nNew York\n",
    ],
)
def test_a_csv_as_people_write_it(text: str, tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16"):
        # The codec writes a mark of its own.
        content = text.removeprefix("\ufeff") if encoding == "utf-16" else text
        (tmp_path / "rows.csv").write_bytes(content.encode(encoding))
        found = items(tmp_path / "rows.csv")
        assert [(item.line, item.raw) for item in found] == [(2, "Ada"), (3, "New York")]


def test_every_row_of_a_broken_csv_is_answered(tmp_path: Path) -> None:
    lines = [
        "id,text",
        "1,Ada",
        '2,"New" York',
        "3",
        "4,a,b",
        "5,\xff",
        "",
        '7,"never closed',
        "8,New York",
    ]
    (tmp_path / "rows.csv").write_bytes("\n".join(lines).encode("latin-1"))
    found = items(tmp_path / "rows.csv")
    assert [item.line for item in found] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [item.line for item in found if item.problem is None] == [2, 9]
    problems = {item.line: str(item.problem) for item in found}
    assert problems[3].startswith("broken quoting")
    assert "1 columns, but the header has 2 (id, text)" in problems[4]
    assert "the byte 0xff is not UTF-8" in problems[6]
    assert "no text here" in problems[7]
    assert "never closed" in problems[8]


def test_a_field_may_be_longer_than_the_library_allows(tmp_path: Path) -> None:
    text = "Ada " * 40_000
    (tmp_path / "rows.csv").write_text(f'text,n\n"{text}",1\n')
    (item,) = items(tmp_path / "rows.csv")
    assert item.raw == text


def test_json_lines_come_back_with_their_other_keys(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        '{"text": "Ada", "label": "place", "id": 7, "more": {"a": [1, null]}, "line": 3}',
        '{"id": 8, "text": "New York"}',
        '{"text": "Ada lives", "text_b": "New York", "id": 9}',
        '"Ada"',
        '{"text": "x\\ud83d", "id": 10}',
        '{"text": 5}',
        "{broken",
        "[1]",
        "",
        '{"id": 11}',
        "[" * 5000,
        '{"text": "Ada", "n": NaN}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    found = answers(capsys, artifact, "rows.jsonl")
    assert [each["line"] for each in found] == list(range(1, 13))
    assert [each["line"] for each in found if "error" not in each] == [1, 2, 3, 4, 12]
    first = found[0]
    assert (first["input"], first["label"], first["given_label"]) == ("Ada", "person", "place")
    assert (first["id"], first["more"], first["given_line"]) == (7, {"a": [1, None]}, 3)
    assert (found[1]["id"], found[1]["label"]) == (8, "place")
    assert found[2]["input"] == {"text": "Ada lives", "text_b": "New York"}
    assert "half of a character pair, U+D83D" in found[4]["error"]
    assert found[4]["id"] == 10
    assert "no column of the text" in found[9]["error"]
    assert found[11]["n"] is None


def test_plain_lines_may_hold_objects_and_a_stream_goes_on(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = b'Ada\n\nNew \xe9\n{New York\n{"text": "Ada", "n": 1}\nNew York'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    found = answers(capsys, artifact)
    assert [each.get("label") for each in found] == [
        "person",
        None,
        None,
        "place",
        "person",
        "place",
    ]
    assert [each["line"] for each in found] == [1, 2, 3, 4, 5, 6]
    assert "0xe9 is not UTF-8" in found[2]["error"]
    assert found[2]["input"] == "New \ufffd"
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "Ada"}\n{"text": "Ad\n'))
    )
    assert "not JSON" in answers(capsys, artifact, "-")[1]["error"]


def test_standard_input_may_be_a_table(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    found = answers(capsys, artifact, "--format", "csv")
    assert [each["id"] for each in found] == ["7", "8"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "Ada"},\n {"text": "New York"}]',
        '{"text": "Ada"}\n{"text": "New York"}\n',
        '["Ada", "New York"]',
    ],
)
def test_json_is_an_array_or_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(text)
    assert [(item.line, item.raw) for item in items(tmp_path / "rows.json")] == [
        (1, "Ada"),
        (2, "New York"),
    ]


def test_parquet_and_gzip_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert [item.raw for item in items(tmp_path / "rows.csv.gz")] == ["Ada, lives", "New\nYork"]
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        items(tmp_path / "cut.csv.gz")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"n": [1, 2, 3], "text": ["Ada", None, "New York"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    one, two, three = items(tmp_path / "rows.parquet")
    assert (one.line, one.raw, one.others) == (1, "Ada", {"n": 1})
    assert (two.line, two.problem is None, three.raw) == (2, False, "New York")


def test_columns_are_named_by_options_or_by_the_recipe(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("a,b,c\nAda,New York,1\n")
    told = mistake(capsys, "predict", artifact, "rows.csv")
    assert "rows.csv: no column of the text here" in told
    assert "Its columns: a, b, c. Name it with --text COLUMN" in told
    assert answers(capsys, artifact, "rows.csv", "--text", "b")[0]["label"] == "place"
    (pair,) = answers(capsys, artifact, "rows.csv", "--text", "a", "--text-b", "b")
    assert pair["input"] == {"text": "Ada", "text_b": "New York"}
    assert "no column `d` (--text) here" in mistake(
        capsys, "predict", artifact, "rows.csv", "--text", "d"
    )
    (artifact / "recipe.yaml").write_text("data: {source: csv, text: b, label: c}\n")
    (found,) = answers(capsys, artifact, "rows.csv")
    assert (found["input"], found["a"], found["c"]) == ("New York", "Ada", "1")


def test_words_of_a_tagger_are_a_list_or_a_text(tmp_path: Path) -> None:
    rows = [{"tokens": ["New", "York"], "tags": ["O", "O"]}, {"text": "Ada"}, {"words": ["a", " "]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words, text, bad = items(tmp_path / "rows.jsonl", "words")
    assert (words.raw, words.others) == (("New", "York"), {"tags": ["O", "O"]})
    assert (text.raw, bad.problem is None) == ("Ada", False)
    assert items(tmp_path / "rows.jsonl")[0].raw == "New York"


def test_a_folder_is_read_file_by_file(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.csv").write_text("text\nAda\n")
    (folder / "b.txt").write_text("New York\nAda\n")
    (folder / ".hidden.txt").write_text("no\n")
    (folder / "c.md").write_text("no\n")
    found = answers(capsys, artifact, folder)
    assert [(each["file"], each["line"], each["label"]) for each in found] == [
        (str(folder / "a.csv"), 2, "person"),
        (str(folder / "b.txt"), 1, "place"),
        (str(folder / "b.txt"), 2, "person"),
    ]
    (tmp_path / "empty").mkdir()
    assert "no file of texts here" in mistake(capsys, "predict", artifact, tmp_path / "empty")


def test_images_are_a_file_a_folder_or_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.png", "deep/a.jpg", ".c.png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)
    paths = [item.raw for item in items(folder, "image")]
    assert paths == [str(folder / "b.png"), str(folder / "deep" / "a.jpg")]
    assert [item.raw for item in items(folder / "b.png", "image")] == [str(folder / "b.png")]
    (folder / "split.csv").write_text("file,label\nb.png,x\nmissing.png,y\n")
    one, two = items(folder / "split.csv", "image")
    assert (one.raw, one.shown, one.others) == (str(folder / "b.png"), "b.png", {"label": "x"})
    assert two.raw == "missing.png"
    record = records.Record(1, {"image": {"bytes": b"x", "path": "p.png"}, "label": 3})
    item = Reading(ColumnFinder("image", {}, {})).item(record)
    assert (item.raw, item.shown, item.others) == (b"x", "p.png", {"label": 3})


def test_answers_are_written_to_a_csv_or_jsonl(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"n": 1}\n{"text": "Ada", "n": 1, "label": "=x"}\n{"text": "New, \\"York\\"", "m": [2]}\n'
    )
    assert call("predict", artifact, "rows.jsonl", "--out", "out.csv") == 0
    told = capsys.readouterr()
    assert (told.out, "1 of 3 rows could not be answered; line 1: no column" in told.err) == (
        "",
        True,
    )
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["line"] for row in rows] == ["1", "2", "3"]
    assert [row["label"] for row in rows] == ["", "person", "place"]
    assert rows[0]["error"] and not rows[1]["error"]
    assert json.loads(rows[1]["probabilities"])["place"] < 0.1
    assert (rows[2]["input"], json.loads(rows[2]["others"])) == ('New, "York"', {"m": [2]})
    call("predict", artifact, "rows.jsonl", "--out", "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line).get("label") for line in lines] == [None, "person", "place"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.csv", "out.jsonl"]
    capsys.readouterr()
    assert "written as .jsonl or .csv" in mistake(
        capsys, "predict", artifact, "rows.jsonl", "--out", "out.xml"
    )
    assert "no such format. Did you mean `csv`?" in mistake(
        capsys, "predict", artifact, "rows.jsonl", "--format", "csvv"
    )


def test_batches_leave_every_line_as_it_is(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["Ada", "lives", "in", "New", "York", ""]
    texts = [" ".join(words[number % 6 :][: number % 4 + 1]) for number in range(200)]
    (tmp_path / "rows.txt").write_text("\n".join(texts) + "\n")
    alone = answers(capsys, artifact, "rows.txt")
    assert [each["line"] for each in alone] == list(range(1, 201))
    assert sum("error" in each for each in alone) > 20
    for batch in (3, 64):
        assert answers(capsys, artifact, "rows.txt", "--batch", batch, "--threads", 2) == alone


def test_a_row_that_the_runtime_refuses_ends_no_stream(artifact: Path) -> None:
    loaded = limbeck.load(artifact)

    def graph(inputs: dict[str, np.ndarray]) -> np.ndarray:
        if inputs["input_ids"].shape[1] > 5:
            raise ValueError("more tokens than positions")
        return loaded.graph(inputs)

    predictor = Predictor(loaded.task, graph, "table", artifact)
    texts = ["Ada", "Ada lives in New York", "New York"] * 3
    items = [Item(number, text, text) for number, text in enumerate(texts, 1)]
    for batch_size in (1, 4):
        lines = list(answer_lines(predictor, items, batch_size, one_by_one=True))
        assert [line["line"] for line in lines] == list(range(1, 10))
        assert [line.get("label") for line in lines] == ["person", None, "place"] * 3
        assert lines[1]["error"] == "more tokens than positions"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_lines(tmp_path: Path) -> None:
    """A million lines in all are 35 MB; a part of them is read here."""
    with open(tmp_path / "rows.csv", "w") as file:
        file.write("id,text\n")
        file.writelines(f"{number},Ada lives in New York {number}\n" for number in range(30_000))
    tracemalloc.start()
    count = sum(1 for _ in read_items("rows.csv", None, Reading(ColumnFinder("text", {}, {}))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 1_000_000


def test_what_has_no_end_is_refused_and_long_lines_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.path.exists("/dev/zero"):
        (tmp_path / "zero").symlink_to("/dev/zero")
        with pytest.raises(ValueError, match="this is a device, and no file"):
            items(tmp_path / "zero")
    monkeypatch.setattr(records, "MOST_CHARACTERS", 100)
    (tmp_path / "rows.txt").write_text("a" * 1000 + "\nAda\n")
    long, short = items(tmp_path / "rows.txt")
    assert "a line of more than 100 characters" in str(long.problem)
    assert (short.line, short.raw) == (2, "Ada")


def test_a_reader_that_has_enough_ends_it_well(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("Ada\n" * 5000)
    command = [sys.executable, "-m", "limbeck", "predict", str(artifact), "rows.txt"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None and running.stderr is not None
    assert b"person" in running.stdout.readline()
    running.stdout.close()
    assert (running.wait(), running.stderr.read()) == (0, b"")
    running.stderr.close()


def test_json_holds_what_every_program_reads() -> None:
    value = {"a": float("nan"), "b": [float("inf"), 1.5], "c": "\ud800", "d": Path("x")}
    assert json.loads(to_json(value)) == {"a": None, "b": [None, 1.5], "c": "\ufffd", "d": "x"}
    assert "\n" not in to_json("a\nb")


def test_the_folder_of_a_run_stands_for_its_artifact(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "artifact").symlink_to(artifact)
    (tmp_path / "rows.csv").write_text(CSV)
    assert answers(capsys, run, "rows.csv") == answers(capsys, artifact, "rows.csv")
    (run / "artifact").unlink()
    assert "no manifest.json here" in mistake(capsys, "predict", run, "rows.csv")


ODD = '{"text": "pear", "label": "a"}\n{"label": "a"}\n{"title": "Ada", "label": "b"}\n'


@pytest.mark.parametrize("recipe", [{"text": "text", "label": "label"}, {}])
def test_a_row_without_its_text_is_an_error_of_its_own(recipe: Json, tmp_path: Path) -> None:
    """The label of such a row was answered, as the only column there was."""
    (tmp_path / "odd.jsonl").write_text(ODD)
    finder = ColumnFinder("text", {}, recipe)
    first, second, third = read_items(str(tmp_path / "odd.jsonl"), None, Reading(finder))
    assert (first.raw, first.problem) == ("pear", None)
    for item in (second, third):
        assert item.raw is None
        assert "no column of the text here: the rows above have theirs in `text`" in str(
            item.problem
        )


def test_a_first_row_without_its_text_is_no_label_either(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text('{"label": "a"}\n{"text": "pear", "label": "a"}\n')
    finder = ColumnFinder("text", {}, {"text": "text", "label": "label"})
    first, second = read_items(str(tmp_path / "odd.jsonl"), None, Reading(finder))
    assert "no column of the text here" in str(first.problem)
    assert (second.raw, second.problem) == ("pear", None)


def test_each_file_has_its_own_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\npear,1\n")
    (tmp_path / "b.csv").write_text("Tweet,n\noak,1\n")
    finder = ColumnFinder("text", {}, {"text": "text"})
    found = list(read_items(str(tmp_path), None, Reading(finder)))
    assert [item.raw for item in found] == ["pear", "oak"]


def test_the_cure_of_a_tab_too_many_works_when_typed(tmp_path: Path) -> None:
    """Quotes were asked for, which are letters in a tsv."""
    file = tmp_path / "o.tsv"
    file.write_text("label\ttext\nc\ttrout\textra\n")
    (item,) = items(file)
    assert "Replace '\\t' in a field by a space" in str(item.problem)
    file.write_text("label\ttext\nc\ttrout extra\n")
    assert [item.raw for item in items(file)] == ["trout extra"]


def test_a_picture_that_is_read_as_black_is_told(tmp_path: Path) -> None:
    """16 bits that hold 0 to 255; one that uses its bits is answered without a word."""
    from limbeck.tasks.inputs.image import ImageInput

    reader = ImageInput(ImageInput.fit_preprocess([{"image": np.eye(4, dtype=np.uint8)}]))
    for dtype, name in ((np.uint16, "dark.png"), (np.int32, "dark.tif")):
        Image.fromarray(np.arange(16, dtype=dtype).reshape(4, 4) * 17).save(tmp_path / name)
        with pytest.warns(UserWarning, match=f"{name}: pixels that have more than 8 bits"):
            reader.row(tmp_path / name)
    Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000).save(tmp_path / "deep.png")
    assert reader.row(tmp_path / "deep.png")["image"].max() > 200


def test_a_second_text_that_training_never_read_is_a_column_like_others(tmp_path: Path) -> None:
    """Both were joined, and an artifact of .86 scored .71 on its own test file."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "pear", "text_b": "oak elm"}\n')
    file.with_suffix(".csv").write_text("text,text_b\npear,oak elm\n")
    single = {"source": "csv", "text": "text", "label": "label", "text_b": None}
    (item,) = read_items(str(file), None, Reading(ColumnFinder("text", {}, single)))
    assert (item.raw, item.others) == ("pear", {"text_b": "oak elm"})
    for recipe in (single | {"text_b": "second"}, {"source": "rows"}):
        (item,) = read_items(str(file), None, Reading(ColumnFinder("text", {}, recipe)))
        assert item.raw == {"text": "pear", "text_b": "oak elm"}
    asked = Reading(ColumnFinder("text", {"text_b": "text_b"}, single))
    with pytest.raises(ValueError, match="this artifact was trained on single texts"):
        list(read_items(str(file.with_suffix(".csv")), None, asked))


def test_a_dict_with_such_a_text_is_answered_by_its_first(artifact: Path) -> None:
    """In Python as on the command line; without a recipe nobody knows."""
    both = {"text": "Ada lives", "text_b": "New York"}
    assert limbeck.load(artifact).predict(both) != limbeck.load(artifact).predict("Ada lives")
    (artifact / "recipe.yaml").write_text("data: {source: csv, text: text, label: label}\n")
    predictor = limbeck.load(artifact)
    assert predictor.predict(both) == predictor.predict("Ada lives")
