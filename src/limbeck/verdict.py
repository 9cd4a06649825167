"""Was it worth it, and is it still good? Control arms, seeds and a paired bootstrap over test rows.

The arms: `plain` (the same student without a teacher), `kd` (distilled, float), `kd+ptq` (the same weights, quantized after), `joint` (distilled
and quantized in one training). A metric is a function of the rows' weights, so one resample of the rows (Efron and Tibshirani, 1993, chapter 6;
Berg-Kirkpatrick et al., 2012) serves every arm and the differences are paired. Seeds are averaged within a resample. Rows are sentences for
tagging, never tokens.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from limbeck import registry
from limbeck.recipe import TRAINED, Quantize, Recipe, Verdict
from limbeck.tasks import Scored, Task, figures

ALPHA = 0.05
AT_CHANCE = "is not shown to be better than one answer for every row ({:.4f}): it has learned nothing that this test set can show"
JUDGED = ("joint", "quantized", "kd+ptq", "kd", "plain", "teacher")  # the first that was run


def arms(recipe: Recipe, seed: int) -> dict[str, Recipe]:
    """The derived recipe of every arm asked for; all with the same data, student and steps."""
    assert recipe.verdict is not None
    train = recipe.train.model_copy(update={"seed": recipe.train.seed + seed})
    changes: dict[str, dict[str, Any]] = {
        "plain": {"distill": None, "quantize": None, "teachers": [], "assistant": None},
        "kd": {"quantize": None},
    }
    if recipe.quantize:
        changes |= {"kd+ptq": {"quantize": after_training(recipe.quantize)}, "joint": {"quantize": in_training(recipe.quantize)}}
    return {name: recipe.model_copy(update={**changes[name], "train": train, "verdict": None}) for name in recipe.verdict.arms}


def judged(names: Iterable[str]) -> str:
    """Of the arms of a run, the one that is judged and shipped. `quantized` is the one arm of a recipe without a teacher or a verdict."""
    return min(names, key=JUDGED.index)


def after_training(settings: Quantize) -> Quantize:
    """What acts in training alone is left out. Where training learned its range, or took what it takes by default, quantizing afterwards chooses by
    trial (`post_training`)."""
    own = settings.model_dump(by_alias=True) | {"when": "after", "clip_weight": None, "progressive": [], "switch_at": []}
    own |= {key: None for key, value in TRAINED.items() if own[key] == value}
    if own["range"] and registry.load("ranges", own["range"]).learned:
        own["range"] = None
    return Quantize.model_validate(own)


def in_training(settings: Quantize) -> Quantize:
    """What acts after training alone, rewrites and roundings by layer, is left out of a joint training: weights take their nearest level."""
    from limbeck.roundings import LayerRounding  # imports torch, which reading a report does not need

    own = settings.model_dump(by_alias=True)
    changes: dict[str, Any] = {"when": "train", "equalize": {}}
    if settings.rounding and issubclass(registry.load("roundings", settings.rounding), LayerRounding):
        own = {key: value for key, value in own.items() if key not in settings.options}
        changes["rounding"] = TRAINED["rounding"]
    return Quantize.model_validate({**own, **changes})


def resample(num_rows: int, resamples: int) -> np.ndarray:
    """(R, N) how often each row is drawn, by a fixed seed."""
    generator = np.random.default_rng(0)
    return generator.multinomial(num_rows, np.full(num_rows, 1 / num_rows), resamples).astype(np.float64)


def bootstrap(seeds: Sequence[Scored], weights: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    """(R) resampled values of every metric, averaged over the seeds; `weights` (R, N)."""
    per_seed = [figures(task, scored, weights) for scored in seeds]
    return {name: np.mean([metrics[name] for metrics in per_seed], 0) for name in per_seed[0]}


def interval(values: np.ndarray) -> list[float]:
    """The central 95 %."""
    return [float(value) for value in np.quantile(values, [ALPHA / 2, 1 - ALPHA / 2])]


def judge(
    means: dict[str, float], resampled: dict[str, np.ndarray], asked: Verdict, *, chance: np.ndarray | None, speedup: float, compression: float
) -> dict[str, Any]:
    """report.json's verdict, from each arm's mean metric and its resampled values (higher is better).

    The student is kept when the paired bootstrap rejects, at 5 %, that it drops by more than `max_drop`, and it is as much faster as asked; and when
    teacher and student are better than the best constant answer, whose resampled metric is `chance`, for a teacher that knows nothing loses nothing.
    """
    final = judged(means)
    drops = resampled["teacher"] - resampled[final]
    p_noninferior = float((1 + (drops > asked.max_drop).sum()) / (1 + len(drops)))
    reasons = []
    if chance is not None:
        poor = [arm for arm in ("teacher", final) if (resampled[arm] <= chance).mean() > ALPHA]
        reasons += [f"`{arm}` {AT_CHANCE.format(abs(chance.mean()))}" for arm in poor]
    if p_noninferior > ALPHA:
        reasons.append(f"a drop of more than {asked.max_drop:g} is not ruled out (p = {p_noninferior:.3f})")
    if speedup < asked.min_speedup:
        reasons.append(f"{speedup:.1f} times as fast as the teacher, {asked.min_speedup:g} asked")
    found = {
        "kept": not reasons,
        "reasons": reasons,
        "drop": means["teacher"] - means[final],
        "drop_ci95": interval(drops),
        "max_drop": asked.max_drop,
        "min_speedup": asked.min_speedup,
        "test": "paired bootstrap",
        "p_noninferior": p_noninferior,
        "speedup": speedup,
        "compression": compression,
    }
    return found | gain("kd", "kd", "plain", means, resampled) | gain("joint", "joint", "kd+ptq", means, resampled)


def gain(name: str, arm: str, control: str, means: dict[str, float], resampled: dict[str, np.ndarray]) -> dict[str, Any]:
    """`<name>_gain` of an arm over its control with its interval; null where one of the two was not run."""
    if arm not in means or control not in means:
        return {f"{name}_gain": None, f"{name}_gain_ci95": None}
    return {f"{name}_gain": means[arm] - means[control], f"{name}_gain_ci95": interval(resampled[arm] - resampled[control])}
