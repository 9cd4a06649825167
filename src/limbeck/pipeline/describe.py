"""report.json from the arms of a run."""

from typing import Any

import numpy as np

from limbeck.analysis import layers
from limbeck.core import machine
from limbeck.evaluation import collapse
from limbeck.evaluation.bootstrap import bootstrap, interval, resample
from limbeck.evaluation.scores import agreement, details, quality
from limbeck.evaluation.verdict import judge_arms, judged_arm
from limbeck.pipeline.arm import assistant
from limbeck.pipeline.context import Arm, Bench
from limbeck.pipeline.latency import measure
from limbeck.pipeline.stages import (
    score,  # fmt: skip
)
from limbeck.pipeline.teacher_outputs import further_teachers
from limbeck.recipe.model import Recipe, Verdict
from limbeck.recipe.reading import write
from limbeck.tasks import SelfSupervised, metrics


def describe(bench: Bench, arms: dict[str, list[Arm]], name: str) -> dict[str, Any]:
    """report.json: every arm's figures, the verdict, parity, stages, machine."""
    recipe, task = bench.recipe, final_arm(arms)[0].task
    settings = recipe.verdict or Verdict()
    weights = resample(len(final_arm(arms)[0].scored.offsets) - 1, settings.resamples)
    resampled = {
        arm: bootstrap([run.scored for run in runs], weights, task) for arm, runs in arms.items()
    }
    inspected = inspect(bench, arms)
    latency, compared = measure(bench, arms, settings.latency_rows, settings.latency_threads)
    rows = {
        arm: describe_arm(runs, resampled[arm], latency[arm], arms.get("teacher"))
        for arm, runs in arms.items()
    }
    chance = None
    if recipe.verdict and not isinstance(task, SelfSupervised):
        chance = bootstrap(
            [collapse.constant(final_arm(arms)[0].scored, task, recipe.judged_metric)],
            weights,
            task,
        )
    parity = [
        {"arm": arm, "seed": run.recipe.train.seed, **row}
        for arm, runs in arms.items()
        for run in runs
        for row in run.parity
    ]
    return {
        "schema": 1,
        "name": name,
        "task": recipe.task,
        "metric": {
            "name": recipe.judged_metric,
            "higher_is_better": metrics.sign(recipe.judged_metric) > 0,
        },
        "arms": rows,
        "verdict": judge(recipe, rows, resampled, parity, chance) if recipe.verdict else None,
        "parity": parity,
        "speed": compared,
        "layers": inspected,
        "stages": [
            {key: value for key, value in record.items() if key != "entry"}
            for record in bench.store.records
        ],
        "machine": machine.describe(),
        "versions": machine.versions(),
        "notes": bench.data.notes
        + beside(bench, final_arm(arms)[0])
        + [
            f"{arm}, seed {run.recipe.train.seed}: {note}"
            for arm, runs in arms.items()
            for run in runs
            for note in run.notes
        ],
        "bad_rows": {"policy": recipe.data.on_bad_row, "count": bench.data.num_bad},
        "recipe": write(recipe),
    }


def beside(bench: Bench, arm: Arm) -> list[str]:
    """What the teachers beside the first, and an assistant, score on the test split."""
    recipe = bench.recipe
    titles = [
        f"teacher {number} ({other.model})" for number, other in enumerate(recipe.teachers, 2)
    ]
    named = list(zip(titles, further_teachers(bench, recipe), strict=True))
    if recipe.assistant:
        named.append(("assistant", assistant(bench, recipe)))
    found = [(name, net, score(bench, net.folder, net.load, net.task)) for name, net in named]
    return [
        f"{name}: {recipe.judged_metric} {quality(scored, net.task)[recipe.judged_metric]:.4f}"
        for name, net, scored in found
    ]


def judge(
    recipe: Recipe,
    rows: dict[str, Any],
    resampled: dict[str, Any],
    parity: list[dict[str, Any]],
    chance: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    """The verdict over the arms' rows; parity that does not hold fails it whatever the figures."""
    assert recipe.verdict is not None
    final, metric = judged_arm(rows), recipe.judged_metric
    sign = metrics.sign(metric)  # a rise of an error is a drop
    found = judge_arms(
        {arm: sign * row["mean"][metric] for arm, row in rows.items()},
        {arm: sign * values[metric] for arm, values in resampled.items()},
        recipe.verdict,
        chance=sign * chance[metric] if chance else None,
        speedup=rows["teacher"]["latency_ms"]["p50"] / rows[final]["latency_ms"]["p50"],
        compression=rows["teacher"]["bytes"] / rows[final]["bytes"],
    )
    broken = [row for row in parity if not row["holds"]]
    reasons = found["reasons"] + [
        f"parity fails: {row['arm']} in {row['runtime']} decides {row['flips']} of {row['units']} otherwise"
        for row in broken
    ]
    return found | {"reasons": reasons, "kept": not reasons}


def describe_arm(
    runs: list[Arm],
    resampled: dict[str, np.ndarray],
    latency: dict[str, Any],
    teachers: list[Arm] | None,
) -> dict[str, Any]:
    """One row of report.json's arms."""
    seeds = [
        {
            "seed": run.recipe.train.seed,
            "metrics": quality(run.scored, run.task),
            **details(run.scored, run.task),
        }
        for run in runs
    ]
    decided = not isinstance(runs[0].task, SelfSupervised)  # of whose answers only figures are kept
    return {
        "seeds": seeds,
        "mean": {
            name: float(np.mean([seed["metrics"][name] for seed in seeds]))
            for name in seeds[0]["metrics"]
        },
        "ci95": {name: interval(values) for name, values in resampled.items()},
        "parameters": runs[0].parameters,
        "bytes": runs[0].num_bytes,
        "latency_ms": latency,
        "agreement": float(
            np.mean([agreement(run.scored, teachers[0].scored, run.task) for run in runs])
        )
        if teachers and decided
        else None,
    }


def inspect(bench: Bench, arms: dict[str, list[Arm]]) -> dict[str, Any] | None:
    """What the layers of the shipped model lose, of its first seed; None where it was not quantized."""
    name = judged_arm(arms)
    return {"arm": name, **layers.stage(bench, arms[name][0])} if arms[name][0].artifact else None


def final_arm(arms: dict[str, list[Arm]]) -> list[Arm]:
    """The runs of the arm that is judged and shipped."""
    return arms[judged_arm(arms)]
