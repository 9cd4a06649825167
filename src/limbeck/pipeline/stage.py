"""A stage: one step of a run whose result is kept in the store and found again.

A stage is (name, inputs, function). Its key is made from the digests of its inputs and of the code
that its function reaches (`code_digest`): whatever of these changes, the stage is built anew.

An export's work is parted (`ExportWork`), so that a forecast can do less of it than a run: it
writes one artifact for models that differ by their weights alone, whose graphs are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from limbeck.core import registered
from limbeck.pipeline.code import own_code
from limbeck.pipeline.code.code_digest import code_digest
from limbeck.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Work:
    """How a stage's seconds grow with the data, for the forecast, which builds it on a few rows.

    split, task: they grow as a pass over this split, as this task reads it; constant without.
    one_by_one: whether that pass takes one row at a time.
    calibration_rows: they grow with the training rows, up to so many.
    once: does again what takes as long however many rows there are (loading a model).
    most_rows: of a pass, how many rows take their time in full; all of them where None.
    later: what a row after those takes, as a share of one of them.
    """

    split: str | None = None
    task: Task | None = None
    one_by_one: bool = False
    calibration_rows: int | None = None
    once: Callable[[], Any] | None = None
    most_rows: int | None = None
    later: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a run, before it is known whether the store has its result already.

    name: the beginning of its folder's name in the store.
    inputs: plain data that says all the result depends on beside the code.
    build: fills a folder; called again with the partly filled folder after a kill, it must leave
        the same bytes as an uninterrupted call.
    components: (family, name) of the components that `build` loads by name.
    title: what is told while it runs; the name where left out.
    is_shared: whether several processes build it together (a training), or process 0 alone.
    work: how its seconds grow.
    """

    name: str
    inputs: dict[str, Any]
    build: Callable[[Path], None]
    components: Sequence[tuple[str, str]] = ()
    title: str = ""
    is_shared: bool = False
    work: Work = field(default_factory=Work)

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the result depends on, as plain data."""
        function = self.build
        # A partial is an object of functools, and would say so when asked for its module.
        if isinstance(function, partial):
            function = function.func
        own: list[tuple[str, str]] = []
        named: list[tuple[str, str]] = []
        for component in self.components:
            is_own = registered.find(*component) is not None
            (own if is_own else named).append(component)
        # The whole module counts, not the function alone: what it calls stands beside it.
        key = {**self.inputs, "code": code_digest([function.__module__], named)}
        if own:
            # Written in a script or a notebook, whose other lines are no part of it.
            key["own"] = {name: own_code.of_component(family, name) for family, name in own}
        return key


class Prove(Protocol):
    """Writes the proof of the artifact in a stage's folder."""

    def __call__(self, folder: Path, *, asks_last_bits: bool = True) -> None:
        """`asks_last_bits`: whether answers that differ are excused by what the model's own last
        bits change, which takes three more passes over the test split."""
        ...


@dataclass(frozen=True)
class ExportWork:
    """The work of one export stage.

    model: fake-quantized, in evaluation mode, on the CPU.
    write: fills the stage's folder with the artifact and what decides.
    prove: holds the artifact's answers against the model's.
    """

    model: nn.Module
    write: Callable[[Path], None]
    prove: Prove


def write_and_prove(work: ExportWork, folder: Path) -> None:
    """What a run does with it."""
    work.write(folder)
    work.prove(folder)
