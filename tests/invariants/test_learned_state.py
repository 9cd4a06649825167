"""What a quantized training learned, or has come to, survives a stop: the run goes on to the bytes of one that was left alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from limbeck.core.cache.store import Store
from limbeck.core.events import EpochEnded, Note, Reporter, silent
from limbeck.core.files import file_digest
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse

RECIPE = """
task: image-classification
data: {source: sklearn, dataset: digits}
student: {model: small_cnn, width: 4}
train: {epochs: 3, learning_rate: 8.0e-3, batch_rows: 160, threads: 1, checkpoint_seconds: 0}
"""
QUANTIZE = {
    "lsq": "{range: lsq, error_weight: 1.0e-3, start: 0.2}",
    "lsq_plus": "{range: lsq_plus, start: 0.2}",
    "pact": "{range: pact, start: 0.2}",
    "progressive": "{weights: int2, progressive: [int8, int4], range: lsq, error_weight: 1.0e-3, start: 0.2}",
    "given points": "{weights: ternary, progressive: [int8], switch_at: [0.3], range: lsq_plus}",
}


class Stop(Exception):
    """Ends a run where a test wants it."""


def run(text: str, tell: Reporter = silent, overrides: Sequence[str] = ()) -> Arm:
    """One arm in the cache of this moment."""
    return run_arm(compatibility.resolved(parse(text, overrides=list(overrides))), Store(tell=tell))


def digests(arm: Arm) -> dict[str, str]:
    """Weights, ranges, and every file of the artifact."""
    assert arm.artifact is not None
    return {
        path.name: file_digest(path)
        for path in [arm.weights / WEIGHTS, *sorted(arm.artifact.folder.iterdir())]
    }


DEFAULT = ("given points",)  # what has the most to remember: formats that change, and offsets


@pytest.mark.parametrize(
    "quantize",
    [
        pytest.param(each, id=name, marks=[pytest.mark.slow] * (name not in DEFAULT))
        for name, each in QUANTIZE.items()
    ],
)
def test_a_stopped_training_ends_with_the_same_bytes(
    quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{RECIPE}quantize: {quantize}\n"
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "calm-cache"))
    calm = run(text)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    notes: list[str] = []
    for epoch in (1, 2):

        def stop(event: Any, epoch: int = epoch) -> None:
            if isinstance(event, EpochEnded) and event.epoch == epoch:
                raise Stop

        with pytest.raises(Stop):
            run(text, stop)
    again = run(text, lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert any("going on from step" in note for note in notes)
    assert digests(again) == digests(calm)
    assert again.history == calm.history


@pytest.mark.slow
def test_offsets_and_bounds_are_among_what_is_kept() -> None:
    names = {}
    for name in ("lsq", "lsq_plus"):
        names[name] = set(
            load_file(
                run(f"{RECIPE}quantize: {QUANTIZE[name]}\n", overrides=["train.epochs=1"]).weights
                / WEIGHTS
            )
        )
    added = names["lsq_plus"] - names["lsq"]
    assert added
    assert all(each.endswith(".offset") for each in added)


def test_the_regularizer_of_clipping_bounds_is_a_loss_term() -> None:
    arm = run(f"{RECIPE}quantize: {QUANTIZE['pact']}\n", overrides=["train.epochs=1"])
    found = [point["losses"]["clipping"] for point in arm.history if "losses" in point]
    assert found[0] == 0  # no bound before the ranges are fitted
    assert found[-1] > 0
