"""Tokenizers with more ids than a model has embeddings: refused with both numbers before anything is trained."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import save_encoder
from tokenizers import Tokenizer
from torch import nn

import limbeck
from limbeck.core.events import Started
from limbeck.data.augmenters.replace_by_embedding import ReplaceByEmbedding
from limbeck.models.create import create_model
from limbeck.models.preprocessing import preprocess
from limbeck.models.published.vocabulary import check_vocabulary, highest_id
from limbeck.models.user_model import Own
from limbeck.pipeline import runs
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

WORDS = ["sun", "rain", "wind", "snow"]
ROWS = [{"text": " ".join(WORDS[: 1 + n % 4] * 2), "label": "ab"[n % 2]} for n in range(8)]


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, WORDS, vocabulary=40, width=16, layers=1))


@pytest.fixture(scope="module")
def longer(fitting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with three tokens added to its tokenizer alone; no row here has one."""
    folder = tmp_path_factory.mktemp("models") / "longer"
    shutil.copytree(fitting, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["<user>", "<url>", "<hail>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def task_of(folder: Path) -> TextClassification:
    return TextClassification(["a", "b"], preprocess(str(folder), TextClassification, [], 32))


def test_ids_beyond_the_table_are_refused(fitting: Path, longer: Path) -> None:
    num_rows = json.loads((fitting / "config.json").read_text())["vocab_size"]
    task = task_of(fitting)
    model = create_model(str(fitting), {}, task, seed=0).train()
    before = torch.random.get_rng_state()
    check_vocabulary(model, task, task.encode(ROWS), "m")
    task = task_of(longer)
    assert highest_id(task.input.tokenizer) == num_rows + 2
    numbers = rf"ids up to {num_rows + 2}, and its table of embeddings has {num_rows} rows"
    with pytest.raises(ValueError, match=rf"{numbers}.*token_embeddings\({num_rows + 3}\)"):
        check_vocabulary(model, task, task.encode(ROWS), "m")
    assert model.training and torch.equal(before, torch.random.get_rng_state())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", [TextClassification, TokenClassification])
def test_of_every_head(longer: Path, kind: Any) -> None:
    task = kind(["O", "B-a"], preprocess(str(longer), kind, [], 32))
    words = [{"words": WORDS, "tags": ["O"] * 4, "text": "sun", "label": "O"}] * 2
    model = create_model(str(longer), {}, task, seed=0)
    with pytest.raises(ValueError, match="its tokenizer has ids up to"):
        check_vocabulary(model, task, task.encode(words), "m")


class Sums(nn.Module):
    """Position 63 is read too, whose table is not the tokenizer's; ids may be clipped."""

    def __init__(self, rows: int, most: int | None = None) -> None:
        super().__init__()
        self.table, self.places, self.most = nn.Embedding(rows, 2), nn.Embedding(4, 2), most

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        ids = input_ids if self.most is None else input_ids.clamp(max=self.most)
        places = self.places(torch.arange(ids.shape[1]) % 4)
        return ((self.table(ids) + places) * attention_mask.unsqueeze(-1)).sum(1)


@pytest.mark.parametrize(("rows", "most"), [(64, None), (40, 39), (20, None)])
def test_an_own_module_is_asked_as_well(longer: Path, rows: int, most: int | None) -> None:
    task = task_of(longer)
    own = Own(Sums(rows, most), tokenizer=str(longer))
    if rows == 20:
        with pytest.raises(ValueError, match="table of embeddings has 20 rows"):
            own.check(task, task.encode(ROWS), "mine")
    else:
        own.check(task, task.encode(ROWS), "mine")


def test_what_augments_is_asked_too(longer: Path) -> None:
    with pytest.raises(ValueError, match="its tokenizer has ids up to"):
        ReplaceByEmbedding().open(str(longer))


@pytest.mark.parametrize("verb", ["run", "label"])
def test_a_student_is_refused_before_its_teacher_is_tuned(
    fitting: Path, longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.csv").write_text(
        "text,label\n" + "".join(f"{WORDS[n % 4]} {n},{'ab'[n % 2]}\n" for n in range(40))
    )
    recipe = limbeck.parse(
        f"task: text-classification\ndata: {{source: csv, path: {tmp_path}/train.csv}}\n"
        f"teacher: {{model: {fitting}, epochs: 1}}\nstudent: {{model: {longer}}}\n"
        "distill: {losses: {kl: {}}}\ntrain: {epochs: 1, threads: 1, device: cpu}\n"
    )
    told: list[Any] = []
    begin = partial(runs.run, out=tmp_path / "out") if verb == "run" else runs.label
    with pytest.raises(ValueError, match="its tokenizer has ids up to"):
        begin(recipe, tell=told.append)
    started = [event.stage for event in told if isinstance(event, Started)]
    assert started and "teacher" not in started
