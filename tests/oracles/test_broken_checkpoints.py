"""A checkpoint with any byte altered is left aside and said, and no tensor of it reaches the model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from limbeck.core.events import Note
from limbeck.training.checkpoints import (
    DIGEST,
    FILE,
    content_digest,
    read_checkpoint,
    write_checkpoint,
)


def trained() -> tuple[dict[str, torch.nn.Module], torch.optim.Optimizer]:
    """A layer after one step of AdamW."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"model": layer}, optimizer


def fresh() -> tuple[dict[str, torch.nn.Module], torch.optim.Optimizer]:
    layer = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(layer.weight, 7)
    return {"model": layer}, torch.optim.AdamW(layer.parameters())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    modules, optimizer = trained()
    write_checkpoint(tmp_path, modules, optimizer, step=3, history=[{"loss": 0.5}])
    return tmp_path


def test_a_whole_one_comes_back(folder: Path) -> None:
    modules, optimizer = fresh()
    assert read_checkpoint(folder, modules, optimizer) == (3, [{"loss": 0.5}])
    assert torch.equal(modules["model"].weight, trained()[0]["model"].weight)
    assert len(optimizer.state) == 2


def assert_begins_anew(folder: Path) -> None:
    modules, optimizer = fresh()
    told: list[object] = []
    assert read_checkpoint(folder, modules, optimizer, told.append) == (0, [])
    assert bool((modules["model"].weight == 7).all()) and not optimizer.state
    (note,) = told
    assert isinstance(note, Note) and "is broken" in note.text and "begins anew" in note.text


def test_every_altered_byte_is_seen(folder: Path) -> None:
    path = folder / FILE
    content = path.read_bytes()
    for index in range(len(content)):
        path.write_bytes(content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :])
        assert_begins_anew(folder)


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1])
def test_one_that_is_cut_off_is_seen(folder: Path, length: int) -> None:
    path = folder / FILE
    path.write_bytes(path.read_bytes()[:length])
    assert_begins_anew(folder)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("optimizer.9.step", np.ones(1)), ("optimizer.x.step", np.ones(1)), ("optimizer.0.exp_avg", np.ones((3, 3)))],
)  # fmt: skip
def test_one_that_fits_no_optimizer_is_seen_though_its_digest_holds(
    folder: Path, name: str, tensor: np.ndarray
) -> None:
    path = folder / FILE
    tensors = load_file(path) | {name: torch.from_numpy(tensor)}
    header = {"step": "3", "history": json.dumps([])}
    save_file(tensors, path, header | {DIGEST: content_digest(tensors, header)})
    assert_begins_anew(folder)
