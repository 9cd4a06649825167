"""CONTRIBUTING's examples, by the hands of a stranger: each file is dropped into the package, or offered by another one that is installed, and
nothing else is edited. It keeps its family's contract, and a toy run uses it.

Both ways stand on PYTHONPATH before a process of their own, so that the processes which a run starts have them too.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from encoders import save_encoder
from PIL import Image

from limbeck.core import registry, wording
from limbeck.core.files import read_json

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docs" / "examples").glob("*/*.py"))
CONTRACTS = [
    f"tests/contracts/test_{name}.py"
    for name in ("losses", "ranges", "tasks", "tasks_with_models", "exporters", "runtimes")
]

# What `-k` of pytest selects: of a range one grid, of an exporter one graph, for the time that the others take.
FEW = " or ".join(
    [
        "hellinger",
        "four_sigma-int8",
        "star-rating",
        "other_scales and gzipped_onnx",
        "test_runtimes and [gzipped]",
    ]
)
ALL = "hellinger or four_sigma or star-rating or gzipped_onnx or [gzipped]"


def drop(folder: Path) -> Path:
    """A copy of the package with the examples in their places, to stand first on the path."""
    package = folder / "limbeck"
    shutil.copytree(ROOT / "src" / "limbeck", package)
    for file in FILES:
        home = registry.FAMILIES[file.parent.name].replace(".", "/")
        shutil.copy(file, package / home)
    return folder


def install(folder: Path) -> Path:
    """A distribution with the examples as entry points, as pip leaves it on the path."""
    package = folder / "stranger"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Somebody else\'s components."""\n')
    lines = []
    for file in FILES:
        family = file.parent.name
        shutil.copy(file, package)
        name = file.stem.replace("_", "-") if family == "tasks" else file.stem
        target = f"stranger.{file.stem}:{wording.class_name(file.stem)}"
        lines.append(f"[limbeck.{family}]\n{name} = {target}\n")
    information = folder / "stranger-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text("\n".join(lines))
    return folder


WAYS: dict[str, Callable[[Path], Path]] = {"dropped": drop, "installed": install}


@pytest.fixture(params=["installed", pytest.param("dropped", marks=pytest.mark.nightly)])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What to put first on PYTHONPATH."""
    return WAYS[request.param](tmp_path / "packages")


def python(path: Path, *arguments: str) -> str:
    """The output of a process that has the examples."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def limbeck(path: Path, *arguments: object) -> str:
    return python(path, "-m", "limbeck", *map(str, arguments))


def contracts(path: Path, selected: str) -> int:
    """How many of the selected contract tests hold; none may fail."""
    output = python(
        path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected, *CONTRACTS
    )
    found = re.search(r"(\d+) passed", output)
    return int(found.group(1)) if found else 0


IMAGES = """
task: image-classification
data: {source: sklearn, dataset: digits}
teacher: {model: small_cnn, width: 8, epochs: 2}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 4.0e-3, threads: 1, batch_rows: 64, dtype: float32}
distill: {losses: {hellinger: {weight: 2.0}}}
quantize: {when: after, range: four_sigma}
export: [gzipped_onnx]
"""


def check_image_run(path: Path, folder: Path) -> None:
    """A run with the loss, the range, the exporter and its runtime, and an answer by the command line."""
    (folder / "recipe.yaml").write_text(IMAGES)
    limbeck(path, "run", folder / "recipe.yaml", "--out", folder / "run")
    report = read_json(folder / "run" / "report.json")
    (proof,) = report["parity"]
    assert (proof["runtime"], proof["holds"]) == ("gzipped", True)
    assert [twin["runtime"] for twin in report["speed"]["twins"]] == ["gzipped"]
    artifact = folder / "run" / "artifact"
    manifest = read_json(artifact / "manifest.json")
    graph = {"runtime": "gzipped", "role": "forward", "file": "model.onnx.gz"}
    assert manifest["graphs"] == [graph]
    assert not list(artifact.glob("*.onnx"))
    # All that an answer takes, which the card is no part of.
    needed = [file for file in artifact.iterdir() if file.name != "README.md"]
    sizes = [file.stat().st_size for file in needed]
    assert [*report["arms"].values()][-1]["bytes"] == sum(sizes)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "image.png")
    answer = limbeck(path, "predict", artifact, folder / "image.png")
    assert '"label"' in answer


def check_text_run(path: Path, folder: Path) -> None:
    """A run with the task."""
    words = {"1": "awful", "2": "poor", "3": "fair", "4": "good", "5": "great"}
    things = ["film", "book", "song", "play"]
    rows = [f"{word} {thing},{stars}" for thing in things for stars, word in words.items()]
    for split, times in (("train", 12), ("test", 2)):
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows * times]) + "\n")
    for name, layers in (("teacher", 2), ("student", 1)):
        save_encoder(
            folder / name, [*words.values(), *things], vocabulary=60, width=32, layers=layers
        )
    (folder / "recipe.yaml").write_text(f"""
task: star-rating
data: {{source: csv, path: {folder}}}
teacher: {{model: {folder / "teacher"}, epochs: 40, learning_rate: 2.0e-3}}
student: {{model: {folder / "student"}}}
train: {{epochs: 40, learning_rate: 2.0e-3, batch_tokens: 128, threads: 1, dtype: float32}}
distill: {{losses: {{hellinger: {{}}}}}}
quantize: {{when: after, range: four_sigma}}
""")
    limbeck(path, "run", folder / "recipe.yaml", "--out", folder / "run")
    report = read_json(folder / "run" / "report.json")
    assert {"within_one", "accuracy", "macro_f1"} == set(report["arms"]["teacher"]["mean"])
    assert report["arms"]["teacher"]["mean"]["within_one"] > 0.9
    (folder / "texts.txt").write_text("great film\n")
    answer = limbeck(path, "predict", folder / "run" / "artifact", folder / "texts.txt")
    assert '"label": "5"' in answer


@pytest.mark.nightly
def test_each_example_keeps_all_of_its_contract_where_it_is_dropped(tmp_path: Path) -> None:
    assert contracts(drop(tmp_path / "packages"), ALL) > 150


@pytest.mark.slow
def test_each_example_keeps_its_contract_where_it_is_installed(tmp_path: Path) -> None:
    assert contracts(install(tmp_path / "packages"), FEW) > 40


@pytest.mark.slow
def test_each_example_is_listed_checked_and_run(path: Path, tmp_path: Path) -> None:
    for file in FILES:
        name = file.stem.replace("_", "-") if file.parent.name == "tasks" else file.stem
        assert name in limbeck(path, "list", file.parent.name, name)
    check_image_run(path, tmp_path)
    assert limbeck(path, "check", tmp_path / "recipe.yaml").endswith("ok\n")
    texts = tmp_path / "texts"
    texts.mkdir()
    check_text_run(path, texts)
    assert limbeck(path, "check", texts / "recipe.yaml").endswith("ok\n")
