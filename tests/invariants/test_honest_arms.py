"""What each arm of a verdict had: seven arms of one recipe, from end to end."""

import math
from pathlib import Path

import numpy as np
import pytest
from encoders import DATA, TEXTS, save_encoder
from safetensors.torch import load_file

import limbeck
from limbeck.core.cache.store import Store
from limbeck.models.weights import WEIGHTS
from limbeck.pipeline.arm import ask_teachers
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.steps.training import training_job

RECIPE = """
task: text-classification
data: {{source: rows}}
teacher: {{model: {encoder}, epochs: 2}}
student: {{from: teacher, surgery: drop_layers, layers: 1}}
train: {{epochs: 2, threads: 1, dtype: float32, learning_rate: 5.0e-3, batch_tokens: 64}}
distill: {{losses: {{kl: {{}}}}}}
quantize: {{when: train}}
verdict: {{arms: [plain, cut, kd, ptq, qat, kd+ptq, joint], max_drop: 1, latency_rows: 2}}
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return save_encoder(folder, TEXTS, vocabulary=60, width=16, layers=2)


def test_plain_starts_from_what_was_there_before_the_tuning(encoder: str) -> None:
    recipe = compatibility.resolved(limbeck.parse(RECIPE.format(encoder=encoder)))
    run = RunContext(recipe, Store(), rows=DATA)
    teacher = prepare_teacher(recipe, run)
    arms = derive_arms(recipe, 0)
    weights = {
        name: load_file(cut_student(arms[name], run, teacher).folder / WEIGHTS) for name in arms
    }
    key = next(name for name in weights["plain"] if name.endswith("word_embeddings.weight"))
    before = load_file(Path(encoder) / "model.safetensors")
    (untuned,) = (value for name, value in before.items() if key.endswith(name))
    tuned = load_file(teacher.folder / WEIGHTS)[key]
    assert not np.array_equal(untuned, tuned)
    for name in ("plain", "qat"):
        assert np.array_equal(weights[name][key], untuned), name
    for name in ("cut", "kd", "ptq", "kd+ptq", "joint"):
        assert np.array_equal(weights[name][key], tuned), name


def test_without_a_teacher_rows_without_labels_take_no_steps(encoder: str) -> None:
    """Beside ten times as many rows without labels `plain` saw its own as often as `kd` did, and
    "the teacher helped" was said of a training that was cut short."""
    asked = limbeck.parse(RECIPE.format(encoder=encoder), overrides=["train.patience=3"])
    recipe = compatibility.resolved(asked)
    few = {**DATA, "unlabelled": [{"text": f"{text} {n}"} for n in range(3) for text in TEXTS]}
    run = RunContext(recipe, Store(), rows=few)
    labelled, every = len(run.data.labelled), len(run.data.train)
    assert every > 2 * labelled
    teacher = prepare_teacher(recipe, run)
    jobs = {}
    for name in ("plain", "kd"):
        arm = derive_arms(recipe, 0)[name]
        student = cut_student(arm, run, teacher)
        objectives = ask_teachers(arm, run, teacher, student)
        jobs[name] = training_job(arm, run, student, objectives)
    plain, kd = jobs["plain"], jobs["kd"]
    assert len(kd.rows.encoded) == every
    assert len(plain.rows.encoded) == labelled
    # About as many rows in all, and as long a patience.
    assert plain.settings.epochs == math.ceil(2 * every / labelled)
    assert plain.settings.patience == math.ceil(3 * every / labelled)
    assert (kd.settings.epochs, kd.settings.patience) == (2, 3)


@pytest.mark.usefixtures("untimed")
@pytest.mark.slow
def test_a_run_of_all_arms_tells_three_gains(encoder: str, tmp_path: Path) -> None:
    report = limbeck.run(limbeck.parse(RECIPE.format(encoder=encoder)), tmp_path / "run", rows=DATA)
    names = ["teacher", "baseline", "plain", "cut", "kd", "ptq", "qat", "kd+ptq", "joint"]
    assert list(report["arms"]) == names
    gains = {row["name"]: (row["arm"], row["control"]) for row in report["verdict"]["gains"]}
    assert gains == {
        "teacher": ("kd", "plain"),
        "answers": ("kd", "cut"),
        "joint": ("joint", "kd+ptq"),
    }
    # The teacher's size, in integers; and what nothing was trained of has no learning curve.
    assert report["arms"]["ptq"]["parameters"] == report["arms"]["teacher"]["parameters"]
    trained = {stage["name"] for stage in report["stages"]}
    assert not [name for name in trained if name.startswith("train (ptq")]
    titles = {name for name in trained if name.startswith("train (")}
    assert len(titles) == 5  # kd+ptq shares kd's training
    assert (tmp_path / "run" / "artifact" / "model.onnx").is_file()
