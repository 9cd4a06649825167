"""What the tasks of vectors share: a row is one text or a pair, and its units are its texts, each encoded by itself: inputs (W, T), logits (W, D) its
vectors. So a pair stays together in a batch, which its loss needs, while distillation, the cache and the artifact go by single texts. The label of a
pair is that of its first unit.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored, _tokens, pad


def encode(
    tokenizer: Any, padding: dict[str, int], rows: Sequence[Row], labels: Sequence[np.ndarray]
) -> list[Encoded]:
    """Rows with the labels of their units; the texts of a row are padded to the longest."""
    texts = [[row[key] for key in ("text", "text_b") if key in row] for row in rows]
    encodings = map(
        _tokens.inputs, tokenizer.encode_batch([text for each in texts for text in each])
    )
    return [
        Encoded(together([next(encodings) for _ in each], padding), None, label)
        for each, label in zip(texts, labels, strict=True)
    ]


def together(
    texts: Sequence[dict[str, np.ndarray]], padding: dict[str, int]
) -> dict[str, np.ndarray]:
    """(W, T) inputs from those of each text."""
    return {name: pad([text[name] for text in texts], padding.get(name, 0)) for name in texts[0]}


def targets(row: Row, label: np.number, unknown: np.number) -> np.ndarray:
    """(W) the labels of a row's units: `label` at the first of a pair."""
    return np.array([label, unknown] if "text_b" in row else [unknown])


def decode(logits: np.ndarray) -> dict[str, Any]:
    """(1, D) to the vector; (2, D) to both and their cosine."""
    vectors = logits.astype(np.float64).round(6).tolist()
    return (
        {"embedding": vectors[0]}
        if len(vectors) == 1
        else {"similarity": round(float(logits[0] @ logits[1]), 6), "embeddings": vectors}
    )


def first_units(scored: Scored) -> np.ndarray:
    """The place of the first unit of each pair."""
    return scored.offsets[:-1][np.diff(scored.offsets) == 2]


def cosines(scored: Scored) -> np.ndarray:
    """(P) the cosine of each pair at its first unit, NaN elsewhere."""
    found, first = np.full(len(scored.labels), math.nan), first_units(scored)
    found[first] = (scored.logits[first].astype(np.float64) * scored.logits[first + 1]).sum(1)
    return found
