"""A model in the store: its folder, and the task bound to its preprocessing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from limbeck.core.cache.entries import FILES
from limbeck.core.cache.store import STAGE_FILE
from limbeck.core.files import file_digest, read_json, write_bytes, write_json
from limbeck.models.anatomy import structure
from limbeck.models.anatomy.layers import layer_names
from limbeck.models.create import network_header
from limbeck.models.folders import load_model, save_model
from limbeck.models.weights import WEIGHTS, model_state, restore_state, save_tensors
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.steps.warnings import WARNINGS
from limbeck.tasks import Task

# The names of a model's layers, in its folder.
LAYERS = "layers.json"

# What a training logged, in the folder of its stage.
HISTORY = "history.json"

# Files of a model's stage that are no part of the model.
BESIDE = (HISTORY, WARNINGS, STAGE_FILE, FILES)


@dataclass(frozen=True)
class StoredModel:
    """A model's folder.

    folder: of the stage that made the model.
    name: what the recipe calls it, or the one that it was cut from.
    task: bound to the model's preprocessing.
    save: (model, folder) writes such a folder for a model of the same kind.
    blank: makes a module of the user's own, which no folder can; None for any other.
    notes: how it was chosen, in words, for the report.
    """

    folder: Path
    name: str
    task: Task
    save: Callable[[nn.Module, Path], None]
    blank: Callable[[], nn.Module] | None = None
    notes: Sequence[str] = ()

    @property
    def key(self) -> str:
        """What the model depends on, as part of other keys."""
        # The store names a folder after the digest of all that.
        return self.folder.name

    def content(self) -> dict[str, str]:
        """The digest of each file of the model itself; what was logged beside it says nothing of
        what it answers."""
        contents: dict[str, str] = {}
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.name not in BESIDE:
                contents[path.name] = file_digest(path)
        return contents

    @property
    def layers(self) -> list[str]:
        """The names of the model's layers, first to last."""
        names: list[str] = read_json(self.folder / LAYERS)
        return names

    def load(self) -> nn.Module:
        """The model with the weights of the folder, on the CPU."""
        if self.blank is None:
            return load_model(self.folder, self.task)
        # A copy of the user's module, which a surgery may have cut since: the folder tells how.
        model = self.blank()
        structure.apply(model, structure.read(self.folder))
        restore_state(model, load_file(self.folder / WEIGHTS))
        return model

    def trained(self, weights: Path) -> nn.Module:
        """The float model with the weights that a training left in the folder `weights`."""
        model = self.load()
        restore_state(model, load_file(weights / WEIGHTS))
        return model


def saver(
    run: RunContext, task: Task, name: str, options: dict[str, Any]
) -> Callable[[nn.Module, Path], None]:
    """How a model that the recipe calls `name` is written to a folder."""
    return partial(_save, run, task, name, options)


def _save(
    run: RunContext,
    task: Task,
    name: str,
    options: dict[str, Any],
    model: nn.Module,
    folder: Path,
) -> None:
    """See `saver`."""
    if name in run.own:
        # No config describes a user's module: what it differs in from the original is kept.
        save_tensors(model_state(model), folder / WEIGHTS)
        difference = structure.difference(model, run.own[name].create())
        structure.write(difference, folder)
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
    # Losses are matched to layers by name before the model itself is loaded.
    write_json(folder / LAYERS, layer_names(model))
