"""Mixed precision: the format of each module's weights that keeps most quality within a budget.

`limbeck search RECIPE --bits 4.5` goes four steps. The recipe's student is trained in float (or
found in the store); a sensitivity says what each module loses in each format
(`analysis.sensitivities`); an integer programme chooses (`analysis.assign`); the plan is told as a
block to paste into the recipe (`report`).

Activations stay as the recipe has them and are float while the weights are judged. Weights are
rounded as `quantize.range` says, before any training of theirs: a joint training begins from the
plan and does better than predicted.
"""

import time
from collections.abc import Sequence
from typing import Any

from limbeck.analysis.assign import Plan
from limbeck.analysis.sensitivities import JudgedModel
from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.layer_analysis import judge_layers
from limbeck.pipeline.preflight import compatibility
from limbeck.quantization.plan import chosen_weights, plan_schemes, quantizable_weights
from limbeck.recipe.model import Quantize, Recipe, Scheme
from limbeck.studies.budget import Budget
from limbeck.studies.candidates import Candidates, add_milliseconds, best_plan, gather
from limbeck.studies.student import (
    Schemes,
    SearchedStudent,
    timed_model,
    train_float_student,
    with_value,
)
from limbeck.tasks import SelfSupervised


def search(
    recipe: Recipe,
    budget: Budget,
    formats: Sequence[str],
    sensitivity: str,
    store: Store,
) -> dict[str, Any]:
    """The best plan within a budget, its figures and those of the uniform plans.

    Args:
        recipe: whose student is searched; it need not quantize.
        budget: what the plan may cost.
        formats: what is chosen from, `float` among them where a module may stay float.
        sensitivity: the name of the component that judges.
        store: where the trained student lies.

    Returns:
        Plain data: `budget`, `sensitivity`, `rows` judged on, `modules` (a row each), the figures
        of the `plan` and of each `uniform` one, the `recipe` block, and the `seconds` it took
        after the training.

    Raises:
        ValueError: no plan keeps the budget, or there is nothing to choose for.
        Interrupted: the process was asked to stop; the same call goes on.
    """
    # An unknown sensitivity is told before anything is trained.
    registry.load("sensitivities", sensitivity)

    # 1. The float student.
    recipe = with_quantize(compatibility.resolved(recipe))
    run = RunContext(recipe, store)
    student = SearchedStudent(run, recipe, *train_float_student(recipe, run))
    assert student.weights is not None
    began = time.perf_counter()
    schemes = plan_schemes(student.model(), student.settings, student.activations)
    if not schemes:
        raise ValueError(
            "search: this recipe quantizes no module. Leave some out of quantize.keep_float"
        )

    # 2. What each module loses.
    swapped = student.prepared(with_value(schemes, activations="float"))
    judged = JudgedModel(
        swapped,
        student.batches(),
        [form for form in formats if form != "float"],
        store.tell,
        run.task_class.likelihood,
    )
    scores = judge_layers(run, recipe, student.weights, judged, sensitivity)

    # 3. The choice.
    candidates = gather(judged, scores, formats)
    if budget.unit == "milliseconds":
        add_milliseconds(candidates, timed_model(student, swapped, schemes), store.tell)
    plan = best_plan(candidates, budget)

    # 4. What is told of it.
    # Beside the plan, what one format for all modules would cost and lose.
    uniform = {form: dict.fromkeys(plan, form) for form in formats}
    return {
        "budget": {"unit": budget.unit, "limit": budget.limit},
        "sensitivity": sensitivity,
        "rows": len(student.rows),
        "modules": [module_row(name, form, candidates) for name, form in plan.items()],
        "plan": candidates.describe(plan),
        "uniform": {form: candidates.describe(each) for form, each in uniform.items()},
        "recipe": recipe_block(student, schemes, plan),
        "seconds": round(time.perf_counter() - began, 1),
    }


def with_quantize(recipe: Recipe) -> Recipe:
    """The recipe, with the default way of quantizing where it has none.

    Raises:
        ValueError: the recipe only pre-trains.
    """
    if issubclass(registry.load("tasks", recipe.task), SelfSupervised):
        raise ValueError(
            f"search: `{recipe.task}` only pre-trains. "
            "Search with the recipe that takes its model as teacher or student"
        )
    settings = recipe.quantize or Quantize()
    # Nothing is trained for the format here: the range of least squared error is the best start.
    return recipe.model_copy(update={"quantize": settings.with_chosen(range="mse")})


def module_row(
    name: str,
    form: str,
    candidates: Candidates,
) -> dict[str, Any]:
    """A module and the format that was chosen for it."""
    return {
        "name": name,
        "kind": candidates.kinds[name],
        "parameters": candidates.counts[name],
        "weights": form,
        "bytes": int(candidates.costs["bytes"][name][form]),
        "sensitivity": candidates.losses[name][form],
    }


def recipe_block(
    student: SearchedStudent,
    schemes: Schemes,
    plan: Plan,
) -> dict[str, Any]:
    """What to paste into the recipe, in place of its own `quantize.modules`.

    It names every module whose scheme is not that of `quantize` itself.
    """
    settings = student.settings
    default = Scheme(
        weights=settings.weights,
        activations=student.activations,
        group=settings.group,
        scale=settings.scale,
    )
    unquantized = Scheme(weights="float", activations="float")
    weights = quantizable_weights(student.model())
    kept_float: set[str] = set()
    for pattern in settings.keep_float:
        kept_float |= set(chosen_weights(weights, pattern))
    modules: dict[str, Any] = {}
    # One choice for a weight that several modules share.
    chosen: dict[int, str] = {}
    for name, weight in weights.items():
        if name in kept_float:
            continue
        form = chosen.setdefault(id(weight.tensor), plan.get(name, "float"))
        if form == "float":
            scheme = unquantized
        else:
            scheme = schemes[name].model_copy(update={"weights": form})
        # What `quantize` says for all need not be said again.
        if scheme != default:
            modules[name] = scheme.model_dump(mode="json", exclude_none=True)
    return {"quantize": {"modules": modules}}
