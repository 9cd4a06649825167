"""The pipeline in a straight line: recipe -> data -> teacher -> student -> train -> quantize -> evaluate -> export; and over it the verdict."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck import bench as benchmark
from limbeck import collapse, evaluate, features, layers, machine, metrics, objective, registry, report, speed, twins, verdict
from limbeck import recipe as recipes
from limbeck.data import Data
from limbeck.labelling import further_teachers, label_stages
from limbeck.models import WEIGHTS
from limbeck.own import Own, wrapped
from limbeck.progress import Ended, Started, Tell, silent
from limbeck.recipe import Recipe, Verdict
from limbeck.runtime import load, require
from limbeck.stages import (
    Answers,
    Arm,
    Bench,
    Net,
    arm_title,
    choose_stage,
    evaluate_stage,
    export_stage,
    quantize_stage,
    score,
    student_stage,
    teacher_stage,
    train_stage,
    trained_net,
)  # fmt: skip
from limbeck.store import Store, lock, read_json, write_bytes, write_json
from limbeck.tasks import SelfSupervised, collate


def run_arm(recipe: Recipe, store: Store, *, bench: Bench | None = None) -> Arm:
    """One recipe, from data to test answers and, where it quantizes, an artifact with its parity. Raises ValueError and Interrupted."""
    bench = Bench(recipe, store) if bench is None else bench
    start, trained = trained_student(recipe, bench)
    recipe, notes = choose_stage(bench, recipe, start, trained)
    weights = quantize_stage(bench, recipe, start, trained)
    arm = evaluate_stage(bench, recipe, start, weights)
    arm.history, arm.notes = read_json(trained / "history.json"), notes
    if recipe.quantize:
        export_stage(bench, recipe, start, weights, arm, recipe.export)
    return arm


def trained_student(recipe: Recipe, bench: Bench) -> tuple[Net, Path]:
    """The student before its training, and the weights after it."""
    start, terms, answers = taught(recipe, bench)
    return start, train_stage(bench, recipe, start, terms, answers)


def taught(recipe: Recipe, bench: Bench) -> tuple[Net, list[objective.Term], Answers | None]:
    """The student before its training, its losses, and how its teachers answer; None where no loss asks them."""
    torch.set_num_threads(recipe.train.threads)
    machine.keep_freed_memory()
    ready = teacher_stage(bench, recipe) if recipe.teacher else None
    start = student_stage(bench, recipe, ready)
    terms = objective.terms(start.task.hard_loss, recipe.distill)
    guide = assistant(bench, recipe) if recipe.assistant else ready
    answers = label_stages(bench, recipe, guide, start, terms) if guide and any(term.loss.reads for term in terms) else None
    return start, terms, answers


def label(recipe: Recipe, tell: Tell = silent) -> None:
    """Fill the cache of the teachers' answers that a recipe's student trains on, and stop; several processes may share the work.

    Raises ValueError for a recipe in which no teacher is asked.
    """
    recipe = recipe.resolved()
    if recipe.distill is None:
        raise ValueError("label: this recipe has no `distill`, so no teacher is asked anything. Add it, with a `teacher`")
    if recipe.train.augment and not recipe.train.views:
        raise ValueError(
            "label: `train.augment` changes the images by epoch, and the teacher answers them live. Say how many `train.views` there are"
        )
    taught(recipe, Bench(recipe, Store(tell=tell)))


def assistant(bench: Bench, recipe: Recipe) -> Net:
    """The assistant, taught by the teachers as the student will be by it; float."""
    own = recipe.model_copy(update={"student": recipe.assistant, "assistant": None, "quantize": None, "verdict": None})
    return trained_net(bench, *trained_student(own, bench))


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    name: str = "run",
    tell: Tell = silent,
    models: Mapping[str, nn.Module | Own] | None = None,
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """A recipe to a run folder: every arm, the verdict, the report, the artifact. Returns report.json's content. Raises ValueError, Interrupted.

    `tell` is given every event (`limbeck.progress`) and is called by no other thread. `models`: the user's own modules, by the name that the
    recipe gives as `model`. `rows`: dicts, or a `datasets.Dataset`, by split, for the source `rows`.
    """
    recipe = recipe.resolved()
    if recipe.quantize:
        for exporter in recipe.export:
            require(registry.load("exporters", exporter).runtime)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "run.lock", wait=False):
        write_bytes(folder / "recipe.yaml", recipes.write(recipe).encode())
        store = Store(tell=tell)
        own = wrapped(models)
        bench = Bench(recipe, store, own, rows)
        quarantine(bench.data, folder)
        arms = run_arms(bench)
        found = {**describe(bench, arms, name), "from_python": {"models": sorted(own), "rows": rows is not None}}
        curves = [
            {"arm": arm, "seed": runs[0].recipe.train.seed + i, **point}
            for arm, runs in arms.items()
            for i, run in enumerate(runs)
            for point in run.history
        ]
        write_json(folder / "stages.json", store.records)
        write_bytes(folder / "metrics.jsonl", "".join(json.dumps(point) + "\n" for point in curves).encode())
        report.write(found, curves, folder)
        install(folder, final_arm(arms)[0])
    return found


def quarantine(data: Data, folder: Path) -> None:
    """Write the rows that were kept apart, each with its place and what is wrong, and remove what an earlier run left."""
    path = folder / "quarantine.jsonl"
    path.unlink(missing_ok=True)
    if data.quarantined:
        write_bytes(path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in data.quarantined).encode())


def run_arms(bench: Bench) -> dict[str, list[Arm]]:
    """The teacher, and every arm with every seed; without a verdict the recipe itself is the one arm."""
    recipe = bench.recipe
    arms: dict[str, list[Arm]] = {}
    if recipe.teacher:
        arms["teacher"] = [teacher_arm(bench)]
    if recipe.verdict is None:
        return arms | {arm_title(recipe): [run_arm(recipe, bench.store, bench=bench)]}
    for seed in range(recipe.verdict.seeds):
        for name, derived in verdict.arms(recipe, seed).items():
            arms.setdefault(name, []).append(run_arm(derived, bench.store, bench=bench))
    return arms


def teacher_arm(bench: Bench) -> Arm:
    """The teacher's own answers on the test split."""
    ready = teacher_stage(bench, bench.recipe)
    scored = score(bench, ready.folder, ready.load, ready.task)
    parameters = sum(parameter.numel() for parameter in ready.load().parameters())
    num_bytes = os.path.getsize(ready.folder / WEIGHTS)
    return Arm(bench.recipe, ready.task, scored, ready.folder, parameters, num_bytes, read_json(ready.folder / "history.json"), model=ready.load)


def final_arm(arms: dict[str, list[Arm]]) -> list[Arm]:
    """The runs of the arm that is judged and shipped."""
    return arms[verdict.judged(arms)]


def describe(bench: Bench, arms: dict[str, list[Arm]], name: str) -> dict[str, Any]:
    """report.json: every arm's figures, the verdict, parity, stages, machine."""
    recipe, task = bench.recipe, final_arm(arms)[0].task
    settings = recipe.verdict or Verdict()
    weights = verdict.resample(len(final_arm(arms)[0].scored.offsets) - 1, settings.resamples)
    resampled = {arm: verdict.bootstrap([run.scored for run in runs], weights, task) for arm, runs in arms.items()}
    inspected = inspect(bench, arms)
    latency, compared = measure(bench, arms, settings.latency_rows, settings.latency_threads)
    rows = {arm: describe_arm(runs, resampled[arm], latency[arm], arms.get("teacher")) for arm, runs in arms.items()}
    chance = None
    if recipe.verdict and not isinstance(task, SelfSupervised):
        chance = verdict.bootstrap([collapse.constant(final_arm(arms)[0].scored, task, recipe.judged_metric)], weights, task)
    parity = [{"arm": arm, "seed": run.recipe.train.seed, **row} for arm, runs in arms.items() for run in runs for row in run.parity]
    return {
        "schema": 1,
        "name": name,
        "task": recipe.task,
        "metric": {"name": recipe.judged_metric, "higher_is_better": metrics.sign(recipe.judged_metric) > 0},
        "arms": rows,
        "verdict": judge(recipe, rows, resampled, parity, chance) if recipe.verdict else None,
        "parity": parity,
        "speed": compared,
        "layers": inspected,
        "stages": [{key: value for key, value in record.items() if key != "entry"} for record in bench.store.records],
        "machine": machine.describe(),
        "versions": machine.versions(),
        "notes": bench.data.notes
        + beside(bench, final_arm(arms)[0])
        + [f"{arm}, seed {run.recipe.train.seed}: {note}" for arm, runs in arms.items() for run in runs for note in run.notes],
        "bad_rows": {"policy": recipe.data.on_bad_row, "count": bench.data.num_bad},
        "recipe": recipes.write(recipe),
    }


def beside(bench: Bench, arm: Arm) -> list[str]:
    """What the teachers beside the first, and an assistant, score on the test split."""
    recipe = bench.recipe
    titles = [f"teacher {number} ({other.model})" for number, other in enumerate(recipe.teachers, 2)]
    named = list(zip(titles, further_teachers(bench, recipe), strict=True))
    if recipe.assistant:
        named.append(("assistant", assistant(bench, recipe)))
    found = [(name, net, score(bench, net.folder, net.load, net.task)) for name, net in named]
    return [f"{name}: {recipe.judged_metric} {evaluate.quality(scored, net.task)[recipe.judged_metric]:.4f}" for name, net, scored in found]


def judge(
    recipe: Recipe, rows: dict[str, Any], resampled: dict[str, Any], parity: list[dict[str, Any]], chance: dict[str, np.ndarray] | None
) -> dict[str, Any]:
    """The verdict over the arms' rows; parity that does not hold fails it whatever the figures."""
    assert recipe.verdict is not None
    final, metric = verdict.judged(rows), recipe.judged_metric
    sign = metrics.sign(metric)  # a rise of an error is a drop
    found = verdict.judge(
        {arm: sign * row["mean"][metric] for arm, row in rows.items()},
        {arm: sign * values[metric] for arm, values in resampled.items()},
        recipe.verdict,
        chance=sign * chance[metric] if chance else None,
        speedup=rows["teacher"]["latency_ms"]["p50"] / rows[final]["latency_ms"]["p50"],
        compression=rows["teacher"]["bytes"] / rows[final]["bytes"],
    )
    broken = [row for row in parity if not row["holds"]]
    reasons = found["reasons"] + [
        f"parity fails: {row['arm']} in {row['runtime']} decides {row['flips']} of {row['units']} otherwise" for row in broken
    ]
    return found | {"reasons": reasons, "kept": not reasons}


def describe_arm(runs: list[Arm], resampled: dict[str, np.ndarray], latency: dict[str, Any], teachers: list[Arm] | None) -> dict[str, Any]:
    """One row of report.json's arms."""
    seeds = [
        {"seed": run.recipe.train.seed, "metrics": evaluate.quality(run.scored, run.task), **evaluate.details(run.scored, run.task)} for run in runs
    ]
    decided = not isinstance(runs[0].task, SelfSupervised)  # of whose answers only figures are kept
    return {
        "seeds": seeds,
        "mean": {name: float(np.mean([seed["metrics"][name] for seed in seeds])) for name in seeds[0]["metrics"]},
        "ci95": {name: verdict.interval(values) for name, values in resampled.items()},
        "parameters": runs[0].parameters,
        "bytes": runs[0].num_bytes,
        "latency_ms": latency,
        "agreement": float(np.mean([evaluate.agreement(run.scored, teachers[0].scored, run.task) for run in runs])) if teachers and decided else None,
    }


def inspect(bench: Bench, arms: dict[str, list[Arm]]) -> dict[str, Any] | None:
    """What the layers of the shipped model lose, of its first seed; None where it was not quantized."""
    name = verdict.judged(arms)
    return {"arm": name, **layers.stage(bench, arms[name][0])} if arms[name][0].artifact else None


def measure(bench: Bench, arms: dict[str, list[Arm]], num_rows: int, threads: int) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """End-to-end milliseconds of every arm on raw test rows in order: float arms in PyTorch, artifacts in the fastest runtime they offer; and how the
    shipped artifact compares with its twins."""
    began = time.perf_counter()
    bench.store.tell(Started("latency"))
    torch.set_num_threads(threads)
    answerers: dict[tuple[str, str], Callable[[Any], Any]] = {}
    for name, runs in arms.items():
        run = runs[0]
        if run.artifact is None:
            answerers[name, "pytorch"] = pytorch_answerer(run)
            continue
        for graph in read_json(run.artifact / "manifest.json")["graphs"]:
            answerers[name, graph["runtime"]] = load(run.artifact, runtime=graph["runtime"], threads=threads).predict
    rows = [benchmark.raw(row) for row in bench.data.test[:num_rows]]
    best, final = fastest(answerers, rows), verdict.judged(arms)
    compared = compare(bench, arms[final][0], {each: answerers[each] for each in answerers if each[0] == final}, rows, threads)
    bench.store.tell(Ended("latency", round(time.perf_counter() - began, 3)))
    return {name: benchmark.summary(each, threads=threads, runtime=runtime) for name, (runtime, each) in best.items()}, compared


def fastest(answerers: dict[tuple[str, str], Callable[[Any], Any]], rows: list[Any]) -> dict[str, tuple[str, np.ndarray]]:
    """Of each name the runtime where its p50 is the smallest, and its milliseconds by row; the answerers, by name and runtime, take turns."""
    measured = benchmark.latencies({f"{name}/{runtime}": answer for (name, runtime), answer in answerers.items()}, rows)
    timed = [(name, runtime, measured[f"{name}/{runtime}"]) for name, runtime in answerers]
    return {name: min(((r, ms) for owner, r, ms in timed if owner == name), key=lambda each: float(np.median(each[1]))) for name, _, _ in timed}


def compare(bench: Bench, arm: Arm, own: dict[tuple[str, str], Callable[[Any], Any]], rows: list[Any], threads: int) -> dict[str, Any] | None:
    """report.json's `speed`, in a round of its own: what answers right after PyTorch takes up to a tenth longer. None for a float arm."""
    if arm.artifact is None:
        return None
    with tempfile.TemporaryDirectory(prefix="twins-") as folder:
        found = twins.twins(bench, arm, Path(folder), threads)
        best = fastest(own | found.answerers, rows)
    (name,) = {owner for owner, _ in own}
    others = {form: best[form] for form in found.bytes}
    return {"arm": name, "formats": found.formats, "bytes": found.bytes, "threads": threads, **speed.compare(best[name], others)}


def pytorch_answerer(run: Arm) -> Callable[[Any], Any]:
    """A float model from raw input to decoded answer, as the artifact does it."""
    assert run.model is not None
    model, task = run.model().eval(), run.task

    def answer(given: Any) -> Any:
        row = task.row(given)
        batch = features.to_torch(collate(task.encode([row]), np.zeros(1, int), task.padding))
        with torch.inference_mode():
            return task.decode(row, features.run(model, batch).logits[0].numpy())

    return answer


def install(folder: Path, run: Arm) -> None:
    """Put the proven artifact into the run folder, whole or not at all; one whose parity does not hold is not handed out.

    A student that was not quantized leaves its float model in place of an artifact, as a folder that a recipe can name.
    """
    for name in ("artifact", "artifact.tmp", "model", "model.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if run.artifact is not None and all(row["holds"] for row in run.parity):
        shutil.copytree(run.artifact, folder / "artifact.tmp")
        os.rename(folder / "artifact.tmp", folder / "artifact")
    elif run.artifact is None and run.model is not None and run.save is not None:
        (folder / "model.tmp").mkdir()
        run.save(run.model(), folder / "model.tmp")
        os.rename(folder / "model.tmp", folder / "model")
