"""What `limbeck inspect` says is what the layers compute, and it computes nothing that the run did not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import limbeck
from limbeck import cli, inspect
from limbeck.quant.fake import FakeQuantizer
from limbeck.quant.formats import GRIDS
from limbeck.quant.swap import QuantizedLinear
from limbeck.ranges.minmax import Minmax
from limbeck.store import Store

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 3, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: train, start: 0.5, weights: int8, modules: {"blocks.1*": {weights: int2}}}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    limbeck.run(limbeck.parse(RECIPE), tmp_path / "run")
    return tmp_path / "run"


def test_the_layers_of_a_run_in_order_the_coarse_one_the_worst(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect.inspect(run)
    rows = {row["name"]: row for row in found["layers"]}
    assert [row["weights"] for row in found["layers"]] == ["int8", "int2", "int8", "int8"]
    assert [row["kind"] for row in found["layers"]] == ["Conv2d", "Conv2d", "Conv2d", "Linear"]
    first, coarse, *_ = found["layers"]
    assert coarse["weight_db"] < 12 < 20 < first["weight_db"]
    assert coarse["output_db"] < first["output_db"] - 10
    assert first["input_db"] > 20
    low, high = first["input_range"]
    assert low < 0 < high
    assert rows["classifier"]["bytes"] == 16 * 10 + 4 * 10
    assert 0 <= found["changed"]["rows"] <= found["changed"]["of"] == 359
    assert {entry["layer"] for entry in found["changed"]["first"]} <= {*rows, None}
    assert cli._status(lambda: cli.app(["inspect", str(run), "--json"], standalone_mode=False)) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert cli._status(lambda: cli.app(["inspect", str(run)], standalone_mode=False)) == 0
    assert f"{found['changed']['rows']} of 359 test rows are answered otherwise than in float" in capsys.readouterr().out


def test_a_run_whose_stages_are_gone_is_said_so_and_not_computed_again(run: Path) -> None:
    folder = Store().folder
    shutil.rmtree(next(folder.glob("train-*")))
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match=r"no longer holds `train-.*Run its recipe once more"):
        inspect.inspect(run)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_cannot_be_inspected_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run"):
        inspect.inspect(tmp_path)
    plain = limbeck.parse(RECIPE.split("quantize")[0])
    limbeck.run(plain, tmp_path / "plain")
    with pytest.raises(ValueError, match="quantizes nothing"):
        inspect.inspect(tmp_path / "plain")


@pytest.mark.parametrize(
    ("weights", "share"),
    [([[64, 64], [-64, -64]], 0.0), ([[65, 64], [1, 1]], 0.5), ([[-127, -2], [127, -127]], 0.5), ([[127, 2, 127], [1, 1, 100]], 0.25)],
)
def test_pairs_that_saturate_int16_are_those_of_a_loop(weights: list[list[int]], share: float) -> None:
    layer = QuantizedLinear(nn.Linear(len(weights[0]), 2), FakeQuantizer(GRIDS["int8"], Minmax, groups=2))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.quantizer.calibrated.fill_(True)
    assert inspect.overflow(layer) == share
    risky = [
        any(abs(255 * sum(part)) > 32767 for part in ([w for w in pair if w > 0], [w for w in pair if w < 0]))
        for row in weights
        for pair in (row[start : start + 2] for start in range(0, len(row), 2))
    ]
    assert share == np.mean(risky)


def test_int7_cannot_saturate() -> None:
    grid = GRIDS["int7"]
    assert 2 * 255 * max(grid.high, -grid.low) <= 2**15 - 1


def test_decibels_of_a_worked_example() -> None:
    found = inspect.signal(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    assert found.decibels == pytest.approx(20.0)
    assert inspect.signal(torch.ones(3), torch.ones(3)).decibels == float("inf")
