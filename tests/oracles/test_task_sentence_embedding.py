"""Sentence embeddings: what single texts among pairs count."""

import math

import numpy as np
import pytest
from test_task_masked_lm import tokenizer_text

from limbeck.tasks import Scored
from limbeck.tasks.sentence_embedding import SentenceEmbedding

TASK = SentenceEmbedding(["0 to 5"], tokenizer_text())


def test_single_texts_among_pairs_count_nowhere() -> None:
    vectors = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0], [0.6, 0.8]])
    labels = np.array([0.2, math.nan, math.nan, 0.9, math.nan])
    scored = Scored(vectors, labels, np.array([0, 2, 3, 5]))
    assert TASK.statistics(scored)[:, 0].tolist() == [1, 0, 1]
    assert TASK.statistics(scored)[:, 1].tolist() == [0, 0, pytest.approx(0.6)]
    assert TASK.decode({}, vectors[:1]) == {"embedding": [1, 0]}
    assert TASK.decode({}, vectors[3:]) == {"similarity": 0.6, "embeddings": [[1, 0], [0.6, 0.8]]}
