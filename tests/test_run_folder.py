"""A run writes over nothing that is not its own: a finished run of another recipe, or somebody's files."""

import json
from pathlib import Path

import pytest
from commands import mistake

from limbeck.pipeline import runs
from limbeck.pipeline.preflight.compatibility import resolved
from limbeck.pipeline.run_folder import clear_leftovers
from limbeck.recipe.reading import parse, write

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 2}
train: {epochs: 2}
"""
BEGUN = "the run has begun"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, and runs that only say that they were begun."""

    def begin(*_: object, **__: object) -> None:
        raise ValueError(BEGUN)

    monkeypatch.setattr(runs, "run", begin)
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def finished_run(folder: Path, *overrides: str) -> Path:
    """A folder as a run of RECIPE leaves it, as far as the next run looks at it."""
    folder.mkdir(parents=True)
    text = write(resolved(parse(RECIPE, overrides=list(overrides))))
    (folder / "run.lock").touch()
    (folder / "recipe.yaml").write_text(text)
    (folder / "report.json").write_text(json.dumps({"schema": 1, "recipe": text}))
    return folder


def test_the_finished_run_of_another_recipe(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_run(tmp_path / "out", "train.epochs=1", "student.width=4")
    before = {path: path.read_bytes() for path in out.iterdir()}
    told = mistake(capsys, "run", recipe, "--out", out)
    assert told.startswith(f"limbeck: {out}: holds the finished run of another recipe")
    assert "train.epochs: 1 there, 2 here" in told
    assert "student.width: 4 there, 2 here" in told
    assert "--out" in told and "--overwrite" in told
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert BEGUN in mistake(capsys, "run", recipe, "--out", out, "--overwrite")


def test_the_default_folder_too(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    finished_run(tmp_path / "runs" / "mine", "train.epochs=1")
    assert f"{Path('runs/mine')}: holds the finished run" in mistake(capsys, "run", recipe)
    assert BEGUN in mistake(capsys, "run", recipe, "train.epochs=1")


def test_the_demo_s_folder(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_run(tmp_path / "demo")
    assert "holds the finished run of another recipe" in mistake(capsys, "demo", "--out", out)
    assert BEGUN in mistake(capsys, "demo", "--out", out, "--overwrite")


@pytest.mark.parametrize("lost", ["", "run.lock", "report.json", "report.json run.lock"])
def test_the_same_recipe_goes_on(
    lost: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finished or interrupted, with its lock or on a system that removes it."""
    out = finished_run(tmp_path / "out")
    for name in lost.split():
        (out / name).unlink()
    assert BEGUN in mistake(capsys, "run", recipe, "--out", out)
    assert BEGUN in mistake(capsys, "run", out / "recipe.yaml", "--out", out)


def test_an_interrupted_run_of_another_recipe_has_nothing_to_lose(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_run(tmp_path / "out", "train.epochs=1")
    (out / "report.json").unlink()
    assert BEGUN in mistake(capsys, "run", recipe, "--out", out)


def test_a_report_of_an_earlier_version_lacks_a_new_key(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_run(tmp_path / "out")
    text = (out / "report.json").read_text().replace("  warmup: 0.1\\n", "")
    assert "warmup" not in text
    (out / "report.json").write_text(text)
    assert BEGUN in mistake(capsys, "run", recipe, "--out", out)
    (out / "report.json").write_text(text.replace("epochs: 2", "old_epochs: 2"))
    assert "of another recipe" in mistake(capsys, "run", recipe, "--out", out)


@pytest.mark.parametrize("name", ["report.html", "report.json", "metrics.jsonl", "recipe.yaml"])
def test_files_that_no_run_has_written(
    name: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    told = mistake(capsys, "run", recipe, "--out", out)
    assert f"{out}: holds {name}, which no run of limbeck has written" in told
    assert (out / name).read_text() == "{}"
    assert BEGUN in mistake(capsys, "run", recipe, "--out", out, "--overwrite")


def test_a_model_of_the_user_s_is_not_removed(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that leaves an artifact removes the folder `model` of an earlier one."""
    (tmp_path / "model").mkdir()
    assert "holds model, which" in mistake(capsys, "run", recipe, "--out", tmp_path)


def test_other_files_are_in_nobody_s_way(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert BEGUN in mistake(capsys, "run", recipe, "--out", tmp_path)


def test_an_artifact_is_no_run_folder(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_run(tmp_path / "out")
    (out / "manifest.json").write_text("{}")
    assert "this is an artifact" in mistake(capsys, "run", recipe, "--out", out)


def test_no_run_folder_lies_in_the_cache(cache_folder: Path) -> None:
    recipe = parse(RECIPE)
    with pytest.raises(ValueError, match=r": is the cache \(.*Name another folder with --out"):
        runs.run(recipe, cache_folder)
    with pytest.raises(ValueError, match=r"mine: lies in the cache"):
        runs.run(recipe, cache_folder / "teacher-0" / ".." / "mine")
    assert not (cache_folder / "mine").exists()


@pytest.mark.parametrize("verb", ["inspect", "report"])
def test_an_artifact_in_a_run_s_place(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its recipe is no reason to run it into the artifact."""
    artifact = finished_run(tmp_path / "out") / "artifact"
    artifact.mkdir()
    (artifact / "manifest.json").write_text("{}")
    (artifact / "recipe.yaml").write_text(RECIPE)
    told = mistake(capsys, verb, artifact)
    assert f"{artifact}: this is an artifact, not a run" in told
    assert told.endswith(f"limbeck {verb} {tmp_path / 'out'}`")
    monkeypatch.chdir(artifact)
    assert mistake(capsys, verb, ".").endswith(f"limbeck {verb} ..`")
    (tmp_path / "out" / "report.json").unlink()
    assert mistake(capsys, verb, artifact).endswith(f"limbeck {verb} RUN`")


@pytest.mark.parametrize("verb", ["bench", "predict"])
def test_a_run_in_an_artifact_s_place(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = finished_run(tmp_path / "out") / "artifact"
    assert mistake(capsys, verb, artifact.parent).endswith("A run leaves one in RUN/artifact")
    artifact.mkdir()
    (artifact / "manifest.json").write_text("{}")
    # The run's artifact is taken then, and what is wrong with it is told.
    told = mistake(capsys, verb, artifact.parent)
    assert f"{artifact / 'manifest.json'}: not a manifest of limbeck" in told


def test_what_a_killed_write_left_is_cleared(tmp_path: Path) -> None:
    for name in ("report.json.123.tmp", "metrics.jsonl.9.tmp", "mine.tmp", "report.json"):
        (tmp_path / name).write_text("half")
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.tmp", "report.json"]
