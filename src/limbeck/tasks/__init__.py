"""What is predicted: rows to inputs, logits to answers and figures. Without torch, so that training
and the artifact's runtime run the same lines.

A task joins an input (`inputs/`: how a row becomes what a model reads) and a head (`heads/`: what
its logits are, and how they are judged). `joined.py` shows how; an outside task does the same in
one file. Models read texts (`input_ids`, `attention_mask`) or images (`pixel_values`). What logits
mean is the task's `likelihood` (`likelihood.py`).

A row holds W units, each of which has one label: the words of a sentence, the one text, the one
image. Shapes: B rows, T tokens, W units, V labels; over a whole split, N rows and P units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import returned
from limbeck.tasks.likelihood import LIKELIHOODS
from limbeck.tasks.likelihood import UNKNOWN as UNKNOWN
from limbeck.tasks.likelihood import is_known as is_known
from limbeck.tasks.types import Answer, Array, Figures, Inputs, Names, Rows

# Metrics of ranks hold a few copies of the weights (R, N): of 200 resamples and 100,000 rows each
# takes 160 MB (float64).
RESAMPLES_AT_ONCE = 200


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it.

    `inputs`: arrays by name, without a batch axis.
    `positions`: (W) the token at which each unit is read, -1 where it was cut off; None where the
    model answers once for the unit. Then a row of several units has inputs (W, T).
    `labels`: (W) or (W, V), as the task's likelihood has them.
    `windows`: the W units are windows (W, T) of one long text, whose answers are averaged.
    `begins`: how many rows of the data begin in it: 0 for a further part of a long one, several
        where short ones are read together.
    """

    inputs: Inputs
    positions: Array | None
    labels: Array
    windows: bool = False
    begins: int = 1

    @property
    def has_tokens(self) -> bool:
        """Whether the row is read token by token: a text, not an image."""
        return "input_ids" in self.inputs

    @property
    def size(self) -> int:
        """What the row costs a batch: its tokens, or 1 for an image."""
        return self.inputs["input_ids"].size if self.has_tokens else 1


@dataclass(frozen=True)
class Batch:
    """Rows together, padded to the longest; arrays or tensors.

    `inputs`: (B, ...) by name.
    `positions`: (B, W), or None as in `Encoded`.
    `labels`: (B, W) or (B, W, V).
    `mask`: (B, W), True for a unit that counts, False for padding and for what was cut off.
    `rows`: (B) the indices of the rows in their split.
    `mixed`: where each row is a mixture of two, the labels (B, W) of the second and the share, in
    [0, 1], of the first, whose labels are `labels`.
    `view`: the number of the augmented view that the images show.
    `windows`: as in `Encoded`.
    """

    inputs: dict[str, Any]
    positions: Any
    labels: Any
    mask: Any
    rows: Array
    mixed: tuple[Any, float] | None = None
    view: int = 0
    windows: bool = False


@dataclass(frozen=True)
class Scored:
    """A model's outputs on a split, unit after unit.

    `logits`: (P, V), or what an `OverVocabulary` task keeps of them.
    `labels`: (P) or (P, V).
    `offsets`: (N + 1); row i has the units from offsets[i] to before offsets[i + 1].
    `decided`: (P) or (P, V), what is answered where the logits alone do not say it (costs, or a
    threshold for each label).
    """

    logits: Array
    labels: Array
    offsets: Array
    decided: Array | None = None


class Reading(Protocol):
    """How a row becomes what a model reads.

    `preprocess_file`: the artifact's file that says how. `input_names`: what the model's inputs are
    called. `row_keys`: what a row must hold.
    """

    preprocess_file: ClassVar[str]
    input_names: ClassVar[Names]
    row_keys: ClassVar[Names]

    @property
    def padding(self) -> dict[str, int]:
        """What fills up each input of a shorter row, where that is not 0."""
        ...

    @staticmethod
    def content(row: Row) -> Any:
        """What makes two rows the same input; hashable."""
        ...

    def row(self, raw: Any) -> Row:
        """A row, without a label, of what a user sends. Raises ValueError for what is no input."""
        ...


class Judging(Protocol):
    """What logits are, and how they are judged.

    `metric`: the name of the figure that a verdict is about; `metric_names`: of all figures. One of
    which less is better has `bits`, `error`, `loss`, `nats` or `perplexity` in its name
    (`metrics.sign`).
    `hard_loss`: the loss on the labels, a name in `losses/`. `likelihood`: a name in `LIKELIHOODS`.
    """

    metric: ClassVar[str]
    metric_names: ClassVar[Names]
    hard_loss: ClassVar[str]
    likelihood: ClassVar[str]

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """The labels of `rows`, in order. Raises ValueError for a row whose label is none."""
        ...

    @staticmethod
    def stratum(row: Row) -> str:
        """Rows of one stratum are drawn into each split in equal shares."""
        ...

    def decode(self, row: Row, logits: Array) -> Answer:
        """The answer to a row, ready for JSON, from its logits (W, V)."""
        ...

    def decisions(self, scored: Scored) -> Array:
        """(P) or (P, V): what the logits of each unit decide for."""
        ...

    def statistics(self, scored: Scored) -> Array:
        """(N, K) figures of each row whose sums over rows give the metrics."""
        ...

    def metrics(self, totals: Array) -> Figures:
        """Sums (..., K) of `statistics` to metrics (...)."""
        ...

    def ranked(self, scored: Scored, weights: Array) -> Figures:
        """(R) the metrics that no sums over rows give, as they hang on the order of all scores;
        a row counts as often as each row of `weights` (R, N) says."""
        ...

    def details(self, scored: Scored) -> Answer:
        """Tables for the report, ready for JSON: by label, and confusions. May be empty."""
        ...


class Task(Reading, Judging, Protocol):
    """What the rest of the program asks a task; a new one need not write it: see `joined.py`.

    `auto_model`: the class of `transformers` that opens a model for the task.
    `examples`: four rows with labels, no two of one content, for the tests of this contract; empty
    where these have some, as for every task that joins an input and a head of limbeck's.
    """

    auto_model: ClassVar[str]
    examples: ClassVar[Rows]

    @property
    def labels(self) -> Sequence[str]:
        """In order of the logits."""
        ...

    @property
    def preprocess(self) -> str:
        """The text of `preprocess_file`."""
        ...

    @property
    def input(self) -> Any:
        """What belongs to the kind of input, such as a `tokenizer`."""
        ...

    def encode(self, rows: Rows) -> Sequence[Encoded]:
        """What the model reads of each row, and its labels, unknown where the row has none."""
        ...


@runtime_checkable
class OverVocabulary(Protocol):
    """What a task adds whose labels are the tokenizer's vocabulary, and are made from the inputs.

    It may pack several rows of the data into one `Encoded`, or cut one into several.
    """

    def reduce(
        self,
        logits: Array,
        labels: Array,
    ) -> Array:
        """(W, K) what `statistics` needs of a row's logits (W, V); `Scored` holds that. First comes
        the nats of the true token, by which two models are compared.

        Unit by unit: it is asked of some units at a time, perhaps of several rows.
        """
        ...


@runtime_checkable
class SelfSupervised(OverVocabulary, Protocol):
    """What such a task adds that only pre-trains: it draws its labels anew in every step."""

    def draw(
        self,
        batch: Batch,
        generator: np.random.Generator,
    ) -> Batch:
        """The batch with labels that are drawn anew, for a training step."""
        ...


def figures(
    task: Task,
    scored: Scored,
    weights: Array,
) -> Figures:
    """(R) every metric of the task; a row counts as often as each row of `weights` (R, N) says."""
    # 1. From sums over rows: one product gives those of all resamples.
    statistics = task.statistics(scored)
    returned.check_statistics(task, statistics, len(scored.offsets) - 1)
    metrics = task.metrics(weights @ statistics)
    returned.check_figures(task, "metrics", metrics, len(weights))
    # 2. From the order of scores, a part of the resamples at a time.
    num_parts = -(-len(weights) // RESAMPLES_AT_ONCE)
    parts = []
    for part in np.array_split(weights, num_parts):
        parts.append(task.ranked(scored, part))
        returned.check_figures(task, "ranked", parts[-1], len(part))
    for metric in parts[0]:
        metrics[metric] = np.concatenate([part[metric] for part in parts])
    if set(metrics) != set(task.metric_names):
        raise ValueError(
            f"{returned.told(task)} computes {', '.join(metrics) or 'no metric'} in `metrics` and "
            f"`ranked`; its `metric_names` are {', '.join(task.metric_names)}"
        )
    return metrics


def check_answers(
    task: Task,
    rows: Rows,
    scored: Scored,
) -> None:
    """Raise ValueError where a task, perhaps somebody else's, cannot judge or answer some rows."""
    # 1. What a report needs. Of a vocabulary figures of the answers are kept, and a
    #    decision is any number.
    likelihood = "gaussian" if isinstance(task, OverVocabulary) else task.likelihood
    returned.check_decisions(task, task.decisions(scored), scored.labels, likelihood)
    # Some tasks pack several rows into one, or cut one into several.
    num_rows = len(scored.offsets) - 1
    figures(task, scored, np.ones((1, num_rows)))
    returned.check_details(task, task.details(scored))
    # 2. What a user is answered. Of a vocabulary no answers are kept.
    if isinstance(task, OverVocabulary):
        return
    for number, row in enumerate(rows):
        own = slice(scored.offsets[number], scored.offsets[number + 1])
        returned.check_json(task, "decode", task.decode(row, scored.logits[own]))


def differs(
    task: Task,
    scored: Scored,
    other: Scored,
) -> Array:
    """Of the shape of the labels, bool: whether two models decide otherwise; False where the label
    is unknown. Numbers may differ by `likelihood.TOLERANCE`."""
    likelihood = LIKELIHOODS[task.likelihood]
    decisions = task.decisions(scored)
    differ = likelihood.differ(decisions, task.decisions(other))
    # Where nobody knows the label, no metric would change.
    return differ & is_known(scored.labels)


def collate(
    encoded: Sequence[Encoded],
    rows: Array,
    padding: dict[str, int],
) -> Batch:
    """Rows, padded to one batch; a padded unit has mask False and the label UNKNOWN.

    `rows`: (B) their indices; `padding`: what fills up an input, 0 where it has no name there.
    """
    inputs = {}
    for name in encoded[0].inputs:
        values = [row.inputs[name] for row in encoded]
        inputs[name] = pad(values, padding.get(name, 0))
    labels = pad([row.labels for row in encoded], UNKNOWN)
    # All rows of a task are alike in this.
    if encoded[0].positions is None:
        num_units = np.array([len(row.labels) for row in encoded])
        mask = np.arange(labels.shape[1]) < num_units[:, None]
        return Batch(inputs, None, labels, mask, rows, windows=encoded[0].windows)
    given = [row.positions for row in encoded if row.positions is not None]
    positions = pad(given, -1)
    # -1 is no place to read from; what is read at 0 instead is masked.
    readable = np.maximum(positions, 0)
    return Batch(inputs, readable, labels, positions >= 0, rows)


def apart(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as an exported graph reads them: of rows of several texts (B, W, T), one text after
    the other (B W, T)."""
    flat = {}
    for name, value in inputs.items():
        # An image (B, C, H, W) has more axes too, but no texts.
        is_texts = name in ("input_ids", "attention_mask") and value.ndim == 3
        flat[name] = value.reshape(-1, value.shape[-1]) if is_texts else value
    return flat


def pad(arrays: Sequence[Array], value: int) -> Array:
    """(B, ...) from arrays of as many axes, each axis as long as the longest; `value` fills up."""
    longest = np.max([array.shape for array in arrays], 0)
    padded = np.full((len(arrays), *longest), value, arrays[0].dtype)
    for target, array in zip(padded, arrays, strict=True):
        corner = tuple(slice(length) for length in array.shape)
        target[corner] = array
    return padded
