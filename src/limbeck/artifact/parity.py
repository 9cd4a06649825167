"""Parity: an artifact is scored again in a fresh process on every test row, and held against the model that was trained."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.rescore import write_rows
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import Scored, Task, differs, is_known

ALLOWED = {"onnxruntime": 0.001}
ALLOWED_ELSEWHERE = 0.005
METRIC_TOLERANCE = 0.002


def prove(
    artifact: Path,
    scored: Scored,
    rows: Sequence[Row],
    task: Task,
    graphs: Sequence[dict[str, str]],
    work: Path,
) -> list[dict[str, Any]]:
    """Parity of every graph with the fake-quantized model's answers `scored` on all test `rows`; `holds` says whether each does."""
    found = []
    write_rows(rows, work / "rows.jsonl.tmp")
    for graph in graphs:
        out = work / "rescored.tmp.npy"
        command = [
            sys.executable,
            "-m",
            "limbeck.artifact.rescore",
            str(artifact),
            graph["runtime"],
            str(work / "rows.jsonl.tmp"),
            str(out),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(
                f"the artifact does not load in {graph['runtime']}: {done.stderr.strip().splitlines()[-1]}"
            )
        found.append(
            compare(
                scored, Scored(np.load(out), scored.labels, scored.offsets), task, graph["runtime"]
            )
        )
        out.unlink()
    (work / "rows.jsonl.tmp").unlink()
    return found


def compare(scored: Scored, rescored: Scored, task: Task, runtime: str) -> dict[str, Any]:
    """One row of report.json's parity."""
    flips, units = int(differs(task, scored, rescored).sum()), int(is_known(scored.labels).sum())
    own, other = (quality(each, task)[task.metric] for each in (scored, rescored))
    allowed = max(1.0, ALLOWED.get(runtime, ALLOWED_ELSEWHERE) * units)
    return {
        "runtime": runtime,
        "rows": len(scored.offsets) - 1,
        "units": units,
        "flips": flips,
        "agreement": 1 - flips / units,
        "max_abs_logit_difference": float(np.abs(scored.logits - rescored.logits).max()),
        "metric_difference": other - own,
        "holds": bool(
            flips <= allowed
            and abs(other - own) <= METRIC_TOLERANCE + 1 / (len(scored.offsets) - 1)
        ),
    }
