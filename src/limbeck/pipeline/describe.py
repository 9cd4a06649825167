"""report.json from the arms of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.core import machine
from limbeck.evaluation.bootstrap import interval, resample, resampled_metrics
from limbeck.evaluation.chance import best_constant_answer
from limbeck.evaluation.scores import agreement, quality
from limbeck.evaluation.verdict import judge_arms, judged_arm
from limbeck.pipeline.arm import Arm, train_assistant
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.latency import measure_arms
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.pipeline.steps.scoring import score_teacher
from limbeck.pipeline.steps.teacher import further_teachers
from limbeck.recipe.model import Recipe, Verdict
from limbeck.recipe.reading import write
from limbeck.tasks import SelfSupervised, metrics

SCHEMA = 1
Arms = Mapping[str, list[Arm]]  # every seed of each arm
Resampled = dict[str, dict[str, np.ndarray]]  # (R) values of each metric, by arm


def final_arm(arms: Arms) -> list[Arm]:
    """The seeds of the arm that is judged and shipped."""
    return arms[judged_arm(arms)]


def describe(run: RunContext, arms: Arms, name: str) -> dict[str, Any]:
    """report.json: every arm's figures, the verdict, parity, stages, machine."""
    recipe = run.recipe
    settings = recipe.verdict or Verdict()
    # 1. One resample of the test rows serves every arm, so that differences are paired.
    shipped = final_arm(arms)[0]
    weights = resample(len(shipped.scored.offsets) - 1, settings.resamples)
    resampled = {
        arm: resampled_metrics([seed.scored for seed in seeds], weights, shipped.task)
        for arm, seeds in arms.items()
    }
    # 2. What takes time: layers, then milliseconds, with nothing else running.
    layers = describe_layers(run, arms)
    latency, speed = measure_arms(run, arms, settings.latency_rows, settings.latency_threads)
    # 3. Figures of each arm, and the verdict over them.
    rows = {
        arm: describe_arm(seeds, resampled[arm], latency[arm], arms.get("teacher"))
        for arm, seeds in arms.items()
    }
    parity = describe_parity(arms)
    verdict = None
    if recipe.verdict:
        chance = resampled_constant(recipe, shipped, weights)
        verdict = judge(recipe, rows, resampled, parity, chance)
    return {
        "schema": SCHEMA,
        "name": name,
        "task": recipe.task,
        "metric": {
            "name": recipe.judged_metric,
            "higher_is_better": metrics.sign(recipe.judged_metric) > 0,
        },
        "arms": rows,
        "verdict": verdict,
        "parity": parity,
        "speed": speed,
        "layers": layers,
        "stages": [_without_entry(record) for record in run.store.records],
        "machine": machine.describe(),
        "versions": machine.versions(),
        "notes": run.data.notes + notes_of_other_teachers(run) + notes_of_arms(arms),
        "bad_rows": {"policy": recipe.data.on_bad_row, "count": run.data.num_bad},
        "recipe": write(recipe),
    }


def _without_entry(record: dict[str, Any]) -> dict[str, Any]:
    """A stage's record without the name of its folder, which means nothing elsewhere."""
    return {key: value for key, value in record.items() if key != "entry"}


def describe_layers(run: RunContext, arms: Arms) -> dict[str, Any] | None:
    """What the layers of the shipped model lose, of its first seed; None where it is float."""
    name = judged_arm(arms)
    arm = arms[name][0]
    return {"arm": name, **analyse_layers(run, arm)} if arm.artifact else None


def describe_parity(arms: Arms) -> list[dict[str, Any]]:
    """Parity of every artifact in every runtime that it offers."""
    return [
        {"arm": arm, "seed": seed.recipe.train.seed, **row}
        for arm, seeds in arms.items()
        for seed in seeds
        if seed.artifact
        for row in seed.artifact.parity
    ]


def resampled_constant(
    recipe: Recipe, shipped: Arm, weights: np.ndarray
) -> dict[str, np.ndarray] | None:
    """(R) resampled metrics of the best constant answer; None for a task without labels of rows."""
    if isinstance(shipped.task, SelfSupervised):
        return None
    constant = best_constant_answer(shipped.scored, shipped.task, recipe.judged_metric)
    return resampled_metrics([constant], weights, shipped.task)


def notes_of_other_teachers(run: RunContext) -> list[str]:
    """What the teachers beside the first, and an assistant, score on the test split."""
    recipe = run.recipe
    others = {
        f"teacher {number} ({settings.model})": teacher
        for number, (settings, teacher) in enumerate(
            zip(recipe.teachers, further_teachers(recipe, run), strict=True), start=2
        )
    }
    if recipe.assistant:
        others["assistant"] = train_assistant(recipe, run)
    metric = recipe.judged_metric
    notes = []
    for title, model in others.items():
        value = quality(score_teacher(run, model), model.task)[metric]
        notes.append(f"{title}: {metric} {value:.4f}")
    return notes


def notes_of_arms(arms: Arms) -> list[str]:
    """What each arm has to say of itself."""
    return [
        f"{arm}, seed {seed.recipe.train.seed}: {note}"
        for arm, seeds in arms.items()
        for seed in seeds
        for note in seed.notes
    ]


def judge(
    recipe: Recipe,
    rows: dict[str, Any],
    resampled: Resampled,
    parity: list[dict[str, Any]],
    chance: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    """The verdict over the arms' rows; parity that does not hold fails it whatever the figures."""
    assert recipe.verdict is not None
    final = judged_arm(rows)
    metric = recipe.judged_metric
    sign = metrics.sign(metric)  # a rise of an error is a drop
    verdict = judge_arms(
        {arm: sign * row["mean"][metric] for arm, row in rows.items()},
        {arm: sign * values[metric] for arm, values in resampled.items()},
        recipe.verdict,
        chance=sign * chance[metric] if chance else None,
        speedup=rows["teacher"]["latency_ms"]["p50"] / rows[final]["latency_ms"]["p50"],
        compression=rows["teacher"]["bytes"] / rows[final]["bytes"],
    )
    broken = [
        f"parity fails: {row['arm']} in {row['runtime']} decides {row['flips']} of "
        f"{row['units']} otherwise"
        for row in parity
        if not row["holds"]
    ]
    reasons = verdict["reasons"] + broken
    return verdict | {"reasons": reasons, "kept": not reasons}


def describe_arm(
    seeds: list[Arm],
    resampled: dict[str, np.ndarray],
    latency: dict[str, Any],
    teachers: list[Arm] | None,
) -> dict[str, Any]:
    """One row of report.json's arms."""
    rows = [describe_seed(seed) for seed in seeds]
    names = rows[0]["metrics"]
    # Of a task without labels of rows only figures are kept, no decisions that could agree.
    has_decisions = not isinstance(seeds[0].task, SelfSupervised)
    agreed = None
    if teachers and has_decisions:
        teacher = teachers[0].scored
        agreed = float(np.mean([agreement(each.scored, teacher, each.task) for each in seeds]))
    return {
        "seeds": rows,
        "mean": {name: float(np.mean([row["metrics"][name] for row in rows])) for name in names},
        "ci95": {name: interval(values) for name, values in resampled.items()},
        "parameters": seeds[0].num_parameters,
        "bytes": seeds[0].num_bytes,
        "latency_ms": latency,
        "agreement": agreed,
    }


def describe_seed(arm: Arm) -> dict[str, Any]:
    """The metrics of one seed, and its report by label."""
    return {
        "seed": arm.recipe.train.seed,
        "metrics": quality(arm.scored, arm.task),
        **arm.task.details(arm.scored),
    }
