"""Losses over a vocabulary in chunks (`distillation/fused.py`) against the same losses on whole logits: seconds and peak memory.

    python benchmarks/fused_loss.py [--vocabulary 25000 150000] [--tokens 2048] [--width 576]
    [--pairs 7] [--losses cross_entropy kl]

One step from the hidden states on: the output projections of student and teacher, the losses, the
gradients of the student's hidden states and projection. Each step runs in a process of its own, the
two ways in turns, one thread. Printed for each vocabulary: the memory that a step takes at its peak
beyond its operands (with the gradients it gives, and without), CPU seconds, and the median ratio of
the pairs with its interval (the order statistics at 95 %). In the end how far values and gradients
of both ways are apart, in one process.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from limbeck.core import registry
from limbeck.core.schedules import schedule
from limbeck.core.system import memory
from limbeck.distillation.objective import Objective, Term
from limbeck.models.projection import Projected
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch

WAYS = ("whole", "chunks")
ROWS = 8


def operands(labels: int, tokens: int, width: int, seed: int) -> Projected:
    """Hidden states and a projection of the size of a trained model's: logits of a deviation of 3."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, tokens // ROWS, width, generator=generator)
    weight = torch.randn(labels, width, generator=generator) * (3 / width**0.5)
    return Projected(hidden, weight, None, torch.float32)


def outputs(given: Projected, mask: Tensor, way: str) -> Outputs:
    if way == "chunks":
        return Outputs(given, mask)
    return Outputs(torch.nn.functional.linear(given.hidden, given.weight), mask)


def step(options: argparse.Namespace, labels: int, way: str) -> dict[str, Any]:
    """One step, and what it took."""
    torch.set_num_threads(1)
    memory.keep_freed_memory()
    student = operands(labels, options.tokens, options.width, 0)
    teacher = operands(labels, options.tokens, options.width, 1)
    student.hidden.requires_grad_()
    student.weight.requires_grad_()
    mask = torch.ones(student.hidden.shape[:2], dtype=torch.bool)
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(0, labels, mask.shape, generator=generator)
    batch = Batch({}, None, targets, mask, np.arange(ROWS))
    terms = [
        Term(name, schedule(1.0), registry.create("losses", name, {})) for name in options.losses
    ]
    objective = Objective(terms)
    # A first look at each loss copies logits, once a training.
    objective.reaching |= set(options.losses)
    before = memory.resident_mb()
    began = time.process_time()
    with torch.no_grad():
        answers = outputs(teacher, mask, way)
    total, _ = objective(outputs(student, mask, way), answers, batch, 0.5)
    total.backward()
    seconds = time.process_time() - began
    gradients = (student.hidden.grad, student.weight.grad)
    given = sum(each.nbytes for each in gradients if each is not None) / memory.MB
    return {
        "seconds": seconds,
        "mb": memory.peak_mb() - before,
        "mb_without_gradients": memory.peak_mb() - before - given,
        "total": total.item(),
        "gradients": gradients,
    }


def in_process(arguments: list[str], labels: int, way: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), *arguments, "--only", str(labels), way]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(told)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The order statistics between which the median lies with 95 % or, of few values, all of them."""
    ordered = np.sort(values)
    below = int(binom.ppf(0.025, len(values), 0.5))
    return float(ordered[max(below - 1, 0)]), float(
        ordered[min(len(values) - below, len(values) - 1)]
    )


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[25_000, 50_000, 150_000])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--losses", nargs="+", default=["cross_entropy", "kl"])
    parser.add_argument("--only", nargs=2)
    options = parser.parse_args()
    if options.only:
        labels, way = options.only
        figures = step(options, int(labels), way)
        del figures["gradients"]
        print(json.dumps(figures))
        return
    for num_labels in options.vocabulary:
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(options.pairs):
            # Who is first takes turns too.
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                taken[way].append(in_process(sys.argv[1:], num_labels, way))
        for way, rounds in taken.items():
            seconds, mb, without = (
                np.median([each[key] for each in rounds])
                for key in ("seconds", "mb", "mb_without_gradients")
            )
            print(
                f"V = {num_labels:7,} {way:6}: {seconds:6.2f} CPU seconds, {mb:8,.0f} MB, {without:8,.0f} MB without the gradients given",
                flush=True,
            )
        for key in ("seconds", "mb"):
            ratios = np.array(
                [
                    one[key] / other[key]
                    for one, other in zip(taken["chunks"], taken["whole"], strict=True)
                ]
            )
            low, high = interval(ratios)
            print(
                f"V = {num_labels:7,} chunks / whole, {key}: {np.median(ratios):.3f} [{low:.3f}, {high:.3f}]",
                flush=True,
            )
    largest = min(options.vocabulary)
    whole, chunks = (step(options, largest, way) for way in WAYS)
    apart = [relative(*pair) for pair in zip(chunks["gradients"], whole["gradients"], strict=True)]
    value = abs(chunks["total"] / whole["total"] - 1)
    print(
        f"V = {largest:,}: apart by {value:.1e} (value), {apart[0]:.1e} (hidden states), {apart[1]:.1e} (projection)"
    )


if __name__ == "__main__":
    main()
