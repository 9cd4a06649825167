"""Roundings by layer beside the nearest level, end to end: the same float student, weights alone
in few bits, after training.

    python benchmarks/roundings.py RECIPE [key=value ...] [--formats int4,int3]

Takes the float student of a recipe (`kd`, or `plain` where it has no `distill`; from the store, or
trained) and quantizes its weights per channel
(`mse` ranges, activations float, int8 embeddings). Prints the task's metric and the divergence
from the float model on the test split.
"""

import argparse

from against_peers import INT8_EMBEDDINGS, figures, show

from limbeck.core.cache.store import Store
from limbeck.evaluation.scores import quality
from limbeck.pipeline import arm
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.recipe.model import Quantize
from limbeck.recipe.reading import read

WAYS = ("nearest", "gptq", "adaround")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--formats", default="int4,int3")
    arguments = parser.parse_args()
    recipe = compatibility.resolved(read(arguments.recipe, arguments.overrides))
    bench = RunContext(recipe, Store())
    own = derive_arms(recipe, 0)["kd" if recipe.distill else "plain"]
    base = arm.run_arm(own, bench.store, run=bench)
    rows = {"float": (quality(base.scored, base.task)[base.task.metric], 0.0)}
    settings = {
        "when": "after",
        "range": "mse",
        "equalize": {},
        "activations": "float",
        "modules": INT8_EMBEDDINGS,
    }
    for form in arguments.formats.split(","):
        for way in WAYS:
            quantize = Quantize.model_validate({**settings, "weights": form, "rounding": way})
            asked = own.model_copy(update={"quantize": quantize, "export": ["onnx"]})
            rows[f"{form} {way}"] = figures(
                base.task, arm.run_arm(asked, bench.store, run=bench).scored.logits, base.scored
            )
    show(recipe.task, rows)


if __name__ == "__main__":
    main()
