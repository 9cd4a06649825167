"""What integers in groups of 32 with fp16 scales cost a small Llama: perplexity by way and seed.

    python benchmarks/language_models.py TEXT [--seeds N] [--first N] [--steps N] [--threads N]

TEXT is a file of plain text, such as tinyshakespeare's input.txt: its first nine tenths train, the
last twentieth is the test. A byte-level BPE of 2,048 tokens is trained on the first, then a Llama of
4 layers, 128 wide, tied. Half of the steps are in float; from there one branch goes on in float, and
the joint ones quantize, at once or in the last fifth (by `every_step`, or as named; with the error
term), on the same batches. The finished float model is
quantized afterwards by each way, calibrated on windows of train. Every figure is of teacher-forced
windows of 64 tokens; the interval is of the paired difference from the float model, by windows.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from limbeck.quantization.after_training import calibrate, quantize_after_training
from limbeck.quantization.group_codes import group_codes
from limbeck.quantization.modules.key_values import Int8Cache
from limbeck.quantization.modules.swap import Quantized, squared_error
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model, quantization_components
from limbeck.quantization.progressive import cover_weights
from limbeck.recipe.model import Quantize

VOCABULARY = 2048
WINDOW = 64
ROWS = 8
RATE = 3e-3
ERROR_WEIGHT = 1e-2
# Windows that ranges, roundings and rewrites see.
CALIBRATION = 64

BLOCKS: dict[str, Any] = {"group": 32, "scale": "float16", "activations": "float"}
AFTER: dict[str, dict[str, Any]] = {
    "int8 nearest": {"weights": "int8"},
    "int8 nearest, int8-dynamic": {"weights": "int8", "activations": "int8-dynamic"},
    "int4 nearest": {"weights": "int4"},
    "int4 nearest, float32 scales": {"weights": "int4", "scale": "float32"},
    "int4 awq": {"weights": "int4", "equalize": {"awq": {}}},
    "int4 gptq": {"weights": "int4", "rounding": "gptq"},
    "int4 gptq, no act_order": {"weights": "int4", "rounding": "gptq", "act_order": False},
    "int4 awq, gptq": {"weights": "int4", "equalize": {"awq": {}}, "rounding": "gptq"},
    "int4 gptq, int8-dynamic": {
        "weights": "int4",
        "rounding": "gptq",
        "activations": "int8-dynamic",
    },
    "int3 gptq": {"weights": "int3", "rounding": "gptq"},
}
# From which share of all steps on, and how.
JOINT: dict[str, tuple[float, dict[str, Any]]] = {
    "int8 joint": (0.8, {"weights": "int8", "range": "every_step"}),
    "int8 joint from half": (0.5, {"weights": "int8", "range": "every_step"}),
    "int8 joint from half, lsq": (0.5, {"weights": "int8", "range": "lsq"}),
    "int4 joint": (0.8, {"weights": "int4", "range": "every_step"}),
    "int4 joint, lsq": (0.8, {"weights": "int4", "range": "lsq"}),
    "int4 joint from half": (0.5, {"weights": "int4", "range": "every_step"}),
    "int4 joint from half, lsq": (0.5, {"weights": "int4", "range": "lsq"}),
}


def tokens_of(text: str) -> Tensor:
    """The ids of a text, by a BPE that its first nine tenths train."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text[: len(text) * 9 // 10]], trainer)
    return torch.tensor(tokenizer.encode(text).ids)


def windows(ids: Tensor) -> Tensor:
    """(N, WINDOW + 1) whole windows, each with the token after it."""
    count = (len(ids) - 1) // WINDOW
    inputs = ids[: count * WINDOW].view(count, WINDOW)
    following = ids[1 : count * WINDOW + 1].view(count, WINDOW)
    return torch.cat([inputs, following[:, -1:]], 1)


def nats(model: Any, rows: Tensor, cache: Callable[[], Any] | None = None) -> Tensor:
    """(B, WINDOW) of the tokens of windows; attention reads keys and values of a `cache`."""
    keys = {"cache": cache()} if cache else {"use_cache": False}
    logits = model(input_ids=rows[:, :-1], **keys).logits
    return functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")


@torch.no_grad()
def scored(model: nn.Module, rows: Tensor, cache: Callable[[], Any] | None = None) -> np.ndarray:
    """(N) nats a token of each window."""
    model.eval()
    parts = [nats(model, part, cache).mean(1) for part in rows.split(32)]
    return torch.cat(parts).double().numpy()


def train(
    model: nn.Module,
    rows: Tensor,
    steps: range,
    total: int,
    seed: int,
    before: Mapping[int, Callable[[], None]] | None = None,
) -> None:
    """Some of the `total` steps, each on its own rows and at its own rate, whoever takes them;
    `before`: what is called before a step of this number."""
    model.train()
    parameters = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": 0.1},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    for step in steps:
        if before and step in before:
            before[step]()
        generator = torch.Generator().manual_seed(seed * 10**6 + step)
        drawn = rows[torch.randint(0, len(rows), (ROWS,), generator=generator)]
        # Ten steps from 0 wherever a branch begins: moments are new there.
        warm = min(1.0, (step - steps.start + 1) / 10)
        rate = RATE * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / total)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        cover_weights(each for each in model.modules() if isinstance(each, Quantized))
        loss = nats(model, drawn).mean() + ERROR_WEIGHT * squared_error(model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


def prepared(model: nn.Module, keys: dict[str, Any], rows: Tensor) -> tuple[Any, ...]:
    """What quantizing a model in place takes: (flow, forwards, components)."""
    asked = Quantize(**BLOCKS | keys)
    forwards: list[Callable[[nn.Module], Any]] = []
    for part in rows.split(ROWS):
        forwards.append(partial(run, ids=part[:, :-1]))
    schemes = plan_schemes(model, asked, asked.activations or "float")
    components = quantization_components(asked)
    flow = prepare_model(model, schemes, asked.range_name, forwards[0], **components)
    return flow, forwards, components


def run(model: Any, ids: Tensor) -> Any:
    """One batch of calibration windows."""
    return model(input_ids=ids, use_cache=False)


def after(model: nn.Module, keys: dict[str, Any], rows: Tensor) -> nn.Module:
    """A copy of a float model, quantized after its training."""
    model = copy.deepcopy(model)
    chosen = {"when": "after", "range": "mse", "rounding": "nearest", "equalize": {}}
    flow, forwards, components = prepared(model, chosen | keys, rows)
    with torch.no_grad():
        quantize_after_training(model, flow, forwards, **components)
    return model


def one_seed(data: dict[str, Tensor], total: int, seed: int) -> dict[str, np.ndarray]:
    """The nats of every way, by window of test."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
    )
    begun = LlamaForCausalLM(config)
    half = total // 2
    train(begun, data["train"], range(half), total, seed)
    calibration = data["train"][:CALIBRATION]
    found = {}
    plain = copy.deepcopy(begun)
    train(plain, data["train"], range(half, total), total, seed)
    found["float"] = scored(plain, data["test"])
    found["float, int8 cache"] = scored(plain, data["test"], Int8Cache)
    for name, keys in AFTER.items():
        found[name] = scored(after(plain, keys, calibration), data["test"])
    for name, (start, keys) in JOINT.items():
        model = copy.deepcopy(begun)
        _, forwards, _ = prepared(model, keys, calibration)
        begin = {int(start * total): partial(calibrate, model, forwards)}
        train(model, data["train"], range(half, total), total, seed, begin)
        group_codes(model)  # raises where a scale is no fp16 number
        found[name] = scored(model, data["test"])
    return found


def main() -> None:
    """Train, quantize and print a line a way and seed, then the means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    ids = tokens_of(asked.text.read_text(encoding="utf-8"))
    data = {
        "train": windows(ids[: len(ids) * 9 // 10]),
        "test": windows(ids[len(ids) * 19 // 20 :]),
    }
    print(f"{len(data['train'])} windows to train, {len(data['test'])} to test", flush=True)
    drops: dict[str, list[float]] = {}
    for seed in range(asked.first, asked.first + asked.seeds):
        began = time.process_time()
        found = one_seed(data, asked.steps, seed)
        print(f"seed {seed}, {time.process_time() - began:.0f} s of CPU", flush=True)
        for name, by_window in found.items():
            difference = by_window - found["float"]
            error = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
            share = math.expm1(difference.mean())
            drops.setdefault(name, []).append(share)
            perplexity = math.exp(by_window.mean())
            print(f"  {name:30} {perplexity:8.3f}  {share:+8.2%} +-{error:.2%}", flush=True)
    for name, shares in drops.items():
        print(f"{name:30} {np.mean(shares):+8.2%}  from {min(shares):+.2%} to {max(shares):+.2%}")


if __name__ == "__main__":
    main()
