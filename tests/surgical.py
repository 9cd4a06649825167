"""What the tests of surgeries share: a teacher of four layers that reads a tiny vocabulary, and the rows that a surgery may look at."""

from typing import Any

import torch
from contracts.test_tasks import TAGS, TEXT, VOCABULARY, picture, sentence
from contracts.tiny_models import bert, tokens
from torch import nn

from limbeck.core import registry
from limbeck.sources import Row
from limbeck.surgeries import Cut, Evidence
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.token_classification import TokenClassification

LAYERS, HEADS, UNITS = 4, 2, 64
INPUTS = tokens(3, 9, len(VOCABULARY))
SENTENCES: list[Row] = [
    sentence("Ada Lovelace lives in New York .", "B-PER I-PER O O B-LOC I-LOC O"),
    sentence("Lovelace", "B-PER"),
    sentence("a b c a b", "O O O O O"),
    sentence("Ada in York", "B-PER O B-LOC"),
]
TEXTS = Evidence(TEXT, SENTENCES)
SETTINGS = '{"height": 6, "width": 5, "channels": 1, "mean": [0.25], "std": [0.5]}'
IMAGES = Evidence(
    ImageClassification(list("abcde"), SETTINGS),
    [picture(i, label) for i, label in enumerate("abcdeabcde")],
)


def teacher() -> nn.Module:
    return bert(len(VOCABULARY), layers=LAYERS, labels=len(TAGS))


def cut(
    name: str, keys: dict[str, Any], model: nn.Module | None = None, evidence: Evidence = TEXTS
) -> Cut:
    """A surgery by its keys, on `teacher()` where no other is given."""
    return registry.create("surgeries", name, keys).cut(
        teacher() if model is None else model, evidence
    )


def task_of(found: Cut) -> TokenClassification:
    """The student's task, with its own tokenizer where that changed."""
    return TEXT if found.preprocess is None else TokenClassification(TAGS, found.preprocess)


def read(task: Any, row: Row) -> dict[str, torch.Tensor]:
    """The inputs of one row."""
    return {
        key: torch.from_numpy(value)[None] for key, value in task.encode([row])[0].inputs.items()
    }
