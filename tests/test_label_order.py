"""The order of labels, and so of logits, is that of their values: the same in every process."""

import os
import subprocess
import sys
from itertools import permutations

import pytest

from limbeck.tasks.image_classification import ImageClassification

SCRIPT = """
from limbeck.tasks.text_classification import TextClassification as Text
from limbeck.tasks.token_classification import TokenClassification as Tags
from limbeck.tasks.multi_label_classification import MultiLabelClassification as Several
labels = ["0", "1", "01", "2", "002", "a", "A", "10", "9" * 5000, "-1", "\u0661"]
print(Text.find_labels([{"label": label} for label in labels]))
print(Several.find_labels([{"label": labels}]))
print(Tags.find_labels([{"tags": ["O", "B-x", "I-x", "B-01", "I-1", "B-1"]}]))
"""


def test_the_order_hangs_on_no_hash() -> None:
    orders = set()
    for seed in ("1", "3", "5"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        # Through a pipe: an argument would be encoded by the locale.
        command = [sys.executable, "-"]
        orders.add(subprocess.check_output(command, env=environment, input=SCRIPT.encode()))
    assert len(orders) == 1


@pytest.mark.parametrize("labels", list(permutations(["0", "01", "1", "002", "2"]))[::17])
def test_numbers_come_by_value_and_then_by_letter(labels: tuple[str, ...]) -> None:
    rows = [{"label": label} for label in labels]
    assert ImageClassification.find_labels(rows) == ["0", "01", "1", "002", "2"]
