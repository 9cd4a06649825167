"""Several processes that train one model on parts of each batch (data-parallel).

They end with the weights that one process would reach. Every process runs the same steps. In a
step each reads its own rows of the batch, then the outputs of all rows are gathered, so that every
process computes the same losses over the whole batch: counts, comparisons between rows and memory
banks need no second version. What a process adds to a gradient comes from its own rows alone; the
mean over the processes, times their number, is the sum.

    forward    `gather_rows`: (b, ...) of each process -> (B, ...) everywhere, in order of the batch
    backward   of the gathered gradient, the process's own rows times the number of processes

Batch norm needs moments over the whole batch inside the forward: `sum_over_processes` is a sum
whose gradient is summed as well. (torch's SyncBatchNorm does the same and refuses CPUs.)
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn

from limbeck.core.errors import Interrupted

LOST = (
    "another process of this run has ended, so the ones that are left stop too. "
    "The same command goes on from the last checkpoint"
)


def num_processes() -> int:
    """How many processes train together: 1 unless `torchrun` started several."""
    started = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if started else 1


def process_index() -> int:
    """The number of this process, from 0. Process 0 alone writes."""
    return distributed.get_rank() if num_processes() > 1 else 0


@contextlib.contextmanager
def told_when_lost() -> Iterator[None]:
    """Turn what a collective raises when a peer is gone into `Interrupted`.

    Raises:
        Interrupted: a process died or was stopped while this one waited for it.
    """
    try:
        yield
    except RuntimeError as error:
        raise Interrupted(LOST) from error


class RowShare:
    """How many of the rows of the batch under way this process reads; 1 outside a step.

    A figure that counts values of a batch (n of LSQ's gradient scale) divides by it.
    """

    def __init__(self) -> None:
        self.value = 1.0

    @contextlib.contextmanager
    def set_to(self, share: float) -> Iterator[None]:
        """Inside, `value` is `share`, in (0, 1]."""
        self.value = share
        try:
            yield
        finally:
            self.value = 1.0


# One of the process: quantizers deep in a model read it, which no argument reaches.
row_share = RowShare()


class _GatherRows(torch.autograd.Function):
    """See `gather_rows`."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, counts: tuple[int, ...]) -> torch.Tensor:
        index = process_index()
        start = sum(counts[:index])
        ctx.own = (start, start + counts[index])
        # Collectives want equal shapes: every part is filled up to the longest and cut again.
        filled = rows.new_zeros((max(counts), *rows.shape[1:]))
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in counts]
        with told_when_lost():
            distributed.all_gather(parts, filled)
        cut = [part[:count] for part, count in zip(parts, counts, strict=True)]
        return torch.cat(cut)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = gradients
        start, stop = ctx.own
        # The mean over processes follows (`average_gradients`); this makes it a sum.
        return gradient[start:stop] * num_processes(), None


def gather_rows(rows: torch.Tensor, counts: tuple[int, ...]) -> torch.Tensor:
    """The rows of every process, one process after the other, with a gradient for one's own.

    Args:
        rows: (counts[process_index()], ...), alike in all axes but the first.
        counts: how many rows each process has.

    Returns:
        (sum(counts), ...).

    Raises:
        Interrupted: a process of the run is gone.
    """
    gathered: torch.Tensor = _GatherRows.apply(rows.contiguous(), counts)
    return gathered


class _SumOverProcesses(torch.autograd.Function):
    """See `sum_over_processes`."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        with told_when_lost():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        total = gradient.clone()
        with told_when_lost():
            distributed.all_reduce(total)
        return total


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sum of `values`, of one shape everywhere, over all processes; its gradient too.

    Raises:
        Interrupted: a process of the run is gone.
    """
    total: torch.Tensor = _SumOverProcesses.apply(values)
    return total


class _WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose moments in training are those of the rows of all processes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or num_processes() == 1:
            return super().forward(x)
        # 1. Everything but the channels is averaged over: rows, and places of a map.
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        # Processes may have shares of unlike size, so values are counted, and sums added.
        num_values = float(x.numel() // x.shape[1])
        count = sum_over_processes(x.new_full((1,), num_values))
        # 2. Moments in float32, which a sum over a whole batch needs under autocast too; in two
        #    passes, as one process does it: E[x^2] - E[x]^2 loses digits where the mean is large.
        mean = sum_over_processes(x.float().sum(axes)) / count
        centred = x.float() - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        # One value alone has no unbiased variance.
        self._follow(mean, variance * count / (count - 1).clamp_min(1))
        # 3. The norm itself.
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running moments as torch does: the variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share: float | torch.Tensor | None = self.momentum
        if share is None:  # torch's cumulative average
            # A tensor on the device: to read the count here would be to wait for it.
            share = self.num_batches_tracked.to(mean.dtype).reciprocal()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class WholeBatchNorm1d(_WholeBatchNorm, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over the rows of all processes."""


class WholeBatchNorm2d(_WholeBatchNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the rows of all processes."""


# By exact type: a subclass may normalise otherwise.
FORMS: dict[type[nn.Module], type[_WholeBatchNorm]] = {
    nn.BatchNorm1d: WholeBatchNorm1d,
    nn.BatchNorm2d: WholeBatchNorm2d,
}


def normalise_over_processes(model: nn.Module) -> None:
    """Let every batch norm of `model` take its moments over all processes, in place.

    Parameters, buffers and their names stay: the replacement shares them.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            form = FORMS.get(type(child))
            if form is None:
                continue
            # Not by the constructor, which would draw new parameters: the attributes of the old
            # module, its parameters, buffers and hooks among them, become those of the new one.
            whole: Any = form.__new__(form)
            whole.__dict__.update(child.__dict__)
            setattr(parent, name, whole)


def mean_over_processes(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The mean of all processes' tensors, which have the same shapes everywhere; one collective.

    Raises:
        Interrupted: a process of the run is gone.
    """
    if num_processes() == 1 or not tensors:
        return tensors
    flat = torch.cat([each.flatten() for each in tensors])
    with told_when_lost():
        distributed.all_reduce(flat)
    flat /= num_processes()
    parts = flat.split([each.numel() for each in tensors])
    return [part.view_as(each) for part, each in zip(parts, tensors, strict=True)]


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients, in place.

    A parameter without a gradient has none on any process: all run the same graph.

    Raises:
        Interrupted: a process of the run is gone.
    """
    if num_processes() == 1:
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    # Into the tensors that the optimizer reads.
    for gradient, mean in zip(gradients, mean_over_processes(gradients), strict=True):
        gradient.copy_(mean)


def broadcast_value(value: Any) -> Any:
    """Process 0's value, plain data, on every process.

    Raises:
        Interrupted: a process of the run is gone.
    """
    if num_processes() == 1:
        return value
    # A list, whose items the other processes have replaced.
    held = [value]
    with told_when_lost():
        distributed.broadcast_object_list(held, src=0)
    return held[0]


def wait_for_all() -> None:
    """Go on once every process is here.

    Raises:
        Interrupted: a process of the run is gone.
    """
    if num_processes() > 1:
        with told_when_lost():
            distributed.barrier()
