"""The steps of the pipeline as stages of the store: a stage's key holds all it depends on, so what did not change is reused, by every arm and run."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from limbeck.artifact import parity
from limbeck.core import machine, registry
from limbeck.core.events import QUANTIZED, STEP, Note
from limbeck.core.files import digest, file_digest, read_json, write_bytes, write_json
from limbeck.core.schedules import schedule
from limbeck.data import augment
from limbeck.data.batches import batches_of
from limbeck.distillation import objective
from limbeck.distillation.binding import bind_losses, bind_peers
from limbeck.distillation.conflict import Probe, first_layer
from limbeck.evaluation import collapse
from limbeck.evaluation.scores import quality
from limbeck.exporters import writing
from limbeck.models import structure
from limbeck.models.dataflow import Flow
from limbeck.models.layers import layer_names
from limbeck.models.load import network_header, save_model
from limbeck.models.taps import run_model
from limbeck.models.weights import WEIGHTS, model_state, restore_state, save_tensors
from limbeck.pipeline.context import REVISION, Answers, Arm, Bench, Net
from limbeck.quantization import attention, post_training
from limbeck.quantization.after_training import calibrate, quantize_after_training
from limbeck.quantization.fake import squared_bounds
from limbeck.quantization.fold import fold_before
from limbeck.quantization.health import Examination, broken_scales
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model, quantization_components
from limbeck.quantization.progressive import Progressive, beginnings
from limbeck.quantization.ranges.pact import CLIP_WEIGHT
from limbeck.quantization.swap import squared_error
from limbeck.recipe.model import Quantize, Recipe, Train
from limbeck.recipe.reading import write
from limbeck.surgeries import Cut, Evidence, Surgery
from limbeck.tasks import Encoded, Scored, SelfSupervised, Task, collate, packed
from limbeck.tasks.packed import unit_offsets
from limbeck.training import loop
from limbeck.training.scoring import score_split

PREDICTIONS = "logits.npy"


def teacher_stage(bench: Bench, recipe: Recipe) -> Net:
    """The tuned, frozen teacher."""
    settings = recipe.teacher
    assert settings is not None
    task = bench.new_task(settings.model)
    inputs: dict[str, Any] = {
        "model": bench.reference(settings.model, settings.options),
        "preprocess": digest(task.preprocess),
        "labels": bench.data.labels,
    }
    steps = tuning(bench, recipe)
    if settings.epochs:
        inputs |= {
            "data": bench.fingerprint("labelled"),
            "train": _steps(steps),
            "dtype": str(bench.dtype()),
            **bench.environment(),
        }

    def build(folder: Path) -> None:
        model = bench.create(settings.model, settings.options, task, seed=steps.seed)
        history = (
            loop.Training(tuning_job(bench, model, task, steps), folder).run()
            if settings.epochs
            else []
        )
        save(model, folder)
        write_json(folder / "history.json", history)

    own, save = (
        bench.own.get(settings.model),
        partial(_save_net, bench, task, settings.model, settings.options),
    )
    return Net(bench.store.stage("teacher", inputs, build), task, save, own.create if own else None)


def tuning(bench: Bench, recipe: Recipe) -> Train:
    """The steps of the teacher's fine-tuning."""
    assert recipe.teacher is not None
    epochs, rate = (
        max(1, recipe.teacher.epochs),
        recipe.teacher.learning_rate or recipe.train.learning_rate,
    )
    return recipe.train.model_copy(
        update={
            "epochs": epochs,
            "learning_rate": rate,
            "seed": bench.recipe.train.seed,
            "views": None,
        }
    )


def tuning_job(bench: Bench, model: nn.Module, task: Task, steps: Train) -> loop.Job:
    """The teacher's fine-tuning, ready to run."""
    rows = bench.encode("labelled" if bench.data.num_unlabelled else "train", task)
    return loop.Job(
        model, objective.Objective(objective.hard_terms(task.hard_loss)), rows, task.padding, steps, bench.dtype(),
        validate=_validator(bench, model, task, steps.epochs), validation_units=validation_units(bench, task), tell=bench.store.tell,
        transform=transform(task), view=augment.views(steps, task) or loop.as_it_is,
    )  # fmt: skip


def student_stage(bench: Bench, recipe: Recipe, ready: Net | None) -> Net:
    """The student's weights before training, and its preprocessing, which a surgery may have changed."""
    settings = recipe.student
    if settings.origin is None:
        assert ready is not None and recipe.teacher is not None
        task, name, options, load = (
            ready.task,
            recipe.teacher.model,
            recipe.teacher.options,
            ready.load,
        )
        origin: dict[str, Any] = {"teacher": ready.key}
    else:
        task, name, options = (
            bench.new_task(settings.origin),
            settings.origin,
            settings.options if settings.model else {},
        )
        load = partial(bench.create, name, options, task, seed=recipe.train.seed)
        origin = {
            "model": bench.reference(name, options),
            "seed": recipe.train.seed,
            "labels": bench.data.labels,
        }
    surgery: Surgery | None = (
        registry.create("surgeries", settings.surgery, settings.options)
        if settings.surgery
        else None
    )
    if surgery:
        origin |= seen_by(surgery, bench)
    inputs = {
        **origin,
        "student": settings.model_dump(mode="json"),
        "preprocess": digest(task.preprocess),
        "revision": REVISION,
    }

    def build(folder: Path) -> None:
        cut = surgery.cut(load(), Evidence(task, bench.data.train)) if surgery else Cut(load())
        _save_net(
            bench,
            task if cut.preprocess is None else bench.task_class(bench.data.labels, cut.preprocess),
            name,
            options,
            cut.student,
            folder,
        )

    folder = bench.store.stage("student", inputs, build)
    text = (folder / task.preprocess_file).read_bytes().decode()
    task = task if text == task.preprocess else bench.task_class(bench.data.labels, text)
    own = bench.own.get(name)
    return Net(
        folder, task, partial(_save_net, bench, task, name, options), own.create if own else None
    )


def seen_by(surgery: Surgery, bench: Bench) -> dict[str, Any]:
    """What a cut depends on beside the teacher and its keys."""
    found: dict[str, Any] = {path: file_digest(Path(path)) for path in surgery.files}
    return found | (
        {"data": bench.fingerprint("train"), **bench.environment()} if surgery.reads_rows else {}
    )


def train_stage(
    bench: Bench, recipe: Recipe, start: Net, terms: list[objective.Term], answers: Answers | None
) -> Path:
    """The trained student; quantized while it trains where the recipe says so."""
    joint = recipe.quantize if recipe.quantize and recipe.quantize.when == "train" else None
    inputs = {
        "student": start.key, "labels": answers.key if answers else None,
        "data": bench.fingerprint("train"), "train": _steps(recipe.train),
        "distill": recipe.distill.model_dump(mode="json") if recipe.distill else None, "quantize": joint.model_dump(mode="json") if joint else None,
        "dtype": str(bench.dtype()), **bench.environment(),
    }  # fmt: skip

    def build(folder: Path) -> None:
        job = training_job(bench, recipe, start, terms, answers)
        write_json(folder / "history.json", loop.Training(job, folder).run())
        save_tensors(model_state(job.model), folder / WEIGHTS)

    return bench.store.stage(
        "train", inputs, build, label=f"train ({training_title(recipe)}, seed {recipe.train.seed})"
    )


def trained_net(bench: Bench, start: Net, trained: Path) -> Net:
    """A model's folder with the weights that its training left."""
    folder = bench.store.stage(
        "assistant",
        {"student": start.key, "trained": trained.name},
        lambda folder: start.save(start.trained(trained), folder),
    )
    return Net(folder, start.task, start.save, start.blank)


def training_job(
    bench: Bench, recipe: Recipe, start: Net, terms: list[objective.Term], answers: Answers | None
) -> loop.Job:
    """The student's training, ready to run: losses bound to both models, modules swapped where it quantizes."""
    model, task, encoded = start.load(), start.task, bench.encode("train", start.task)
    answer = answers.open() if answers else None
    torch.manual_seed(
        recipe.train.seed
    )  # projectors are drawn alike, whatever this process did before, and whether the teacher is live or cached
    taps = bind_losses(model, terms, answer, collate(encoded[:2], np.arange(2), task.padding))
    if answers and answers.peer:
        bind_peers(terms, answers.peer, task.hard_loss)
    listeners: list[Progressive] = []
    penalties, kind, validate = (
        {},
        loop.all_alike,
        _validator(bench, model, task, recipe.train.epochs),
    )
    if recipe.quantize and recipe.quantize.when == "train":
        prepare(bench, recipe, model, task)
        penalties = penalties_of(recipe.quantize, model)
        listeners.append(
            Progressive(
                recipe.quantize,
                model,
                lambda: calibrate(model, calibration(bench, recipe, task)),
                bench.store.tell,
            )
        )
        kind = partial(kind_of_step, recipe.quantize)
        validate = examined(
            Examination(model, calibration(bench, recipe, task)[0], bench.store.tell), validate
        )
    weighed = objective.Objective(terms, penalties)
    balanced = recipe.distill is not None and recipe.distill.balance == "gradients"
    return loop.Job(
        model, weighed, encoded, task.padding, recipe.train, bench.dtype(), taps, answer or (lambda batch: None),
        listeners, validate, validation_units(bench, task), kind, bench.store.tell, transform(task), partial(broken_scales, model),
        Probe(weighed, first_layer(model), bench.store.tell, balanced, task.likelihood), augment.views(recipe.train, task) or loop.as_it_is,
    )  # fmt: skip


def examined(
    examine: Callable[[], None], validate: Callable[[], dict[str, float]]
) -> Callable[[], dict[str, float]]:
    """A validation that looks at the ranges first."""

    def both() -> dict[str, float]:
        examine()
        return validate()

    return both


def choose_stage(
    bench: Bench, recipe: Recipe, start: Net, trained: Path
) -> tuple[Recipe, list[str]]:
    """The recipe with a value for what its post-training quantization leaves open, and what was chosen in a line."""
    settings = recipe.quantize
    if settings is None or not settings.open:
        return recipe, []

    def build(folder: Path) -> None:
        rows = calibration_rows(bench, recipe, start.task)
        subject = post_training.Subject(
            load=partial(start.trained, trained),
            prepare=lambda model, filled: prepare(
                bench, recipe.model_copy(update={"quantize": filled}), model, start.task
            ),
            fitted=[partial(run_model, batch=batch) for batch in batches_of(rows[::2], start.task)],
            judged=batches_of(rows[1::2] or rows, start.task),
            likelihood=start.task.likelihood,
        )
        write_json(
            folder / "choice.json", post_training.choose(subject, settings, bench.store.tell)
        )

    choice = read_json(
        bench.store.stage("choose", _quantize_inputs(bench, recipe, trained), build) / "choice.json"
    )
    told = f"quantize: {choice['text']}"
    bench.store.tell(Note(told))
    return recipe.model_copy(update={"quantize": settings.with_chosen(**choice["chosen"])}), [told]


def quantize_stage(bench: Bench, recipe: Recipe, start: Net, trained: Path) -> Path:
    """The weights after post-training quantization, where the recipe says so; else as trained."""
    if recipe.quantize is None or recipe.quantize.when == "train":
        return trained

    def build(folder: Path) -> None:
        assert recipe.quantize is not None
        model = start.trained(trained)
        flow, rows = (
            prepare(bench, recipe, model, start.task),
            calibration(bench, recipe, start.task),
        )
        quantize_after_training(
            model, flow, rows, **quantization_components(recipe.quantize), tell=bench.store.tell
        )
        save_tensors(model_state(model), folder / WEIGHTS)

    return bench.store.stage("quantize", _quantize_inputs(bench, recipe, trained), build)


def _quantize_inputs(bench: Bench, recipe: Recipe, trained: Path) -> dict[str, Any]:
    """What quantizing after training depends on."""
    assert recipe.quantize is not None
    return {
        "trained": trained.name, "quantize": recipe.quantize.model_dump(mode="json"), "data": bench.fingerprint("train"),
        "activations": activations(bench, recipe), "revision": REVISION,
    }  # fmt: skip


def evaluate_stage(bench: Bench, recipe: Recipe, start: Net, weights: Path) -> Arm:
    """The final weights' answers on the test split: the only place where an arm reads it."""
    task, one_by_one = (
        start.task,
        recipe.quantize is not None and activations(bench, recipe) == "uint8-dynamic",
    )

    def model() -> nn.Module:
        built = start.load()
        if recipe.quantize:
            prepare(bench, recipe, built, task)
        restore_state(built, load_file(weights / WEIGHTS))
        return built.eval()

    scored = score(bench, weights, model, task, one_by_one=one_by_one)
    parameters = sum(parameter.numel() for parameter in start.load().parameters())
    num_bytes = os.path.getsize(start.folder / WEIGHTS)
    return Arm(
        recipe,
        task,
        scored,
        weights,
        parameters,
        num_bytes,
        model=model,
        save=start.save,
        start=start,
    )


def export_stage(
    bench: Bench, recipe: Recipe, start: Net, weights: Path, arm: Arm, exporters: Sequence[str]
) -> None:
    """The artifact and its parity; counts the bytes of the first graph and what it needs beside it."""
    assert arm.model is not None
    text = write(recipe, portable=True)
    inputs = {
        "weights": weights.name, "data": bench.fingerprint("test"), "exporters": list(exporters), "recipe": text,
        "versions": {name: machine.versions().get(name) for name in ("torch", "onnxruntime", "openvino")}, **bench.environment(),
    }  # fmt: skip
    metrics = quality(arm.scored, start.task)

    def build(folder: Path) -> None:
        assert arm.model is not None and recipe.quantize is not None
        formats = {"weights": recipe.quantize.weights, "activations": activations(bench, recipe)}
        content = writing.Artifact(
            arm.model(), start.task, recipe.task, text, exporters, metrics, formats
        )
        writing.write(content, bench.encode("test", start.task), folder / "artifact")
        graphs = read_json(folder / "artifact" / "manifest.json")["graphs"]
        write_json(
            folder / "parity.json",
            parity.prove(
                folder / "artifact", arm.scored, bench.data.test, start.task, graphs, folder
            ),
        )

    folder = bench.store.stage("export", inputs, build)
    arm.artifact, arm.parity = folder / "artifact", read_json(folder / "parity.json")
    first = read_json(arm.artifact / "manifest.json")["graphs"][0]["file"]
    others = {graph["file"] for graph in read_json(arm.artifact / "manifest.json")["graphs"]} - {
        first
    }
    arm.num_bytes = sum(
        path.stat().st_size for path in arm.artifact.iterdir() if path.name not in others
    )


def score(
    bench: Bench,
    weights: Path,
    model: Callable[[], nn.Module],
    task: Task,
    *,
    one_by_one: bool = False,
) -> Scored:
    """Test answers as a stage of their own."""
    encoded = bench.encode("test", task)
    inputs = {
        "weights": weights.name,
        "data": bench.fingerprint("test"),
        "preprocess": digest(task.preprocess),
        **bench.environment(),
    }

    def build(folder: Path) -> None:
        np.save(
            folder / PREDICTIONS,
            score_split(
                model(), encoded, task, one_by_one=one_by_one, tell=bench.store.tell
            ).logits,
        )

    folder = bench.store.stage("evaluate", inputs, build)
    return Scored(np.load(folder / PREDICTIONS), packed.flat_labels(encoded), unit_offsets(encoded))


def activations(bench: Bench, recipe: Recipe) -> str:
    """What activations are stored as; left open: static in training and for images, dynamic after training for text."""
    assert recipe.quantize is not None
    if recipe.quantize.activations:
        return recipe.quantize.activations
    return "uint8-dynamic" if recipe.quantize.when == "after" and bench.reads_tokens else "uint8"


def prepare(bench: Bench, recipe: Recipe, model: nn.Module, task: Task) -> Flow:
    """Swap the planned modules of a float model; who reads what. What the recipe leaves open must have been chosen."""
    settings, forward = recipe.quantize, calibration(bench, recipe, task)[0]
    assert settings is not None
    schemes = plan_schemes(model, settings, activations(bench, recipe))
    if settings.when == "after":
        fold_before(model, schemes, forward)
    flow = prepare_model(
        model, schemes, settings.range_name, forward, **quantization_components(settings)
    )
    if settings.attention != "float":
        attention.attach(model, settings.range_name, forward)
    return flow


def penalties_of(settings: Quantize, model: nn.Module) -> dict[str, objective.Penalty]:
    """The error term of the weights, and of clipping bounds where they are learned."""
    found: dict[str, objective.Penalty] = {
        "quantization": (schedule(settings.error_weight), partial(squared_error, model))
    }
    if registry.load("ranges", settings.range_name).clipped_only:
        weight = CLIP_WEIGHT if settings.clip_weight is None else settings.clip_weight
        found["clipping"] = (schedule(weight), partial(squared_bounds, model))
    return found


def calibration(bench: Bench, recipe: Recipe, task: Task) -> list[Callable[[nn.Module], Any]]:
    """Forwards over the training rows that ranges are fitted on."""
    return [
        partial(run_model, batch=batch)
        for batch in batches_of(calibration_rows(bench, recipe, task), task)
    ]


def calibration_rows(bench: Bench, recipe: Recipe, task: Task) -> list[Encoded]:
    """Training rows, drawn by the seed."""
    assert recipe.quantize is not None
    encoded = bench.encode("train", task)
    drawn = np.random.default_rng(recipe.train.seed).permutation(len(encoded))[
        : recipe.quantize.calibration_rows
    ]
    return [encoded[i] for i in drawn]


def kind_of_step(settings: Quantize, step: int, total: int) -> str:
    """What a joint training's step costs, for the time left."""
    return QUANTIZED if step >= beginnings(settings, total)[0] else STEP


def validation_units(bench: Bench, task: Task) -> float:
    """What one validation costs."""
    return float(sum(packed.sizes(bench.encode("validation", task))))


def transform(task: Task) -> loop.Transform:
    """What a task makes of each training batch."""
    return task.draw if isinstance(task, SelfSupervised) else loop.unchanged


def training_title(recipe: Recipe) -> str:
    """The arm whose training this is: quantizing afterwards shares the training of the float arm."""
    after = recipe.quantize is not None and recipe.quantize.when == "after"
    return arm_title(recipe.model_copy(update={"quantize": None}) if after else recipe)


def arm_title(recipe: Recipe) -> str:
    """The arm that a recipe is."""
    if recipe.quantize is None:
        return "kd" if recipe.distill else "plain"
    if recipe.distill is None:
        return "quantized"
    return "joint" if recipe.quantize.when == "train" else "kd+ptq"


def _steps(settings: Train) -> dict[str, Any]:
    """The training settings that a result depends on."""
    return settings.model_dump(mode="json", exclude={"checkpoint_seconds", "threads"})


def _validator(
    bench: Bench, model: nn.Module, task: Task, epochs: int
) -> Callable[[], dict[str, float]]:
    encoded = bench.encode("validation", task)
    score, figures = partial(score_split, model, encoded, task), partial(quality, task=task)
    if isinstance(task, SelfSupervised):
        return lambda: figures(score())
    return collapse.watched(score, collapse.Watch(task, epochs, bench.store.tell), figures)


def _save_net(
    bench: Bench, task: Task, name: str, options: dict[str, Any], model: nn.Module, folder: Path
) -> None:
    """A model's folder with the names of its layers."""
    if name in bench.own:
        save_tensors(model_state(model), folder / WEIGHTS)
        structure.write(structure.difference(model, bench.own[name].create()), folder)
        write_bytes(folder / task.preprocess_file, task.preprocess.encode())
    else:
        header = network_header(name, options, task)
        save_model(
            model,
            folder,
            network=header,
            preprocess_file=task.preprocess_file,
            text=task.preprocess,
        )
    write_json(folder / "layers.json", layer_names(model))
