"""Two rows through a model before anything is trained: does it run, and is its answer to a row its
own?

An artifact answers each row by itself, and a training reads it beside others, padded to the
longest. Both are one answer only where a model hides padding from itself. FNet mixes all tokens,
Funnel pools neighbours, and a forward may look at its whole batch: such models are refused here,
by name.
"""

import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from limbeck.core.wording import some
from limbeck.models.published.hub import first_line
from limbeck.models.running import run_model
from limbeck.models.taps import Outputs
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.models.units import holds_texts
from limbeck.tasks import Batch, Encoded, Task

# Of the largest output. Float32 sums in another order differ by about 1e-6 of it, and what hangs on
# padding by tenths.
TOLERANCE = 1e-3

# Rows among which the shortest and the longest are looked for.
NUM_ROWS = 32

# What answers each row by itself.
OF_TEXTS = (
    "Take a model that hides padding by its attention mask, such as BERT, RoBERTa or ModernBERT"
)
OF_IMAGES = (
    "Let it compute each row by itself: batch norms with running statistics, no random numbers, "
    "no mean over the batch"
)

SHOWN = 3  # modules that a message names
NORMS = "batch norm without running statistics, which track_running_stats=True gives it"

# What a forward may raise that was not made for these inputs. Longformer asserts.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)

# A part of the path of every installed package.
INSTALLED = "site-packages"

# A line of code in a traceback that is told as text, and the files of torch and of ourselves.
PLACE = re.compile(r'File "([^"]+)", line (\d+)')
OURS = re.compile(r"[/\\](torch|limbeck)[/\\]")


def check_answers(
    model: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    told: str,
) -> None:
    """Run a row alone, and padded beside a longer one; nothing of the model is changed.

    `encoded`: rows of the task, two or more. `told`: what the recipe calls the model.

    Raises ValueError for a model that fails, or whose answers differ.
    """
    short, long = two_rows(encoded)
    was_training = model.training
    # A forward may draw random numbers in eval mode too; the run's own must not move.
    with torch.random.fork_rng(devices=[]):
        try:
            alone = answer(model.eval(), task, [short])
            beside = answer(model, task, [short, long])
        except FAULTS as error:
            # Looked at before `Own` and its like, whose messages are about shapes.
            raise ValueError(f"model `{told}`: {fault_of(model, error)}") from None
        finally:
            model.train(was_training)
    difference = largest_difference(alone, beside)
    if difference > TOLERANCE:
        what, cure = (
            ("how far it is padded, or on its neighbours", OF_TEXTS)
            if short.has_tokens
            else ("its neighbours", OF_IMAGES)
        )
        norms = norms_of_a_batch(model)
        cure = f"{norms}. {cure}" if norms else cure
        raise ValueError(
            f"model `{told}`: the answer of {class_of(model)} to a row hangs on {what} in a batch "
            f"(by {difference:.1%} of the largest output), so what is trained would not be what "
            f"an artifact answers. {cure}"
        )


def norms_of_a_batch(model: nn.Module) -> str:
    """A sentence that names the batch norms that take their statistics from the batch; nothing
    where there are none."""
    found = []
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            found.append(f"`{name}`")
    if not found:
        return ""
    return f"{some(found, SHOWN)}: {NORMS}"


def check_step(model: nn.Module, batch: Batch, told: str) -> None:
    """Forward and backward of a training step; the model is one to throw away.

    A forward may take another way in training, and write over what the backward needs.

    Raises ValueError for a model that fails.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            run_backward(model.train(), batch)
        except FAULTS as error:
            # Of what fails in the backward the forward's line is known to torch alone.
            place = line_of(error) or line_of_backward(model, batch)
            where = f" ({place})" if place else ""
            raise ValueError(
                f"model `{told}`: {class_of(model)} fails in a training step: "
                f"{type(error).__name__}: {said(error)}{where}"
            ) from None


def run_backward(model: nn.Module, batch: Batch) -> None:
    """The gradients of the logits' sum. Raises ValueError where there are none."""
    logits = run_model(model, batch).logits
    if not logits.requires_grad:
        is_empty = next(model.parameters(), None) is None
        why = "it has no parameters" if is_empty else "torch.no_grad, detach, or frozen parameters"
        raise ValueError(f"its logits have no gradient, so nothing of it can be trained ({why})")
    logits.sum().backward()


def line_of_backward(model: nn.Module, batch: Batch) -> str | None:
    """`FILE:LINE` of the forward to which the operation belongs whose gradient cannot be had."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with torch.autograd.detect_anomaly(check_nan=False):
                run_backward(model, batch)
        # It is known already; what torch warns of on the way is where.
        except FAULTS:
            pass
    return place_in("\n".join(str(each.message) for each in told))


def two_rows(encoded: Sequence[Encoded]) -> tuple[Encoded, Encoded]:
    """A short row and a longer one, where rows have lengths."""
    by_size = sorted(encoded[:NUM_ROWS], key=lambda row: row.size)
    short, long = by_size[0], by_size[-1]
    # Texts of one length say nothing of padding. A row of several texts is left as it is.
    if short.size == long.size and short.has_tokens and short.inputs["input_ids"].ndim == 1:
        short = shortened(short)
    return short, long


def shortened(row: Encoded) -> Encoded:
    """The first half of a text's tokens, and of its units those within it."""
    length = max(1, row.size // 2)
    inputs = {name: value[:length] for name, value in row.inputs.items()}
    if row.positions is None:
        return replace(row, inputs=inputs)
    return replace(
        row, inputs=inputs, positions=np.where(row.positions < length, row.positions, -1)
    )


def answer(model: nn.Module, task: Task, rows: Sequence[Encoded]) -> Outputs:
    """The outputs of a model on rows as one batch."""
    batch = batch_of(rows, np.arange(len(rows)), task.padding)
    with torch.no_grad():
        return run_model(model, to_device(batch, device_of(model)))


def check_shape(logits: torch.Tensor, batch: Batch) -> None:
    """Raise ValueError where logits are none of a batch's: (rows, labels), of words (rows, tokens,
    labels), of several texts a row (rows, texts, width)."""
    expected = batch.mask.shape[:1]
    if batch.windows:
        expected = torch.Size([batch.mask.numel()])
    elif batch.positions is not None or holds_texts(batch):
        expected = next(iter(batch.inputs.values())).shape[:2]
    if logits.ndim != len(expected) + 1 or logits.shape[:-1] != expected:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} for a batch of {len(batch.mask)}, where "
            f"({', '.join(map(str, expected))}, labels) is expected"
        )


def largest_difference(alone: Outputs, beside: Outputs) -> float:
    """Between the answers to the first row, where it has units: a share of the largest output."""
    num_units = int(alone.mask[0].sum())
    if alone.logits.shape[2:] != beside.logits.shape[2:] or num_units == 0:
        # `Own.check` tells of shapes; nothing is compared here.
        return 0.0
    counts = alone.mask[0]
    one = alone.logits[0][counts]
    other = beside.logits[0, : len(counts)][counts]
    # Of both: rows from which their own mean is taken are all 0 alone.
    largest = max(float(one.abs().max()), float(other.abs().max()), torch.finfo(torch.float32).tiny)
    return float((one - other).abs().max()) / largest


def class_of(model: nn.Module) -> str:
    """The name of the class of a model, of the encoder where there is one around it."""
    inner = dict(model.named_children()).get("encoder")
    is_embedder = type(model).__name__ == "Embedder" and inner is not None
    return type(inner if is_embedder else model).__name__


def fault_of(model: nn.Module, error: Exception) -> str:
    """What a forward raised, and the line of the model's own code that it came from."""
    return f"{class_of(model)} fails on two rows: {type(error).__name__}: {said_where(error)}"


def said(error: Exception) -> str:
    """The first line of what an error says; the name of its class where it says nothing."""
    return first_line(error) if str(error).strip() else "without a word"


def said_where(error: Exception) -> str:
    """What an error says, with the line that it comes from where that is not ours."""
    place = line_of(error)
    return f"{said(error)} ({place})" if place else said(error)


def place_in(text: str) -> str | None:
    """`FILE:LINE` of the last frame of a traceback that is told as text and is neither torch's nor
    ours; None without one."""
    # Ours call the model's forward, and torch's are called by it.
    places = [f"{file}:{line}" for file, line in PLACE.findall(text) if not OURS.search(file)]
    return places[-1] if places else None


def line_of(error: BaseException) -> str | None:
    """`FILE:LINE` of the last frame of a user's file, or else of a package that is neither torch
    nor ours; None without one."""
    own = None
    of_package = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in ("torch", "limbeck") or package in sys.stdlib_module_names:
            continue
        place = f"{frame.f_code.co_filename}:{line}"
        of_package = place
        if INSTALLED not in frame.f_code.co_filename:
            own = place
    return own or of_package
