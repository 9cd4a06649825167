"""`limbeck init`: what is guessed from tiny files of every kind, and that the recipe that is written is read and runs."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import call, mistake

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe import recipe_text as starter_recipe
from limbeck.core import registry
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse, read

SAYINGS = [
    "where is my card",
    "my card is lost, help",
    "send money to Ada please",
    "it rains in Paris",
    "what is the balance",
    "close my account now",
]
ROWS = [
    {"id": f"a{i}", "review": SAYINGS[i % 6] + f" {i}", "stars": "good" if i % 2 else "bad"}
    for i in range(40)
]


def write_table(
    path: Path, rows: list[dict[str, Any]], delimiter: str = ",", *, header: bool = True
) -> None:
    quote = '"{}"'.format if delimiter == "," else str
    lines = [delimiter.join(rows[0])] if header else []
    path.write_text(
        "\n".join(
            [*lines, *(delimiter.join(quote(value) for value in row.values()) for row in rows)]
        )
        + "\n"
    )


def write_image(path: Path, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((side, side), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("suffix", "delimiter", "source"),
    [("csv", ",", "csv"), ("csv", ";", "csv"), ("csv", "\t", "csv"), ("tsv", "\t", "tsv")],
)
def test_a_table(tmp_path: Path, suffix: str, delimiter: str, source: str) -> None:
    path = tmp_path / f"reviews.{suffix}"
    write_table(path, ROWS, delimiter)
    guess = starter.look(path)
    assert (guess.task, guess.source, guess.path) == ("text-classification", source, path)
    told = {} if source == "tsv" or delimiter == "," else {"delimiter": delimiter}
    assert guess.options == told | {"text": "review", "label": "stars"}
    assert any("one file" in reason for reason in guess.reasons)


def test_a_table_without_a_header(tmp_path: Path) -> None:
    write_table(
        tmp_path / "train.tsv",
        [{"a": str(i % 2), "b": SAYINGS[i % 6]} for i in range(20)],
        "\t",
        header=False,
    )
    names = ["column_1", "column_2"]
    guess = starter.look(tmp_path)
    assert guess.options == {
        "columns": names,
        "text": "column_2",
        "label": "column_1",
    }
    # A newcomer sees that the first line was taken for a row, and what to write where it is none.
    (told,) = [reason for reason in guess.reasons if "no header" in reason]
    assert "train.tsv has no header: its first line is read as a row" in told
    assert "leave `columns` out" in told


def test_a_table_with_a_header_is_not_told_to_lack_it(tmp_path: Path) -> None:
    rows = [{"label": str(i % 2), "text": SAYINGS[i % 6]} for i in range(20)]
    write_table(tmp_path / "train.tsv", rows, "\t")
    assert not [reason for reason in starter.look(tmp_path).reasons if "no header" in reason]


def test_a_table_of_pairs(tmp_path: Path) -> None:
    write_table(
        tmp_path / "train.tsv",
        [{"sentence1": SAYINGS[i % 6], "sentence2": "no", "label": str(i % 2)} for i in range(20)],
        "\t",
    )
    assert starter.look(tmp_path).options == {
        "text": "sentence1",
        "label": "label",
        "text_b": "sentence2",
    }


def test_a_table_of_scores(tmp_path: Path) -> None:
    write_table(
        tmp_path / "train.tsv",
        [
            {"sentence1": SAYINGS[i % 6], "sentence2": "no", "score": f"{i % 5}.{i % 2 * 5}"}
            for i in range(20)
        ],
        "\t",
    )
    guess = starter.look(tmp_path)
    assert (guess.task, guess.options) == (
        "text-regression",
        {"text": "sentence1", "label": "score", "text_b": "sentence2"},
    )


def test_a_table_of_several_labels(tmp_path: Path) -> None:
    write_table(
        tmp_path / "train.csv",
        [{"text": SAYINGS[i % 6], "label": ("a;b", "a", "b")[i % 3]} for i in range(20)],
    )
    guess = starter.look(tmp_path)
    assert (guess.task, guess.options) == (
        "multi-label-classification",
        {"text": "text", "label": "label", "label_separator": ";"},
    )


def test_a_folder_of_json_lines(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        rows = [{"utterance": row["review"], "intent": row["stars"], "words": 3} for row in ROWS]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    guess = starter.look(tmp_path)
    assert (guess.source, guess.path, guess.options) == (
        "jsonl",
        tmp_path,
        {"text": "utterance", "label": "intent"},
    )
    assert not any("one file" in reason for reason in guess.reasons)


def test_a_parquet_file(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    assert starter.look(tmp_path / "train.parquet").options == {"text": "review", "label": "stars"}


def test_without_a_train_file_the_largest_is_taken(tmp_path: Path) -> None:
    write_table(tmp_path / "few.csv", ROWS[:20])
    write_table(tmp_path / "many.csv", ROWS)
    guess = starter.look(tmp_path)
    assert guess.path == tmp_path / "many.csv"
    assert "no train.csv here" in guess.reasons[0]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    head = bytes([0, 0, 8, 3])
    content = gzip.compress(head) if suffix else head
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(content)
    guess = starter.look(tmp_path)
    assert (guess.task, guess.source) == ("image-classification", "idx")


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", train_images=np.zeros(1), train_labels=np.zeros(1))
    for data in (tmp_path, tmp_path / "data.npz"):
        assert (starter.look(data).source, starter.look(data).path) == (
            "npz",
            tmp_path / "data.npz",
        )


@pytest.mark.parametrize(("side", "options"), [(8, {}), (300, {"size": 64})])
def test_folders_of_images(tmp_path: Path, side: int, options: dict[str, int]) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        write_image(tmp_path / name, side)
    guess = starter.look(tmp_path)
    assert (guess.source, guess.options) == ("image_folder", options)
    assert "3 images in 2 folders (cat, dog)" in guess.reasons[0]


def write_conll(folder: Path) -> None:
    for name in ("train", "test"):
        (folder / f"{name}.txt").write_text(
            "-DOCSTART- O\n\n" + "Ada B-PER\nsleeps O\n\nIn O\nParis B-LOC\n\n" * 8
        )


def test_words_in_columns(tmp_path: Path) -> None:
    write_conll(tmp_path)
    guess = starter.look(tmp_path)
    assert (guess.task, guess.source) == ("token-classification", "conll")
    assert "column 2 (B-LOC, B-PER, O)" in guess.reasons[0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nothing.doc", "x", "nothing here that can be read (nothing.doc)"),
        ("empty.csv", "", "no row here"),
        ("one.csv", "text,label\n" + "a b c,same\n" * 9, None),
        (
            "unique.csv",
            "text,key\n" + "".join(f"a b c,{i}\n" for i in range(9)),
            "looks like a label",
        ),
        ("broken.jsonl", '{"text": 1\n', "broken.jsonl:1:11: not JSON"),
        ("list.jsonl", "[1]\n", "list.jsonl:1: a list, not an object"),
        ("broken.parquet", "x", "not a Parquet file that can be read"),
        ("train.txt", "a text a line\n", None),
    ],
)
def test_what_cannot_be_guessed_is_said(
    tmp_path: Path, name: str, content: str | bytes, told: str | None
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if told is None and name == "one.csv":
        assert (
            starter.look(path).options["label"] == "label"
        )  # `check` then says that one class is too few
        return
    with pytest.raises(ValueError, match=r".") as caught:
        starter.look(tmp_path if name == "train.txt" else path)
    assert (told or "train.txt") in str(caught.value)


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an empty folder"):
        starter.look(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        starter.look(tmp_path / "nothing")


@pytest.mark.parametrize(
    "task",
    [
        "text-classification",
        "token-classification",
        "image-classification",
        "text-regression",
        "multi-label-classification",
    ],
)
def test_what_is_written_is_a_recipe(task: str, tmp_path: Path) -> None:
    guess = starter_recipe.Guess(
        task,
        "csv",
        Path("some: where/#1"),
        {"text": "#1 String", "delimiter": "\t", "columns": ["a b", "on"]},
        ["why:\nbecause"],
    )
    text = starter_recipe.render(guess, None)
    read = parse(text)
    assert len(text.splitlines()) <= 40
    assert read.data.options == {"path": "some: where/#1", **guess.options}
    compatibility.check_components(read)
    assert (read.task, read.quantize is not None, read.verdict is not None) == (task, True, True)


def test_a_models_name_is_written_as_it_is() -> None:
    """Its capitals too, which the template uses for what it fills in."""
    guess = starter_recipe.Guess("text-classification", "csv", Path("data"))
    text = starter_recipe.render(guess, "models/MODEL-SOFT-THREADS")
    teacher = parse(text).teacher
    assert teacher is not None
    assert teacher.model == "models/MODEL-SOFT-THREADS"


def test_a_recipe_is_written_without_torch(tmp_path: Path) -> None:
    write_conll(tmp_path)
    code = "import sys; from pathlib import Path\nfrom limbeck.cli.first_recipe.look import write\n"
    code += f"write(Path({str(tmp_path)!r}), Path({str(tmp_path / 'recipe.yaml')!r}), None)\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_is_written_once_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_conll(tmp_path)
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path, "--out", out, "--model", "some/folder") == 0
    written = capsys.readouterr().out
    assert f"limbeck check {out}" in written
    written_recipe = read(out)
    assert written_recipe.teacher is not None
    assert written_recipe.teacher.model == "some/folder"
    assert "this file is here already" in mistake(capsys, "init", tmp_path, "--out", out)


def test_a_source_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "train.csv", ROWS)
    names = registry.names
    monkeypatch.setattr(
        registry, "names", lambda family: ["sklearn"] if family == "sources" else names(family)
    )
    with pytest.raises(ValueError, match="looks like `csv`, which this version cannot read"):
        starter.write(tmp_path, tmp_path / "recipe.yaml", None)


def test_an_empty_label_is_not_among_the_labels_that_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "train.csv"
    data.write_text("text,label\n" + "good,pos\nbad,neg\nnothing,\n" * 9)
    assert call("init", data, "--out", tmp_path / "r.yaml") == 0
    told = capsys.readouterr()
    assert "(first rows: neg, pos)" in told.out + told.err + (tmp_path / "r.yaml").read_text()


def test_bytes_that_are_not_utf_8_are_told_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows-1252 is what such a table most often is; of what is neither the line is named."""
    data = tmp_path / "train.csv"
    data.write_bytes(b"text,label\ngood,pos\ncaf\xe9,neg\n" * 4)
    guess = starter.look(data)
    assert guess.options["encoding"] == "cp1252"
    assert f"{data}:3:4: not UTF-8, read as Windows-1252: 'café,neg'" in guess.reasons
    data.write_bytes(b"text,label\ngood,pos\ncaf\x81,neg\n")
    assert f"{data}:3:4: not UTF-8, and it cannot be told what it is" in mistake(
        capsys, "init", data
    )
