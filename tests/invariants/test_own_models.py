"""A user's own modules and rows through the Python API: recipe to artifact, the teacher reused, mistakes told."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from encoders import save_encoder
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import limbeck
from limbeck.sources import BadRow
from limbeck.sources.rows import Rows

RECIPE = """
task: image-classification
data: {source: rows}
teacher: {model: large, epochs: 1, learning_rate: 0.01}
student: {model: small}
train: {epochs: 2, learning_rate: 0.01, threads: 1}
distill: {losses: {kl: {temperature: 2.0}, hidden: {map: {features.2: network.body.3}}}}
quantize: {when: train, activations: uint8, start: 0.5, calibration_rows: 32}
"""


class Large(nn.Module):
    """No list of layers, and logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.head(self.body(images).flatten(1))}


class Adapted(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values)["scores"]


class Small(nn.Module):
    def __init__(self, num_labels: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.head = nn.Linear(8, num_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(pixel_values).mean((2, 3)))


def digits(count: int) -> list[dict[str, Any]]:
    found = load_digits()
    images = np.round(found.images * 15.9375).astype(np.uint8)
    return [
        {"image": image, "label": int(label)}
        for image, label in zip(images[:count], found.target[:count], strict=True)
    ]


def own_models() -> dict[str, Any]:
    torch.manual_seed(0)
    return {"large": Adapted(Large()), "small": Small()}


def test_own_modules_and_rows_go_from_recipe_to_artifact(tmp_path: Path) -> None:
    told: list[Any] = []
    rows, recipe = {"train": digits(300)}, limbeck.parse(RECIPE)
    models = own_models()
    before = {name: tensor.clone() for name, tensor in models["small"].state_dict().items()}
    limbeck.run(recipe, tmp_path / "one", models=models, rows=rows)
    report = limbeck.run(recipe, tmp_path / "two", models=own_models(), rows=rows, tell=told.append)
    assert {"teacher: reused", "label: reused", "train (joint, seed 0): reused"} <= set(
        map(str, told)
    )
    assert all(
        torch.equal(before[name], tensor) for name, tensor in models["small"].state_dict().items()
    )
    assert report["parity"][0]["holds"]
    answer = limbeck.load(tmp_path / "two" / "artifact").predict(rows["train"][0]["image"])
    assert answer["label"] in map(str, range(10))


def test_other_weights_are_another_teacher(tmp_path: Path) -> None:
    recipe, rows = limbeck.parse(RECIPE), {"train": digits(300)}

    def run_until(line: str, models: dict[str, Any]) -> None:
        def stop(event: Any) -> None:
            if str(event) == line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            limbeck.run(recipe, tmp_path / "run", models=models, rows=rows, tell=stop)

    run_until("label: running", own_models())
    changed = own_models()
    with torch.no_grad():
        changed["large"].network.head.bias.add_(0.1)
    run_until("teacher: running", changed)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"large": Large(), "small": Small()},
            r"model `large`: cannot be called with pixel_values to give logits",
        ),
        (
            {"large": Small(7), "small": Small()},
            r"model `large`: its logits have 7 values, but the data has 10 labels \(0, 1",
        ),
    ],
)
def test_a_module_that_does_not_fit_is_told(
    tmp_path: Path, models: dict[str, nn.Module], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        limbeck.run(limbeck.parse(RECIPE), tmp_path, models=models, rows={"train": digits(300)})


def test_a_module_of_the_map_that_is_not_there_is_told(tmp_path: Path) -> None:
    recipe = limbeck.parse(
        RECIPE, overrides=["distill.losses.hidden.map={features.2: network.bodi.3}"]
    )
    with pytest.raises(
        ValueError, match=r"no module `network\.bodi\.3`\. Did you mean `network\.body\.3`"
    ):
        limbeck.run(recipe, tmp_path, models=own_models(), rows={"train": digits(300)})


@pytest.mark.usefixtures("untimed")
def test_a_dataset_of_texts_with_an_own_encoder(tmp_path: Path) -> None:
    texts = [
        f"{word} {other}"
        for word in ("good", "bad")
        for other in ("film", "book", "song", "meal", "game", "plan")
    ] * 4
    folder = save_encoder(tmp_path / "encoder", texts, vocabulary=60, width=16, layers=1)

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(80, 16), nn.Linear(16, 2)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            mask = attention_mask.unsqueeze(-1).to(self.table.weight.dtype)
            return self.head((self.table(input_ids) * mask).sum(1) / mask.sum(1))

    features = datasets.Features(
        {"review": datasets.Value("string"), "mood": datasets.ClassLabel(names=["good", "bad"])}
    )
    rows = datasets.Dataset.from_dict(
        {"review": texts, "mood": [int(text.startswith("bad")) for text in texts]},
        features=features,
    )
    recipe = limbeck.parse(
        "task: text-classification\ndata: {source: rows, text: review, label: mood}\nstudent: {model: bag}\n"
        "train: {epochs: 12, learning_rate: 0.05, batch_tokens: 64, threads: 1}\nquantize: {activations: uint8}\n"
    )
    limbeck.run(
        recipe,
        tmp_path / "run",
        models={"bag": limbeck.Own(Bag(), tokenizer=folder)},
        rows={"train": rows, "test": rows},
    )
    answer = limbeck.load(tmp_path / "run" / "artifact").predict("bad film")
    assert answer["label"] == "bad"


def test_a_text_module_needs_a_tokenizer(tmp_path: Path) -> None:
    recipe = limbeck.parse(
        "task: text-classification\ndata: {source: rows}\nstudent: {model: bag}\n"
    )
    with pytest.raises(ValueError, match=r"model `bag`: say which tokenizer"):
        limbeck.run(
            recipe,
            tmp_path,
            models={"bag": nn.Linear(2, 2)},
            rows={"train": [{"text": f"{i}", "label": i % 2} for i in range(40)]},
        )


def test_tags_of_a_dataset_get_their_names() -> None:
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner": datasets.List(datasets.ClassLabel(names=["O", "B-PER"])),
        }
    )
    given = datasets.Dataset.from_dict(
        {"tokens": [["I", "am", "Ann"]], "ner": [[0, 0, 1]]}, features=features
    )
    assert Rows(words="tokens", tags="ner").take({"train": given}) == {
        "train": [{"words": ["I", "am", "Ann"], "tags": ["O", "O", "B-PER"]}]
    }


@pytest.mark.parametrize("form", ["numpy", "torch", "a stream"])
def test_labels_of_a_dataset_get_their_names_in_any_format(form: str) -> None:
    """As numbers of numpy they were classes called 0 and 1, and as tensors no labels."""
    label = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    plain = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    given = plain.to_iterable_dataset() if form == "a stream" else plain.with_format(form)
    found = Rows().take({"train": given})["train"]
    assert found == [{"text": "a", "label": "pos"}, {"text": "b", "label": "neg"}]


def test_a_transform_of_a_dataset_stays() -> None:
    plain = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    given = plain.with_transform(lambda batch: {**batch, "text": ["c" for _ in batch["text"]]})
    assert [row["text"] for row in Rows().take({"train": given})["train"]] == ["c", "c"]


def test_pictures_become_arrays() -> None:
    found = Rows().take(
        {
            "train": [
                {"image": Image.new("L", (4, 3), 7), "label": "x"},
                {"image": Image.new("RGBA", (4, 3)), "label": None},
            ]
        }
    )
    assert [row["image"].shape for row in found["train"]] == [(3, 4), (3, 4, 3)]
    assert [row["label"] for row in found["train"]] == ["x", None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "", "label": "a"}, "rows['train']:1: text: a text is needed, not ''"),
        ({"text": "a", "label": {}}, "rows['train']:1: label: {} is no label"),
        (
            {"words": "I am", "tags": ["O"]},
            "rows['train']:1: words: a list of words is needed, not 'I am'",
        ),
        (
            {"image": np.zeros((2, 2, 5)), "label": "a"},
            "rows['train']:1: image: an image array is (H, W) or (H, W, 3) of uint8",
        ),
    ],
)
def test_a_bad_row_is_told(row: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow) as caught:
        Rows().take({"train": [row]})
    assert str(caught.value).startswith(message)


def test_splits_of_other_names_are_told() -> None:
    with pytest.raises(ValueError, match="splits are train, validation, test, unlabelled"):
        Rows().take({"training": []})


def test_a_float_student_is_left_as_a_model_folder(tmp_path: Path) -> None:
    texts = [f"{word} film" for word in ("good", "bad")] * 20
    encoder = save_encoder(tmp_path / "encoder", texts, vocabulary=40, width=16, layers=2)
    rows = [{"text": text, "label": text[:3]} for text in texts]
    recipe = limbeck.parse(
        f"task: text-classification\ndata: {{source: rows}}\nstudent: {{model: {encoder}}}\ntrain: {{epochs: 1, threads: 1, dtype: float32}}\n"
    )
    report = limbeck.run(recipe, tmp_path / "run", rows={"train": rows, "test": rows})
    assert report["parity"] == [] and not (tmp_path / "run" / "artifact").exists()
    again = limbeck.parse(
        f"task: text-classification\ndata: {{source: rows}}\nteacher: {{model: {tmp_path / 'run' / 'model'}, epochs: 0}}\n"
        "student: {from: teacher, surgery: drop_layers, layers: 1}\ntrain: {epochs: 1, threads: 1}\n"
    )
    taught = limbeck.run(again, tmp_path / "again", rows={"train": rows, "test": rows})
    assert taught["arms"]["teacher"]["mean"] == report["arms"]["plain"]["mean"]
