"""Answer a request, a row at a step: between two steps a server has its turn."""

from collections.abc import Iterator

import numpy as np

from limbeck.server.v2.answered import Answered
from limbeck.server.v2.errors import InvalidRequest
from limbeck.server.v2.interface import Interface
from limbeck.server.v2.outputs import check_outputs
from limbeck.server.v2.request import InferRequest
from limbeck.server.v2.rows import rows_of, tensors_of
from limbeck.sources import Row
from limbeck.tasks.types import Array


def infer(request: InferRequest, interface: Interface) -> Iterator[Answered | None]:
    """Compute what a request asks about: a step for each row, the last of which gives it.

    A row is run by itself, as batches gain little on a CPU and a static graph answers it alike.

    Raises InvalidRequest for inputs that the model does not read, and outputs that it does not
    give, before anything is computed.
    """
    tensors = tensors_of(request, interface)
    check_outputs(request, interface, has_rows=tensors is None)
    parts = rows_of(request, interface) if tensors is None else rows_apart(tensors)
    answered = Answered(interface, [] if tensors is None else None, [], [], [])
    for place, part in enumerate(parts):
        try:
            if answered.rows is None:
                answered.logits.append(logits_of(part, interface))
            else:
                add_row(answered, answered.rows, part)
        except ValueError as error:
            # Such as a text of which the tokenizer finds no token.
            raise InvalidRequest(f"row {place}: {error}") from None
        if answered.rows is not None:
            # Now, and not where the response is made: of many labels it takes its time.
            answer = interface.predictor.answer(answered.rows[-1], answered.logits[-1])
            answered.answers.append(answer)
        # Not after the last one, whose answer need not wait.
        if place + 1 < request.num_rows:
            yield None
    yield answered


def add_row(answered: Answered, rows: list[Row], row: Row) -> None:
    """Compute a row. Raises ValueError where nothing can be read of it."""
    predictor = answered.interface.predictor
    encoded = predictor.encoded(row)
    answered.logits.append(predictor.computed(encoded))
    answered.encoded.append(encoded)
    rows.append(row)


def logits_of(part: dict[str, np.ndarray], interface: Interface) -> Array:
    """(W, V) the logits of one row of the graph's inputs (1, ...). Raises InvalidRequest for inputs
    of which nothing can be computed."""
    logits = interface.predictor.graph(part)
    # Such as of pixels of 1e38, which are finite and no picture's.
    if not np.isfinite(logits).all():
        raise InvalidRequest("what the model computes of these numbers is not finite")
    # A graph that answers at every token has an axis for them.
    return logits[0] if logits.ndim == 3 else logits


def rows_apart(tensors: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The graph's inputs (1, ...) of each row."""
    # All have as many rows, which was checked.
    num_rows = len(next(iter(tensors.values())))
    for row in range(num_rows):
        yield {name: values[row : row + 1] for name, values in tensors.items()}
