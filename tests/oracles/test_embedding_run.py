"""Sentence embeddings in training: the pooling by hand, the loss of a worked example, and texts of a row that do not see each other."""

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from encoders import save_encoder
from references import check_reference_of_run
from test_task_masked_lm import tokenizer_text
from torch import nn

import limbeck
from limbeck.losses.cosine_error import CosineError
from limbeck.models.folders import load_model, save_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.embedder import Embedder
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs, hidden_of
from limbeck.models.torch_batches import to_torch
from limbeck.recipe.reading import parse
from limbeck.surgeries import Evidence
from limbeck.surgeries.prune_width import PruneWidth
from limbeck.surgeries.same import Same
from limbeck.tasks import Batch, collate
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_classification import TextClassification

TASK = SentenceEmbedding(["0 to 5"], tokenizer_text())


class Table(nn.Module):
    """An encoder whose last hidden state is a row of a table for each token."""

    config = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(500, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


def test_a_vector_is_the_mean_over_tokens_at_length_1() -> None:
    encoder = Table()
    rows = TASK.encode([{"text": "w1 w2 w3", "text_b": "w4", "label": "2.5"}, {"text": "w5 w6"}])
    batch = to_torch(collate(rows, np.arange(2), TASK.padding))
    assert batch.inputs["input_ids"].shape == (2, 2, 5)
    assert batch.mask.tolist() == [[True, True], [True, False]]
    found = run_model(Embedder(encoder), batch, hidden_of(["encoder.table"]))
    for row, unit, text in ((0, 0, "w1 w2 w3"), (0, 1, "w4"), (1, 0, "w5 w6")):
        mean = encoder.table.weight[TASK.input.tokenizer.encode(text).ids].mean(0)
        torch.testing.assert_close(found.logits[row, unit], mean / mean.norm())
        torch.testing.assert_close(found.hidden["encoder.table"][row, unit], mean)
    assert torch.isfinite(found.logits).all()


@pytest.mark.parametrize(
    "surgery",
    [Same(), PruneWidth(heads=1, intermediate=8, importance="magnitude")],
    ids=["whole", "cut"],
)
def test_a_folder_keeps_the_encoder_and_a_classifier_opens_it(surgery: Any, tmp_path: Path) -> None:
    """And the other way round, where its structure is not what its config says."""
    words = ["sun", "rain"]
    folder = save_encoder(tmp_path / "encoder", words, vocabulary=40, width=16, layers=2)
    text = preprocess(folder, SentenceEmbedding, [], 32)
    embedding, classes = SentenceEmbedding(["0 to 1"], text), TextClassification(["a", "b"], text)
    for number, (first, second) in enumerate(((embedding, classes), (classes, embedding))):
        made = surgery.cut(from_transformers(folder, Asked(first)), Evidence(first, [])).student
        place = tmp_path / str(number)
        place.mkdir()
        save_model(made, place, network=None, preprocess_file="tokenizer.json", text=text)
        for task in (first, second):
            found = load_model(place, task)
            layers = [
                next(m for m in model.modules() if isinstance(m, nn.ModuleList))
                for model in (made, found)
            ]
            for own, theirs in zip(*(list(each.parameters()) for each in layers), strict=True):
                assert torch.equal(own, theirs)


def test_the_loss_of_a_worked_example() -> None:
    """Cosines 0 and .6 of two pairs with scores .5 and unknown, then 1; the fifth unit has no partner."""
    logits = torch.tensor([[[1.0, 0], [0, 2], [3, 0], [0.3, 0.4], [9, 9]]] * 2, dtype=torch.float64)
    labels = torch.tensor([[0.5, 7, math.nan, 7, 7], [math.nan, 7, 1, 7, 7]], dtype=torch.float64)
    outputs = Outputs(logits, torch.ones(2, 5, dtype=torch.bool))
    found = CosineError()(
        outputs, outputs, Batch({}, None, labels, outputs.mask, np.arange(2)), 0.5
    )
    torch.testing.assert_close(found, torch.tensor((0.25 + 0.16) / 2, dtype=torch.float64))


WORDS = ["sun", "rain", "wind", "snow", "fog", "hail"]


def write_pairs(folder: Path) -> None:
    """train and test of pairs with the share of words that they have in common."""
    folder.mkdir()
    chance = random.Random(0)
    for name, count in (("train", 200), ("test", 60)):
        with open(folder / f"{name}.jsonl", "w") as file:
            for _ in range(count):
                one, two = (chance.sample(WORDS, 2) for _ in range(2))
                file.write(
                    json.dumps(
                        {
                            "text": " ".join(one),
                            "text_b": " ".join(two),
                            "label": len(set(one) & set(two)) / 2,
                        }
                    )
                    + "\n"
                )
    (folder / "unlabelled.jsonl").write_text('{"text": "sun", "text_b": "sun rain"}\n')


@pytest.mark.slow
@pytest.mark.usefixtures("untimed")
def test_vectors_are_learned_and_proven_by_a_narrower_student(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs")
    teacher = save_encoder(tmp_path / "teacher", WORDS, vocabulary=60, width=32, layers=2)
    student = save_encoder(tmp_path / "student", WORDS, vocabulary=60, width=16, layers=1)
    text = f"""
task: sentence-embedding
data: {{source: jsonl, path: {tmp_path / "pairs"}, text_b: text_b}}
teacher: {{model: {teacher}, epochs: 10}}
student: {{model: {student}}}
train: {{epochs: 10, learning_rate: 2.0e-3, batch_tokens: 256, threads: 1, dtype: float32}}
distill: {{losses: {{hidden: {{map: {{embedding: embedding}}}}}}}}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5}}
verdict: {{arms: [joint], max_drop: 0.2}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    del report["arms"]["baseline"]  # the linear model, which need not learn this
    assert min(row["mean"]["spearman"] for row in report["arms"].values()) > 0.8
    (parity,) = report["parity"]
    assert (parity["holds"], parity["units"]) == (True, 60)
    predictor = limbeck.load(tmp_path / "run" / "artifact")
    one, two = (np.array(predictor.predict(each)["embedding"]) for each in ("sun rain", "rain sun"))
    assert len(one) == 16
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    both = predictor.predict(("sun rain", "rain sun"))
    assert both["similarity"] == pytest.approx(one @ two, abs=0.02)
    assert both["similarity"] > predictor.predict(("sun rain", "wind snow"))["similarity"]
    assert check_reference_of_run(text, tmp_path / "run" / "artifact") == ["length"]
