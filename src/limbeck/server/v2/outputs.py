"""The outputs of a response: which are asked for, and what each is made of.

All but `answer` and what is read from it are computed of the logits of all rows at once; they say
what `answer` says, unrounded.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from limbeck.artifact.answers import to_json
from limbeck.core.wording import suggest
from limbeck.server.v2.answered import Answered
from limbeck.server.v2.errors import InvalidRequest, shown, too_large
from limbeck.server.v2.interface import Interface, TensorSpec
from limbeck.server.v2.request import InferRequest, RequestedOutput
from limbeck.server.v2.response import InferResponse
from limbeck.server.v2.tensors import BYTES, Tensor
from limbeck.tasks import pad
from limbeck.tasks.types import Array

# Of one output, 16 MB: sentences are filled up to the longest, and one of 100,000 words among many
# short ones would fill the memory.
MOST_NUMBERS = 1 << 22


def response_of(
    request: InferRequest, answered: Answered, name: str, version: str
) -> InferResponse:
    """What a request is answered: the outputs that it names in their order, or all that there are.

    Raises InvalidRequest where it would be too much.
    """
    asked = request.outputs
    # By the protocol that is a wish for all, in the form that the request asks for.
    if not asked:
        specs = default_outputs(answered)
        asked = [RequestedOutput(spec.name, request.is_binary) for spec in specs]
    outputs = [output_of(each, answered) for each in asked]
    return InferResponse(name, version, outputs, request.id)


def check_outputs(request: InferRequest, interface: Interface, *, has_rows: bool) -> None:
    """Raise InvalidRequest for an output that the model does not have, or not of these inputs.

    has_rows: whether rows were sent, and not the graph's tensors.
    """
    for asked in request.outputs:
        spec = interface.by_name.get(asked.name)
        if spec is None:
            raise InvalidRequest(
                f"outputs: there is no {shown(asked.name)}. "
                f"{suggest(asked.name[:80], interface.by_name)}"
            )
        if spec.of_rows and not has_rows:
            others = [each.name for each in interface.outputs if not each.of_rows]
            raise InvalidRequest(
                f"outputs: {spec.name} is made of the input itself, and the graph's tensors were "
                f"sent. Ask for {' or '.join(others)}"
            )
        if spec.name == "similarity" and "text_b" not in request.inputs:
            raise InvalidRequest("outputs: similarity is that of two texts: send text_b too")
        if asked.num_classes:
            check_classes(asked, spec, interface)


def check_classes(asked: RequestedOutput, spec: TensorSpec, interface: Interface) -> None:
    """Raise InvalidRequest where there are no such classes in an output."""
    # Of tags there would be classes for each word, for which Triton's extension has no shape.
    is_per_label = spec.name in ("probabilities", "logits") and len(spec.shape) == 2
    if not is_per_label or not interface.labels:
        raise InvalidRequest(
            f"outputs: classification: {spec.name} holds no number for each label of a row"
        )
    if asked.num_classes > len(interface.labels):
        raise InvalidRequest(
            f"outputs: classification: {asked.num_classes:,} classes are asked for, and there are "
            f"{len(interface.labels)} labels"
        )


def default_outputs(answered: Answered) -> list[TensorSpec]:
    """The outputs of a request that names none: those that its inputs suffice for."""
    rows = answered.rows
    # All rows of a request are alike in this.
    specs = [spec for spec in answered.interface.outputs if rows or not spec.of_rows]
    is_of_pairs = all("text_b" in row for row in rows or [])
    return [spec for spec in specs if spec.name != "similarity" or is_of_pairs]


def output_of(asked: RequestedOutput, answered: Answered) -> Tensor:
    """One output, which was checked."""
    spec = answered.interface.by_name[asked.name]
    values = MAKERS[spec.name](answered)
    if asked.num_classes:
        return classes(asked, values, answered.interface.labels)
    if spec.datatype == BYTES:
        return bytes_tensor(asked, values)
    return Tensor(asked.name, spec.datatype, values.shape, values, asked.is_binary)


def bytes_tensor(asked: RequestedOutput, values: list[Any]) -> Tensor:
    """A tensor of one element a row, or of lists of them, filled up with empty ones."""
    if not values or not isinstance(values[0], list):
        return Tensor(asked.name, BYTES, (len(values),), values, asked.is_binary)
    width = max(map(len, values))
    _check_size(len(values) * width)
    flat: list[Any] = []
    for row in values:
        flat += [*row, *[""] * (width - len(row))]
    return Tensor(asked.name, BYTES, (len(values), width), flat, asked.is_binary)


def classes(asked: RequestedOutput, values: Array, labels: Sequence[str]) -> Tensor:
    """The most probable classes in place of all numbers (N, V), as Triton's extension has them:
    `VALUE:INDEX:LABEL`, the largest value first."""
    # Stable, so that of equal values the first label comes first.
    order = np.argsort(-values, axis=1, kind="stable")[:, : asked.num_classes]
    chosen = []
    for row, indices in zip(values, order.tolist(), strict=True):
        chosen += [f"{row[index]:.6f}:{index}:{labels[index]}" for index in indices]
    return Tensor(asked.name, BYTES, order.shape, chosen, asked.is_binary)


def logits(answered: Answered) -> Array:
    """(N, V), or (N, W, V) with 0 where a row has fewer units."""
    return by_row(answered, answered.flat)


def probabilities(answered: Answered) -> Array:
    """As `logits`: fitted, where the artifact's decision.json says how."""
    return by_row(answered, answered.interface.predictor.decision.probabilities(answered.flat))


def label(answered: Answered) -> list[Any]:
    """(N) the label of each row, or (N, W) that of each of its units."""
    predictor = answered.interface.predictor
    # With costs it is not the most probable one.
    decided = predictor.decision.decisions(answered.flat).tolist()
    names = [predictor.task.labels[index] for index in decided]
    return by_unit(answered, names) if predictor.has_several_units else names


def labels(answered: Answered) -> Array:
    """(N, V) whether each label is given."""
    return by_row(answered, answered.interface.predictor.decision.decisions(answered.flat))


def words(answered: Answered) -> list[Any]:
    """(N, W) the words of each row, as the model reads them."""
    # A text is cut into words here, so that who sends one does not know them.
    return [list(row["words"]) for row in answered.rows or []]


def abstain(answered: Answered) -> Array:
    """(N) whether the artifact leaves a row to somebody else."""
    return answered.abstains


def answer(answered: Answered) -> list[bytes]:
    """(N) the whole answer of each row as JSON, as `limbeck predict` has it."""
    return [as_json(each) for each in answered.answers]


def score(answered: Answered) -> Array:
    """(N) the number that each row is answered with."""
    return np.array([each["score"] for each in answered.answers], np.float32)


def similarity(answered: Answered) -> Array:
    """(N) the cosine of each pair."""
    return np.array([each["similarity"] for each in answered.answers], np.float32)


def embedding(answered: Answered) -> Array:
    """(N, D) the vector of each row, or (N, 2, D) those of each pair."""
    has_pairs = len(answered.flat) > len(answered.logits)
    return np.stack(answered.logits) if has_pairs else answered.flat


# By the name of the output.
MAKERS: Mapping[str, Callable[[Answered], Any]] = {
    "label": label,
    "labels": labels,
    "words": words,
    "probabilities": probabilities,
    "logits": logits,
    "abstain": abstain,
    "score": score,
    "similarity": similarity,
    "embedding": embedding,
    "answer": answer,
}


def by_row(answered: Answered, flat: Array) -> Array:
    """(N, V) of the rows' one unit (P, V), or (N, W, V) of their several, filled up with 0."""
    if not answered.interface.predictor.has_several_units:
        return _exact(flat)
    lengths = np.diff(answered.offsets)
    # Before the room is taken.
    _check_size(len(lengths) * int(lengths.max()) * flat.shape[1])
    return pad(np.split(_exact(flat), answered.offsets[1:-1]), 0)


def by_unit(answered: Answered, flat: list[Any]) -> list[list[Any]]:
    """The elements of each row, of those of all units."""
    return [flat[start:end] for start, end in pairwise(answered.offsets.tolist())]


def _exact(values: Array) -> Array:
    """Numbers as the protocol has them: FP32, or BOOL."""
    # Probabilities are computed in float64, in which a fitted logit keeps its place.
    return values if values.dtype == bool else values.astype(np.float32)


def _check_size(count: int) -> None:
    if count > MOST_NUMBERS:
        raise too_large(
            f"outputs: {count:,} elements, as sentences are filled up to the longest, and at most "
            f"{MOST_NUMBERS:,} are sent. Send fewer rows at once, or ask for answer"
        )


def as_json(value: Any) -> bytes:
    """Plain data as JSON, numbers that are not finite as null."""
    import orjson

    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # What is no plain data, such as a date that somebody's task answers with.
        return to_json(value).encode()
