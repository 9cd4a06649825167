"""Formats that follow one another in one training: when they switch, what is fitted anew, and that only the step decides."""

from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import limbeck
from limbeck.core import registry
from limbeck.core.events import Note
from limbeck.core.grids import GRIDS
from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.progressive import REFITTED, Progressive, beginnings
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import parse

FORMATS = {"progressive": ["int8", "int4"], "weights": "int2"}
INPUTS = tiny_models.pixels(8)
TOTAL = 30


def prepared(**keys: Any) -> tuple[nn.Module, Progressive]:
    settings = Quantize(**{**FORMATS, **keys})
    model = tiny_models.cnn()
    prepare_model(
        model, plan_schemes(model, settings, "uint8"), settings.range, lambda m: m(**INPUTS)
    )
    return model.train(), Progressive(
        settings, model, lambda: calibrate(model, [lambda m: m(**INPUTS)])
    )


def weights(model: nn.Module) -> dict[str, Quantized]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Quantized)}


def forms(model: nn.Module) -> list[str]:
    return [
        next(name for name, grid in GRIDS.items() if grid == module.quantizer.grid)
        for module in weights(model).values()
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [0, 10, 20]),
        ({"start": 0.4}, [12, 18, 24]),
        ({"start": 0.4, "switch_at": [0.5, 0.9]}, [12, 15, 27]),
        ({"progressive": []}, [0]),
        ({"progressive": [], "start": 0.5}, [15]),
        ({"progressive": ["int8"]}, [0, 15]),
    ],
)
def test_the_parts_are_equal_or_those_that_are_given(
    keys: dict[str, Any], expected: list[int]
) -> None:
    assert beginnings(Quantize(**{**FORMATS, **keys}), TOTAL) == expected


@given(st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 3))
def test_the_final_format_is_always_reached(total: int, start: float, count: int) -> None:
    found = beginnings(
        Quantize(progressive=["int8", "int4", "int3"][:count], weights="int2", start=start), total
    )
    assert len(found) == count + 1
    assert found == sorted(found)
    assert found[0] == int(start * total)
    assert found[-1] < total


def test_each_part_has_its_format() -> None:
    model, listener = prepared()
    for step in range(TOTAL):
        listener(step, TOTAL)
        assert set(forms(model)) == {["int8", "int4", "int2"][step // 10]}


def test_a_module_never_takes_fewer_bits_than_its_own() -> None:
    model, listener = prepared(
        modules={"blocks.0.*": {"weights": "int8"}, "classifier": {"weights": "int3"}}
    )
    found = {}
    for step in range(TOTAL):
        listener(step, TOTAL)
        found[step] = dict(zip(weights(model), forms(model), strict=True))
    assert [found[step]["blocks.0.0"] for step in (0, 10, 20)] == ["int8"] * 3
    assert [found[step]["blocks.1.0"] for step in (0, 10, 20)] == ["int8", "int4", "int2"]
    assert [found[step]["classifier"] for step in (0, 10, 20)] == ["int8", "int4", "int3"]


@pytest.mark.parametrize("range_name", ["lsq", "lsq_plus", "pact", "mse", "minmax"])
def test_at_a_switch_the_weights_that_change_are_fitted_anew_and_nothing_else(
    range_name: str,
) -> None:
    model, listener = prepared(range=range_name, modules={"blocks.0.*": {"weights": "int8"}})
    for step in range(10):
        listener(step, TOTAL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # whatever training did
    before = {name: tensor.clone() for name, tensor in model_state(model).items()}
    listener(10, TOTAL)
    changed = {
        name for name, tensor in model_state(model).items() if not torch.equal(tensor, before[name])
    }
    assert changed == {
        f"{name}.quantizer.log_scale" for name in weights(model) if name != "blocks.0.0"
    }
    for name, module in weights(model).items():
        if name != "blocks.0.0":
            fresh = registry.load("ranges", range_name)(GRIDS["int4"])
            fresh.observe(module.coded_weight().detach().flatten(1))
            torch.testing.assert_close(module.quantizer.scale, fresh.fit()[0])


@pytest.mark.parametrize("step", [0, 3, 10, 15, 20, 29])
def test_a_fresh_model_finds_its_grids_at_any_step(step: int) -> None:
    """What a resumed training does: restore the tensors, then listen from the step on."""
    model, listener = prepared(modules={"classifier": {"weights": "int3"}})
    for each in range(step):
        listener(each, TOTAL)
    state = {name: tensor.clone() for name, tensor in model_state(model).items()}
    again, resumed = prepared(modules={"classifier": {"weights": "int3"}})
    restore_state(again, state)
    for each in range(step, TOTAL):
        listener(each, TOTAL)
        resumed(each, TOTAL)
        assert forms(model) == forms(again)
        for name, tensor in model_state(model).items():
            assert torch.equal(tensor, model_state(again)[name]), (each, name)


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_a_run_with_progressive_bits_ends_in_the_final_format(tmp_path: Path) -> None:
    """Through the whole pipeline: the artifact holds int2, parity holds, and each switch is told once."""
    text = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 8}
train: {epochs: 6, learning_rate: 8.0e-3, threads: 1}
quantize: {weights: int2, progressive: [int8, int4], start: 0.1}
"""
    notes: list[str] = []
    report = limbeck.run(
        parse(text),
        tmp_path / "run",
        tell=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    switches = [note for note in notes if "weights are" in note]
    assert ["int4" in switches[0], "int2" in switches[1], len(switches)] == [True, True, 2]
    assert report["parity"][0]["agreement"] > 0.99
    assert report["arms"]["qat"]["mean"]["accuracy"] > 0.6
    assert "int2" in (tmp_path / "run" / "artifact" / "README.md").read_text()


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_ranges_are_fitted_anew_early_on_where_there_are_norms(start: float) -> None:
    settings = Quantize(start=start)
    for model, shares in ((tiny_models.cnn(), (0.0, *REFITTED)), (nn.Linear(2, 2), (0.0,))):
        calls: list[None] = []
        switch = Progressive(settings, model, lambda calls=calls: calls.append(None))
        fitted = []
        for step in range(100):
            before = len(calls)
            switch(step, 100)
            fitted += [step] * (len(calls) - before)
        assert fitted == [round(100 * (start + share * (1 - start))) for share in shares]
