"""A user's script passes a strict type checker, which sees what each call gives; a mistake in it is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import limbeck

SOURCE = Path(limbeck.__file__).parents[1]
SCRIPT = """
import limbeck

report = limbeck.run("recipe.yaml", "runs/first")
verdict = report.verdict
assert verdict is not None
kept: bool = verdict.kept
drop: float = verdict.drop
mean: float | None = report.arms["joint"].mean["accuracy"]
flips: int = report.parity[0].flips
checked = limbeck.check("recipe.yaml")
causes: list[str] = [problem.cause for problem in checked.problems]
seconds: float = sum(cost.seconds for cost in checked.forecast)
model = limbeck.load("runs/first/artifact")
label: str = model.predict("a text")["label"]
probabilities = [answer["probability"] for answer in model.predict(["one", "two"])]
found = limbeck.evaluate(model, [{"text": "one", "label": "yes"}])
accuracy: float | None = found.metrics["accuracy"]
low_high: list[float] | None = found.ci95["accuracy"]
written = limbeck.export("runs/first", ["onnx"], "again")
runtimes: list[str] = written.runtimes
epochs: int = limbeck.read("recipe.yaml").train.epochs


@limbeck.loss
def scaled(student: float, teacher: float, batch: object, progress: float) -> float:
    return student - teacher


same: float = scaled(1.0, 2.0, None, 0.5)
"""
# What others' packages say of their types takes minutes to read, and is not asked here.
CONFIG = """
[mypy]
strict = True
follow_imports = silent
ignore_missing_imports = True
[mypy-torch.*,torchvision.*,transformers.*,accelerate.*,numpy.*,onnx.*,onnxruntime.*,scipy.*,PIL.*]
follow_imports = skip
[mypy-safetensors.*,tokenizers.*,pydantic.*,pydantic_core.*,rich.*,typer.*,jinja2.*,sklearn.*]
follow_imports = skip
"""
MISTAKES = """
import limbeck

report = limbeck.run("recipe.yaml")
print(report.verdict.kept)
print(report.arms["joint"].mean.accuracy)
print(limbeck.evaluate("a", []).ci59)
print(limbeck.lod("a"))
"""


def checked(script: str, folder: Path) -> str:
    """What mypy says of a script, as its user would ask."""
    (folder / "script.py").write_text(script)
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "script.py"]
    environment = os.environ | {"MYPYPATH": str(SOURCE)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("script.py"))


def test_the_package_says_that_it_is_typed() -> None:
    assert (SOURCE / "limbeck" / "py.typed").is_file()


@pytest.mark.slow
def test_a_strict_checker_sees_what_each_call_gives(tmp_path: Path) -> None:
    assert checked(SCRIPT, tmp_path) == ""
    said = checked(MISTAKES, tmp_path)
    assert 'Item "None" of "VerdictReport | None" has no attribute "kept"' in said
    # Of the module too, whose names are found when they are asked for.
    for name in ("accuracy", "ci59", "lod"):
        assert f'has no attribute "{name}"' in said
    assert len(said.splitlines()) == 4
