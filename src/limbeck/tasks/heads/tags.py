"""One tag for each word, by IOB2: B-TYPE begins an entity, I-TYPE goes on with it, O is outside; or
any other, such as a part of speech, which is an entity of one word.

    precision, recall, F1   of entities: one counts when its words and its type are exactly right
                            (Tjong Kim Sang and De Meulder, 2003, CoNLL-2003 shared task)
    token_micro_average     the share of right words, O included

A word that the model does not read (no token, or cut off) has the logits 0, which decide for O. A
word whose tag is unknown counts nowhere: it is O on both sides.

Shapes: W words of a sentence, P words of the split, N sentences, V tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.sources._cells.tags import type_of
from limbeck.tasks import Scored
from limbeck.tasks.likelihood import LIKELIHOODS, UNKNOWN, is_known, softmax
from limbeck.tasks.metrics import defined, label_report, precision_recall_f1, spans
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# The tag of a word that is part of no entity.
OUTSIDE = "O"


@dataclass(frozen=True)
class Tags:
    """A row has a tag, or None, for each of its `words` in `tags`."""

    labels: Sequence[str]

    metric: ClassVar[str] = "f1"
    metric_names: ClassVar[Names] = ("f1", "precision", "recall", "token_micro_average")
    hard_loss: ClassVar[str] = "cross_entropy"
    likelihood: ClassVar[str] = "categorical"
    row_keys: ClassVar[Names] = ("tags",)

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """Every tag: O first, then by type, B- before I-."""
        # O is there even where no word has it, and first: a word that is not read has logits of 0,
        # of which the first counts as the largest.
        tags = {OUTSIDE}
        for row in rows:
            tags.update(row["tags"])
        tags.discard(None)
        return sorted(tags, key=sort_key)

    @staticmethod
    def stratum(row: Row) -> str:
        """Sentences that hold the same types of entity."""
        # By type, not by number: sentences of the same counts would be too few to share out.
        tags = set(row["tags"]) - {None, OUTSIDE}
        types = {type_of(tag) for tag in tags}
        return " ".join(sorted(types))

    @cached_property
    def index(self) -> dict[str | None, int]:
        return {tag: i for i, tag in enumerate(self.labels)}

    def targets(self, row: Row) -> Array:
        """(W) the index of each word's tag, UNKNOWN where it has none."""
        # A user's row has words alone, and each still is a unit.
        tags = row.get("tags") or [None] * len(row["words"])
        indices = [self.index.get(tag, UNKNOWN) for tag in tags]
        return np.array(indices, np.int64)

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        """(W, V) logits to tags and entities.

        An entity's probability is the mean over its words; `start` and `end` are characters of the
        text, where the row is made from one.
        """
        probabilities = softmax(logits.astype(np.float64))
        best = probabilities.argmax(1)
        # Of a word, how sure its own tag is.
        confidence = probabilities.max(1)
        tags = [self.labels[i] for i in best]
        entities = [entity(row, span, confidence) for span in spans(tags)]
        return {
            "entities": entities,
            "words": row["words"],
            "tags": tags,
            "probabilities": confidence.round(6).tolist(),
        }

    def decisions(self, scored: Scored) -> Array:
        """(P) the index of the most probable tag, or what was decided otherwise."""
        if scored.decided is not None:
            return scored.decided
        return LIKELIHOODS[self.likelihood].decide(scored.logits)

    def statistics(self, scored: Scored) -> Array:
        """(N, 5): entities right, predicted and true, words right, words with a tag."""
        known = is_known(scored.labels)
        # Index 0 is O: an unknown word takes no part in an entity.
        decided = np.where(known, self.decisions(scored), 0)
        true = np.where(known, scored.labels, 0)
        is_right = (decided == true) & known
        rows = []
        # Sentence by sentence: an entity never crosses into the next.
        for start, end in pairwise(scored.offsets):
            predicted_spans = self.spans_of(decided[start:end])
            true_spans = self.spans_of(true[start:end])
            # Right is a span that is the same in type, first and last word.
            hits = predicted_spans & true_spans
            num_right = is_right[start:end].sum()
            num_words = known[start:end].sum()
            entities = [len(hits), len(predicted_spans), len(true_spans)]
            rows.append([*entities, num_right, num_words])
        return np.array(rows, np.float64)

    def spans_of(self, indices: Array) -> set[tuple[str, int, int]]:
        """The entities in a sentence of tags, each given by its index."""
        tags = [self.labels[i] for i in indices]
        return set(spans(tags))

    def metrics(self, totals: Array) -> Figures:
        """Totals (..., 5) to the four metrics, each in [0, 1]."""
        hits, predicted, true, right, words = np.moveaxis(totals, -1, 0)
        precision, recall, f1 = precision_recall_f1(hits, predicted, true)
        return {
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "token_micro_average": defined(right, words),
        }

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """None: every metric is a function of sums over sentences."""
        return {}

    def details(self, scored: Scored) -> Answer:
        """The report by tag, and the confusions, both of words."""
        return label_report(scored.labels, self.decisions(scored), self.labels)


def entity(
    row: Row,
    span: tuple[str, int, int],
    confidence: Array,
) -> Answer:
    """One entity of an answer; `span`: its type, its first word and the one past its last."""
    kind, first, past = span
    probability = float(confidence[first:past].mean())
    answer = {
        "type": kind,
        "words": row["words"][first:past],
        "probability": round(probability, 6),
    }
    # A row that was given as words has no text to point into.
    if "spans" in row:
        start, _ = row["spans"][first]
        _, end = row["spans"][past - 1]
        # From the text, because there the words have their own spaces between them.
        answer["start"] = start
        answer["end"] = end
        answer["text"] = row["text"][start:end]
    return answer


def sort_key(tag: str) -> tuple[bool, str, str]:
    """O, then by type, then B- before I-."""
    return tag != OUTSIDE, type_of(tag), tag
