"""One tag for each word. Metric: entity F1 by exact span and type over IOB2 tags (Tjong Kim Sang and De Meulder, 2003).

A word's tag is read at its first token; a word that the maximum length cut off counts as tagged O. Two tokenizers agree on words, so a teacher and a
student with different ones are compared word by word. The token micro average (the share of right words, O included) stands beside the F1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import UNKNOWN, Encoded, Scored, _tokens, softmax
from limbeck.tasks.metrics import precision_recall_f1, ratio, spans

WORD = re.compile(r"\w+(?:[-'./,:]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TokenClassification:
    """`labels` in order of the logits, O first; `preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall", "token_micro_average")
    hard_loss: ClassVar[str] = "cross_entropy"
    auto_model: ClassVar[str] = "AutoModelForTokenClassification"
    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    row_keys: ClassVar[tuple[str, ...]] = ("words", "tags")
    likelihood: ClassVar[str] = "categorical"

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]:
        """Every tag: O first, then by type, B- before I-."""
        found = {tag for row in rows for tag in row["tags"] if tag is not None} | {"O"}
        return sorted(found, key=lambda tag: (tag != "O", tag[2:], tag))

    @staticmethod
    def stratum(row: Row) -> str:
        """The types of entity that a sentence holds."""
        return " ".join(sorted({tag[2:] for tag in row["tags"] if tag not in (None, "O")}))

    @staticmethod
    def content(row: Row) -> Any:
        return tuple(row["words"])

    @cached_property
    def tokenizer(self) -> Any:
        return _tokens.open_tokenizer(self.preprocess)

    @cached_property
    def padding(self) -> dict[str, int]:
        return _tokens.padding(self.preprocess)

    @cached_property
    def index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        encodings = self.tokenizer.encode_batch(
            [row["words"] for row in rows], is_pretokenized=True
        )
        return [self._encoded(row, encoding) for row, encoding in zip(rows, encodings, strict=True)]

    def _encoded(self, row: Row, encoding: Any) -> Encoded:
        num_words = len(row["words"])
        positions = np.full(num_words, -1, np.int64)
        for position, word in reversed(list(enumerate(encoding.word_ids))):
            if word is not None:
                positions[word] = position
        labels = np.array(
            [self.index.get(tag, UNKNOWN) for tag in row.get("tags") or [None] * num_words],
            np.int64,
        )
        return Encoded(_tokens.inputs(encoding), positions, labels)

    def row(self, raw: Any) -> Row:
        """A row from a text, or from a list of words. Raises ValueError for a text without a word."""
        if isinstance(raw, str):
            found = list(WORD.finditer(raw))
            row = {
                "words": [match.group() for match in found],
                "text": raw,
                "spans": [match.span() for match in found],
            }
        elif isinstance(raw, list | tuple):
            row = {"words": [str(word) for word in raw]}
        else:
            raise ValueError(f"a text or a list of words is needed, not {type(raw).__name__}")
        if not row["words"]:
            raise ValueError("a text without a single word has nothing to tag")
        return row

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]:
        """(W, V) logits to tags and entities; an entity's probability is the mean over its words, its offsets are characters of the text."""
        probabilities = softmax(logits.astype(np.float64))
        best = probabilities.argmax(1)
        tags = [self.labels[i] for i in best]
        confidence = probabilities[np.arange(len(best)), best]
        entities = []
        for kind, first, past in spans(tags):
            entity = {
                "type": kind,
                "words": row["words"][first:past],
                "probability": round(float(confidence[first:past].mean()), 6),
            }
            if "spans" in row:
                start, end = row["spans"][first][0], row["spans"][past - 1][1]
                entity |= {"start": start, "end": end, "text": row["text"][start:end]}
            entities.append(entity)
        return {
            "entities": entities,
            "words": row["words"],
            "tags": tags,
            "probabilities": confidence.round(6).tolist(),
        }

    def statistics(self, scored: Scored) -> np.ndarray:
        """(N, 5): entities hit, predicted, true, words right, words, sentence by sentence; their sums give every metric."""
        rows = []
        for start, end in zip(scored.offsets[:-1], scored.offsets[1:], strict=True):
            decided, true = scored.decisions[start:end], scored.labels[start:end]
            found = set(spans([self.labels[i] for i in decided]))
            wanted = set(spans([self.labels[i] for i in true]))
            rows.append(
                [len(found & wanted), len(found), len(wanted), (decided == true).sum(), end - start]
            )
        return np.array(rows, float)

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """Totals (..., 5) to entity F1, precision, recall and the token micro average, each in [0, 1]."""
        hits, predicted, true, right, words = np.moveaxis(totals, -1, 0)
        precision, recall, f1 = precision_recall_f1(hits, predicted, true)
        return {
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "token_micro_average": ratio(right, words),
        }

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
        """No metric of this task is read from the order of scores."""
        return {}
