"""The teacher: loaded or fine-tuned, frozen, and its outputs over the training rows computed once.

The cache holds, unit after unit in row order, `logits.npy` (P, V) float32, `hidden.<n>.npy` (P, D) float16 for each layer that a loss reads,
`mask.npy` (P; False where the maximum length cut a unit off) and `offsets.npy` (N + 1). Its key covers the teacher's weights, its preprocessing
(tokenizer and
maximum length), the rows, the layers and the dtype; every epoch, arm and run reads the same memory-mapped files. Where `train.augment` changes the
images by epoch there is no cache: the teacher answers live (`Live`), on the same views as the student, at the cost of its forward in every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck import features, models, packed, timm_models
from limbeck.data import padded_size
from limbeck.evaluate import evaluation_batches, unit_offsets
from limbeck.features import Outputs
from limbeck.progress import Tell, silent, track
from limbeck.store import read_json, reserve, write_json
from limbeck.tasks import Batch, Encoded, Task, pad

FORWARDS = "teacher forwards"
counted: dict[str, int] = {FORWARDS: 0}  # how often a teacher ran a batch in this process; a test reads it


@dataclass(frozen=True)
class Asked:
    """What is wanted of the teacher beside its logits: the maps of `layers`; and the dtype that it computes in."""

    layers: Sequence[str]
    dtype: torch.dtype


def label(model: nn.Module, encoded: Sequence[Encoded], task: Task, asked: Asked, folder: Path, tell: Tell = silent) -> None:
    """Run the frozen teacher over every row once and write the cache to `folder`."""
    layers, dtype = asked.layers, asked.dtype
    offsets = unit_offsets(encoded)
    files: dict[str, np.memmap] = {}
    mask = np.zeros(offsets[-1], bool)
    model.eval()
    for rows in track(evaluation_batches(encoded), partial(padded_size, packed.sizes(encoded)), tell):
        batch = features.batch_of(encoded, rows, task.padding)
        counted[FORWARDS] += 1
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outputs = features.run(model, batch, layers)
        values = {"logits": outputs.logits.float().numpy()}
        values |= {f"hidden.{i}": outputs.hidden[name].float().numpy().astype(np.float16) for i, name in enumerate(layers)}
        for name, value in values.items():
            if name not in files:
                shape = (int(offsets[-1]), value.shape[-1])
                files[name] = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=value.dtype, shape=shape)
                reserve(folder / f"{name}.npy")
            for row, row_values in zip(rows, value, strict=True):
                files[name][offsets[row] : offsets[row + 1]] = row_values[: offsets[row + 1] - offsets[row]]
        for row, row_mask in zip(rows, batch.mask.numpy(), strict=True):
            mask[offsets[row] : offsets[row + 1]] = row_mask[: offsets[row + 1] - offsets[row]]
    for file in files.values():
        file.flush()
    np.save(folder / "mask.npy", mask)
    np.save(folder / "offsets.npy", offsets)
    write_json(folder / "layers.json", list(layers))


@dataclass(frozen=True)
class Cache:
    """A labelled folder, memory-mapped."""

    layers: Sequence[str]
    values: dict[str, np.ndarray]
    mask: np.ndarray
    offsets: np.ndarray

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, padded as the batch is."""
        width = batch.mask.shape[1]
        units = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in batch.rows]
        mask = torch.from_numpy(_fit(pad([self.mask[unit] for unit in units], 0), width))
        found = {name: torch.from_numpy(_fit(pad([value[unit] for unit in units], 0), width)) for name, value in self.values.items()}
        hidden = {name: found[f"hidden.{i}"].float() for i, name in enumerate(self.layers)}
        return Outputs(found["logits"], mask, hidden)


@dataclass(frozen=True)
class Live:
    """The frozen teacher itself, for training on views that change by epoch: it answers the very batch that the student reads."""

    model: nn.Module
    layers: Sequence[str]
    dtype: torch.dtype

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs on the batch."""
        counted[FORWARDS] += 1
        with torch.no_grad(), torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            return features.run(self.model, batch, self.layers)


def open_cache(folder: Path) -> Cache:
    """The cache that `label` wrote."""
    layers = read_json(folder / "layers.json")
    names = ["logits", *(f"hidden.{i}" for i in range(len(layers)))]
    values = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    return Cache(layers, values, np.load(folder / "mask.npy"), np.load(folder / "offsets.npy"))


def reference(name: str, options: dict[str, Any], digest_folder: Callable[[Path], str]) -> Any:
    """What a recipe's model name stands for, as part of a key: a network's options, a folder's bytes, or a hub id at its commit."""
    if models.is_network(name):
        return {"network": name, "options": options}
    if name.startswith(timm_models.PREFIX):
        return {"timm": name, "version": timm_models.library().__version__}
    folder = Path(models.locate(name))
    if folder.is_dir():
        return {"folder": digest_folder(folder)}
    import transformers

    with models.reading(name), models.quiet():
        config = transformers.AutoConfig.from_pretrained(name)
    return {"hub": name, "commit": config._commit_hash}


def _fit(values: np.ndarray, width: int) -> np.ndarray:
    """Pad (B, w, ...) with zeros to (B, width, ...)."""
    missing = width - values.shape[1]
    return values if missing == 0 else np.concatenate([values, np.zeros((len(values), missing, *values.shape[2:]), values.dtype)], 1)
