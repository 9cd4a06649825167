"""Ranking in training: its loss by slow float64 code, and a search that is learned and proven."""

import hashlib
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import save_encoder
from test_task_masked_lm import tokenizer_text

import limbeck
from limbeck.analysis.changed_answers import spelled
from limbeck.cli import main
from limbeck.losses.in_batch_softmax import InBatchSoftmax
from limbeck.models.taps import Outputs
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse
from limbeck.tasks import UNKNOWN, Batch
from limbeck.tasks.heads.item_of_query import item_number
from limbeck.tasks.ranking import Ranking

TASK = Ranking([], tokenizer_text())


def test_one_label_is_one_number_and_an_unlabelled_pair_has_none() -> None:
    rows = [{"text": "w1", "text_b": "w2", "label": label} for label in ("x", "y", "x", None)] + [
        {"text": "w1", "label": None}
    ]
    labels = [row.labels.tolist() for row in TASK.encode(rows)]
    assert labels[0] == labels[2] != labels[1]
    assert labels[0] == [
        int.from_bytes(hashlib.blake2b(b"x", digest_size=8).digest(), "big") // 2,
        UNKNOWN,
    ]
    assert (spelled(TASK, item_number("x")), spelled(TASK, np.float64(0.25))) == ("-", "25.0 %")
    assert labels[3:] == [[UNKNOWN, UNKNOWN], [UNKNOWN]]


def slow_loss(
    queries: list[list[float]], items: list[list[float]], labels: list[int], temperature: float
) -> float:
    """Both directions of InfoNCE, pair by pair, without negatives that are the pair's own item."""

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
            sum(x * x for x in a) * sum(y * y for y in b)
        )

    total, count = 0.0, len(queries)
    for i in range(count):
        others = [j for j in range(count) if j == i or labels[j] != labels[i]]
        own = math.exp(cosine(queries[i], items[i]) / temperature)
        total -= (
            math.log(
                own / sum(math.exp(cosine(queries[i], items[j]) / temperature) for j in others)
            )
            / 2
        )
        total -= (
            math.log(
                own / sum(math.exp(cosine(queries[j], items[i]) / temperature) for j in others)
            )
            / 2
        )
    return total / count


def test_the_loss_is_that_of_a_slow_loop() -> None:
    """Pairs 1 and 4 have one item; pair 2 is unlabelled, and of row 5 the item is cut off."""
    logits = torch.tensor(np.random.default_rng(0).normal(size=(6, 2, 4)))
    mask = torch.ones(6, 2, dtype=torch.bool)
    mask[5, 1] = False
    labels = torch.tensor(
        [[7, UNKNOWN], [3, UNKNOWN], [UNKNOWN, UNKNOWN], [5, UNKNOWN], [3, UNKNOWN], [9, UNKNOWN]]
    )
    outputs, counted = Outputs(logits, mask), [0, 1, 3, 4]
    values = logits[counted].tolist()
    for temperature in (0.05, 0.5):
        found = InBatchSoftmax(temperature)(
            outputs, outputs, Batch({}, None, labels, mask, np.arange(6)), 0.5
        )
        wanted = slow_loss(
            [q for q, _ in values], [t for _, t in values], labels[counted, 0].tolist(), temperature
        )
        assert found.item() == pytest.approx(wanted, rel=1e-10)
    everything_apart = slow_loss([q for q, _ in values], [t for _, t in values], [0, 1, 2, 3], 0.5)
    assert everything_apart > wanted + 0.01  # so that the mask of equal items shows


ITEMS = {
    "sun": "hot",
    "rain": "wet",
    "snow": "cold",
    "wind": "fast",
    "fog": "dim",
    "hail": "hard",
    "moon": "pale",
    "star": "far",
}


def write_search(folder: Path) -> None:
    """train and test of queries, two words of weather, and the item that says how they are."""
    folder.mkdir()
    chance = random.Random(0)
    for name, count in (("train", 240), ("test", 56)):
        with open(folder / f"{name}.jsonl", "w") as file:
            for _ in range(count):
                one, two = sorted(chance.sample(list(ITEMS), 2))
                item = f"{ITEMS[one]} {ITEMS[two]}"
                file.write(
                    json.dumps({"query": " ".join(chance.sample([one, two], 2)), "item": item})
                    + "\n"
                )


WITHIN = "similarity: {map: {embedding: embedding}, weight: 0.1}, relational: {map: {embedding: embedding}, weight: 0.1}"


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize(
    "distill",
    [
        pytest.param(
            "{losses: {hidden: {map: {embedding: embedding}}}}",
            id="vectors",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"{{task_weight: 0, losses: {{{WITHIN}, in_batch_softmax: {{temperature: 0.1}}}}}}",
            id="within the batch, at another temperature",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_search_is_learned_and_proven_by_a_narrower_student(
    distill: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path / "search")
    words = [*ITEMS, *ITEMS.values()]
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=60, width=32, layers=2)
    student = save_encoder(tmp_path / "student", words, vocabulary=60, width=16, layers=1)
    text = f"""
task: ranking
data: {{source: jsonl, path: {tmp_path / "search"}, text: query, text_b: item, label: item}}
teacher: {{model: {teacher}, epochs: 10}}
student: {{model: {student}}}
train: {{epochs: 10, learning_rate: 4.0e-3, batch_tokens: 256, threads: 1, dtype: float32}}
distill: {distill}
quantize: {{when: train, range: lsq, error_weight: 1.0e-4, start: 0.5}}
verdict: {{arms: [joint], max_drop: 0.2}}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    del report["arms"]["baseline"]  # the linear model, which need not learn this
    assert min(row["mean"]["mrr"] for row in report["arms"].values()) > 0.7
    (parity,) = report["parity"]
    assert (parity["holds"], parity["units"]) == (True, 56)
    (tmp_path / "asked.jsonl").write_text(
        '{"text": "sun rain", "text_b": "wet hot"}\n{"text": "sun rain", "text_b": "far cold"}\n"sun rain"\n'
    )
    assert (
        main.exit_status(
            ["predict", str(tmp_path / "run" / "artifact"), str(tmp_path / "asked.jsonl")]
        )
        == 0
    )
    near, far, alone = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert near["similarity"] > far["similarity"]
    assert len(alone["embedding"]) == 16
    np.testing.assert_allclose(alone["embedding"], near["embeddings"][0], atol=0.02)


def test_a_loss_on_probabilities_is_refused() -> None:
    text = """
task: ranking
data: {source: csv, path: nowhere}
teacher: {model: teacher}
student: {from: teacher, surgery: same}
distill: {losses: {kl: {}}}
"""
    with pytest.raises(
        ValueError,
        match="`kl` compares distributions over labels, and the logits of `ranking` are none",
    ):
        compatibility.check_components(parse(text))
