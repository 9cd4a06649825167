"""What the teacher's cache of a vocabulary keeps, takes and costs (`distillation/packed_logits.py`).

    python benchmarks/teacher_cache.py toy
    python benchmarks/teacher_cache.py answers FOLDER GGUF_FILE ROWS.jsonl [--rows 200]
    python benchmarks/teacher_cache.py training TEXT_FILE [--seeds 3]

`toy` and `answers` print bytes a token, labelling against the bare forward and reading against a
training step (CPU seconds of one thread, in turns), and how far four losses are off the live
teacher's, with the bound of `packed_logits`. The student is a copy of the teacher's lower half.
`answers` reads tweetsumm's rows: agents' turns are the answers. `training` trains a small teacher
on a text, then students from its live answers and from its cache, and prints their perplexity on
the last tenth.
"""

import argparse
import copy
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from limbeck.distillation.packed_logits import TOP
from limbeck.distillation.teacher import TeacherRequest, ask
from limbeck.distillation.teacher_cache import TeacherCache, open_cache, write_cache
from limbeck.losses.jensen_shannon import JensenShannon
from limbeck.losses.kl import Kl
from limbeck.losses.reverse_kl import ReverseKl
from limbeck.losses.soft_cross_entropy import SoftCrossEntropy
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of
from limbeck.tasks import Batch, Encoded
from limbeck.tasks.packed import Part

LOSSES = {
    "soft_cross_entropy": SoftCrossEntropy,
    "kl": Kl,
    "reverse_kl": ReverseKl,
    "jensen_shannon": JensenShannon,
}
REQUEST = TeacherRequest([], torch.float32, top=TOP)
NO_PADDING: Any = SimpleNamespace(padding={})
CHUNK = 128  # tokens of a row of `training`
CHARACTERS = 350_000  # of its text
# Batches of which times and losses are taken.
ROUNDS = 5
BATCH_ROWS = 8
# Rows of a batch that is timed: dialogues are long, and their logits large.
TIMED_ROWS = 3


def encoded(ids: np.ndarray, is_answer: np.ndarray) -> Encoded:
    """A row (T) whose units are the tokens where `is_answer`, each told where it is predicted."""
    positions = np.flatnonzero(is_answer[1:])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return Encoded(inputs, positions, ids[positions + 1])


def rows_of_answers(path: Path, tokenizer: Any, count: int) -> list[Encoded]:
    """Dialogues of at most 512 tokens; units are the agents' tokens."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines()[:count]:
        ids: list[int] = []
        is_answer: list[bool] = []
        for turn in json.loads(line)["turns"]:
            of_turn = tokenizer(f"{turn['role']}: {turn['text']}\n").input_ids
            ids += of_turn
            is_answer += [turn["role"] == "Agent"] * len(of_turn)
        rows.append(encoded(np.array(ids[:512]), np.array(is_answer[:512])))
    return [row for row in rows if len(row.labels)]


def lower_half(model: nn.Module) -> Any:
    """A student: a copy without the upper half of its layers."""
    student: Any = copy.deepcopy(model)
    kept = len(student.model.layers) // 2
    student.model.layers = student.model.layers[:kept]
    student.config.num_hidden_layers = kept
    return student


def cached(model: nn.Module, rows: list[Encoded], folder: Path) -> TeacherCache:
    """The cache of one part over all rows."""
    write_cache(model, Part(rows, 0, len(rows)), NO_PADDING, REQUEST, folder)
    return open_cache([folder], len(rows), lambda: model)


def cpu(function: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def costs(model: nn.Module, rows: list[Encoded], folder: Path) -> None:
    """Bytes a token, and CPU seconds in turns."""
    student = lower_half(model)
    num_tokens = sum(len(row.labels) for row in rows)
    cache = cached(model, rows, folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    print(f"{len(rows)} rows, {num_tokens:,} tokens of answers", flush=True)
    print(f"bytes a token: {sum(sizes.values()) / num_tokens:.1f}, {sizes}", flush=True)
    seconds: dict[str, list[float]] = {"forward": [], "label": [], "read": [], "step": []}
    generator = np.random.default_rng(0)
    for number in range(ROUNDS):
        chosen = generator.choice(len(rows), TIMED_ROWS, replace=False)
        batch = batch_of(rows, chosen, {})
        some = Part([rows[row] for row in chosen], 0, TIMED_ROWS)
        answers: list[Outputs] = []

        def forward(batch: Batch = batch) -> None:
            with torch.no_grad():
                _ = ask(model, batch, [], torch.float32).logits

        def label(some: Part = some, number: int = number) -> None:
            target = folder / f"again-{number}"
            target.mkdir()
            write_cache(model, some, NO_PADDING, REQUEST, target)

        def read(batch: Batch = batch, answers: list[Outputs] = answers) -> None:
            answers.append(cache(batch))
            _ = answers[0].logits

        def step(batch: Batch = batch, answers: list[Outputs] = answers) -> None:
            Kl()(run_model(student, batch), answers[0], batch, 0.0).backward()

        calls: list[Callable[[], Any]] = [forward, label, read, step]
        for name, call in zip(seconds, calls, strict=True):
            seconds[name].append(cpu(call))
    of_units = {name: np.array(values) for name, values in seconds.items()}
    for name, values in of_units.items():
        print(f"{name:8} {1000 * np.median(values):8.1f} ms of CPU a batch of {TIMED_ROWS} rows")
    print(f"labelling {np.median(of_units['label'] / of_units['forward']):.3f} x the bare forward")
    print(
        f"reading   {np.median(of_units['read'] / of_units['step']):.3f} x a training step",
        flush=True,
    )
    errors(model, student, rows, cache)


@torch.no_grad()
def errors(model: nn.Module, student: nn.Module, rows: list[Encoded], cache: TeacherCache) -> None:
    """How far losses on the cache are off those on the live teacher, and their bound."""
    generator = np.random.default_rng(1)
    chosen = generator.choice(len(rows), min(2 * TIMED_ROWS, len(rows)), replace=False)
    batch = batch_of(rows, chosen, {})
    mask = batch.mask
    live = ask(model, batch, [], torch.float32)
    kept = cache(batch)
    own = run_model(student, batch)
    off = (kept.logits - live.logits)[mask]
    half = (off.amax(-1) - off.amin(-1)) / 2
    spread = off.std(-1).square().mean().sqrt()
    print(
        f"errors of logits: {spread:.3f} in the root of the mean square, half range {half.mean():.2f}"
    )
    print("T  loss                  live    cached  off      mean|off|  largest  bound (mean)")
    for temperature in (1.0, 2.0, 4.0):
        for name, loss in LOSSES.items():
            each = loss(temperature=temperature)
            on_live = each.of_units(own, live, batch, 0.0)[mask]
            on_kept = each.of_units(own, kept, batch, 0.0)[mask]
            bound = bounds(name, temperature, half, own.logits[mask], kept.logits[mask])
            difference = on_kept - on_live
            assert (difference.abs() <= bound + 1e-3).all()
            print(
                f"{temperature:.0f}  {name:18} {on_live.mean():8.4f} {on_kept.mean():8.4f} "
                f"{difference.mean():+.4f} {difference.abs().mean():8.4f} "
                f"{difference.abs().max():8.4f} {bound.mean():8.3f}"
            )


def bounds(name: str, temperature: float, half: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """The table of `packed_logits`, unit by unit."""
    variation = temperature * torch.tanh(half / (2 * temperature))
    if name == "reverse_kl":
        return 2 * temperature * half
    if name == "jensen_shannon":
        return 2 * temperature * half * 0.5 * (math.log(2) + 1 / math.e)
    compared = student if name == "soft_cross_entropy" else teacher - student
    weighed = variation * (compared.amax(-1) - compared.amin(-1))
    return weighed if name == "soft_cross_entropy" else weighed + half**2 / 2


def small_llama(width: int, layers: int, num_labels: int) -> Any:
    """A decoder of random weights with four heads."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=num_labels,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=1 / math.sqrt(width),
        )
    )


def rows_of_text(path: Path) -> tuple[list[Encoded], int]:
    """(Rows of 128 tokens in order, the size of a byte-level vocabulary that was learned on it)."""
    from tokenizers import ByteLevelBPETokenizer

    text = path.read_text(encoding="utf-8")[:CHARACTERS]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([text], vocab_size=2048, show_progress=False)
    ids = np.array(tokenizer.encode(text).ids)
    everything = np.ones(CHUNK, bool)
    count = len(ids) // CHUNK
    rows = [encoded(row, everything) for row in ids[: count * CHUNK].reshape(count, CHUNK)]
    return rows, tokenizer.get_vocab_size()


def train(
    model: Any, rows: list[Encoded], epochs: int, seed: int, answer: Callable[[Batch], Any]
) -> None:
    """By kl at temperature 2 where `answer` gives the teacher's outputs, else by the labels."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.1)
    steps = epochs * (len(rows) // BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = np.random.default_rng(seed)
    kl = Kl(temperature=2.0)
    for _ in range(epochs):
        order = generator.permutation(len(rows))[: len(rows) // BATCH_ROWS * BATCH_ROWS]
        for chosen in order.reshape(-1, BATCH_ROWS):
            batch = batch_of(rows, chosen, {})
            outputs = run_model(model, batch)
            teacher = answer(batch)
            if teacher is None:
                loss = nn.functional.cross_entropy(
                    outputs.logits.flatten(0, 1), batch.labels.flatten()
                )
            else:
                loss = kl(outputs, teacher, batch, 0.0)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def perplexity(model: Any, rows: list[Encoded]) -> float:
    """Of held-out rows."""
    nats = []
    for start in range(0, len(rows), BATCH_ROWS):
        batch = batch_of(rows, np.arange(start, min(start + BATCH_ROWS, len(rows))), {})
        log_p = run_model(model, batch).logits.log_softmax(-1)
        nats.append(-log_p.gather(-1, batch.labels.unsqueeze(-1)).flatten())
    return math.exp(torch.cat(nats).mean())


def trainings(path: Path, seeds: int) -> None:
    """Students of a cached and of a live teacher, from the same weights in the same order."""
    rows, num_labels = rows_of_text(path)
    cut = len(rows) * 9 // 10
    learned, held_out = rows[:cut], rows[cut:]
    torch.manual_seed(0)
    teacher = small_llama(128, 4, num_labels)
    train(teacher, learned, 3, 0, lambda batch: None)
    teacher.eval()
    print(
        f"V {num_labels}, {len(learned)} rows; teacher {perplexity(teacher, held_out):.3f}",
        flush=True,
    )

    def live(batch: Batch) -> Outputs:
        with torch.no_grad():
            return ask(teacher, batch, [], torch.float32)

    with tempfile.TemporaryDirectory() as folder:
        cache = cached(teacher, learned, Path(folder))
        tokens = sum(len(row.labels) for row in learned)
        size = sum(each.stat().st_size for each in Path(folder).iterdir())
        print(f"{size / tokens:.1f} bytes a token")
        for seed in range(seeds):
            found = {}
            for name, answer in (("live", live), ("cached", cache)):
                torch.manual_seed(seed)
                student = small_llama(64, 2, num_labels)
                train(student, learned, 2, seed, answer)
                found[name] = perplexity(student, held_out)
            ratio = found["cached"] / found["live"]
            print(f"seed {seed}: {found}, cached / live {ratio:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["toy", "answers", "training"])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.mode == "training":
        trainings(arguments.paths[0], arguments.seeds)
        return
    if arguments.mode == "toy":
        torch.manual_seed(0)
        model: Any = small_llama(64, 4, 8192)
        generator = np.random.default_rng(0)
        rows = []
        for length in generator.integers(20, 60, 64):
            ids = generator.integers(0, 8192, length)
            rows.append(encoded(ids, np.arange(length) > 4))
    else:
        folder, file, data = arguments.paths
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
        )
        rows = rows_of_answers(data, tokenizer, arguments.rows)
    with tempfile.TemporaryDirectory() as scratch:
        costs(model.eval(), rows, Path(scratch))


if __name__ == "__main__":
    main()
