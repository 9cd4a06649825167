"""Tiny tasks, four rows and a raw input of each: what the contract of tasks is tested with.

A task that has none here takes those of another with its input, and the labels of another with its head; or its own class has four rows.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck import tasks
from limbeck.core import registry
from limbeck.sources import Row
from limbeck.tasks import Task
from limbeck.tasks.heads.item_of_query import ItemOfQuery
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.inputs.dialogue import dialogue_file
from limbeck.tasks.inputs.separate_texts import SeparateTextsInput
from limbeck.tasks.joined import JoinedTask
from limbeck.tasks.masked_lm import MaskedLm
from limbeck.tasks.multi_label_classification import MultiLabelClassification
from limbeck.tasks.ranking import Ranking
from limbeck.tasks.sentence_embedding import SentenceEmbedding
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.text_generation import TextGeneration
from limbeck.tasks.text_regression import TextRegression
from limbeck.tasks.token_classification import TokenClassification

PAD, MAX_TOKENS = 3, 12  # [PAD] is not 0, so that a pad id taken for granted shows
TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
VOCABULARY = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[PAD]",
    "Ada",
    "Love",
    "##lace",
    "lives",
    "in",
    "New",
    "York",
    "##er",
    ",",
    ".",
    "a",
    "b",
    "c",
]


def tokenizer_text(max_tokens: int = MAX_TOKENS, *, specials: tuple[str, ...] = ()) -> str:
    """A WordPiece tokenizer as `models.preprocess` leaves it: truncation and padding set."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=special
    )
    tokenizer.add_special_tokens(list(specials))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=PAD, pad_token="[PAD]")
    return tokenizer.to_str()


TEXT = TokenClassification(TAGS, tokenizer_text())
INTENT = TextClassification(["call", "move", "rest"], tokenizer_text())
SCORE = TextRegression(["0 to 5"], tokenizer_text())
VECTOR = SentenceEmbedding(["0 to 5"], tokenizer_text())
RANKED = Ranking([], tokenizer_text())
SEVERAL = MultiLabelClassification(["call", "move", "rest"], tokenizer_text())
MASKED = MaskedLm([], tokenizer_text(specials=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")))
CHAT = "{% for m in messages %}[CLS]{{ m.role }} {{ m.content }}[SEP]{% endfor %}{% if add_generation_prompt %}[CLS]assistant {% endif %}"
DIALOGUE = TextGeneration(
    [],
    dialogue_file(
        tokenizer_text(specials=("[UNK]", "[CLS]", "[SEP]", "[PAD]")),
        chat_template=CHAT,
        special_tokens={},
        end_ids=[VOCABULARY.index("[SEP]")],
        pad_id=PAD,
        max_tokens=MAX_TOKENS,
    ),
)
IMAGE = ImageClassification(
    ["cat", "dog", "eel"],
    json.dumps({"height": 6, "width": 5, "channels": 1, "mean": [0.25], "std": [0.5]}),
)


def sentence(words: str, tags: str) -> Row:
    return {"words": words.split(), "tags": tags.split()}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def picture(seed: int, label: str) -> Row:
    return {"image": np.random.default_rng(seed).integers(0, 256, (6, 5), np.uint8), "label": label}


Example = tuple[Task, list[Row], Any]


class Examples(dict[str, Example]):
    """By the name of a task; of one that is not here, put together from those that are."""

    def __missing__(self, name: str) -> Example:
        kind = registry.load("tasks", name)
        rows, raw = self.rows_of(kind)
        preprocess = IMAGE.preprocess if "pixel_values" in kind.input_names else tokenizer_text()
        return kind(kind.find_labels(rows), preprocess), rows, raw

    def rows_of(self, kind: type[Any]) -> tuple[list[Row], Any]:
        if kind.examples:
            first = kind.examples[0]
            return list(kind.examples), first[kind.row_keys[0]]
        joined = [each for each in self.values() if isinstance(each[0], JoinedTask)]
        _, inputs, raw = max(joined, key=lambda each: kinship(kind.input_type, each[0].input_type))
        _, labelled, _ = max(joined, key=lambda each: kinship(kind.head_type, each[0].head_type))
        keys = kind.head_type.row_keys
        rows = []
        for row, other in zip(inputs, labelled, strict=True):
            rows.append(row | {key: other[key] for key in keys})
        return rows, raw


def kinship(kind: type, other: type) -> int:
    """How many classes two inputs, or two heads, share."""
    return len({*kind.__mro__} & {*other.__mro__})


EXAMPLES = Examples()
EXAMPLES |= {
    "token-classification": (
        TEXT,
        [
            sentence("Ada Lovelace lives in New York .", "B-PER I-PER O O B-LOC I-LOC O"),
            sentence("Lovelace", "B-PER"),
            sentence("a b c a b c a b c a b c New York", "O O O O O O O O O O O O B-LOC I-LOC"),
            sentence("in New Yorker", "O B-LOC I-LOC"),
        ],
        "Ada Lovelace lives in New York.",
    ),
    "image-classification": (
        IMAGE,
        [picture(0, "cat"), picture(1, "eel"), picture(2, "cat"), picture(3, "dog")],
        picture(4, "cat")["image"],
    ),
}
EXAMPLES["text-classification"] = (
    INTENT,
    [
        {"text": "Ada lives in New York", "label": "move"},
        {"text": "Ada", "label": "call"},
        {"text": "a b c a b c a b c a b c New York", "label": "rest"},
        {"text": "in Yorker", "text_b": "Lovelace .", "label": "move"},
    ],
    "Ada lives in New York.",
)
EXAMPLES["text-regression"] = (
    SCORE,
    [
        {"text": "Ada lives in New York", "text_b": "Ada lives in York", "label": "3.5"},
        {"text": "Ada", "label": "0.000"},
        {"text": "a b c a b c a b c a b c New York", "label": "5"},
        {"text": "in Yorker", "text_b": "Lovelace .", "label": "1"},
    ],
    {"text": "Ada lives in New York.", "text_b": "Ada"},
)
EXAMPLES["multi-label-classification"] = (
    SEVERAL,
    [
        {"text": "Ada lives in New York", "label": ["move", "rest"]},
        {"text": "Ada", "label": ["call"]},
        {"text": "a b c a b c a b c a b c New York", "label": []},
        {"text": "in Yorker", "text_b": "Lovelace .", "label": ["rest"]},
    ],
    "Ada lives in New York.",
)
EXAMPLES["sentence-embedding"] = (
    VECTOR,
    [
        {"text": "Ada lives in New York", "text_b": "Ada lives in York", "label": "3.5"},
        {"text": "Ada", "text_b": "a b c a b c a b c a b c New York", "label": "0"},
        {"text": "in Yorker", "text_b": "Lovelace .", "label": "1"},
        {"text": "New York", "text_b": "Yorker", "label": "5"},
    ],
    "Ada lives in New York.",
)
EXAMPLES["ranking"] = (
    RANKED,
    [
        {"text": "Ada lives in New York", "text_b": "York", "label": "1"},
        {"text": "Ada", "text_b": "a b c a b c a b c a b c New York", "label": "2"},
        {"text": "in Yorker", "text_b": "Lovelace .", "label": "3"},
        {"text": "New York", "text_b": "a , Yorker", "label": "4"},
    ],
    "Ada lives in New York.",
)
EXAMPLES["masked-lm"] = (  # no two of them fit into one row of the model
    MASKED,
    [
        {"text": text}
        for text in (
            "Ada Lovelace lives in New York .",
            "a b c a b c",
            "in New Yorker , Ada lives",
            "Lovelace lives in York .",
        )
    ],
    "Ada lives in [MASK] York.",
)
EXAMPLES["text-generation"] = (  # each of them fits into one row of the model
    DIALOGUE,
    [
        {"messages": [said("user", "Ada"), said("assistant", "lives in New York")]},
        {"messages": [said("user", "a"), said("assistant", "b")]},
        {"text": "Ada Lovelace lives in New York ."},
        {"messages": [said("user", "a b"), said("assistant", "c a")]},
    ],
    {"messages": [said("user", "Ada lives in")]},
)


def has_vectors(task: Task) -> bool:
    """Whether the logits of a unit are a vector, to be compared with another."""
    return isinstance(task, JoinedTask) and issubclass(task.input_type, SeparateTextsInput)


def has_items(task: Task) -> bool:
    """Whether a label is the number of an item."""
    return has_vectors(task) and issubclass(task.head_type, ItemOfQuery)


OUTSIDE = '''"""Any number of labels for an image."""

from limbeck.tasks.heads.several_labels import SeveralLabels
from limbeck.tasks.inputs.image import ImageInput
from limbeck.tasks.joined import JoinedTask


class MultiLabelImages(JoinedTask):
    """`labels` in order of the logits; `preprocess`: JSON of size, mean and standard deviation."""

    input_type = ImageInput
    head_type = SeveralLabels
    auto_model = "AutoModelForImageClassification"
'''


def offer_multi_label_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a task that the package lacks into `folder`; returns its name."""
    (folder / "multi_label_images.py").write_text(OUTSIDE, encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
    name = "multi-label-images"
    assert name in registry.names("tasks")
    registry.load("tasks", name)
    monkeypatch.delitem(sys.modules, "limbeck.tasks.multi_label_images")
    return name
