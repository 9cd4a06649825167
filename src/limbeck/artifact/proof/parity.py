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

No graph can be closer to the model than the model is to itself. Where one of these fails, the model
is therefore asked again with the last bit of what it rounds moved (`quantization.last_bits`), three
times or more (`num_draws`), and the most that it differs from itself then (`LastBits`) is added to
what is allowed:

- to decisions and metric what last bits change;
- to answers that are off by more than 5 %, twice as many as last bits move so far, since both are
  counts of rare events; and none but those few may be off by more than twice the furthest of them.

For a model that last bits do not move, which most are, that is nothing.

A runtime that rounds activations by itself (llama.cpp) computes what no trained model does. There
the proof has two parts: its file, computed in float32 by a reference of our own, is held against
the trained model, and the runtime against that reference once it rounds as the runtime does. Both
must hold. How far rounding moves the metric from the trained model's is told
(`rounding_difference`) and not judged: it is the runtime's doing, and everybody's who uses it.

Of every runtime that writes by itself perplexities and greedy answers (`artifact.proof.greedy`) are
told as well, and not judged: where these part from a reference's that reads whole texts, which is
the one above, or else the graph itself.
"""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.manifest import graphs_in
from limbeck.artifact.proof import greedy
from limbeck.artifact.proof.rescore import kept_of, write_rows
from limbeck.artifact.runtimes import Graph, RoundsByItself, open_graph
from limbeck.core import registry
from limbeck.evaluation.scores import quality
from limbeck.sources import Row
from limbeck.tasks import Encoded, OverVocabulary, Scored, Task, differs, is_known

# Far below what a test split of thousands of rows can tell from no difference.
METRIC_TOLERANCE = 0.002
# Of the logits' standard deviation: a value at the edge of two levels falls to either side, and a
# few steps of eight bits are some hundredths of the spread.
LOGIT_TOLERANCE = 0.05
# Of the differences, the one that is told.
LOGIT_PERCENTILE = 99.9
# How far a graph may go beyond what the most of all draws of last bits does: counts as small as
# these scatter by as much.
BEYOND_LAST_BITS = 2
# How often a model, or a reference, is asked what last bits change in its answers: of few rows up
# to `MOST_DRAWS` times, until so many were asked.
LEAST_DRAWS = 3
MOST_DRAWS = 30
DRAWN_ROWS = 300


@dataclass(frozen=True)
class LastBits:
    """The most that the trained model differs from itself where last bits are moved.

    flips: decisions that differ.
    metric: the difference of the metric, without its sign.
    far_off: answers that are off by more than 5 % of the logits' spread.
    largest: the largest difference of a logit.
    """

    flips: int = 0
    metric: float = 0.0
    far_off: int = 0
    largest: float = 0.0


def prove(
    artifact: Path,
    scored: Scored,
    rows: Sequence[Row],
    task: Task,
    work: Path,
    moved: Callable[[], Sequence[np.ndarray]] = tuple,
) -> list[dict[str, Any]]:
    """Parity of every graph with the trained model: a row of report.json's `parity` for each.

    scored: what the fake-quantized model answers to all test `rows`.
    work: the folder that takes each graph's answers (`answers_file`).
    moved: the same model's logits with last bits moved, once for each draw; asked where a graph
        differs by more than is allowed without.

    Raises ValueError where a graph does not load.
    """
    proofs = []
    last_bits: LastBits | None = None
    for graph in graphs_in(artifact):
        runtime = graph["runtime"]
        logits = answer_rows(artifact, runtime, rows, answers_file(work, runtime))
        rescored = Scored(logits, scored.labels, scored.offsets)
        opener = registry.create("runtimes", runtime)
        if isinstance(opener, RoundsByItself):
            path = artifact / graph["file"]
            rounding = Rounding(opener, path, task.encode(rows), task)
            proof = compare_rounded(scored, rescored, rounding, runtime)
            reference = opener.reference(path, rounds=True)
            proofs.append(proof | told_of_answers(reference, answers_file(work, runtime)))
            continue
        proof = compare(scored, rescored, task, runtime)
        if not proof["holds"]:
            last_bits = last_bits or differences_of(scored, moved(), task)
            proof = compare(scored, rescored, task, runtime, last_bits)
        if greedy.said_file(answers_file(work, runtime)).exists():
            # It has said them token by token, and was proven on whole texts.
            reference = open_graph(artifact / graph["file"], runtime, 1)
            proof |= perplexities(quality(rescored, task), quality(scored, task))
            proof |= told_of_answers(reference, answers_file(work, runtime))
        proofs.append(proof)
    return proofs


@dataclass(frozen=True)
class Rounding:
    """The file of a runtime that rounds by itself, and the rows that it was asked.

    opener: the runtime. encoded: the rows as the task reads them.
    """

    opener: RoundsByItself
    path: Path
    encoded: Sequence[Encoded]
    task: Task

    def answers(self, scored: Scored, *, rounds: bool, seed: int | None = None) -> Scored:
        """What the reference answers to the rows of `scored`."""
        # Its runtimes are of text generation, whose task is one of these.
        assert isinstance(self.task, OverVocabulary)
        graph = self.opener.reference(self.path, rounds=rounds, seed=seed)
        kept = [kept_of(graph, row, self.task) for row in self.encoded]
        return Scored(np.concatenate(kept), scored.labels, scored.offsets)


def compare_rounded(
    scored: Scored, rescored: Scored, rounding: Rounding, runtime: str
) -> dict[str, Any]:
    """As `compare`, where the runtime rounds activations by itself."""
    task = rounding.task
    # 1. The file is the trained model: in float32, with its integers.
    in_float = rounding.answers(scored, rounds=False)
    of_file = compare(scored, in_float, task, runtime)
    # 2. The runtime is the reference that rounds alike, as far as that is itself.
    reference = rounding.answers(scored, rounds=True)
    proof = compare(reference, rescored, task, runtime)
    if not proof["holds"]:
        seeds = range(num_draws(len(rounding.encoded)))
        draws = [rounding.answers(scored, rounds=True, seed=seed).logits for seed in seeds]
        last_bits = differences_of(reference, draws, task)
        proof = compare(reference, rescored, task, runtime, last_bits)
    # 3. What rounding costs, against the trained model.
    own = quality(rescored, task)
    trained = quality(scored, task)
    of_float = [f"the file in float32: {failure}" for failure in of_file["failures"]]
    failures = [*of_float, *proof["failures"]]
    judged = {
        "holds": not failures,
        "failures": failures,
        "file_difference": of_file["metric_difference"],
        "rounding_difference": own[task.metric] - trained[task.metric],
    }
    return proof | judged | perplexities(own, trained)


def perplexities(own: Mapping[str, float], trained: Mapping[str, float]) -> dict[str, float]:
    """Those of a runtime and of the trained model, of their metrics."""
    return {"perplexity": own["perplexity"], "trained_perplexity": trained["perplexity"]}


def told_of_answers(reference: Graph, answers: Path) -> dict[str, Any]:
    """Where the greedy answers of a runtime part from a reference's, which reads whole texts.

    answers: the runtime's logits, which its greedy answers lie beside.
    """
    said = greedy.read(greedy.said_file(answers))
    return {
        "greedy": {
            "answers": len(said),
            "tokens": greedy.MOST_TOKENS,
            "first_differences": greedy.differences(reference, said),
        }
    }


def num_draws(rows: int) -> int:
    """How often last bits are moved in the answers to so many rows.

    In a row or three few values lie at an edge, and three draws may meet none of them.
    """
    return min(MOST_DRAWS, max(LEAST_DRAWS, math.ceil(DRAWN_ROWS / max(1, rows))))


def differences_of(scored: Scored, moved: Sequence[np.ndarray], task: Task) -> LastBits:
    """What `moved`, logits of the shape of `scored`'s, differ from them at most."""
    metric = quality(scored, task)[task.metric]
    spread = spread_of(scored, task)
    each = []
    for logits in moved:
        other = Scored(logits, scored.labels, scored.offsets)
        by_unit = largest_by_unit(scored, other, task)
        each.append(
            LastBits(
                flips=int(differs(task, scored, other).sum()),
                metric=abs(quality(other, task)[task.metric] - metric),
                far_off=num_beyond(by_unit, LOGIT_TOLERANCE * spread),
                largest=float(by_unit.max()),
            )
        )
    # Whoever asks for a graph's own sake (a test, a tool) has no model at hand.
    if not each:
        return LastBits()
    return LastBits(
        flips=max(one.flips for one in each),
        metric=max(one.metric for one in each),
        far_off=max(one.far_off for one in each),
        largest=max(one.largest for one in each),
    )


def held_figures(scored: Scored, task: Task) -> np.ndarray:
    """(P, V) the logits that are held against each other; over a vocabulary, of which none are
    kept, (P, 1) the nats of the true token."""
    kept = scored.logits[:, :1] if isinstance(task, OverVocabulary) else scored.logits
    return kept.astype(np.float64)


def spread_of(scored: Scored, task: Task) -> float:
    """The standard deviation of all logits."""
    return float(held_figures(scored, task).std())


def largest_by_unit(scored: Scored, other: Scored, task: Task) -> np.ndarray:
    """(P) the largest difference of a logit of each word or row."""
    differences = np.abs(held_figures(scored, task) - held_figures(other, task))
    largest: np.ndarray = differences.reshape(len(differences), -1).max(1)
    return largest


def num_beyond(by_unit: np.ndarray, bound: float) -> int:
    """How many differences are larger than `bound`; one that is no number is."""
    return len(by_unit) - int((by_unit <= bound).sum())


def answers_file(work: Path, runtime: str) -> Path:
    """Where `prove` leaves the logits (P, V) of a runtime."""
    return work / f"answers-{runtime}.npy"


def answer_rows(artifact: Path, runtime: str, rows: Sequence[Row], out: Path) -> np.ndarray:
    """The logits (P, V) of raw rows, which `artifact.proof.rescore` writes to the file `out`.

    This process holds torch already; a fresh one shows that the artifact does without. Raises
    ValueError where it does not load.
    """
    rows_file = out.with_name(f"{out.name}.rows.tmp")
    write_rows(rows, rows_file)
    module = "limbeck.artifact.proof.rescore"
    command = [sys.executable, "-m", module, str(artifact), runtime, str(rows_file), str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        # A process that the system kills, for memory for example, leaves no message.
        ended = f"its process ended with status {result.returncode} and without a word"
        lines = result.stderr.strip().splitlines() or [ended]
        raise ValueError(f"the artifact does not load in {runtime}: {lines[-1]}")
    rows_file.unlink()
    logits: np.ndarray = np.load(out)
    return logits


def compare(
    scored: Scored,
    rescored: Scored,
    task: Task,
    runtime: str,
    last_bits: LastBits | None = None,
) -> dict[str, Any]:
    """Hold what a graph answered (`rescored`) against what the trained model did (`scored`).

    last_bits: what the model differs from itself; None where that was not asked.

    Returns one row of report.json's `parity`; `holds` is the judgement, `failures` say in words
    what it is that does not, the others are its figures.
    """
    own = last_bits or LastBits()
    num_rows = len(scored.offsets) - 1
    units = int(is_known(scored.labels).sum())
    failures = []
    # 1. Decisions. One may always differ: in a test split of ten rows it is a tenth of them.
    flips = int(differs(task, scored, rescored).sum())
    few = max(1, int(registry.load("runtimes", runtime).allowed_flips * units))
    if flips > few + own.flips:
        failures.append(f"{flips} of {units} decisions differ, and at most {few + own.flips} may")

    # 2. The metric. One answer of n moves an accuracy by 1 / n.
    metric_difference = quality(rescored, task)[task.metric] - quality(scored, task)[task.metric]
    # Nats of thousands of tokens no single row moves: .002 are .2 % of perplexity.
    of_one_row = 0 if isinstance(task, OverVocabulary) else 1 / num_rows
    allowed_difference = METRIC_TOLERANCE + of_one_row + own.metric
    # So that a metric that is no number fails.
    if not abs(metric_difference) <= allowed_difference:
        failures.append(
            f"{task.metric} differs by {metric_difference:+.4f}, "
            f"and may by {allowed_difference:.4f}"
        )

    # 3. Logits, of which a few may be far off.
    by_unit = largest_by_unit(scored, rescored, task)
    spread = spread_of(scored, task)
    tolerance = LOGIT_TOLERANCE * spread
    furthest = max(tolerance, BEYOND_LAST_BITS * own.largest)
    far_off = num_beyond(by_unit, tolerance)
    unexplained = num_beyond(by_unit, furthest)
    worst_unit = int(by_unit.argmax())
    worst_row = int(np.searchsorted(scored.offsets, worst_unit, side="right")) - 1
    most = few + BEYOND_LAST_BITS * own.far_off
    if unexplained > few:
        failures.append(too_far(by_unit, spread, worst_row, bound=furthest, most=few))
    elif far_off > most:
        failures.append(too_far(by_unit, spread, worst_row, bound=tolerance, most=most))
    differences = np.abs(held_figures(scored, task) - held_figures(rescored, task))
    return {
        "runtime": runtime,
        "rows": num_rows,
        "units": units,
        "flips": flips,
        "agreement": 1 - flips / units,
        "max_abs_logit_difference": float(differences.max()),
        "logit_difference": float(np.percentile(differences, LOGIT_PERCENTILE)),
        "far_off": far_off,
        "unexplained": unexplained,
        "logit_spread": spread,
        "worst_row": worst_row,
        "metric_difference": metric_difference,
        "last_bits": asdict(last_bits) if last_bits else None,
        "holds": not failures,
        "failures": failures,
    }


def too_far(by_unit: np.ndarray, spread: float, worst_row: int, *, bound: float, most: int) -> str:
    """That more than `most` answers have a logit off by more than `bound`, and where the worst is.

    by_unit: (P) the largest difference of each. spread: of all logits, the unit of what is told.
    """
    unit = spread or 1.0
    return (
        f"{num_beyond(by_unit, bound)} of {len(by_unit)} answers have logits off by more than "
        f"{bound / unit:.1%} of their spread, and at most {most} may; the furthest is off by "
        f"{by_unit.max() / unit:.1%}, in row {worst_row + 1} of the test split"
    )


def answers_otherwise(proof: Mapping[str, Any]) -> bool:
    """Whether a graph of a rehearsal answers most rows otherwise than the model, as far as known.

    Half of them may differ there: what is nearly untrained tells labels apart by little.
    """
    return bool(proof["unexplained"] > proof["units"] / 2)


def refuse_other_answers(proofs: Sequence[dict[str, Any]]) -> None:
    """Refuse a graph that answers otherwise than the model to most of the rows of a rehearsal.

    Raises ValueError with the runtime.
    """
    for proof in proofs:
        if answers_otherwise(proof):
            raise ValueError(
                f"the graph answers otherwise in {proof['runtime']} than the model that it is "
                f"of, in {proof['unexplained']} of {proof['units']} answers. Export for another "
                "runtime, or take another student"
            )
