"""What every stage of a run shares: the recipe, the data, the store, models of the user."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from limbeck.core import machine, registry
from limbeck.core.events import Note
from limbeck.core.files import digest, file_digest, read_json
from limbeck.core.store import Store
from limbeck.data.splits import Splits, load_splits
from limbeck.distillation import teacher
from limbeck.models import structure
from limbeck.models.load import create_model, load_model, preprocess
from limbeck.models.taps import Outputs
from limbeck.models.user_model import Own
from limbeck.models.weights import WEIGHTS, restore_state
from limbeck.pipeline import copies
from limbeck.recipe.model import Recipe
from limbeck.sources import Row
from limbeck.tasks import Batch, Encoded, Scored, Task, packed

REVISION = 6  # part of every stage's key: raise it when a change of code changes a stage's result
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
            return load_model(self.folder, self.task)
        model = self.blank()
        structure.apply(model, structure.read(self.folder))
        restore_state(model, load_file(self.folder / WEIGHTS))
        return model

    def trained(self, weights: Path) -> nn.Module:
        """The float model with the weights that a training left in a folder."""
        model = self.load()
        restore_state(model, load_file(weights / WEIGHTS))
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
    def data(self) -> Splits:
        found = load_splits(self.recipe.data, self.task_class, self.rows)
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
            many = (
                len(rows) >= PACKED_ROWS and self.reads_tokens and task.auto_model != "AutoModel"
            )  # of several texts a row
            self.encodings[key] = self._packed(split, task, rows) if many else task.encode(rows)
        return self.encodings[key]

    def _packed(self, split: str, task: Task, rows: list[Row]) -> Sequence[Encoded]:
        inputs = {
            "data": self.fingerprint(split), "preprocess": digest(task.preprocess), "labels": list(task.labels), "task": self.recipe.task,
            "tokenizers": machine.versions().get("tokenizers"), "revision": REVISION,
        }  # fmt: skip
        chunks = (
            task.encode(rows[start : start + PACKED_CHUNK])
            for start in range(0, len(rows), PACKED_CHUNK)
        )
        return packed.open_packed(
            self.store.stage(
                "encode",
                inputs,
                lambda folder: packed.pack(chunks, folder),
                label=f"encode {split}",
            )
        )

    @property
    def reads_tokens(self) -> bool:
        """Whether the task reads texts."""
        return "input_ids" in self.task_class.input_names

    def new_task(self, model_name: str) -> Task:
        """The task with the preprocessing that a model by name needs."""
        own = self.own.get(model_name)
        if own is not None and own.tokenizer is None:
            if self.reads_tokens:
                raise ValueError(
                    f"model `{model_name}`: say which tokenizer it reads: Own(module, tokenizer=FOLDER)"
                )
            return self.task_class(
                self.data.labels, self.task_class.fit_preprocess(self.data.labelled)
            )
        name = own.tokenizer if own and own.tokenizer else model_name
        text = preprocess(name, self.task_class, self.data.labelled, self.recipe.train.max_tokens)
        return self.task_class(self.data.labels, text)

    def create(self, name: str, options: dict[str, Any], task: Task, *, seed: int) -> nn.Module:
        """The model a recipe names, with a head for the task's labels."""
        if name not in self.own:
            return create_model(name, options, task, seed=seed)
        self.own[name].check(task, self.encode("train", task), name)
        return self.own[name].create()

    def reference(self, name: str, options: dict[str, Any]) -> Any:
        """What a model's name stands for, as part of a key."""
        return (
            self.own[name].reference()
            if name in self.own
            else teacher.reference(name, options, _model_digest)
        )

    def environment(self) -> dict[str, Any]:
        """What two machines must share to compute the same bits."""
        versions = machine.versions()
        return {
            "revision": REVISION,
            "threads": self.recipe.train.threads,
            "cpu": list(machine.cpu()[1]),
            "versions": {
                name: versions[name] for name in ("torch", "transformers") if name in versions
            },
        }

    def dtype(self) -> torch.dtype:
        """`auto`: bfloat16 for text where the CPU multiplies it natively."""
        choice = self.recipe.train.dtype
        if choice == "auto":
            choice = "bfloat16" if self.reads_tokens and machine.has_bfloat16() else "float32"
        return torch.bfloat16 if choice == "bfloat16" else torch.float32


def _model_digest(folder: Path) -> str:
    """The bytes of a model's folder that count."""
    wanted = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".json", ".safetensors", ".txt", ".model")
    )
    return digest({path.name: file_digest(path) for path in wanted})
