"""How much each label counts: held against scikit-learn and torch, and through a run."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.models.taps import Outputs
from limbeck.pipeline.arm import train_alone
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.class_weights import MOST, balanced, hard_loss_keys
from limbeck.recipe.model import Data
from limbeck.recipe.reading import parse
from limbeck.tasks import Batch

UNKNOWN = -100


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.random.default_rng(0).choice(4, 500, p=[0.7, 0.2, 0.07, 0.03])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert balanced(labels, 4) == pytest.approx(expected.tolist(), rel=1e-5)
    # The mean over the units is 1; what is unknown is not counted.
    weights = np.array(balanced(labels, 4))
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)
    assert balanced(np.append(labels, [UNKNOWN] * 99), 4) == weights.tolist()


def test_of_several_labels_what_is_rare_counts_as_much_as_what_is_absent() -> None:
    labels = np.zeros((100, 3), np.float32)
    labels[:4, 0] = 1
    labels[:50, 1] = 1
    labels[98:] = UNKNOWN
    assert balanced(labels, 3) == pytest.approx([94 / 4, 48 / 50, 1.0])


def test_weights_are_bounded() -> None:
    labels = np.zeros(10_000, np.int64)
    labels[0] = 1
    assert balanced(labels, 3)[1:] == [MOST, 1.0]


def loss(name: str, weights: list[float] | None, logits: Any, labels: Any) -> float:
    mask = torch.ones(logits.shape[:2], dtype=torch.bool)
    outputs = Outputs(logits=logits, mask=mask)
    batch = Batch({}, None, labels, mask, np.arange(len(logits)))
    made = registry.create("losses", name, {"class_weights": weights})
    return float(made(outputs, outputs, batch, 0.0))


def test_the_losses_weigh_as_torch_does() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 1, 3)
    classes = torch.tensor([0, 1, 2, 2, UNKNOWN, 1])[:, None]
    weights = [0.5, 2.0, 7.0]
    by_unit = functional.cross_entropy(
        logits[:, 0], classes[:, 0], weight=torch.tensor(weights), reduction="none"
    )
    # Five units are labelled: not by the sum of their weights.
    expected = float(by_unit.sum() / 5)
    assert loss("cross_entropy", weights, logits, classes) == pytest.approx(expected, rel=1e-6)
    several = torch.randint(0, 2, (6, 1, 3)).float()
    by_label = functional.binary_cross_entropy_with_logits(
        logits, several, pos_weight=torch.tensor(weights), reduction="none"
    )
    found = loss("binary_cross_entropy", weights, logits, several)
    assert found == pytest.approx(float(by_label.sum(-1).mean()), rel=1e-6)
    for name, labels in (("cross_entropy", classes), ("binary_cross_entropy", several)):
        assert loss(name, [1.0] * 3, logits, labels) == loss(name, None, logits, labels)


def context(weights: Any, task: str = "text-classification") -> RunContext:
    labels: list[Any] = ["common"] * 40 + ["rare"] * 4
    if task == "token-classification":
        rows = [{"words": ["x", "y"], "tags": ["B-LOC", "O"]}, {"words": ["y"], "tags": ["O"]}] * 20
    else:
        rows = [
            {"image": np.full((8, 8), 20 * number % 255, np.uint8), "label": label}
            for number, label in enumerate(labels)
        ]
        task = "image-classification"
    recipe = parse(
        f"task: {task}\ndata: {{source: rows}}\nstudent: {{model: small_cnn, width: 2}}\n"
        "train: {epochs: 1, threads: 1, learning_rate: 1.0e-2}\n"
    )
    data = Data.model_validate({"source": "rows", "class_weights": weights})
    recipe = recipe.model_copy(update={"data": data})
    return RunContext(recipe, Store(), rows={"train": rows, "test": rows})


def weights_of(run: RunContext) -> dict[str, float]:
    task = run.task_class(run.data.labels, "")
    keys = hard_loss_keys(run, task)
    return dict(zip(task.labels, keys["class_weights"], strict=True))


def test_labels_are_weighed_by_name() -> None:
    assert weights_of(context({"rare": 5})) == {"common": 1, "rare": 5}
    # A type of entity stands for its tags, a tag for itself.
    tags = weights_of(context({"LOC": 3, "O": 0.5}, "token-classification"))
    assert tags["B-LOC"] == 3
    assert tags["O"] == 0.5


def test_a_label_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"data\.class_weights\.rrae: .*`rrae`.*`rare`"):
        weights_of(context({"rrae": 5}))


def test_numbers_have_no_labels_to_weigh() -> None:
    run = context("balanced")
    other = run.recipe.model_copy(update={"task": "text-regression"})
    with pytest.raises(ValueError, match="has no labels that could count unequally"):
        hard_loss_keys(
            RunContext(other, run.store),
            registry.load("tasks", "text-regression")(["0 to 1"], ""),
        )


@pytest.mark.parametrize("weights", [{"a": 0}, {"a": -1}, "equal", [1, 2], {"a": "much"}])
def test_what_is_no_weight_is_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="class_weights"):
        Data.model_validate({"source": "csv", "class_weights": weights})


def test_labels_of_digits_are_words() -> None:
    read = parse(
        "{task: image-classification, data: {source: sklearn, class_weights: {3: 2.5}}, "
        "student: {model: small_cnn}}"
    )
    assert read.data.class_weights == {"3": 2.5}


def test_every_training_is_told_of_them_and_none_is_reused() -> None:
    folders = {}
    for name, weights in (("none", None), ("balanced", "balanced"), ("same", {"common": 1.0})):
        run = context(weights)
        run.recipe = compatibility.resolved(run.recipe)
        folders[name] = train_alone(run.recipe, run)[1]
    assert len(set(folders.values())) == 3
    content = {
        name: (folder / "model.safetensors").read_bytes() for name, folder in folders.items()
    }
    # Weights of 1 change nothing but the key.
    assert content["none"] == content["same"] != content["balanced"]
