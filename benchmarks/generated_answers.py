"""Whether answers that models write help a small student: `python benchmarks/generated_answers.py FOLDER`.

A toy, from random weights: a shop's dialogues, in which a question has one of three answers by
chance, a teacher of four layers and students of one. Each student learns 3 epochs by `kl` at
temperature 1, with the data's answers, with the teacher's (`sequence_level`), and in half of the
steps with its own (`on_policy`). Printed for three seeds: nats a token of the data's answers; how
many greedy answers are one of the right ones; how many are the teacher's own.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from limbeck.artifact.generation.sampling import Sampling
from limbeck.core.cache.store import Store
from limbeck.evaluation.scores import quality
from limbeck.models.generation.batched import Decoding, Prompt, generate
from limbeck.pipeline.arm import run_arm, run_teacher_arm
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.reading import parse

THINGS = ("parcel", "letter", "chair", "lamp", "table", "phone", "mirror", "bicycle")
PLACES = ("Paris", "Hanoi", "Lima", "Oslo", "Cairo", "Quito", "Accra", "Riga")
ANSWERS = (
    "your {thing} is on its way to {place}",
    "we have sent the {thing} to {place} today",
    "it waits for you in {place}, a fine {thing}, thank you",
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WAYS: dict[str, dict[str, Any]] = {
    "data": {},
    "sequence_level": {"sequence_level": {"max_new_tokens": 40}},
    "on_policy": {"on_policy": {"share": 0.5, "max_new_tokens": 40}},
}


def dialogue(chance: random.Random) -> dict[str, Any]:
    """A question, and one of its right answers."""
    said = {"thing": chance.choice(THINGS), "place": chance.choice(PLACES)}
    question = "where is the {thing} that goes to {place}?".format(**said)
    answer = chance.choice(ANSWERS).format(**said)
    pair = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": pair}


def right_answers(row: dict[str, Any]) -> list[str]:
    """All answers that the data could have given."""
    words = row["messages"][0]["content"].removesuffix("?").split()
    said = {"thing": words[3], "place": words[-1]}
    return [answer.format(**said) for answer in ANSWERS]


def write_data(folder: Path) -> None:
    chance = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 400), ("valid", 60), ("test", 120)):
        lines = [json.dumps(dialogue(chance)) + "\n" for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def write_model(folder: Path, data: Path) -> None:
    """A random Llama of 4 x 64 and its vocabulary of 512."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=special, show_progress=False)
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    texts = [turn["content"] for row in rows for turn in row["messages"]]
    tokenizer.train_from_iterator([*texts, "user\n assistant\n"], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[2], pad_token=special[0]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def recipe_of(folder: Path, way: str, seed: int) -> Any:
    content = {
        "task": "text-generation",
        "data": {"source": "jsonl", "path": str(folder / "data")},
        "teacher": {"model": str(folder / "model"), "epochs": 16, "learning_rate": 3e-3},
        "student": {"from": "teacher", "surgery": "drop_layers", "layers": 1},
        "train": {
            "epochs": 3,
            "learning_rate": 3e-3,
            "batch_tokens": 1024,
            "max_tokens": 96,
            "threads": 1,
            "dtype": "float32",
        },
        "distill": {"losses": {"kl": {"temperature": 1.0}}, **WAYS[way]},
    }
    recipe = compatibility.resolved(parse(json.dumps(content)))
    # The teacher is tuned with the first seed in every row.
    train = recipe.train.model_copy(update={"seed": seed})
    return recipe, recipe.model_copy(update={"train": train})


def answers_of(model: Any, task: Any, rows: list[Any]) -> list[str]:
    """The greedy answers to the first question of each row."""
    reads = task.input
    nothing = np.random.default_rng(0)
    prompts = [Prompt(reads.prompt(row["messages"][:1]).tolist(), nothing) for row in rows]
    decoding = Decoding(Sampling(), 40, reads.end_ids, 0, 128)
    written = generate(model.eval(), prompts, decoding)
    return [reads.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]


def told(name: str, arm: Any, rows: list[Any], of_teacher: list[str]) -> list[str]:
    """Print an arm's figures; its answers."""
    nats = quality(arm.scored, arm.task)["nats_per_token"]
    answers = answers_of(arm.model(), arm.task, rows)
    right = sum(said in right_answers(row) for said, row in zip(answers, rows, strict=True))
    same = sum(a == b for a, b in zip(answers, of_teacher, strict=False))
    print(f"{name:24} nats {nats:.4f}  right {right}/{len(rows)}  teacher's {same}/{len(rows)}")
    return answers


def main(folder: Path) -> None:
    write_data(folder / "data")
    write_model(folder / "model", folder / "data")
    store = Store(folder / "cache")
    of_teacher: list[str] = []
    for seed in range(3):
        for way in WAYS:
            whole, recipe = recipe_of(folder, way, seed)
            run = RunContext(whole, store)
            rows = list(run.data.test)
            if not of_teacher:
                of_teacher = told("teacher", run_teacher_arm(run), rows, [])
            arm = run_arm(recipe, store, run=run)
            told(f"{way}, seed {seed}", arm, rows, of_teacher)
            for note in arm.notes:
                print(f"    {note}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
