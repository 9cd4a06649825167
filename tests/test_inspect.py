"""What `limbeck inspect` says is what the layers compute, and it computes nothing that the run did not but milliseconds."""

import fnmatch
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from encoders import save_encoder
from onnx import numpy_helper
from rich.console import Console
from torch import nn

import limbeck
from limbeck.analysis import changed_answers, layers, saturation, side_by_side, signals, timing
from limbeck.cli import inspect, main
from limbeck.core.cache.store import Store
from limbeck.core.files import read_json
from limbeck.core.grids import GRIDS
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import QuantizedLinear, QuantizedOutput
from limbeck.quantization.ranges.minmax import Minmax
from limbeck.recipe.reading import parse
from limbeck.studies import inspection

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 3, learning_rate: 4.0e-3, threads: 1, batch_rows: 64}
quantize: {when: train, start: 0.5, weights: int8, modules: {"blocks.1*": {weights: int2}}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and the cache that it filled."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(folder / "cache"))
        limbeck.run(limbeck.parse(RECIPE), folder / "run")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, cache_folder: Path) -> Path:
    """The run and its cache, for one test to change."""
    shutil.copytree(finished / "cache", cache_folder)
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def test_the_layers_of_a_run_in_order_the_coarse_one_the_worst(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inspection.inspect_run(run)
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
    # Without its quantizers it was never trained, and there is nothing to compare it with.
    assert found["changed"] is None
    assert coarse["nats"] > 10 * first["nats"] > 0
    assert coarse["safe_nats"] is None
    assert first["safe_nats"] > first["nats"]
    assert first["weight_range"][0] < 0 < first["weight_range"][1]
    assert first["weight_peak"] > 1 < first["input_peak"]
    assert all(row["milliseconds"] > 0 < row["float_milliseconds"] for row in found["layers"])
    assert read_json(run / "report.json")["layers"] == json.loads(json.dumps(found))
    assert f"{first['milliseconds']:.4f}" in (run / "report.html").read_text()
    # To be timed every layer is exported, 5 s in all, and the commands below would do it again.
    times = {
        row["name"]: {
            timing.INTEGERS: row["milliseconds"],
            timing.FLOAT: row["float_milliseconds"],
        }
        for row in found["layers"]
    }
    monkeypatch.setattr(timing, "milliseconds", lambda model: (times, found["rest_milliseconds"]))
    assert main.exit_status(["inspect", str(run), "--json"]) == 0
    told, timed = (
        json.loads(capsys.readouterr().out, parse_constant=pytest.fail),
        ("milliseconds", "float_milliseconds"),
    )
    assert [row | dict.fromkeys(timed) for row in told["layers"]] == [
        row | dict.fromkeys(timed) for row in found["layers"]
    ]
    assert main.exit_status(["inspect", str(run)]) == 0
    assert "otherwise than in float" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_was_quantized_afterwards_is_held_against_its_float_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limbeck.run(limbeck.parse(RECIPE.replace("train, start: 0.5", "after")), tmp_path / "run")
    found = inspection.inspect_run(tmp_path / "run")
    changed = found["changed"]
    assert 0 < changed["rows"] <= changed["of"] == 359
    names = {row["name"] for row in found["layers"]}
    for entry in changed["first"]:
        assert entry["layer"] in names
        assert entry["float"] != entry["quantized"]
        assert (entry["error"] > changed_answers.LEAVES) == (entry["rule"] == "threshold")
    assert main.exit_status(["inspect", str(tmp_path / "run")]) == 0
    told = f"{changed['rows']} of 359 test rows are answered otherwise than in float"
    assert told in capsys.readouterr().out


def test_a_run_whose_stages_are_gone_is_said_so_and_not_computed_again(run: Path) -> None:
    folder = Store().folder
    shutil.rmtree(next(folder.glob("train-*")))
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(
        ValueError, match=r"does not hold `train-.*Run its recipe once more"
    ) as told:
        inspection.inspect_run(run)
    # The line to paste names the recipe and the folder of this very run.
    assert f"run {run / 'recipe.yaml'} --out {run}`" in str(told.value)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_cannot_be_inspected_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such folder. `limbeck run RECIPE"):
        inspection.inspect_run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no finished run. `limbeck run RECIPE"):
        inspection.inspect_run(tmp_path)
    plain = limbeck.parse(RECIPE.split("quantize")[0])
    limbeck.run(plain, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"quantizes nothing.*Give the recipe a `quantize`"):
        inspection.inspect_run(tmp_path / "plain")
    (tmp_path / "plain" / "report.json").write_text("{")
    with pytest.raises(ValueError, match=r"not the report of a run. `limbeck run .*recipe.yaml"):
        inspection.inspect_run(tmp_path / "plain")
    (tmp_path / "plain" / "report.json").unlink()
    with pytest.raises(ValueError, match="goes on with it"):
        inspection.inspect_run(tmp_path / "plain")


@pytest.mark.slow
def test_a_model_from_python_is_asked_for_and_taken(tmp_path: Path) -> None:
    class Mine(nn.Sequential):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return super().forward(pixel_values.flatten(1))

    mine = Mine(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    limbeck.run(
        limbeck.parse(
            RECIPE.split("quantize")[0].replace("small_cnn, width: 4", "mine") + "quantize: {}"
        ),
        tmp_path,
        models={"mine": mine},
    )
    with pytest.raises(
        ValueError,
        match=r"given `mine` from Python, so write limbeck.studies.inspection.inspect_run\(",
    ):
        inspection.inspect_run(tmp_path)
    assert [row["name"] for row in inspection.inspect_run(tmp_path, {"mine": mine})["layers"]] == [
        "0",
        "2",
    ]


def test_a_run_whose_arms_are_all_float_is_said_so(tmp_path: Path) -> None:
    text = RECIPE + "teacher: {model: small_cnn, width: 4, epochs: 0}\nverdict: {arms: [plain]}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    (tmp_path / "report.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"none is quantized.*Add `joint`"):
        inspection.inspect_run(tmp_path)


@pytest.mark.parametrize(
    ("weights", "share"),
    [
        ([[64, 64], [-64, -64]], 0.0),
        ([[65, 64], [1, 1]], 0.5),
        ([[-127, -2], [127, -127]], 0.5),
        ([[127, 2, 127], [1, 1, 100]], 0.25),
    ],
)
def test_pairs_that_saturate_int16_are_those_of_a_loop(
    weights: list[list[int]], share: float
) -> None:
    layer = QuantizedLinear(
        nn.Linear(len(weights[0]), 2), FakeQuantizer(GRIDS["int8"], Minmax, groups=2)
    )
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.quantizer.calibrated.fill_(True)
    assert saturation.overflow(layer)[0] == share
    risky = [
        any(
            abs(255 * sum(part)) > 32767
            for part in ([w for w in pair if w > 0], [w for w in pair if w < 0])
        )
        for row in weights
        for pair in (row[start : start + 2] for start in range(0, len(row), 2))
    ]
    assert share == np.mean(risky)


def saturating(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(O) x (D) uint8 by weight (O, D) int8 as vpmaddubsw and vpmaddwd add them: pairs in int16 with saturation, then in int32."""
    pairs = (x.astype(int) * weight.astype(int)).reshape(len(weight), -1, 2).sum(2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(1)


@pytest.mark.parametrize(
    ("form", "is_safe"), [("int8", False), ("int7", True), ("int4", True), ("ternary", True)]
)
def test_a_layer_is_safe_just_where_saturating_products_are_exact(form: str, is_safe: bool) -> None:
    torch.manual_seed(0)
    layer = QuantizedLinear(nn.Linear(64, 16), FakeQuantizer(GRIDS[form], Minmax, groups=16))
    layer.calibrate_weight()
    codes = layer.quantizer.codes(layer.weight).detach().numpy()
    for order in range(
        20
    ):  # whatever order a runtime lays them out in, the largest inputs meet the weights of one sign
        weight = (
            np.sort(codes, 1)
            if order == 0
            else np.random.default_rng(order).permuted(codes, axis=1)
        )
        for x in (np.full(64, 255), *(np.where(row > 0, 255, 0) for row in weight)):
            assert (saturating(x, weight) == weight @ x).all() or not is_safe
    assert (saturation.overflow(layer)[1] <= 1) == is_safe
    assert (saturating(np.full(64, 255), np.sort(codes, 1)) == codes.sum(1) * 255).all() == is_safe


@pytest.mark.slow
def test_a_run_in_int7_is_safe_to_the_codes_of_its_artifact(tmp_path: Path) -> None:
    limbeck.run(
        limbeck.parse(RECIPE.split(", weights")[0] + ", weights: int7}\n"), tmp_path / "run"
    )
    graph = onnx.load(tmp_path / "run" / "artifact" / "model.onnx").graph
    codes = [
        numpy_helper.to_array(each)
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.INT8
    ]
    largest = max(int(np.abs(each.astype(int)).max()) for each in codes if each.size > 1)
    assert largest == 64
    found = read_json(tmp_path / "run" / "report.json")["layers"]
    assert all(row["overflow"] == 0 and row["int16"] <= 1 for row in found["layers"])
    assert inspect.overflow_lines(found["layers"]) == [
        "\noverflow: no layer can saturate, on a CPU without VNNI either"
    ]


def test_decibels_of_a_worked_example() -> None:
    found = signals.signal_of(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    assert found.decibels == pytest.approx(20.0)
    assert found.error == pytest.approx(0.1)
    assert signals.signal_of(torch.ones(3), torch.ones(3)).decibels is None


def test_a_peak_is_that_of_the_worst_group() -> None:
    assert signals.peak(
        torch.tensor([[1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 0.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    ) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("errors", "layer", "rule"),
    [
        ({"a": 0.02, "b": 0.12, "c": 0.4}, "b", "threshold"),
        ({"a": 0.02, "b": 0.07, "c": 0.09}, "b", "jump"),
        ({"a": 0.05, "b": 0.05}, "a", "jump"),
    ],
)
def test_the_first_layer_beyond_the_threshold_or_else_the_largest_jump(
    errors: dict[str, float], layer: str, rule: str
) -> None:
    assert changed_answers.first_departure(errors) == {
        "layer": layer,
        "rule": rule,
        "error": errors[layer],
    }


def test_wrapped_places_keep_the_names_of_the_recipe() -> None:
    quantizer = FakeQuantizer(GRIDS["uint8"], Minmax)
    model = nn.ModuleDict(
        {
            "first": QuantizedOutput(nn.Linear(2, 2), quantizer),
            "module": nn.Sequential(nn.Linear(2, 2)),
        }
    )
    found = side_by_side.recipe_names(model)
    assert found["first.module"] == "first"
    assert found["module.0"] == "module.0"


def test_a_dynamic_range_has_a_signal_too() -> None:
    layer = QuantizedLinear(nn.Linear(8, 4), FakeQuantizer(GRIDS["int8"], Minmax, groups=4)).eval()
    layer.is_dynamic = True
    layer.calibrate_weight()
    statistics: signals.StatisticsByReader = {layer: signals.InputStatistics()}
    with signals.watching_inputs(statistics):
        layer(torch.linspace(-1, 3, 8).unsqueeze(0))
    described = layers.describe(layer, statistics)
    assert 40 < described["input_db"] < 60
    assert described["input_range"] == [-1, 3]
    assert described["clipped"] == 0
    assert described["int16"] > 1


def a_layer(name: str, **changes: Any) -> dict[str, Any]:
    """A row as a large encoder has them."""
    row = {
        "name": name, "kind": "Linear", "weights": "fp8-e4m3", "bytes": 23_440_896, "weight_db": 33.41, "weight_range": [-12.345, 0.001234],
        "weight_peak": 112.2, "input_db": 41.2, "input_range": [-112.3, 0.0345], "input_peak": 154.2, "clipped": 0.1234, "overflow": 0.2667,
        "int16": 1.9, "output_db": 20.1, "nats": 1.2e-4, "safe_nats": 2.3e-4, "milliseconds": 12.3456, "float_milliseconds": 23.4567,
    }  # fmt: skip
    return row | changes


def test_the_tables_of_a_large_encoder_fit_a_hundred_columns() -> None:
    rows = [a_layer(f"bert.encoder.layer.{i}.attention.output.dense") for i in range(11)]
    rows.append(
        a_layer(
            "embeddings",
            input_db=None,
            input_range=None,
            input_peak=None,
            clipped=None,
            weight_db=None,
            overflow=0.0,
            int16=0.0,
        )
    )
    first = [
        {
            "row": 12_345,
            "label": "card_arrival",
            "float": "card_arrival",
            "quantized": "lost_or_stolen_card",
            "layer": rows[0]["name"],
        }
    ]
    changed = {
        "rows": 1,
        "of": 3080,
        "threshold": 0.1,
        "first": [{**each, "rule": "jump", "error": 0.0912} for each in first],
    }
    attending = [{"name": rows[0]["name"], **{f"{key}_db": 31.2 for key in inspect.FACTORS}}]
    console = Console(width=100, file=io.StringIO(), record=True)
    for line in inspect.lines(
        {
            "arm": "joint",
            "rows": 256,
            "layers": rows,
            "attention": attending,
            "changed": changed,
            "rest_milliseconds": 1.2,
        }
    ):
        console.print(line, markup=False)
    text = console.export_text()
    assert text.count("…") == 1
    assert "lost_or_sto…" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.count("*.10.attention.output.dense") == 2
    assert "31.2" in text
    assert (
        "23,440,896" in text
        and "exact" in text
        and "float" in text
        and "cure: quantize.weights=int7" in text
    )


def test_a_long_name_is_shortened_to_a_pattern_that_matches_it() -> None:
    name = "distilbert.transformer.layer.5.attention.q_lin"
    assert inspect.shortened("classifier") == "classifier"
    assert len(inspect.shortened(name)) <= inspect.MOST_NAME
    assert fnmatch.fnmatch(name, inspect.shortened(name))


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_the_products_of_attention_have_a_row_a_module(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(30)]
    folder = save_encoder(tmp_path / "encoder", words, vocabulary=90, width=16, layers=1)
    rows = {
        split: [
            {"text": f"word{i % 30} word{i % 7}", "label": "even" if i % 2 else "odd"}
            for i in range(60)
        ]
        for split in ("train", "test")
    }
    recipe = parse(
        f"task: text-classification\ndata: {{source: rows}}\nstudent: {{model: {folder}}}\ntrain: {{epochs: 1, threads: 1}}\nquantize: {{attention: uint8}}\n"
    )
    limbeck.run(recipe, tmp_path / "run", rows=rows)
    found = read_json(tmp_path / "run" / "report.json")["layers"]
    assert [row["name"] for row in found["attention"]] == ["bert.encoder.layer.0.attention.self"]
    for row in found["attention"]:
        assert all(15 < row[f"{key}_db"] < 80 for key in inspect.FACTORS)
