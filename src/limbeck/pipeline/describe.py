"""report.json from the arms of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from limbeck.analysis.float_products import in_words
from limbeck.core.system import machine
from limbeck.evaluation.by_row import of_rows
from limbeck.evaluation.chance import best_constant_answer
from limbeck.evaluation.compare import Answers, Judged
from limbeck.evaluation.scores import agreement, quality, told_quality
from limbeck.evaluation.undertrained import (
    FEWEST_ROWS,
    FEWEST_TOLD,
    named,
    never_answered,
    signs,
)
from limbeck.evaluation.verdict import (
    BASELINE,
    CONSTANT,
    Bar,
    Evidence,
    is_above_chance,
    judge_arms,
    judged_arm,
)
from limbeck.pipeline.arm import Arm, train_assistant
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.deciding import telling
from limbeck.pipeline.deciding.alike import told_alike
from limbeck.pipeline.judging.judged_rows import JudgedRows, judged_rows
from limbeck.pipeline.judging.lost import describe_lost
from limbeck.pipeline.judging.written import describe_written
from limbeck.pipeline.layer_analysis import analyse_layers
from limbeck.pipeline.origins.telling import describe_origins
from limbeck.pipeline.speed.measuring import measure_speed
from limbeck.pipeline.steps.baseline import Baseline, linear_baseline
from limbeck.pipeline.steps.scoring import score_teacher
from limbeck.pipeline.steps.teacher import further_teachers
from limbeck.pipeline.stored_model import StoredModel
from limbeck.recipe.model import Recipe, Verdict
from limbeck.recipe.reading import write
from limbeck.reports.earlier import SCHEMA
from limbeck.tasks import OverVocabulary, Scored, Task, metrics

Arms = Mapping[str, list[Arm]]  # every seed of each arm
Answered = dict[str, Judged]  # each arm's answers to the test rows, the baseline's among them


@dataclass(frozen=True)
class Known:
    """Every arm's answers as a user is answered, and its most probable labels: what it has learned,
    which costs do not move."""

    answered: Answered
    learned: Answered


def by_metric(answered: Answered, metric: str) -> dict[str, Answers]:
    """Every arm's answers, judged by one metric."""
    return {arm: judged.by(metric) for arm, judged in answered.items()}


def final_arm(arms: Arms) -> list[Arm]:
    """The seeds of the arm that is judged and shipped."""
    return arms[judged_arm(arms)]


def describe(run: RunContext, arms: Arms, name: str) -> dict[str, Any]:
    """report.json: every arm's figures, the verdict, parity, stages, machine.

    Args:
        run: what the arms shared.
        arms: every seed of each arm.
        name: the report's title.
    """
    recipe = run.recipe
    settings = recipe.verdict or Verdict()
    # 1. Every arm's answers to the same test rows.
    shipped = final_arm(arms)[0]
    test = judged_rows(run, shipped.task)
    baseline = linear_baseline(run, shipped.task) if recipe.verdict else None
    known = answers_to(test, arms, baseline)
    answered = known.answered
    # 2. What takes time: layers, then milliseconds, with nothing else running.
    layers = describe_layers(run, arms)
    latency, speed = measure_speed(run, arms, settings.latency_rows, settings.latency_threads)
    # 3. Figures of each arm, and the verdict over them.
    teacher = answered.get("teacher")
    rows: dict[str, Any] = {}
    for arm, seeds in arms.items():
        rows[arm] = describe_arm(seeds, answered[arm], latency[arm], teacher)
        if baseline and arm == "teacher":
            rows[BASELINE] = describe_baseline(baseline, answered[BASELINE], teacher)
    parity = describe_parity(arms)
    verdict = lost = None
    if recipe.verdict:
        bars = bars_of(recipe, answered[judged_arm(arms)], baseline, known.learned)
        verdict = judge(run, arms, rows, known, test, bars)
        lost = what_was_lost(run, arms, test, known, bars)
    calibration = telling.describe_calibration(arms, latency, recipe.judged_metric, test.kept)
    add_costs(calibration, arms, baseline, test.kept)
    if verdict:
        verdict = with_reasons(verdict, parity_failures(parity) + telling.reasons(calibration))
    metric = {
        "name": recipe.judged_metric,
        "higher_is_better": metrics.sign(recipe.judged_metric) > 0,
    }
    return {
        "schema": SCHEMA,
        "name": name,
        "task": recipe.task,
        "metric": metric,
        "origins": describe_origins(run, shipped),
        "arms": rows,
        "verdict": verdict,
        "parity": parity,
        "calibration": calibration,
        "speed": speed,
        "lost": lost,
        "written": describe_written(run, arms),
        "layers": layers,
        "stages": [_without_entry(record) for record in run.store.records],
        "machine": machine.describe(),
        "versions": machine.versions(),
        "notes": [
            *run.data.notes,
            *run.notes_of_tokens(shipped.task),
            *notes_of_other_teachers(run, test),
            *notes_of_arms(arms),
            *([] if recipe.verdict else test.reasons + test.notes),
            *notes_of_floats(layers),
        ],
        "bad_rows": {"policy": recipe.data.on_bad_row or "fail", "count": run.data.num_bad},
        "recipe": write(recipe),
    }


def _without_entry(record: dict[str, Any]) -> dict[str, Any]:
    """A stage's record without the name of its folder, which means nothing elsewhere."""
    return {key: value for key, value in record.items() if key != "entry"}


def describe_layers(run: RunContext, arms: Arms) -> dict[str, Any] | None:
    """What the layers of the shipped model lose, of its first seed; None where it is float."""
    name = judged_arm(arms)
    arm = arms[name][0]
    if arm.artifact is None:
        return None
    return {"arm": name, **analyse_layers(run, arm)}


def what_was_lost(
    run: RunContext,
    arms: Arms,
    test: JudgedRows,
    known: Known,
    bars: Sequence[Bar],
) -> dict[str, Any] | None:
    """What the shipped model lost of the teacher, of its first seed; None where the teacher is what
    is shipped. The arguments are those of `judge`."""
    shipped = judged_arm(arms)
    if shipped == "teacher":
        return None
    teacher = known.learned["teacher"].by(run.recipe.judged_metric)
    # What a teacher at chance has right in some kind of rows is chance, too.
    return describe_lost(
        run,
        arms["teacher"][0],
        arms[shipped][0],
        test,
        has_kinds=is_above_chance(teacher, bars),
    )


def describe_parity(arms: Arms) -> list[dict[str, Any]]:
    """Parity of every artifact in every runtime that it offers."""
    rows: list[dict[str, Any]] = []
    for arm, seeds in arms.items():
        # An arm without a training is one, whatever the number of seeds.
        by_seed = {seed.recipe.train.seed: seed.artifact for seed in seeds}
        for number, artifact in by_seed.items():
            if artifact:
                which = {"arm": arm, "seed": number}
                rows += [which | row for row in artifact.parity]
    return rows


def answers_to(test: JudgedRows, arms: Arms, baseline: Baseline | None) -> Known:
    """Every model's answers to the test rows that are judged, the baseline's among them."""
    task = final_arm(arms)[0].task
    models = {arm: [seed.decided for seed in seeds] for arm, seeds in arms.items()}
    if baseline:
        models[BASELINE] = [baseline.decided]
    answered: Answered = {}
    learned: Answered = {}
    for name, seeds in models.items():
        answered[name] = learned[name] = test.judged([seed.answered for seed in seeds], task)
        # Most often the answers are the most probable labels, and need no second look.
        if any(seed.has_costs for seed in seeds):
            learned[name] = test.judged([seed.most_probable for seed in seeds], task)
    return Known(answered, learned)


def add_costs(
    calibration: dict[str, Any] | None, arms: Arms, baseline: Baseline | None, kept: np.ndarray
) -> None:
    """Add what costs make of every model's answers to the test rows that are `kept`, of first
    seeds; nothing without costs."""
    if calibration is None or calibration["answers"] is None:
        return
    decided = {arm: seeds[0].decided for arm, seeds in arms.items()}
    if baseline:
        decided[BASELINE] = baseline.decided
    decided = {name: replace(each, raw=of_rows(each.raw, kept)) for name, each in decided.items()}
    alike = told_alike(decided, final_arm(arms)[0].task, calibration["metric"])
    calibration["answers"]["alike"] = alike


def bars_of(
    recipe: Recipe,
    shipped: Judged,
    baseline: Baseline | None,
    answered: Answered,
) -> list[Bar]:
    """What teacher and student must beat: one answer for every row, and a linear model.

    None of these for a task without labels of rows.

    Args:
        recipe: the run's, with a verdict.
        shipped: the judged arm.
        baseline: the linear model; None where the task has none.
        answered: every arm's most probable labels, the baseline's among them.
    """
    metric = recipe.judged_metric
    if isinstance(shipped.task, OverVocabulary):
        return []
    constant = best_constant_answer(shipped.seeds[0], shipped.task, metric)
    answers = Judged([constant], shipped.task, shipped.clusters).by(metric)
    is_perfect = answers.sign > 0 and answers.value >= metrics.bounds(metric)[1]
    bars = [Bar(CONSTANT, "one answer for every row", answers, is_perfect)]
    if baseline:
        words = f"{baseline.title}, which needs no network"
        bars.append(Bar(BASELINE, words, answered[BASELINE].by(metric)))
    return bars


def notes_of_other_teachers(run: RunContext, test: JudgedRows) -> list[str]:
    """What the teachers beside the first, and an assistant, score on the test split."""
    recipe = run.recipe
    # Nothing is trained here: the arms have asked for all of these, and the store has them.
    teachers = further_teachers(recipe, run)
    others: dict[str, StoredModel] = {}
    # The recipe's `teacher` is the first.
    for number, teacher in enumerate(teachers, start=2):
        settings = recipe.teachers[number - 2]
        others[f"teacher {number} ({settings.model})"] = teacher
    if recipe.assistant:
        others["assistant"] = train_assistant(recipe, run)
    metric = recipe.judged_metric
    notes = []
    for title, model in others.items():
        scored = of_rows(score_teacher(run, model), test.kept)
        value = quality(scored, model.task)[metric]
        notes.append(f"{title}: {metric} {value:.4f}")
    return notes


def notes_of_arms(arms: Arms) -> list[str]:
    """What each arm has to say of itself; arms that share a training say it together."""
    arms_of: dict[tuple[int, str], list[str]] = {}
    for arm, seeds in arms.items():
        for seed in seeds:
            for note in seed.notes:
                arms_of.setdefault((seed.recipe.train.seed, note), []).append(arm)
    return [
        f"{' and '.join(names)}, seed {seed}: {note}" for (seed, note), names in arms_of.items()
    ]


def notes_of_floats(layers: Mapping[str, Any] | None) -> list[str]:
    """What of the shipped model is still multiplied in floats; nothing of a float model."""
    products = (layers or {}).get("float_products") or {}
    return [f"in float: {in_words(products)}"] if products else []


def undertrained(run: RunContext, arms: Arms, learned: Answered) -> dict[str, list[str]]:
    """What says of teacher and student that they were trained too little; by name, in words."""
    recipe = run.recipe
    metric = recipe.judged_metric
    judged = judged_arm(arms)
    found: dict[str, list[str]] = {}
    for name, key in (("teacher", "teacher.epochs"), (judged, "train.epochs")):
        # One seed's, that of the model which is handed out.
        arm = arms[name][0]
        words = signs(arm.history, metric, len(run.data.validation), key)
        # An answer that costs forbid is not for want of training.
        for label, count in never_answered(learned[name].seeds[0], arm.task).items():
            cure = "train it longer, on more rows of it"
            if label not in named(arm.task, run.labels_of_train):
                cure = "train has none. Give it some, or leave these out of test"
            words.append(f"never answers `{label}`, which {count} test rows have: {cure}")
        found[name] = words
    return found


def never_answered_of_few(answered: Judged) -> list[str]:
    """The labels with so few test rows that none of them need be answered, where none is."""
    missed = never_answered(answered.seeds[0], answered.task, FEWEST_TOLD)
    return [
        f"`{label}` is never answered: {count} test rows have it, which is too few to count as a "
        "fault. Give test and train more of them"
        for label, count in missed.items()
        if count < FEWEST_ROWS
    ]


def judge(
    run: RunContext,
    arms: Arms,
    rows: dict[str, Any],
    known: Known,
    test: JudgedRows,
    bars: list[Bar],
) -> dict[str, Any]:
    """The verdict over the arms' rows.

    Args:
        run: what the arms shared; its recipe has a verdict.
        arms: every seed of each arm.
        rows: report.json's `arms`.
        known: every arm's answers.
        test: which test rows are judged.
        bars: what teacher and student must beat.
    """
    recipe = run.recipe
    assert recipe.verdict is not None
    metric = recipe.judged_metric
    # What was won.
    teacher = rows["teacher"]
    student = rows[judged_arm(rows)]
    latency = student["latency_ms"]
    found = Evidence(
        answers=by_metric(known.answered, metric),
        learned=by_metric(known.learned, metric),
        speedup=latency["speedup"],
        speedup_ci95=latency["speedup_ci95"],
        bars=bars,
        undertrained=undertrained(run, arms, known.learned),
    )
    verdict = judge_arms(found, recipe.verdict)
    verdict["compression"] = teacher["bytes"] / student["bytes"]
    few = never_answered_of_few(known.learned[judged_arm(arms)])
    verdict["notes"] = [*test.notes, *verdict["notes"], *few]
    # It must be judged by rows that show what was learned.
    return with_reasons(verdict, test.reasons)


def with_reasons(verdict: dict[str, Any], added: list[str]) -> dict[str, Any]:
    """A verdict against which more stands than its figures: what is shipped must decide as what was
    judged, and as it was promised."""
    reasons = [*verdict["reasons"], *added]
    return verdict | {"reasons": reasons, "kept": not reasons}


def parity_failures(parity: list[dict[str, Any]]) -> list[str]:
    """Each graph that answers otherwise than the trained model: no figure makes up for it.

    parity: of every artifact, as `describe_parity` gives it.
    """
    failures = []
    for row in parity:
        if not row["holds"]:
            why = "; ".join(row["failures"])
            failures.append(f"parity fails: {row['arm']} in {row['runtime']}: {why}")
    return failures


def describe_arm(
    seeds: list[Arm],
    answered: Judged,
    latency: dict[str, Any],
    teacher: Judged | None,
) -> dict[str, Any]:
    """One row of report.json's arms.

    Args:
        seeds: the arm, trained with each seed.
        answered: its answers to the test rows.
        latency: its `latency_ms`.
        teacher: its answers, which these are compared with; None without a teacher.
    """
    rows: list[dict[str, Any]] = []
    for seed, scored in zip(seeds, answered.seeds, strict=True):
        rows.append({"seed": seed.recipe.train.seed, **describe_answers(scored, answered.task)})
    means: dict[str, float | None] = {}
    for name in rows[0]["metrics"]:
        values = [row["metrics"][name] for row in rows]
        means[name] = None if None in values else float(np.mean(values))
    # Of a task without labels of rows only figures are kept, no decisions that could agree.
    has_decisions = not isinstance(seeds[0].task, OverVocabulary)
    agreed = None
    if teacher and has_decisions:
        of_seeds = [agreement(each, teacher.seeds[0], answered.task) for each in answered.seeds]
        agreed = float(np.mean(of_seeds))
    return {
        "seeds": rows,
        "mean": means,
        "ci95": answered.intervals(),
        "parameters": seeds[0].num_parameters,
        "bytes": seeds[0].num_bytes,
        "latency_ms": latency,
        "agreement": agreed,
    }


def describe_baseline(
    baseline: Baseline,
    answered: Judged,
    teacher: Judged | None,
) -> dict[str, Any]:
    """The row of the linear model; bytes and milliseconds are not known, as none is handed out."""
    task, scored = answered.task, answered.seeds[0]
    told = describe_answers(scored, task)
    agreed = agreement(scored, teacher.seeds[0], task) if teacher else None
    return {
        "what": baseline.title,
        "seeds": [{"seed": 0, **told}],
        "mean": told["metrics"],
        "ci95": answered.intervals(),
        "parameters": baseline.num_parameters,
        "bytes": None,
        "latency_ms": None,
        "agreement": agreed,
    }


def describe_answers(scored: Scored, task: Task) -> dict[str, Any]:
    """The metrics of one seed, and its report by label."""
    return {"metrics": told_quality(scored, task), **task.details(scored)}
