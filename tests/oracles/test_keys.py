"""What a run's stages read and what their keys hold, without building them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limbeck.core.cache.store import Store
from limbeck.distillation.teacher import TeacherRequest
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.quantizing import calibration_rows
from limbeck.pipeline.steps.teacher_outputs import Labelling
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.reading import parse
from limbeck.tasks import packed

RECIPE = """
task: image-classification
data: {source: rows}
teacher: {model: small_cnn, width: 4, depth: 1, epochs: 0}
student: {model: small_cnn, width: 2, depth: 1}
train: {epochs: 1, threads: 1, device: cpu}
distill: {losses: {kl: {}}}
quantize: {when: train, calibration_rows: 12}
"""


def images(shade: int, count: int) -> list[dict[str, object]]:
    """Images of one shade, so that a row tells its split."""
    return [
        {"image": np.full((8, 8), shade + number % 3, np.uint8), "label": str(number % 2)}
        for number in range(count)
    ]


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    recipe = compatibility.resolved(parse(RECIPE))
    rows = {"train": images(10, 40), "validation": images(100, 10), "test": images(200, 20)}
    return RunContext(recipe, Store(tmp_path), rows=rows)


def test_ranges_are_fitted_on_rows_of_train_alone(run: RunContext) -> None:
    task = run.new_task("small_cnn")
    drawn = calibration_rows(run.recipe, run, task)
    train = [row.inputs["pixel_values"].tobytes() for row in run.encode("train", task)]
    others = [row.inputs["pixel_values"].tobytes() for row in run.encode("test", task)]
    assert len(drawn) == 12
    assert {row.inputs["pixel_values"].tobytes() for row in drawn} <= {*train} - {*others}


def test_a_label_is_kept_for_one_preprocessing(run: RunContext, tmp_path: Path) -> None:
    """Two teachers of the same weights that read other pixels answer other things."""

    def save(model: nn.Module, folder: Path) -> None: ...

    folder = tmp_path / "teacher-x"
    folder.mkdir()
    save_file({"weight": torch.zeros(1)}, folder / WEIGHTS)
    task = run.new_task("small_cnn")
    other = run.task_class(task.labels, task.preprocess.replace("8", "9"))
    assert other.preprocess != task.preprocess
    part = packed.Part(run.encode("train", task), 0, 40)
    request = TeacherRequest([], torch.float32)
    keys = []
    for each in (task, other, task):
        labelling = Labelling(
            run.recipe, run, StoredModel(folder, "small_cnn", each, save), request
        )
        stage = labelling._stage(part, nn.Identity, {}, "label", 1)
        keys.append(run.store.entry(stage.name, stage.key))
    assert keys[0] == keys[2] != keys[1]
    bfloat16 = replace(request, dtype=torch.bfloat16)
    labelling = Labelling(run.recipe, run, StoredModel(folder, "small_cnn", task, save), bfloat16)
    stage = labelling._stage(part, nn.Identity, {}, "label", 1)
    assert run.store.entry(stage.name, stage.key) not in keys
