"""Whole runs on a second device type: the CPU's weights and answers, and no step that waits for the device."""

from pathlib import Path

import pytest
import torch
from encoders import save_encoder
from probe_device import Probe
from safetensors.torch import load_file

from limbeck.core.cache.store import Store
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.arm import Arm, run_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse
from limbeck.training import devices, loop

WORDS = ["Ada", "lives", "in", "York", "and", "Bo", "met", "Cy", "there", "."]
TAGS = {"Ada": "B-PER", "Bo": "B-PER", "Cy": "B-PER", "York": "B-LOC"}
JOINT = "quantize: {when: train, range: lsq, error_weight: 1.0e-3, start: 0.4}"
AFTER = "quantize: {when: after, weights: int4, rounding: gptq, range: mse, activations: float}"
STEPS = "epochs: 1, learning_rate: 1.0e-3, threads: 1, dtype: float32"
ENCODER = "{from: teacher, surgery: drop_layers, layers: 1}"
RECIPES = {
    "images, joint": f"""
task: image-classification
data: {{source: sklearn, dataset: digits}}
teacher: {{model: small_cnn, width: 4, depth: 1, epochs: 1}}
student: {{model: small_cnn, width: 2, depth: 1}}
train: {{{STEPS}, batch_rows: 48, augment: [flip, crop]}}
distill: {{losses: {{kl: {{}}, hidden: {{}}, similarity: {{}}}}}}
{JOINT}
""",
    "tags, joint": f"""
task: token-classification
data: {{source: rows}}
teacher: {{model: MODEL, epochs: 1}}
student: {ENCODER}
train: {{{STEPS}, batch_tokens: 64}}
distill: {{losses: {{kl: {{}}, hidden: {{}}, attention: {{}}}}}}
{JOINT}
""",
    "texts, after": f"""
task: text-classification
data: {{source: rows}}
teacher: {{model: MODEL, epochs: 1}}
student: {ENCODER}
train: {{{STEPS}, batch_tokens: 64}}
distill: {{losses: {{kl: {{}}, relation: {{}}}}}}
{AFTER}
""",
}


def sentences(task: str) -> dict[str, list[dict[str, object]]]:
    """A few rows of each split, as the task takes them."""
    rows: list[dict[str, object]] = []
    for number in range(60):
        words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 3 + number % 7)]
        if task.startswith("tags"):
            rows.append({"words": words, "tags": [TAGS.get(word, "O") for word in words]})
        else:
            rows.append({"text": " ".join(words), "label": str("York" in words)})
    return {"train": rows, "validation": rows[:20], "test": rows[:30]}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often each training step that logs nothing made the host wait."""
    monkeypatch.setattr(loop, "LOG_POINTS", 2)
    monkeypatch.setattr(loop, "PROBES", 2)
    counts: list[int] = []
    run_step = loop.Training.step

    def counted(self: loop.Training, step: int, total: int) -> None:
        probe = PROBES[-1] if PROBES else None
        before = len(probe.syncs) if probe else 0
        logged = len(self.history)
        run_step(self, step, total)
        if probe and len(self.history) == logged:
            counts.append(len(probe.syncs) - before)

    monkeypatch.setattr(loop.Training, "step", counted)
    return counts


PROBES: list[Probe] = []


def run(name: str, model: str, store: Path) -> Arm:
    recipe = compatibility.resolved(parse(RECIPES[name].replace("MODEL", model)))
    rows = None if name.startswith("images") else sentences(name)
    context = RunContext(recipe, Store(store), rows=rows)
    return run_arm(recipe, context.store, run=context)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_on_another_device_is_the_run_on_the_cpu(
    name: str, tmp_path: Path, probe: Probe, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_encoder(tmp_path / "model", WORDS, vocabulary=60, width=8, layers=2)
    # Dropout is drawn on the device, whose generator is another.
    config = (tmp_path / "model" / "config.json").read_text()
    config = config.replace('_dropout_prob": 0.1', '_dropout_prob": 0.0')
    (tmp_path / "model" / "config.json").write_text(config)
    on_cpu = run(name, model, tmp_path / "cpu")
    monkeypatch.setenv(devices.OVERRIDE, str(probe.device))
    PROBES.append(probe)
    on_device = run(name, model, tmp_path / "device")
    PROBES.pop()
    assert waits and not any(waits), probe.syncs
    first, second = (load_file(arm.weights / WEIGHTS) for arm in (on_cpu, on_device))
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, atol=1e-5, rtol=1e-4, msg=key)
    torch.testing.assert_close(
        torch.from_numpy(on_device.scored.logits),
        torch.from_numpy(on_cpu.scored.logits),
        atol=1e-3,
        rtol=1e-3,
    )


def test_the_device_is_part_of_what_was_trained_on_it(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = compatibility.resolved(parse(RECIPES["images, joint"]))
    on_cpu = RunContext(recipe, Store(tmp_path)).environment()
    monkeypatch.setenv(devices.OVERRIDE, str(probe.device))
    on_device = RunContext(recipe, Store(tmp_path)).environment()
    assert "device" not in on_cpu
    assert on_device == {**on_cpu, "device": "probe", "device_name": "probe"}
