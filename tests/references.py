"""What reference.json of an artifact has to hold: its answers to the validation rows, counted one by one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import limbeck
from limbeck.core import registry
from limbeck.data.splits import load_splits
from limbeck.evaluation.drift.tally import NUM_BUCKETS, Tally, num_counts
from limbeck.recipe.reading import parse
from limbeck.sources import Row


def check_reference(artifact: Path, rows: Sequence[Row]) -> list[str]:
    """The names of its statistics, whose counts are those of a program that answers the rows and counts them."""
    predictor = limbeck.load(artifact)
    reference = predictor.reference
    assert reference is not None and reference.rows == len(rows)
    tally = Tally(reference, np.zeros(num_counts(reference), np.int64))
    for row in rows:
        answer = predictor.answer(row, predictor.logits(row))
        tally.add(row, predictor.encoded(row), answer)
    expected = np.concatenate([statistic.counts for statistic in reference.statistics])
    assert tally.counts[1:-NUM_BUCKETS].tolist() == expected.tolist()
    return [statistic.name for statistic in reference.statistics]


def check_reference_of_run(text: str, artifact: Path) -> list[str]:
    """The same of a run by a recipe's text, which reads files."""
    recipe = parse(text)
    splits = load_splits(recipe.data, registry.load("tasks", recipe.task))
    return check_reference(artifact, splits.validation)
