"""A searched plan beside the uniform ones, rounded after training and not trained again: is the
search worth it?

    python benchmarks/mixed_precision.py RECIPE [key=value ...] [--bits 4.5] [--sensitivity
    gradient] [--rows N]

Searches at the budget, then quantizes the recipe's float student by the plan, by int4 and by int8
throughout, and scores each on the test split (or
its first N rows): the task's metric, KL to the float model in nats a unit, average bits, bytes,
and the seconds of the search.
"""

import argparse

import numpy as np
from against_peers import figures

from limbeck.core.cache.store import Store
from limbeck.pipeline.arms import after_training
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.steps.quantizing import activations, calibration
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.plan import plan_schemes
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import read
from limbeck.studies import search
from limbeck.studies.budget import Budget
from limbeck.studies.student import SearchedStudent, train_float_student
from limbeck.training.scoring import score_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--bits", type=float, default=4.5)
    parser.add_argument("--sensitivity", default="gradient")
    parser.add_argument("--rows", type=int)
    arguments = parser.parse_intermixed_args()
    asked = search.with_quantize(
        compatibility.resolved(read(arguments.recipe, arguments.overrides))
    )
    assert asked.quantize is not None
    names = ["int8", "int4", "int3", "int2", "ternary"]
    found = search.search(
        asked, Budget("bits", arguments.bits), names, arguments.sensitivity, Store()
    )
    bench = RunContext(asked, Store())
    start, weights = train_float_student(asked, bench)
    stored_as = {"activations": activations(asked, bench)}
    settings = after_training(asked.quantize.model_copy(update=stored_as)).with_chosen(range="mse")
    plans = {
        "mixed": settings.model_copy(
            update={"modules": Quantize.model_validate(found["recipe"]["quantize"]).modules}
        ),
        **{
            form: settings.model_copy(update={"weights": form, "modules": {}})
            for form in ("int4", "int8")
        },
    }
    encoded = bench.encode("test", start.task)[: arguments.rows]
    plain = score_split(SearchedStudent(bench, asked, start, weights).model(), encoded, start.task)
    print(f"{'float':8} {start.task.metric} {figures(start.task, plain.logits, plain)[0]:.4f}")
    for title, plan in plans.items():
        student = SearchedStudent(
            bench, asked.model_copy(update={"quantize": plan}), start, weights
        )
        model = student.prepared(plan_schemes(student.model(), plan, student.activations))
        calibrate(model, calibration(student.recipe, bench, start.task))
        scored = score_split(
            model, encoded, start.task, one_by_one=student.activations == "uint8-dynamic"
        )
        predicted = found["plan"] if title == "mixed" else found["uniform"][title]
        quality, nats = figures(start.task, scored.logits, plain)
        print(
            f"{title:8} {start.task.metric} {quality:.4f}  KL {nats:.5f} (predicted {predicted['loss']:.5f})  "
            f"{predicted['bits']:.2f} bits  {predicted['bytes']:12,.0f} bytes"
        )
    agree = np.mean([row["weights"] == "int4" for row in found["modules"]])
    print(
        f"search: {found['seconds']} s, {len(found['modules'])} modules, {agree:.0%} of them int4"
    )


if __name__ == "__main__":
    main()
