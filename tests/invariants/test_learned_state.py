"""What a quantized training learned, or has come to, survives a stop: the run goes on to the bytes of one that was left alone."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import limbeck
from limbeck import models
from limbeck.progress import EpochEnded, Note
from limbeck.recipe import parse
from limbeck.store import file_digest, read_json

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


def trained(cache: Path, out: Path) -> Path:
    """The folder of the training stage."""
    (entry,) = [record["entry"] for record in read_json(out / "stages.json") if record["name"].startswith("train")]
    return cache / entry


def digests(cache: Path, out: Path) -> dict[str, str]:
    """Weights, ranges and optimizer's outcome, the history, and every file of the artifact."""
    own = {name: file_digest(trained(cache, out) / name) for name in (models.WEIGHTS, "history.json")}
    return own | {path.name: file_digest(path) for path in sorted((out / "artifact").iterdir())}


@pytest.mark.parametrize("quantize", QUANTIZE.values(), ids=list(QUANTIZE))
def test_a_stopped_training_ends_with_the_same_bytes(quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = parse(f"{RECIPE}quantize: {quantize}\n")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "calm-cache"))
    limbeck.run(asked, tmp_path / "calm")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    notes: list[str] = []
    for epoch in (1, 2):

        def stop(event: Any, epoch: int = epoch) -> None:
            if isinstance(event, EpochEnded) and event.epoch == epoch:
                raise Stop

        with pytest.raises(Stop):
            limbeck.run(asked, tmp_path / "again", tell=stop)
    limbeck.run(asked, tmp_path / "again", tell=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert any("going on from step" in note for note in notes)
    assert digests(tmp_path / "cache", tmp_path / "again") == digests(tmp_path / "calm-cache", tmp_path / "calm")


def test_offsets_and_bounds_are_among_what_is_kept(tmp_path: Path, cache_folder: Path) -> None:
    names = {}
    for name in ("lsq", "lsq_plus"):
        limbeck.run(parse(f"{RECIPE}quantize: {QUANTIZE[name]}\n", overrides=["train.epochs=1"]), tmp_path / name)
        names[name] = set(load_file(trained(cache_folder, tmp_path / name) / models.WEIGHTS))
    added = names["lsq_plus"] - names["lsq"]
    assert added
    assert all(each.endswith(".offset") for each in added)


def test_the_regularizer_of_clipping_bounds_is_a_loss_term(tmp_path: Path, cache_folder: Path) -> None:
    limbeck.run(parse(f"{RECIPE}quantize: {QUANTIZE['pact']}\n", overrides=["train.epochs=1"]), tmp_path / "run")
    history = read_json(trained(cache_folder, tmp_path / "run") / "history.json")
    found = [point["losses"]["clipping"] for point in history if "losses" in point]
    assert found[0] == 0  # no bound before the ranges are fitted
    assert found[-1] > 0
