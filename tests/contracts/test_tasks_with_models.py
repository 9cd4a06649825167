"""What every task keeps when a model answers its rows; the rest of the contract is in `test_tasks.py`."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from task_examples import (
    EXAMPLES,
    MAX_TOKENS,
    TAGS,
    TEXT,
    VOCABULARY,
    has_vectors,
    offer_multi_label_images,
    sentence,
)
from torch import nn

from limbeck.core import registry
from limbeck.evaluation.scores import quality
from limbeck.models.published.embedder import Embedder
from limbeck.models.running import run_model
from limbeck.models.taps import hidden_of
from limbeck.models.torch_batches import to_torch
from limbeck.pipeline.preflight.judging import drawn_answers
from limbeck.tasks import (
    UNKNOWN,
    OverVocabulary,
    Task,
    check_answers,
    collate,
    figures,
    packed,
    returned,
)
from limbeck.tasks.likelihood import LIKELIHOODS
from limbeck.training.scoring import masked, score_split

contract = pytest.mark.parametrize("name", registry.names("tasks"))


def kept(task: Task, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What `Scored` holds of logits."""
    return task.reduce(logits, labels) if isinstance(task, OverVocabulary) else logits


@contract
def test_what_is_asked_of_somebody_else_s_task_every_task_of_ours_answers(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    encoded = task.encode(rows)
    returned.check_encoded(task, encoded, packed.flat_labels(encoded))
    scored = drawn_answers(task, encoded)
    check_answers(task, rows, scored)
    (value,) = figures(task, scored, np.ones((1, len(encoded))))[task.metric]
    assert np.isfinite(value)
    returned.check_labels(task, type(task).find_labels(rows))
    assert all(returned.stratum_of(task, row) == task.stratum(row) for row in rows)


class Reader(nn.Module):
    """A tiny model in which every token sees every other that the attention mask lets it see."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(len(VOCABULARY) + 1, 8), nn.Linear(8, labels)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.table(input_ids)
        scores = (x @ x.transpose(1, 2)).masked_fill(attention_mask[:, None] == 0, -1e9)
        return self.head(x + scores.softmax(-1) @ x)


class Looker(nn.Module):
    def __init__(self, labels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(30, labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(pixel_values.flatten(1))


class Judge(Reader):
    """A `Reader` that answers once a text, from its first token."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids, attention_mask)[:, 0]


class Encoder(Reader):
    """Gives what an encoder of `transformers` does."""

    config = None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=super().forward(input_ids, attention_mask))


def model_for(task: Task) -> nn.Module:
    if has_vectors(task):
        return Embedder(Encoder(4)).eval()
    if "pixel_values" in task.input_names:
        return Looker(len(task.labels)).eval()
    (encoded,) = task.encode([task.row("Ada lives")])
    # A task whose units have positions reads an answer at each.
    kind = Judge if encoded.positions is None else Reader
    return kind(len(task.labels)).eval()


@contract
def test_padding_changes_nothing(name: str) -> None:
    """Rows scored one by one, and all padded to one batch of the longest."""
    task, rows, _ = EXAMPLES[name]
    encoded, model = task.encode(rows), model_for(task)
    alone = score_split(model, encoded, task, one_by_one=True)
    together = collate(encoded, np.arange(len(rows)), task.padding)
    with torch.inference_mode():
        outputs = run_model(model, to_torch(together))
    for index, row in enumerate(encoded):
        values = masked(outputs.logits[index].numpy(), together.mask[index])[: len(row.labels)]
        np.testing.assert_allclose(
            kept(task, values, row.labels),
            alone.logits[alone.offsets[index] : alone.offsets[index + 1]],
            atol=1e-5,
        )
        assert not together.mask[index, len(row.labels) :].any()
        assert (together.labels[index, len(row.labels) :] == UNKNOWN).all()
    batched = score_split(model, encoded, task)
    np.testing.assert_allclose(batched.logits, alone.logits, atol=1e-5)
    np.testing.assert_array_equal(batched.labels, alone.labels)  # where NaN is NaN
    assert quality(batched, task) == pytest.approx(quality(alone, task), rel=1e-4)


@contract
def test_a_padded_row_has_the_hidden_maps_that_it_has_alone(name: str) -> None:
    """What feature losses compare must not see the padding."""
    task, rows, _ = EXAMPLES[name]
    encoded, model = task.encode(rows), model_for(task)
    if "input_ids" not in task.input_names:
        return

    table = next(name for name, _ in model.named_modules() if name.endswith("table"))

    def hidden(chosen: list[int]) -> torch.Tensor:
        batch = to_torch(collate([encoded[i] for i in chosen], np.array(chosen), task.padding))
        with torch.inference_mode():
            return run_model(model, batch, hidden_of([table])).hidden[table]

    together = hidden([0, 1, 2, 3])
    for index, row in enumerate(encoded):
        torch.testing.assert_close(together[index, : len(row.labels)], hidden([index])[0])


@contract
def test_the_order_of_rows_changes_no_metric(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    model = model_for(task)
    forwards, backwards = (
        score_split(model, task.encode(each), task) for each in (rows, rows[::-1])
    )
    assert quality(forwards, task) == pytest.approx(quality(backwards, task), rel=1e-6)


@contract
def test_metrics_are_functions_of_sums_over_rows(name: str) -> None:
    """One matrix of totals gives a vector of each metric: what a bootstrap needs."""
    task, rows, _ = EXAMPLES[name]
    statistics = task.statistics(score_split(model_for(task), task.encode(rows), task))
    assert len(statistics) == len(rows)
    weights = np.random.default_rng(0).integers(0, 4, (6, len(rows))).astype(float)
    together = task.metrics(weights @ statistics)
    for draw in range(6):
        single = task.metrics(weights[draw] @ statistics)
        for metric, values in together.items():
            assert values.shape == (6,)
            assert values[draw] == pytest.approx(float(single[metric]), nan_ok=True)


@contract
def test_no_rows_at_all_leave_figures_undefined_without_a_warning(name: str) -> None:
    task, rows, _ = EXAMPLES[name]
    scored = score_split(model_for(task), task.encode(rows), task)
    statistics = task.statistics(scored)
    alone = task.metrics(0 * statistics.sum(0))
    together = figures(task, scored, np.zeros((1, len(statistics))))
    for found in (alone, together):
        values = {float(np.asarray(value).item()) for value in found.values()}
        assert all(math.isnan(value) or value == 0 for value in values)


@contract
def test_the_class_tells_what_its_input_and_head_do(name: str) -> None:
    """What a recipe is checked by needs no labels and no tokenizer."""
    task, _, _ = EXAMPLES[name]
    kind = registry.load("tasks", name)
    assert kind.likelihood in LIKELIHOODS
    assert kind.metric in kind.metric_names
    assert task.details(
        score_split(model_for(task), task.encode(EXAMPLES[name][1]), task)
    ).keys() <= {
        "per_label",
        "confusion",
    }


def test_a_task_of_another_input_and_head_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps every contract of this file, too."""
    name = offer_multi_label_images(tmp_path, monkeypatch)
    test_padding_changes_nothing(name)
    test_the_order_of_rows_changes_no_metric(name)
    test_metrics_are_functions_of_sums_over_rows(name)
    test_no_rows_at_all_leave_figures_undefined_without_a_warning(name)
    test_the_class_tells_what_its_input_and_head_do(name)


def test_words_beyond_the_maximum_length_are_masked_and_count_as_o() -> None:
    rows = [sentence("a b c a b c a b c a New York", "O O O O O O O O O O B-LOC I-LOC")]
    encoded = TEXT.encode(rows)
    assert len(encoded[0].inputs["input_ids"]) == MAX_TOKENS
    assert encoded[0].positions.tolist() == [*range(1, MAX_TOKENS - 1), -1, -1]

    class Always(nn.Module):
        """Says B-LOC everywhere, the separator included."""

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0]).expand(*input_ids.shape, 5)

    scored = score_split(Always(), encoded, TEXT)
    assert [TAGS[i] for i in TEXT.decisions(scored)] == ["B-LOC"] * 10 + ["O"] * 2
    assert scored.labels.tolist()[-2:] == [1, 2]
    figures = quality(scored, TEXT)
    assert figures["recall"] == 0
    assert figures["token_micro_average"] == 0
