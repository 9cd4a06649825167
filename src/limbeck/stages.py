"""The steps of the pipeline as stages of the store: a stage's key holds all it depends on, so what did not change is reused, by every arm and run."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from limbeck import (
    augment,
    collapse,
    copies,
    data,
    evaluate,
    export,
    features,
    machine,
    models,
    objective,
    packed,
    post_training,
    progress,
    quantize,
    registry,
    structure,
    teacher,
    train,
)
from limbeck import recipe as recipes
from limbeck.binding import bind_losses, bind_peers
from limbeck.features import Outputs
from limbeck.own import Own
from limbeck.probe import Probe, first_layer
from limbeck.progress import Note
from limbeck.progressive import Progressive, beginnings
from limbeck.quant import attention
from limbeck.quant.fake import squared_bounds
from limbeck.quant.flow import Flow
from limbeck.quant.fold import fold_before
from limbeck.quant.health import Examination, broken_scales
from limbeck.quant.swap import squared_error
from limbeck.ranges.pact import CLIP_WEIGHT
from limbeck.recipe import Recipe
from limbeck.schedules import schedule
from limbeck.sources import Row
from limbeck.store import Store, digest, file_digest, read_json, write_bytes, write_json
from limbeck.surgeries import Cut, Evidence, Surgery
from limbeck.tasks import Batch, Encoded, Scored, SelfSupervised, Task, collate

REVISION = 6  # part of every stage's key: raise it when a change of code changes a stage's result
PREDICTIONS = "logits.npy"
PACKED_ROWS = 50_000  # from this many texts on, tokens are kept in flat files of the store
PACKED_CHUNK = 10_000  # rows encoded at a time


@dataclass(frozen=True)
class Net:
    """A model's folder in the store, and the task bound to its preprocessing.

    `save(model, folder)` writes such a folder; `blank` makes a module of the user's own, which no folder can.
    """

    folder: Path
    task: Task
    save: Callable[[nn.Module, Path], None]
    blank: Callable[[], nn.Module] | None = None

    @property
    def key(self) -> str:
        return self.folder.name

    def load(self) -> nn.Module:
        if self.blank is None:
            return models.load_model(self.folder, self.task)
        model = self.blank()
        structure.apply(model, structure.read(self.folder))
        models.restore(model, load_file(self.folder / models.WEIGHTS))
        return model

    def trained(self, weights: Path) -> nn.Module:
        """The float model with the weights that a training left in a folder."""
        model = self.load()
        models.restore(model, load_file(weights / models.WEIGHTS))
        return model

    @property
    def layers(self) -> list[str]:
        """The names of the model's layers."""
        return read_json(self.folder / "layers.json")


@dataclass(frozen=True)
class Answers:
    """How the teacher answers in training: `open()` gives a function of the batch, `key` says all that its answers depend on; `peer()` is a copy that
    learns along."""

    key: str
    open: Callable[[], Callable[[Batch], Outputs | None]]
    peer: Callable[[], nn.Module] | None = None


@dataclass
class Arm:
    """What one recipe led to: test answers, figures, and where the weights and the artifact lie."""

    recipe: Recipe
    task: Task
    scored: Scored
    weights: Path
    parameters: int
    num_bytes: int
    history: list[dict[str, Any]] = field(default_factory=list)
    artifact: Path | None = None
    parity: list[dict[str, Any]] = field(default_factory=list)
    model: Callable[[], nn.Module] | None = None
    save: Callable[[nn.Module, Path], None] | None = None
    start: Net | None = None  # the student before its training
    notes: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """What every stage of a run shares: the data and the store; `own` models by name and `rows` by split where they come from Python."""

    recipe: Recipe
    store: Store
    own: Mapping[str, Own] = field(default_factory=dict)
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None
    encodings: dict[str, Sequence[Encoded]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @cached_property
    def task_class(self) -> Any:
        return registry.load("tasks", self.recipe.task)

    @cached_property
    def data(self) -> data.Data:
        found = data.read(self.recipe.data, self.task_class, self.rows)
        if self.recipe.augment:
            found = copies.added(found, self.recipe, self.task_class, self.store, self.reference)
        for note in found.notes:
            self.store.tell(Note(f"data: {note}"))
        return found

    def fingerprint(self, split: str) -> str:
        """The SHA-256 of a split, found once."""
        if split not in self.fingerprints:
            self.fingerprints[split] = self.data.fingerprint(split)
        return self.fingerprints[split]

    def encode(self, split: str, task: Task) -> Sequence[Encoded]:
        """A split as `task` reads it, encoded once per preprocessing; many texts are packed into a stage of their own."""
        key = digest([split, task.preprocess])
        if key not in self.encodings:
            rows = getattr(self.data, split)
            many = len(rows) >= PACKED_ROWS and self.reads_tokens and task.auto_model != "AutoModel"  # of several texts a row
            self.encodings[key] = self._packed(split, task, rows) if many else task.encode(rows)
        return self.encodings[key]

    def _packed(self, split: str, task: Task, rows: list[Row]) -> Sequence[Encoded]:
        inputs = {
            "data": self.fingerprint(split), "preprocess": digest(task.preprocess), "labels": list(task.labels), "task": self.recipe.task,
            "tokenizers": machine.versions().get("tokenizers"), "revision": REVISION,
        }  # fmt: skip
        chunks = (task.encode(rows[start : start + PACKED_CHUNK]) for start in range(0, len(rows), PACKED_CHUNK))
        return packed.open_packed(self.store.stage("encode", inputs, lambda folder: packed.pack(chunks, folder), label=f"encode {split}"))

    @property
    def reads_tokens(self) -> bool:
        """Whether the task reads texts."""
        return "input_ids" in self.task_class.input_names

    def new_task(self, model_name: str) -> Task:
        """The task with the preprocessing that a model by name needs."""
        own = self.own.get(model_name)
        if own is not None and own.tokenizer is None:
            if self.reads_tokens:
                raise ValueError(f"model `{model_name}`: say which tokenizer it reads: Own(module, tokenizer=FOLDER)")
            return self.task_class(self.data.labels, self.task_class.fit_preprocess(self.data.labelled))
        name = own.tokenizer if own and own.tokenizer else model_name
        text = models.preprocess(name, self.task_class, self.data.labelled, self.recipe.train.max_tokens)
        return self.task_class(self.data.labels, text)

    def create(self, name: str, options: dict[str, Any], task: Task, *, seed: int) -> nn.Module:
        """The model a recipe names, with a head for the task's labels."""
        if name not in self.own:
            return models.create(name, options, task, seed=seed)
        self.own[name].check(task, self.encode("train", task), name)
        return self.own[name].create()

    def reference(self, name: str, options: dict[str, Any]) -> Any:
        """What a model's name stands for, as part of a key."""
        return self.own[name].reference() if name in self.own else teacher.reference(name, options, _model_digest)

    def environment(self) -> dict[str, Any]:
        """What two machines must share to compute the same bits."""
        versions = machine.versions()
        return {
            "revision": REVISION,
            "threads": self.recipe.train.threads,
            "cpu": list(machine.cpu()[1]),
            "versions": {name: versions[name] for name in ("torch", "transformers") if name in versions},
        }

    def dtype(self) -> torch.dtype:
        """`auto`: bfloat16 for text where the CPU multiplies it natively."""
        choice = self.recipe.train.dtype
        if choice == "auto":
            choice = "bfloat16" if self.reads_tokens and machine.has_bfloat16() else "float32"
        return torch.bfloat16 if choice == "bfloat16" else torch.float32


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
        history = train.Training(tuning_job(bench, model, task, steps), folder).run() if settings.epochs else []
        save(model, folder)
        write_json(folder / "history.json", history)

    own, save = bench.own.get(settings.model), partial(_save_net, bench, task, settings.model, settings.options)
    return Net(bench.store.stage("teacher", inputs, build), task, save, own.create if own else None)


def tuning(bench: Bench, recipe: Recipe) -> recipes.Train:
    """The steps of the teacher's fine-tuning."""
    assert recipe.teacher is not None
    epochs, rate = max(1, recipe.teacher.epochs), recipe.teacher.learning_rate or recipe.train.learning_rate
    return recipe.train.model_copy(update={"epochs": epochs, "learning_rate": rate, "seed": bench.recipe.train.seed, "views": None})


def tuning_job(bench: Bench, model: nn.Module, task: Task, steps: recipes.Train) -> train.Job:
    """The teacher's fine-tuning, ready to run."""
    rows = bench.encode("labelled" if bench.data.num_unlabelled else "train", task)
    return train.Job(
        model, objective.Objective(objective.hard_terms(task.hard_loss)), rows, task.padding, steps, bench.dtype(),
        validate=_validator(bench, model, task, steps.epochs), validation_units=validation_units(bench, task), tell=bench.store.tell,
        transform=transform(task), view=augment.views(steps, task) or train.as_it_is,
    )  # fmt: skip


def student_stage(bench: Bench, recipe: Recipe, ready: Net | None) -> Net:
    """The student's weights before training, and its preprocessing, which a surgery may have changed."""
    settings = recipe.student
    if settings.origin is None:
        assert ready is not None and recipe.teacher is not None
        task, name, options, load = ready.task, recipe.teacher.model, recipe.teacher.options, ready.load
        origin: dict[str, Any] = {"teacher": ready.key}
    else:
        task, name, options = bench.new_task(settings.origin), settings.origin, settings.options if settings.model else {}
        load = partial(bench.create, name, options, task, seed=recipe.train.seed)
        origin = {"model": bench.reference(name, options), "seed": recipe.train.seed, "labels": bench.data.labels}
    surgery: Surgery | None = registry.create("surgeries", settings.surgery, settings.options) if settings.surgery else None
    if surgery:
        origin |= seen_by(surgery, bench)
    inputs = {**origin, "student": settings.model_dump(mode="json"), "preprocess": digest(task.preprocess), "revision": REVISION}

    def build(folder: Path) -> None:
        cut = surgery.cut(load(), Evidence(task, bench.data.train)) if surgery else Cut(load())
        _save_net(bench, task if cut.preprocess is None else bench.task_class(bench.data.labels, cut.preprocess), name, options, cut.student, folder)

    folder = bench.store.stage("student", inputs, build)
    text = (folder / task.preprocess_file).read_bytes().decode()
    task = task if text == task.preprocess else bench.task_class(bench.data.labels, text)
    own = bench.own.get(name)
    return Net(folder, task, partial(_save_net, bench, task, name, options), own.create if own else None)


def seen_by(surgery: Surgery, bench: Bench) -> dict[str, Any]:
    """What a cut depends on beside the teacher and its keys."""
    found: dict[str, Any] = {path: file_digest(Path(path)) for path in surgery.files}
    return found | ({"data": bench.fingerprint("train"), **bench.environment()} if surgery.reads_rows else {})


def train_stage(bench: Bench, recipe: Recipe, start: Net, terms: list[objective.Term], answers: Answers | None) -> Path:
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
        write_json(folder / "history.json", train.Training(job, folder).run())
        models.save_tensors(models.state(job.model), folder / models.WEIGHTS)

    return bench.store.stage("train", inputs, build, label=f"train ({training_title(recipe)}, seed {recipe.train.seed})")


def trained_net(bench: Bench, start: Net, trained: Path) -> Net:
    """A model's folder with the weights that its training left."""
    folder = bench.store.stage(
        "assistant", {"student": start.key, "trained": trained.name}, lambda folder: start.save(start.trained(trained), folder)
    )
    return Net(folder, start.task, start.save, start.blank)


def training_job(bench: Bench, recipe: Recipe, start: Net, terms: list[objective.Term], answers: Answers | None) -> train.Job:
    """The student's training, ready to run: losses bound to both models, modules swapped where it quantizes."""
    model, task, encoded = start.load(), start.task, bench.encode("train", start.task)
    answer = answers.open() if answers else None
    torch.manual_seed(recipe.train.seed)  # projectors are drawn alike, whatever this process did before, and whether the teacher is live or cached
    taps = bind_losses(model, terms, answer, collate(encoded[:2], np.arange(2), task.padding))
    if answers and answers.peer:
        bind_peers(terms, answers.peer, task.hard_loss)
    listeners: list[Progressive] = []
    penalties, kind, validate = {}, train.all_alike, _validator(bench, model, task, recipe.train.epochs)
    if recipe.quantize and recipe.quantize.when == "train":
        prepare(bench, recipe, model, task)
        penalties = penalties_of(recipe.quantize, model)
        listeners.append(Progressive(recipe.quantize, model, lambda: quantize.calibrate(model, calibration(bench, recipe, task)), bench.store.tell))
        kind = partial(kind_of_step, recipe.quantize)
        validate = examined(Examination(model, calibration(bench, recipe, task)[0], bench.store.tell), validate)
    weighed = objective.Objective(terms, penalties)
    balanced = recipe.distill is not None and recipe.distill.balance == "gradients"
    return train.Job(
        model, weighed, encoded, task.padding, recipe.train, bench.dtype(), taps, answer or (lambda batch: None),
        listeners, validate, validation_units(bench, task), kind, bench.store.tell, transform(task), partial(broken_scales, model),
        Probe(weighed, first_layer(model), bench.store.tell, balanced, task.likelihood), augment.views(recipe.train, task) or train.as_it_is,
    )  # fmt: skip


def examined(examine: Callable[[], None], validate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """A validation that looks at the ranges first."""

    def both() -> dict[str, float]:
        examine()
        return validate()

    return both


def choose_stage(bench: Bench, recipe: Recipe, start: Net, trained: Path) -> tuple[Recipe, list[str]]:
    """The recipe with a value for what its post-training quantization leaves open, and what was chosen in a line."""
    settings = recipe.quantize
    if settings is None or not settings.open:
        return recipe, []

    def build(folder: Path) -> None:
        rows = calibration_rows(bench, recipe, start.task)
        subject = post_training.Subject(
            load=partial(start.trained, trained),
            prepare=lambda model, filled: prepare(bench, recipe.model_copy(update={"quantize": filled}), model, start.task),
            fitted=[partial(features.run, batch=batch) for batch in evaluate.batches_of(rows[::2], start.task)],
            judged=evaluate.batches_of(rows[1::2] or rows, start.task),
            likelihood=start.task.likelihood,
        )
        write_json(folder / "choice.json", post_training.choose(subject, settings, bench.store.tell))

    choice = read_json(bench.store.stage("choose", _quantize_inputs(bench, recipe, trained), build) / "choice.json")
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
        flow, rows = prepare(bench, recipe, model, start.task), calibration(bench, recipe, start.task)
        quantize.settle(model, flow, rows, **quantize.components(recipe.quantize), tell=bench.store.tell)
        models.save_tensors(models.state(model), folder / models.WEIGHTS)

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
    task, one_by_one = start.task, recipe.quantize is not None and activations(bench, recipe) == "uint8-dynamic"

    def model() -> nn.Module:
        built = start.load()
        if recipe.quantize:
            prepare(bench, recipe, built, task)
        models.restore(built, load_file(weights / models.WEIGHTS))
        return built.eval()

    scored = score(bench, weights, model, task, one_by_one=one_by_one)
    parameters = sum(parameter.numel() for parameter in start.load().parameters())
    num_bytes = os.path.getsize(start.folder / models.WEIGHTS)
    return Arm(recipe, task, scored, weights, parameters, num_bytes, model=model, save=start.save, start=start)


def export_stage(bench: Bench, recipe: Recipe, start: Net, weights: Path, arm: Arm, exporters: Sequence[str]) -> None:
    """The artifact and its parity; counts the bytes of the first graph and what it needs beside it."""
    assert arm.model is not None
    text = recipes.write(recipe, portable=True)
    inputs = {
        "weights": weights.name, "data": bench.fingerprint("test"), "exporters": list(exporters), "recipe": text,
        "versions": {name: machine.versions().get(name) for name in ("torch", "onnxruntime", "openvino")}, **bench.environment(),
    }  # fmt: skip
    metrics = evaluate.quality(arm.scored, start.task)

    def build(folder: Path) -> None:
        assert arm.model is not None and recipe.quantize is not None
        formats = {"weights": recipe.quantize.weights, "activations": activations(bench, recipe)}
        content = export.Artifact(arm.model(), start.task, recipe.task, text, exporters, metrics, formats)
        export.write(content, bench.encode("test", start.task), folder / "artifact")
        graphs = read_json(folder / "artifact" / "manifest.json")["graphs"]
        write_json(folder / "parity.json", export.prove(folder / "artifact", arm.scored, bench.data.test, start.task, graphs, folder))

    folder = bench.store.stage("export", inputs, build)
    arm.artifact, arm.parity = folder / "artifact", read_json(folder / "parity.json")
    first = read_json(arm.artifact / "manifest.json")["graphs"][0]["file"]
    others = {graph["file"] for graph in read_json(arm.artifact / "manifest.json")["graphs"]} - {first}
    arm.num_bytes = sum(path.stat().st_size for path in arm.artifact.iterdir() if path.name not in others)


def score(bench: Bench, weights: Path, model: Callable[[], nn.Module], task: Task, *, one_by_one: bool = False) -> Scored:
    """Test answers as a stage of their own."""
    encoded = bench.encode("test", task)
    inputs = {
        "weights": weights.name,
        "data": bench.fingerprint("test"),
        "preprocess": digest(task.preprocess),
        **bench.environment(),
    }

    def build(folder: Path) -> None:
        np.save(folder / PREDICTIONS, evaluate.score(model(), encoded, task, one_by_one=one_by_one, tell=bench.store.tell).logits)

    folder = bench.store.stage("evaluate", inputs, build)
    return Scored(np.load(folder / PREDICTIONS), packed.flat_labels(encoded), evaluate.unit_offsets(encoded))


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
    schemes = quantize.plan(model, settings, activations(bench, recipe))
    if settings.when == "after":
        fold_before(model, schemes, forward)
    flow = quantize.prepare(model, schemes, settings.range_name, forward, **quantize.components(settings))
    if settings.attention != "float":
        attention.attach(model, settings.range_name, forward)
    return flow


def penalties_of(settings: recipes.Quantize, model: nn.Module) -> dict[str, objective.Penalty]:
    """The error term of the weights, and of clipping bounds where they are learned."""
    found: dict[str, objective.Penalty] = {"quantization": (schedule(settings.error_weight), partial(squared_error, model))}
    if registry.load("ranges", settings.range_name).clipped_only:
        weight = CLIP_WEIGHT if settings.clip_weight is None else settings.clip_weight
        found["clipping"] = (schedule(weight), partial(squared_bounds, model))
    return found


def calibration(bench: Bench, recipe: Recipe, task: Task) -> list[Callable[[nn.Module], Any]]:
    """Forwards over the training rows that ranges are fitted on."""
    return [partial(features.run, batch=batch) for batch in evaluate.batches_of(calibration_rows(bench, recipe, task), task)]


def calibration_rows(bench: Bench, recipe: Recipe, task: Task) -> list[Encoded]:
    """Training rows, drawn by the seed."""
    assert recipe.quantize is not None
    encoded = bench.encode("train", task)
    drawn = np.random.default_rng(recipe.train.seed).permutation(len(encoded))[: recipe.quantize.calibration_rows]
    return [encoded[i] for i in drawn]


def kind_of_step(settings: recipes.Quantize, step: int, total: int) -> str:
    """What a joint training's step costs, for the time left."""
    return progress.QUANTIZED if step >= beginnings(settings, total)[0] else progress.STEP


def validation_units(bench: Bench, task: Task) -> float:
    """What one validation costs."""
    return float(sum(packed.sizes(bench.encode("validation", task))))


def transform(task: Task) -> train.Transform:
    """What a task makes of each training batch."""
    return task.draw if isinstance(task, SelfSupervised) else train.unchanged


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


def _steps(settings: recipes.Train) -> dict[str, Any]:
    """The training settings that a result depends on."""
    return settings.model_dump(mode="json", exclude={"checkpoint_seconds", "threads"})


def _model_digest(folder: Path) -> str:
    """The bytes of a model's folder that count."""
    wanted = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    return digest({path.name: file_digest(path) for path in wanted})


def _validator(bench: Bench, model: nn.Module, task: Task, epochs: int) -> Callable[[], dict[str, float]]:
    encoded = bench.encode("validation", task)
    score, figures = partial(evaluate.score, model, encoded, task), partial(evaluate.quality, task=task)
    if isinstance(task, SelfSupervised):
        return lambda: figures(score())
    return collapse.watched(score, collapse.Watch(task, epochs, bench.store.tell), figures)


def _save_net(bench: Bench, task: Task, name: str, options: dict[str, Any], model: nn.Module, folder: Path) -> None:
    """A model's folder with the names of its layers."""
    if name in bench.own:
        models.save_tensors(models.state(model), folder / models.WEIGHTS)
        structure.write(structure.difference(model, bench.own[name].create()), folder)
        write_bytes(folder / task.preprocess_file, task.preprocess.encode())
    else:
        header = models.network_header(name, options, task)
        models.save_model(model, folder, network=header, preprocess_file=task.preprocess_file, text=task.preprocess)
    write_json(folder / "layers.json", features.layer_names(model))
