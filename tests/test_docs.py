"""The commands and the Python of README, guide and notebook are what limbeck takes, and every recipe is read.

The slow tests run all of it as printed, in order, in one folder: three minutes.
"""

import ast
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import typer
from nbclient import NotebookClient
from PIL import Image

import limbeck
from limbeck.cli import main
from limbeck.core import registry
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse, read, write

ROOT = Path(__file__).parent.parent
BUILT_BY_CI = (
    "make demo",
    "make test",
    ". .venv/bin/activate",
    "make cpu-torch PYTHON=python",
    'pip install ".[train]"',
)  # .ci/run does these on a bare checkout


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


def commands(path: Path) -> list[str]:
    return [line for block in blocks(path, "bash") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with images to predict."""
    made = tmp_path_factory.mktemp("newcomer")
    (made / "recipes").symlink_to(ROOT / "recipes")
    (made / "some-images").mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(made / "some-images" / f"{index}.png")
    return made


def run(command: list[str], folder: Path) -> str:
    environment = {
        **os.environ,
        "LIMBECK_CACHE": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


PRINTED = [
    line
    for path in (ROOT / "README.md", ROOT / "docs" / "guide.md")
    for line in commands(path)
    if line not in BUILT_BY_CI
]


@pytest.mark.parametrize("line", PRINTED)
def test_a_command_of_readme_or_guide_is_one_that_limbeck_takes(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its verb, options and values are parsed, and its recipe is read with its overrides."""
    monkeypatch.chdir(ROOT)
    program, verb, *arguments = shlex.split(line)
    assert program == "limbeck"
    app = typer.main.get_command(main.app)
    assert isinstance(app, typer.core.TyperGroup)
    given = app.commands[verb].make_context(verb, list(arguments)).params
    recipes = [argument for argument in arguments if argument.endswith(".yaml")]
    if recipes and "recipe" in given:
        overrides = [argument for argument in arguments if re.match(r"\w+\.\w+=", argument)]
        compatibility.resolved(read(ROOT / recipes[0], overrides))
    if verb == "list":
        family, *names = arguments
        assert set(names) <= set(registry.names(family))


def python_blocks() -> list[str]:
    """The Python of README, guide and notebook."""
    notebook = nbformat.read(ROOT / "docs" / "flow.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    whole = "\n".join(line for cell in cells for line in cell.splitlines() if line[:1] not in "%!")
    printed = blocks(ROOT / "README.md", "python") + blocks(ROOT / "docs" / "guide.md", "python")
    printed += blocks(ROOT / "docs" / "api.md", "python")
    return [*printed, whole]


@pytest.mark.parametrize("number", range(4), ids=["readme", "guide", "api", "notebook"])
def test_the_python_that_is_printed_calls_what_there_is(number: int) -> None:
    """Every name of `limbeck` that it uses, with arguments that this takes."""
    used = 0
    for node in ast.walk(ast.parse(python_blocks()[number])):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("limbeck"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:  # a name of the module, or a module below it
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
            used += 1
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and re.fullmatch(r"limbeck\.\w+", called):
            function = getattr(limbeck, called.removeprefix("limbeck."))
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind(*node.args, **keywords)
            used += 1
    assert used


@pytest.mark.slow
def test_the_commands_of_readme_and_guide_run_as_printed(folder: Path) -> None:
    lines = commands(ROOT / "README.md") + commands(ROOT / "docs" / "guide.md")
    assert set(BUILT_BY_CI) <= set(lines)
    said = {line: run(shlex.split(line), folder) for line in lines if line not in BUILT_BY_CI}
    assert "verdict: KEPT" in said["limbeck demo --out demo"]
    assert said["limbeck predict demo/artifact some-images"].count('"label"') == 3
    for line in commands_of_the_demo(said["limbeck demo --out demo"]):
        run(shlex.split(line), folder)


def test_an_installation_that_is_printed_is_one_from_a_clone() -> None:
    """There is no package index to take limbeck from."""
    readme = (ROOT / "README.md").read_text()
    installs = [line for line in commands(ROOT / "README.md") if line.startswith("pip install")]
    assert installs == ['pip install ".[train]"']
    assert "limbeck is on no package index yet" in readme
    assert ". .venv/bin/activate" in readme


def test_the_guide_says_of_every_verb_whether_it_needs_torch() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    _, _, after = guide.partition("## What works without torch")
    table, _, _ = after.partition("\n## ")
    for verb in main.VERBS:
        assert f"`{verb}`" in table


def commands_of_the_demo(output: str) -> list[str]:
    """The three commands that the demo ends with."""
    found = [line.strip() for line in output.partition("Next:")[2].splitlines() if line.strip()]
    assert len(found) == 3
    return found


@pytest.mark.slow
def test_the_python_of_the_readme_runs_as_printed(folder: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    kept, *_, label = run([sys.executable, "-c", block], folder).split()
    assert kept in ("True", "False")
    assert label in set("0123456789")


@pytest.mark.slow
def test_the_python_of_the_guide_runs_as_printed(folder: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "guide.md", "python")
    # In a file, as a class needs one whose code is to be read.
    (folder / "mine.py").write_text(block)
    assert set(run([sys.executable, "mine.py"], folder).split()) <= {"bright", "dark"}


def test_the_recipes_of_the_guide_are_recipes() -> None:
    found = [
        compatibility.resolved(parse(block)) for block in blocks(ROOT / "docs" / "guide.md", "yaml")
    ]
    assert found


def check_outputs(code: list[nbformat.NotebookNode]) -> None:
    """Five pictures and a verdict."""
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert "verdict: " in "".join(output.get("text", "") for output in outputs)


def test_the_notebook_was_executed() -> None:
    notebook = nbformat.read(ROOT / "docs" / "flow.ipynb", as_version=4)
    check_outputs([cell for cell in notebook.cells if cell.cell_type == "code"])


def test_the_notebook_takes_what_is_public() -> None:
    """A user's notebook imports `limbeck`, and nothing from inside of it."""
    imported = []
    for node in ast.walk(ast.parse(python_blocks()[3])):
        if isinstance(node, ast.ImportFrom):
            imported.append(str(node.module))
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    assert [name for name in imported if name.startswith("limbeck")] == ["limbeck"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "flow.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    parameters.source = 'TEACHER_EPOCHS, EPOCHS, OUT = 2, 2, "run"'
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    check_outputs(code)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_is_short_and_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    assert parse(write(read(path))) == read(path)


def test_the_demo_is_a_recipe_of_the_folder() -> None:
    demo = ROOT / "src" / "limbeck" / "cli" / "demo.yaml"
    assert (
        demo.read_text()
        == (ROOT / "recipes" / "image-classification-digits-few-labels.yaml").read_text()
    )
