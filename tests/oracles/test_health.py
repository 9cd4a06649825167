"""Instabilities of quantized training: each is caught, named by its module with cause and cure in a few lines, and nothing healthy is."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import tiny_models
from torch import nn

import limbeck
from limbeck.core.cache.store import Store
from limbeck.core.errors import Diverged
from limbeck.core.events import Event, Note
from limbeck.models.weights import model_state
from limbeck.pipeline.steps.warnings import keeping_warnings, warnings_of
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.health import Examination, broken_scales, places
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized, activation_quantizers
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.progressive import Progressive
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import parse

MOST_LINES = 12
INPUTS = {"cnn": tiny_models.pixels(8), "bert": tiny_models.tokens(3, 11)}


def prepared(kind: str = "cnn", range_name: str = "lsq", **keys: Any) -> Any:
    model, inputs = getattr(tiny_models, kind)(), INPUTS[kind]
    prepare_model(
        model, plan_schemes(model, Quantize(**keys), "uint8"), range_name, lambda m: m(**inputs)
    )
    calibrate(model, [lambda m: m(**inputs)])
    return model


def examination(model: nn.Module, kind: str = "cnn") -> tuple[Examination, list[str]]:
    notes: list[str] = []
    return Examination(
        model, lambda m: m(**INPUTS[kind]), lambda event: notes.append(str(event))
    ), notes


def move(quantizer: FakeQuantizer, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with torch.no_grad():
        quantizer.log_scale.copy_(change(quantizer.log_scale))


@pytest.mark.parametrize("kind", list(INPUTS))
@pytest.mark.parametrize("range_name", ["lsq", "lsq_plus", "pact", "mse", "minmax"])
@pytest.mark.parametrize("weights", ["int8", "int4", "int2", "ternary", "binary", "fp8-e4m3"])
def test_a_healthy_model_is_left_alone(kind: str, range_name: str, weights: str) -> None:
    """No word, the same mode, the same tensors, and the random numbers that training draws."""
    if (weights, range_name) == ("binary", "minmax"):
        pytest.skip(
            "signs of the size of a channel's largest weight are no healthy model: later activations saturate"
        )
    model, inputs = getattr(tiny_models, kind)(), INPUTS[kind]
    schemes = plan_schemes(
        model, Quantize(weights=weights), "float" if weights.startswith("fp8") else "uint8"
    )
    prepare_model(model, schemes, range_name, lambda m: m(**inputs))
    calibrate(model, [lambda m: m(**inputs)])
    model.train()
    before, generator = (
        {name: tensor.clone() for name, tensor in model_state(model).items()},
        torch.get_rng_state(),
    )
    examine, notes = examination(model, kind)
    examine()
    assert notes == []
    assert broken_scales(model) == ""
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model_state(model).items())


def test_before_the_ranges_are_fitted_there_is_nothing_to_see() -> None:
    model = tiny_models.cnn()
    prepare_model(
        model, plan_schemes(model, Quantize(), "uint8"), "lsq", lambda m: m(**INPUTS["cnn"])
    )
    examine, notes = examination(model)
    examine()
    assert notes == []


# A scale that nothing passes.

BROKEN = {"nan": math.nan, "infinite": 200.0, "zero": -200.0, "next to zero": -40.0}
broken = pytest.mark.parametrize("value", BROKEN.values(), ids=list(BROKEN))


@broken
@pytest.mark.parametrize("range_name", ["lsq", "lsq_plus", "pact"])
def test_a_broken_scale_stops_the_training_by_its_name(value: float, range_name: str) -> None:
    model = prepared(range_name=range_name)
    with torch.no_grad():
        model.blocks[1][0].quantizer.log_scale[2] = value
    examine, _ = examination(model)
    with pytest.raises(Diverged) as caught:
        examine()
    told = str(caught.value)
    assert told.startswith(
        "a learned scale is not finite, or has gone to zero:\n  weights of `blocks.1.0` (1 of 8: "
    )
    assert "Lower train.learning_rate" in told
    assert told.count("\n") < MOST_LINES


@broken
@pytest.mark.parametrize("kind", list(INPUTS))
def test_broken_scales_of_activations_are_named_by_the_module_of_the_float_model(
    value: float, kind: str
) -> None:
    model = prepared(kind)
    names = {name for name, _ in getattr(tiny_models, kind)().named_modules()}
    for quantizer in activation_quantizers(model):
        move(quantizer, lambda scale: torch.full_like(scale, value))
    told = broken_scales(model).split("\n")
    assert len(told) <= MOST_LINES
    places_told = [line for line in told if "activations at" in line]
    assert places_told
    assert all(line.split("`")[1] in names for line in places_told)
    number = len(activation_quantizers(model))
    assert (f"  and {number - 6} more" in told) == (number > 6)


def test_a_dead_channel_s_smallest_scale_is_none_that_went_to_zero() -> None:
    model = tiny_models.cnn()
    with torch.no_grad():
        model.blocks[0][0].weight[1] = 0
    prepare_model(
        model, plan_schemes(model, Quantize(), "uint8"), "lsq", lambda m: m(**INPUTS["cnn"])
    )
    calibrate(model, [lambda m: m(**INPUTS["cnn"])])
    assert model.blocks[0][0].quantizer.scale[1] < 1e-11
    assert broken_scales(model) == ""


def test_a_scale_that_is_not_learned_is_not_blamed() -> None:
    model = prepared(range_name="mse")
    move(model.blocks[1][0].quantizer, lambda scale: scale - 200)
    assert broken_scales(model) == ""


@pytest.mark.parametrize("range_name", ["lsq", "lsq_plus", "pact"])
def test_no_step_however_large_turns_a_scale_s_sign(range_name: str) -> None:
    model = prepared(range_name=range_name).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e4)
    model(**INPUTS["cnn"]).square().mean().backward()
    optimizer.step()
    scales = [module.scale for module in model.modules() if isinstance(module, FakeQuantizer)]
    assert all((scale >= 0).all() for scale in scales)
    assert "(0 of" not in broken_scales(model)


# What is told once.


def test_weights_that_have_collapsed_are_told_once() -> None:
    model = prepared()
    move(model.blocks[1][0].quantizer, lambda scale: scale + 10)
    examine, notes = examination(model)
    examine()
    examine()
    (note,) = [each for each in notes if "weights of `blocks.1.0`" in each]
    assert note.startswith("warning: all values of a tensor have the same code:\n  ")
    assert "Lower train.learning_rate" in note
    assert note.count("\n") < MOST_LINES


@pytest.mark.parametrize("kind", list(INPUTS))
def test_activations_that_have_collapsed_are_told(kind: str) -> None:
    model = prepared(kind)
    quantizer = activation_quantizers(model)[-1]
    move(quantizer, lambda scale: scale + 10)
    examine, notes = examination(model, kind)
    examine()
    assert [places(model)[quantizer] in note for note in notes if "same code" in note] == [True]


CURES = {
    "lsq": "Begin later (quantize.start)",
    "lsq_plus": "Begin later (quantize.start)",
    "pact": "Lower quantize.clip_weight",
    "mse": "quantize.range: lsq",
}


@pytest.mark.parametrize(("range_name", "cure"), CURES.items())
def test_activations_that_saturate_are_told_with_the_cure_of_their_range(
    range_name: str, cure: str
) -> None:
    model = prepared(range_name=range_name)
    quantizer = activation_quantizers(model)[0]
    move(quantizer, lambda scale: scale - 3)
    examine, notes = examination(model)
    examine()
    examine()
    (note,) = [each for each in notes if "beyond the grid" in each]
    assert places(model)[quantizer] in note
    assert cure in note
    assert "% clipped)" in note
    assert note.count("\n") < MOST_LINES


def test_weights_that_saturate_are_told() -> None:
    model = prepared(range_name="minmax")
    move(model.classifier.quantizer, lambda scale: scale - 2)
    examine, notes = examination(model)
    examine()
    assert ["weights of `classifier`" in note for note in notes] == [True]
    examine()
    move(model.blocks[0][0].quantizer, lambda scale: scale - 2)
    examine()
    assert ["weights of `blocks.0.0`" in note for note in notes] == [False, True]


def test_everything_at_once_is_told_in_a_few_lines_each() -> None:
    model = prepared("bert")
    for module in model.modules():
        if isinstance(module, Quantized):
            move(
                module.quantizer, lambda scale: torch.where(scale < -20, scale, scale - 3)
            )  # a padding row is all zeros
    examine, notes = examination(model, "bert")
    examine()
    assert notes
    assert all(note.count("\n") < MOST_LINES for note in notes)
    assert any("  and " in note for note in notes)


def test_a_background_that_is_clipped_by_a_step_loses_nothing() -> None:
    """Most pixels at the darkest value, just beyond the grid: counted, but not told."""
    model = nn.Sequential(nn.Linear(40, 3))
    x = torch.full((6, 40), -1.0)
    x[:, :10] = torch.rand((6, 10), generator=torch.Generator().manual_seed(0))
    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "lsq", lambda m: m(x))
    calibrate(model, [lambda m: m(x)])
    move(model[0].input, lambda scale: scale - 0.02)
    assert (model[0].input(x) > x + model[0].input.scale).float().mean() > 0.7
    notes: list[str] = []
    Examination(model, lambda m: m(x), lambda event: notes.append(str(event)))()
    assert notes == []


# In a run.

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 2, learning_rate: 8.0e-3, batch_rows: 160, threads: 1}
quantize: {start: 0.2}
"""


def poisoned(monkeypatch: pytest.MonkeyPatch, value: float, at: int, place: int = 2) -> None:
    """A training whose third block's scale (or that of another place) goes wrong before a step."""
    listen = Progressive.__call__

    def call(self: Progressive, step: int, total: int) -> None:
        listen(self, step, total)
        if step == at:
            module = list(self.final_grids)[place]
            move(module.quantizer, lambda scale: torch.full_like(scale, value))

    monkeypatch.setattr(Progressive, "__call__", call)


def test_a_loss_that_is_not_finite_names_the_scale_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, math.nan, 7)
    with pytest.raises(Diverged) as caught:
        limbeck.run(parse(RECIPE), tmp_path / "run")
    told = str(caught.value).split("\n")
    assert told[0].startswith("step 7 of ")
    assert "the loss term `task` is not finite" in told[0]
    assert told[2].startswith("  weights of `blocks.2.0` (16 of 16: nan)")
    assert len(told) <= MOST_LINES


def test_a_scale_that_vanished_under_a_finite_loss_stops_the_run_at_the_epoch_s_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Behind the last early fit, and of a linear layer: a convolution's bias would widen the step.
    poisoned(monkeypatch, -60.0, 12, place=-1)
    with pytest.raises(
        Diverged,
        match=r"^a learned scale is not finite, or has gone to zero:\n  weights of `classifier` \(\d+ of 10: ",
    ):
        limbeck.run(parse(RECIPE), tmp_path / "run")


def test_a_run_tells_a_warning_as_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, 4.0, 12)
    notes: list[Any] = []
    report = limbeck.run(
        parse(RECIPE),
        tmp_path / "run",
        tell=lambda event: notes.append(event) if isinstance(event, Note) else None,
    )
    warnings = [note.text for note in notes if "same code" in note.text]
    assert len(warnings) >= 1
    assert "weights of `blocks.2.0`" in warnings[0]
    assert sum("weights of `blocks.2.0`" in note for note in warnings) == 1
    # Who reads the report days later was not there when it was told.
    assert f"qat, seed 0: {warnings[0]}" in report["notes"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "weights of <code>blocks.2.0</code>" in page.partition("Notes")[2]


def test_a_warning_is_kept_beside_the_weights_once(tmp_path: Path) -> None:
    """One that a resumed training tells again has other figures, and is the same warning."""
    told: list[Event] = []
    store = Store(tmp_path / "cache", tell=told.append)
    assert warnings_of(tmp_path) == []
    with keeping_warnings(store, tmp_path):
        store.tell(Note("going on from step 3 of 4"))
        store.tell(Note("warning: 98.1% at 2.3e-06"))
    with keeping_warnings(store, tmp_path):
        store.tell(Note("warning: 97.0% at 1e+10"))
        store.tell(Note("warning: of something else"))
    store.tell(Note("warning: of what is no training"))
    assert warnings_of(tmp_path) == ["warning: 98.1% at 2.3e-06", "warning: of something else"]
    assert len(told) == 5
