"""Which epoch's weights a training ends with: held against enumeration, and kept through kills at every moment."""

import errno
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from limbeck.core.events import Event, Note
from limbeck.distillation.objective import Objective, hard_terms
from limbeck.models.weights import model_state
from limbeck.pipeline.steps.validation import figures_of, worth
from limbeck.quantization.progressive import beginnings
from limbeck.recipe.model import Quantize, Train
from limbeck.recipe.reading import parse
from limbeck.recipe.validate import without_effect
from limbeck.tasks import Encoded, Scored
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_classification import TextClassification
from limbeck.training import checkpoints, loop
from limbeck.training.best import Choice
from limbeck.training.job import Job, TrainingRows, Validation, Watchers

STEPS = 4  # of an epoch, below
EPOCHS = 9

figure = st.one_of(st.integers(0, 3).map(float), st.just(math.nan))


def points(values: list[float]) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "step": STEPS * (epoch + 1), "validation": {"f1": value}}
        for epoch, value in enumerate(values)
    ]


def by_f1(figures: Any) -> tuple[float, ...]:
    return (figures["f1"],)


@given(
    st.lists(figure, min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_the_best_epoch_is_that_of_enumeration(
    values: list[float], patience: int, first: int, rising: int
) -> None:
    choice = Choice(Train(patience=patience), by_f1, first, rising)
    seen: list[tuple[float, int]] = []  # every epoch that may be kept
    risen = 0  # the last epoch that is no reason for impatience
    for epoch, point in enumerate(points(values)):
        assert not choice.is_over
        choice.see(point)
        if not math.isnan(values[epoch]) and point["step"] > first:
            is_new = all(values[epoch] > before for before, _ in seen)
            seen.append((values[epoch], epoch))
            if is_new or point["step"] <= rising:
                risen = len(seen)
        expected = max(seen)[1] if seen else None
        assert (choice.best.number if choice.best else None) == expected
        assert choice.is_over == (len(seen) - risen >= patience)
        # A training that goes on shows the same history to a new choice.
        again = Choice(Train(patience=patience), by_f1, first, rising)
        again.see_all(points(values[: epoch + 1]))
        assert (again.best, again.is_over) == (choice.best, choice.is_over)
        if choice.is_over:
            break


@pytest.mark.parametrize(("keep", "judge"), [("last", by_f1), ("best", None)])
def test_where_nothing_is_chosen_no_training_ends_early(
    keep: Any, judge: Callable[[Any], tuple[float, ...]] | None
) -> None:
    choice = Choice(Train(keep=keep, patience=1), judge, 0, 0)
    choice.see_all(points([1.0, 0.0, 0.0]))
    assert choice.best is None
    assert not choice.is_over


def test_without_patience_every_epoch_is_waited_for() -> None:
    choice = Choice(Train(patience=None), by_f1, 0, 0)
    choice.see_all(points([1.0] + 99 * [0.0]))
    assert choice.best is not None
    assert (choice.best.number, choice.is_over) == (0, False)


def test_a_joint_training_keeps_no_epoch_before_its_last_format() -> None:
    settings = Quantize(weights="int2", progressive=["int8", "int4"], start=0.25)
    assert beginnings(settings, 100)[-1] == 75
    assert beginnings(Quantize(start=0.4), 10) == [4]
    assert beginnings(Quantize(), 10) == [0]


# What epochs are compared by.


def test_of_equal_metrics_the_more_probable_labels_win() -> None:
    assert worth({"f1": 0.5, "nats": 0.7}, metric="f1") > worth(
        {"f1": 0.5, "nats": 0.9}, metric="f1"
    )
    assert worth({"f1": 0.6, "nats": 2.0}, metric="f1") > worth(
        {"f1": 0.5, "nats": 0.1}, metric="f1"
    )
    error = "root_mean_square_error"
    assert worth({error: 0.1}, metric=error) > worth({error: 0.2}, metric=error)


def test_the_nats_are_those_of_torch() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(7, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, -100, 1, 0, 2])
    offsets = np.arange(8)
    found = figures_of(
        Scored(logits, labels, offsets), task=TextClassification(["a", "b", "c"], "")
    )
    expected = nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert found["nats"] == pytest.approx(float(expected), rel=1e-6)
    several = generator.integers(0, 2, (7, 3)).astype(np.float32)
    task = MultiLabelClassification(["a", "b", "c"], "")
    found = figures_of(Scored(logits, several, offsets), task=task)
    expected = nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(several)
    )
    assert found["nats"] == pytest.approx(3 * float(expected), rel=1e-6)


def test_the_score_of_a_pair_has_no_probability() -> None:
    scored = Scored(np.eye(4, dtype=np.float32), np.array([0.5, np.nan] * 2), np.array([0, 2, 4]))
    assert "nats" not in figures_of(scored, task=SentenceEmbedding(["0 to 1"], ""))


# Through the loop.


class Network(nn.Module):
    """Two classes from three numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(pixel_values))


class Killed(Exception):
    """The process is gone at this very moment."""


class Bench:
    """A training of a network that nobody can foresee the figures of, but that has always the same."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.settings = folder, settings
        self.told: list[Event] = []

    def run(self, kill_at: int = -1) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        """Weights and history; the states after each epoch are left in `states`."""
        model = Network()
        self.states: list[dict[str, torch.Tensor]] = []

        def metrics() -> dict[str, float]:
            state = {name: tensor.clone() for name, tensor in model_state(model).items()}
            self.states.append(state)
            return {"f1": math.sin(1e3 * float(model.layer.weight.detach().sum()))}

        def kill(step: int, total: int) -> None:
            if step == kill_at:
                raise Killed

        generator = np.random.default_rng(0)
        inputs = generator.normal(size=(10 * STEPS, 3)).astype(np.float32)
        encoded = [
            Encoded({"pixel_values": row}, None, np.array([number % 2]))
            for number, row in enumerate(inputs)
        ]
        settings = {
            "epochs": EPOCHS,
            "batch_rows": 10,
            "learning_rate": 1e-3,
            "checkpoint_seconds": 0,
            **self.settings,
        }
        job = Job(
            model=model,
            objective=Objective(hard_terms("cross_entropy")),
            rows=TrainingRows(encoded=encoded, padding={}),
            settings=Train(**settings),
            validation=Validation(metrics=metrics, units=1.0, judge=by_f1),
            watchers=Watchers(before_step=[kill]),
            tell=self.told.append,
        )
        self.folder.mkdir(exist_ok=True)
        history = loop.Training(job, self.folder).run()
        return model_state(model), history

    @property
    def lines(self) -> str:
        return "\n".join(str(event) for event in self.told if isinstance(event, Note))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def figures(history: list[dict[str, Any]]) -> list[float]:
    return [point["validation"]["f1"] for point in history if "validation" in point]


def test_the_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "best", patience=None)
    weights, history = bench.run()
    values = figures(history)
    best = max(range(EPOCHS), key=values.__getitem__)
    assert 0 < best < EPOCHS - 1, "neither end, or the test shows nothing"
    assert same(weights, bench.states[best])
    kept = {"epoch": best, "step": STEPS * (best + 1), "ended": "epochs"}
    assert history[-1] == {"step": STEPS * EPOCHS, "epoch": EPOCHS - 1, "kept": kept}
    assert f"kept the weights of epoch {best + 1}, " in bench.lines
    # One file, or two while the checkpoint counts on an earlier one.
    assert len(list(tmp_path.glob("best/checkpoint/best-*"))) <= 2
    last = Bench(tmp_path / "last", keep="last")
    weights, history = last.run()
    assert same(weights, last.states[-1])
    assert "kept" not in history[-1]


def test_it_ends_when_no_better_epoch_comes(tmp_path: Path) -> None:
    values = figures(Bench(tmp_path / "whole", patience=None, warmup=0).run()[1])
    bench = Bench(tmp_path / "short", patience=2, warmup=0)
    _, history = bench.run()
    waited = epochs = 0
    for epochs, value in enumerate(values, 1):
        waited = 0 if value > max(values[: epochs - 1], default=-2) else waited + 1
        if waited == 2:
            break
    assert epochs < EPOCHS, "it would have ended anyway"
    assert figures(history) == values[:epochs]
    assert history[-1]["kept"]["ended"] == "patience"
    assert f"ended after epoch {epochs} of {EPOCHS}: 2 in a row" in bench.lines


@pytest.mark.parametrize("patience", [pytest.param(None, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("seconds", [0, 1000])
def test_killed_before_any_step_it_ends_with_the_same_weights(
    patience: int | None, seconds: float, tmp_path: Path
) -> None:
    expected, expected_history = Bench(tmp_path / "calm", patience=patience).run()
    # Without a checkpoint since, the best weights lie there of epochs that are yet to come.
    for step in range(expected_history[-1]["step"]):
        bench = Bench(tmp_path / str(step), patience=patience, checkpoint_seconds=seconds)
        with pytest.raises(Killed):
            bench.run(kill_at=step)
        weights, history = bench.run()
        assert same(weights, expected)
        assert history == expected_history


def test_killed_between_the_best_weights_and_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, expected_history = Bench(tmp_path / "calm", patience=None).run()
    write = checkpoints.write_best

    def killed_after(folder: Path, model: nn.Module, step: int) -> None:
        write(folder, model, step)
        raise Killed

    bench = Bench(tmp_path / "killed", patience=None)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_best", killed_after)
        # In each life it gets no farther than to the next better epoch.
        for _ in range(3):
            with pytest.raises(Killed):
                bench.run()
    weights, history = bench.run()
    assert same(weights, expected)
    assert history == expected_history


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, expected_history = Bench(tmp_path / "calm").run()

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    bench = Bench(tmp_path / "full")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_best", full)
        with pytest.raises(OSError, match="No space"):
            bench.run()
    weights, history = bench.run()
    assert same(weights, expected)
    assert history == expected_history


@pytest.mark.parametrize("harm", ["altered", "gone"])
def test_weights_that_a_disk_has_altered_are_not_taken(harm: str, tmp_path: Path) -> None:
    expected, expected_history = Bench(tmp_path / "calm", patience=None).run()
    bench = Bench(tmp_path / "harmed", patience=None)
    with pytest.raises(Killed):
        bench.run(kill_at=STEPS * EPOCHS - 1)
    (path,) = tmp_path.glob("harmed/checkpoint/best-*")
    if harm == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    weights, history = bench.run()
    assert "the training begins anew" in bench.lines
    assert same(weights, expected)
    assert history == expected_history


def test_of_one_epoch_there_is_no_choice(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "one", epochs=1, patience=1)
    weights, history = bench.run()
    assert same(weights, bench.states[-1])
    assert history[-1]["kept"]["ended"] == "epochs"
    assert bench.lines == ""


# Settings that change nothing.


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ("{epochs: 3, patience: 3}", "no training has more than 3 epochs"),
        ("{epochs: 1, patience: 1}", "no training has more than 1 epochs"),
        ("{epochs: 30, patience: 4, keep: last}", "with `keep: last`"),
        ("{epochs: 30, patience: 4}", ""),
        ("{epochs: 3, patience: null}", ""),
        ("{epochs: 3}", ""),
        ("{epochs: 3, patience: 10}", ""),  # the default, written out
    ],
)
def test_patience_that_never_ends_is_told(train: str, told: str) -> None:
    recipe = parse(
        "{task: masked-lm, data: {source: text, path: texts}, student: {model: small}, "
        f"train: {train}}}"
    )
    lines = without_effect(recipe)
    assert len(lines) == bool(told)
    assert told in "".join(lines)
    assert not lines or lines[0].startswith("warning: train.patience")
