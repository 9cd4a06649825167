"""What every stage of a run shares: the recipe, data, store, device and the user's models."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.core.events import Note
from limbeck.core.files import digest, read_json, write_json
from limbeck.core.foreign import told_as
from limbeck.core.system import machine, memory
from limbeck.data.same_inputs import known_from
from limbeck.data.splits import Splits, load_splits
from limbeck.models import processes
from limbeck.models.anatomy.probe import NUM_ROWS
from limbeck.models.create import create_model, is_network
from limbeck.models.preprocessing import preprocess
from limbeck.models.user_model import Own, check_created
from limbeck.pipeline import model_reference
from limbeck.pipeline.code import own_code
from limbeck.pipeline.deciding.asked import check_costs, halving
from limbeck.pipeline.preflight.token_counts import TokenCounts, count_tokens
from limbeck.pipeline.stage import ExportWork, Stage, write_and_prove
from limbeck.pipeline.steps.copies import with_copies
from limbeck.recipe.model import Recipe
from limbeck.sources import Row
from limbeck.tasks import Encoded, Task, packed
from limbeck.tasks.inputs.image import ImageInput
from limbeck.training.checkpoints import History
from limbeck.training.devices import Place, arithmetic, open_place
from limbeck.training.job import Job
from limbeck.training.loop import Training

# From this many texts on, tokens are kept in flat files of the store: below, their objects take
# tens of MB, and reading them from memory is simpler.
PACKED_ROWS = 50_000
# Rows encoded at a time: so many objects stand in memory before they are flat.
PACKED_CHUNK = 10_000
# Beside them, how much of the texts is read.
COUNTS = "tokens.json"
# How often a process looks whether process 0 has finished a stage.
LOOKS_PER_SECOND = 20

# (job, the stage's folder) -> what was logged.
Trainer = Callable[[Job, Path], History]
# (what is to be exported, the stage's folder).
ArtifactWriter = Callable[[ExportWork, Path], None]
WhenStarted = Callable[[Stage], None]
WhenBuilt = Callable[[Stage, Path], None]


def train_to_the_end(job: Job, folder: Path) -> History:
    """What a run does with a job; a forecast takes a few steps instead."""
    return Training(job, folder).run()


def use_machine(recipe: Recipe) -> None:
    """Set what belongs to the process: threads, and that freed memory is kept for the next step."""
    # Whoever computed last may have measured latency with another number of threads, and another
    # number gives other bits. A fresh process has as many as the machine has cores.
    torch.set_num_threads(recipe.train.threads)
    memory.keep_freed_memory()


def note_nothing(*_: object) -> None:
    """No one counts the stages of a run."""


@dataclass
class RunContext:
    """One run: what its arms share.

    recipe: the run's, resolved; those of its arms are derived from it.
    store: where stages are kept and found.
    own: the user's models from Python, by name.
    rows: rows by split, where they come from Python.
    train: trains a job in a stage's folder; a forecast takes a few steps instead.
    export: writes and proves an artifact; a forecast writes one for all models that are alike.
    when_started, when_built: are told of every stage that is built, and not found; at its end with
        its folder.
    surgery_rows: what a surgery may look at; the training rows where left out.
    is_alone: whether the other processes of the run have ended their part.
    token_notes: for each of the encodings, what was cut and what is unknown.
    answered: by the folder of a teacher's answers, the run of the arms that learn them.
    is_answered, answer_notes: whether this is such a run, and what is told of these answers.
    encodings, fingerprints, references: what `encode`, `fingerprint` and `reference` have computed.
    """

    recipe: Recipe
    store: Store
    own: Mapping[str, Own] = field(default_factory=dict)
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None
    train: Trainer = train_to_the_end
    export: ArtifactWriter = write_and_prove
    when_started: WhenStarted = note_nothing
    when_built: WhenBuilt = note_nothing
    surgery_rows: Sequence[Row] | None = None
    is_alone: bool = False
    encodings: dict[str, Sequence[Encoded]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    token_notes: dict[str, list[str]] = field(default_factory=dict)
    references: dict[str, Any] = field(default_factory=dict)
    answered: dict[Path, "RunContext"] = field(default_factory=dict)
    is_answered: bool = False
    answer_notes: list[str] = field(default_factory=list)

    # Stages.

    def compute(self, stage: Stage, *, wait: bool = True) -> Path:
        """The folder of a stage, built where it is not in the store yet.

        Of several processes, process 0 builds; the others build along where the stage is shared.

        Args:
            stage: what to build, and all that it depends on.
            wait: whether to wait for another run that is at this very stage; a run of several
                processes always waits.

        Raises:
            Held: another run is at it, and `wait` is False.
            Interrupted: another process of this run is gone.
        """
        # Every stage's key says so: not what this process computed with before.
        use_machine(self.recipe)
        if self.is_alone or processes.num_processes() == 1:
            return self._build(stage, stage.build, wait=wait)
        if not stage.is_shared:
            return self._build_alone(stage)
        return self._build_together(stage)

    def _build(self, stage: Stage, build: Callable[[Path], None], *, wait: bool = True) -> Path:
        """The stage's folder, filled by `build` in this process where it is not there."""
        # The store calls `build` only for what is new, and says so in no other way.
        is_new = False

        def observed(folder: Path) -> None:
            nonlocal is_new
            is_new = True
            self.when_started(stage)
            build(folder)

        folder = self.store.stage(stage.name, stage.key, observed, label=stage.title, wait=wait)
        if is_new:
            self.when_built(stage, folder)
        return folder

    def _build_alone(self, stage: Stage) -> Path:
        """Process 0 builds; the others wait until the folder is there.

        They wait by looking, not in a collective: process 0 may compute other stages within this
        one, or know this one's content from memory, and then no collective would meet its pair.
        """
        if processes.process_index() == 0:
            return self._build(stage, stage.build)
        key = stage.key
        # Nor one that is broken, which process 0 makes anew.
        while not self.store.has(stage.name, key):
            time.sleep(1 / LOOKS_PER_SECOND)
        # Found now: this notes it in the records, as process 0 does.
        return self._build(stage, stage.build)

    def _build_together(self, stage: Stage) -> Path:
        """Every process builds; only what process 0 writes is kept."""
        if processes.process_index() == 0:
            # Only within the store's lock is it known whether there is something to build.
            is_told = False

            def build(folder: Path) -> None:
                nonlocal is_told
                is_told = True
                processes.broadcast_value(str(folder))
                stage.build(folder)

            entry = self._build(stage, build)
            # The others wait for a word in any case.
            if not is_told:
                processes.broadcast_value(None)
            processes.wait_for_all()
            return entry
        folder = processes.broadcast_value(None)
        if folder is not None:
            stage.build(Path(folder))
        # The folder has its final name once process 0 is here.
        processes.wait_for_all()
        return self.store.entry(stage.name, stage.key)

    # Where and how it computes.

    @cached_property
    def place(self) -> Place:
        """The device. Raises ValueError where this machine lacks it, or processes do not come."""
        return open_place(self.recipe.train.device, self.store.tell)

    def dtype(self) -> torch.dtype:
        """What trainings multiply in."""
        return self.place.dtype(self.recipe.train.dtype, reads_text=self.reads_tokens)

    def environment(self) -> dict[str, Any]:
        """What two machines must share to compute the same bits."""
        return {
            # `compute` sets them, whatever this process used before.
            "threads": self.recipe.train.threads,
            **machine.numerics(),
            "arithmetic": arithmetic(),
            "processes": processes.num_processes(),
            **self.place.describe(),
        }

    # Data.

    @cached_property
    def task_class(self) -> Any:
        """The task's class."""
        return registry.load("tasks", self.recipe.task)

    @property
    def reads_tokens(self) -> bool:
        """Whether the task reads texts."""
        return "input_ids" in self.task_class.input_names

    @cached_property
    def data(self) -> Splits:
        """The splits, with copies of their rows where the recipe augments.

        Raises:
            ValueError: the data cannot be read, or do not fit the task.
        """
        recipe = self.recipe
        splits = load_splits(
            recipe.data, self.task_class, self.rows, beside=recipe.folder, halve=halving(recipe)
        )
        check_costs(recipe, splits.labels)
        if self.recipe.augment:
            splits = with_copies(splits, self)
        for note in splits.notes:
            self.store.tell(Note(f"data: {note}"))
        return splits

    @cached_property
    def known_from_train(self) -> np.ndarray:
        """(N; bool) which test rows are in train, too."""
        return known_from(self.data.train, self.data.test, self.task_class)

    @cached_property
    def labels_of_train(self) -> list[str]:
        """The labels that some row of train has; `data.labels` has those of all splits. Asked only
        where a label is in question: it reads all of train."""
        return self.task_class.find_labels(self.data.labelled)

    @cached_property
    def known_from_validation(self) -> np.ndarray:
        """(N; bool) which test rows are in validation, too, by which epochs, temperatures and
        thresholds are chosen."""
        data = self.data
        held = [*data.validation, *data.promise]
        return known_from(held, data.test, self.task_class)

    def fingerprint(self, split: str) -> str:
        """The SHA-256 of a split, computed once."""
        if split not in self.fingerprints:
            self.fingerprints[split] = self.data.fingerprint(split)
        return self.fingerprints[split]

    def encode(self, split: str, task: Task) -> Sequence[Encoded]:
        """A split as `task` reads it, encoded once for each preprocessing.

        Many texts are packed into a stage of their own, so that they are mapped and not held.

        Args:
            split: "train", "labelled", "validation", "promise" or "test".
            task: with the preprocessing of the model that is to read it.
        """
        # A run has one task, so that its preprocessing tells the encodings apart.
        key = digest([split, task.preprocess])
        if key in self.encodings:
            return self.encodings[key]
        rows: Sequence[Row] = getattr(self.data, split)
        # Packed files hold one text a row, and an encoder's rows (`AutoModel`) may be pairs; a
        # row of windows is several, too.
        has_one_text = task.auto_model != "AutoModel"
        has_one_text = has_one_text and self.recipe.train.long_texts == "cut"
        is_packed = len(rows) >= PACKED_ROWS and self.reads_tokens and has_one_text
        if is_packed:
            self.encodings[key], counts = self._packed(split, task)
        else:
            with told_as(partial(_why_unread, split)):
                self.encodings[key] = task.encode(rows)
            counts = count_tokens(task, rows, self.encodings[key])
        # The labelled rows are rows of train.
        notes = [] if split == "labelled" else counts.cut_note(split) + counts.unknown_note(split)
        self.token_notes[key] = notes
        for note in notes:
            self.store.tell_once(f"data: {note}")
        return self.encodings[key]

    def notes_of_tokens(self, task: Task) -> list[str]:
        """What was cut of the texts as `task` reads them, and whether its tokenizer knows them."""
        notes: list[str] = []
        if not self.reads_tokens:
            return notes
        for split in ("train", "test"):
            self.encode(split, task)
            notes += self.token_notes[digest([split, task.preprocess])]
        return notes

    def _packed(self, split: str, task: Task) -> tuple[Sequence[Encoded], TokenCounts]:
        """A split of many texts, from flat files of the store, and what of it is read."""
        rows: Sequence[Row] = getattr(self.data, split)
        counts = TokenCounts()

        def chunks() -> Iterator[Sequence[Encoded]]:
            nonlocal counts
            for start in range(0, len(rows), PACKED_CHUNK):
                chunk = rows[start : start + PACKED_CHUNK]
                with told_as(partial(_why_unread, split)):
                    encoded = task.encode(chunk)
                counts += count_tokens(task, chunk, encoded)
                yield encoded

        def build(folder: Path) -> None:
            # One chunk at a time; nothing is encoded where the stage is found.
            packed.pack(chunks(), folder)
            write_json(folder / COUNTS, asdict(counts))

        inputs = {
            "data": self.fingerprint(split),
            "preprocess": digest(task.preprocess),
            "labels": list(task.labels),
            "task": self.recipe.task,
            "tokenizers": machine.versions().get("tokenizers"),
            "layout": packed.BEGINS,
        }
        stage = Stage(
            name="encode",
            inputs=inputs,
            build=build,
            components=self.task_component,
            title=f"encode {split}",
        )
        folder = self.compute(stage)
        return packed.open_packed(folder), TokenCounts(**read_json(folder / COUNTS))

    # Models by name.

    def new_task(self, model_name: str) -> Task:
        """The task with the preprocessing that the model of this name needs.

        Raises:
            ValueError: a user's model of texts came without a tokenizer.
        """
        labels = self.data.labels
        labelled = self.data.labelled
        own = self.own.get(model_name)
        has_no_folder = own is not None and own.tokenizer is None
        if has_no_folder and self.reads_tokens:
            raise ValueError(
                f"model `{model_name}`: say which tokenizer it reads: Own(module, tokenizer=FOLDER)"
            )
        if has_no_folder:
            # Nothing says how its inputs are scaled, so the labelled rows do.
            text = self.task_class.input_type.fit_preprocess(labelled)
            return self.task_class(labels, self._reading_files(text))
        name = model_name
        if own is not None and own.tokenizer:
            name = own.tokenizer
        max_tokens = self.recipe.train.max_tokens
        text = preprocess(
            name,
            self.task_class,
            labelled,
            max_tokens,
            is_own=own is not None,
            long_texts=self.recipe.train.long_texts,
        )
        task = self.task_class(labels, self._reading_files(text))
        if self.reads_tokens:
            limit = task.input.max_tokens
            if limit < max_tokens:
                self.store.tell_once(
                    f"model `{name}`: reads a text up to {limit} tokens, "
                    f"fewer than the {max_tokens} of train.max_tokens"
                )
        return task

    def _reading_files(self, text: str) -> str:
        """A model's preprocessing that begins at a file, as the source did."""
        if self.task_class.preprocess_file != ImageInput.preprocess_file:
            return text
        return ImageInput.with_reading(text, self.data.reading)

    def create(
        self,
        name: str,
        options: dict[str, Any],
        task: Task,
        *,
        seed: int,
        needs_head: bool = False,
    ) -> nn.Module:
        """The model a recipe names, with a head for the task's labels.

        Args:
            name: one of the user's models, a network of ours, a folder or a hub id.
            options: the recipe's keys beside the name.
            task: with this model's preprocessing.
            seed: of new weights.
            needs_head: whether nothing will tune the model, so that its head must be there.

        Raises:
            ValueError: the model cannot be had, has no head where one is needed, or cannot be
                called as models are.
        """
        if name not in self.own:
            model = create_model(
                name,
                options,
                task,
                seed=seed,
                tell=self.store.tell_once,
                needs_head=needs_head,
            )
            rows = self.data.train[:NUM_ROWS]
            check_created(model, task, rows, name, is_trained=not needs_head)
            return model
        own = self.own[name]
        own.check(task, self.encode("train", task), name, is_trained=not needs_head)
        return own.create()

    def reference(self, name: str, options: dict[str, Any]) -> Any:
        """What a model's name stands for, as part of a key.

        Raises:
            ValueError: no model has this name.
        """
        if name in self.own:
            return {**self.own[name].reference(), **self.code_reference(name)}
        key = digest([name, options])
        # Once a run: all its stages are of one and the same model.
        if key not in self.references:
            self.references[key] = model_reference.reference(name, options)
        return self.references[key]

    def code_reference(self, name: str) -> dict[str, Any]:
        """The code of a user's module, as part of a key; of any other model nothing.

        Raises:
            ValueError: it cannot be read.
        """
        if name not in self.own:
            return {}
        key = digest(["own", name])
        if key not in self.references:
            self.references[key] = own_code.reference(self.own[name], name)
        code: dict[str, Any] = self.references[key]
        return code

    # Which code counts.

    @property
    def task_component(self) -> list[tuple[str, str]]:
        """The task, which every stage depends on."""
        return [("tasks", self.recipe.task)]

    def model_components(self, name: str | None) -> list[tuple[str, str]]:
        """The network of ours that a model's name stands for, if it is one."""
        if name is None or name in self.own:
            return []
        # Models of other packages count by these packages' versions.
        return [("networks", name)] if is_network(name) else []


def _why_unread(split: str, reason: str) -> ValueError:
    return ValueError(f"data: a row of {split} cannot be read by the model's tokenizer: {reason}")
