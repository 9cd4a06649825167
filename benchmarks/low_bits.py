"""What a weight format costs beside int8: time to load, time of an answer, bytes. The recipe's
student untrained, since none hangs on its weights.

    python benchmarks/low_bits.py RECIPE [key=value ...] [--formats int8,int4,...] [--only
    '*embeddings*'] [--rows N] [--loads N]

Each format in turn for the weights of all modules, or of those that --only matches (the others
stay int8), with integer activations, in ONNX Runtime
on one thread. Prints the median milliseconds to load the graph, p50 from raw input to answer, and
the bytes of the graph, each with its ratio to
int8. Loads and answers take turns, so that a slow minute hits all formats alike.
"""

import argparse
import fnmatch
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from limbeck.artifact.predictor import Predictor
from limbeck.artifact.rows.inputs import raw
from limbeck.artifact.runtimes import open_graph
from limbeck.artifact.speed import rounds
from limbeck.artifact.speed.in_process import InProcess
from limbeck.core.cache.store import Store
from limbeck.exporters.onnx import Onnx
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.speed.graphs import Untrained, int8_scheme
from limbeck.pipeline.steps.quantizing import activations
from limbeck.pipeline.steps.student import cut_student
from limbeck.pipeline.steps.teacher import prepare_teacher
from limbeck.pipeline.stored_model import StoredModel
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.recipe.model import Recipe
from limbeck.recipe.reading import read
from limbeck.studies import search
from limbeck.studies.budget import parse_formats

FORMATS = "int8,int4,int3,int2,ternary,binary"


def untrained(asked: Recipe, bench: RunContext) -> StoredModel:
    """The student; a teacher that it is cut from is taken as it is, untuned."""
    teacher = asked.teacher.model_copy(update={"epochs": 0}) if asked.teacher else None
    ready = (
        prepare_teacher(asked.model_copy(update={"teacher": teacher}), bench)
        if teacher and asked.student.from_
        else None
    )
    return cut_student(asked, bench, ready)


def write(untrained: Untrained, run: RunContext, folder: Path) -> Path:
    """The graph of a format."""
    folder.mkdir()
    example = untrained.example(run)
    model = convert_model(untrained.built(example))
    files = Onnx().export(model, dict(example.inputs), folder)
    return folder / files["onnxruntime"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--formats", default=FORMATS)
    parser.add_argument("--only", default="*")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--loads", type=int, default=9)
    arguments = parser.parse_intermixed_args()
    asked = search.with_quantize(
        compatibility.resolved(read(arguments.recipe, arguments.overrides))
    )
    bench = RunContext(asked, Store())
    start = untrained(asked, bench)
    assert asked.quantize is not None
    schemes = plan_schemes(start.load(), asked.quantize, activations(asked, bench))
    plain = {name: int8_scheme(scheme) for name, scheme in schemes.items()}
    matched = fnmatch.filter(plain, arguments.only)
    if not matched:
        parser.error(f"--only {arguments.only} matches no module of {', '.join(plain)}")
    rows = [raw(row) for row in bench.data.test[: arguments.rows]]
    names = list(dict.fromkeys(["int8", *parse_formats(arguments.formats, "bytes")]))
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name in names:
            changed = {
                module: plain[module].model_copy(update={"weights": name}) for module in matched
            }
            reference = Untrained(start, plain | changed, asked.quantize.range_name)
            paths[name] = write(reference, bench, Path(folder) / name)
        loads: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(arguments.loads):
            for name, path in paths.items():
                began = time.perf_counter()
                open_graph(path, "onnxruntime", 1)
                loads[name].append((time.perf_counter() - began) * 1000)
        answers = {
            name: Predictor(
                start.task, open_graph(path, "onnxruntime", 1), "onnxruntime", path.parent
            ).predict
            for name, path in paths.items()
        }
        # In one process: what is compared are kernels of one runtime, and none of them is PyTorch.
        turns = {
            name: InProcess(each, rows, torch.set_num_threads) for name, each in answers.items()
        }
        p50 = {
            name: times.p50 for name, times in rounds.measure(turns, len(rows), threads=1).items()
        }
        figures = {
            name: (float(np.median(loads[name])), p50[name], float(paths[name].stat().st_size))
            for name in names
        }
    print(
        f"{len(matched)} of {len(plain)} modules, {len(rows)} rows, one thread; in brackets the ratio to int8"
    )
    print(f"{'':8} {'load ms':>18} {'p50 ms':>18} {'bytes':>21}")
    for name, (load, answer, size) in figures.items():
        by_load, by_answer, by_size = (
            value / base for value, base in zip(figures[name], figures["int8"], strict=True)
        )
        print(
            f"{name:8} {load:10.1f} ({by_load:.2f}) {answer:10.3f} ({by_answer:.2f}) {size:13,.0f} ({by_size:.2f})"
        )


if __name__ == "__main__":
    main()
