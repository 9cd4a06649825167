"""The teacher: loaded or fine-tuned, frozen, and its outputs over the training rows computed once.

The cache holds, cell after cell in row order (`cells`), `logits.npy` (P, V) float32, `tap.<n>.npy` for each tap that a loss reads, in float16 or
int8, `mask.npy` (P; False where the maximum length cut a unit off) and `offsets.npy` (N + 1). Its key covers the teacher's weights, its preprocessing
(tokenizer and maximum length), the rows, the taps and both dtypes; every epoch, arm and run reads the same memory-mapped files, in parts of some
thousand rows, each a stage of its own. With `top` k > 0 the logits are float16, the k largest (P, k + 1) with their labels in `labels.npy` (P, k);
the last one stands for each of the others, which share evenly what the softmax leaves them, log(sum exp of theirs / (V - k)). Where `train.augment`
changes the images by epoch there is no cache: the teacher answers live (`Live`), on the same views as the student, at the cost of its forward in
every step; unless `train.views` says how many views a row has, of which each has a cache of its own (`PerView`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.core.events import Tell, silent, track
from limbeck.core.files import read_json, write_json
from limbeck.data.batches import evaluation_batches, padded_size
from limbeck.distillation import ragged_cache
from limbeck.models import timm_models
from limbeck.models.load import is_network, locate, quiet, reading
from limbeck.models.taps import HIDDEN, Outputs, Tap, batch_of, places_of, run_model
from limbeck.tasks import Batch, Encoded, Task, packed
from limbeck.tasks.packed import unit_offsets

FORWARDS = "teacher forwards"
counted: dict[str, int] = {
    FORWARDS: 0
}  # how often a teacher ran a batch in this process; a test reads it


@dataclass(frozen=True)
class Asked:
    """What is wanted of the teacher beside its logits; the dtype that it computes in, and the one in which `taps` are stored; of how many labels the
    logits are kept (0: of all); what it sees of each batch."""

    taps: Sequence[Tap]
    dtype: torch.dtype
    stored: str = "float16"
    top: int = 0
    view: Callable[[Batch], Batch] = lambda batch: batch


def label(
    model: nn.Module,
    encoded: packed.Part,
    task: Task,
    asked: Asked,
    folder: Path,
    tell: Tell = silent,
) -> None:
    """Run the frozen teacher over some rows once and write their part of the cache to `folder`."""
    offsets = unit_offsets(encoded)
    writers: list[ragged_cache.Writer] = []
    mask = np.zeros(offsets[-1], bool)
    model.eval()
    for rows in track(
        evaluation_batches(encoded), partial(padded_size, packed.sizes(encoded)), tell
    ):
        batch = batch_of(encoded, rows, task.padding)
        counted[FORWARDS] += 1
        with (
            torch.inference_mode(),
            torch.autocast("cpu", asked.dtype, enabled=asked.dtype != torch.float32),
        ):
            outputs = run_model(
                model, asked.view(replace(batch, rows=encoded.start + rows)), asked.taps
            )
        writers = writers or _writers(outputs, encoded, asked, folder)
        kept = largest(outputs.logits, asked.top) if asked.top else (outputs.logits,)
        for writer, values in zip(writers, (*kept, *outputs.inner.values()), strict=True):
            for row, row_values in zip(
                rows,
                values.numpy() if values.dtype == torch.int64 else values.float().numpy(),
                strict=True,
            ):
                writer.write(row, row_values)
        for row, row_mask in zip(rows, batch.mask.numpy(), strict=True):
            mask[offsets[row] : offsets[row + 1]] = row_mask[: offsets[row + 1] - offsets[row]]
    for writer in writers:
        writer.close()
    np.save(folder / "mask.npy", mask)
    np.save(folder / "offsets.npy", offsets)
    kept_of = outputs.logits.shape[-1] if asked.top else 0
    write_json(folder / "taps.json", {"taps": [list(tap) for tap in asked.taps], "labels": kept_of})


def largest(logits: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """((B, W, k + 1) the k largest of (B, W, V) and one for each of the others, (B, W, k) their labels)."""
    values, labels = logits.float().sort(-1, descending=True)
    count = values.shape[-1] - top
    others = values[..., top:].logsumexp(-1, keepdim=True) - math.log(count)
    return torch.cat([values[..., :top], others], -1), labels[..., :top]


def restored(values: torch.Tensor, labels: torch.Tensor, num_labels: int) -> torch.Tensor:
    """(B, W, V) logits of what `largest` left."""
    others = values[..., -1:].expand(*values.shape[:-1], num_labels)
    return others.scatter(-1, labels, values[..., :-1])


def _writers(
    outputs: Outputs, encoded: Sequence[Encoded], asked: Asked, folder: Path
) -> list[ragged_cache.Writer]:
    """For the logits and for each tap; how many places a row has is known from the first batch's outputs."""
    alike = 0 if outputs.places is None else outputs.places.shape[1]
    places = np.asarray(packed.unit_counts(encoded))
    if alike:
        places = (
            np.asarray(packed.sizes(encoded))
            if encoded[0].has_tokens
            else np.full(len(encoded), alike)
        )

    def writer(name: str, kind: str, stored: str) -> ragged_cache.Writer:
        return ragged_cache.Writer(
            folder,
            name,
            kind,
            np.concatenate([[0], np.cumsum(ragged_cache.counts(kind, encoded, places))]),
            stored,
        )

    of_logits = (
        [writer("logits", HIDDEN, "float16"), writer("labels", HIDDEN, "int32")]
        if asked.top
        else [writer("logits", HIDDEN, "float32")]
    )
    return [
        *of_logits,
        *(writer(f"tap.{i}", tap.kind, asked.stored) for i, tap in enumerate(asked.taps)),
    ]


@dataclass(frozen=True)
class Cache:
    """A labelled folder, memory-mapped. `labels`: those of the logits that were kept, of `num_labels`."""

    taps: Sequence[Tap]
    logits: ragged_cache.Parts
    inner: Sequence[ragged_cache.Parts]
    mask: ragged_cache.Parts
    labels: ragged_cache.Parts | None = None
    num_labels: int = 0

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, padded as the batch is."""
        units = places = batch.mask.shape[1]
        if batch.positions is None and "input_ids" in batch.inputs:
            places = batch.inputs["input_ids"].shape[1]
        mask, logits = self.mask.read(batch.rows, units).bool(), self.logits.read(batch.rows, units)
        if self.labels is not None:
            logits = restored(logits, self.labels.read(batch.rows, units).long(), self.num_labels)
        inner = {
            tap: part.read(batch.rows, units if tap.kind == HIDDEN else places)
            for tap, part in zip(self.taps, self.inner, strict=True)
        }
        return Outputs(logits, mask, inner, places_of(batch, inner))


@dataclass(frozen=True)
class Live:
    """The frozen teacher itself, for training on views that change by epoch: it answers the very batch that the student reads."""

    model: nn.Module
    taps: Sequence[Tap]
    dtype: torch.dtype

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs on the batch."""
        counted[FORWARDS] += 1
        with (
            torch.no_grad(),
            torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32),
        ):
            return run_model(self.model, batch, self.taps)


@dataclass(frozen=True)
class PerView:
    """The caches of a fixed number of views, by number."""

    caches: Sequence[Cache]

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, in the view that the batch shows."""
        return self.caches[batch.view](batch)


def open_cache(folders: Sequence[Path], size: int) -> Cache:
    """The cache whose parts `label` wrote, `size` rows in each but the last."""
    written = read_json(folders[0] / "taps.json")
    taps = [Tap(kind, module) for kind, module in written["taps"]]

    def parts(name: str, kind: str) -> ragged_cache.Parts:
        return ragged_cache.Parts(
            [ragged_cache.open_cells(folder, name, kind) for folder in folders], size
        )

    mask = [
        ragged_cache.Reader(
            HIDDEN, np.load(folder / "mask.npy"), None, np.load(folder / "offsets.npy")
        )
        for folder in folders
    ]
    labels = parts("labels", HIDDEN) if written["labels"] else None
    inner = [parts(f"tap.{i}", tap.kind) for i, tap in enumerate(taps)]
    return Cache(
        taps,
        parts("logits", HIDDEN),
        inner,
        ragged_cache.Parts(mask, size),
        labels,
        written["labels"],
    )


def reference(name: str, options: dict[str, Any], digest_folder: Callable[[Path], str]) -> Any:
    """What a recipe's model name stands for, as part of a key: a network's options, a folder's bytes, or a hub id at its commit."""
    if is_network(name):
        return {"network": name, "options": options}
    if name.startswith(timm_models.PREFIX):
        return {"timm": name, "version": timm_models.library().__version__}
    folder = Path(locate(name))
    if folder.is_dir():
        return {"folder": digest_folder(folder)}
    import transformers

    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(name)
    return {"hub": name, "commit": config._commit_hash}
