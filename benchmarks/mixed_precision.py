"""A searched plan beside the uniform ones, rounded after training and not trained again: is the search worth it?

    python benchmarks/mixed_precision.py RECIPE [key=value ...] [--bits 4.5] [--sensitivity gradient] [--rows N]

Searches at the budget, then quantizes the recipe's float student by the plan, by int4 and by int8 throughout, and scores each on the test split (or
its first N rows): the task's metric, KL to the float model in nats a unit, average bits, bytes, and the seconds of the search.
"""

import argparse

import numpy as np
import torch

from limbeck import evaluate, pipeline, quantize, recipe, search, stages, verdict
from limbeck.recipe import Quantize
from limbeck.store import Store
from limbeck.tasks import Scored


def divergence(plain: Scored, other: Scored) -> float:
    """KL(float || quantized) in nats a unit."""
    log_p, log_q = (torch.from_numpy(scored.logits).double().log_softmax(-1) for scored in (plain, other))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--bits", type=float, default=4.5)
    parser.add_argument("--sensitivity", default="gradient")
    parser.add_argument("--rows", type=int)
    arguments = parser.parse_intermixed_args()
    asked = search.with_quantize(recipe.read(arguments.recipe, arguments.overrides).resolved())
    assert asked.quantize is not None
    names = ["int8", "int4", "int3", "int2", "ternary"]
    found = search.search(asked, search.Budget("bits", arguments.bits), names, arguments.sensitivity, Store())
    bench = stages.Bench(asked, Store())
    start, weights = pipeline.trained_student(asked.model_copy(update={"quantize": None}), bench)
    after = {"when": "after", "range": verdict.after_training(asked.quantize.range)}
    settings = Quantize.model_validate(asked.quantize.model_dump() | {"activations": stages.activations(bench, asked)} | after)
    plans = {
        "mixed": settings.model_copy(update={"modules": Quantize.model_validate(found["recipe"]["quantize"]).modules}),
        **{form: settings.model_copy(update={"weights": form, "modules": {}}) for form in ("int4", "int8")},
    }
    encoded = bench.encode("test", start.task)[: arguments.rows]
    plain = evaluate.score(search.Student(bench, asked, start, weights).model(), encoded, start.task)
    print(f"{'float':8} {start.task.metric} {evaluate.quality(plain, start.task)[start.task.metric]:.4f}")
    for title, plan in plans.items():
        student = search.Student(bench, asked.model_copy(update={"quantize": plan}), start, weights)
        model = student.prepared(quantize.plan(student.model(), plan, student.activations))
        quantize.calibrate(model, stages.calibration(bench, student.recipe, start.task))
        scored = evaluate.score(model, encoded, start.task, one_by_one=student.activations == "uint8-dynamic")
        figures = found["plan"] if title == "mixed" else found["uniform"][title]
        quality = evaluate.quality(scored, start.task)[start.task.metric]
        print(
            f"{title:8} {start.task.metric} {quality:.4f}  KL {divergence(plain, scored):.5f} (predicted {figures['loss']:.5f})  "
            f"{figures['bits']:.2f} bits  {figures['bytes']:12,.0f} bytes"
        )
    agree = np.mean([row["weights"] == "int4" for row in found["modules"]])
    print(f"search: {found['seconds']} s, {len(found['modules'])} modules, {agree:.0%} of them int4")


if __name__ == "__main__":
    main()
