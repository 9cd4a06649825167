"""Can every model of a run be had, and can its student be cut, quantized, exported, and answered by
its graph? Asked before the first training.

A run makes its student after the teacher was tuned and asked, and writes the graph last: a model
that cannot be traced would fail after hours. Here the student goes that whole way on a few rows, as
it is before any training and with two of its layers, in a second or some. Whatever cannot be
exported is refused by name, and so is a graph that takes no rows of other lengths, or that answers
otherwise than the model.

Nothing is asked where a run finds all in the store: it begins with the first stage that takes long.
Networks of ours, and encoders whose graphs our own tests write (`TESTED`), are not exported; a
user's own modules are traced in `steps.tracing`.
"""

import copy
import fnmatch
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from limbeck.artifact.batches import run_batch
from limbeck.artifact.proof.parity import BEYOND_LAST_BITS
from limbeck.artifact.runtimes import open_graph
from limbeck.core import plug_ins, registry
from limbeck.data.batches import batches_of
from limbeck.exporters.writing import (
    GOLDEN_ROWS,
    answer_shape,
    read_with,
    write_golden,
    write_graphs,
)
from limbeck.models.anatomy.layers import layer_names
from limbeck.models.anatomy.probe import FAULTS, NUM_ROWS, check_answers, two_rows
from limbeck.models.create import is_network
from limbeck.models.published.pretrained import model_type
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of
from limbeck.models.weights import model_state
from limbeck.pipeline.arms import derive_arms
from limbeck.pipeline.context import RunContext, WhenStarted
from limbeck.pipeline.preflight.judging import require_judging
from limbeck.pipeline.stage import Stage
from limbeck.pipeline.steps.exporting import with_moved_bits
from limbeck.pipeline.steps.quantizing import activations, prepare_on, quantization_code
from limbeck.pipeline.steps.student import cut_by, named_origin
from limbeck.pipeline.steps.teacher import learns_along
from limbeck.quantization.after_training import calibrate, quantize_after_training
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import quantization_components
from limbeck.recipe.model import TEACHER, Quantize, Recipe, Teacher
from limbeck.surgeries import Evidence, Surgery
from limbeck.surgeries.drop_layers import DropLayers
from limbeck.tasks import Encoded, OverVocabulary, Task, apart
from limbeck.training.scoring import score_split

# The stages that are wasted where the student cannot be exported.
LONG = ("baseline", "teacher", "label", "train")

# Encoders, as `config.json` calls them, of which our own tests write graphs: they are spared the
# seconds.
TESTED = ("bert", "distilbert", "roberta")

# Layers show what a model is made of, and each takes its time to trace.
NUM_LAYERS = 2

# How far half of the answers may be from the model's, in units of their spread. Weights that were
# not trained answer nearly alike, and one level is much of their spread.
MOST_OFF = 0.5

# Keys by which surgeries of ours choose without rows what stays: the student has the same shapes.
WITHOUT_ROWS = {
    "drop_layers": {"keep": "even"},
    "prune_channels": {"importance": "magnitude"},
    "prune_width": {"importance": "magnitude"},
}


class Candidate(NamedTuple):
    """A student before any training, with the task that it reads by and what a recipe calls it."""

    model: nn.Module
    task: Task
    name: str


def looking_ahead(run: RunContext) -> WhenStarted:
    """What `RunContext.when_started` is to be: it looks once, before the first long stage."""
    is_done = False

    def look(stage: Stage) -> None:
        nonlocal is_done
        if is_done or stage.name not in LONG:
            return
        is_done = True
        # The run's own random numbers must not move.
        with torch.random.fork_rng(devices=[]):
            require_judging(run, run.data.test)
            require_usable(run)

    return look


def require_usable(run: RunContext) -> None:
    """Make each model of a run that is made late otherwise, and rehearse the student's export.

    Raises:
        ValueError: a model cannot be had, cut, quantized or exported as the recipe says.
    """
    recipe = run.recipe
    # 1. What is made once the first teacher was tuned.
    for teacher in recipe.teachers:
        make_teacher(teacher, run)
    arms = list(derive_arms(recipe, 0).values()) if recipe.verdict else [recipe]
    if recipe.assistant:
        make_student(arms[-1].model_copy(update={"student": recipe.assistant}), run)
    # 2. What is trained and handed out.
    for arm in different_students(arms):
        require_usable_student(arm, run)


def different_students(arms: Sequence[Recipe]) -> list[Recipe]:
    """For each student that is cut in its own way the arm that does most to it: most arms train the
    same one, and `ptq` takes the whole teacher."""
    last: dict[str, Recipe] = {}
    for arm in arms:
        # Whether the teacher was tuned before changes its weights alone.
        how = str(arm.student.model_dump(exclude={"from_"}))
        if arm.quantize or how not in last:
            last[how] = arm
    return list(last.values())


def require_usable_student(arm: Recipe, run: RunContext) -> None:
    """Make the student of an arm, and quantize and export it as it will be once it was trained.

    Raises:
        ValueError: as `require_usable`.
    """
    candidate = make_student(arm, run)
    if candidate is None or arm.quantize is None:
        return
    chosen = arm.model_copy(update={"quantize": arm.quantize.with_chosen()})
    check_plan(chosen, run, candidate)
    rehearse_others(chosen, run, candidate)
    # Networks of ours are exported by our own tests.
    is_tested = is_network(candidate.name) or model_type(candidate.model) in TESTED
    if has_others_exporter(chosen) or not is_tested:
        rehearse_export(chosen, run, candidate)


def is_looked_at(name: str, run: RunContext) -> bool:
    """Whether a model is made before it is needed: one from elsewhere, which lies in a folder, on
    the hub or in timm, and one of ours that somebody else's code is to cut, quantize or write."""
    is_known = is_network(name) and not has_others(run.recipe)
    return name not in run.own and not is_known


def has_others(recipe: Recipe) -> bool:
    """Whether somebody else's code cuts, quantizes or writes the student."""
    surgeries = [each.surgery for each in (recipe.student, recipe.assistant) if each]
    is_cut = any(name and registry.package_of("surgeries", name) for name in surgeries)
    return is_cut or has_others_exporter(recipe) or bool(others_of(recipe.quantize))


def others_of(settings: Quantize | None) -> list[str]:
    """What somebody else's code quantizes: the names of ranges, roundings and rewrites."""
    named = quantization_code(settings.with_chosen()) if settings else ()
    return [name for family, name in named if registry.package_of(family, name)]


def has_others_exporter(recipe: Recipe) -> bool:
    """Whether somebody else's code writes a graph, or opens one."""
    for name in recipe.export:
        runtimes = registry.load("exporters", name).runtimes
        others = [registry.package_of("runtimes", runtime) for runtime in runtimes]
        if registry.package_of("exporters", name) or any(others):
            return True
    return False


def make_teacher(settings: Teacher, run: RunContext) -> None:
    """Make a further teacher, which is otherwise made once the first was tuned."""
    if is_looked_at(settings.model, run):
        create = partial(run.create, settings.model, settings.options)
        create(run.new_task(settings.model), seed=0, needs_head=not settings.epochs)


def make_student(recipe: Recipe, run: RunContext) -> Candidate | None:
    """The student as its stage would make it, of a teacher that was not tuned yet.

    None where there is nothing to look at: one of ours, or the user's own.
    """
    settings = recipe.student
    name, options = named_origin(recipe)
    needs_head = False
    if settings.from_ == TEACHER:
        assert recipe.teacher is not None
        needs_head = not (recipe.teacher.epochs or learns_along(recipe))
    if not is_looked_at(name, run):
        return None
    task = run.new_task(name)
    model = run.create(name, options, task, seed=recipe.train.seed, needs_head=needs_head)
    if not settings.surgery:
        return Candidate(model, task, name)
    keys = settings.options | WITHOUT_ROWS.get(settings.surgery, {})
    surgery: Surgery = registry.create("surgeries", settings.surgery, keys)
    # One that looks at rows would be misled by a few, and many take long: ours have their turn
    # later, and of somebody else's it is seen whether the student runs.
    if surgery.reads_rows and registry.is_ours(surgery):
        return Candidate(model, task, name)
    rows = run.data.train[:NUM_ROWS] if surgery.reads_rows else []
    student, task = cut_by(surgery, model, Evidence(task, rows), run)
    return Candidate(student, task, name)


def check_plan(recipe: Recipe, run: RunContext, candidate: Candidate) -> None:
    """Raise ValueError where a pattern of the recipe fits no module, or a format no weight."""
    assert recipe.quantize is not None
    plan_schemes(candidate.model, recipe.quantize, activations(recipe, run))


def rehearse_others(recipe: Recipe, run: RunContext, candidate: Candidate) -> None:
    """Quantize a copy of the student, by a few rows, where somebody else's code takes part.

    Raises ValueError for what it returns or changes, with its name.
    """
    others = others_of(recipe.quantize)
    if not others:
        return
    assert recipe.quantize is not None
    task = candidate.task
    batches = batches_of(task.encode(run.data.train[:NUM_ROWS]), task)
    forwards: list[Callable[[nn.Module], Any]] = [
        partial(run_model, batch=batch) for batch in batches
    ]
    model = copy.deepcopy(candidate.model).eval()
    again = copy.deepcopy(model)
    flow = prepare_on(recipe, run, model, forwards[0])
    # Weights are saved of one and loaded into the other.
    prepare_on(recipe, run, again, forwards[0])
    if model_state(model).keys() != model_state(again).keys():
        raise ValueError(
            f"the equalizers {' and '.join(others)} put other tensors into the model each time "
            "that they `arrange` it; saved weights are to find their place again"
        )
    calibrate(model, forwards)
    is_joint = recipe.quantize.when == "train"
    run_model(model.train(is_joint), batches[0])
    if is_joint:
        return
    components = quantization_components(recipe.quantize)
    rounding = components["rounding"]
    rewrites = [each for each in components["equalizers"] if not registry.is_ours(each)]
    # Ours may take minutes, and are tested.
    quantize_after_training(
        model,
        flow,
        forwards,
        rounding=None if registry.is_ours(rounding) else rounding,
        equalizers=rewrites,
    )


def rehearse_export(recipe: Recipe, run: RunContext, candidate: Candidate) -> None:
    """Quantize, export and answer rows with a short form of the student.

    Args:
        recipe: with nothing left open.
        run: what the arms share.
        candidate: the student, of which a copy is changed.

    Raises:
        ValueError: one of these cannot be; with the model's name and the reason.
    """
    assert recipe.quantize is not None
    task = candidate.task
    encoded = task.encode(run.data.train[:NUM_ROWS])
    model = shortened(candidate, encoded).eval()
    settings = fitting(recipe.quantize, model)
    try:
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "artifact"
            folder.mkdir()
            quantized = recipe.model_copy(update={"quantize": settings})
            quantize(quantized, run, model, batches_of(encoded, task))
            example = batch_of(encoded, np.arange(len(encoded[:GOLDEN_ROWS])), task.padding)
            inputs = apart(example.inputs)
            files = write_graphs(model, recipe.export, inputs, folder, read_with(task))
            arrays = {name: value.numpy() for name, value in inputs.items()}
            shape = answer_shape(model, inputs)
            write_golden(recipe.export, arrays, files, folder, shape)
            for runtime, file in files.items():
                answer = open_graph(folder / file, runtime, recipe.train.threads)
                check_graph(model, task, encoded, partial(run_batch, answer))
    # What torch and the model itself raise where something does not fit.
    except FAULTS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not isinstance(error, ValueError):
            reason = plug_ins.blame(error) or f"{type(error).__name__}: {reason}"
        raise ValueError(
            f"model `{candidate.name}`: it cannot become an artifact, which was found before any "
            f"training: {reason}. Take another model, or train without `quantize`"
        ) from None


def shortened(candidate: Candidate, encoded: Sequence[Encoded]) -> nn.Module:
    """A copy of the student with few layers; the whole one where none can be left out."""
    model = candidate.model
    if len(layer_names(model)) <= NUM_LAYERS:
        return model
    try:
        short = DropLayers(NUM_LAYERS, "first").cut(model, Evidence(candidate.task, [])).student
        check_answers(short, candidate.task, encoded, candidate.name)
    except FAULTS:
        # Some are cut only as a whole; that takes longer, and is right.
        return model
    return short


def fitting(settings: Quantize, model: nn.Module) -> Quantize:
    """The settings without patterns for layers that were left out."""
    names = [name for name, _ in model.named_modules()]
    names += [name for name, _ in model.named_parameters()]
    known = partial(fnmatch.filter, names)
    return settings.model_copy(
        update={
            "keep_float": [pattern for pattern in settings.keep_float if known(pattern)],
            "modules": {key: value for key, value in settings.modules.items() if known(key)},
        }
    )


def quantize(recipe: Recipe, run: RunContext, model: nn.Module, batches: Sequence[Any]) -> None:
    """Quantize a model in place, with ranges fitted to a few batches."""
    forwards: list[Callable[[nn.Module], Any]] = [
        partial(run_model, batch=batch) for batch in batches
    ]
    prepare_on(recipe, run, model, forwards[0])
    calibrate(model, forwards)
    model.eval()


def check_graph(
    model: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    answer: Callable[..., list[np.ndarray]],
) -> None:
    """Answer rows of several lengths, alone and together.

    Args:
        model: quantized.
        task: says how rows are padded.
        encoded: some rows, two at least.
        answer: gives the logits of each of some rows, by the graph.

    Raises:
        ValueError: the graph takes no rows of this length, or answers otherwise than the model.
    """
    # Padding and company must change nothing: each row comes alone, and beside the other.
    short, long = two_rows(encoded)
    rows = [short, short, long, long]
    found = []
    for together in ([short], [short, long], [long]):
        try:
            found += answer(together, task.padding)
        except ValueError as error:
            raise ValueError(
                "its graph takes rows of one length alone, or batches of one size, since a number "
                f"is fixed where the model was traced ({error})"
            ) from None
    if isinstance(task, OverVocabulary):
        return  # of a vocabulary only figures are kept
    expected = score_split(model, rows, task, one_by_one=True).logits
    off = typical_difference(np.concatenate(found), expected)
    spread = float(expected.std())
    if off <= MOST_OFF * spread:
        return
    # No graph can be closer to a model than that is to itself with last bits moved.
    draws = with_moved_bits(partial(copy.deepcopy, model), rows, task, one_by_one=True)
    by_itself = max(typical_difference(logits, expected) for logits in draws)
    if off <= BEYOND_LAST_BITS * by_itself:
        return
    raise ValueError(
        f"the graph answers otherwise than the model, half of the rows by {off:.3g} and more where "
        f"its logits spread by {spread:.3g}"
    )


def typical_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The median over rows (P, V) of the largest difference of a logit."""
    return float(np.median(np.abs(found - expected).max(1)))
