"""The teacher's outputs over the training rows, computed once and kept on disk.

A folder holds, cell after cell in row order (`ragged_cache`), P units in all:

| file | what |
|---|---|
| `logits.npy` | (P, V) float32 |
| `tap.<n>.npy` | of each tap that a loss reads, in float16 or int8 |
| `mask.npy` | (P) False where the maximum length cut a unit off |
| `offsets.npy` | (N + 1) row i owns units offsets[i] to offsets[i + 1] |
| `taps.json` | the taps, and where logits are codes k, V and the type they were multiplied in |

With `top` k > 0, which is for a vocabulary, the logits are codes (`packed_logits`) in place of
`logits.npy`: `logits.bin` and `logits.spans.npy` hold them row by row, and `grid.npy` says what the
codes of hidden states stand for. The units of a row are those of its `positions`, in their order.

The rows are cut into parts of some thousand, each a folder and a stage of its own. The stage's key
covers the teacher's weights, its preprocessing (tokenizer and maximum length), the rows, the taps
and both dtypes, so that every epoch, arm and run reads the same memory-mapped files. With
`train.views` a row has a fixed number of augmented views, and each view a cache of its own.

What is read are tensors on the CPU; the training loop moves them to its device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.core.events import (
    Reporter,
    silent,
    track,
)
from limbeck.core.files import (
    read_json,
    write_json,
)
from limbeck.data.batches import (
    evaluation_batches,
    padded_size,
)
from limbeck.distillation.packed_logits import (
    LogitsReader,
    LogitsWriter,
    Projection,
    make_logits_writer,
    open_logits,
    projection_of_teacher,
    restored,
)
from limbeck.distillation.ragged_cache import (
    Parts,
    Reader,
    Writer,
    count_cells,
    open_cells,
)
from limbeck.distillation.teacher import (
    TeacherRequest,
    ask,
)
from limbeck.models.taps import (
    HIDDEN,
    Outputs,
    Tap,
)
from limbeck.models.torch_batches import (
    batch_of,
    device_of,
    to_device,
)
from limbeck.models.units import places_of
from limbeck.tasks import (
    Batch,
    Encoded,
    Task,
    packed,
)
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
    writers: Writers | None = None
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
        if writers is None:
            writers = make_writers(outputs, encoded, request, folder)
        writers.write(rows, outputs)
        # 3. Which units count; what is behind a row's own units is the batch's padding.
        for row, row_mask in zip(rows, batch.mask.numpy(), strict=True):
            start = offsets[row]
            stop = offsets[row + 1]
            mask[start:stop] = row_mask[: stop - start]
    assert writers is not None
    writers.close()
    np.save(folder / "mask.npy", mask)
    np.save(folder / "offsets.npy", offsets)
    written = {
        "taps": [list(tap) for tap in request.taps],
        "top": request.top,
        "labels": writers.num_labels,
        "dtype": str(request.dtype).removeprefix("torch."),
    }
    write_json(folder / "taps.json", written)


@dataclass(frozen=True)
class Writers:
    """What writes a part. `logits`: of all, or of the codes of a vocabulary's. `inner`: one a tap.
    `num_labels`: V."""

    logits: Writer | LogitsWriter
    inner: Sequence[Writer]
    num_labels: int

    def write(
        self,
        rows: np.ndarray,
        outputs: Outputs,
    ) -> None:
        """A batch of outputs, by the numbers of its rows."""
        if isinstance(self.logits, LogitsWriter):
            self.logits.write(rows, outputs)
        else:
            write_rows(self.logits, rows, outputs.logits)
        for writer, values in zip(self.inner, outputs.inner.values(), strict=True):
            write_rows(writer, rows, values)

    def close(self) -> None:
        """Bring everything to the disk."""
        for writer in (self.logits, *self.inner):
            writer.close()


def make_writers(
    outputs: Outputs,
    encoded: Sequence[Encoded],
    request: TeacherRequest,
    folder: Path,
) -> Writers:
    """One for the logits, and one for each tap.

    How many places a row has is its units, unless `outputs` tells that they are its tokens (of a
    text) or as many in every row (patches of an image).
    """
    # How many places each row has is known from the first batch's outputs.
    places = np.asarray(packed.unit_counts(encoded))
    if outputs.places is not None and encoded[0].has_tokens:
        places = np.asarray(packed.sizes(encoded))
    elif outputs.places is not None:
        places = np.full(len(encoded), outputs.places.shape[1])

    def make_writer(
        name: str,
        kind: str,
        stored: str,
    ) -> Writer:
        cells = count_cells(kind, encoded, places)
        ends = np.cumsum(cells)
        offsets = np.concatenate([[0], ends])
        return Writer(folder, name, kind, offsets, stored)

    inner = []
    for number, tap in enumerate(request.taps):
        inner.append(make_writer(f"tap.{number}", tap.kind, request.stored))
    if request.top:
        counts = np.asarray(packed.unit_counts(encoded))
        of_codes = make_logits_writer(folder, outputs, counts, request.top)
        return Writers(of_codes, inner, outputs.num_labels)
    # float32 for all logits: a text's few labels weigh nothing beside its taps.
    of_all = make_writer("logits", HIDDEN, "float32")
    return Writers(of_all, inner, outputs.num_labels)


def write_rows(
    writer: Writer,
    rows: np.ndarray,
    values: Tensor,
) -> None:
    """A batch of outputs (B, ...), by the numbers of its rows."""
    # numpy has no bfloat16.
    on_host = values.float().cpu().numpy()
    for row, row_values in zip(rows, on_host, strict=True):
        writer.write(row, row_values)


@dataclass(frozen=True)
class Codes:
    """The logits of a vocabulary, in parts of `size` rows each but the last. `projection`: the
    teacher's, where hidden states were kept; `num_labels`: V."""

    parts: Sequence[LogitsReader]
    size: int
    projection: Projection | None
    num_labels: int

    def read(
        self,
        rows: np.ndarray,
        width: int,
    ) -> Any:
        """The rows' logits (B, `width`, V), to be computed when they are asked for."""
        of_rows = []
        for row in rows.tolist():
            part = self.parts[row // self.size]
            row_in_part = row % self.size
            of_rows.append(part.row(row_in_part))
        return restored(of_rows, width, self.num_labels, self.projection)


@dataclass(frozen=True)
class TeacherCache:
    """The cache's files, memory-mapped."""

    taps: Sequence[Tap]
    logits: Parts | Codes
    inner: Sequence[Parts]
    mask: Parts

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


def open_cache(
    folders: Sequence[Path],
    size: int,
    load: Callable[[], nn.Module],
) -> TeacherCache:
    """The cache whose parts `write_cache` wrote, in order, `size` rows in each but the last.

    `load`: gives the teacher, of which the output projection alone is kept, where logits are
    restored by it.

    Raises ValueError for files of codes that are damaged or not there.
    """
    # All parts were written with the same request.
    written = read_json(folders[0] / "taps.json")
    taps = [Tap(kind, module) for kind, module in written["taps"]]

    def open_parts(
        name: str,
        kind: str,
    ) -> Parts:
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
    logits: Parts | Codes
    if written["top"]:
        counts = [np.diff(each.offsets) for each in masks]
        logits = open_codes(folders, size, counts, load)
    else:
        logits = open_parts("logits", HIDDEN)
    return TeacherCache(
        taps=taps,
        logits=logits,
        inner=inner,
        mask=Parts(masks, size),
    )


def open_codes(
    folders: Sequence[Path],
    size: int,
    counts: Sequence[np.ndarray],
    load: Callable[[], nn.Module],
) -> Codes:
    """The logits of a vocabulary; `counts`: of each part, how many units its rows have. The rest as
    of `open_cache`."""
    written = read_json(folders[0] / "taps.json")
    num_labels = written["labels"]
    parts = []
    for folder, of_rows in zip(folders, counts, strict=True):
        parts.append(open_logits(folder, of_rows, written["top"], num_labels))
    projection = None
    grid = parts[0].grid
    if grid is not None:
        dtype = getattr(torch, written["dtype"])
        projection = projection_of_teacher(load(), len(grid.step), dtype)
    return Codes(parts, size, projection, num_labels)
