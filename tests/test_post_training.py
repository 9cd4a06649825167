"""What quantizing after training chooses for itself: the nearest to the float model, no choice that chance explains, nothing that was said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from limbeck.core.cache.store import Store
from limbeck.core.events import Event, Note
from limbeck.core.files import read_json
from limbeck.pipeline.arm import run_arm
from limbeck.quantization import post_training
from limbeck.quantization.post_training import Trial
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import read

TEXT = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 8}
train: {epochs: 1, learning_rate: 4.0e-3, threads: 1, batch_rows: 128}
quantize: {when: after, calibration_rows: 64, weights: int4}
"""


def chosen(*overrides: str) -> tuple[Quantize, dict[str, Any], list[Event], list[bool]]:
    """What an arm was quantized with, what was tried, what was told, and which stages were reused."""
    events: list[Event] = []
    store = Store(tell=events.append)
    path = Path("recipe.yaml")
    path.write_text(TEXT)
    arm = run_arm(read(path, list(overrides)), store)
    assert arm.recipe.quantize is not None
    found = [record for record in store.records if record["name"] == "choose"]
    choice = read_json(store.folder / found[0]["entry"] / "choice.json") if found else {}
    return arm.recipe.quantize, choice, events, [record["reused"] for record in store.records]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_open_is_chosen_told_and_kept() -> None:
    settings, choice, events, _ = chosen()
    assert settings.open == []
    (taken,) = [trial for trial in choice["trials"] if trial["chosen"]]
    assert (settings.range, settings.equalize, settings.rounding) == (
        taken["range"],
        taken["equalize"],
        taken["rounding"],
    )
    assert taken["nats"] <= choice["trials"][0]["nats"]
    assert {trial["rounding"] for trial in choice["trials"]} == {"nearest", "gptq", "adaround"}
    assert "bias_correction" in choice["trials"][-1]["equalize"]
    (told,) = [
        str(event) for event in events if isinstance(event, Note) and "quantize" in str(event)
    ]
    assert told.startswith(f"quantize: {settings.range}, ")
    assert f"{len(choice['trials'])} ways were tried" in told
    again, _, _, reused = chosen()
    assert all(reused)
    assert again == settings


def test_a_rewrite_that_the_recipe_names_and_that_fits_nothing_is_told() -> None:
    """One that is tried is passed over; a name in the recipe is the user's to mend."""

    def prepare(model: Any, filled: Quantize) -> Any:
        raise ValueError("cross_layer: nothing to rewrite")

    trial_model: Any = SimpleNamespace(load=torch.nn.Identity, prepare=prepare)
    way = {**post_training.FIRST, "equalize": {"cross_layer": {}}}
    is_open = Quantize.model_validate({"when": "after"})
    assert post_training.trial_of(trial_model, is_open, way, []) is None
    named = Quantize.model_validate({"when": "after", "equalize": {"cross_layer": {}}})
    with pytest.raises(ValueError, match="nothing to rewrite"):
        post_training.trial_of(trial_model, named, way, [])


@pytest.mark.slow
def test_what_the_recipe_says_stays() -> None:
    settings, choice, _, _ = chosen("quantize.range=percentile", "quantize.equalize={}")
    assert {(trial["range"], *trial["equalize"]) for trial in choice["trials"]} == {("percentile",)}
    assert (settings.range, settings.equalize) == ("percentile", {})
    settings, choice, _, _ = chosen(
        "quantize.range=mse", "quantize.equalize={}", "quantize.rounding=nearest"
    )
    assert choice == {}
    assert settings.rounding == "nearest"


@pytest.mark.parametrize(
    ("weights", "roundings", "rewrites"),
    [
        ("int8", [], 3),
        ("int4", ["gptq", "adaround"], 4),
        ("ternary", ["ternary", "gptq", "adaround"], 4),
        ("binary", ["gptq"], 4),
        ("fp8-e4m3", [], 3),
    ],
)
def test_roundings_are_tried_where_bits_are_few(
    weights: str, roundings: list[str], rewrites: int
) -> None:
    tried = post_training.changes(Quantize.model_validate({"when": "after", "weights": weights}))
    assert [value for key, value in tried if key == "rounding"] == roundings
    assert len([value for key, value in tried if key == "equalize"]) == rewrites
    assert tried[-1] == ("correction", {"bias_correction": {}})
    assert not {"lsq", "minmax"} & {value for key, value in tried if key == "range"}


def test_a_choice_must_be_nearer_by_more_than_chance_explains() -> None:
    nats = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    better, lucky = nats - 0.001, nats.clone()
    lucky[:3] -= 0.1  # a larger mean, from three units
    base = Trial({}, nats)
    assert Trial({}, better).beats(base)
    assert not Trial({}, lucky).beats(base)
    assert not base.beats(base)
    assert not base.beats(Trial({}, better))


def test_a_trial_is_named_by_its_parts() -> None:
    trial = Trial(
        {
            "range": "mse",
            "equalize": {"smoothquant": {"alpha": 0.75}, "bias_correction": {}},
            "rounding": "gptq",
        },
        torch.zeros(1),
    )
    assert str(trial) == "mse, smoothquant (alpha 0.75), bias_correction, gptq"
