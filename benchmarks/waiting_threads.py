"""How long the threads of a training should spin before they sleep: a step of a small encoder, quiet and beside a busy program.

    python benchmarks/waiting_threads.py [--rounds N] [--beside M] [--spins default 30000 10000 3000 1000 0]

Each value of GOMP_SPINCOUNT has a process of its own in every round, in an order that is drawn anew. Of a process the median step
counts; printed is each value's median over rounds in ms, and the median and the range of its ratio to `default` of the same
round. `--beside 2` keeps two loops busy meanwhile.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

DEFAULT = "default"
VARIABLE = "GOMP_SPINCOUNT"
# Three layers of MiniLM's width, 32 rows of 24 tokens, float32, two threads.
STEPS = """
import time, torch
from transformers import BertConfig, BertModel
torch.set_num_threads(2)
sizes = dict(hidden_size=384, num_attention_heads=12, intermediate_size=1536, vocab_size=1000)
model = BertModel(BertConfig(num_hidden_layers=3, **sizes)).train()
rows = torch.randint(0, 1000, (32, 24))
optimizer = torch.optim.AdamW(model.parameters())
seconds = []
for step in range(22):
    began = time.perf_counter()
    optimizer.zero_grad()
    model(input_ids=rows).last_hidden_state.square().mean().backward()
    optimizer.step()
    seconds.append(time.perf_counter() - began)
print(sorted(seconds[2:])[10])
"""


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many programs that always have something to do."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def median_ms(spins: str) -> float:
    """The median step of a new process, in ms."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if spins != DEFAULT:
        environment[VARIABLE] = spins
    command = [sys.executable, "-c", STEPS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=int, default=0)
    parser.add_argument("--spins", nargs="+", default=["30000", "10000", "3000", "1000", "0"])
    arguments = parser.parse_args()
    names = list(dict.fromkeys([DEFAULT, *arguments.spins]))
    found: dict[str, list[float]] = {name: [] for name in names}
    with busy(arguments.beside):
        for _ in range(arguments.rounds):
            for name in random.sample(names, len(names)):
                found[name].append(median_ms(name))
    for name in names:
        ratios = np.array(found[name]) / np.array(found[DEFAULT])
        print(
            f"{name:>8} {np.median(found[name]):7.1f} ms  {np.median(ratios):.2f} "
            f"[{ratios.min():.2f}, {ratios.max():.2f}] times {DEFAULT}"
        )


if __name__ == "__main__":
    main()
