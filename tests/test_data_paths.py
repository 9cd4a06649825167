"""Where $LIMBECK_DATA moves the paths of a recipe's data."""

from pathlib import Path

import pytest
from commands import call, mistake

from limbeck.data.paths import relocated
from limbeck.recipe.reading import read


def test_limbeck_data_moves_the_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_DATA", "/elsewhere")
    assert relocated({"path": "../shared/data/conll2003/en", "keep": 1}) == {
        "path": "/elsewhere/conll2003/en",
        "keep": 1,
    }


@pytest.mark.parametrize(
    "options",
    [{"path": "mine/data"}, {"path": "/abs/shared/data/x"}, {"path": "../shared/database/x"}, {}],
)
def test_limbeck_data_leaves_other_paths(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setenv("LIMBECK_DATA", "/elsewhere")
    assert relocated(options) == options


def test_without_limbeck_data_the_recipe_is_taken_at_its_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    assert relocated({"path": "../shared/data/x"}) == {"path": "../shared/data/x"}


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and its data, seen from a folder beside it."""
    monkeypatch.delenv("LIMBECK_DATA", raising=False)
    folder = tmp_path / "examples"
    (folder / "csv").mkdir(parents=True)
    (folder / "csv" / "train.csv").write_text("text,label\n" + "good,pos\nbad,neg\n" * 20)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def recipe_of(folder: Path, path: str) -> Path:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\ndata: {{source: csv, path: {path}}}\nstudent: {{model: small_cnn}}\n"
    )
    return recipe


def test_a_path_that_is_there_beside_the_recipe(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(beside, "csv")
    told = mistake(capsys, "check", recipe, "--data-only")
    assert "data.path: `csv` is not here" in told
    assert f"It was looked for at {Path.cwd() / 'csv'}." in told
    assert "read from the folder that limbeck is started in, not from the recipe's" in told
    cure = told.rpartition(" ")[2]
    assert cure == f"data.path={Path('../examples/csv')}"
    assert call("check", recipe, "--data-only", cure) == 0


def test_a_run_says_so_too(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its recipe is resolved, and still knows where it was read."""
    pytest.importorskip("torch")
    told = mistake(capsys, "run", recipe_of(beside, "csv"))
    assert told.endswith(f"data.path={Path('../examples/csv')}")


def test_a_path_that_is_nowhere(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = mistake(capsys, "check", recipe_of(beside, "nowhere/a.csv"), "--data-only")
    assert f"It was looked for at {Path.cwd() / 'nowhere' / 'a.csv'}." in told
    assert "Beside the recipe" not in told
    told = mistake(capsys, "check", recipe_of(beside, str(beside / "no")), "--data-only")
    assert "started in" not in told


@pytest.mark.parametrize("source", ["conll", "npz", "idx", "image_folder", "text"])
def test_every_source_of_files_says_where(
    source: str, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mistake(
        capsys, "check", recipe_of(beside, "nowhere"), "--data-only", f"data.source={source}"
    )
    assert f"It was looked for at {Path.cwd() / 'nowhere'}." in told


def test_the_shared_folder_says_what_moves_it(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(beside, "../shared/data/x")
    told = mistake(capsys, "check", recipe, "--data-only")
    assert "write data.path=PATH behind the recipe, or set LIMBECK_DATA" in told
    assert "to the folder that holds x." in told
    monkeypatch.setenv("LIMBECK_DATA", str(beside / "moved"))
    told = mistake(capsys, "check", recipe, "--data-only")
    assert f"It was looked for at {beside / 'moved' / 'x'}. LIMBECK_DATA names" in told
    assert "data.path=PATH" in told


def test_no_recipe_needs_a_folder_beside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever one names can be moved, by the variable or by a key on the command line."""
    monkeypatch.setenv("LIMBECK_DATA", str(tmp_path))
    recipes = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
    assert len(recipes) > 10
    for path in recipes:
        options = relocated(read(path).data.options)
        outside = [value for value in options.values() if str(value).startswith("..")]
        assert not outside, path
        if "path" in options:
            moved = read(path, ["data.path=mine"])
            assert moved.data.options["path"] == "mine"
