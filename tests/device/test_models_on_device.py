"""Models, surgeries and augmented views on another device: a CPU's figures, made on that device."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from contracts.tiny_models import bert, cnn, tokens
from probe_device import Probe, ProbeTensor
from surgical import IMAGES, TEXTS, teacher
from torch import nn

from limbeck.core import registry
from limbeck.data import augment
from limbeck.data.batches import batches_of
from limbeck.models.folders import save_model
from limbeck.models.running import run_model
from limbeck.models.taps import MAPS, OF_ATTENTION, PLACES, Outputs, Tap, hidden_of
from limbeck.models.torch_batches import device_of, to_device
from limbeck.models.user_model import Own
from limbeck.surgeries import Cut, Evidence
from limbeck.tasks import UNKNOWN, Batch

CPU = torch.device("cpu")

# Keys that cut something, and whether they do so of a network that reads images.
CASES: dict[str, list[tuple[dict[str, Any], bool]]] = {
    "drop_layers": [
        ({"layers": 2}, False),
        ({"layers": 2, "keep": "importance"}, False),
        ({"layers": 3, "keep": "importance"}, True),
        ({"layers": 3, "keep": "greedy"}, True),
    ],
    "factorize_embedding": [({"rank": 5}, False)],
    "prune_channels": [
        ({"share": 0.5, "importance": "magnitude"}, True),
        ({"share": 0.5, "importance": "gradient"}, True),
    ],
    "prune_width": [
        ({"heads": 1, "intermediate": 24, "importance": "gradient"}, False),
        ({"heads": 1, "intermediate": 24, "importance": "activation"}, False),
        ({"heads": 1, "intermediate": 24, "importance": "magnitude"}, False),
    ],
    "same": [({}, False), ({}, True)],
    "trim_vocabulary": [({}, False)],
}
for outside in registry.names("surgeries"):
    if outside not in CASES:
        CASES[outside] = [(keys, False) for keys in registry.load("surgeries", outside).smaller]


def bare(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers, on the CPU."""
    tensor = tensor.detach()
    return tensor.raw if isinstance(tensor, ProbeTensor) else tensor


def assert_same(found: torch.Tensor, expected: torch.Tensor, device: torch.device) -> None:
    assert found.device.type == device.type
    torch.testing.assert_close(bare(found), expected, rtol=1e-5, atol=1e-6)


def cut_on(
    device: torch.device,
    name: str,
    keys: dict[str, Any],
    *,
    reads_images: bool,
) -> Cut:
    evidence = Evidence(IMAGES.task, IMAGES.rows) if reads_images else TEXTS
    model = cnn(depth=1) if reads_images else teacher()
    return registry.create("surgeries", name, keys).cut(model.to(device), evidence)


@pytest.mark.parametrize(
    ("name", "keys", "reads_images"),
    [(name, keys, images) for name, cases in CASES.items() for keys, images in cases],
)
def test_a_student_is_cut_on_its_teachers_device_as_on_a_cpu(
    name: str,
    keys: dict[str, Any],
    reads_images: bool,
    probe_of_any_width: Probe,
) -> None:
    probe = probe_of_any_width
    if name == "prune_channels":
        pytest.skip("torch-pruning indexes weights by lists, which the probe cannot; GPUs can")
    expected = cut_on(CPU, name, keys, reads_images=reads_images)
    found = cut_on(probe.device, name, keys, reads_images=reads_images)
    assert found.preprocess == expected.preprocess
    wanted = expected.student.state_dict()
    weights = found.student.state_dict()
    assert list(weights) == list(wanted)
    for key, weight in weights.items():
        assert_same(weight, wanted[key], probe.device)
    # And it runs there.
    batch = (IMAGES if reads_images else TEXTS).batches_on(probe.device)[0]
    if found.preprocess is None:
        assert run_model(found.student, batch).logits.device.type == probe.device.type


def text_batch(*, of_words: bool) -> Batch:
    """Three rows of eight tokens, four words each or one text each."""
    inputs = tokens(3, 8)
    positions = torch.tensor([[1, 2, 3, 4], [0, 2, 3, 4], [1, 1, 2, 3]]) if of_words else None
    mask = torch.ones(3, 4 if of_words else 1, dtype=torch.bool)
    return Batch(inputs, positions, mask.long(), mask, np.arange(3))


def image_batch(rows: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(rows, 1, 12, 10, generator=generator)
    labels = torch.arange(rows).view(rows, 1) % 3
    labels[1] = UNKNOWN
    mask = torch.ones(rows, 1, dtype=torch.bool)
    return Batch({"pixel_values": images}, None, labels, mask, np.arange(rows) + 7)


def assert_same_outputs(found: Outputs, expected: Outputs, device: torch.device) -> None:
    assert_same(found.logits, expected.logits, device)
    assert_same(found.place_mask, expected.place_mask, device)
    assert list(found.inner) == list(expected.inner)
    for tap, values in expected.inner.items():
        assert_same(found.inner[tap], values, device)


LAYER = "bert.encoder.layer.1"
TEXT_TAPS = [*hidden_of([LAYER]), *(Tap(kind, LAYER) for kind in (PLACES, *OF_ATTENTION))]
IMAGE_TAPS = [*hidden_of(["blocks.1"]), Tap(MAPS, "blocks.1")]


@pytest.mark.parametrize("kind", ["words", "texts", "images"])
def test_taps_of_every_kind_are_a_cpus_and_wait_for_nothing(kind: str, probe: Probe) -> None:
    taps = IMAGE_TAPS if kind == "images" else TEXT_TAPS
    model = cnn(depth=1) if kind == "images" else bert()
    batch = image_batch() if kind == "images" else text_batch(of_words=kind == "words")
    expected = run_model(model, batch, taps)
    model.to(probe.device)
    on_device = to_device(batch, probe.device)
    before = len(probe.syncs)
    found = run_model(model, on_device, taps)
    # The padding mask of transformers looks whether anything is masked; nothing of ours waits.
    ours = [line for line in probe.syncs[before:] if "limbeck" in line]
    assert ours == []
    assert_same_outputs(found, expected, probe.device)


NAMES = [*augment.changes_by_name((torch.zeros(()), torch.ones(()))), augment.MIXUP]


def views_of(names: list[str]) -> augment.Views:
    levels = (torch.full((1, 1, 1), -1.3), torch.full((1, 1, 1), 2.1))
    return augment.Views(names, 3, levels)


@pytest.mark.parametrize("names", [*([name] for name in NAMES), NAMES], ids="+".join)
def test_views_are_a_cpus_and_wait_for_nothing(names: list[str], probe: Probe) -> None:
    views = views_of(names)
    batch = image_batch(rows=24)
    on_device = to_device(batch, probe.device)
    for epoch in range(3):
        expected = views(batch, epoch, step=epoch)
        before = len(probe.syncs)
        found = views(on_device, epoch, step=epoch)
        assert probe.syncs[before:] == []
        images = found.inputs["pixel_values"]
        assert_same(images, expected.inputs["pixel_values"], probe.device)
        assert_same(found.labels, expected.labels, probe.device)


def test_a_models_folder_is_the_same_wherever_it_lies(probe: Probe, tmp_path: Any) -> None:
    header = {"name": "small_cnn", "options": {"width": 4, "depth": 1}, "labels": 5, "channels": 1}
    for device, name in ((CPU, "cpu"), (probe.device, "probe")):
        (tmp_path / name).mkdir()
        save_model(
            cnn().to(device),
            tmp_path / name,
            network=header,
            preprocess_file="preprocess.json",
            text="{}",
        )
    file = "model.safetensors"
    assert (tmp_path / "cpu" / file).read_bytes() == (tmp_path / "probe" / file).read_bytes()


def test_a_users_module_on_a_device_has_a_cpus_reference(probe: Probe) -> None:
    module = nn.Linear(3, 2)
    moved = copy.deepcopy(module).to(probe.device)
    assert Own(moved).reference() == Own(module).reference()


def test_a_batch_goes_to_the_device_and_back_with_its_rows_on_the_host(probe: Probe) -> None:
    batch = batches_of(TEXTS.task.encode(TEXTS.rows), TEXTS.task)[0]
    moved = to_device(batch, probe.device)
    assert isinstance(moved.rows, np.ndarray)
    for value in (*moved.inputs.values(), moved.positions, moved.labels, moved.mask):
        assert value.device.type == probe.device.type
    back = to_device(moved, CPU)
    for name, value in back.inputs.items():
        assert torch.equal(value, batch.inputs[name])


def test_the_device_of_a_model_without_parameters_is_the_cpu() -> None:
    assert device_of(nn.Identity()) == CPU
