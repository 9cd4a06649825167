"""What is predicted: rows to inputs, logits to answers and figures. Torch-free, so that training and the artifact's runtime share every line.

A row holds W units, each of which gets one label: the words of a sentence, the one text, or the one image. Shapes: B rows, T tokens, W units,
V labels. What a unit's logits (V) say is the task's `likelihood` (`limbeck.models.likelihood`): "categorical", one label of V, labels (W) int64;
"bernoulli", each label by itself, labels (W, V) of 0 and 1, float32; "gaussian", a score, labels (W) float32 in shares of its range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from limbeck.sources import Row

UNKNOWN = -100  # the label of a unit without one; a score that is unknown is NaN
# Scores, in shares of the range of labels, that differ by more are two decisions. A value on the edge of two levels falls either way in a runtime,
# and a score, unlike a label, shows it: of 1,500 pairs of STS-B half differed by 6e-8, 1 % by more than 0.004, one by 0.013.
TOLERANCE = 0.02
SOFT_LOSSES = {
    "bernoulli": ("bernoulli_kl", "logit_mse"),
    "gaussian": ("logit_mse",),
}  # on logits that are no softmax's
RESAMPLES_AT_ONCE = 200  # ranked metrics hold a few copies of the weights


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it: `inputs` without a batch axis; `positions` (W) the token of each unit, -1 where it was cut off, or None
    where the model's output is the unit (where a row has several, its inputs are (W, T)); `labels` (W) or (W, V)."""

    inputs: dict[str, np.ndarray]
    positions: np.ndarray | None
    labels: np.ndarray

    @property
    def has_tokens(self) -> bool:
        """Whether the row is read token by token: a text, not an image."""
        return "input_ids" in self.inputs

    @property
    def size(self) -> int:
        """What the row costs a batch: tokens, or 1 for an image."""
        return self.inputs["input_ids"].size if self.has_tokens else 1


@dataclass(frozen=True)
class Batch:
    """Rows together: `inputs` (B, ...), `positions` (B, W) or None, `labels` (B, W) or (B, W, V), `mask` (B, W; True counts), `rows` (B) their
    indices.

    `mixed`: where each row is a mixture of two, the labels (B, W) of its lesser part, and the share of the part that `labels` belongs to. `view`: the
    number of the augmented view that its images show.
    """

    inputs: dict[str, Any]
    positions: Any
    labels: Any
    mask: Any
    rows: np.ndarray
    mixed: tuple[Any, float] | None = None
    view: int = 0


@dataclass(frozen=True)
class Scored:
    """A split's outputs, unit after unit: `logits` (P, V), or what a `SelfSupervised` task keeps of them, `labels` (P) or (P, V), `offsets` (N + 1):
    row i owns units offsets[i] to offsets[i + 1]."""

    logits: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray

    @property
    def decisions(self) -> np.ndarray:
        """(P) the label of the largest logit."""
        return self.logits.argmax(1)


class Task(Protocol):
    """One file, one task. `labels` in order; `preprocess` is the text of the artifact's `preprocess_file`; `row_keys` what a row must hold;
    `content(row)` what makes two rows the same input."""

    labels: Sequence[str]
    preprocess: str

    metric: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    hard_loss: ClassVar[str]
    auto_model: ClassVar[str]
    preprocess_file: ClassVar[str]
    input_names: ClassVar[tuple[str, ...]]
    row_keys: ClassVar[tuple[str, ...]]
    likelihood: ClassVar[str]
    padding: dict[str, int]

    @staticmethod
    def find_labels(rows: Sequence[Row]) -> list[str]: ...

    @staticmethod
    def stratum(row: Row) -> str: ...

    @staticmethod
    def content(row: Row) -> Any: ...

    def encode(self, rows: Sequence[Row]) -> Sequence[Encoded]: ...

    def row(self, raw: Any) -> Row: ...

    def decode(self, row: Row, logits: np.ndarray) -> dict[str, Any]: ...

    def statistics(self, scored: Scored) -> np.ndarray: ...

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]: ...

    def ranked(self, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]: ...


def figures(task: Task, scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
    """(R) every metric of the task on a split whose rows count as each row of `weights` (R, N) says.

    A metric is a function of sums over rows (`statistics`, then `metrics`), or of the order of the scores (`ranked`).
    """
    parts = [
        task.ranked(scored, part)
        for part in np.array_split(weights, -(-len(weights) // RESAMPLES_AT_ONCE))
    ]
    return task.metrics(weights @ task.statistics(scored)) | {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }


@runtime_checkable
class SelfSupervised(Protocol):
    """What a task adds that makes its labels from the inputs: rows bring none, and its labels are the tokenizer's vocabulary.

    `draw` makes them anew for a training step. `reduce` leaves of a row's logits (W, V) what `statistics` needs, (W, K): that is what
    `Scored` holds. Such a task may pack several rows of the data into one `Encoded`, or cut one into several.
    """

    def draw(self, batch: Batch, generator: np.random.Generator) -> Batch: ...

    def reduce(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class Scoring(Protocol):
    """What a task adds whose labels are numbers: `labels` holds one word for the range of them, and `scores` (P) are in shares of it."""

    def scores(self, scored: Scored) -> np.ndarray: ...


def is_known(labels: np.ndarray) -> np.ndarray:
    """Whether each label, of any shape, is known."""
    return ~np.isnan(labels) & (labels != UNKNOWN)


def decisions(task: Task, scored: Scored) -> np.ndarray:
    """(P) the most probable label of each unit or its score, or (P, V) whether each label by itself is more probable than not."""
    if isinstance(task, Scoring):
        return task.scores(scored)
    return scored.logits > 0 if task.likelihood == "bernoulli" else scored.decisions


def differs(task: Task, scored: Scored, other: Scored) -> np.ndarray:
    """Of the shape of the labels: where one is known, whether two models decide otherwise, a score by more than TOLERANCE."""
    own, theirs = decisions(task, scored), decisions(task, other)
    found = abs(own - theirs) > TOLERANCE if isinstance(task, Scoring) else own != theirs
    return found & is_known(scored.labels)


def collate(encoded: Sequence[Encoded], rows: np.ndarray, padding: dict[str, int]) -> Batch:
    """Pad rows to one batch; a padded unit has mask False and the label UNKNOWN."""
    inputs = {
        name: pad([row.inputs[name] for row in encoded], padding.get(name, 0))
        for name in encoded[0].inputs
    }
    labels = pad([row.labels for row in encoded], UNKNOWN)
    if encoded[0].positions is None:
        units = np.array([len(row.labels) for row in encoded])
        return Batch(inputs, None, labels, np.arange(labels.shape[1]) < units[:, None], rows)
    positions = pad([row.positions for row in encoded if row.positions is not None], -1)
    return Batch(inputs, np.maximum(positions, 0), labels, positions >= 0, rows)


def apart(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as a graph reads them: rows of several texts (B, W, T) as one text after the other."""
    texts = ("input_ids", "attention_mask")
    return {
        name: value.reshape(-1, value.shape[-1]) if name in texts and value.ndim == 3 else value
        for name, value in inputs.items()
    }


def pad(arrays: Sequence[np.ndarray], value: int) -> np.ndarray:
    """(B, ...) from arrays of as many axes, each as long as the longest."""
    shape = np.max([array.shape for array in arrays], 0)
    out = np.full((len(arrays), *shape), value, arrays[0].dtype)
    for target, array in zip(out, arrays, strict=True):
        target[tuple(map(slice, array.shape))] = array
    return out


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)
