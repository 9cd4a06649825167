"""A task is an input and a head: which two, its file says in a line.

    class TextClassification(
        JoinedTask, input=TextInput, head=OneLabel, auto_model="AutoModelForSequenceClassification"
    ):
        '''One label for a text.'''

An outside task is one such file; an input or a head that is new may stand in the same file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

from limbeck.sources import Row
from limbeck.tasks import Encoded, Scored
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows


class Input(Protocol):
    """How a row becomes what a model reads; made from the text of the artifact's `preprocess_file`.

    `input_names`: what the model's inputs are called; `row_keys`: what it reads of a row.
    """

    preprocess_file: ClassVar[str]
    input_names: ClassVar[Names]
    row_keys: ClassVar[Names]

    def __init__(self, preprocess: str) -> None: ...

    @property
    def padding(self) -> dict[str, int]:
        """What fills up each input of a shorter row, where that is not 0."""
        ...

    @staticmethod
    def content(row: Row) -> Any:
        """What makes two rows the same input; hashable."""
        ...

    def row(self, raw: Any) -> Row:
        """A row of what a user sends. Raises ValueError for what is no input."""
        ...

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> Sequence[Encoded]:
        """What the model reads of each row, with its labels (W) or (W, V)."""
        ...


class Head(Protocol):
    """What the logits are, and how they are judged; made from the labels in their order.

    `row_keys`: where a row has its label.
    """

    metric: ClassVar[str]
    metric_names: ClassVar[Names]
    hard_loss: ClassVar[str]
    likelihood: ClassVar[str]
    row_keys: ClassVar[Names]

    def __init__(self, labels: Sequence[str]) -> None: ...

    @staticmethod
    def find_labels(rows: Rows) -> list[str]:
        """The labels of `rows`, in order. Raises ValueError for a row whose label is none."""
        ...

    @staticmethod
    def stratum(row: Row) -> str:
        """Rows of one stratum are drawn into each split in equal shares."""
        ...

    def targets(self, row: Row) -> Array:
        """(W) or (W, V) the labels of a row's units, unknown where the row has none."""
        ...

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
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

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        """(R) the metrics that hang on the order of all scores, not on sums over rows."""
        ...

    def details(self, scored: Scored) -> Answer:
        """Tables for the report, ready for JSON. May be empty."""
        ...


@dataclass(frozen=True)
class JoinedTask:
    """What every task of an input and a head is; no task of its own.

    `labels`: in order of the logits, as `find_labels` gives them.
    `preprocess`: the text of the artifact's `preprocess_file`, from which the input is made.
    """

    labels: Sequence[str]
    preprocess: str

    input_type: ClassVar[type[Input]]
    head_type: ClassVar[type[Head]]
    auto_model: ClassVar[str]

    metric: ClassVar[str]
    metric_names: ClassVar[Names]
    hard_loss: ClassVar[str]
    likelihood: ClassVar[str]
    preprocess_file: ClassVar[str]
    input_names: ClassVar[Names]
    row_keys: ClassVar[Names]

    def __init_subclass__(
        cls,
        *,
        input: type[Input],
        head: type[Head],
        auto_model: str,
    ) -> None:
        """A fact of the input or of the head is one of the task's class: a recipe is checked, and
        data are read, before there is a tokenizer to make a task with."""
        cls.input_type = input
        cls.head_type = head
        cls.auto_model = auto_model
        cls.metric = head.metric
        cls.metric_names = head.metric_names
        cls.hard_loss = head.hard_loss
        cls.likelihood = head.likelihood
        cls.preprocess_file = input.preprocess_file
        cls.input_names = input.input_names
        cls.row_keys = (*input.row_keys, *head.row_keys)

    @cached_property
    def input(self) -> Any:
        """The input; Any, because each has attributes of its own, such as a text's `tokenizer`."""
        return self.input_type(self.preprocess)

    @cached_property
    def head(self) -> Head:
        return self.head_type(self.labels)

    # What rows hold is known of the class, without labels or a tokenizer.

    @classmethod
    def find_labels(cls, rows: Rows) -> list[str]:
        return cls.head_type.find_labels(rows)

    @classmethod
    def stratum(cls, row: Row) -> str:
        return cls.head_type.stratum(row)

    @classmethod
    def content(cls, row: Row) -> Any:
        return cls.input_type.content(row)

    # The input's part.

    @property
    def padding(self) -> dict[str, int]:
        return self.input.padding

    def row(self, raw: Any) -> Row:
        return self.input.row(raw)

    def encode(self, rows: Rows) -> Sequence[Encoded]:
        labels = [self.head.targets(row) for row in rows]
        return self.input.encode(rows, labels)

    # The head's part.

    def decode(
        self,
        row: Row,
        logits: Array,
    ) -> Answer:
        return self.head.decode(row, logits)

    def decisions(self, scored: Scored) -> Array:
        return self.head.decisions(scored)

    def statistics(self, scored: Scored) -> Array:
        return self.head.statistics(scored)

    def metrics(self, totals: Array) -> Figures:
        return self.head.metrics(totals)

    def ranked(
        self,
        scored: Scored,
        weights: Array,
    ) -> Figures:
        return self.head.ranked(scored, weights)

    def details(self, scored: Scored) -> Answer:
        return self.head.details(scored)
