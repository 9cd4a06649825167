"""Values that `limbeck init` must not take for what they are not: percentages, constant scores, documents without rows."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import call
from layouts import put
from PIL import Image

from limbeck.cli.first_recipe import look as starter
from limbeck.core import registry


def cells(number: int) -> tuple[str, str]:
    """A text with a quote in it, and a share of 40 that come again."""
    return f'the "old" bridge {number} is open', f"{number % 40 + 20}%"


def run_cure(error: pytest.ExceptionInfo[ValueError], folder: Path) -> Path:
    """Run the command of a refusal in the folder; the folder that it makes."""
    cure = str(error.value).partition("in that folder: ")[2].partition(" && ")[0]
    subprocess.run(cure, shell=True, cwd=folder, check=True)
    return folder / "rows"


@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_percentages_are_no_classes(name: str, tmp_path: Path) -> None:
    mark = "," if name.endswith("csv") else "\t"
    rows = [mark.join(cells(number)) for number in range(80)]
    if mark == ",":
        rows = [row.replace('"', "'") for row in rows]
    put(tmp_path, {name: "\n".join([f"text{mark}score", *rows]) + "\n"})
    with pytest.raises(ValueError, match=r"numbers with a percent sign in `score` \(20%\)") as told:
        starter.look(tmp_path)
    guess = starter.look(run_cure(told, tmp_path))
    assert guess.task == "text-regression"
    reader = registry.create("sources", guess.source, {**guess.options, "path": str(guess.path)})
    read = reader.read()
    assert [float(row["label"]) for row in read["train"]][:2] == [20, 21]
    assert read["train"][0]["text"] == rows[0].partition(mark)[0]


def test_few_shares_may_be_classes(tmp_path: Path) -> None:
    rows = "".join(f"the bridge {n} is open,{('50%', '100%')[n % 2]}\n" for n in range(80))
    put(tmp_path, {"data.csv": f"text,discount\n{rows}"})
    assert starter.look(tmp_path).task == "text-classification"


def test_one_score_in_all_rows_is_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"the bridge {number} is open,3.5\n" for number in range(80))
    put(tmp_path, {"data.csv": f"text,score\n{rows}"})
    out = tmp_path / "recipe.yaml"
    assert call("init", tmp_path / "data.csv", "--out", out) == 0
    assert "`score` is 3.5 in each of the first 80 rows" in capsys.readouterr().out
    assert call("check", out, "--data-only") == 2
    assert "train has one score only (3.5); nothing can be learned" in capsys.readouterr().err


def test_a_document_without_rows_is_json(tmp_path: Path) -> None:
    put(tmp_path, {"none.json": json.dumps({"schema": 1, "x": 0.5}, indent=1)})
    with pytest.raises(
        ValueError, match=r"nothing in it is a list of rows \(it holds `schema`, `x`\)"
    ):
        starter.look(tmp_path / "none.json")


def test_objects_over_several_lines_are_rows(tmp_path: Path) -> None:
    rows = [{"text": f"the bridge {n}\n{{ is open", "label": "ab"[n % 2]} for n in range(40)]
    put(tmp_path, {"train.jsonl": "\n".join(json.dumps(row, indent=2) for row in rows)})
    guess = starter.look(tmp_path / "train.jsonl")
    reader = registry.create("sources", "jsonl", {**guess.options, "path": str(guess.path)})
    assert [row["text"] for row in reader.read()["train"]] == [row["text"] for row in rows]


def test_each_label_of_a_cell_is_shown_once(tmp_path: Path) -> None:
    rows = "".join(
        f"the bridge {n} is open\t{('1', '1, 2', '2, 3', '3')[n % 4]}\n" for n in range(80)
    )
    put(tmp_path, {"data.tsv": f"text\tlabel\n{rows}"})
    told = "\n".join(starter.look(tmp_path).reasons)
    assert "`label` the label (first rows: 1, 2, 3)" in told


def test_sizes_and_modes_of_pictures_are_told(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        colours = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        colours = colours if number % 3 else colours.resize((30, 30))
        picture = colours.convert("CMYK") if number < 4 else colours
        picture = colours.quantize(9) if number == 5 else picture
        file = tmp_path / "ab"[number % 2] / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        picture.save(file)
    assert "the images have 24 to 32 pixels a side" in "\n".join(starter.look(tmp_path).reasons)
    source = registry.create("sources", "image_folder", {"path": str(tmp_path)})
    source.read()
    assert "4 of 12 images have the inks of a printer (CMYK): read as colours" in source.notes
    assert "1 of 12 images have a palette: read as the colours that it names" in source.notes
