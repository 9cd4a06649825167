"""`limbeck.run` takes the path of a recipe, and gives a report with attributes."""

from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  # left out without it: what runs needs it

import limbeck
from limbeck.cli import main
from limbeck.pipeline import runs
from limbeck.recipe.model import Recipe
from limbeck.recipe.naming import title_of

TEXT = "{task: masked-lm, data: {source: text, path: texts}, student: {model: small}}"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Path, str]]:
    """What is asked of the pipeline, which is left out."""
    asked: list[tuple[Recipe, Path, str]] = []

    def run(recipe: Recipe, out: str | Path, *, name: str, **rest: Any) -> dict[str, Any]:
        asked.append((recipe, Path(out), name))
        return {"verdict": None}

    monkeypatch.setattr(runs, "run", run)
    return asked


def test_a_recipe_may_be_a_path(
    calls: list[tuple[Recipe, Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(TEXT)
    report = limbeck.run("mine.yaml")
    assert (report.kept, report["verdict"]) == (None, None)
    limbeck.run(tmp_path / "mine.yaml", "here", name="title")
    limbeck.run(limbeck.parse(TEXT), "there")
    assert [(out, name) for _, out, name in calls] == [
        (Path("runs/mine"), "mine"),
        (Path("here"), "title"),
        (Path("there"), "texts, masked-lm"),
    ]
    assert {recipe.task for recipe, _, _ in calls} == {"masked-lm"}


@pytest.mark.parametrize(
    ("path", "stem", "title"),
    [
        ("data/reviews.csv", "recipe", "reviews, masked-lm"),
        ("/home/me/data/reviews.jsonl.gz", "Recipe", "reviews, masked-lm"),
        ("../v1.2", "", "v1.2, masked-lm"),
        ("'C:/sets/mine'", "config", "mine, masked-lm"),
        (".", "recipe", "text, masked-lm"),
        ("data/reviews.csv", "recipe-2", "recipe-2"),
    ],
)
def test_no_run_is_called_recipe(path: str, stem: str, title: str) -> None:
    """`limbeck init` writes recipe.yaml for everyone, and a page of that title says nothing."""
    assert title_of(limbeck.parse(TEXT.replace("texts", path)), stem) == title


def test_a_package_s_own_set_gives_its_name() -> None:
    digits = "{task: image-classification, data: {source: sklearn, dataset: digits}, student: {model: small_cnn}}"
    assert title_of(limbeck.parse(digits), "recipe") == "digits, image-classification"


def test_a_recipe_yaml_is_called_by_its_data(
    calls: list[tuple[Recipe, Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(TEXT)
    limbeck.run("recipe.yaml")
    assert calls[0][1:] == (Path("runs/recipe"), "texts, masked-lm")
    asked: list[str] = []
    monkeypatch.setattr(
        "limbeck.cli.run.run_to_report", lambda _, __, title, **___: asked.append(title)
    )
    monkeypatch.setattr("limbeck.reports.summary.lines", lambda *_: [])
    monkeypatch.setattr("limbeck.cli.run.end", lambda *_: None)
    assert main.exit_status(["run", "recipe.yaml"]) == 0
    assert asked == ["texts, masked-lm"]


def test_a_recipe_without_a_file_needs_a_folder(calls: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"out: name the run folder, such as limbeck\.run"):
        limbeck.run(limbeck.parse(TEXT))
    with pytest.raises(ValueError, match=r"no such recipe"):
        limbeck.run("nowhere.yaml")
    assert not calls


@pytest.mark.parametrize("given", [None, {"task": "x"}, 5])
def test_a_recipe_of_another_type_is_named(given: Any) -> None:
    with pytest.raises(TypeError, match="recipe: a recipe as"):
        limbeck.run(given, "out")
    with pytest.raises(TypeError, match="recipe: a recipe as"):
        limbeck.check(given)
