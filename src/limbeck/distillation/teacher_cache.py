"""The teacher's outputs over the training rows, computed once and kept on disk.

A folder holds, cell after cell in row order (`ragged_cache`), P units in all:

| file | what |
|---|---|
| `logits.npy` | (P, V) float32 |
| `tap.<n>.npy` | of each tap that a loss reads, in float16 or int8 |
| `mask.npy` | (P) False where the maximum length cut a unit off |
| `offsets.npy` | (N + 1) row i owns units offsets[i] to offsets[i + 1] |
| `taps.json` | the taps, and V where only some logits were kept |

With `top` k > 0 the logits are float16: (P, k + 1), the k largest, whose labels are (P, k) in
`labels.npy`, and one number that stands for each of the others. They share evenly what the softmax
leaves them: it is log(sum exp of theirs / (V - k)).

The rows are cut into parts of some thousand, each a folder and a stage of its own. The stage's key
covers the teacher's weights, its preprocessing (tokenizer and maximum length), the rows, the taps
and both dtypes, so that every epoch, arm and run reads the same memory-mapped files. With
`train.views` a row has a fixed number of augmented views, and each view a cache of its own.

What is read are tensors on the CPU; the training loop moves them to its device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.core.events import Reporter, silent, track
from limbeck.core.files import read_json, write_json
from limbeck.data.batches import evaluation_batches, padded_size
from limbeck.distillation.ragged_cache import (
    Parts,
    Reader,
    Writer,
    count_cells,
    open_cells,
)
from limbeck.distillation.teacher import TeacherRequest, ask
from limbeck.models.taps import HIDDEN, Outputs, Tap
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.models.units import places_of
from limbeck.tasks import Batch, Encoded, Task, packed
from limbeck.tasks.packed import unit_offsets


def write_cache(
    model: nn.Module,
    encoded: packed.Part,
    task: Task,
    request: TeacherRequest,
    folder: Path,
    tell: Reporter = silent,
) -> None:
    """Run the frozen teacher over some rows once, and write their part of the cache to `folder`.

    Batches are moved to the device where `model` lies; `tell` is told of the progress.
    """
    offsets = unit_offsets(encoded)
    # One flag a unit, small enough to be kept in memory until the end.
    mask = np.zeros(offsets[-1], bool)
    writers: list[Writer] = []
    num_labels = 0
    # Frozen: no dropout, and batch norm by its running moments.
    model.eval()
    device = device_of(model)
    batches = evaluation_batches(encoded)
    cost = partial(padded_size, packed.sizes(encoded))
    for rows in track(batches, cost, tell):
        batch = batch_of(encoded, rows, task.padding)
        # 1. Forward. A view is drawn by the row's number in the whole split, not in its part.
        numbered = replace(batch, rows=encoded.start + rows)
        seen = request.view(to_device(numbered, device))
        with torch.no_grad():
            outputs = ask(model, seen, request.taps, request.dtype)
        # 2. Write. Files are made at the first batch, whose outputs tell the shapes.
        if not writers:
            writers = make_writers(outputs, encoded, request, folder)
        logits = kept_logits(outputs.logits, request.top)
        tensors = [*logits, *outputs.inner.values()]
        for writer, values in zip(writers, tensors, strict=True):
            write_rows(writer, rows, values)
        # 3. Which units count; what is behind a row's own units is the batch's padding.
        for row, row_mask in zip(rows, batch.mask.numpy(), strict=True):
            start = offsets[row]
            stop = offsets[row + 1]
            mask[start:stop] = row_mask[: stop - start]
        num_labels = outputs.logits.shape[-1]
    for writer in writers:
        writer.close()
    np.save(folder / "mask.npy", mask)
    np.save(folder / "offsets.npy", offsets)
    written = {
        "taps": [list(tap) for tap in request.taps],
        "labels": num_labels if request.top else 0,
    }
    write_json(folder / "taps.json", written)


def make_writers(
    outputs: Outputs,
    encoded: Sequence[Encoded],
    request: TeacherRequest,
    folder: Path,
) -> list[Writer]:
    """One for the logits (and their labels, where only some are kept), then one for each tap.

    How many places a row has is its units, unless `outputs` tells that they are its tokens (of a
    text) or as many in every row (patches of an image).
    """
    # How many places each row has is known from the first batch's outputs.
    places = np.asarray(packed.unit_counts(encoded))
    if outputs.places is not None and encoded[0].has_tokens:
        places = np.asarray(packed.sizes(encoded))
    elif outputs.places is not None:
        places = np.full(len(encoded), outputs.places.shape[1])

    def make_writer(name: str, kind: str, stored: str) -> Writer:
        cells = count_cells(kind, encoded, places)
        ends = np.cumsum(cells)
        offsets = np.concatenate([[0], ends])
        return Writer(folder, name, kind, offsets, stored)

    # float32 for all logits: a text's few labels weigh nothing beside its taps. Of a vocabulary
    # the first k do, and float16 halves them.
    stored = "float16" if request.top else "float32"
    writers = [make_writer("logits", HIDDEN, stored)]
    if request.top:
        writers.append(make_writer("labels", HIDDEN, "int32"))
    for number, tap in enumerate(request.taps):
        name = f"tap.{number}"
        writers.append(make_writer(name, tap.kind, request.stored))
    return writers


def write_rows(
    writer: Writer,
    rows: np.ndarray,
    values: Tensor,
) -> None:
    """A batch of outputs (B, ...), by the numbers of its rows."""
    # Labels stay whole numbers; numpy has no bfloat16, so the rest becomes float32.
    if values.dtype != torch.int64:
        values = values.float()
    on_host = values.cpu().numpy()
    for row, row_values in zip(rows, on_host, strict=True):
        writer.write(row, row_values)


def kept_logits(logits: Tensor, top: int) -> tuple[Tensor, ...]:
    """What the cache keeps of logits (B, W, V): all of them, or those of the `top` first labels
    and which they are."""
    return largest(logits, top) if top else (logits,)


def largest(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """((B, W, k + 1) the k = `top` largest of (B, W, V) and one for each of the others, (B, W, k)
    the labels of the largest). `top` is below V."""
    # Sorted whole: the rest is needed too, for what it shares.
    values, labels = logits.float().sort(-1, descending=True)
    num_others = values.shape[-1] - top
    shared = values[..., top:].logsumexp(-1, keepdim=True)
    others = shared - math.log(num_others)
    kept = torch.cat([values[..., :top], others], -1)
    return kept, labels[..., :top]


def restored(
    values: Tensor,
    labels: Tensor,
    num_labels: int,
) -> Tensor:
    """(B, W, V) logits of the values (B, W, k + 1) and labels (B, W, k) that `largest` left; V is
    `num_labels`."""
    shape = (*values.shape[:-1], num_labels)
    others = values[..., -1:].expand(shape)
    largest_logits = values[..., :-1]
    return others.scatter(-1, labels, largest_logits)


@dataclass(frozen=True)
class TeacherCache:
    """The cache's files, memory-mapped. `labels`: where only some logits were kept, whose; of
    `num_labels`."""

    taps: Sequence[Tap]
    logits: Parts
    inner: Sequence[Parts]
    mask: Parts
    labels: Parts | None = None
    num_labels: int = 0

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, padded as the batch is; on the CPU."""
        units = batch.mask.shape[1]
        # Places are the units where a row has several, else the tokens of its text.
        places = units
        if batch.positions is None and "input_ids" in batch.inputs:
            places = batch.inputs["input_ids"].shape[1]
        rows = batch.rows
        mask = self.mask.read(rows, units).bool()
        logits = self.logits.read(rows, units)
        if self.labels is not None:
            labels = self.labels.read(rows, units).long()
            logits = restored(logits, labels, self.num_labels)
        inner = {}
        for tap, part in zip(self.taps, self.inner, strict=True):
            width = units if tap.kind == HIDDEN else places
            inner[tap] = part.read(rows, width)
        return Outputs(logits, mask, inner, places_of(batch, inner))


@dataclass(frozen=True)
class CachedViews:
    """The caches of a fixed number of augmented views, by the view's number."""

    caches: Sequence[TeacherCache]

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch's rows, in the view that the batch shows."""
        cache = self.caches[batch.view]
        return cache(batch)


def open_cache(folders: Sequence[Path], size: int) -> TeacherCache:
    """The cache whose parts `write_cache` wrote, in order, `size` rows in each but the last."""
    # All parts were written with the same request.
    written = read_json(folders[0] / "taps.json")
    taps = [Tap(kind, module) for kind, module in written["taps"]]

    def open_parts(name: str, kind: str) -> Parts:
        readers = [open_cells(folder, name, kind) for folder in folders]
        return Parts(readers, size)

    # Masks are small, and read whole, not memory-mapped.
    masks = []
    for folder in folders:
        mask = np.load(folder / "mask.npy")
        offsets = np.load(folder / "offsets.npy")
        masks.append(Reader(HIDDEN, mask, None, offsets))
    inner = []
    for number, tap in enumerate(taps):
        inner.append(open_parts(f"tap.{number}", tap.kind))
    num_labels = written["labels"]
    return TeacherCache(
        taps=taps,
        logits=open_parts("logits", HIDDEN),
        inner=inner,
        mask=Parts(masks, size),
        labels=open_parts("labels", HIDDEN) if num_labels else None,
        num_labels=num_labels,
    )
