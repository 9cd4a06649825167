"""An open artifact: from raw input to decoded answer.

One input gives one answer, a list of inputs a list of answers, as `transformers`' pipelines and
scikit-learn's estimators have it. W: labelled places of a row (the words of a sentence when
tagging, else one), V: classes.
"""

import warnings
from collections.abc import Iterator, Sequence, Set, ValuesView
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from limbeck.artifact.batches import depends_on_company, in_batches, run_batch
from limbeck.artifact.batches import run_graph as run_graph
from limbeck.artifact.predictions import Prediction, Predictions
from limbeck.artifact.proof.golden import inputs_of
from limbeck.artifact.rows.columns import may_be_pair
from limbeck.artifact.rows.inputs import recipe_data
from limbeck.artifact.runtimes import Graph
from limbeck.core.contract import described
from limbeck.core.foreign import told_as
from limbeck.evaluation.decisions.decision import PROBABILITIES, Decision
from limbeck.evaluation.drift.reference import Reference
from limbeck.sources import Row
from limbeck.sources._encodings import checked_unicode
from limbeck.sources.rows import is_of_pandas
from limbeck.tasks import Encoded, Task
from limbeck.tasks.inputs.text import TextInput
from limbeck.tasks.joined import JoinedTask
from limbeck.tasks.types import Answer

# Batches whose rows are sorted by length together: with 16 a batch has hardly any padding left, and
# an answer waits for no more than 16 batches.
SORTED_BATCHES = 16

# What an input may be called in a dict, by the key of a row that its task reads.
NAMES = {"text": ("text", "text_b"), "words": ("words", "text"), "image": ("image",)}


@dataclass(frozen=True, repr=False)
class Predictor:
    """A loaded artifact. `runtime` is the name of what runs its `graph`, `folder` where it lies;
    `fitted`: what its decision.json says, None where it has none; `reference`: its reference.json,
    likewise."""

    task: Task
    graph: Graph
    runtime: str
    folder: Path
    fitted: Decision | None = None
    reference: Reference | None = None

    def __repr__(self) -> str:
        return f"<limbeck artifact {self.folder}: {self.task_name}, {self.runtime}>"

    @property
    def task_name(self) -> str:
        """Its task as a recipe names it."""
        # The file of a component is called as it is.
        return type(self.task).__module__.rpartition(".")[2].replace("_", "-")

    @property
    def reads_images(self) -> bool:
        """Whether it answers images; else it answers texts."""
        return "pixel_values" in self.task.input_names

    @property
    def kind(self) -> str:
        """What it reads: `text`, `words` (it tags a sentence) or `image`."""
        if self.reads_images:
            return "image"
        return "words" if "words" in self.task.row_keys else "text"

    @property
    def has_several_units(self) -> bool:
        """Whether a row has a unit for each of its words or hidden tokens."""
        return "words" in self.task.row_keys or "label" not in self.task.row_keys

    @cached_property
    def reads_pairs(self) -> bool:
        """Whether training may have had a second text."""
        return may_be_pair(recipe_data(self.folder))

    @cached_property
    def needs_pair(self) -> bool:
        """Whether it reads nothing but pairs of texts: it reads two as one, and was trained on two.
        A task that reads texts by themselves may be given one alone."""
        is_joined = isinstance(self.task, JoinedTask) and self.task.input_type is TextInput
        recipe = recipe_data(self.folder)
        # The recipe of rows from Python names a second text whether they had one or not.
        return is_joined and bool(recipe.get("text_b")) and recipe.get("source") != "rows"

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of `predict_proba`'s last axis."""
        return list(self.task.labels)

    @overload
    def predict(self, inputs: list[Any], *, batch_size: int = 1) -> Predictions: ...

    @overload
    def predict(self, inputs: Any, *, batch_size: int = 1) -> Prediction: ...

    def predict(self, inputs: Any, *, batch_size: int = 1) -> Prediction | Predictions:
        """Answer one input, or a list of them, with what the task decodes: dicts, ready for JSON,
        which a notebook shows as tables.

        Args:
            inputs: a text; a pair of texts, as a tuple or as a dict of `text` and `text_b`; a
                sentence as a tuple of words; the path or the bytes of an image, or a uint8 array; a
                dict of a row (`text`, `words`, `image`), of which other keys are not read. A list
                of any of these gives the list of their answers.
            batch_size: how many of a list are run at once: faster, by the same answers (where a
                graph cannot, they are run one by one, with a warning).

        Raises:
            ValueError: an input that is none of these, with its place in the list.
        """
        if not is_list(inputs):
            row = self.row(inputs)
            return Prediction(self.answer(row, self.logits(row)))
        answers = Predictions()
        for rows, logits in self._parts(inputs, batch_size):
            pairs = zip(rows, logits, strict=True)
            answers += [Prediction(self.answer(row, of_row)) for row, of_row in pairs]
        return answers

    @property
    def decision(self) -> Decision:
        """How its logits become answers; an artifact of before decision.json changes nothing."""
        return self.fitted or Decision(likelihood=self.task.likelihood)

    def answer(self, row: Row, logits: np.ndarray) -> Answer:
        """What a user is answered to a row of logits (W, V)."""
        return self.decision.answer(self.task, row, logits)

    def predict_proba(self, inputs: Any, *, batch_size: int = 1) -> Any:
        """The probabilities of every label, float64, in the order of `labels`; fitted, where the
        artifact has a decision.json.

        Args:
            inputs, batch_size: as in `predict`.

        Returns:
            (V) for one input and (N, V) for a list of N; where a row has several units (words),
            (W, V) for one and a list of these for a list.

        Raises:
            ValueError: a task whose answers are numbers or vectors.
        """
        if self.task.likelihood not in PROBABILITIES:
            raise ValueError(
                f"{self}: its answers are numbers, which have no probabilities. Call `predict`"
            )
        rows = inputs if is_list(inputs) else [inputs]
        answers = []
        for _, logits in self._parts(rows, batch_size):
            answers += [self.decision.probabilities(of_row) for of_row in logits]
        if not self.has_several_units:
            answers = [of_row[0] for of_row in answers]
        if not is_list(inputs):
            return answers[0]
        return answers if self.has_several_units else np.reshape(answers, (-1, len(self.labels)))

    def logits(self, row: Row) -> np.ndarray:
        """(W, V) logits of one row as the graph gives them, without temperature and bias; 0 where a
        word was cut off because its text is too long."""
        return self.computed(self.encoded(row))

    def computed(self, encoded: Encoded) -> np.ndarray:
        """(W, V) logits of one encoded row (`encoded`), as `logits` gives them."""
        return run_batch(self.graph, [encoded], self.task.padding)[0]

    def batch_logits(self, encoded: Sequence[Encoded], batch_size: int) -> list[np.ndarray]:
        """The (W, V) logits of each row, run `batch_size` at a time where that changes no answer.

        A caller with many rows hands over a part at a time.
        """
        if batch_size > 1 and self.why_one_by_one:
            batch_size = 1
        return in_batches(self.graph, encoded, self.task.padding, batch_size)

    def row(self, raw: Any) -> Row:
        """A row, without a label, of an input as `predict` takes it. Raises ValueError."""
        content = self._content(raw) if isinstance(raw, dict) else raw
        with told_as(_refused):
            row = self.task.row(content)
        for key in ("text", "text_b", "words"):
            for text in row.get(key, ()) if key == "words" else [row.get(key)]:
                if isinstance(text, str):
                    checked_unicode(key, text)
        return row

    def encoded(self, row: Row) -> Encoded:
        """What the model reads of a row. Raises ValueError where that is nothing."""
        if not isinstance(row, dict):
            raise ValueError(
                f"a row is expected, as `Predictor.row(input)` makes it, not {described(row)}"
            )
        # By itself: some tasks pack neighbouring rows into one.
        with told_as(_refused):
            encoded = self.task.encode([row])
        # Asked once: the pixels of an image are made anew whenever they are asked for.
        first = encoded[0] if len(encoded) else None
        if first is None or first.size == 0:
            raise ValueError("the tokenizer finds no token in this text")
        return first

    @cached_property
    def why_one_by_one(self) -> str | None:
        """Why rows are not run together, for a message; None where they are."""
        golden = inputs_of(self.folder)
        example = {name: golden[name] for name in self.task.input_names}
        if not depends_on_company(self.graph, example, self.task.padding):
            return None
        return (
            f"{self.folder}: what this graph answers to a row depends on the rows beside it, as "
            "with activations of uint8-dynamic, whose steps are taken from the whole batch. Its "
            "inputs are answered one by one. quantize.activations=uint8 exports a graph that can "
            "be batched"
        )

    def _content(self, raw: dict[str, Any]) -> Any:
        """What the task reads of a dict. Raises ValueError where nothing is."""
        # A task of somebody else may read dicts of its own.
        expected = next((NAMES[key] for key in NAMES if key in self.task.row_keys), None)
        if expected is None:
            return raw
        if expected[0] == "text":
            # A column of that name which training never read is one like any other.
            if not self.reads_pairs:
                raw = {name: value for name, value in raw.items() if name != "text_b"}
            # The task itself says what is missing.
            return {name: raw[name] for name in expected if name in raw} or raw
        for name in expected:
            if name in raw:
                return raw[name]
        raise ValueError(
            f"{' or '.join(expected)} is needed in a dict, not {', '.join(map(str, raw))}"
        )

    def _parts(
        self, inputs: Sequence[Any], batch_size: int
    ) -> Iterator[tuple[list[Row], list[np.ndarray]]]:
        """Rows and their logits, as many at a time as are sorted together. Raises ValueError."""
        if batch_size < 1:
            raise ValueError(f"batch_size: at least 1, not {batch_size}")
        if batch_size > 1 and len(inputs) > 1 and self.why_one_by_one:
            warnings.warn(self.why_one_by_one, stacklevel=3)
        size = SORTED_BATCHES * batch_size
        for start in range(0, len(inputs), size):
            rows = []
            encoded = []
            for place in range(start, min(start + size, len(inputs))):
                try:
                    row = self.row(inputs[place])
                    encoded.append(self.encoded(row))
                    rows.append(row)
                except ValueError as error:
                    raise ValueError(f"inputs[{place}]: {error}") from None
            yield rows, self.batch_logits(encoded, batch_size)


def _refused(reason: str) -> ValueError:
    return ValueError(f"the preprocessing fails on this input: {reason}")


def is_list(inputs: Any) -> bool:
    """Whether several inputs were given. A tuple is one: a pair, or a sentence of words.

    Raises ValueError for several that are no list, with how to make one.
    """
    is_one = isinstance(inputs, str | bytes | bytearray | tuple)
    cure = _as_list(inputs)
    if cure:
        raise ValueError(f"several inputs are a list: {cure}, not {described(inputs)}")
    return isinstance(inputs, Sequence) and not is_one


def _as_list(inputs: Any) -> str:
    """How a list is made of inputs that are several and no list; nothing where they are not."""
    if is_of_pandas(inputs, "DataFrame"):
        return "frame.to_dict('records')"
    if isinstance(inputs, np.ndarray):
        # One image is an array of two dimensions or three, and none of words.
        is_one = inputs.dtype.kind not in "USO" and inputs.ndim < 4
        return "" if is_one or not inputs.ndim else "list(array)"
    is_column = is_of_pandas(inputs, "Series", "Index")
    if is_column or isinstance(inputs, Iterator | Set | ValuesView):
        return "list(inputs)"
    if isinstance(inputs, dict) and isinstance(inputs.get("text"), list):
        return "[{'text': text} for text in inputs['text']]"
    return ""
