"""Where models and data come from, and under which licence, as far as a file tells."""

import json
from pathlib import Path

import pytest
import torch  # noqa: F401  # left out without it: what describes a run needs it
from hypothesis import given
from hypothesis import strategies as st

from limbeck.core.cache.store import Store
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.origins.licences import licence_of
from limbeck.pipeline.origins.telling import data_of, model_of, student_of
from limbeck.pipeline.preflight.compatibility import resolved
from limbeck.recipe.reading import parse


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("README.md", "---\nlicense: cc-by-4.0\ntags: [x]\n---\n# A set\n", "cc-by-4.0"),
        ("README.md", "---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("README.md", "---\nlicense: 3\n---\n", None),
        ("README.md", "---\nlicense: [unclosed\n---\n", None),
        ("README.md", "# A set\n\nlicense: cc-by-4.0\n", None),
        ("README.md", "text before\n---\nlicense: mit\n---\n", None),
        ("dataset_info.json", json.dumps({"license": "odbl"}), "odbl"),
        ("dataset_info.json", "{", None),
        ("LICENSE", "\n  MIT License\n\nCopyright", "MIT License (`LICENSE`)"),
        ("LICENCE.md", "# Etalab 2.0\n", "Etalab 2.0 (`LICENCE.md`)"),
        ("COPYING", "   \n", None),
        ("data.csv", "license\nmit\n", None),
    ],
)
def test_a_licence_is_what_a_file_says(
    file: str, text: str, told: str | None, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert licence_of(tmp_path) == told
    # Of a file it is that of its folder.
    assert licence_of(tmp_path / "train.csv") == told
    assert licence_of(tmp_path / "nowhere" / "train.csv") is None


def test_what_a_card_says_goes_before_the_text_of_a_licence(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("Apache License\n")
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert licence_of(tmp_path) == "apache-2.0"


@given(st.text(max_size=40))
def test_no_head_of_a_card_stops_a_run(tmp_path_factory: pytest.TempPathFactory, head: str) -> None:
    folder = tmp_path_factory.mktemp("card")
    (folder / "README.md").write_bytes(f"---\n{head}\n---\n".encode("utf-8", "surrogatepass"))
    found = licence_of(folder)
    assert found is None or isinstance(found, str)


TEXT = """
task: text-classification
data: {source: csv, path: PATH}
teacher: {model: ngrams}
student: {model: ngrams, width: 4}
train: {epochs: 1, learning_rate: 0.1}
"""


def test_models_and_data_are_told_by_name_rows_and_licence(tmp_path: Path) -> None:
    data = put(tmp_path / "set", README_md="---\nlicense: cc0-1.0\n---\n")
    rows = [f"text {place} of many,{'a' if place % 2 else 'b'}" for place in range(60)]
    for name in ("train", "test"):
        (data / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        rows = [f"other {row}" for row in rows]
    recipe = resolved(parse(TEXT.replace("PATH", str(data))))
    run = RunContext(recipe, Store())
    assert data_of(run) == {
        "name": "set",
        "source": "csv",
        "rows": {"train": 54, "validation": 6, "test": 60},
        "licence": "cc0-1.0",
    }
    assert student_of(recipe, run)["name"] == "ngrams"
    assert "random weights" in model_of("ngrams", run)["licence"]
    folder = put(tmp_path / "models" / "mine", README_md="---\nlicense: mit\n---\n")
    assert model_of(str(folder), run) == {"name": "mine", "licence": "mit"}
    cut = recipe.student.model_copy(
        update={"model": None, "from_": "teacher", "surgery": "drop_layers"}
    )
    assert recipe.teacher is not None
    teacher = recipe.teacher.model_copy(update={"model": str(folder)})
    of_teacher = recipe.model_copy(update={"student": cut, "teacher": teacher})
    assert student_of(of_teacher, run) == {"name": "drop_layers of the teacher", "licence": "mit"}


def test_a_package_s_own_set_is_told_by_its_name() -> None:
    text = (
        "{task: image-classification, data: {source: sklearn, dataset: digits}, "
        "teacher: {model: small_cnn}, student: {model: small_cnn}}"
    )
    found = data_of(RunContext(resolved(parse(text)), Store()))
    assert (found["name"], found["source"], found["licence"]) == ("digits", "sklearn", None)
    assert sum(found["rows"].values()) == 1797
