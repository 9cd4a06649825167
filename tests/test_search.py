"""`limbeck search`: the plan keeps its budget, beats what is uniform, and is what a recipe reads; mistakes are told with their cure."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from limbeck.cli import main
from limbeck.core.cache.store import Store
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import parse, read
from limbeck.studies import budget, search
from limbeck.studies.budget import Budget
from limbeck.studies.candidates import stored_bytes

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 16}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
quantize: {weights: int4, calibration_rows: 48, keep_float: [classifier]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "recipe.yaml"
    made.write_text(RECIPE)
    return made


def call(*arguments: Any) -> int:
    return main.exit_status(["search", *map(str, arguments)])


def answer(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    status = call(*arguments, "--json")
    written = capsys.readouterr()
    assert status == 0, written.err
    return json.loads(written.out)


@pytest.mark.parametrize("sensitivity", ["gradient", "kl", "hessian"])
def test_a_plan_keeps_its_budget_and_loses_no_more_than_the_uniform_ones_that_do(
    sensitivity: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, path, "--bits", 4.5, "--sensitivity", sensitivity)
    assert [row["name"] for row in found["modules"]] == [
        "blocks.0.0",
        "blocks.1.0",
        "blocks.2.0",
    ]  # the classifier is kept in float
    assert found["plan"]["bits"] <= 4.5
    assert found["plan"]["loss"] == pytest.approx(
        sum(row["sensitivity"] for row in found["modules"])
    )
    assert found["plan"]["loss"] <= found["uniform"]["int4"]["loss"]
    assert list(found["uniform"]) == ["int8", "int4", "int3", "int2", "ternary"]
    assert len({row["weights"] for row in found["modules"]}) > 1


def test_the_block_is_the_plan_when_a_recipe_reads_it(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(
        capsys,
        path,
        "--bits",
        4.5,
        "--formats",
        "int8,int2,float",
        "--out",
        tmp_path / "block.yaml",
    )
    pasted = yaml.safe_load(RECIPE)
    pasted["quantize"] |= yaml.safe_load((tmp_path / "block.yaml").read_text())["quantize"]
    read = parse(yaml.safe_dump(pasted))
    assert read.quantize is not None
    from limbeck.core import registry

    model = registry.create("networks", "small_cnn", {"width": 16}).build(10, 1)
    planned = {
        name: scheme.weights for name, scheme in plan_schemes(model, read.quantize, "uint8").items()
    }
    assert planned == {
        row["name"]: row["weights"] for row in found["modules"] if row["weights"] != "float"
    }
    assert {
        scheme.activations for scheme in read.quantize.modules.values() if scheme.weights != "float"
    } == {"uint8"}


def test_another_budget_trains_and_estimates_nothing_again(path: Path, tmp_path: Path) -> None:
    def stages(wanted: Budget) -> list[bool]:
        store = Store()
        search.search(read(path), wanted, ["int8", "int2"], "gradient", store)
        return [record["reused"] for record in store.records]

    assert not any(stages(Budget("bits", 6)))
    assert all(stages(Budget("bytes", 10_000)))


@pytest.mark.slow
def test_the_bytes_of_a_plan_are_those_that_the_converted_model_holds(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from limbeck.pipeline.arm import run_arm
    from limbeck.quantization.modules.integer import Integer

    found = answer(capsys, path, "--bytes", "9kB")
    assert found["plan"]["bytes"] <= 9000
    asked = read(path, ["quantize.when=after", "quantize.range=mse"])
    assert asked.quantize is not None
    mixed = Quantize.model_validate(asked.quantize.model_dump() | found["recipe"]["quantize"])
    arm = run_arm(asked.model_copy(update={"quantize": mixed}), Store())
    assert arm.model is not None
    layers = {
        name: layer
        for name, layer in convert_model(arm.model()).named_modules()
        if isinstance(layer, Integer)
    }
    for row in found["modules"]:
        layer = layers[row["name"]]
        assert row["bytes"] == layer.stored.numel() + 4 * layer.scale.numel()


def test_float_is_dearer_in_bytes_and_takes_its_own_milliseconds(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, path, "--milliseconds", 1000)
    assert {row["weights"] for row in found["modules"]} == {"float"}
    assert found["plan"]["milliseconds"] > 0
    assert found["plan"]["loss"] == 0
    assert list(found["uniform"]) == ["int8", "float"]


def test_for_the_terminal_it_shows_the_modules_the_plans_and_the_block(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(path, "--bits", 2) == 0
    shown = capsys.readouterr().out
    assert "beyond the budget" in shown
    assert "all ternary" in shown
    assert "\nquantize:\n  modules:\n    blocks.0.0: {weights: " in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give one budget, not none: --bits 4.5"),
        (["--bits", 4, "--bytes", "9MB"], "give one budget, not --bits and --bytes"),
        (["--bits", 0], "--bits is a number above 0, not 0"),
        (["--bytes", "9 floppies"], "`9 floppies` is no size. Write a number"),
        (["--bits", 4, "--formats", "int8,int5"], "no weights are `int5`. Did you mean `int"),
        (["--bits", 4, "--formats", ","], "names none"),
        (["--bits", 4, "--sensitivity", "gradients"], "Did you mean `gradient`"),
        (
            ["--bits", 1],
            "no plan of these formats has 1 bits a weight; the smallest has 1.6. Raise --bits",
        ),
        (["--bytes", "1kB"], "Raise --bytes, or name smaller formats"),
        (["quantize.keep_float=['*']", "--bits", 4], "quantizes no module"),
    ],
)
def test_mistakes(
    arguments: list[Any], told: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(path, *arguments) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_pre_training_has_nothing_to_search(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("task: masked-lm\ndata: {source: text, path: x}\nstudent: {model: y}\n")
    assert call(path, "--bits", 4) == 2
    assert "only pre-trains" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "form", "expected"),
    [
        (10_000, "int8", 10_040),
        (10_001, "int4", 5_041),
        (10_000, "int3", 3_790),
        (10_001, "ternary", 2_041),
        (100, "int4", 140),
        (100, "float", 400),
    ],
)
def test_stored_bytes_of_a_worked_example(count: int, form: str, expected: float) -> None:
    assert stored_bytes(count, 10, form) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("9MB", 9e6), ("1.5 MiB", 1.5 * 2**20), ("700", 700.0), ("2e3kB", 2e6)]
)
def test_sizes(text: str, expected: float) -> None:
    assert budget.num_bytes(text) == expected
