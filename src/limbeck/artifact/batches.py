"""Rows of one model together: padded to the longest, run at once, and each row's logits back.

Rows of about one length share a batch, because padding costs as much as text. What a row is
answered must not depend on its company: padding is masked, and a static graph computes each row by
itself, to the last bit on one machine (docs/log.md, 2026-11-28). A graph whose quantization steps
are taken from what it reads (`uint8-dynamic`) takes them from the whole batch: `depends_on_company`
finds that out.

Shapes: T tokens, W labelled units of a row, V logits of each.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from limbeck.artifact.proof.golden import ENDS
from limbeck.artifact.runtimes import ByPlace, Graph
from limbeck.tasks import Encoded, pad
from limbeck.tasks.packed import averaged, sizes

# The root mean square difference, over that of the logits, from which a graph counts as dependent.
# Static graphs differed by 0, or by the order of float additions (1e-6); dynamic ones by 2e-3.
INDEPENDENT = 3e-4

Arrays = Mapping[str, np.ndarray]


def run_graph(graph: Graph, encoded: Encoded) -> np.ndarray:
    """(W, V) logits of one encoded row; 0 where a word was cut off."""
    return run_batch(graph, [encoded], {})[0]


def run_batch(
    graph: Graph, encoded: Sequence[Encoded], padding: Mapping[str, int]
) -> list[np.ndarray]:
    """The (W, V) logits of each row, run together.

    padding: what fills up an input of a shorter row, where that is not 0.
    """
    if isinstance(graph, ByPlace):
        return [_at_units(graph, row) for row in encoded]
    # 1. A row of several texts (a query and its item) is as many rows of the graph.
    parts = [_graph_rows(row) for row in encoded]
    graph_rows = [part for of_row in parts for part in of_row]
    logits = graph(_together(graph_rows, padding))
    # 2. Each row's own again.
    by_row = []
    start = 0
    for row, of_row in zip(encoded, parts, strict=True):
        own = logits[start : start + len(of_row)]
        start += len(of_row)
        by_row.append(averaged(row, own) if row.positions is None else _at(own[0], row.positions))
    return by_row


def _at_units(graph: ByPlace, row: Encoded) -> np.ndarray:
    """(W, V) logits of a row by a graph that reads one text at a time."""
    ids = row.inputs["input_ids"]
    # A causal model's units are places of tokens, none of which was cut off.
    places = np.arange(len(ids)) if row.positions is None else row.positions
    return graph.logits_at(ids, places)


def in_batches(
    graph: Graph, encoded: Sequence[Encoded], padding: Mapping[str, int], batch_size: int
) -> list[np.ndarray]:
    """The (W, V) logits of each row in their order, run `batch_size` at a time by length."""
    order = np.argsort(sizes(encoded), kind="stable")
    logits: dict[int, np.ndarray] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size].tolist()
        answered = run_batch(graph, [encoded[index] for index in chosen], padding)
        logits.update(zip(chosen, answered, strict=True))
    return [logits[index] for index in range(len(encoded))]


def depends_on_company(graph: Graph, example: Arrays, padding: Mapping[str, int]) -> bool:
    """Whether rows that are run together get other logits than alone.

    example: inputs (1, ...) by name, such as the golden ones. Four rows are drawn from them by a
    fixed seed, of several lengths where they are texts.

    Raises ValueError where the graph answers none of them.
    """
    try:
        return _depend_on_company(graph, _drawn(example), padding)
    except ValueError:
        # A head that looks for the end of a text (BART, T5) finds none.
        return _depend_on_company(graph, _drawn(example, num_ends=ENDS), padding)


def _depend_on_company(graph: Graph, rows: Sequence[Arrays], padding: Mapping[str, int]) -> bool:
    together = graph(_together(rows, padding))
    difference = 0.0
    power = 0.0
    for row, padded in zip(rows, together, strict=True):
        alone = graph(_together([row], padding))[0]
        # Tags have logits at every token; those of the padding are nobody's.
        own = padded[: len(alone)] if alone.ndim == 2 else padded
        difference += float(((own - alone) ** 2).sum())
        power += float((alone**2).sum())
    return bool(np.sqrt(difference / max(power, 1e-12)) > INDEPENDENT)


def _graph_rows(row: Encoded) -> list[dict[str, np.ndarray]]:
    """A row as the graph reads it, without a batch axis: one set of inputs for each of its texts,
    or the one that it is."""
    if row.has_tokens and row.inputs["input_ids"].ndim == 2:
        num_texts = len(row.inputs["input_ids"])
        return [_part(row.inputs, index) for index in range(num_texts)]
    return [dict(row.inputs)]


def _part(inputs: Arrays, index: int) -> dict[str, np.ndarray]:
    return {name: value[index] for name, value in inputs.items()}


def _together(rows: Sequence[Arrays], padding: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Inputs (B, ...) of rows without a batch axis, filled up to the longest."""
    inputs = {}
    for name, first in rows[0].items():
        if len(rows) == 1:
            inputs[name] = first[None]
        else:
            inputs[name] = pad([row[name] for row in rows], padding.get(name, 0))
    return inputs


def _at(logits: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(W, V) of logits (T, V) at each unit's token."""
    # A word that was cut off has the position -1: it reads token 0 here and is then set to 0.
    is_kept = (positions >= 0)[:, None]
    return np.where(is_kept, logits[np.maximum(positions, 0)], 0)


def _drawn(example: Arrays, num_ends: int = 0) -> list[dict[str, np.ndarray]]:
    """Four rows in the shape of the example's first: of its own numbers, in another order, of
    another length (texts) or another contrast (images).

    num_ends: so many tokens at either end of a text stay where they are.
    """
    generator = np.random.default_rng(0)
    rows = []
    for share in (1.0, 0.5, 0.25, 0.75):
        row = {}
        for name, value in example.items():
            first = value[0]
            if first.dtype.kind == "f":
                row[name] = (2 * share * generator.permutation(first)).astype(first.dtype)
                continue
            end = max(num_ends, len(first) - num_ends)
            length = max(1, round(share * len(first))) - 2 * num_ends
            middle = generator.permutation(first[num_ends:end])[: max(0, length)]
            row[name] = np.concatenate([first[:num_ends], middle, first[end:]])
        rows.append(row)
    return rows
