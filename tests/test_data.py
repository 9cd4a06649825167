"""On the real datasets of $LIMBECK_DATA: what was read, and a whole run on CoNLL-2003 with a small encoder."""

import importlib.util
import os
from collections import Counter
from pathlib import Path

import pytest
from encoders import save_encoder

import limbeck
from limbeck.core import registry
from limbeck.data.splits import load_splits
from limbeck.recipe.model import Data
from limbeck.recipe.reading import parse, read
from limbeck.sources import Row
from limbeck.sources.conll import Conll
from limbeck.tasks.metrics import spans

pytestmark = pytest.mark.data
CONLL = Path(os.environ.get("LIMBECK_DATA", "../shared/data")).resolve() / "conll2003"


def test_conll_counts_are_the_published_ones() -> None:
    """Tjong Kim Sang and De Meulder, 2003, tables 1 and 2."""
    splits = Conll(str(CONLL)).read()
    assert {
        name: (len(rows), sum(len(row["words"]) for row in rows)) for name, rows in splits.items()
    } == {
        "train": (14041, 203621),
        "validation": (3250, 51362),
        "test": (3453, 46435),
    }
    found = Counter(kind for row in splits["test"] for kind, _, _ in spans(row["tags"]))
    assert found == {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}


COUNTS = {
    "multi-label-classification-movielens-minilm3-joint": (7015, 779, 1948, 20),
    "image-classification-busi-joint": (545, 78, 157, 3),
    "image-classification-fashion-mnist-joint": (54000, 6000, 10000, 10),
    "image-classification-pneumoniamnist-joint": (4708, 524, 624, 2),
    "text-classification-banking77-minilm3-joint": (9003, 1000, 3080, 77),
    "text-classification-mrpc-minilm3-joint": (3668, 408, 1725, 2),
    "text-classification-banking77-mpnet-joint": (9003, 1000, 3080, 77),
    "text-classification-rte-minilm3-joint": (2241 + 3000, 249, 277, 2),
    "text-classification-sst2-minilm3-joint": (60614, 6735, 872, 2),
    "text-classification-twitter-financial-minilm3-joint": (8589, 954, 2388, 3),
    "ranking-banking77-minilm3-joint": (9003, 1000, 3080, 0),
    "sentence-embedding-stsb-minilm3-joint": (5174, 575, 1500, 1),
    "text-regression-stsb-minilm3-joint": (5174 + 1379, 575, 1500, 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_splits_of_a_recipe_are_the_published_ones(name: str) -> None:
    """The sizes that each set's authors give; what has no validation split gives up a tenth of train, which unlabelled rows join."""
    whole = read(Path(__file__).parents[1] / "recipes" / f"{name}.yaml")
    named = whole.data
    options = {
        **named.options,
        "path": named.options["path"].replace("../shared/data", str(CONLL.parent)),
    }
    found = load_splits(Data(source=named.source, **options), registry.load("tasks", whole.task))
    assert (len(found.train), len(found.validation), len(found.test), len(found.labels)) == COUNTS[
        name
    ]


OTHERS = [
    ("csv", {"path": "bitext_intents"}, 8100, 27),
    ("csv", {"path": "bitext_27k_instructions/instructions.csv"}, 26872, 11),
    ("csv", {"path": "financial_phrasebank/sentences_allagree.csv"}, 2264, 3),
    ("jsonl", {"path": "snips"}, 14484, 7),
    (
        "tsv",
        {"path": "glue/RTE", "text": "sentence1", "text_b": "sentence2", "test": "dev.tsv"},
        2767,
        2,
    ),
    (
        "tsv",
        {
            "path": "glue/MRPC",
            "text": "#1 String",
            "text_b": "#2 String",
            "label": "Quality",
            "test": "test_labeled.tsv",
        },
        5801,
        2,
    ),
    (
        "tsv",
        {"path": "glue/CoLA", "columns": ["source", "label", "mark", "text"], "test": "dev.tsv"},
        9594,
        2,
    ),
]


@pytest.mark.parametrize(
    ("source", "options", "rows", "labels"),
    OTHERS,
    ids=[options["path"] for _, options, _, _ in OTHERS],
)
def test_other_sets_load_whole(
    source: str, options: dict[str, str], rows: int, labels: int
) -> None:
    found = load_splits(
        Data(source=source, **{**options, "path": str(CONLL.parent / options["path"])}),
        registry.load("tasks", "text-classification"),
    )
    assert len(found.train) + len(found.validation) + len(found.test) == rows
    assert len(found.labels) == labels


def sentence(row: Row) -> tuple[str, ...]:
    return tuple(word.casefold() for word in row["words"])


def test_conll_from_text_to_a_proven_artifact(tmp_path: Path) -> None:
    splits = Conll(str(CONLL)).read()
    words = [word for row in splits["train"] for word in row["words"]]
    teacher = save_encoder(tmp_path / "teacher", words, vocabulary=6000, width=64, layers=4)
    runtimes = "[onnx]"
    if importlib.util.find_spec("openvino"):
        runtimes = "[onnx, openvino]"
    text = f"""
task: token-classification
data: {{source: conll, path: {CONLL}}}
teacher: {{model: {teacher}, epochs: 2}}
student: {{from: teacher, surgery: drop_layers, layers: 2}}
train: {{epochs: 2, learning_rate: 2.0e-3, batch_tokens: 2048}}
distill: {{losses: {{kl: {{}}, hidden: {{}}}}}}
quantize: {{when: train, error_weight: 1.0e-4, start: 0.5}}
verdict: {{arms: [kd, kd+ptq, joint], max_drop: 0.1}}
export: {runtimes}
"""
    report = limbeck.run(parse(text), tmp_path / "run")
    assert report["arms"]["joint"]["mean"]["token_micro_average"] > 0.85
    assert [row["units"] for row in report["parity"]] == [46435] * len(report["parity"])
    assert all(row["holds"] for row in report["parity"])
    tags = {
        row["label"]: row["support"] for row in report["arms"]["joint"]["seeds"][0]["per_label"]
    }
    # The verdict is over the rows that train and validation lack: 132 of the 3,453 are sentences of
    # train.
    seen = {sentence(row) for split in ("train", "validation") for row in splits[split]}
    new = [row for row in splits["test"] if sentence(row) not in seen]
    assert tags["O"] == sum(row["tags"].count("O") for row in new)
    assert tags["micro average"] == sum(len(row["tags"]) for row in new)
