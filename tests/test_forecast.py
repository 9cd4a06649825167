"""What a rehearsal leaves out because it would say nothing new, and what it must not leave out."""

import copy
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from encoders import save_encoder
from PIL import Image
from safetensors.torch import save_file
from test_check import RECIPE, rehearsed
from test_cli import call
from torch import nn

from limbeck.core.events import Note
from limbeck.core.grids import GRIDS
from limbeck.data.batches import batches_of
from limbeck.exporters import writing
from limbeck.models.published import positions
from limbeck.models.running import run_model
from limbeck.pipeline import runs
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import (
    answer_times,
    compatibility,
    exportable,
    few_ways,
    forecast,
    paces,
    structure,
)
from limbeck.pipeline.preflight.structure import structure_of
from limbeck.pipeline.stage import Work
from limbeck.pipeline.steps import exporting, quantizing
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.ranges import mse
from limbeck.recipe.model import Scheme, Verdict
from limbeck.recipe.reading import parse
from limbeck.sources.npz import Npz, arrays_of
from limbeck.training.job import measure_nothing

JOINT = ["verdict.arms=[joint]", "verdict.seeds=1"]


def quantized(weights: str = "int8", width: int = 6, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
    forward: Callable[[nn.Module], Any] = lambda each: each(torch.randn(5, 4))  # noqa: E731
    schemes = {name: Scheme(weights=weights, activations="uint8") for name in ("0", "2")}
    prepare_model(model, schemes, "mse", forward)
    calibrate(model, [forward])
    return model.eval()


def test_models_of_other_weights_have_one_structure_and_others_have_not() -> None:
    known = structure_of(quantized())
    assert structure_of(quantized(seed=1)) == known
    assert structure_of(quantized("int4")) != known
    assert structure_of(quantized(width=7)) != known
    # A module of another kind, and a number that a forward may read.
    other_kind, other_number = quantized(), quantized()
    other_kind[1] = nn.GELU()
    other_number.steps = 2
    assert len({known, structure_of(other_kind), structure_of(other_number)}) == 3
    # Two that are one.
    norms = [nn.LayerNorm(4), nn.LayerNorm(4)]
    assert structure_of(nn.Sequential(*norms)) != structure_of(nn.Sequential(norms[0], norms[0]))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    write_graphs = writing.write_graphs

    def write(*arguments: Any) -> Any:
        written.append("graph")
        return write_graphs(*arguments)

    monkeypatch.setattr(writing, "write_graphs", write)
    return written


@pytest.mark.slow
def test_arms_that_differ_by_their_weights_are_exported_once_and_counted_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = counted(monkeypatch)
    both = rehearsed(parse(RECIPE))
    assert len(written) == 1
    alone = rehearsed(parse(RECIPE, overrides=["verdict.arms=[joint]"]))
    # kd+ptq and joint: twice the work, though one of them took its graph from the other.
    assert both["export"].disk_mb == pytest.approx(2 * alone["export"].disk_mb, rel=0.01)
    # What differs in more than weights has a graph of its own: that of ptq is the teacher's.
    written.clear()
    rehearsed(parse(RECIPE, overrides=["student.width=5", "verdict.arms=[ptq, joint]"]))
    assert len(written) == 2


@pytest.mark.slow
def test_code_of_others_is_exported_for_each_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "others_of", lambda settings: ["theirs"])
    written = counted(monkeypatch)
    rehearsed(parse(RECIPE))
    assert len(written) == 2


def test_last_bits_are_asked_only_where_a_run_would_be_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    moved = exporting.with_moved_bits

    def asking(*arguments: Any, **named: Any) -> Any:
        asked.append(1)
        return moved(*arguments, **named)

    monkeypatch.setattr(exporting, "with_moved_bits", asking)
    rehearsed(parse(RECIPE, overrides=JOINT))
    assert asked == []
    # A graph that answers otherwise is refused, once its last bits did not explain it.
    compare = forecast.parity.compare

    def otherwise(*arguments: Any, **named: Any) -> dict[str, Any]:
        proof = compare(*arguments, **named)
        return proof | {"holds": False, "unexplained": proof["units"], "failures": ["far off"]}

    monkeypatch.setattr(forecast.parity, "compare", otherwise)
    with pytest.raises(ValueError, match="the graph answers otherwise in onnxruntime"):
        rehearsed(parse(RECIPE, overrides=JOINT))
    assert asked == [1]


def test_a_few_rows_show_who_reads_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole batch took most of the seconds in which a quantized model is loaded."""
    sizes: list[int] = []
    prepared = quantizing.prepare_model

    def watching(model: nn.Module, schemes: Any, name: str, forward: Any, **rest: Any) -> Any:
        handle = model.register_forward_pre_hook(
            lambda module, inputs, named: sizes.append(len(next(iter(named.values())))),
            with_kwargs=True,
        )
        found = prepared(model, schemes, name, forward, **rest)
        handle.remove()
        return found

    monkeypatch.setattr(quantizing, "prepare_model", watching)
    recipe = parse(RECIPE, overrides=["quantize.range=lsq"])
    run = RunContext(compatibility.resolved(recipe), forecast.Store())
    task = run.new_task("small_cnn")
    model = run.create("small_cnn", {"width": 4}, task, seed=0)
    few = copy.deepcopy(model)
    flow = quantizing.prepare(run.recipe, run, few, task)
    assert set(sizes) == {quantizing.LOOKED_AT}
    batch, *_ = batches_of(quantizing.calibration_rows(run.recipe, run, task), task)
    assert len(batch.rows) > quantizing.LOOKED_AT
    whole = quantizing.prepare_on(
        run.recipe, run, copy.deepcopy(model), lambda each: run_model(each, batch)
    )
    assert flow.makes.keys() == whole.makes.keys()
    assert flow.reads.keys() == whole.reads.keys()


@pytest.mark.parametrize("shape", [(7, 300), (1, 5000), (3, 1)])
@pytest.mark.parametrize("weights", ["int8", "int4", "uint8"])
def test_a_search_over_some_groups_at_a_time_is_the_search_over_all(
    shape: Sequence[int], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = torch.randn(*shape, generator=torch.manual_seed(0))
    fits = []
    for at_a_time in (2**30, 700):
        monkeypatch.setattr(mse, "AT_A_TIME", at_a_time)
        observer = mse.Mse(GRIDS[weights])
        observer.observe(values)
        fits.append(observer.fit())
    for whole, parts in zip(*fits, strict=True):
        assert torch.equal(whole, parts)
        assert whole.shape == shape[:1]


def test_the_modules_of_a_config_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    made: list[str] = []
    from_config = transformers.AutoModel.from_config

    def making(config: Any, **named: Any) -> Any:
        made.append("model")
        return from_config(config, **named)

    monkeypatch.setattr(transformers.AutoModel, "from_config", making)
    words = ["ab", "cd"]
    folder = Path(save_encoder(tmp_path / "encoder", words, vocabulary=33, width=8, layers=1))
    first = positions.num_positions(str(folder))
    assert first is not None
    assert positions.num_positions(str(folder)) == first
    assert made == ["model"]
    # The folder may hold another model by now.
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] -= 2
    (folder / "config.json").write_text(json.dumps(config))
    assert positions.num_positions(str(folder)) == first - 2


def test_a_forecast_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert call("check", path, "--json", *JOINT) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["mistakes"] == []
    joint = told["forecast"]["train (joint)"]
    assert joint["seconds"] > 0
    assert joint["peak_mb"] > 0
    assert any(line.startswith("train (joint)") for line in told["lines"])
    assert call("check", path, "--json", "data.dataset=digit") == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert told["forecast"] == {}
    assert "digits" in told["mistakes"][0]


def test_an_export_that_is_refused_is_refused_still() -> None:
    """By the name of the arm, though another's graph may stand for its."""
    recipe = parse(RECIPE, overrides=["quantize.activations=uint8-dynamic", *JOINT])
    with pytest.raises(ValueError, match="is a convolution"):
        rehearsed(recipe)
    assert exportable.others_of(recipe.quantize) == []


def archive(path: Path, side: int) -> Path:
    chance = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, rows in (("train", 60), ("val", 20), ("test", 20)):
        labels = np.arange(rows) % 2
        images = chance.integers(0, 100, (rows, side, side), dtype=np.uint8)
        # A class is a half that is brighter.
        images[labels == 1, : side // 2] += 100
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    np.savez(path, **arrays)
    return path


LARGE = """
task: image-classification
data: {source: npz, path: PATH}
teacher: {model: small_cnn, width: 2, epochs: 1}
student: {model: small_cnn, width: 2}
train: {epochs: 1, threads: 1, batch_rows: 16}
distill: {losses: {kl: {}}}
"""


def test_large_images_are_proposed_smaller_with_what_that_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(LARGE.replace("PATH", str(archive(tmp_path / "a.npz", 128))))
    assert call("check", path) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.startswith("images:"))
    assert "128 x 128 pixels. Write data.size=64" in line
    total = next(each for each in said.splitlines() if each.startswith("total"))
    assert f"in place of {' '.join(total.split()[1:-4])}" in line
    # What is written is read, by the artifact too, and nothing is left to propose.
    assert call("check", path, "data.size=64") == 0
    assert "images:" not in capsys.readouterr().out
    assert call("check", path, "--data-only") == 0
    assert "and run in about a 4th of the time" in capsys.readouterr().out
    path.write_text(LARGE.replace("PATH", str(archive(tmp_path / "b.npz", 96))))
    assert call("check", path, "--data-only") == 0
    assert "images:" not in capsys.readouterr().out


def test_a_run_proposes_the_size_too(tmp_path: Path) -> None:
    told: list[Any] = []
    text = LARGE.replace("PATH", str(archive(tmp_path / "a.npz", 112)))
    runs.run(parse(text), tmp_path / "run", tell=told.append)
    lines = [event.text for event in told if isinstance(event, Note)]
    assert any("112 x 112 pixels. Write data.size=64" in line for line in lines)


def test_an_archive_is_read_smaller_as_its_artifact_reads_a_file(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", 100)
    whole = Npz(str(path)).read()["train"][3]["image"]
    small = Npz(str(path), size=32)
    row = small.read()["train"][3]
    expected = Image.fromarray(whole).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(row["image"], np.asarray(expected))
    assert small.reading() == {"size": 32}
    with pytest.raises(ValueError, match=r"data\.size: a number of pixels above 0, not 0"):
        Npz(str(path), size=0).read()
    other = archive(tmp_path / "b.npz", 28)
    sides = [arrays_of(each)["train_images"][1] for each in (path, other)]
    assert sides == [100, 28]


def test_a_first_recipe_of_large_images_in_an_archive_reads_them_smaller(tmp_path: Path) -> None:
    archive(tmp_path / "a.npz", 224)
    assert call("init", tmp_path / "a.npz", "--out", tmp_path / "first.yaml") == 0
    assert "size: 64" in (tmp_path / "first.yaml").read_text()


def test_probes_cost_a_pass_backward_of_each_loss() -> None:
    job = SimpleNamespace(
        watchers=SimpleNamespace(measure=lambda *_: {}),
        objective=SimpleNamespace(terms=["task", "kl", "hidden"]),
    )
    # Every second of 42 steps, and of 1,000 every fiftieth.
    assert paces.steps_of_probes(job, 42) == pytest.approx(21)
    assert paces.steps_of_probes(job, 1000) == pytest.approx(20)
    job.watchers.measure = measure_nothing
    assert paces.steps_of_probes(job, 42) == 0


def test_a_correction_takes_a_pass_for_each_layer(tmp_path: Path) -> None:
    names = ["a.quantizer.log_scale", "b.quantizer.log_scale", "b.input.log_scale", "b.weight"]
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "weights.safetensors")
    recipe = parse(RECIPE)
    found = few_ways.passes_of_correction(recipe, tmp_path / "weights.safetensors")
    assert found == pytest.approx(2 * 1.3 + 1)
    # What the recipe names is rehearsed itself.
    named = parse(RECIPE, overrides=["quantize.equalize={bias_correction: {}}"])
    assert few_ways.passes_of_correction(named, tmp_path / "weights.safetensors") == 0


@pytest.mark.parametrize(("later", "whole"), [(0.0, 250), (0.5, 625)])
def test_a_pass_over_a_few_rows_does_not_grow_with_the_split(later: float, whole: int) -> None:
    rehearsal = SimpleNamespace(
        context=SimpleNamespace(encode=lambda *_: [SimpleNamespace(size=1, has_tokens=False)] * 32),
        units_of_pass=lambda *_, **__: 1000.0,
        volume=lambda *_: SimpleNamespace(rows=1000),
    )
    work = Work(split="test", task=SimpleNamespace(), most_rows=250, later=later)
    stage = SimpleNamespace(work=work)
    assert forecast.Rehearsal.scaled(rehearsal, stage, 3.2) == pytest.approx(whole / 10)


def test_another_model_has_a_pace_of_its_own() -> None:
    """A second teacher, and an assistant, took that of the first that was timed."""
    timed: list[int] = []
    rehearsal = SimpleNamespace(
        arm=parse(RECIPE), stage=SimpleNamespace(name="teacher"), paces={}, timed_steps=None
    )

    def time_steps(training: Any) -> float:
        timed.append(1)
        return float(len(timed))

    rehearsal.timed_steps = time_steps
    found = [
        forecast.Rehearsal.float_pace(
            rehearsal, SimpleNamespace(job=SimpleNamespace(model=nn.Linear(4, width)))
        )
        for width in (3, 5, 3)
    ]
    assert found == [1.0, 2.0, 1.0]


def test_memory_of_the_linear_baseline_is_counted_until_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    recipe = parse(RECIPE)
    assert answer_times.unimported_mb(recipe) == answer_times.BASELINE_MB
    assert answer_times.unimported_mb(parse(RECIPE.split("verdict")[0])) == 0
    monkeypatch.setitem(sys.modules, "sklearn", SimpleNamespace())
    assert answer_times.unimported_mb(recipe) == 0


def test_float_students_are_timed_as_graphs_and_once_where_they_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def arm(student: str, artifact: object = None) -> Any:
        return SimpleNamespace(student=student, artifact=artifact)

    monkeypatch.setattr(answer_times, "structure_key", lambda student: student)
    monkeypatch.setattr(answer_times, "answers_of", lambda arm: [arm])
    monkeypatch.setattr(answer_times, "answer_seconds", lambda answers, rows: [1.0])
    monkeypatch.setattr(answer_times.machine, "usable_cores", lambda: 1)
    settings = Verdict(latency_rows=12, latency_threads=1)
    teacher, plain, kd, joint = arm("big"), arm("small"), arm("small"), arm("small", "folder")

    def seconds(*arms: Any) -> float:
        return answer_times.measurement_seconds(arms, [], 100, settings)

    answers = seconds(teacher) - answer_times.PYTORCH_SECONDS
    assert seconds(teacher, plain) == pytest.approx(2 * seconds(teacher))
    assert seconds(teacher, plain, kd) == seconds(teacher, plain)
    expected = answer_times.PYTORCH_SECONDS + 3 * answer_times.RUNTIME_SECONDS + 3 * answers
    assert seconds(teacher, plain, kd, joint) == pytest.approx(expected)
