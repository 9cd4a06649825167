"""The teacher: loaded or fine-tuned, frozen, and its outputs over the training rows computed once.

The cache holds, cell after cell in row order (`cells`), `logits.npy` (P, V) float32, `tap.<n>.npy` for each tap that a loss reads, in float16 or
int8, `mask.npy` (P; False where the maximum length cut a unit off) and `offsets.npy` (N + 1). Its key covers the teacher's weights, its preprocessing
(tokenizer and maximum length), the rows, the taps and both dtypes; every epoch, arm and run reads the same memory-mapped files. Where
`train.augment` changes the images by epoch there is no cache: the teacher answers live (`Live`), on the same views as the student, at the cost of its
forward in every step; unless `train.views` says how many views a row has, of which each has a cache of its own (`PerView`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck import cells, features, models, packed, timm_models
from limbeck.data import padded_size
from limbeck.evaluate import evaluation_batches, unit_offsets
from limbeck.features import HIDDEN, Outputs, Tap
from limbeck.progress import Tell, silent, track
from limbeck.store import read_json, write_json
from limbeck.tasks import Batch, Encoded, Task

FORWARDS = "teacher forwards"
counted: dict[str, int] = {FORWARDS: 0}  # how often a teacher ran a batch in this process; a test reads it


@dataclass(frozen=True)
class Asked:
    """What is wanted of the teacher beside its logits; the dtype that it computes in, and the one in which `taps` are stored; what it sees of each
    batch."""

    taps: Sequence[Tap]
    dtype: torch.dtype
    stored: str = "float16"
    view: Callable[[Batch], Batch] = lambda batch: batch


def label(model: nn.Module, encoded: Sequence[Encoded], task: Task, asked: Asked, folder: Path, tell: Tell = silent) -> None:
    """Run the frozen teacher over every row once and write the cache to `folder`."""
    offsets = unit_offsets(encoded)
    writers: list[cells.Writer] = []
    mask = np.zeros(offsets[-1], bool)
    model.eval()
    for rows in track(evaluation_batches(encoded), partial(padded_size, packed.sizes(encoded)), tell):
        batch = asked.view(features.batch_of(encoded, rows, task.padding))
        counted[FORWARDS] += 1
        with torch.inference_mode(), torch.autocast("cpu", asked.dtype, enabled=asked.dtype != torch.float32):
            outputs = features.run(model, batch, asked.taps)
        writers = writers or _writers(outputs, encoded, asked, folder)
        for writer, values in zip(writers, (outputs.logits, *outputs.inner.values()), strict=True):
            for row, row_values in zip(rows, values.float().numpy(), strict=True):
                writer.write(row, row_values)
        for row, row_mask in zip(rows, batch.mask.numpy(), strict=True):
            mask[offsets[row] : offsets[row + 1]] = row_mask[: offsets[row + 1] - offsets[row]]
    for writer in writers:
        writer.close()
    np.save(folder / "mask.npy", mask)
    np.save(folder / "offsets.npy", offsets)
    write_json(folder / "taps.json", [list(tap) for tap in asked.taps])


def _writers(outputs: Outputs, encoded: Sequence[Encoded], asked: Asked, folder: Path) -> list[cells.Writer]:
    """One for the logits and one for each tap; how many places a row has is known from the first batch's outputs."""
    alike = 0 if outputs.places is None else outputs.places.shape[1]
    places = np.asarray(packed.unit_counts(encoded))
    if alike:
        places = np.asarray(packed.sizes(encoded)) if encoded[0].has_tokens else np.full(len(encoded), alike)

    def writer(name: str, kind: str, stored: str) -> cells.Writer:
        return cells.Writer(folder, name, kind, np.concatenate([[0], np.cumsum(cells.counts(kind, encoded, places))]), stored)

    return [writer("logits", HIDDEN, "float32"), *(writer(f"tap.{i}", tap.kind, asked.stored) for i, tap in enumerate(asked.taps))]


@dataclass(frozen=True)
class Cache:
    """A labelled folder, memory-mapped."""

    taps: Sequence[Tap]
    readers: Sequence[cells.Reader]
    mask: cells.Reader

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, padded as the batch is."""
        units = places = batch.mask.shape[1]
        if batch.positions is None and "input_ids" in batch.inputs:
            places = batch.inputs["input_ids"].shape[1]
        widths = [units if tap.kind == HIDDEN else places for tap in self.taps]
        mask = self.mask.read(batch.rows, units).bool()
        logits, *found = (reader.read(batch.rows, width) for reader, width in zip(self.readers, [units, *widths], strict=True))
        inner = dict(zip(self.taps, found, strict=True))
        return Outputs(logits, mask, inner, features.places_of(batch, inner))


@dataclass(frozen=True)
class Live:
    """The frozen teacher itself, for training on views that change by epoch: it answers the very batch that the student reads."""

    model: nn.Module
    taps: Sequence[Tap]
    dtype: torch.dtype

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs on the batch."""
        counted[FORWARDS] += 1
        with torch.no_grad(), torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            return features.run(self.model, batch, self.taps)


@dataclass(frozen=True)
class PerView:
    """The caches of a fixed number of views, by number."""

    caches: Sequence[Cache]

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, in the view that the batch shows."""
        return self.caches[batch.view](batch)


def open_cache(folder: Path) -> Cache:
    """The cache that `label` wrote."""
    taps = [Tap(kind, module) for kind, module in read_json(folder / "taps.json")]
    readers = [cells.open_cells(folder, "logits", HIDDEN), *(cells.open_cells(folder, f"tap.{i}", tap.kind) for i, tap in enumerate(taps))]
    return Cache(taps, readers, cells.Reader(HIDDEN, np.load(folder / "mask.npy"), None, np.load(folder / "offsets.npy")))


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
