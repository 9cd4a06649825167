"""What an open artifact takes and gives, in the protocol's words: known once, when it is opened.

It takes what `Predictor.predict` does (texts, words, encoded images, pixels), or the tensors of its
graph from who tokenizes himself. A request sends one of these `input_sets` whole.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.manifest import MANIFEST
from limbeck.artifact.predictor import Predictor
from limbeck.artifact.proof.golden import inputs_of
from limbeck.core.files import read_json
from limbeck.server.v2.tensors import BYTES, DTYPES
from limbeck.tasks import OverVocabulary
from limbeck.tasks.inputs.tokenized import TokenizedInput
from limbeck.tasks.likelihood import LIKELIHOODS

# A dimension that a request chooses.
ANY = -1
ROWS = (ANY,)
# numpy's dtype -> the protocol's datatype.
DATATYPE_OF = {dtype: name for name, dtype in DTYPES.items()}
# The protocol's name for a graph, by its file; of another it is the runtime's own.
PLATFORMS = {".onnx": "onnx_onnxv1"}
# The kind of the set that holds the graph's own tensors.
TENSORS = "tensors"


@dataclass(frozen=True)
class TensorSpec:
    """What an input or output is. `shape`: with -1 where it varies; the first dimension is N.

    `of_rows`: whether an output needs the text or the image itself, and not its logits alone.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    of_rows: bool = False


@dataclass(frozen=True)
class InputSet:
    """Inputs that are sent together; `kind`: how they are read (`rows.READERS`)."""

    kind: str
    required: tuple[TensorSpec, ...]
    optional: tuple[TensorSpec, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return self.required + self.optional

    def fits(self, names: set[str]) -> bool:
        """Whether inputs of these names are this set."""
        required = {spec.name for spec in self.required}
        return required <= names <= {spec.name for spec in self.specs}

    def __str__(self) -> str:
        text = " with ".join(spec.name for spec in self.required)
        optional = ", ".join(spec.name for spec in self.optional)
        return f"{text} (and {optional})" if optional else text


@dataclass(frozen=True)
class Tokens:
    """What a model can read of token ids: 0 to before `num_ids`, at most `most` in a row."""

    num_ids: int
    most: int


@dataclass(frozen=True)
class Interface:
    """An open artifact with the tensors that it takes and gives.

    `task`: its name in a recipe. `platform`: what runs the graph, in the protocol's words.
    `tokens`: of a model that reads a tokenizer's; else None.
    """

    predictor: Predictor
    task: str
    platform: str
    input_sets: tuple[InputSet, ...]
    outputs: tuple[TensorSpec, ...]
    tokens: Tokens | None = None

    @cached_property
    def by_name(self) -> dict[str, TensorSpec]:
        """The outputs by name."""
        return {spec.name: spec for spec in self.outputs}

    @cached_property
    def labels(self) -> list[str]:
        """The labels in the order of the last dimension; none where there are none to choose."""
        task = self.predictor.task
        is_number = LIKELIHOODS[task.likelihood].labels_are_numbers
        # The labels of who guesses hidden tokens are the vocabulary.
        return [] if is_number or isinstance(task, OverVocabulary) else list(task.labels)


def interface_of(predictor: Predictor) -> Interface:
    """What an open artifact takes and gives; of one whose answers are numbers, after answering one
    example. Raises ValueError where it cannot even do that."""
    # 1. What it takes: rows, and then tensors.
    sets = row_sets(predictor)
    # A vocabulary's logits at every token are megabytes, and nobody asked for them.
    if not isinstance(predictor.task, OverVocabulary):
        sets.append(InputSet(TENSORS, tuple(graph_specs(predictor))))
    # 2. What it is called. Read now: the folder may be replaced while the artifact is open.
    manifest = read_json(predictor.folder / MANIFEST)
    files = {graph["runtime"]: graph["file"] for graph in manifest["graphs"]}
    suffix = Path(files[predictor.runtime]).suffix
    # 3. What it gives.
    return Interface(
        predictor,
        manifest["task"],
        PLATFORMS.get(suffix, predictor.runtime),
        tuple(sets),
        tuple(output_specs(predictor)),
        tokens_of(predictor),
    )


def tokens_of(predictor: Predictor) -> Tokens | None:
    """What a model can read of token ids; None where its task has no tokenizer of ours."""
    reading = predictor.task.input
    if not isinstance(reading, TokenizedInput):
        return None
    # Not the number of tokens: some vocabularies leave ids out.
    num_ids = 1 + max(reading.tokenizer.get_vocab().values())
    # No text becomes longer, and a model without positions would take any length: with attention,
    # the memory of its square.
    return Tokens(num_ids, reading.max_tokens)


def row_sets(predictor: Predictor) -> list[InputSet]:
    """The sets of inputs that are rows, the usual one first."""
    # By the keys of a row and not by what the graph reads: a task of others may read pictures of
    # its own making from rows of texts.
    row_keys = predictor.task.row_keys
    if "image" in row_keys:
        pixels = TensorSpec("pixels", "UINT8", (ANY, ANY, ANY, ANY))
        return [
            InputSet("image", (TensorSpec("image", BYTES, ROWS),)),
            InputSet("pixels", (pixels,)),
        ]
    text = TensorSpec("text", BYTES, ROWS)
    if "words" in row_keys:
        words = TensorSpec("words", BYTES, (ANY, ANY))
        return [InputSet("text", (text,)), InputSet("words", (words,))]
    if "text" not in row_keys:
        # A task of somebody else reads rows of its own.
        return [InputSet("row", (TensorSpec("row", BYTES, ROWS),))]
    pair = TensorSpec("text_b", BYTES, ROWS)
    if predictor.needs_pair:
        return [InputSet("text", (text, pair))]
    return [InputSet("text", (text,), (pair,) if predictor.reads_pairs else ())]


def graph_specs(predictor: Predictor) -> list[TensorSpec]:
    """The inputs of the graph, as its golden inputs show them."""
    golden = inputs_of(predictor.folder)
    specs = []
    for name in predictor.task.input_names:
        example = golden[name]
        # Of texts the number of tokens varies; an image has the model's own size.
        is_text = example.dtype.kind == "i"
        sizes = (ANY,) * (example.ndim - 1) if is_text else example.shape[1:]
        specs.append(TensorSpec(name, DATATYPE_OF[example.dtype], (ANY, *sizes)))
    return specs


def output_specs(predictor: Predictor) -> list[TensorSpec]:
    """The outputs, the most telling first."""
    task = predictor.task
    answer = TensorSpec("answer", BYTES, ROWS, of_rows=True)
    if isinstance(task, OverVocabulary):
        return [answer]
    if LIKELIHOODS[task.likelihood].labels_are_numbers:
        return [*number_specs(predictor), answer]
    units = (ANY,) if predictor.has_several_units else ()
    per_label = (ANY, *units, len(task.labels))
    specs = [TensorSpec(name, "FP32", per_label) for name in ("probabilities", "logits")]
    # Of several units the graph's tensors do not say which token is which unit's.
    if task.likelihood == "bernoulli":
        specs.insert(0, TensorSpec("labels", "BOOL", per_label))
    else:
        specs.insert(0, TensorSpec("label", BYTES, (ANY, *units), of_rows=bool(units)))
    if predictor.has_several_units:
        specs.insert(0, TensorSpec("words", BYTES, (ANY, ANY), of_rows=True))
    if predictor.decision.threshold is not None:
        specs.append(TensorSpec("abstain", "BOOL", ROWS, of_rows=bool(units)))
    return [*specs, answer]


def number_specs(predictor: Predictor) -> list[TensorSpec]:
    """The outputs of a model whose answers are numbers or vectors, as it answers an example."""
    example: Any = ("a", "a") if predictor.reads_pairs else "a"
    if predictor.reads_images:
        # It is resized to what the model reads.
        example = np.zeros((8, 8), np.uint8)
    row = predictor.row(example)
    logits = predictor.logits(row)
    answer = predictor.answer(row, logits)
    width = logits.shape[-1]
    if "score" in answer:
        score = TensorSpec("score", "FP32", ROWS, of_rows=True)
        return [score, TensorSpec("logits", "FP32", (ANY, width))]
    # Of a pair there are two vectors: (N, 2, D).
    specs = [TensorSpec("embedding", "FP32", (ANY, width))]
    if "similarity" in answer:
        specs.insert(0, TensorSpec("similarity", "FP32", ROWS, of_rows=True))
    return specs
