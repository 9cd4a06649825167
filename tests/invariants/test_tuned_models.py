"""Models that somebody else has tuned, whole runs: a head whose outputs have names, in another order and case, or none; fewer positions than texts have tokens."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import call
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import limbeck

RINGS, RAINS = ["ring", "dial", "phone"], ["rains", "snows", "storm"]
OTHERS = ["Ada", "today", "please", "now", "Alan"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
# Nothing is open, so that nothing is tried.
QUANTIZE = "{when: after, activations: uint8, range: minmax, rounding: nearest, equalize: {}}"
POSITIONS = 66  # of RoBERTa: 64 tokens


def rows(count: int, *, words: int = 5) -> list[dict[str, Any]]:
    """Calls and weather in turn, told apart by one word of three."""
    chance = random.Random(count)
    made = []
    for number in range(count):
        kind, label = ((RINGS, "call"), (RAINS, "weather"))[number % 2]
        text = chance.choices(OTHERS, k=words - 1)
        text.insert(chance.randrange(4), chance.choice(kind))
        made.append({"text": " ".join(text), "label": label})
    return made


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa tuned by hand: its first output is the weather. Its tokenizer says no length."""
    from transformers import (
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    folder = tmp_path_factory.mktemp("models") / "tuned"
    vocabulary = {word: number for number, word in enumerate(SPECIAL + RINGS + RAINS + OTHERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>",
    )  # fmt: skip
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=POSITIONS, pad_token_id=1,
    )  # fmt: skip
    model = RobertaForSequenceClassification(config)
    batch = fast([row["text"] for row in rows(60)], return_tensors="pt")["input_ids"]
    labels = torch.tensor([row["label"] == "call" for row in rows(60)]).long()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch).logits, labels).backward()
        optimizer.step()
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def called(folder: Path, first: str, second: str) -> Path:
    """The folder with other names of the outputs."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": first, "1": second}, "label2id": {first: 0, second: 1}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def recipe(model: Path, rest: str) -> Any:
    return limbeck.parse(
        f"task: text-classification\ndata: {{source: rows}}\nteacher: {{model: {model}, epochs: 0}}\n"
        f"student: {{from: teacher, surgery: same}}\ntrain: {{epochs: 1, learning_rate: 1.0e-4, threads: 1, dtype: float32}}\n{rest}"
    )


@pytest.mark.usefixtures("untimed")
def test_a_head_s_names_and_the_positions_hold_from_training_to_the_last_answer(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    train = rows(20) + rows(20, words=120)
    report = limbeck.run(
        recipe(called(tuned, "Weather", "CALL"), f"distill: {{losses: {{kl: {{}}}}}}\nquantize: {QUANTIZE}\n"),
        tmp_path / "run", rows={"train": train, "test": rows(24, words=100)}, tell=lambda event: told.append(str(event)),
    )  # fmt: skip
    # By number all of them would be wrong; longer than the model has positions, they are cut.
    assert {name: arm["mean"]["accuracy"] for name, arm in report["arms"].items()} == {
        "teacher": 1.0,
        "kd+ptq": 1.0,
    }
    assert report["parity"][0]["holds"]
    lines = "\n".join(told)
    assert "its head's Weather, CALL are read as weather, call" in lines
    assert "reads a text up to 64 tokens, fewer than the 256 of train.max_tokens" in lines
    assert "test: 24 of 24 texts are longer than 64 tokens and lose their end" in lines
    # The artifact alone, on texts of every length.
    long = tmp_path / "long.csv"
    with open(long, "w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows(6, words=400) + rows(6, words=61) + rows(6, words=63) + rows(6))
    artifact = tmp_path / "run" / "artifact"
    capsys.readouterr()
    assert call("evaluate", artifact, long, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["accuracy"] == 1.0
    assert call("predict", artifact, long) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["label"] for answer in answers] == ["call", "weather"] * 12


def test_outputs_without_names_are_refused_where_nothing_tunes_them(
    tuned: Path, tmp_path: Path
) -> None:
    """They could be any two labels: taken by number they would be right or wrong, as the order falls."""
    data = {"train": rows(20), "test": rows(8)}
    for names, reason in (
        (("LABEL_0", "LABEL_1"), "does not say what its outputs mean"),
        (("sun", "ring"), "made for sun, ring, and the data has call, weather"),
    ):
        with pytest.raises(ValueError, match=rf"taken as tuned already \(epochs: 0\).*{reason}"):
            limbeck.run(recipe(called(tuned, *names), ""), tmp_path / "run", rows=data)
