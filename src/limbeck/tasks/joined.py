"""A task is an input and a head: which two, its file says.

    class TextClassification(JoinedTask):
        '''`labels` in order of the logits; `preprocess`: the text of a `tokenizer.json`.'''

        input_type = TextInput
        head_type = OneLabel
        auto_model = "AutoModelForSequenceClassification"

An outside task is one such file. An input or a head that is new may stand in it too, under a name
that begins with an underscore: the one public class of a file is the task.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from limbeck.sources import Row
from limbeck.tasks import Encoded, Judging, Reading, Scored, returned
from limbeck.tasks.types import Answer, Array, Figures, Names, Rows

# What a `ClassProperty` reads.
Fact = TypeVar("Fact")


class Input(Reading, Protocol):
    """How a row becomes what a model reads; made from the text of its `preprocess_file`."""

    def __init__(self, preprocess: str) -> None: ...

    def encode(self, rows: Rows, labels: Sequence[Array]) -> Sequence[Encoded]:
        """What the model reads of each row, with its labels (W) or (W, V)."""
        ...


class Head(Judging, Protocol):
    """What the logits are, and how they are judged; made from the labels in their order.

    `row_keys`: where a row has its label.
    """

    row_keys: ClassVar[Names]

    def __init__(self, labels: Sequence[str]) -> None: ...

    def targets(self, row: Row) -> Array:
        """(W) or (W, V) the labels of a row's units, unknown where the row has none."""
        ...


class ClassProperty(Generic[Fact]):
    """A property of a class, which its objects have too: `read` is given the class."""

    def __init__(self, read: Callable[[Any], Fact]) -> None:
        self.read = read

    def __get__(self, task: object, kind: type) -> Fact:
        return self.read(kind)


@dataclass(frozen=True)
class JoinedTask:
    """What every task of an input and a head is; no task of its own.

    `labels`: in order of the logits, as `find_labels` gives them.
    `preprocess`: the text of the artifact's `preprocess_file`, from which the input is made.

    A task's class says `input_type`, `head_type`, and in `auto_model` the class of `transformers`
    that opens a model for it; `examples`, where its input or head is new and no subclass of ours.
    """

    labels: Sequence[str]
    preprocess: str

    input_type: ClassVar[type[Input]]
    head_type: ClassVar[type[Head]]
    auto_model: ClassVar[str]
    examples: ClassVar[Rows] = ()

    # What input and head say of themselves is known of the class: a recipe is checked, and data are
    # read, before there are labels or a tokenizer to make a task with.

    @ClassProperty
    def metric(cls) -> str:
        return cls.head_type.metric

    @ClassProperty
    def metric_names(cls) -> Names:
        return cls.head_type.metric_names

    @ClassProperty
    def hard_loss(cls) -> str:
        return cls.head_type.hard_loss

    @ClassProperty
    def likelihood(cls) -> str:
        return cls.head_type.likelihood

    @ClassProperty
    def preprocess_file(cls) -> str:
        return cls.input_type.preprocess_file

    @ClassProperty
    def input_names(cls) -> Names:
        return cls.input_type.input_names

    @ClassProperty
    def row_keys(cls) -> Names:
        return (*cls.input_type.row_keys, *cls.head_type.row_keys)

    @classmethod
    def find_labels(cls, rows: Rows) -> list[str]:
        return cls.head_type.find_labels(rows)

    @classmethod
    def stratum(cls, row: Row) -> str:
        return cls.head_type.stratum(row)

    @classmethod
    def content(cls, row: Row) -> Any:
        return cls.input_type.content(row)

    @cached_property
    def input(self) -> Any:
        """The input; Any, because each has attributes of its own, such as a text's `tokenizer`."""
        return self.input_type(self.preprocess)

    @cached_property
    def head(self) -> Head:
        return self.head_type(self.labels)

    # The input's part.

    @property
    def padding(self) -> dict[str, int]:
        return self.input.padding

    def row(self, raw: Any) -> Row:
        return self.input.row(raw)

    def encode(self, rows: Rows) -> Sequence[Encoded]:
        labels = [self.head.targets(row) for row in rows]
        for targets in labels:
            returned.check_targets(self, targets)
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
