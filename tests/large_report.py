"""A report as large as reports get, made by the seed: 200 classes, 10,000 test rows, nine arms of three seeds.

python tests/large_report.py FOLDER    writes report.json and report.html there
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limbeck.pipeline.judging.lost import MOST_CHANGED, MOST_SHOWN
from limbeck.reports import page

Json = dict[str, Any]

SEEDS = 3
STEPS = 3000
# Arm: the share of right answers, parameters, bytes, and milliseconds of a row.
ARMS: dict[str, tuple[float, int, int | None, float | None]] = {
    "teacher": (0.84, 22_742_861, 90_983_460, 10.2),
    "baseline": (0.74, 3_132_283, None, None),
    "plain": (0.78, 17_418_317, 69_680_000, 2.5),
    "cut": (0.79, 17_418_317, 69_680_000, 2.5),
    "kd": (0.82, 17_418_317, 69_680_000, 2.5),
    "ptq": (0.80, 22_742_861, 23_100_000, 1.9),
    "qat": (0.77, 17_418_317, 18_200_000, 0.85),
    "kd+ptq": (0.80, 17_418_317, 18_200_000, 0.85),
    "joint": (0.81, 17_418_317, 18_200_000, 0.83),
}


def label_of(number: int) -> str:
    """As long as labels get before they are sentences."""
    words = (
        "account",
        "transfer",
        "declined",
        "pending",
        "exchange_rate",
        "verification",
        "top_up",
    )
    return f"{words[number % 7]}_{words[number * 3 % 5]}_{number}"


def answers(
    rng: np.random.Generator, labels: np.ndarray, right: float, num_labels: int
) -> np.ndarray:
    """Answers of which a share is right; a wrong one is mostly of the neighbours."""
    near = labels + rng.choice([-2, -1, 1, 2], len(labels))
    far = rng.integers(0, num_labels, len(labels))
    wrong = np.where(rng.random(len(labels)) < 0.7, near % num_labels, far)
    return np.where(rng.random(len(labels)) < right, labels, wrong)


def seed_row(seed: int, labels: np.ndarray, answered: np.ndarray, names: list[str]) -> Json:
    """A seed's metrics, its scores by label, and its confusion."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, answered), 1)
    hits, support, answers_of = counts.diagonal(), counts.sum(1), counts.sum(0)
    precision, recall = hits / np.maximum(1, answers_of), hits / np.maximum(1, support)
    f1 = 2 * hits / np.maximum(1, answers_of + support)
    rows = [
        {
            "label": name,
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "support": int(n),
        }
        for name, p, r, f, n in zip(names, precision, recall, f1, support, strict=True)
    ]
    for average in ("micro average", "macro average", "weighted average"):
        means = {"precision": precision.mean(), "recall": recall.mean(), "f1": f1.mean()}
        rows.append(
            {"label": average, **{k: float(v) for k, v in means.items()}, "support": len(labels)}
        )
    return {
        "seed": seed,
        "metrics": {"accuracy": float(hits.sum() / len(labels)), "macro_f1": float(f1.mean())},
        "per_label": rows,
        "confusion": {"labels": names, "counts": counts.tolist()},
    }


def arm_row(name: str, seeds: list[Json]) -> Json:
    """An arm over its seeds."""
    _, parameters, num_bytes, ms = ARMS[name]
    metrics = seeds[0]["metrics"]
    mean = {key: float(np.mean([seed["metrics"][key] for seed in seeds])) for key in metrics}
    latency = None
    if ms:
        runtime = "pytorch" if num_bytes == 90_983_460 else "onnxruntime"
        latency = {"ms": ms, "p50": ms, "p99": 2 * ms, "cpu": ms, "threads": 1, "runtime": runtime}
        latency |= {"speedup": 10.2 / ms, "speedup_ci95": [9.9 / ms, 10.5 / ms]}
    row = {"what": "logistic regression over words and characters"} if name == "baseline" else {}
    return row | {
        "seeds": seeds,
        "mean": mean,
        "ci95": {key: [value - 0.006, value + 0.006] for key, value in mean.items()},
        "parameters": parameters,
        "bytes": num_bytes,
        "latency_ms": latency,
        "agreement": 0.93 if name != "teacher" else 1.0,
    }


def text_of(rng: np.random.Generator) -> str:
    """A text as long as the page shows one at most."""
    words = ("please", "why", "card", "was", "declined", "yesterday", "in", "the", "shop", "again")
    return " ".join(rng.choice(words, 58))[:300]


def photograph(rng: np.random.Generator) -> str:
    """A thumbnail of a picture that shrinks badly."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((64, 64), Image.Resampling.BICUBIC).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def lost(
    rng: np.random.Generator,
    labels: np.ndarray,
    teacher: np.ndarray,
    student: np.ndarray,
    names: list[str],
) -> Json:
    """What changed between the first seeds of two arms, half of it as texts and half as pictures."""
    was, now = teacher == labels, student == labels
    masks = {
        "teacher": was & ~now,
        "student": now & ~was,
        "neither": ~was & ~now & (teacher != student),
    }
    changed = []
    for right, mask in masks.items():
        for row in np.flatnonzero(mask)[:MOST_CHANGED].tolist():
            content = (
                {"text": text_of(rng)}
                if row % 2
                else {"thumbnail": photograph(rng), "file": f"{row}.jpg"}
            )
            decided = {"given": labels, "teacher": teacher, "student": student}
            answer = {key: names[each[row]] for key, each in decided.items()}
            changed.append({"row": row + 1, "right": right, **content, "answers": [answer]})
    kind = {
        "by": "label",
        "rows": 50,
        "teacher": 0.94,
        "student": 0.8,
        "drop": 0.14,
        "ci95": [0.02, 0.26],
    }
    kinds = [{**kind, "value": name, "p": 0.001, "p_holm": 0.2} for name in names[:MOST_SHOWN]]
    doubt = {"given": names[0], "likely": names[1], "teacher": 0.01, "student": 0.02}
    doubted = [{"row": row, **doubt, "text": text_of(rng)} for row in range(1, MOST_SHOWN + 1)]
    return {
        "rows": len(labels),
        **{
            key: int(masks[who].sum())
            for key, who in (("lost", "teacher"), ("won", "student"), ("neither", "neither"))
        },
        "changed": changed,
        "slices": kinds,
        "slices_looked_at": len(names) + 5,
        "slices_lost": 0,
        "label_errors": {"count": 212, "first": doubted},
    }


def verdict() -> Json:
    """One that is kept."""
    gains = [
        {"name": name, "arm": arm, "control": control, "gain": 0.02, "ci95": [0.01, 0.03], "seeds": SEEDS, "at_chance": False}
        for name, arm, control in (("teacher", "kd", "plain"), ("answers", "kd", "cut"), ("joint", "joint", "kd+ptq"))
    ]  # fmt: skip
    bar = {
        "name": "baseline",
        "words": "logistic regression",
        "level": 0.85,
        "lead": 0.06,
        "lead_ci95": [0.05, 0.07],
    }
    return {
        "kept": True,
        "reasons": [],
        "notes": ["9 of 10,000 test rows are in train too, and were left out"],
        "bars": [bar | {"is_beaten": True}],
        "drop": 0.01,
        "drop_ci95": [0.004, 0.016],
        "max_drop": 0.02,
        "test": "score test of influences",
        "p_noninferior": 0.001,
        "min_speedup": 4.0,
        "speedup": 12.3,
        "speedup_ci95": [11.0, 13.5],
        "compression": 5.0,
        "gains": gains,
    }


def layers() -> Json:
    """Those of twelve blocks."""
    parts = ("query", "key", "value", "output", "up", "down")
    return {
        "arm": "joint",
        "rows": 256,
        "layers": [
            {
                "name": f"bert.encoder.layer.{block}.{part}",
                "weights": "int8",
                "weight_db": 42.5,
                "input_db": 31.0 - block,
                "input_range": [-7.2, 6.2],
                "output_db": 30.0 - block,
                "nats": 10.0 ** -(2 + block / 4),
                "overflow": 0.03,
                "int16": 1.98,
                "bytes": 148_992,
            }
            for block in range(12)
            for part in parts
        ],
        "attention": [],
        "changed": None,
    }


def calibration(names: list[str]) -> Json:
    """Three models, and every label of those that are furthest off."""
    places = np.linspace(0.1, 0.99, 15)
    bins = [{"probability": float(x), "share": float(x) - 0.02, "count": 667} for x in places]
    model = {
        "ece": 0.03,
        "ece_ci95": [0.02, 0.04],
        "perfect_p95": 0.02,
        "nll_nats": 0.32,
        "bins": bins,
    }
    return {
        "arm": "joint",
        "metric": "accuracy",
        "of": "rows",
        "inputs": 1000,
        "temperature": 0.89,
        "bias": None,
        "models": {"float": model, "raw": model, "fitted": model},
        "per_label": [{"label": name, "ece_raw": 0.1, "ece_fitted": 0.05} for name in names],
        "answers": None,
        "promise": None,
        "sets": None,
        "shift": None,
        "coverage": [{"threshold": 1 - x, "coverage": x, "error": x / 10} for x in places.tolist()],
        "cascade": None,
    }


def report(num_labels: int = 200, num_rows: int = 10_000) -> Json:
    """The report of a run with a verdict over every arm."""
    rng = np.random.default_rng(0)
    names = [label_of(number) for number in range(num_labels)]
    labels = rng.integers(0, num_labels, num_rows)
    arms, first = {}, {}
    for name, (right, *_) in ARMS.items():
        given = [answers(rng, labels, right, num_labels) for _ in range(SEEDS)]
        first[name] = given[0]
        arms[name] = arm_row(
            name, [seed_row(i, labels, each, names) for i, each in enumerate(given)]
        )
    graph = {
        "rows": num_rows,
        "units": num_rows,
        "flips": 3,
        "agreement": 0.9997,
        "holds": True,
        "far_off": 0,
    }
    graph |= {
        "max_abs_logit_difference": 0.1,
        "logit_difference": 0.03,
        "unexplained": 0,
        "logit_spread": 2.1,
    }
    graph |= {"worst_row": 467, "metric_difference": 0.0, "last_bits": None, "failures": []}
    steps = [(name, i) for name in ("train", "evaluate", "label", "export") for i in range(60)]
    return {
        "schema": 2,
        "name": "two hundred intents, MiniLM to three layers",
        "task": "text-classification",
        "metric": {"name": "accuracy", "higher_is_better": True},
        "arms": arms,
        "verdict": verdict(),
        "parity": [
            {"arm": arm, "seed": seed, "runtime": "onnxruntime", **graph}
            for arm in ("ptq", "qat", "kd+ptq", "joint")
            for seed in range(SEEDS)
        ],
        "calibration": calibration(names),
        "speed": None,
        "lost": lost(rng, labels, first["teacher"], first["joint"], names),
        "layers": layers(),
        "stages": [
            {"name": f"{name} ({i})", "seconds": 12.0, "peak_rss_mb": 900.0, "reused": i > 3}
            for name, i in steps
        ],
        "machine": {"cpu": "AMD EPYC", "cores": 2, "memory_gb": 15.3},
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
        "notes": ["validation: 1000 rows drawn from train (seeded, stratified)"],
        "bad_rows": {"policy": "fail", "count": 0},
        "recipe": "task: text-classification\ndata:\n  source: csv\n  path: data\n",
        "from_python": {"models": [], "rows": False},
    }


def curves() -> list[Json]:
    """The lines of metrics.jsonl: four losses at every step of every training."""
    rng = np.random.default_rng(0)
    rows = []
    for arm in ARMS:
        for seed in range(SEEDS):
            for step in range(10, STEPS + 1, 10):
                size = float(0.1 + 4 * np.exp(-step / 400) * (1 + 0.2 * rng.random()))
                losses = {"task": size, "kl": size / 2, "hidden": size / 3, "total": 2 * size}
                row = {"arm": arm, "seed": seed, "step": step, "steps": STEPS, "epoch": step // 301}
                rows.append(row | {"losses": losses, "measures": {"agreement": 1 - size / 5}})
    return rows


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, curves())))
    page.write(report(), curves(), folder)
