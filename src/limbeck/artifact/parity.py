"""Parity: does an exported graph decide as the model that was trained?

Every runtime's graph is loaded in a fresh process and fed the raw rows of the whole test split,
images from their files, so that what a user's file goes through is judged too.
Parity holds when both are true of its answers and those of the fake-quantized model (CPU, float32,
eval mode):

- at most max(1, share) decisions differ (`tasks.differs`), of all labelled words when tagging and
  of all rows otherwise; the share is the runtime's `allowed_flips`;
- the metric differs by at most 0.002 and what one row of the split can move it;
- the logits differ by at most 5 % of their own spread, but in as many words or rows as may decide
  otherwise: equal decisions over logits that are far off are a broken graph.

Of numbers, whose decisions are the logits, the first of these says as much.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.rescore import write_rows
from limbeck.core import registry
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import Scored, Task, differs, is_known

# Far below what a test split of thousands of rows can tell from no difference.
METRIC_TOLERANCE = 0.002
# Of the logits' standard deviation: a value at the edge of two levels falls to either side, and a
# few steps of eight bits are some hundredths of the spread.
LOGIT_TOLERANCE = 0.05
# Of the differences, the one that is told.
LOGIT_PERCENTILE = 99.9


def prove(
    artifact: Path,
    scored: Scored,
    rows: Sequence[Row],
    task: Task,
    graphs: Sequence[dict[str, str]],
    work: Path,
) -> list[dict[str, Any]]:
    """Parity of every graph with the trained model: a row of report.json's `parity` for each.

    scored: what the fake-quantized model answers to all test `rows`.
    graphs: of the artifact's manifest.
    work: a folder for temporary files.

    Raises ValueError where a graph does not load.
    """
    rows_file = work / "rows.jsonl.tmp"
    write_rows(rows, rows_file)
    proofs = []
    for graph in graphs:
        logits = _score_in_fresh_process(artifact, graph["runtime"], rows_file)
        rescored = Scored(logits, scored.labels, scored.offsets)
        proof = compare(scored, rescored, task, graph["runtime"])
        proofs.append(proof)
    rows_file.unlink()
    return proofs


def _score_in_fresh_process(artifact: Path, runtime: str, rows_file: Path) -> np.ndarray:
    """The logits (P, V) that `artifact.rescore` writes.

    This process holds torch already; a fresh one shows that the artifact does without.
    """
    out = rows_file.with_name("rescored.tmp.npy")
    module = "limbeck.artifact.rescore"
    command = [sys.executable, "-m", module, str(artifact), runtime, str(rows_file), str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        # A process that the system kills, for memory for example, leaves no message.
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ValueError(f"the artifact does not load in {runtime}: {lines[-1]}")
    logits: np.ndarray = np.load(out)
    out.unlink()
    return logits


def compare(scored: Scored, rescored: Scored, task: Task, runtime: str) -> dict[str, Any]:
    """Hold what a graph answered (`rescored`) against what the trained model did (`scored`).

    Returns one row of report.json's `parity`; `holds` is the judgement, the others its figures.
    """
    num_rows = len(scored.offsets) - 1
    units = int(is_known(scored.labels).sum())
    flips = int(differs(task, scored, rescored).sum())
    share = registry.load("runtimes", runtime).allowed_flips
    # One decision may always differ: in a test split of ten rows it is a tenth of them.
    allowed_flips = max(1.0, share * units)

    trained_metric = quality(scored, task)[task.metric]
    exported_metric = quality(rescored, task)[task.metric]
    metric_difference = exported_metric - trained_metric
    # One answer of n moves an accuracy by 1 / n.
    allowed_difference = METRIC_TOLERANCE + 1 / num_rows

    # 3. Logits, of which a few may be far off.
    differences = np.abs(scored.logits.astype(np.float64) - rescored.logits)
    spread = float(scored.logits.std(dtype=np.float64))
    typical = float(np.percentile(differences, LOGIT_PERCENTILE))
    by_unit = differences.reshape(len(differences), -1).max(1)
    worst_unit = int(by_unit.argmax())
    # Counted so that a logit that is no number is far off.
    far_off = len(by_unit) - int((by_unit <= LOGIT_TOLERANCE * spread).sum())
    worst_row = int(np.searchsorted(scored.offsets, worst_unit, side="right")) - 1
    holds = (
        flips <= allowed_flips
        and abs(metric_difference) <= allowed_difference
        and far_off <= allowed_flips
    )
    return {
        "runtime": runtime,
        "rows": num_rows,
        "units": units,
        "flips": flips,
        "agreement": 1 - flips / units,
        "max_abs_logit_difference": float(differences.max()),
        "logit_difference": typical,
        "far_off": far_off,
        "logit_spread": spread,
        "worst_row": worst_row,
        "metric_difference": metric_difference,
        "holds": bool(holds),
    }


def refuse_other_answers(proofs: Sequence[dict[str, Any]]) -> None:
    """Refuse a graph that answers otherwise than the model to most of the rows of a rehearsal.

    A few may differ there: what is nearly untrained tells labels apart by last bits.

    Raises ValueError with the runtime.
    """
    for proof in proofs:
        if proof["far_off"] > proof["units"] / 2:
            raise ValueError(
                f"the graph answers otherwise in {proof['runtime']} than the model that it is of, "
                f"in {proof['far_off']} of {proof['units']} answers. Export for another runtime, "
                "or take another student"
            )
